// Our walk beside the XGBoost library over forests of every kind, thousands of random ones
// included.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/json.h"
#include "models/certificate_internal.h"
#include "models/model.h"
#include "models/train_fixture_internal.h"
#include "models/xgboost_library_internal.h"
#include "support/support.h"

namespace slipway::models {
namespace {

using test::message_of;
using test::ok;

std::vector<std::uint64_t> bits_of(const std::vector<double>& values) {
  std::vector<std::uint64_t> out;
  for (const double value : values) out.push_back(std::bit_cast<std::uint64_t>(value));
  return out;
}

std::vector<double> scores_of(const Model& model, const RandomData& data) {
  std::vector<double> out(data.rows * model.outputs());
  EXPECT_TRUE(ok(model.predict(data.values, data.rows, out)));
  return out;
}

struct Kind {
  std::string objective;
  std::size_t classes = 1;
  bool counts = false;  // labels above zero
  Parameters more = {};
};

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all = {
      {"binary:logistic"},
      {"binary:logitraw"},
      {"binary:hinge"},
      {"reg:squarederror"},
      {"reg:squaredlogerror", 1, true},
      {"reg:pseudohubererror", 1, true},
      {"reg:gamma", 1, true},
      {"reg:tweedie", 1, true},
      {"count:poisson", 1, true},
      {"survival:cox", 1, true},
      {"rank:pairwise"},
      {"multi:softprob", 3, false, {{"num_class", "3"}}},
      {"multi:softmax", 4, false, {{"num_class", "4"}}},
      {"binary:logistic", 1, false, {{"booster", "dart"}, {"rate_drop", "0.4"}, {"one_drop", "1"}}},
      {"multi:softprob", 3, false, {{"num_class", "3"}, {"booster", "dart"}, {"rate_drop", "0.5"}}},
      {"reg:squarederror",
       1,
       false,
       {{"num_parallel_tree", "5"}, {"subsample", "0.5"}, {"learning_rate", "1"}}},
      {"binary:logistic", 1, false, {{"booster", "gblinear"}}},
  };
  return all;
}

RandomData data_for(const Kind& kind, std::uint64_t seed, std::size_t rows, std::size_t cols) {
  RandomData data = random_data(seed, rows, cols, true);
  Rng rng(seed + 1);
  for (float& label : data.labels) {
    if (kind.classes > 1) {
      label = static_cast<float>(rng.below(kind.classes));
    } else if (kind.counts) {
      label += static_cast<float>(1 + rng.below(5));
    }
  }
  return data;
}

Parameters parameters_of(const Kind& kind) {
  Parameters parameters = {{"objective", kind.objective}};
  parameters.insert(parameters.end(), kind.more.begin(), kind.more.end());
  return parameters;
}

TEST(Forest, ScoresTheBitsOfTheLibraryForEveryObjectiveAndBooster) {
  for (const Kind& kind : kinds()) {
    SCOPED_TRACE(kind.objective + (kind.more.empty() ? "" : " " + kind.more.back().first));
    const std::string bytes = train_model(data_for(kind, 5, 800, 7), parameters_of(kind), 9);
    const auto model = load_xgboost(bytes);
    ASSERT_TRUE(ok(model));
    const RandomData unseen = random_data(77, 301, 7, true);
    const auto theirs = library_scores(bytes, unseen.values, unseen.rows);
    ASSERT_TRUE(ok(theirs));
    const auto ours = scores_of(**model, unseen);
    EXPECT_EQ(bits_of(ours), bits_of(*theirs));
    // Wider numbers are cut to floats, as the library does.
    const std::vector<double> wide(unseen.values.begin(), unseen.values.end());
    std::vector<double> again(ours.size());
    ASSERT_TRUE(ok((*model)->predict(std::span<const double>(wide), unseen.rows, again)));
    EXPECT_EQ(bits_of(again), bits_of(ours));
    // One row at a time.
    const std::size_t outputs = (*model)->outputs();
    for (std::size_t row = 0; row < 40; ++row) {
      ASSERT_TRUE(ok((*model)->predict(std::span(unseen.values).subspan(row * 7, 7), 1,
                                       std::span(again).subspan(row * outputs, outputs))));
    }
    EXPECT_EQ(bits_of(again), bits_of(ours));
  }
}

TEST(Forest, ScoresTheBitsOfTheLibraryOverThousandsOfRandomTrees) {
  Rng rng(2026);
  for (int round = 0; round < 150; ++round) {
    const Kind& kind = kinds()[rng.below(kinds().size() - 1)];
    Parameters parameters = parameters_of(kind);
    parameters.emplace_back("max_depth", std::to_string(1 + rng.below(9)));
    parameters.emplace_back("colsample_bynode", rng.below(2) == 0 ? "1" : "0.5");
    parameters.emplace_back("min_child_weight", "0");
    parameters.emplace_back("seed", std::to_string(round));
    const std::size_t cols = 1 + rng.below(12);
    const std::string bytes = train_model(data_for(kind, rng.below(1000), 200, cols), parameters,
                                          1 + static_cast<int>(rng.below(30)));
    SCOPED_TRACE(fmt::format("round {}, {}", round, kind.objective));
    const auto model = load_xgboost(bytes);
    ASSERT_TRUE(ok(model));
    const RandomData unseen = random_data(rng.below(1000), 1 + rng.below(130), cols, true);
    const auto theirs = library_scores(bytes, unseen.values, unseen.rows);
    ASSERT_TRUE(ok(theirs));
    ASSERT_EQ(bits_of(scores_of(**model, unseen)), bits_of(*theirs));
  }
}

// The fixture's column 0 holds numbers 0 to 3; here they are categories, and more of them.
std::string train_categorical(RandomData& data, const Parameters& parameters, int rounds) {
  Rng rng(8);
  for (std::size_t row = 0; row < data.rows; ++row) {
    if (!std::isnan(data.values[row * data.cols])) {
      const auto category = rng.below(40);
      data.values[row * data.cols] = static_cast<float>(category);
      data.labels[row] = category % 3 == 0 ? 1.0F : data.labels[row];
    }
  }
  return train_model(data, parameters, rounds, "ubj", {"c", "q", "q", "q", "q"});
}

TEST(Forest, SplitsOnCategoriesAsTheLibraryDoes) {
  for (const std::string one_hot : {"100", "1"}) {
    RandomData data = random_data(3, 2000, 5, true);
    const std::string bytes = train_categorical(
        data,
        {{"objective", "binary:logistic"}, {"tree_method", "hist"}, {"max_cat_to_onehot", one_hot}},
        20);
    const auto model = load_xgboost(bytes);
    ASSERT_TRUE(ok(model));
    RandomData unseen = random_data(4, 500, 5, true);
    Rng rng(9);
    for (std::size_t row = 0; row < unseen.rows; ++row) {
      // Some are no category of the training data.
      if (row % 9 != 0) unseen.values[row * 5] = static_cast<float>(rng.below(50));
    }
    const auto theirs = library_scores(bytes, unseen.values, unseen.rows);
    ASSERT_TRUE(ok(theirs));
    EXPECT_EQ(bits_of(scores_of(**model, unseen)), bits_of(*theirs));
  }
}

TEST(Forest, ContributionsAreTheLibrarysAndSumToTheScore) {
  for (const Kind& kind : kinds()) {
    if (!kind.more.empty() && kind.more.back().second == "gblinear") continue;
    SCOPED_TRACE(kind.objective + (kind.more.empty() ? "" : " " + kind.more.back().first));
    const std::string bytes = train_model(data_for(kind, 6, 600, 6), parameters_of(kind), 12);
    const auto model = load_xgboost(bytes);
    ASSERT_TRUE(ok(model));
    const RandomData unseen = random_data(78, 60, 6, true);
    const auto theirs = library_contributions(bytes, unseen.values, unseen.rows);
    ASSERT_TRUE(ok(theirs));
    const std::size_t outputs = (*model)->explained();
    std::vector<double> ours(unseen.rows * outputs * 7);
    ASSERT_EQ(ours.size(), theirs->size());
    const std::vector<double> wide(unseen.values.begin(), unseen.values.end());
    ASSERT_TRUE(ok((*model)->contributions(wide, unseen.rows, ours)));
    for (std::size_t i = 0; i < ours.size(); ++i) {
      // The library adds floats up; we add doubles.
      ASSERT_NEAR(ours[i], (*theirs)[i], 1e-5 * (1 + std::abs(ours[i]))) << i;
    }
    if (kind.objective != "reg:squarederror") continue;
    const auto scores = scores_of(**model, unseen);
    for (std::size_t row = 0; row < unseen.rows; ++row) {
      double sum = 0;
      for (std::size_t k = 0; k < 7; ++k) sum += ours[row * 7 + k];
      EXPECT_NEAR(sum, scores[row], 1e-5 * (1 + std::abs(sum)));
    }
  }
}

TEST(Forest, StopsAtTheBestRoundWhenAsked) {
  Json json = *parse_json(
      train_model(random_data(1, 400, 4, true), {{"objective", "binary:logistic"}}, 10, "json"));
  json["learner"]["attributes"] = {{"best_iteration", "3"}};
  const std::string four =
      train_model(random_data(1, 400, 4, true), {{"objective", "binary:logistic"}}, 4);
  const RandomData unseen = random_data(5, 50, 4, true);
  const auto best = load_xgboost(json.dump(), {.rounds = XgboostOptions::Rounds::best});
  ASSERT_TRUE(ok(best));
  EXPECT_EQ(bits_of(scores_of(**best, unseen)), bits_of(scores_of(**load_xgboost(four), unseen)));
  const auto all = load_xgboost(json.dump());
  EXPECT_NE(bits_of(scores_of(**all, unseen)), bits_of(scores_of(**best, unseen)));
}

}  // namespace
}  // namespace slipway::models
