#include "jobs/schedule.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::jobs {
namespace {

using test::failed_with;
using test::ok;

TEST(Schedule, FindsTheNextMoment) {
  using std::chrono::hours;
  const auto anchor = *parse_time("2013-01-01T00:00:00Z");
  const auto weekly = Schedule::every(hours{7 * 24}, anchor);
  const auto month_end = Schedule::monthly(31, hours{3});
  const auto month_start = Schedule::monthly(1);
  ASSERT_TRUE(ok(weekly));
  ASSERT_TRUE(ok(month_end));
  ASSERT_TRUE(ok(month_start));
  const std::vector<std::tuple<std::string, const Schedule*, std::string, std::string>> rows = {
      {"within a period", &*weekly, "2013-01-03T10:00:00Z", "2013-01-08T00:00:00Z"},
      {"exactly at a moment", &*weekly, "2013-01-08T00:00:00Z", "2013-01-15T00:00:00Z"},
      {"before the anchor", &*weekly, "2012-12-30T00:00:00Z", "2013-01-01T00:00:00Z"},
      {"just before a moment", &*weekly, "2012-12-24T23:59:59Z", "2012-12-25T00:00:00Z"},
      {"later in the month", &*month_end, "2013-01-15T00:00:00Z", "2013-01-31T03:00:00Z"},
      {"a shorter month", &*month_end, "2013-01-31T03:00:00Z", "2013-02-28T03:00:00Z"},
      {"a leap year", &*month_end, "2012-02-01T00:00:00Z", "2012-02-29T03:00:00Z"},
      {"over the year", &*month_start, "2013-12-01T00:00:00Z", "2014-01-01T00:00:00Z"},
      {"a microsecond before", &*month_start, "2013-03-31T23:59:59.999999Z",
       "2013-04-01T00:00:00Z"}};
  for (const auto& [name, schedule, after, want] : rows) {
    SCOPED_TRACE(name);
    EXPECT_EQ(format_time(schedule->next(*parse_time(after))), want);
  }
}

TEST(Schedule, RefusesWhatCannotRepeat) {
  EXPECT_TRUE(failed_with(Schedule::every(Duration{0}), Code::invalid_argument));
  EXPECT_TRUE(failed_with(Schedule::monthly(0), Code::invalid_argument));
  EXPECT_TRUE(failed_with(Schedule::monthly(32), Code::invalid_argument));
  EXPECT_TRUE(failed_with(Schedule::monthly(1, std::chrono::hours{24}), Code::invalid_argument));
}

TEST(Schedule, IsReadFromADeclaration) {
  const std::vector<std::tuple<std::string, std::string, std::string>> rows = {
      {"every", "{every: 7d, from: 2013-01-01}", "every 7 d"},
      {"monthly", "{monthly: {day: 2, at: \"03:30\"}}", "monthly on day 2 at 03:30 UTC"},
      {"monthly with defaults", "{monthly: {}}", "monthly on day 1 at 00:00 UTC"},
      {"nothing", "{}", ""},
      {"both", "{every: 1d, monthly: {}}", ""},
      {"an odd time", "{monthly: {at: noon}}", ""},
      {"an odd day", "{monthly: {day: 40}}", ""}};
  for (const auto& [name, text, want] : rows) {
    SCOPED_TRACE(name);
    const auto document = SpecDocument::parse(text, "schedule.yaml");
    ASSERT_TRUE(ok(document));
    SpecReader reader(*document);
    const auto schedule = Schedule::read(reader);
    EXPECT_EQ(schedule ? schedule->text() : "", want);
    EXPECT_EQ(reader.finish().has_value(), !want.empty());
  }
}

}  // namespace
}  // namespace slipway::jobs
