// Built-in learners: gradient-boosted trees (XGBoost through its C API) and logistic regression.
//   auto spec = TrainerSpec::read(reader);                       // algorithm and parameters, as
//   declared auto trained = train(ctx, spec, matrix, &validation, on_round); parts.kind =
//   trained->kind; parts.model = trained->model;    // into a bundle
// The same data, specification (seed and threads included) and library give the same model bytes.
// Calls block for as long as training takes and look at the context after every round; several may
// run at once. XGBoost's threads spin while they wait unless the process was started with
// OMP_WAIT_POLICY=passive, which on a busy machine multiplies the time by ten: processes that train
// are started so.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "features/matrix.h"

namespace slipway::training {

struct TrainerSpec {
  std::string algorithm = "xgboost";          // or "logistic"
  std::string objective = "binary:logistic";  // or "reg:squarederror", "reg:absoluteerror"
  std::string metric;                         // on validation rows; empty: logloss, or rmse
  int rounds = 200;                           // trees, or the most Newton steps
  int max_depth = 6;
  double learning_rate = 0.1;
  double min_child_weight = 1;
  double subsample = 1;         // share of rows per tree
  double colsample_bytree = 1;  // share of features per tree
  double reg_lambda = 1;        // L2; of logistic: lambda / 2 * |weights|^2 beside the summed loss
  double reg_alpha = 0;         // L1
  double gamma = 0;             // least gain of a split
  double scale_pos_weight = 1;
  int max_bin = 256;
  int early_stopping_rounds = 0;  // 0: never; else rounds without a better validation metric
  std::uint64_t seed = 0;
  int threads = 0;  // 0: default_threads()

  // Problems, unknown keys included, go to the reader.
  static TrainerSpec read(SpecReader& reader);
  static Result<TrainerSpec> from_json(const Json& json, const std::string& name = "trainer");
  Json to_json() const;  // every parameter that the algorithm looks at
  Result<void> validate() const;
  std::string metric_name() const;  // the one that will be computed
  bool higher_is_better() const;    // of the metric
};

struct Trained {
  std::string kind;   // "xgboost", "logistic"
  std::string model;  // bytes of the model file
  std::string metric;
  std::vector<double> validation;  // the metric after each round; empty without validation rows
  int rounds = 0;                  // that the model keeps
  bool stopped = false;            // by on_round, or by early stopping
  // Features with what they brought, most important first. Trees: mean gain of their splits.
  // Logistic: |weight| times the feature's standard deviation.
  std::vector<std::pair<std::string, double>> importance;
};

// After each round, with the validation metric (NaN without validation rows); true ends the
// training there.
using OnRound = std::function<bool(int round, double metric)>;

// invalid_argument or failed_precondition when there is nothing to learn: no rows, labels missing
// or not finite, one class only, a label that is neither 0 nor 1.
Result<Trained> train(const Context& ctx, const TrainerSpec& spec, const features::Matrix& train,
                      const features::Matrix* validation = nullptr, const OnRound& on_round = {});

}  // namespace slipway::training
