// Rows with everything that goes wrong in columns: nulls, NaN, infinities, extreme integers and
// times, texts that are empty, long, foreign or not UTF-8 at all. Drawn from a seed.
#pragma once
#include <cmath>
#include <limits>
#include <string>

#include "base/rng.h"
#include "data/table.h"

namespace slipway::test {

inline data::Schema odd_schema() {
  using data::Type;
  return {{{"temp", Type::float64, true},
           {"dist", Type::int64, true},
           {"carrier", Type::text, true},
           {"tail", Type::text, true},
           {"holiday", Type::boolean, true},
           {"when", Type::timestamp, true},
           {"gust", Type::float64, true},
           {"month", Type::int64, true}}};
}

inline std::string odd_text(Rng& rng, std::size_t common) {
  static const std::string kOdd[] = {"",          " ",
                                     "UA ",       "ua",
                                     "日本航空",  "\xF0\x9F\x9B\xAC",
                                     "e\u0301",   "\xC3\xA9",
                                     "\xFF\xFE",  "a\"b",
                                     "(rare)",    std::string("A\0B", 3),
                                     "(missing)", "\xED\xA0\x80",
                                     "\xE2\x82"};
  const double draw = rng.uniform();
  if (draw < 0.02) return kOdd[rng.below(std::size(kOdd))];
  if (draw < 0.021) return std::string(rng.below(300), 'x');
  return "C" +
         std::to_string(rng.below(rng.below(common) + 1));  // skewed: low numbers are frequent
}

inline double odd_real(Rng& rng) {
  static const double kOdd[] = {std::numeric_limits<double>::quiet_NaN(),
                                -std::numeric_limits<double>::quiet_NaN(),
                                std::numeric_limits<double>::infinity(),
                                -std::numeric_limits<double>::infinity(),
                                std::numeric_limits<double>::max(),
                                std::numeric_limits<double>::denorm_min(),
                                -0.0,
                                -1.0};
  return rng.uniform() < 0.03 ? kOdd[rng.below(std::size(kOdd))] : rng.normal() * 20 + 50;
}

inline std::int64_t odd_integer(Rng& rng) {
  static const std::int64_t kOdd[] = {std::numeric_limits<std::int64_t>::min(),
                                      std::numeric_limits<std::int64_t>::max(), 0, -1,
                                      (std::int64_t{1} << 53) + 1};
  return rng.uniform() < 0.02 ? kOdd[rng.below(std::size(kOdd))]
                              : static_cast<std::int64_t>(rng.below(3000));
}

inline std::int64_t odd_time(Rng& rng) {
  constexpr std::int64_t kYear2013 = 1'356'998'400'000'000;
  if (rng.uniform() < 0.02) return odd_integer(rng);
  return kYear2013 + static_cast<std::int64_t>(rng.below(365LL * 86'400)) * 1'000'000;
}

// Appends rows in odd_schema(). `wild` puts the odd values in; tame rows still have nulls.
inline void append_odd_rows(data::BatchBuilder& out, Rng& rng, std::size_t rows, bool wild = true) {
  const auto null = [&](std::size_t column) {
    if (rng.uniform() >= 0.05) return false;
    out.append_null(column);
    return true;
  };
  for (std::size_t i = 0; i < rows; ++i) {
    if (!null(0)) out.append_real(0, wild ? odd_real(rng) : rng.normal() * 20 + 50);
    if (!null(1))
      out.append_integer(1, wild ? odd_integer(rng) : static_cast<std::int64_t>(rng.below(3000)));
    if (!null(2))
      out.append_text(2, wild ? odd_text(rng, 14) : "C" + std::to_string(rng.below(14)));
    if (!null(3))
      out.append_text(3, wild ? odd_text(rng, 4000) : "C" + std::to_string(rng.below(3000)));
    if (!null(4)) out.append_boolean(4, rng.below(2) == 1);
    if (!null(5)) out.append_integer(5, odd_time(rng));
    if (!null(6)) out.append_real(6, wild ? odd_real(rng) : std::abs(rng.normal()) * 10);
    if (!null(7)) out.append_integer(7, static_cast<std::int64_t>(rng.below(12)) + 1);
  }
}

}  // namespace slipway::test
