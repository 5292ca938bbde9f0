// Training rows with what became of them, bit for bit (certificate.json of a bundle).
//   {"version": 1, "rows": 64, "columns": [{"name", "type", "values": […]}], "outputs": n,
//    "matrix": base64 of floats [rows, outputs], "matrix_sha256", "scores": base64 of doubles
//    [rows]}
// All numbers little-endian. NaN and infinities of a column are the texts "NaN", "Infinity",
// "-Infinity".
#pragma once
#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "features/pipeline.h"
#include "models/model.h"

namespace slipway::models {

constexpr std::size_t kCertificateRows = 64;

// Up to `most` rows of a batch, evenly spread, in the columns of the schema.
Result<data::BatchBuilder> sample_rows(const data::Schema& schema, const data::Batch& batch,
                                       std::size_t most);

Result<Json> certify(const features::Pipeline& pipeline, const Model& model,
                     const data::Batch& rows);
// data_loss tells the first difference: which feature of which row, or which score.
Result<void> check_certificate(const Json& certificate, const features::Pipeline& pipeline,
                               const Model& model);

// The scores of the XGBoost library itself, for comparison.
Result<std::vector<double>> library_scores(std::string_view model, std::span<const float> matrix,
                                           std::size_t rows);

// MLflow's signature: a list of columns as JSON text.
Json mlflow_columns(const data::Schema& schema);
// {"columns": […], "data": [[…]]}: MLflow's "split" orientation.
Json split_rows(const data::Batch& batch, std::size_t most);
// Block style, keys sorted, all texts quoted.
std::string to_yaml(const Json& value);

}  // namespace slipway::models
