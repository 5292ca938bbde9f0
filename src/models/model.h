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
  virtual bool is_classifier() const = 0;     // scores are P(class 1), else predicted values
  virtual std::size_t features() const = 0;
  // matrix [rows, features] row-major, NaN = missing; out [rows]. invalid_argument when the sizes
  // disagree.
  Result<void> predict(std::span<const float> matrix, std::size_t rows,
                       std::span<double> out) const;

 private:
  virtual void score(std::span<const float> matrix, std::size_t rows,
                     std::span<double> out) const = 0;
};
using ModelPtr = std::unique_ptr<const Model>;

// From the bytes that training gave. data_loss when they are not what they claim to be, whatever
// they are: nothing in a file makes this crash, loop or take more memory than a small multiple of
// the file. unimplemented names the part of XGBoost's format that is valid but not run here.
Result<ModelPtr> load_model(std::string_view kind, std::string_view bytes);

// XGBoost's file (UBJSON or JSON; one output, gbtree) run by our own walk over flat trees. The
// library costs about 100 µs a call; the walk gives the same bits in a few. Its scores are checked
// against the library in write_bundle.
Result<ModelPtr> load_xgboost(std::string_view bytes);

// A logistic regression: {"version": 1, "intercept": …, "weights": […]}. A missing feature adds
// nothing.
Result<ModelPtr> load_logistic(std::string_view bytes);

}  // namespace slipway::models
