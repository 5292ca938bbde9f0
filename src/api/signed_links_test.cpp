#include "api/signed_links.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::api {
namespace {

using test::code_of;
using test::ok;

struct Parts {
  std::string expires;
  std::string signature;
};

Parts parts_of(const std::string& query) {
  const std::size_t begin = query.find("expires=") + 8;
  const std::size_t middle = query.find("&signature=");
  return {query.substr(begin, middle - begin), query.substr(middle + 11)};
}

TEST(SignedLinks, HoldForOneSubjectAndForAWhile) {
  ManualClock clock{test::kNoon2013};
  RandomIds ids;
  const SignedLinks links(clock, ids, std::chrono::minutes(15));
  const auto [expires, signature] = parts_of(links.sign("7/run/artifacts/model.bin"));
  EXPECT_EQ(signature.size(), 64U);
  EXPECT_TRUE(ok(links.check("7/run/artifacts/model.bin", expires, signature)));
  clock.advance(std::chrono::minutes(15));
  EXPECT_TRUE(ok(links.check("7/run/artifacts/model.bin", expires, signature)));
  clock.advance(std::chrono::seconds(1));
  EXPECT_EQ(code_of(links.check("7/run/artifacts/model.bin", expires, signature)),
            "permission_denied");
}

TEST(SignedLinks, DoNotHoldOnceAnythingIsChanged) {
  ManualClock clock{test::kNoon2013};
  RandomIds ids;
  const SignedLinks links(clock, ids);
  const SignedLinks after_restart(clock, ids);
  const auto [expires, signature] = parts_of(links.sign("a/b"));
  std::string other = signature;
  other.back() = other.back() == '0' ? '1' : '0';
  const std::vector<std::tuple<std::string, std::string, std::string>> rows = {
      {"a/c", expires, signature},
      {"a/b", std::to_string(std::stoll(expires) + 1), signature},
      {"a/b", "0" + expires, signature},
      {"a/b", "", signature},
      {"a/b", expires, ""},
      {"a/b", expires, other},
      {"a/b", expires, signature + "0"},
      {"a/b", expires, std::string(64, '0')},
      {"b", expires + "\na", signature},
  };
  for (const auto& [subject, until, code] : rows) {
    SCOPED_TRACE(subject + " " + until + " " + code);
    EXPECT_EQ(code_of(links.check(subject, until, code)), "permission_denied");
  }
  EXPECT_EQ(code_of(after_restart.check("a/b", expires, signature)), "permission_denied");
}

}  // namespace
}  // namespace slipway::api
