// Uncertainty of metrics by the bootstrap: B. Efron, R. Tibshirani, "An introduction to the
// bootstrap" (1993), ch. 13 (percentile interval). Rows are drawn with replacement as counts per
// row, so one sort serves all draws; a comparison uses the same draws for both models, which
// removes the noise they share. Same seed, same numbers, whatever the threads.
//   auto better = compare(labels, champion, challenger, Metric::log_loss, {.seed = run_seed});
//   if (better && better->low > 0) …          // the challenger wins with 97.5 % confidence
// Thread-safe.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "evaluation/metrics.h"

namespace slipway::evaluation {

struct BootstrapOptions {
  int draws = 200;           // 10 to 100,000
  double confidence = 0.95;  // of the interval; 0.5 to 0.999
  std::uint64_t seed = 0;
  double threshold = 0.5;  // of accuracy, precision, recall and f1
  int threads = 0;         // 0: all processors
  Result<void> validate() const;
};

// NaN at both ends when the metric is undefined.
struct Interval {
  double low = 0, high = 0;
};

// One interval per metric. Draws in which a metric is undefined do not count for it.
Result<std::vector<Interval>> bootstrap(std::span<const double> labels,
                                        std::span<const double> scores,
                                        std::span<const Metric> metrics,
                                        const BootstrapOptions& options = {});

// Challenger against champion on the same rows.
struct Comparison {
  Metric metric = Metric::auc;
  std::int64_t rows = 0;
  double champion = 0, challenger = 0;  // NaN when undefined
  double delta = 0;                     // challenger - champion, in the metric's own unit
  double improvement = 0;               // delta turned so that positive is better
  double low = 0, high = 0;             // interval of the improvement
  double p_better = 0;    // share of draws in which the challenger is better; a tie counts half
  int draws = 0;          // draws in which both were defined
  std::string undefined;  // why there is no answer; empty when there is one
  Json to_json() const;
  static Result<Comparison> from_json(const Json& json);
};

// A metric that is undefined on these rows (one class only) gives a Comparison with `undefined`,
// not an error.
Result<Comparison> compare(std::span<const double> labels, std::span<const double> champion,
                           std::span<const double> challenger, Metric metric,
                           const BootstrapOptions& options = {});

}  // namespace slipway::evaluation
