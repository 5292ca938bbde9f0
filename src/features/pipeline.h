// Raw columns into the matrix a model sees. Fitted once, on the training rows; from then on a value
// that travels inside the model's bundle, so that training, batch scoring and a single request run
// the same code on the same numbers: a row's outputs have the same bits whatever batch it stands in
// and however many threads work on it.
//   auto fitted = Pipeline::fit_transform(ctx, spec, train, target, {.seed = 7});
//   … train a model on fitted->matrix …
//   auto pipeline = Pipeline::from_json(bundle_json);
//   std::vector<float> matrix(rows * pipeline->outputs().size());
//   auto done = pipeline->transform(batch, matrix);
// What is missing (null, NaN, an infinity, a number with no logarithm …) is NaN in the matrix
// unless an impute fills it; no output is ever infinite. Values are immutable and cheap to copy;
// all const functions are thread-safe.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "features/matrix.h"
#include "features/spec.h"

namespace slipway::features {

// What a boosted model gains by each column of the matrix, [cols]; for `select: {by: importance}`.
using Importance = std::function<Result<std::vector<double>>(const Matrix& matrix)>;

struct FitOptions {
  std::uint64_t seed = 0;  // of the folds of target encodings
  int threads = 0;         // 0: default_threads(); the fit is the same for any number
  Importance importance{};
  const ViewSource* views = nullptr;  // for the views of the spec
};

struct Fitted;

class Pipeline {
 public:
  // `train` may hold more columns than the spec selects. `target` [rows] may be empty when nothing
  // encodes it. failed_precondition when a selected column has no value to learn from; the message
  // names it and its declaration.
  static Result<Pipeline> fit(const Context& ctx, const PipelineSpec& spec,
                              const data::Batch& train, std::span<const double> target,
                              const FitOptions& options = {});
  // As fit, with the matrix to train on: target encodings are out of fold, everything else is as
  // transform gives it.
  static Result<Fitted> fit_transform(const Context& ctx, const PipelineSpec& spec,
                                      const data::Batch& train, std::span<const double> target,
                                      const FitOptions& options = {});

  static Result<Pipeline> from_json(const Json& json);  // of this version or an older one
  Json to_json() const;  // {"version": 2, …}; exact: every number comes back with the same bits
  const std::string& digest() const;  // SHA-256 of the canonical JSON

  const data::Schema& inputs() const;  // the columns it reads, and no others
  // Views it looks up in, by their keys and times among the inputs. Fitted, it goes on with the
  // views it was fitted with; one from JSON needs to be told where to find them.
  const std::vector<ViewSpec>& views() const;
  Pipeline with_views(std::shared_ptr<const ViewSource> source) const;
  const std::vector<std::string>& outputs()
      const;  // the matrix's columns: "temp", "carrier=UA", "time_hour.hour"
  const std::vector<std::string>& notes()
      const;  // remarks of the fit (a constant column …); not part of the value

  // failed_precondition when a view is not there, or is declared otherwise than when fitting.
  // Columns are found by name; others are ignored. `out` is [rows, outputs] row-major. Allocates
  // nothing after a thread's first calls unless the batch is large enough to be worth several
  // threads.
  Result<void> transform(const data::Batch& batch, std::span<float> out, int threads = 0) const;

  struct Impl;
  const Impl& impl() const { return *impl_; }  // for this folder

 private:
  explicit Pipeline(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  static Result<Fitted> fit_all(const Context& ctx, const PipelineSpec& spec,
                                const data::Batch& train, std::span<const double> target,
                                const FitOptions& options, bool with_matrix);
  std::shared_ptr<const Impl> impl_;
  std::shared_ptr<const ViewSource> view_source_;
};

struct Fitted {
  Pipeline pipeline;
  std::vector<float> matrix;  // [rows, outputs]
};

}  // namespace slipway::features
