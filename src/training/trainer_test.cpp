#include "training/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "models/model.h"
#include "support/support.h"

namespace slipway::training {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

// P(1) = sigmoid(2 a - b), with two columns of noise; every 15th value of a column missing when
// `holes`.
features::Matrix random_matrix(std::uint64_t seed, std::size_t rows, bool holes = true) {
  Rng rng(seed);
  features::Matrix data;
  data.rows = rows;
  data.cols = 4;
  data.names = {"a", "b", "noise[1]", "noise<2"};
  for (std::size_t row = 0; row < rows; ++row) {
    const double a = rng.normal();
    const double b = rng.normal();
    for (const double value : {a, b, rng.normal(), rng.normal()}) {
      const bool hole = holes && rng.below(15) == 0;
      data.values.push_back(hole ? std::numeric_limits<float>::quiet_NaN()
                                 : static_cast<float>(value));
    }
    data.labels.push_back(rng.uniform() < 1 / (1 + std::exp(b - 2 * a)) ? 1 : 0);
  }
  return data;
}

TrainerSpec small(int rounds = 20) {
  TrainerSpec spec;
  spec.rounds = rounds;
  spec.max_depth = 3;
  spec.seed = 7;
  spec.threads = 1;
  spec.subsample = 0.7;
  spec.colsample_bytree = 0.8;
  return spec;
}

std::vector<double> scores_of(const Trained& trained, const features::Matrix& data) {
  const auto model = models::load_model(trained.kind, trained.model);
  EXPECT_TRUE(ok(model));
  std::vector<double> scores(data.rows);
  if (model) {
    EXPECT_TRUE(ok((*model)->predict(data.values, data.rows, scores)));
  }
  return scores;
}

double log_loss(const std::vector<double>& scores, const std::vector<double>& labels) {
  double sum = 0;
  for (std::size_t i = 0; i < scores.size(); ++i)
    sum -= std::log(labels[i] == 1 ? scores[i] : 1 - scores[i]);
  return sum / static_cast<double>(scores.size());
}

TEST(Trainer, LearnsAndReportsEachRound) {
  const auto train_data = random_matrix(1, 4000);
  const auto valid = random_matrix(2, 2000);
  std::vector<double> seen;
  const auto trained = train({}, small(), train_data, &valid, [&](int round, double metric) {
    EXPECT_EQ(round, static_cast<int>(seen.size()));
    seen.push_back(metric);
    return false;
  });
  ASSERT_TRUE(ok(trained));
  EXPECT_EQ(trained->rounds, 20);
  EXPECT_EQ(trained->metric, "logloss");
  EXPECT_FALSE(trained->stopped);
  ASSERT_EQ(seen.size(), 20U);
  EXPECT_EQ(seen, trained->validation);
  EXPECT_LT(seen.back(), 0.5);
  EXPECT_LT(seen.back(), seen.front());
  // The reported metric is that of the model that was given back.
  EXPECT_NEAR(log_loss(scores_of(*trained, valid), valid.labels), seen.back(), 1e-6);
  ASSERT_FALSE(trained->importance.empty());
  EXPECT_EQ(trained->importance[0].first, "a");
  EXPECT_GT(trained->importance[0].second, trained->importance.back().second);
}

TEST(Trainer, GivesTheSameBytesForTheSameSeed) {
  const auto data = random_matrix(3, 3000);
  for (const std::string algorithm : {"xgboost", "logistic"}) {
    SCOPED_TRACE(algorithm);
    TrainerSpec spec = small();
    spec.algorithm = algorithm;
    spec.threads = 2;
    const auto full = algorithm == "logistic" ? random_matrix(3, 20'000, false) : data;
    const auto first = train({}, spec, full);
    const auto second = train({}, spec, full);
    ASSERT_TRUE(ok(first));
    ASSERT_TRUE(ok(second));
    EXPECT_EQ(first->model, second->model);
    spec.threads = 1;
    const auto alone = train({}, spec, full);
    ASSERT_TRUE(ok(alone));
    if (algorithm == "logistic") {
      EXPECT_EQ(alone->model, first->model);  // whatever the number of threads
    }
    if (algorithm == "xgboost") {
      spec.seed = 8;
      const auto other = train({}, spec, full);
      ASSERT_TRUE(ok(other));
      EXPECT_NE(other->model, alone->model);
    }
  }
}

TEST(Trainer, KeepsTheBestRoundsWhenItStopsEarly) {
  const auto train_data = random_matrix(4, 300);
  const auto valid = random_matrix(5, 2000);
  TrainerSpec spec = small(500);
  spec.learning_rate = 0.5;
  spec.early_stopping_rounds = 5;
  for (const std::string metric : {"logloss", "auc"}) {
    SCOPED_TRACE(metric);
    spec.metric = metric;
    const auto trained = train({}, spec, train_data, &valid);
    ASSERT_TRUE(ok(trained));
    EXPECT_TRUE(trained->stopped);
    EXPECT_EQ(trained->validation.size(), static_cast<std::size_t>(trained->rounds) + 5);
    const auto best =
        metric == "auc" ? std::max_element(trained->validation.begin(), trained->validation.end())
                        : std::min_element(trained->validation.begin(), trained->validation.end());
    EXPECT_EQ(best - trained->validation.begin() + 1, trained->rounds);
    if (metric == "logloss") {
      EXPECT_NEAR(log_loss(scores_of(*trained, valid), valid.labels), *best, 1e-6);
    }
  }
  EXPECT_TRUE(failed_with(train({}, spec, train_data), Code::failed_precondition));
}

TEST(Trainer, EndsWhenTheCallerHasSeenEnough) {
  const auto data = random_matrix(6, 1000);
  const auto trained =
      train({}, small(100), data, &data, [](int round, double) { return round == 4; });
  ASSERT_TRUE(ok(trained));
  EXPECT_TRUE(trained->stopped);
  EXPECT_EQ(trained->rounds, 5);
}

TEST(Trainer, EndsWithinARoundOfBeingCancelled) {
  const auto data = random_matrix(7, 1000);
  std::stop_source stop;
  Context ctx;
  ctx.stop = stop.get_token();
  int last = -1;
  const auto trained = train(ctx, small(1000), data, &data, [&](int round, double) {
    last = round;
    if (round == 3) stop.request_stop();
    return false;
  });
  EXPECT_TRUE(failed_with(trained, Code::cancelled));
  EXPECT_EQ(last, 3);
}

TEST(Trainer, RefusesDataThatTeachesNothing) {
  const auto good = random_matrix(8, 100);
  const auto with = [&](auto change) {
    features::Matrix data = good;
    change(data);
    return data;
  };
  struct Row {
    std::string name;
    features::Matrix data;
    Code code;
    std::string want;
  };
  const std::vector<Row> rows = {
      {"no rows", with([](auto& d) { d = {}; }), Code::failed_precondition, "no rows"},
      {"no target", with([](auto& d) { d.labels.clear(); }), Code::invalid_argument,
       "target column"},
      {"only zeros", with([](auto& d) { std::fill(d.labels.begin(), d.labels.end(), 0); }),
       Code::failed_precondition, "label is 0"},
      {"only ones", with([](auto& d) { std::fill(d.labels.begin(), d.labels.end(), 1); }),
       Code::failed_precondition, "label is 1"},
      {"a missing label", with([](auto& d) { d.labels[3] = std::nan(""); }), Code::invalid_argument,
       "row 3"},
      {"an infinite label", with([](auto& d) { d.labels[4] = HUGE_VAL; }), Code::invalid_argument,
       "row 4"},
      {"a third class", with([](auto& d) { d.labels[5] = 2; }), Code::invalid_argument, "is 2.0"},
      {"a broken matrix", with([](auto& d) { d.values.pop_back(); }), Code::invalid_argument,
       "399 numbers"},
  };
  for (const Row& row : rows) {
    for (const std::string algorithm : {"xgboost", "logistic"}) {
      SCOPED_TRACE(row.name + ", " + algorithm);
      TrainerSpec spec = small();
      spec.algorithm = algorithm;
      const auto trained = train({}, spec, row.data);
      EXPECT_TRUE(failed_with(trained, row.code));
      EXPECT_THAT(message_of(trained), HasSubstr(row.want));
    }
  }
  TrainerSpec logistic = small();
  logistic.algorithm = "logistic";
  EXPECT_THAT(message_of(train({}, logistic, good)), HasSubstr("add an impute"));
  const auto narrow = with([](auto& d) {
    d.cols = 2;
    d.values.resize(200);
  });
  EXPECT_TRUE(failed_with(train({}, small(), good, &narrow), Code::invalid_argument));
}

TEST(Trainer, PredictsNumbersToo) {
  auto data = random_matrix(9, 2000);
  for (std::size_t row = 0; row < data.rows; ++row)
    data.labels[row] = std::isnan(data.values[row * 4]) ? 5 : data.values[row * 4] * 3;
  TrainerSpec spec = small(60);
  spec.objective = "reg:squarederror";
  const auto trained = train({}, spec, data, &data);
  ASSERT_TRUE(ok(trained));
  EXPECT_EQ(trained->metric, "rmse");
  EXPECT_LT(trained->validation.back(), 1.0);
}

TEST(Logistic, FindsTheMinimumOfThePenalizedLoss) {
  const auto data = random_matrix(10, 20'000, /*holes=*/false);
  TrainerSpec spec = small(50);
  spec.algorithm = "logistic";
  spec.reg_lambda = 3;
  const auto trained = train({}, spec, data, &data);
  ASSERT_TRUE(ok(trained));
  EXPECT_LT(trained->rounds, 12);
  const Json model = *parse_json(trained->model);
  EXPECT_NEAR(model["weights"][0].get<double>(), 2, 0.1);
  EXPECT_NEAR(model["weights"][1].get<double>(), -1, 0.1);
  EXPECT_NEAR(model["weights"][2].get<double>(), 0, 0.1);
  EXPECT_EQ(trained->importance[0].first, "a");
  EXPECT_NEAR(log_loss(scores_of(*trained, data), data.labels), trained->validation.back(), 1e-12);
  // At the minimum the gradient is nothing: sum (p - y) x = - lambda w.
  const auto scores = scores_of(*trained, data);
  for (std::size_t k = 0; k < data.cols; ++k) {
    double gradient = 3 * model["weights"][k].get<double>();
    for (std::size_t row = 0; row < data.rows; ++row) {
      gradient += (scores[row] - data.labels[row]) * data.values[row * data.cols + k];
    }
    EXPECT_NEAR(gradient, 0, 0.03);
  }
}

TEST(Logistic, StandsPerfectlySeparableAndRedundantData) {
  features::Matrix data;
  data.rows = 200;
  data.cols = 3;
  for (std::size_t row = 0; row < data.rows; ++row) {
    const float x = static_cast<float>(row) - 99.5F;
    data.values.insert(data.values.end(), {x, x, 1});  // twice the same, and a constant
    data.labels.push_back(x > 0 ? 1 : 0);
  }
  TrainerSpec spec = small(50);
  spec.algorithm = "logistic";
  for (const double lambda : {1.0, 0.0}) {
    spec.reg_lambda = lambda;
    const auto trained = train({}, spec, data);
    ASSERT_TRUE(ok(trained));
    for (const double score : scores_of(*trained, data)) EXPECT_TRUE(std::isfinite(score));
  }
}

TEST(TrainerSpec, ReadsParametersAndNamesWhatIsWrong) {
  const auto good = TrainerSpec::from_json(
      {{"algorithm", "xgboost"}, {"rounds", 50}, {"max_depth", 4}, {"metric", "auc"}, {"seed", 9}});
  ASSERT_TRUE(ok(good));
  EXPECT_EQ(good->rounds, 50);
  EXPECT_TRUE(good->higher_is_better());
  const auto back = TrainerSpec::from_json(good->to_json());
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(back->to_json(), good->to_json());
  const std::vector<std::pair<Json, std::string>> rows = {
      {{{"max_dept", 4}}, "did you mean 'max_depth'"},
      {{{"max_depth", 0}}, "max_depth is 0"},
      {{{"learning_rate", 0}}, "learning_rate is 0"},
      {{{"subsample", 1.5}}, "subsample is 1.5"},
      {{{"rounds", "many"}}, "rounds"},
      {{{"metric", "accuracy"}}, "logloss, auc, aucpr, error"},
      {{{"algorithm", "logistic"}, {"max_depth", 3}}, "max_depth"},
      {{{"algorithm", "logistic"}, {"objective", "reg:squarederror"}}, "binary:logistic only"},
      {{{"algorithm", "catboost"}}, "catboost"},
      {{{"seed", -1}}, "seed"},
      {{{"threads", 1'000'000}}, "threads is"},
  };
  for (const auto& [json, want] : rows) {
    SCOPED_TRACE(json.dump());
    const auto spec = TrainerSpec::from_json(json);
    EXPECT_TRUE(failed_with(spec, Code::invalid_argument));
    EXPECT_THAT(message_of(spec), HasSubstr(want));
  }
}

}  // namespace
}  // namespace slipway::training
