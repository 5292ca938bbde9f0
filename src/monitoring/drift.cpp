#include "monitoring/drift.h"

namespace slipway::monitoring {

namespace {

constexpr double kGroupShare =
    0.1;  // of the reference: bins are grouped to about so much for PSI and JS
constexpr double kCategoryShare = 0.02;  // rarer categories form one group

using Counts = std::vector<std::int64_t>;

std::vector<double> shares(std::span<const std::int64_t> counts) {
  const auto total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  std::vector<double> result;
  for (const std::int64_t count : counts)
    result.push_back(total > 0 ? static_cast<double>(count) / total : 0);
  return result;
}

// The group of each bin, decided by the reference alone: PSI over many small bins measures mostly
// noise.
std::vector<std::size_t> groups_of(std::span<const std::int64_t> reference, bool categorical) {
  const auto share = shares(reference);
  std::vector<std::size_t> groups(reference.size());
  if (categorical) {
    std::size_t next = 1;  // group 0 holds the rare ones and "other"
    for (std::size_t bin = 0; bin < reference.size(); ++bin) {
      groups[bin] = share[bin] >= kCategoryShare ? next++ : 0;
    }
    return groups;
  }
  std::size_t group = 0;
  double filled = 0;
  for (std::size_t bin = 0; bin < reference.size(); ++bin) {
    groups[bin] = group;
    filled += share[bin];
    if (filled >= kGroupShare - 1e-9) {
      ++group;
      filled = 0;
    }
  }
  return groups;
}

Counts grouped(std::span<const std::int64_t> counts, std::span<const std::size_t> groups) {
  Counts result(groups.empty() ? 0 : *std::max_element(groups.begin(), groups.end()) + 1);
  for (std::size_t bin = 0; bin < counts.size(); ++bin) result[groups[bin]] += counts[bin];
  return result;
}

// The area between the two distribution functions over the reference's range, taken as straight
// lines between the ends of bins, in standard deviations of the reference.
std::optional<double> wasserstein_of(const data::ColumnProfile& reference,
                                     std::span<const double> expected,
                                     std::span<const double> actual) {
  if (!reference.min || !reference.max || !reference.stddev || *reference.stddev <= 0)
    return std::nullopt;
  std::vector<double> ends(reference.bins.edges);
  ends.push_back(std::max(*reference.max, ends.empty() ? *reference.max : ends.back()));
  double before = 0;
  double from = *reference.min;
  double area = 0;
  for (std::size_t bin = 0; bin < expected.size() && bin < ends.size(); ++bin) {
    const double after = before + actual[bin] - expected[bin];
    area += std::max(0.0, ends[bin] - from) * (std::abs(before) + std::abs(after)) / 2;
    before = after;
    from = std::max(from, ends[bin]);
  }
  return area / *reference.stddev;
}

double out_of_range(const data::ColumnProfile& reference, const data::ColumnView& window) {
  if (!reference.min || !reference.max || window.rows == 0) return 0;
  std::int64_t outside = 0;
  for (std::int64_t row = 0; row < window.rows; ++row) {
    const double value = window.number(row);  // NaN for null: neither comparison holds
    outside += value < *reference.min || value > *reference.max ? 1 : 0;
  }
  return static_cast<double>(outside) / static_cast<double>(window.rows);
}

}  // namespace

DriftOptions DriftOptions::read(SpecReader& reader) {
  DriftOptions options;
  const auto share = [&](std::string_view key, double otherwise, double most) {
    const double value = reader.number(key, otherwise);
    if (value >= 0 && value <= most) return value;
    reader.problem(key, fmt::format("{} is {}; 0 to {} is allowed", key, value, most));
    return otherwise;
  };
  options.alpha = share("alpha", options.alpha, 0.5);
  options.min_effect = share("min_effect", options.min_effect, 1);
  options.psi_threshold = share("psi_threshold", options.psi_threshold, 100);
  options.null_change = share("null_change", options.null_change, 1);
  options.bonferroni = reader.one_of("correction", {"benjamini_hochberg", "bonferroni"},
                                     "benjamini_hochberg") == "bonferroni";
  options.ignore = reader.texts("ignore");
  return options;
}

Json DriftOptions::to_json() const {
  return {{"alpha", alpha},
          {"min_effect", min_effect},
          {"psi_threshold", psi_threshold},
          {"null_change", null_change},
          {"correction", bonferroni ? "bonferroni" : "benjamini_hochberg"},
          {"ignore", ignore}};
}

Json ColumnDrift::to_json() const {
  return {{"name", name},
          {"categorical", categorical},
          {"rows", rows},
          {"psi", psi},
          {"js", js},
          {"effect", effect},
          {"wasserstein", wasserstein ? json_number(*wasserstein) : Json()},
          {"p", p},
          {"p_adjusted", p_adjusted},
          {"null_share", null_share},
          {"reference_null_share", reference_null_share},
          {"null_p", null_p},
          {"null_p_adjusted", null_p_adjusted},
          {"unseen_share", unseen_share},
          {"out_of_range_share", out_of_range_share},
          {"importance", importance ? json_number(*importance) : Json()},
          {"drifted", drifted},
          {"major", major},
          {"nulls_changed", nulls_changed}};
}

Result<ColumnDrift> column_drift(const data::ColumnProfile& reference,
                                 const data::ColumnView& window) {
  auto counted = data::count_in_bins(reference, window);
  if (!counted) return counted.error();
  const auto& bins = reference.bins;
  if (bins.counts.size() != bins.bin_count() || counted->size() != bins.bin_count()) {
    return invalid_argument("the reference of column '" + reference.name + "' has no bins");
  }
  ColumnDrift drift;
  drift.name = reference.name;
  drift.categorical = bins.categorical;
  drift.rows = window.rows;
  // The last bin counts nulls: they are a change of their own.
  const std::size_t values = bins.bin_count() - 1;
  const std::span<const std::int64_t> before(bins.counts.data(), values);
  const std::span<const std::int64_t> now(counted->data(), values);
  const std::int64_t nulls_before = bins.counts.back();
  const std::int64_t nulls_now = counted->back();
  const std::int64_t rows_before =
      std::accumulate(bins.counts.begin(), bins.counts.end(), std::int64_t{0});
  const auto share_of = [](std::int64_t part, std::int64_t whole) {
    return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
  };
  drift.reference_null_share = share_of(nulls_before, rows_before);
  drift.null_share = share_of(nulls_now, window.rows);
  drift.null_p = share_test(nulls_before, rows_before, nulls_now, window.rows).p;
  if (bins.categorical) {
    // "other" means unseen only while the reference had a bin for each of its values.
    const std::size_t other = values - 1;
    if (before[other] == 0) drift.unseen_share = share_of(now[other], window.rows);
  } else {
    drift.out_of_range_share = out_of_range(reference, window);
  }
  if (rows_before == nulls_before || window.rows == nulls_now) return drift;  // nothing to compare

  const auto groups = groups_of(before, bins.categorical);
  const auto coarse_before = shares(grouped(before, groups));
  const auto coarse_now = shares(grouped(now, groups));
  drift.psi = *population_stability_index(coarse_before, coarse_now);
  drift.js = *jensen_shannon_distance(coarse_before, coarse_now);
  const auto expected = shares(before);
  const auto actual = shares(now);
  if (bins.categorical) {
    drift.effect = *total_variation(coarse_before, coarse_now);
    drift.p = chi_square_test(before, now).p;
  } else {
    const TestResult test = ks_test(before, now);
    drift.effect = test.statistic;
    drift.p = test.p;
    drift.wasserstein = wasserstein_of(reference, expected, actual);
  }
  return drift;
}

void decide(std::span<ColumnDrift> columns, const DriftOptions& options) {
  std::vector<double> p;
  std::vector<double*> adjusted_of;
  const auto add = [&](double one, double& adjusted) {
    p.push_back(one);
    adjusted_of.push_back(&adjusted);
  };
  for (auto& column : columns) {
    add(column.p, column.p_adjusted);
    // Where nothing or everything is null there is no test, and the others need not be corrected
    // for it.
    const bool all_alike = column.null_share == column.reference_null_share &&
                           (column.null_share == 0 || column.null_share == 1);
    column.null_p_adjusted = 1;
    if (!all_alike) add(column.null_p, column.null_p_adjusted);
  }
  const auto adjusted = options.bonferroni ? bonferroni(p) : benjamini_hochberg(p);
  for (std::size_t i = 0; i < p.size(); ++i) *adjusted_of[i] = adjusted[i];
  for (auto& column : columns) {
    column.drifted = column.p_adjusted <= options.alpha && column.effect >= options.min_effect;
    column.major = column.drifted && column.psi >= options.psi_threshold;
    column.nulls_changed =
        column.null_p_adjusted <= options.alpha &&
        std::abs(column.null_share - column.reference_null_share) >= options.null_change;
  }
}

std::optional<double> weighted_drift(std::span<const ColumnDrift> columns) {
  double sum = 0;
  double weights = 0;
  for (const auto& column : columns) {
    if (!column.importance || !(*column.importance > 0)) continue;
    sum += *column.importance * column.js;
    weights += *column.importance;
  }
  if (weights == 0) return std::nullopt;
  return sum / weights;
}

}  // namespace slipway::monitoring
