#include <gtest/gtest.h>

#include "server/http.h"
#include "server/target_internal.h"
#include "support/support.h"

namespace slipway::server {
namespace {

using test::ok;

Response plain_form(const Error& error) { return plain_text(400, error.message); }
Response json_form(const Error& error) { return json_text(400, error.message); }

Handler answers(const std::string& name) {
  return [name](const Context&, const Request&) { return plain_text(200, name); };
}

class RouterTest : public testing::Test {
 protected:
  RouterTest() {
    for (const auto& [method, pattern] : std::vector<std::pair<std::string, std::string>>{
             {"GET", "/"},
             {"GET", "/v2"},
             {"GET", "/v2/models/{model}"},
             {"GET", "/v2/models/{model}/versions/{version}/ready"},
             {"POST", "/v2/models/{model}/infer"},
             {"GET", "/v2/models/stats"},
             {"GET", "/files/{path*}"},
             {"DELETE", "/files/{path*}"},
             {"GET", "/files/{name}/info"},
         }) {
      router_.add(method, pattern, Access::open,
                  pattern.starts_with("/v2") ? &json_form : &plain_form,
                  answers(method + " " + pattern));
    }
  }
  std::string found(std::string_view method, std::string_view path) {
    const auto match = router_.match(method, path);
    if (match.route == nullptr) {
      std::string allowed = "none";
      for (const auto& name : match.allowed) allowed += " " + name;
      return allowed;
    }
    std::string text = match.route->method + " " + match.route->pattern;
    for (const auto& [name, value] : match.params) text += " " + name + "=" + value;
    return text;
  }
  Router router_;
};

TEST_F(RouterTest, FindsTheMostLiteralRouteAndItsParameters) {
  const std::vector<std::tuple<std::string, std::string, std::string>> rows = {
      {"GET", "/", "GET /"},
      {"GET", "/v2", "GET /v2"},
      {"HEAD", "/v2", "GET /v2"},
      {"GET", "/v2/models/flights", "GET /v2/models/{model} model=flights"},
      {"GET", "/v2/models/stats", "GET /v2/models/stats"},
      {"POST", "/v2/models/stats/infer", "POST /v2/models/{model}/infer model=stats"},
      {"GET", "/v2/models/a b/versions/3/ready",
       "GET /v2/models/{model}/versions/{version}/ready model=a b version=3"},
      {"GET", "/files/a/b/c", "GET /files/{path*} path=a/b/c"},
      {"GET", "/files/a/info", "GET /files/{name}/info name=a"},
      {"GET", "/files/a/info/more", "GET /files/{path*} path=a/info/more"},
      {"GET", "/files", "GET /files/{path*} path="},
      {"DELETE", "/files/a/info", "DELETE /files/{path*} path=a/info"},
      {"PUT", "/files/a/info", "none DELETE GET"},
      {"GET", "/v2/models/flights/infer", "none POST"},
      {"GET", "/nothing", "none"},
      {"GET", "/v2/models", "none"},
  };
  for (const auto& [method, path, want] : rows)
    EXPECT_EQ(found(method, path), want) << method << " " << path;
}

TEST_F(RouterTest, KnowsTheErrorFormOfAFamilyEvenWhereNoRouteIs) {
  EXPECT_EQ(router_.errors_for("/v2/no/such/thing"), &json_form);
  EXPECT_EQ(router_.errors_for("/v2/models/../x"), &json_form);
  EXPECT_EQ(router_.errors_for("/files/x/y"), &plain_form);
  EXPECT_EQ(router_.errors_for("/elsewhere"), nullptr);
}

using RouterDeathTest = RouterTest;

TEST_F(RouterDeathTest, RefusesDoubledRoutes) {
  EXPECT_DEATH(router_.add("GET", "/v2/models/{name}", Access::open, &json_form, answers("again")),
               "is there twice");
  EXPECT_DEATH(router_.add("GET", "no-slash", Access::open, &json_form, answers("again")),
               "does not begin with '/'");
}

TEST(Target, IsDecodedOnceAndNormalised) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"/", "/"},
      {"//a///b/", "/a/b"},
      {"/a%20b/%C3%A9", "/a b/\xC3\xA9"},
      {"/a%252e", "/a%2e"},
      {"/...", "/..."},
      {"/a+b", "/a+b"},
      {"http://localhost:5000/v2/models?x=1", "/v2/models"},
      {"http://localhost", "/"},
      {"/a#fragment", "/a"},
  };
  for (const auto& [target, want] : rows) {
    SCOPED_TRACE(target);
    const auto parsed = parse_target(target);
    ASSERT_TRUE(ok(parsed));
    EXPECT_EQ(parsed->path, want);
  }
}

TEST(Target, IsRefusedWhereTwoReadersCouldSeeTwoThings) {
  for (const std::string target : {"/..",     "/a/../b", "/a/%2e%2e/b",     "/a/.%2E",
                                   "/.",      "/a%2Fb",  "/a%2fb",          "/a%5Cb",
                                   "/a\\b",   "/a%00b",  "/a%0Ab",          "/%",
                                   "/%4",     "/%zz",    "/%C0%AF",         "/%ED%A0%80",
                                   "/%FF",    "*",       "example.org:443", "/?x=%0",
                                   "/?x=%00", "/?%ff=1"}) {
    EXPECT_TRUE(test::failed_with(parse_target(target), Code::invalid_argument)) << target;
  }
}

TEST(Target, QueryIsDecodedAsAForm) {
  const auto parsed = parse_target("/x?a=1&b=two+words&c&=v&d=%26%3D&a=2&&");
  ASSERT_TRUE(ok(parsed));
  const std::vector<std::pair<std::string, std::string>> want = {
      {"a", "1"}, {"b", "two words"}, {"c", ""}, {"", "v"}, {"d", "&="}, {"a", "2"}};
  EXPECT_EQ(parsed->query, want);
}

TEST(HostRules, KnowOnlyThisServersNames) {
  const HostRules rules({"Models.example"});
  for (const char* host : {"localhost", "LOCALHOST:5000", "127.0.0.1", "127.0.0.1:80", "[::1]",
                           "[::1]:5000", "models.example"}) {
    EXPECT_TRUE(rules.host_allowed(host)) << host;
  }
  for (const char* host : {"", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
                           "[::2]", "127.0.0.2"}) {
    EXPECT_FALSE(rules.host_allowed(host)) << host;
  }
  EXPECT_TRUE(rules.origin_allowed("http://localhost:5000", "localhost:5000"));
  EXPECT_FALSE(rules.origin_allowed("http://localhost:3000", "localhost:5000"));
  EXPECT_FALSE(rules.origin_allowed("https://evil.example", "localhost:5000"));
  EXPECT_FALSE(rules.origin_allowed("null", "localhost:5000"));
}

TEST(HostRules, AllowAddressesWhereOthersReachThem) {
  const HostRules rules({}, true);
  for (const char* host : {"192.0.2.7", "192.0.2.7:5000", "[2001:db8::7]:5000", "localhost"})
    EXPECT_TRUE(rules.host_allowed(host)) << host;
  for (const char* host : {"evil.example", "192.0.2.7.evil.example", "1921", "[x]", "[", "0x7f.1"})
    EXPECT_FALSE(rules.host_allowed(host)) << host;
}

}  // namespace
}  // namespace slipway::server
