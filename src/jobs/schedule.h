// When something recurring is due next. Pure: the same question has the same answer.
//   auto monthly = Schedule::monthly(1, 3h);  monthly->next(now);   // the first of each month,
//   03:00 UTC auto weekly = Schedule::every(7 days, anchor);
#pragma once
#include <string>

#include "base/clock.h"
#include "base/result.h"
#include "base/spec.h"

namespace slipway::jobs {

class Schedule {
 public:
  // At anchor + k * period. invalid_argument unless the period is positive.
  static Result<Schedule> every(Duration period, Time anchor = Time{});
  // On a day (1 to 31; in shorter months their last day) at a time of day in UTC (0 to under 24
  // hours).
  static Result<Schedule> monthly(int day, Duration at = Duration{0});
  // {every: 30d, from: 2013-04-01} or {monthly: {day: 1, at: "03:00"}}; problems go to the reader.
  static Result<Schedule> read(SpecReader& reader);

  Time next(Time after) const;  // the first moment later than `after`
  std::string text() const;     // "every 7 d", "monthly on day 1 at 03:00 UTC"

 private:
  Schedule() = default;
  Duration period_{0};  // 0: monthly
  Time anchor_{};
  int day_ = 1;
  Duration at_{0};
};

}  // namespace slipway::jobs
