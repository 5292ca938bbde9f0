// What answers requests: raw columns in, numbers out, whatever is inside. Loaded from a folder that
// holds a slipway bundle, a graph of models, or a model that MLflow logged.
//   auto servable = load_servable(folder, options);
//   std::vector<double> out(rows * (*servable)->width());
//   auto done = (*servable)->predict(batch, out);
// Immutable and thread-safe. A row's numbers have the same bits whatever rows stand around it,
// except where another program computes them (ONNX Runtime, workers).
#pragma once
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "features/view.h"

namespace slipway::models {

class Servable {
 public:
  virtual ~Servable() = default;
  virtual const data::Schema& inputs() const = 0;  // found by name; others are ignored
  // One number a row is P(class 1), several are the probabilities of classes.
  virtual bool is_classifier() const = 0;
  virtual std::size_t width() const { return 1; }  // numbers a row
  // out [rows, width()]. threads 0: default_threads().
  virtual Result<void> predict(const data::Batch& batch, std::span<double> out,
                               int threads = 1) const = 0;
  // The features that contributions() is about; empty: it is not offered.
  virtual std::vector<std::string> explained() const { return {}; }
  // SHAP values [rows, width(), explained().size() + 1], see Model::contributions.
  virtual Result<void> contributions(const data::Batch& batch, std::span<double> out) const;
  virtual bool blocks() const { return false; }  // waits for another process
  virtual Json describe() const = 0;
};
using ServablePtr = std::unique_ptr<const Servable>;

struct WorkerOptions {
  // The interpreter of the environment that models in Python run in; empty: none is run.
  std::filesystem::path python;
  // Digest of that environment (environment_digest); empty: any.
  std::string environment;
  std::int64_t memory_mb = 4096;  // address space of a worker, libraries included
  std::int64_t load_timeout_ms = 60'000;
  std::int64_t call_timeout_ms = 10'000;
  Result<void> validate() const;
};

struct RuntimeOptions {
  std::filesystem::path onnxruntime;  // the library; empty: where ./dev setup and packages put it
  WorkerOptions workers;
  std::shared_ptr<const features::ViewSource> views;  // where a bundle's features look up
};

// data_loss: damaged; unimplemented: a part of it is not run here, which the message names;
// failed_precondition: it needs a worker, and there is none.
Result<ServablePtr> load_servable(const std::filesystem::path& folder,
                                  const RuntimeOptions& options = {});

}  // namespace slipway::models
