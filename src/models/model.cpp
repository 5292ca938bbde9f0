#include "models/model.h"

#include <cmath>

#include "base/json.h"

namespace slipway::models {
namespace {

class LogisticModel final : public Model {
 public:
  LogisticModel(double intercept, std::vector<double> weights)
      : intercept_(intercept), weights_(std::move(weights)) {}

  std::string_view kind() const override { return "logistic"; }
  std::string_view file() const override { return "model.json"; }
  bool is_classifier() const override { return true; }
  std::size_t features() const override { return weights_.size(); }

 private:
  void score(std::span<const float> matrix, std::size_t rows,
             std::span<double> out) const override {
    for (std::size_t row = 0; row < rows; ++row) {
      const float* x = matrix.data() + row * weights_.size();
      double margin = intercept_;
      for (std::size_t k = 0; k < weights_.size(); ++k)
        margin += std::isnan(x[k]) ? 0 : weights_[k] * x[k];
      out[row] = 1 / (1 + std::exp(-margin));
    }
  }

  double intercept_;
  std::vector<double> weights_;
};

}  // namespace

Result<void> Model::predict(std::span<const float> matrix, std::size_t rows,
                            std::span<double> out) const {
  if (matrix.size() != rows * features() || out.size() != rows) {
    return invalid_argument("the model takes " + std::to_string(features()) +
                            " features a row: " + std::to_string(matrix.size()) +
                            " numbers and room for " + std::to_string(out.size()) +
                            " scores do not make " + std::to_string(rows) + " rows");
  }
  score(matrix, rows, out);
  return {};
}

Result<ModelPtr> load_logistic(std::string_view bytes) {
  constexpr std::string_view kWhat = "logistic model";
  const auto json = parse_json(bytes, kWhat);
  if (!json) return data_loss(json.error().message);
  try {
    if (json->at("version") != 1) {
      return unimplemented("version " + json->at("version").dump() +
                           " is not read here; version 1 is")
          .at(kWhat);
    }
    const auto intercept = json->at("intercept").get<double>();
    auto weights = json->at("weights").get<std::vector<double>>();
    if (weights.empty()) return data_loss("it has no weights").at(kWhat);
    return std::make_unique<LogisticModel>(intercept, std::move(weights));
  } catch (const std::exception& e) {
    return data_loss(e.what()).at(kWhat);
  }
}

Result<ModelPtr> load_model(std::string_view kind, std::string_view bytes) {
  if (kind == "xgboost") return load_xgboost(bytes);
  if (kind == "logistic") return load_logistic(bytes);
  return unimplemented("no model of kind '" + std::string(kind) +
                       "' is run here; there are xgboost and logistic");
}

}  // namespace slipway::models
