#include "training/trainer.h"

#include <cmath>

#include "training/trainer_internal.h"

namespace slipway::training {
namespace {

// Metrics by what the model predicts; the first is the default.
struct Metric {
  std::string_view name;
  bool higher_is_better;
};
constexpr Metric kClassification[] = {
    {"logloss", false}, {"auc", true}, {"aucpr", true}, {"error", false}};
constexpr Metric kRegression[] = {{"rmse", false}, {"mae", false}};

std::span<const Metric> metrics_of(const TrainerSpec& spec) {
  if (spec.objective == "binary:logistic") return kClassification;
  return kRegression;
}

std::vector<std::string> metric_names(const TrainerSpec& spec) {
  std::vector<std::string> names;
  for (const Metric& metric : metrics_of(spec)) names.emplace_back(metric.name);
  if (spec.algorithm == "logistic") names.resize(1);
  return names;
}

Error out_of_range(std::string_view key, const std::string& value, std::string_view range) {
  return invalid_argument(std::string(key) + " is " + value + "; it must be " + std::string(range));
}

Result<void> check_labels(const TrainerSpec& spec, const features::Matrix& data,
                          std::string_view which) {
  const std::string name(which);
  if (data.rows == 0)
    return failed_precondition("the " + name + " data has no rows: there is nothing to learn from");
  if (data.cols == 0 || data.values.size() != data.rows * data.cols) {
    return invalid_argument("the " + name + " matrix has " + std::to_string(data.values.size()) +
                            " numbers for " + std::to_string(data.rows) + " rows of " +
                            std::to_string(data.cols) + " features");
  }
  if (data.labels.size() != data.rows) {
    return invalid_argument("the " + name + " data has " + std::to_string(data.labels.size()) +
                            " labels for " + std::to_string(data.rows) +
                            " rows: is the target column there?");
  }
  const bool classes = spec.objective == "binary:logistic";
  std::size_t ones = 0;
  for (std::size_t row = 0; row < data.rows; ++row) {
    const double label = data.labels[row];
    if (!std::isfinite(label) || std::abs(label) > std::numeric_limits<float>::max()) {
      return invalid_argument(
          "the label of " + name + " row " + std::to_string(row) +
          " is missing or not finite; drop rows without a label before training");
    }
    if (classes && label != 0 && label != 1) {
      return invalid_argument(
          "the label of " + name + " row " + std::to_string(row) + " is " + Json(label).dump() +
          "; binary:logistic takes 0 and 1 (a number to predict: objective reg:squarederror)");
    }
    ones += label == 1 ? 1 : 0;
  }
  if (classes && which == "training" && (ones == 0 || ones == data.rows)) {
    return failed_precondition(
        "every training label is " + std::string(ones == 0 ? "0" : "1") +
        ": a classifier needs both classes; look at the target column and at the training window");
  }
  return {};
}

}  // namespace

std::string feature_name(const features::Matrix& matrix, std::size_t column) {
  return column < matrix.names.size() ? matrix.names[column] : "f" + std::to_string(column);
}

std::string TrainerSpec::metric_name() const {
  return metric.empty() ? std::string(metrics_of(*this)[0].name) : metric;
}

bool TrainerSpec::higher_is_better() const {
  for (const Metric& each : metrics_of(*this)) {
    if (each.name == metric_name()) return each.higher_is_better;
  }
  return false;
}

TrainerSpec TrainerSpec::read(SpecReader& reader) {
  TrainerSpec spec;
  const auto whole = [&](std::string_view key, int otherwise) {
    const std::int64_t value = reader.integer(key, otherwise);
    return static_cast<int>(std::clamp<std::int64_t>(value, -1, 1'000'000'000));
  };
  spec.algorithm = reader.one_of("algorithm", {"xgboost", "logistic"}, spec.algorithm);
  spec.objective = reader.one_of(
      "objective", {"binary:logistic", "reg:squarederror", "reg:absoluteerror"}, spec.objective);
  spec.metric = reader.text("metric", "");
  spec.rounds = whole("rounds", spec.algorithm == "logistic" ? 100 : spec.rounds);
  spec.reg_lambda = reader.number("reg_lambda", spec.reg_lambda);
  if (spec.algorithm == "xgboost") {
    spec.max_depth = whole("max_depth", spec.max_depth);
    spec.learning_rate = reader.number("learning_rate", spec.learning_rate);
    spec.min_child_weight = reader.number("min_child_weight", spec.min_child_weight);
    spec.subsample = reader.number("subsample", spec.subsample);
    spec.colsample_bytree = reader.number("colsample_bytree", spec.colsample_bytree);
    spec.reg_alpha = reader.number("reg_alpha", spec.reg_alpha);
    spec.gamma = reader.number("gamma", spec.gamma);
    spec.scale_pos_weight = reader.number("scale_pos_weight", spec.scale_pos_weight);
    spec.max_bin = whole("max_bin", spec.max_bin);
    spec.early_stopping_rounds = whole("early_stopping_rounds", spec.early_stopping_rounds);
  }
  const std::int64_t seed = reader.integer("seed", 0);
  if (seed < 0) reader.problem("seed", "a seed is 0 or more");
  spec.seed = static_cast<std::uint64_t>(std::max<std::int64_t>(0, seed));
  spec.threads = whole("threads", spec.threads);
  if (const auto valid = spec.validate(); !valid) {
    const std::string& message = valid.error().message;  // "max_depth is 99; …"
    const std::string key = message.substr(0, message.find(' '));
    reader.problem(reader.has(key) ? key : "", message);
  }
  reader.close();
  return spec;
}

Result<TrainerSpec> TrainerSpec::from_json(const Json& json, const std::string& name) {
  const SpecDocument document = SpecDocument::from_json(json, name);
  SpecReader reader(document);
  TrainerSpec spec = read(reader);
  if (const auto read = reader.finish(); !read) return read.error();
  return spec;
}

Json TrainerSpec::to_json() const {
  Json json = {{"algorithm", algorithm}, {"objective", objective},   {"metric", metric_name()},
               {"rounds", rounds},       {"reg_lambda", reg_lambda}, {"seed", seed},
               {"threads", threads}};
  if (algorithm == "xgboost") {
    json.update({{"max_depth", max_depth},
                 {"learning_rate", learning_rate},
                 {"min_child_weight", min_child_weight},
                 {"subsample", subsample},
                 {"colsample_bytree", colsample_bytree},
                 {"reg_alpha", reg_alpha},
                 {"gamma", gamma},
                 {"scale_pos_weight", scale_pos_weight},
                 {"max_bin", max_bin},
                 {"early_stopping_rounds", early_stopping_rounds}});
  }
  return json;
}

Result<void> TrainerSpec::validate() const {
  struct Limit {
    std::string_view key;
    double value;
    double low;
    double high;
    bool open_low;  // low itself is not allowed
  };
  const double most = std::numeric_limits<float>::max();
  const Limit limits[] = {
      {"rounds", static_cast<double>(rounds), 1, 100'000, false},
      {"max_depth", static_cast<double>(max_depth), 1, 30, false},
      {"learning_rate", learning_rate, 0, 1, true},
      {"min_child_weight", min_child_weight, 0, most, false},
      {"subsample", subsample, 0, 1, true},
      {"colsample_bytree", colsample_bytree, 0, 1, true},
      {"reg_lambda", reg_lambda, 0, most, false},
      {"reg_alpha", reg_alpha, 0, most, false},
      {"gamma", gamma, 0, most, false},
      {"scale_pos_weight", scale_pos_weight, 0, most, true},
      {"max_bin", static_cast<double>(max_bin), 2, 65'536, false},
      {"early_stopping_rounds", static_cast<double>(early_stopping_rounds), 0, 100'000, false},
      {"threads", static_cast<double>(threads), 0, 4096, false}};
  for (const Limit& limit : limits) {
    if (limit.value >= limit.low && limit.value <= limit.high &&
        !(limit.open_low && limit.value == limit.low))
      continue;
    return out_of_range(limit.key, Json(limit.value).dump(),
                        (limit.open_low ? "above " : "at least ") + Json(limit.low).dump() +
                            (limit.high < most ? " and at most " + Json(limit.high).dump() : ""));
  }
  if (algorithm == "logistic" && objective != "binary:logistic") {
    return invalid_argument("objective is " + objective +
                            "; the logistic learner has binary:logistic only");
  }
  const auto names = metric_names(*this);
  if (!metric.empty() && std::find(names.begin(), names.end(), metric) == names.end()) {
    std::string all;
    for (const std::string& name : names) all += (all.empty() ? "" : ", ") + name;
    return invalid_argument("metric is " + metric + "; " + algorithm + " with " + objective +
                            " has " + all);
  }
  return {};
}

Result<Trained> train(const Context& ctx, const TrainerSpec& spec, const features::Matrix& train,
                      const features::Matrix* validation, const OnRound& on_round) {
  if (auto valid = spec.validate(); !valid) return valid.error();
  if (auto valid = check_labels(spec, train, "training"); !valid) return valid.error();
  if (validation != nullptr) {
    if (auto valid = check_labels(spec, *validation, "validation"); !valid) return valid.error();
    if (validation->cols != train.cols) {
      return invalid_argument("the validation data has " + std::to_string(validation->cols) +
                              " features, the training data " + std::to_string(train.cols));
    }
  } else if (spec.early_stopping_rounds > 0) {
    return failed_precondition("early_stopping_rounds is " +
                               std::to_string(spec.early_stopping_rounds) +
                               ", but there are no validation rows to stop by");
  }
  return spec.algorithm == "logistic" ? train_logistic(ctx, spec, train, validation, on_round)
                                      : train_xgboost(ctx, spec, train, validation, on_round);
}

}  // namespace slipway::training
