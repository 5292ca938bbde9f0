// Civil dates and times of day from counts of microseconds. Every 64-bit count has them, as far as
// the year 294247. Day numbers: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms" (2013).
#pragma once
#include <cstdint>

namespace slipway::features {

struct Calendar {
  std::int64_t year;
  int month;   // 1 to 12
  int day;     // 1 to 31
  int doy;     // 1 to 366
  int dow;     // 0 Monday to 6 Sunday
  int hour;    // 0 to 23
  int minute;  // 0 to 59
};

inline std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  return a / b - ((a % b != 0) && ((a < 0) != (b < 0)) ? 1 : 0);
}

// Of a clock that is `offset_seconds` ahead of UTC.
inline Calendar calendar_of(std::int64_t micros, std::int32_t offset_seconds) {
  const std::int64_t minutes = floor_div(floor_div(micros, 1'000'000) + offset_seconds, 60);
  const std::int64_t days = floor_div(minutes, 1440);
  const int of_day = static_cast<int>(minutes - days * 1440);
  const std::int64_t shifted = days + 719'468;  // from 0000-03-01
  const std::int64_t era = floor_div(shifted, 146'097);
  const int of_era = static_cast<int>(shifted - era * 146'097);  // 0 to 146096
  const int year_of_era =
      (of_era - of_era / 1460 + of_era / 36'524 - of_era / 146'096) / 365;  // 0 to 399
  const int of_year =
      of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);  // from 1 March
  const int shifted_month = (5 * of_year + 2) / 153;                       // 0 March to 11 February
  Calendar out;
  out.day = of_year - (153 * shifted_month + 2) / 5 + 1;
  out.month = shifted_month < 10 ? shifted_month + 3 : shifted_month - 9;
  out.year = year_of_era + era * 400 + (out.month <= 2 ? 1 : 0);
  const bool leap = (out.year % 4 == 0 && out.year % 100 != 0) || out.year % 400 == 0;
  out.doy = out.month <= 2 ? of_year - 305 : of_year + 60 + (leap ? 1 : 0);
  out.dow = static_cast<int>(days + 3 - floor_div(days + 3, 7) * 7);  // 1970-01-01 was a Thursday
  out.hour = of_day / 60;
  out.minute = of_day % 60;
  return out;
}

}  // namespace slipway::features
