// A trained model that runs: features in, scores out. Small, immutable, shared freely between
// threads.
//   auto model = load_model("xgboost", bytes);
//   auto done = (*model)->predict(matrix, rows, scores);
// A row's score has the same bits whatever rows stand around it. predict() allocates nothing after
// a thread's first call.
#pragma once
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway::models {

class Model {
 public:
  virtual ~Model() = default;
  virtual std::string_view kind() const = 0;  // "xgboost"
  virtual std::string_view file() const = 0;  // its name in a bundle: "model.ubj"
  // One output: scores are P(class 1), else predicted values. Several: the probabilities of the
  // classes, or as many predicted values.
  virtual bool is_classifier() const = 0;
  virtual std::size_t features() const = 0;
  virtual std::size_t outputs() const { return 1; }  // values per row
  // As the model file has them; may be empty.
  virtual std::span<const std::string> feature_names() const { return {}; }
  // matrix [rows, features] row-major, NaN = missing; out [rows, outputs]. invalid_argument when
  // the sizes disagree.
  Result<void> predict(std::span<const float> matrix, std::size_t rows,
                       std::span<double> out) const;
  // The same for numbers as they come: the model takes them in the width it was trained on.
  Result<void> predict(std::span<const double> matrix, std::size_t rows,
                       std::span<double> out) const;

  // SHAP values: what each feature of a row adds to its score before the link (log-odds, log-mean
  // …), and last what the score is when nothing is known; their sum is the score. out [rows,
  // explained(), features + 1]. unimplemented when explained() is 0.
  virtual std::size_t explained() const { return 0; }
  Result<void> contributions(std::span<const double> matrix, std::size_t rows,
                             std::span<double> out) const;

 private:
  virtual void score(std::span<const float> matrix, std::size_t rows,
                     std::span<double> out) const = 0;
  virtual void score_wide(std::span<const double> matrix, std::size_t rows,
                          std::span<double> out) const;  // unless overridden, as floats
  virtual Result<void> explain(std::span<const double> matrix, std::size_t rows,
                               std::span<double> out) const;
};
using ModelPtr = std::unique_ptr<const Model>;

// From the bytes that training gave. data_loss when they are not what they claim to be, whatever
// they are: nothing in a file makes this crash, loop or take more memory than a small multiple of
// the file. unimplemented names the part of XGBoost's format that is valid but not run here.
Result<ModelPtr> load_model(std::string_view kind, std::string_view bytes);

// XGBoost's file (UBJSON or JSON) run by our own walk over flat trees. The library costs about
// 100 µs a call; the walk gives the same bits in a few. Its scores are checked against the library
// in write_bundle. What the walk does not do (linear boosters, trees of vectors) the library does.
struct XgboostOptions {
  // Boosting rounds to use: all, or up to the best one as early stopping noted it (what XGBoost's
  // scikit-learn classes predict with).
  enum class Rounds { all, best } rounds = Rounds::all;
};
Result<ModelPtr> load_xgboost(std::string_view bytes, const XgboostOptions& options = {});

// LightGBM's text file, likewise. Not run: linear trees.
Result<ModelPtr> load_lightgbm(std::string_view bytes);

// A logistic regression: {"version": 1, "intercept": …, "weights": […]}. A missing feature adds
// nothing.
Result<ModelPtr> load_logistic(std::string_view bytes);

}  // namespace slipway::models
