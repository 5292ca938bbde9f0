// The kinds of servables, and what they share.
#pragma once
#include "base/spec.h"
#include "models/model.h"
#include "models/servable.h"

namespace slipway::models {

// MLmodel of a folder that MLflow wrote.
struct MlflowFolder {
  std::filesystem::path folder;
  Json root;
  std::vector<data::Field> inputs;  // of its signature; empty: it has none with columns
  bool tensor_inputs = false;       // the signature speaks of tensors
  const Json* flavor(std::string_view name) const;  // null: it has not this one
  // A file of the folder that a flavor names: no path out of it, no link.
  Result<std::filesystem::path> file(const Json& flavor, const char* key) const;
  Json describe(std::string_view kind) const;
};

Result<ServablePtr> load_graph(const std::filesystem::path& folder, const RuntimeOptions& options);
Result<ServablePtr> load_mlflow(const std::filesystem::path& folder, const RuntimeOptions& options);
Result<ServablePtr> load_onnx(const MlflowFolder& mlflow, const Json& flavor,
                              const RuntimeOptions& options);
Result<ServablePtr> load_worker(const MlflowFolder& mlflow, const RuntimeOptions& options);

// A tree model over columns, in the order of its features.
ServablePtr make_table_model(data::Schema inputs, ModelPtr model, Json description);

// Columns as numbers, [rows, schema's fields] row-major; null is NaN. invalid_argument for text.
Result<void> numbers_of(const data::Schema& schema, const data::Batch& batch,
                        std::span<double> out);

}  // namespace slipway::models
