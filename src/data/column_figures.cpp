#include "data/column_facts_internal.h"

namespace slipway::data {

namespace {

// Between the two nearest values, as DuckDB's quantile_cont.
double counted_quantile(const ColumnFacts& facts, double probability) {
  std::vector<std::pair<double, std::int64_t>> values;
  for (const auto& item : facts.values.items()) {
    const double value = facts.number_of(item.key);
    if (std::isfinite(value)) values.emplace_back(value, item.count);
  }
  std::sort(values.begin(), values.end());
  const double at = probability * static_cast<double>(facts.moments.count - 1);
  const auto value_at = [&](std::int64_t rank) {
    for (const auto& [value, count] : values) {
      if (rank < count) return value;
      rank -= count;
    }
    return values.back().first;
  };
  const double below = value_at(static_cast<std::int64_t>(std::floor(at)));
  const double above = value_at(static_cast<std::int64_t>(std::ceil(at)));
  return below + (above - below) * (at - std::floor(at));
}

}  // namespace

std::optional<double> figure_of(const Expectation& rule, const ColumnFacts& facts) {
  constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();
  const auto present = facts.rows - facts.nulls;
  const auto finite = facts.moments.count;
  const auto count = static_cast<double>(finite);
  switch (rule.check) {
    case Check::null_share:
      if (facts.rows == 0) return kNothing;
      return static_cast<double>(facts.nulls) / static_cast<double>(facts.rows);
    case Check::distinct_count:
    case Check::distinct_share: {
      if (!facts.counted) return std::nullopt;
      const auto distinct = static_cast<double>(facts.values.size());
      if (rule.check == Check::distinct_count) return distinct;
      return present == 0 ? kNothing : distinct / static_cast<double>(present);
    }
    case Check::min:
    case Check::max:
    case Check::freshness:
    case Check::mean:
    case Check::sum:
    case Check::stddev:
      if (finite == 0) return kNothing;
      if (rule.check == Check::min) return facts.min;
      if (rule.check == Check::mean) return facts.sum / count;
      if (rule.check == Check::sum) return facts.sum;
      if (rule.check == Check::stddev)
        return finite > 1 ? std::sqrt(facts.moments.squares / (count - 1)) : kNothing;
      return facts.max;
    case Check::median:
    case Check::quantile:
      if (!facts.counted) return std::nullopt;
      if (finite == 0) return kNothing;
      return counted_quantile(facts, rule.check == Check::median ? 0.5 : rule.probability);
    default:
      return std::nullopt;
  }
}

}  // namespace slipway::data
