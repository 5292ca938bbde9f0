#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "base/json.h"
#include "models/certificate_internal.h"
#include "models/model.h"
#include "models/train_fixture_internal.h"
#include "support/support.h"

namespace slipway::models {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

std::vector<std::uint64_t> bits(const std::vector<double>& values) {
  std::vector<std::uint64_t> out;
  for (const double value : values) out.push_back(std::bit_cast<std::uint64_t>(value));
  return out;
}

TEST(XgboostModel, ScoresTheSameBitsAsTheLibrary) {
  const std::vector<std::tuple<std::string, bool, Parameters, int>> rows = {
      {"classifier", true, {{"objective", "binary:logistic"}, {"max_depth", "6"}}, 40},
      {"one tree", true, {{"objective", "binary:logistic"}}, 1},
      {"declared base score", true, {{"objective", "binary:logistic"}, {"base_score", "0.07"}}, 9},
      {"weighted classes",
       true,
       {{"objective", "binary:logistic"}, {"scale_pos_weight", "5"}, {"subsample", "0.6"}},
       13},
      {"shares", true, {{"objective", "reg:logistic"}, {"max_depth", "3"}}, 17},
      {"squared error", false, {{"objective", "reg:squarederror"}, {"max_depth", "7"}}, 33},
      {"absolute error", false, {{"objective", "reg:absoluteerror"}, {"max_depth", "4"}}, 12},
      {"leaf by leaf, lopsided",
       true,
       {{"objective", "binary:logistic"},
        {"grow_policy", "lossguide"},
        {"max_leaves", "40"},
        {"max_depth", "0"}},
       21},
      {"pruned",
       true,
       {{"objective", "binary:logistic"},
        {"gamma", "4"},
        {"tree_method", "exact"},
        {"max_depth", "8"}},
       20},
      {"random forest",
       true,
       {{"objective", "binary:logistic"},
        {"num_parallel_tree", "11"},
        {"subsample", "0.5"},
        {"colsample_bynode", "0.5"}},
       3},
      {"stumps of nothing",
       true,
       {{"objective", "binary:logistic"}, {"min_child_weight", "1e9"}},
       5},
  };
  const RandomData unseen = random_data(99, 1037, 13, true);
  for (const auto& [name, classes, parameters, rounds] : rows) {
    for (const std::string format : {"ubj", "json"}) {
      SCOPED_TRACE(name + " as " + format);
      const std::string bytes =
          train_model(random_data(7, 3000, 13, classes), parameters, rounds, format);
      const auto model = load_xgboost(bytes);
      ASSERT_TRUE(ok(model));
      EXPECT_EQ((*model)->features(), 13U);
      const auto theirs = library_scores(bytes, unseen.values, unseen.rows);
      ASSERT_TRUE(ok(theirs));
      std::vector<double> ours(unseen.rows);
      ASSERT_TRUE(ok((*model)->predict(unseen.values, unseen.rows, ours)));
      EXPECT_EQ(bits(ours), bits(*theirs));
      // Row by row and in blocks of any size: the same.
      for (std::size_t size = 1; size < 70; size += size < 10 ? 1 : 13) {
        std::vector<double> parts(unseen.rows);
        for (std::size_t begin = 0; begin < unseen.rows; begin += size) {
          const std::size_t count = std::min(size, unseen.rows - begin);
          ASSERT_TRUE(ok((*model)->predict(std::span(unseen.values).subspan(begin * 13, count * 13),
                                           count, std::span(parts).subspan(begin, count))));
        }
        ASSERT_EQ(bits(parts), bits(ours)) << "in blocks of " << size;
      }
    }
  }
}

TEST(XgboostModel, RefusesMatricesOfAnotherShape) {
  const auto model = load_xgboost(
      train_model(random_data(1, 300, 4, true), {{"objective", "binary:logistic"}}, 2));
  ASSERT_TRUE(ok(model));
  std::vector<float> matrix(8);
  std::vector<double> out(2);
  EXPECT_TRUE(ok((*model)->predict(matrix, 2, out)));
  EXPECT_TRUE(failed_with((*model)->predict(matrix, 1, out), Code::invalid_argument));
  EXPECT_TRUE(
      failed_with((*model)->predict(std::span(matrix).first(7), 2, out), Code::invalid_argument));
}

TEST(XgboostModel, SaysWhichPartOfTheFormatIsNotRunHere) {
  const RandomData data = random_data(1, 300, 4, true);
  const Json good = *parse_json(train_model(data, {{"objective", "binary:logistic"}}, 1, "json"));
  const std::vector<std::tuple<std::string, Json, std::string>> rows = {
      {"/learner/gradient_booster/name", "forest_of_dreams", "forest_of_dreams"},
      {"/learner/objective/name", "reg:dreams", "reg:dreams"},
      {"/learner/gradient_booster/model/trees/0/tree_param/size_leaf_vector", "3",
       "several outputs"},
  };
  for (const auto& [pointer, value, want] : rows) {
    SCOPED_TRACE(want);
    Json json = good;
    json[nlohmann::json::json_pointer(pointer)] = value;
    const auto model = load_xgboost(json.dump());
    EXPECT_TRUE(failed_with(model, Code::unimplemented));
    EXPECT_THAT(message_of(model), HasSubstr(want));
  }
}

// A valid model with one thing wrong in it.
TEST(XgboostModel, RefusesTreesThatAreNone) {
  const Json good =
      *parse_json(train_model(random_data(2, 500, 4, true),
                              {{"objective", "binary:logistic"}, {"max_depth", "3"}}, 2, "json"));
  ASSERT_TRUE(ok(load_xgboost(good.dump())));
  const auto tree = nlohmann::json::json_pointer("/learner/gradient_booster/model/trees/1");
  const auto with = [&](const std::string& pointer, const Json& value) {
    Json json = good;
    json[tree / nlohmann::json::json_pointer(pointer)] = value;
    return json.dump();
  };
  const std::vector<std::tuple<std::string, std::string, Json, std::string>> rows = {
      {"a cycle", "/left_children/1", 0, "no node of its own"},
      {"its own child", "/right_children/0", 0, "no node of its own"},
      {"two parents", "/right_children/0", good[tree]["left_children"][0], "no node of its own"},
      {"a child outside", "/left_children/0", 1'000'000, "no node of its own"},
      {"a negative child", "/left_children/0", -2, "no node of its own"},
      {"one child only", "/right_children/0", -1, "no node of its own"},
      {"a feature outside", "/split_indices/0", 4, "feature 4 of 4"},
      {"a negative feature", "/split_indices/0", -1, "feature -1 of 4"},
      {"a huge feature", "/split_indices/0", 2'147'483'648, "feature 2147483648"},
      {"no nodes", "/left_children", Json::array(), "differ in length"},
      {"a short array", "/split_conditions", Json::array({0.5}), "differ in length"},
      {"text for a number", "/split_conditions/0", "0.5", "type must be number"},
  };
  for (const auto& [name, pointer, value, want] : rows) {
    SCOPED_TRACE(name);
    const auto model = load_xgboost(with(pointer, value));
    EXPECT_TRUE(failed_with(model, Code::data_loss));
    EXPECT_THAT(message_of(model), HasSubstr(want));
  }
  Json base = good;
  base["learner"]["learner_model_param"]["base_score"] = "[1E0]";
  EXPECT_THAT(message_of(load_xgboost(base.dump())), HasSubstr("base score"));
  Json categories = good;
  categories[tree]["split_type"][0] = 1;
  EXPECT_THAT(message_of(load_xgboost(categories.dump())), HasSubstr("are not there"));
  categories[tree]["categories_nodes"] = {0};
  categories[tree]["categories_segments"] = {0};
  categories[tree]["categories_sizes"] = {5};
  EXPECT_THAT(message_of(load_xgboost(categories.dump())), HasSubstr("point outside"));
  Json wide = good;
  wide["learner"]["learner_model_param"]["num_feature"] = "100000000";
  EXPECT_TRUE(failed_with(load_xgboost(wide.dump()), Code::data_loss));
}

TEST(XgboostModel, SurvivesTruncationAndDamage) {
  const RandomData data = random_data(3, 400, 5, true);
  const std::vector<float> row = {1, 2, std::numeric_limits<float>::quiet_NaN(), 0, 5};
  for (const std::string format : {"ubj", "json"}) {
    const std::string good =
        train_model(data, {{"objective", "binary:logistic"}, {"max_depth", "3"}}, 3, format);
    std::vector<double> out(1);
    for (std::size_t size = 0; size < good.size(); size += 1 + size / 40) {
      EXPECT_FALSE(ok(load_xgboost(std::string_view(good).substr(0, size))))
          << format << " cut at " << size;
    }
    Rng rng(4);
    int loaded = 0;
    for (int i = 0; i < 3000; ++i) {
      std::string bad = good;
      for (std::uint64_t n = 1 + rng.below(4); n > 0; --n)
        bad[rng.below(bad.size())] = static_cast<char>(rng.below(256));
      const auto model = load_xgboost(bad);
      if (!model || (*model)->features() != row.size()) continue;
      ++loaded;  // damage that makes another valid model
      ASSERT_TRUE(ok((*model)->predict(row, 1, out)));
    }
    EXPECT_GT(loaded, 0);
  }
}

TEST(XgboostModel, SurvivesFilesThatPromiseMoreThanTheyHold) {
  using namespace std::string_literals;
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"nothing", ""},
      {"a brace", "{"},
      {"2^62 nulls", "[$Z#L\x40\x00\x00\x00\x00\x00\x00\x00"s},
      {"2^62 trues inside an object",
       "{U\x01"
       "a[$T#L\x40\x00\x00\x00\x00\x00\x00\x00"s},
      {"a million arrays deep", std::string(1'000'000, '[')},
      {"a million objects deep",
       [] {
         std::string text;
         for (int i = 0; i < 300'000; ++i)
           text +=
               "{U\x01"
               "a";
         return text;
       }()},
      {"a million JSON arrays deep", "{\"a\":" + std::string(1'000'000, '[')},
      {"arrays of arrays of trues",
       [] {
         std::string text = "[";
         for (int i = 0; i < 20'000; ++i) text += "[$T#l\x00\x01\x00\x00"s;
         return text + "]";
       }()},
      {"a negative length",
       "{U\xFF"
       "a"s},
      {"another document", "{\"hello\": \"world\"}"},
      {"a list", "[1, 2, 3]"},
      {"no text at all", std::string(1000, '\0')},
  };
  for (const auto& [name, bytes] : rows) {
    SCOPED_TRACE(name);
    EXPECT_TRUE(failed_with(load_xgboost(bytes), Code::data_loss));
  }
}

TEST(LogisticModel, ScoresAsComputedByHandAndSkipsWhatIsMissing) {
  const auto model = load_logistic(R"({"version": 1, "intercept": -1, "weights": [2, 0.5]})");
  ASSERT_TRUE(ok(model));
  const std::vector<float> matrix = {1, 2, std::numeric_limits<float>::quiet_NaN(), 2};
  std::vector<double> out(2);
  ASSERT_TRUE(ok((*model)->predict(matrix, 2, out)));
  EXPECT_DOUBLE_EQ(out[0], 1 / (1 + std::exp(-2.0)));
  EXPECT_DOUBLE_EQ(out[1], 0.5);
}

TEST(LogisticModel, RefusesWhatIsNoModel) {
  for (const char* bytes : {"", "{}", "[]", R"({"version": 1, "intercept": 1, "weights": []})",
                            R"({"version": 1, "intercept": "1", "weights": [1]})",
                            R"({"version": 1, "weights": [1]})"}) {
    SCOPED_TRACE(bytes);
    EXPECT_TRUE(failed_with(load_logistic(bytes), Code::data_loss));
  }
  EXPECT_TRUE(failed_with(load_logistic(R"({"version": 2})"), Code::unimplemented));
  EXPECT_TRUE(failed_with(load_model("pickle", "x"), Code::unimplemented));
}

}  // namespace
}  // namespace slipway::models
