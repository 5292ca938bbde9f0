#include "base/clock.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "support/support.h"

namespace slipway {
namespace {

using test::ok;

TEST(Time, ReadsTheCommonForms) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"2013-04-01", "2013-04-01T00:00:00Z"},
      {"2013-04-01 05:00", "2013-04-01T05:00:00Z"},
      {"2013-04-01T05:00:00.5+02:00", "2013-04-01T03:00:00.5Z"},
      {"2013-04-01T05:00:00-0430", "2013-04-01T09:30:00Z"},
      {"1969-12-31T23:59:59.999999Z", "1969-12-31T23:59:59.999999Z"},
  };
  for (const auto& [text, want] : rows) {
    const auto time = parse_time(text);
    ASSERT_TRUE(ok(time)) << text;
    EXPECT_EQ(format_time(*time), want);
  }
  for (const char* text : {"", "2013", "2013-02-30", "2013-04-01T25:00:00Z", "2013-04-01x",
                           "2013-04-01T05:00:00+", "01/04/2013"}) {
    EXPECT_EQ(test::code_of(parse_time(text)), "invalid_argument") << text;
  }
}

TEST(Time, ComesBackFromItsText) {
  Rng rng(7);
  for (int i = 0; i < 10'000; ++i) {
    const Time time = from_micros(static_cast<std::int64_t>(rng.below(8'000'000'000'000'000)) -
                                  2'000'000'000'000'000);
    const auto back = parse_time(format_time(time));
    ASSERT_TRUE(ok(back)) << format_time(time);
    EXPECT_EQ(*back, time);
  }
}

TEST(Duration, ReadsUnitsAndRefusesTheRest) {
  const std::vector<std::pair<std::string, std::int64_t>> rows = {
      {"500ms", 500'000},      {"90s", 90'000'000}, {"1d12h", 129'600'000'000},
      {"-1h", -3'600'000'000}, {"1.5s", 1'500'000}, {"0m", 0}};
  for (const auto& [text, want] : rows) {
    const auto duration = parse_duration(text);
    ASSERT_TRUE(ok(duration)) << text;
    EXPECT_EQ(duration->count(), want) << text;
  }
  for (const char* text : {"", "5", "h", "5 parsecs", "1d2", "99999999999999w"})
    EXPECT_EQ(test::code_of(parse_duration(text)), "invalid_argument") << text;
}

}  // namespace
}  // namespace slipway
