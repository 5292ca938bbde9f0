// How columns hang together, from a sample of rows.
#include <unordered_map>

#include "base/hash.h"
#include "data/profile_internal.h"

namespace slipway::data {

namespace {

constexpr double kLeastShown = 0.1;
constexpr std::size_t kMostShown = 200;
constexpr std::size_t kMostRelatedColumns = 120;  // pairs grow with the square
constexpr std::size_t kMostLevels = 500;          // of a category
constexpr double kLeak = 0.95;

// A column of the sample: numbers with their ranks, or codes of categories.
struct SampledColumn {
  bool numbers = false;
  std::vector<double> values;       // NaN: null
  std::vector<double> ranks;        // among the present; ties by their mean
  std::vector<std::int32_t> codes;  // -1: null
  std::size_t levels = 0;           // 0: too many to be a category
  std::size_t present = 0;
};

std::vector<double> mean_ranks(const std::vector<double>& values) {
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isnan(values[i])) order.push_back(i);
  }
  std::sort(order.begin(), order.end(), [&](auto a, auto b) { return values[a] < values[b]; });
  std::vector<double> ranks(values.size(), std::numeric_limits<double>::quiet_NaN());
  for (std::size_t from = 0; from < order.size();) {
    std::size_t until = from;
    while (until < order.size() && values[order[until]] == values[order[from]]) ++until;
    const double rank = static_cast<double>(from + until - 1) / 2;
    for (; from < until; ++from) ranks[order[from]] = rank;
  }
  return ranks;
}

SampledColumn read_sample(const RowSample& sample, std::size_t column, Type type) {
  SampledColumn out;
  out.numbers = type != Type::text && type != Type::boolean;
  std::unordered_map<std::uint64_t, std::int32_t> known;
  for (std::size_t row = 0; row < sample.rows(); ++row) {
    const auto cell = sample.cell(row, column);
    if (type == Type::text) {
      out.codes.push_back(
          cell == 0
              ? -1
              : known.try_emplace(cell, static_cast<std::int32_t>(known.size())).first->second);
      out.present += cell == 0 ? 0 : 1;
      continue;
    }
    const auto value = std::bit_cast<double>(cell);
    out.values.push_back(value);
    out.present += std::isnan(value) ? 0 : 1;
    if (!out.numbers) out.codes.push_back(std::isnan(value) ? -1 : value != 0 ? 1 : 0);
  }
  out.levels = type == Type::text ? known.size() : out.numbers ? 0 : 2;
  if (out.levels > kMostLevels || out.levels * 5 > out.present) out.levels = 0;
  if (out.numbers) out.ranks = mean_ranks(out.values);
  return out;
}

struct Strength {
  double value = 0;
  std::int64_t rows = 0;
};

Strength pearson(const std::vector<double>& a, const std::vector<double>& b) {
  std::int64_t n = 0;
  double mean_a = 0;
  double mean_b = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) continue;
    ++n;
    mean_a += a[i];
    mean_b += b[i];
  }
  if (n < 3) return {};
  mean_a /= static_cast<double>(n);
  mean_b /= static_cast<double>(n);
  double aa = 0;
  double bb = 0;
  double ab = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) continue;
    const double x = a[i] - mean_a;
    const double y = b[i] - mean_b;
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  if (!(aa > 0) || !(bb > 0)) return {0, n};
  return {std::clamp(ab / std::sqrt(aa * bb), -1.0, 1.0), n};
}

Strength cramers_v(const SampledColumn& a, const SampledColumn& b) {
  std::vector<std::int64_t> table(a.levels * b.levels, 0);
  std::int64_t n = 0;
  for (std::size_t i = 0; i < a.codes.size(); ++i) {
    if (a.codes[i] < 0 || b.codes[i] < 0) continue;
    ++table[static_cast<std::size_t>(a.codes[i]) * b.levels + static_cast<std::size_t>(b.codes[i])];
    ++n;
  }
  std::vector<double> of_a(a.levels, 0);
  std::vector<double> of_b(b.levels, 0);
  for (std::size_t i = 0; i < a.levels; ++i) {
    for (std::size_t j = 0; j < b.levels; ++j) {
      of_a[i] += static_cast<double>(table[i * b.levels + j]);
      of_b[j] += static_cast<double>(table[i * b.levels + j]);
    }
  }
  const auto used = [](const std::vector<double>& counts) {
    return static_cast<double>(
        std::count_if(counts.begin(), counts.end(), [](double c) { return c > 0; }));
  };
  const double r = used(of_a);
  const double k = used(of_b);
  if (n < 3 || r < 2 || k < 2) return {0, n};
  double phi = -1;
  for (std::size_t i = 0; i < a.levels; ++i) {
    for (std::size_t j = 0; j < b.levels; ++j) {
      const auto count = static_cast<double>(table[i * b.levels + j]);
      if (count > 0) phi += count * count / (of_a[i] * of_b[j]);
    }
  }
  // W. Bergsma, "A bias-correction for Cramer's V and Tschuprow's T" (2013)
  const double less = static_cast<double>(n) - 1;
  const double corrected = std::max(0.0, phi - (r - 1) * (k - 1) / less);
  const double rows = r - (r - 1) * (r - 1) / less;
  const double columns = k - (k - 1) * (k - 1) / less;
  const double most = std::min(rows, columns) - 1;
  return {most > 0 ? std::min(1.0, std::sqrt(corrected / most)) : 0, n};
}

Strength correlation_ratio(const SampledColumn& category, const SampledColumn& number) {
  std::vector<double> sums(category.levels, 0);
  std::vector<double> counts(category.levels, 0);
  double total = 0;
  std::int64_t n = 0;
  const auto each = [&](const auto& visit) {
    for (std::size_t i = 0; i < category.codes.size(); ++i) {
      if (category.codes[i] >= 0 && !std::isnan(number.values[i]))
        visit(static_cast<std::size_t>(category.codes[i]), number.values[i]);
    }
  };
  each([&](std::size_t code, double value) {
    sums[code] += value;
    ++counts[code];
    total += value;
    ++n;
  });
  if (n < 3) return {};
  const double mean = total / static_cast<double>(n);
  double within = 0;
  double all = 0;
  std::size_t groups = 0;
  for (const double count : counts) groups += count > 0 ? 1 : 0;
  each([&](std::size_t code, double value) {
    const double apart = value - sums[code] / counts[code];
    within += apart * apart;
    all += (value - mean) * (value - mean);
  });
  if (!(all > 0) || static_cast<std::int64_t>(groups) >= n) return {0, n};
  // adjusted for the number of groups, which explain something by chance alone (T. Kelley, 1935)
  const double adjusted = 1 - (within / (static_cast<double>(n) - static_cast<double>(groups))) /
                                  (all / (static_cast<double>(n) - 1));
  return {std::sqrt(std::clamp(adjusted, 0.0, 1.0)), n};
}

// The chance that a row of the one class has the greater value: 0.5 tells nothing, 0 and 1 all.
std::optional<double> area_under_curve(const SampledColumn& feature, const SampledColumn& target) {
  double least = std::numeric_limits<double>::infinity();
  double most = -least;
  for (const double value : target.values) {
    if (std::isnan(value)) continue;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  if (!(least < most)) return std::nullopt;
  std::vector<double> both(feature.values);
  double positives = 0;
  double negatives = 0;
  for (std::size_t i = 0; i < both.size(); ++i) {
    const double class_of = target.values[i];
    if (std::isnan(class_of)) both[i] = class_of;
    if (std::isnan(both[i])) continue;
    if (class_of != least && class_of != most) return std::nullopt;  // more than two classes
    ++(class_of == most ? positives : negatives);
  }
  if (positives < 10 || negatives < 10) return std::nullopt;
  const auto ranks = mean_ranks(both);
  double sum = 0;
  for (std::size_t i = 0; i < both.size(); ++i) {
    if (!std::isnan(ranks[i]) && target.values[i] == most) sum += ranks[i] + 1;
  }
  return (sum - positives * (positives + 1) / 2) / (positives * negatives);
}

Association relate(const Profile& profile, const std::vector<SampledColumn>& columns, std::size_t a,
                   std::size_t b) {
  const auto& x = columns[a];
  const auto& y = columns[b];
  Association result{profile.columns[a].name, profile.columns[b].name, "", 0, {}, 0};
  Strength strength;
  if (x.numbers && y.numbers) {
    result.measure = "pearson";
    strength = pearson(x.values, y.values);
    result.rank = pearson(x.ranks, y.ranks).value;
  } else if (!x.numbers && !y.numbers) {
    if (x.levels < 2 || y.levels < 2) return result;
    result.measure = "cramers_v";
    strength = cramers_v(x, y);
  } else {
    if (x.numbers) std::swap(result.a, result.b);
    const auto& category = x.numbers ? y : x;
    if (category.levels < 2) return result;
    result.measure = "correlation_ratio";
    strength = correlation_ratio(category, x.numbers ? x : y);
  }
  result.value = strength.value;
  result.rows = strength.rows;
  return result;
}

bool same_values(const SampledColumn& a, const SampledColumn& b) {
  if (a.numbers != b.numbers || a.present < 10) return false;
  if (!a.numbers) return false;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    if (a.values[i] != b.values[i] && !(std::isnan(a.values[i]) && std::isnan(b.values[i])))
      return false;
  }
  return true;
}

// What tells the target: by value, or by being missing.
void note_leaks(const std::vector<SampledColumn>& columns, std::size_t target, Profile& profile) {
  const auto& truth = columns[target];
  const auto& name = profile.columns[target].name;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (i == target) continue;
    const auto& feature = columns[i];
    auto& notes = profile.columns[i].notes;
    std::string how;
    if (feature.numbers && !truth.values.empty()) {
      if (const auto area = area_under_curve(feature, truth)) {
        if (std::max(*area, 1 - *area) >= kLeak) how = fmt::format("AUC {:.3f}", *area);
      } else if (const auto rank = truth.numbers ? pearson(feature.ranks, truth.ranks) : Strength{};
                 std::abs(rank.value) >= kLeak) {
        how = fmt::format("rank correlation {:.3f}", rank.value);
      }
    } else {
      const auto association = relate(profile, columns, i, target);
      if (std::abs(association.value) >= kLeak)
        how = fmt::format("{} {:.3f}", association.measure, association.value);
    }
    if (!how.empty()) {
      notes.push_back(
          fmt::format("tells the target '{}' almost alone ({}): is it known before?", name, how));
      continue;
    }
    if (feature.present == 0 || truth.values.empty()) continue;
    std::vector<double> missing;
    for (std::size_t row = 0; row < truth.values.size(); ++row) {
      const bool null =
          feature.codes.empty() ? std::isnan(feature.values[row]) : feature.codes[row] < 0;
      missing.push_back(null ? 1 : 0);
    }
    if (const auto link = pearson(missing, truth.values); std::abs(link.value) >= 0.8) {
      notes.push_back(fmt::format(
          "where it is missing tells the target '{}' (correlation {:.3f}): is that known before?",
          name, link.value));
    }
  }
}

}  // namespace

std::size_t RowSample::place(std::uint64_t priority) {
  std::size_t at = heap_.size();
  if (heap_.size() == limit_) {
    std::pop_heap(heap_.begin(), heap_.end());
    at = heap_.back().second;
    heap_.pop_back();
  } else {
    cells_.resize(cells_.size() + columns_);
  }
  heap_.emplace_back(priority, at);
  std::push_heap(heap_.begin(), heap_.end());
  return at * columns_;
}

void RowSample::add(const GroupBatch& batch) {
  if (limit_ == 0 || batch.rows == 0) return;
  const auto read = [&](std::size_t column, std::int64_t row) -> std::uint64_t {
    const auto& from = batch.columns[column];
    const auto& view = from.view;
    if (view.type == Type::text) {
      if (from.is_null(row)) return 0;
      const auto hash = hash64(view.text(from.coded() ? from.codes[row] : row), 7);
      return hash == 0 ? 1 : hash;
    }
    if (from.is_null(row)) return std::bit_cast<std::uint64_t>(std::nan(""));
    return std::bit_cast<std::uint64_t>(view.number(row));
  };
  if (seen_ == 0) {
    salt_ = 0x736c6970776179ULL;
    for (std::size_t column = 0; column < columns_; ++column)
      salt_ = mix64(salt_ ^ read(column, 0)) + column;
  }
  for (std::int64_t row = 0; row < batch.rows; ++row, ++seen_) {
    const auto priority = mix64(salt_ + 0x9e3779b97f4a7c15ULL * static_cast<std::uint64_t>(seen_));
    if (heap_.size() == limit_ && priority >= heap_.front().first) continue;
    const auto at = place(priority);
    for (std::size_t column = 0; column < columns_; ++column)
      cells_[at + column] = read(column, row);
  }
}

void RowSample::merge(const RowSample& other) {
  if (seen_ == 0) salt_ = other.salt_;
  seen_ += other.seen_;
  for (const auto& [priority, from] : other.heap_) {
    if (heap_.size() == limit_ && (limit_ == 0 || priority >= heap_.front().first)) continue;
    const auto at = place(priority);
    std::copy_n(other.cells_.begin() + static_cast<std::ptrdiff_t>(from * columns_), columns_,
                cells_.begin() + static_cast<std::ptrdiff_t>(at));
  }
}

void RowSample::sort() {
  std::sort(heap_.begin(), heap_.end(), [this](const auto& a, const auto& b) {
    if (a.first != b.first) return a.first < b.first;
    const auto* cells = cells_.data();
    return std::lexicographical_compare(
        cells + a.second * columns_, cells + (a.second + 1) * columns_, cells + b.second * columns_,
        cells + (b.second + 1) * columns_);
  });
}

void relate_columns(const RowSample& sample, const std::string& target, Profile& profile) {
  profile.sampled = static_cast<std::int64_t>(sample.rows());
  if (sample.rows() == 0) return;
  std::vector<SampledColumn> columns;
  for (std::size_t i = 0; i < profile.columns.size(); ++i)
    columns.push_back(read_sample(sample, i, profile.columns[i].type));
  const std::size_t related = std::min(columns.size(), kMostRelatedColumns);
  for (std::size_t a = 0; a < related; ++a) {
    for (std::size_t b = a + 1; b < related; ++b) {
      auto association = relate(profile, columns, a, b);
      if (same_values(columns[a], columns[b]))
        profile.columns[b].notes.push_back("holds the same values as '" + profile.columns[a].name +
                                           "'");
      const double strength =
          std::max(std::abs(association.value), std::abs(association.rank.value_or(0)));
      if (strength >= kLeastShown) profile.associations.push_back(std::move(association));
    }
  }
  std::stable_sort(
      profile.associations.begin(), profile.associations.end(),
      [](const auto& a, const auto& b) { return std::abs(a.value) > std::abs(b.value); });
  if (profile.associations.size() > kMostShown) profile.associations.resize(kMostShown);
  for (std::size_t i = 0; i < profile.columns.size(); ++i) {
    if (!target.empty() && profile.columns[i].name == target) note_leaks(columns, i, profile);
  }
}

}  // namespace slipway::data
