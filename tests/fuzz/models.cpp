// Any bytes as a model's files: trees (XGBoost's UBJSON and JSON, LightGBM's text), the outside
// files of an ONNX model, a Parquet footer, a graph. Loading gives a model or an error that says
// something; a model gives numbers.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "models/graph.h"
#include "models/model.h"
#include "models/onnx_file_internal.h"
#include "models/parquet_splice_internal.h"

namespace {

constexpr std::size_t kMostFuzzedNumbers = 10'000;

void run_model(const slipway::Result<slipway::models::ModelPtr>& loaded) {
  if (!loaded) {
    if (loaded.error().message.empty()) std::abort();
    return;
  }
  const slipway::models::Model& model = **loaded;
  if (model.features() > kMostFuzzedNumbers || model.outputs() > kMostFuzzedNumbers) return;
  std::vector<double> row(model.features() * 2, 0.5);
  for (std::size_t i = 0; i < row.size(); i += 3) row[i] = static_cast<double>(i) * -1.5;
  std::vector<double> out(2 * model.outputs());
  (void)model.predict(std::span<const double>(row), 2, out);
  if (model.explained() * (model.features() + 1) > kMostFuzzedNumbers) return;
  std::vector<double> parts(2 * model.explained() * (model.features() + 1));
  if (model.explained() > 0) (void)model.contributions(row, 2, parts);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace slipway::models;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  run_model(load_xgboost(bytes));
  run_model(load_lightgbm(bytes));
  (void)external_files(bytes);
  if (const auto part = split_parquet(bytes); part && !part->row_groups.empty())
    (void)shifted(part->row_groups.front(), 4096);
  if (const auto json = slipway::parse_json(bytes, "graph.json")) (void)GraphSpec::from_json(*json);
  return 0;
}
