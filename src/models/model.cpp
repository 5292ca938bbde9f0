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

namespace {

Result<void> check_sizes(const Model& model, std::size_t numbers, std::size_t rows,
                         std::size_t room, std::size_t per_row) {
  if (numbers == rows * model.features() && room == rows * per_row) return {};
  return invalid_argument("the model takes " + std::to_string(model.features()) +
                          " features a row and gives " + std::to_string(per_row) +
                          " numbers: " + std::to_string(numbers) + " numbers and room for " +
                          std::to_string(room) + " do not make " + std::to_string(rows) + " rows");
}

}  // namespace

Result<void> Model::predict(std::span<const float> matrix, std::size_t rows,
                            std::span<double> out) const {
  if (auto fits = check_sizes(*this, matrix.size(), rows, out.size(), outputs()); !fits)
    return fits;
  score(matrix, rows, out);
  return {};
}

Result<void> Model::predict(std::span<const double> matrix, std::size_t rows,
                            std::span<double> out) const {
  if (auto fits = check_sizes(*this, matrix.size(), rows, out.size(), outputs()); !fits)
    return fits;
  score_wide(matrix, rows, out);
  return {};
}

void Model::score_wide(std::span<const double> matrix, std::size_t rows,
                       std::span<double> out) const {
  thread_local std::vector<float> narrow;
  narrow.resize(matrix.size());
  for (std::size_t i = 0; i < matrix.size(); ++i) narrow[i] = static_cast<float>(matrix[i]);
  score(narrow, rows, out);
}

Result<void> Model::contributions(std::span<const double> matrix, std::size_t rows,
                                  std::span<double> out) const {
  if (explained() == 0) return explain(matrix, rows, out);
  if (auto fits =
          check_sizes(*this, matrix.size(), rows, out.size(), explained() * (features() + 1));
      !fits) {
    return fits;
  }
  return explain(matrix, rows, out);
}

Result<void> Model::explain(std::span<const double>, std::size_t, std::span<double>) const {
  return unimplemented("contributions are computed for trees; this model is of kind " +
                       std::string(kind()));
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
  if (kind == "lightgbm") return load_lightgbm(bytes);
  if (kind == "logistic") return load_logistic(bytes);
  return unimplemented("no model of kind '" + std::string(kind) +
                       "' is run here; there are xgboost, lightgbm and logistic");
}

}  // namespace slipway::models
