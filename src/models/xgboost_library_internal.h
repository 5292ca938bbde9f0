// XGBoost's own library: for models that our walk does not run, and to compare with.
#pragma once
#include <span>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "models/model.h"

namespace slipway::models {

// A model that the library runs, one call at a time. `learner` is the parsed file's: what it says
// about the number of features is checked against what the library read.
Result<ModelPtr> load_xgboost_library(std::string_view bytes, const Json& learner);

// SHAP values by the library [rows, outputs, features + 1], for comparison.
Result<std::vector<double>> library_contributions(std::string_view model,
                                                  std::span<const float> matrix, std::size_t rows);

}  // namespace slipway::models
