#include "jobs/schedule.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace slipway::jobs {
namespace {

constexpr Duration kDay = std::chrono::hours{24};

// "03:00" or "03:00:30" as a time of day.
Result<Duration> parse_time_of_day(const std::string& text) {
  const auto time = parse_time("1970-01-01T" + text + (text.size() == 5 ? ":00Z" : "Z"));
  if (!time) {
    return invalid_argument(fmt::format("'{}' is no time of day: write it as 03:00 (UTC)", text));
  }
  return Duration{to_micros(*time)};
}

Time in_month(std::chrono::year_month month, int day, Duration at) {
  const auto last = (month / std::chrono::last).day();
  const auto wanted = std::min(std::chrono::day{static_cast<unsigned>(day)}, last);
  return Time{std::chrono::sys_days{month / wanted}} + at;
}

}  // namespace

Result<Schedule> Schedule::every(Duration period, Time anchor) {
  if (period.count() <= 0) {
    return invalid_argument(fmt::format(
        "a schedule repeats after {}; it must be longer than nothing", format_duration(period)));
  }
  Schedule schedule;
  schedule.period_ = period;
  schedule.anchor_ = anchor;
  return schedule;
}

Result<Schedule> Schedule::monthly(int day, Duration at) {
  if (day < 1 || day > 31) {
    return invalid_argument(fmt::format("day of the month is {}, must be 1 to 31", day));
  }
  if (at.count() < 0 || at >= kDay) {
    return invalid_argument("time of day must be 00:00 or later and before 24:00");
  }
  Schedule schedule;
  schedule.day_ = day;
  schedule.at_ = at;
  return schedule;
}

Result<Schedule> Schedule::read(SpecReader& reader) {
  const bool every_given = reader.has("every");
  if (every_given == reader.has("monthly")) {
    reader.problem("", "a schedule has either `every: 7d` or `monthly: {day: 1, at: \"03:00\"}`");
    return invalid_argument("no schedule");
  }
  if (every_given) {
    Time anchor{};
    if (const auto from = reader.text("from", ""); !from.empty()) {
      const auto time = parse_time(from);
      if (time) {
        anchor = *time;
      } else {
        reader.problem("from", time.error().message);
      }
    }
    auto schedule = every(reader.duration("every", Duration{0}), anchor);
    if (!schedule) reader.problem("every", schedule.error().message);
    return schedule;
  }
  SpecReader month = reader.object("monthly");
  const auto at = parse_time_of_day(month.text("at", "00:00"));
  if (!at) {
    month.problem("at", at.error().message);
    return at.error();
  }
  auto schedule = monthly(static_cast<int>(month.integer("day", 1)), *at);
  if (!schedule) month.problem("day", schedule.error().message);
  month.close();
  return schedule;
}

Time Schedule::next(Time after) const {
  if (period_.count() > 0) {
    const auto since = (after - anchor_).count();
    auto periods = since / period_.count();
    if (since < 0 && since % period_.count() != 0) --periods;  // towards the past
    return anchor_ + period_ * (periods + 1);
  }
  const auto date = std::chrono::year_month_day{std::chrono::floor<std::chrono::days>(after)};
  std::chrono::year_month month = date.year() / date.month();
  Time due = in_month(month, day_, at_);
  while (due <= after) {
    month += std::chrono::months{1};
    due = in_month(month, day_, at_);
  }
  return due;
}

std::string Schedule::text() const {
  if (period_.count() > 0) return "every " + format_duration(period_);
  const auto minutes = std::chrono::duration_cast<std::chrono::minutes>(at_).count();
  return fmt::format("monthly on day {} at {:02}:{:02} UTC", day_, minutes / 60, minutes % 60);
}

}  // namespace slipway::jobs
