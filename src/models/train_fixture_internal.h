// For tests: small XGBoost models on random data, trained through the C API.
#pragma once
#include <xgboost/c_api.h>

#include <stdexcept>

#include "base/rng.h"

namespace slipway::models {

struct RandomData {
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::vector<float> values;  // [rows, cols]; one in twelve is NaN
  std::vector<float> labels;  // 0 or 1, or anything for a regression
};

inline RandomData random_data(std::uint64_t seed, std::size_t rows, std::size_t cols,
                              bool classes) {
  Rng rng(seed);
  RandomData data{rows, cols, {}, {}};
  for (std::size_t row = 0; row < rows; ++row) {
    double signal = 0;
    for (std::size_t k = 0; k < cols; ++k) {
      const double value = k % 3 == 0 ? static_cast<double>(rng.below(4)) : rng.normal();
      signal += value * (static_cast<double>(k % 5) - 2);
      data.values.push_back(rng.below(12) == 0 ? std::numeric_limits<float>::quiet_NaN()
                                               : static_cast<float>(value));
    }
    signal += rng.normal();
    data.labels.push_back(classes ? (signal > 1 ? 1.0F : 0.0F)
                                  : static_cast<float>(signal * 7 + 100));
  }
  return data;
}

using Parameters = std::vector<std::pair<std::string, std::string>>;

// The model's bytes ("ubj" or "json"). Types of features: "q" for numbers, "c" for categories.
inline std::string train_model(const RandomData& data, const Parameters& parameters, int rounds,
                               const std::string& format = "ubj",
                               const std::vector<const char*>& types = {}) {
  const auto check = [](int status) {
    if (status != 0) throw std::runtime_error(XGBGetLastError());
  };
  DMatrixHandle matrix = nullptr;
  BoosterHandle booster = nullptr;
  const std::string values =
      fmt::format(R"({{"data":[{},true],"shape":[{},{}],"typestr":"<f4","version":3}})",
                  reinterpret_cast<std::uintptr_t>(data.values.data()), data.rows, data.cols);
  check(XGDMatrixCreateFromDense(values.c_str(), R"({"missing":NaN,"nthread":1})", &matrix));
  check(XGDMatrixSetFloatInfo(matrix, "label", data.labels.data(), data.labels.size()));
  if (!types.empty())
    check(XGDMatrixSetStrFeatureInfo(matrix, "feature_type", const_cast<const char**>(types.data()),
                                     types.size()));
  check(XGBoosterCreate(&matrix, 1, &booster));
  check(XGBoosterSetParam(booster, "nthread", "1"));
  for (const auto& [key, value] : parameters)
    check(XGBoosterSetParam(booster, key.c_str(), value.c_str()));
  for (int round = 0; round < rounds; ++round)
    check(XGBoosterUpdateOneIter(booster, round, matrix));
  bst_ulong size = 0;
  const char* bytes = nullptr;
  check(XGBoosterSaveModelToBuffer(booster, fmt::format(R"({{"format":"{}"}})", format).c_str(),
                                   &size, &bytes));
  std::string out(bytes, size);
  XGBoosterFree(booster);
  XGDMatrixFree(matrix);
  return out;
}

}  // namespace slipway::models
