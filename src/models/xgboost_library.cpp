// The XGBoost library's own predictions, to hold our walk over its trees against.
#include <xgboost/c_api.h>

#include "models/certificate_internal.h"

namespace slipway::models {

Result<std::vector<double>> library_scores(std::string_view model, std::span<const float> matrix,
                                           std::size_t rows) {
  const auto failed = [](std::string_view doing) {
    return internal("XGBoost, " + std::string(doing) + ": " + XGBGetLastError());
  };
  BoosterHandle booster = nullptr;
  if (XGBoosterCreate(nullptr, 0, &booster) != 0) return failed("creating a booster");
  const std::unique_ptr<void, int (*)(BoosterHandle)> owner(booster, XGBoosterFree);
  if (XGBoosterSetParam(booster, "nthread", "1") != 0) return failed("setting nthread");
  if (XGBoosterLoadModelFromBuffer(booster, model.data(), model.size()) != 0)
    return failed("loading the model");
  const std::string values = fmt::format(
      R"({{"data":[{},true],"shape":[{},{}],"typestr":"<f4","version":3}})",
      reinterpret_cast<std::uintptr_t>(matrix.data()), rows, rows == 0 ? 0 : matrix.size() / rows);
  const char* config =
      R"({"type":0,"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":false,"missing":NaN,"cache_id":0})";
  const bst_ulong* shape = nullptr;
  bst_ulong dimensions = 0;
  const float* scores = nullptr;
  if (XGBoosterPredictFromDense(booster, values.c_str(), config, nullptr, &shape, &dimensions,
                                &scores) != 0) {
    return failed("predicting");
  }
  std::size_t count = dimensions == 0 ? 0 : 1;
  for (bst_ulong d = 0; d < dimensions; ++d) count *= shape[d];
  if (count != rows)
    return internal("XGBoost gave " + std::to_string(count) + " scores for " +
                    std::to_string(rows) + " rows");
  return std::vector<double>(scores, scores + count);
}

}  // namespace slipway::models
