#include <xgboost/c_api.h>

#include <cmath>
#include <limits>

#include "base/parallel.h"
#include "training/trainer_internal.h"

namespace slipway::training {
namespace {

Error failed(std::string_view doing) {
  std::string message = XGBGetLastError();
  if (const auto stack = message.find("\nStack trace"); stack != std::string::npos)
    message.resize(stack);
  return internal("XGBoost, " + std::string(doing) + ": " + message);
}

struct FreeMatrix {
  void operator()(DMatrixHandle handle) const { XGDMatrixFree(handle); }
};
struct FreeBooster {
  void operator()(BoosterHandle handle) const { XGBoosterFree(handle); }
};
using DMatrix = std::unique_ptr<void, FreeMatrix>;
using Booster = std::unique_ptr<void, FreeBooster>;

Result<DMatrix> make_matrix(const features::Matrix& data, int threads) {
  const std::string values =
      fmt::format(R"({{"data":[{},true],"shape":[{},{}],"typestr":"<f4","version":3}})",
                  reinterpret_cast<std::uintptr_t>(data.values.data()), data.rows, data.cols);
  const std::string config = fmt::format(R"({{"missing":NaN,"nthread":{}}})", threads);
  DMatrixHandle handle = nullptr;
  if (XGDMatrixCreateFromDense(values.c_str(), config.c_str(), &handle) != 0)
    return failed("reading the matrix");
  DMatrix matrix(handle);
  const std::vector<float> labels(data.labels.begin(), data.labels.end());
  if (XGDMatrixSetFloatInfo(handle, "label", labels.data(), labels.size()) != 0)
    return failed("reading the labels");
  return matrix;
}

Result<Booster> make_booster(const TrainerSpec& spec, DMatrixHandle train, int threads) {
  BoosterHandle handle = nullptr;
  if (XGBoosterCreate(&train, 1, &handle) != 0) return failed("creating a booster");
  Booster booster(handle);
  // The shortest text that reads back as the same number.
  const auto number = [](double value) { return fmt::format("{}", value); };
  const std::pair<const char*, std::string> parameters[] = {
      {"verbosity", "0"},
      {"booster", "gbtree"},
      {"tree_method", "hist"},
      {"objective", spec.objective},
      {"eval_metric", spec.metric_name()},
      {"max_depth", std::to_string(spec.max_depth)},
      {"learning_rate", number(spec.learning_rate)},
      {"min_child_weight", number(spec.min_child_weight)},
      {"subsample", number(spec.subsample)},
      {"colsample_bytree", number(spec.colsample_bytree)},
      {"reg_lambda", number(spec.reg_lambda)},
      {"reg_alpha", number(spec.reg_alpha)},
      {"gamma", number(spec.gamma)},
      {"scale_pos_weight", number(spec.scale_pos_weight)},
      {"max_bin", std::to_string(spec.max_bin)},
      {"seed", std::to_string(spec.seed % (std::uint64_t{1} << 31))},
      {"nthread", std::to_string(threads)}};
  for (const auto& [key, value] : parameters) {
    if (XGBoosterSetParam(handle, key, value.c_str()) != 0)
      return failed("setting " + std::string(key));
  }
  return booster;
}

// The metric in "[3]\tvalidation-logloss:0.4912".
Result<double> evaluate(BoosterHandle booster, int round, DMatrixHandle validation) {
  const char* name = "validation";
  const char* text = nullptr;
  if (XGBoosterEvalOneIter(booster, round, &validation, &name, 1, &text) != 0)
    return failed("evaluating");
  const std::string_view line = text;
  const auto colon = line.rfind(':');
  if (colon == std::string_view::npos)
    return internal("XGBoost reports no metric in '" + std::string(line) + "'");
  return std::strtod(text + colon + 1, nullptr);
}

// Mean gain of each feature's splits, largest first. Before the features have names: XGBoost calls
// them f0, f1, …
Result<std::vector<std::pair<std::string, double>>> importance(BoosterHandle booster,
                                                               const features::Matrix& data) {
  bst_ulong count = 0;
  const char** names = nullptr;
  bst_ulong dimensions = 0;
  const bst_ulong* shape = nullptr;
  const float* scores = nullptr;
  if (XGBoosterFeatureScore(booster, R"({"importance_type":"gain"})", &count, &names, &dimensions,
                            &shape, &scores) != 0) {
    return failed("computing the importance");
  }
  std::vector<std::pair<std::string, double>> out;
  for (bst_ulong i = 0; i < count; ++i) {
    const auto column = static_cast<std::size_t>(std::strtoull(names[i] + 1, nullptr, 10));
    out.emplace_back(feature_name(data, column), scores[i]);
  }
  std::stable_sort(out.begin(), out.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  return out;
}

// XGBoost refuses brackets and < in names.
Result<void> set_names(BoosterHandle booster, const features::Matrix& data) {
  std::vector<std::string> names = data.names;
  std::vector<const char*> pointers;
  for (std::string& name : names) {
    for (char& c : name) {
      if (c == '[' || c == ']' || c == '<') c = '_';
    }
    pointers.push_back(name.c_str());
  }
  if (pointers.size() == data.cols &&
      XGBoosterSetStrFeatureInfo(booster, "feature_name", pointers.data(), pointers.size()) != 0) {
    return failed("naming the features");
  }
  return {};
}

}  // namespace

Result<Trained> train_xgboost(const Context& ctx, const TrainerSpec& spec,
                              const features::Matrix& train, const features::Matrix* validation,
                              const OnRound& on_round) {
  const int threads = spec.threads > 0 ? spec.threads : default_threads();
  const auto train_matrix = make_matrix(train, threads);
  if (!train_matrix) return train_matrix.error();
  DMatrix validation_matrix;
  if (validation != nullptr) {
    auto made = make_matrix(*validation, threads);
    if (!made) return made.error();
    validation_matrix = std::move(*made);
  }
  auto booster = make_booster(spec, train_matrix->get(), threads);
  if (!booster) return booster.error();

  Trained out;
  out.kind = "xgboost";
  out.metric = spec.metric_name();
  int best_round = 0;
  for (int round = 0; round < spec.rounds; ++round) {
    if (const auto wanted = ctx.check(); !wanted) return wanted.error();
    if (XGBoosterUpdateOneIter(booster->get(), round, train_matrix->get()) != 0)
      return failed("training");
    out.rounds = round + 1;
    double metric = std::numeric_limits<double>::quiet_NaN();
    if (validation_matrix != nullptr) {
      const auto value = evaluate(booster->get(), round, validation_matrix.get());
      if (!value) return value.error();
      metric = *value;
      const double best =
          out.validation.empty() ? metric : out.validation[static_cast<std::size_t>(best_round)];
      if (spec.higher_is_better() ? metric > best : metric < best) best_round = round;
      out.validation.push_back(metric);
    }
    const bool enough = on_round && on_round(round, metric);
    const bool stale =
        spec.early_stopping_rounds > 0 && round - best_round >= spec.early_stopping_rounds;
    if ((enough || stale) && round + 1 < spec.rounds) {
      out.stopped = true;
      break;
    }
  }
  if (spec.early_stopping_rounds > 0 && best_round + 1 < out.rounds) {
    BoosterHandle sliced = nullptr;
    if (XGBoosterSlice(booster->get(), 0, best_round + 1, 1, &sliced) != 0)
      return failed("keeping the best rounds");
    booster->reset(sliced);
    out.rounds = best_round + 1;
  }
  auto gains = importance(booster->get(), train);
  if (!gains) return gains.error();
  out.importance = std::move(*gains);
  if (const auto named = set_names(booster->get(), train); !named) return named.error();
  bst_ulong size = 0;
  const char* bytes = nullptr;
  if (XGBoosterSaveModelToBuffer(booster->get(), R"({"format":"ubj"})", &size, &bytes) != 0)
    return failed("saving the model");
  out.model.assign(bytes, size);
  return out;
}

}  // namespace slipway::training
