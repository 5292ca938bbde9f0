#include "models/xgboost_library_internal.h"

#include <xgboost/c_api.h>

#include <limits>
#include <mutex>

#include "models/certificate_internal.h"

namespace slipway::models {
namespace {

Error library_failed(std::string_view doing) {
  std::string message = XGBGetLastError();
  if (const auto stack = message.find("\nStack trace"); stack != std::string::npos)
    message.resize(stack);
  return internal("XGBoost, " + std::string(doing) + ": " + message);
}

struct FreeLibraryBooster {
  void operator()(BoosterHandle handle) const { XGBoosterFree(handle); }
};
using LibraryBooster = std::unique_ptr<void, FreeLibraryBooster>;

Result<LibraryBooster> library_booster(std::string_view model) {
  BoosterHandle handle = nullptr;
  if (XGBoosterCreate(nullptr, 0, &handle) != 0) return library_failed("creating a booster");
  LibraryBooster booster(handle);
  for (const auto& [key, value] : {std::pair{"nthread", "1"}, {"verbosity", "0"}}) {
    if (XGBoosterSetParam(handle, key, value) != 0) return library_failed("setting a parameter");
  }
  if (XGBoosterLoadModelFromBuffer(handle, model.data(), model.size()) != 0)
    return library_failed("loading the model");
  return booster;
}

// All values of a prediction of this type: 0 scores, 2 contributions.
Result<std::vector<double>> library_predict(BoosterHandle booster, std::span<const float> matrix,
                                            std::size_t rows, int type) {
  const std::string values = fmt::format(
      R"({{"data":[{},true],"shape":[{},{}],"typestr":"<f4","version":3}})",
      reinterpret_cast<std::uintptr_t>(matrix.data()), rows, rows == 0 ? 0 : matrix.size() / rows);
  DMatrixHandle handle = nullptr;
  if (XGDMatrixCreateFromDense(values.c_str(), R"({"missing":NaN,"nthread":1})", &handle) != 0)
    return library_failed("reading the matrix");
  const std::unique_ptr<void, int (*)(DMatrixHandle)> owner(handle, XGDMatrixFree);
  const std::string config = fmt::format(
      R"({{"type":{},"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":true}})",
      type);
  const bst_ulong* shape = nullptr;
  bst_ulong dimensions = 0;
  const float* scores = nullptr;
  if (XGBoosterPredictFromDMatrix(booster, handle, config.c_str(), &shape, &dimensions, &scores) !=
      0) {
    return library_failed("predicting");
  }
  std::size_t count = dimensions == 0 ? 0 : 1;
  for (bst_ulong d = 0; d < dimensions; ++d) count *= shape[d];
  return std::vector<double>(scores, scores + count);
}

class LibraryModel final : public Model {
 public:
  LibraryModel(LibraryBooster booster, std::size_t features, std::size_t outputs, bool classifier)
      : booster_(std::move(booster)),
        features_(features),
        outputs_(outputs),
        classifier_(classifier) {}
  std::string_view kind() const override { return "xgboost"; }
  std::string_view file() const override { return "model.ubj"; }
  bool is_classifier() const override { return classifier_; }
  std::size_t features() const override { return features_; }
  std::size_t outputs() const override { return outputs_; }

 private:
  void score(std::span<const float> matrix, std::size_t rows,
             std::span<double> out) const override {
    const std::scoped_lock lock(mutex_);
    const auto scores = library_predict(booster_.get(), matrix, rows, 0);
    if (scores && scores->size() == out.size()) {
      std::copy(scores->begin(), scores->end(), out.begin());
    } else {
      std::fill(out.begin(), out.end(), std::numeric_limits<double>::quiet_NaN());
    }
  }

  mutable std::mutex mutex_;  // the library keeps a booster's answer inside the booster
  LibraryBooster booster_;
  std::size_t features_;
  std::size_t outputs_;
  bool classifier_;
};

}  // namespace

Result<ModelPtr> load_xgboost_library(std::string_view bytes, const Json& learner) {
  auto booster = library_booster(bytes);
  if (!booster) return data_loss(booster.error().message);
  bst_ulong features = 0;
  if (XGBoosterGetNumFeature(booster->get(), &features) != 0) return library_failed("asking");
  const auto said = learner.at("learner_model_param").at("num_feature");
  if ((said.is_string() ? said.get<std::string>() : said.dump()) != std::to_string(features) ||
      features == 0 || features > 100'000'000) {
    return data_loss("the model has " + std::to_string(features) + " features");
  }
  // One row tells how many outputs there are, and whether the library runs the model at all.
  const std::vector<float> row(features);
  const auto scores = library_predict(booster->get(), row, 1, 0);
  if (!scores) return unimplemented(scores.error().message);
  const auto objective = learner.at("objective").at("name").get<std::string>();
  const bool classifier = objective == "binary:logistic" || objective == "multi:softprob";
  return std::make_unique<LibraryModel>(std::move(*booster), features, scores->size(), classifier);
}

Result<std::vector<double>> library_scores(std::string_view model, std::span<const float> matrix,
                                           std::size_t rows) {
  const auto booster = library_booster(model);
  if (!booster) return booster.error();
  return library_predict(booster->get(), matrix, rows, 0);
}

Result<std::vector<double>> library_contributions(std::string_view model,
                                                  std::span<const float> matrix, std::size_t rows) {
  const auto booster = library_booster(model);
  if (!booster) return booster.error();
  return library_predict(booster->get(), matrix, rows, 2);
}

}  // namespace slipway::models
