// Which outputs a model gets to see, by what they tell on the training rows.
#include <cmath>
#include <map>
#include <numeric>

#include "base/parallel.h"
#include "features/pipeline_internal.h"

namespace slipway::features {
namespace {

constexpr std::size_t kMostBins = 64;    // of an output, for mutual information
constexpr std::size_t kTargetBins = 16;  // of a target that is no class

// Of the population, over the values that are there.
double variance_of(const Matrix& matrix, std::size_t column) {
  double sum = 0;
  double count = 0;
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    const double value = matrix.values[row * matrix.cols + column];
    if (std::isnan(value)) continue;
    sum += value;
    ++count;
  }
  if (count == 0) return 0;
  const double mean = sum / count;
  double squares = 0;
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    const double value = matrix.values[row * matrix.cols + column];
    if (!std::isnan(value)) squares += (value - mean) * (value - mean);
  }
  return squares / count;
}

// Numbers a value's bin: one for each value when there are few, else of equal counts; the last is
// of what is missing.
struct Binned {
  std::vector<std::uint16_t> bins;  // [rows]
  std::size_t count = 0;
};

template <class ValueOf>
Binned bin(std::size_t rows, std::size_t most, ValueOf value_of) {
  std::vector<double> sorted;
  for (std::size_t row = 0; row < rows; ++row) {
    if (const double value = value_of(row); !std::isnan(value)) sorted.push_back(value);
  }
  std::sort(sorted.begin(), sorted.end());
  std::vector<double> edges = sorted;
  edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  if (edges.size() > most) {
    edges.clear();
    for (std::size_t i = 0; i < most; ++i) edges.push_back(sorted[i * sorted.size() / most]);
    edges.erase(std::unique(edges.begin(), edges.end()), edges.end());
  }
  Binned out;
  out.count = edges.size() + 1;
  out.bins.resize(rows);
  for (std::size_t row = 0; row < rows; ++row) {
    const double value = value_of(row);
    const auto at = std::isnan(value)
                        ? edges.size()
                        : static_cast<std::size_t>(
                              std::upper_bound(edges.begin(), edges.end(), value) - edges.begin()) -
                              1;
    out.bins[row] = static_cast<std::uint16_t>(at);
  }
  return out;
}

// In nats: T. Cover, J. Thomas, "Elements of Information Theory" (2006), 2.3.
double mutual_information(const Binned& a, const Binned& b) {
  std::vector<double> joint(a.count * b.count);
  std::vector<double> of_a(a.count);
  std::vector<double> of_b(b.count);
  for (std::size_t row = 0; row < a.bins.size(); ++row) {
    ++joint[a.bins[row] * b.count + b.bins[row]];
    ++of_a[a.bins[row]];
    ++of_b[b.bins[row]];
  }
  const auto rows = static_cast<double>(a.bins.size());
  double sum = 0;
  for (std::size_t i = 0; i < a.count; ++i) {
    for (std::size_t j = 0; j < b.count; ++j) {
      const double both = joint[i * b.count + j];
      if (both > 0) sum += both / rows * std::log(both * rows / (of_a[i] * of_b[j]));
    }
  }
  return std::max(0.0, sum);
}

Result<std::vector<double>> scores_of(const Select& select, const Matrix& matrix,
                                      const Importance& importance) {
  std::vector<double> scores(matrix.cols);
  const auto each = [&](auto score) {
    parallel_for(matrix.cols, 1, [&](std::size_t begin, std::size_t end) {
      for (std::size_t column = begin; column < end; ++column) scores[column] = score(column);
    });
  };
  if (select.by == Select::By::variance) {
    each([&](std::size_t column) { return variance_of(matrix, column); });
    return scores;
  }
  if (matrix.labels.size() != matrix.rows) {
    return invalid_argument(
        "select by what an output tells of the target needs the target, and none was given");
  }
  if (select.by == Select::By::mutual_information) {
    const Binned target =
        bin(matrix.rows, kTargetBins, [&](std::size_t row) { return matrix.labels[row]; });
    each([&](std::size_t column) {
      return mutual_information(
          bin(matrix.rows, kMostBins,
              [&](std::size_t row) {
                return static_cast<double>(matrix.values[row * matrix.cols + column]);
              }),
          target);
    });
    return scores;
  }
  if (!importance) {
    return failed_precondition(
        "select by importance needs a learner, and here is none; select by mutual_information "
        "instead");
  }
  auto gains = importance(matrix);
  if (gains && gains->size() != matrix.cols)
    return internal("the learner told the importance of another number of features");
  return gains;
}

}  // namespace

Result<std::vector<std::size_t>> select_outputs(const Select& select, const Matrix& matrix,
                                                const Importance& importance,
                                                std::vector<std::string>& notes) {
  const auto scores = scores_of(select, matrix, importance);
  if (!scores) return scores.error();
  std::vector<std::size_t> kept;
  for (std::size_t column = 0; column < matrix.cols; ++column) {
    if ((*scores)[column] > select.above) kept.push_back(column);
  }
  if (select.keep > 0 && kept.size() > select.keep) {
    std::stable_sort(kept.begin(), kept.end(),
                     [&](std::size_t a, std::size_t b) { return (*scores)[a] > (*scores)[b]; });
    kept.resize(select.keep);
    std::sort(kept.begin(), kept.end());
  }
  if (kept.empty()) {
    return failed_precondition("no output scores above " + Json(select.above).dump() +
                               ", so none would be left; lower `above`");
  }
  std::string dropped;
  std::size_t count = 0;
  for (std::size_t column = 0; column < matrix.cols; ++column) {
    if (std::binary_search(kept.begin(), kept.end(), column)) continue;
    if (++count <= 20) dropped += (dropped.empty() ? "'" : ", '") + matrix.names[column] + "'";
  }
  if (count > 0) {
    notes.push_back("selection leaves out " + std::to_string(count) + " of " +
                    std::to_string(matrix.cols) + " outputs: " + dropped +
                    (count > 20 ? " and others" : ""));
  }
  return kept;
}

}  // namespace slipway::features
