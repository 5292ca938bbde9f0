// Our walk beside LightGBM's library: scores bit for bit, and contributions.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "base/rng.h"
#include "models/lightgbm_fixture_internal.h"
#include "models/model.h"
#include "support/support.h"

namespace slipway::models {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

struct Table {
  std::size_t rows;
  std::size_t cols;
  std::vector<double> values;
  std::vector<float> labels;
};

// Column 0 holds categories, column 1 many zeros, the others numbers; gaps everywhere but in the
// last.
Table random_table(std::uint64_t seed, std::size_t rows, std::size_t cols, std::size_t classes) {
  Rng rng(seed);
  Table table{rows, cols, {}, {}};
  for (std::size_t row = 0; row < rows; ++row) {
    double signal = 0;
    for (std::size_t k = 0; k < cols; ++k) {
      double value = k == 0 ? static_cast<double>(rng.below(30)) : rng.normal();
      if (k == 1 && rng.below(2) == 0) value = 0;
      if (k == 2 && rng.below(6) == 0) value = 1e-36 * rng.normal();
      signal += k == 0 ? static_cast<double>(static_cast<int>(value) % 3) : value;
      if (k + 1 != cols && rng.below(10) == 0) value = kNan;
      table.values.push_back(value);
    }
    const double noisy = signal + rng.normal();
    table.labels.push_back(static_cast<float>(
        classes == 0 ? std::abs(noisy) + 0.1
                     : static_cast<double>(static_cast<std::size_t>(std::abs(noisy)) % classes)));
  }
  return table;
}

struct Case {
  std::string parameters;
  std::size_t classes;  // 0: numbers
  std::size_t outputs = 1;
};

const std::vector<Case>& cases() {
  static const std::vector<Case> all = {
      {"objective=binary", 2},
      {"objective=binary sigmoid=0.7 is_unbalance=true", 2},
      {"objective=regression", 0},
      {"objective=regression reg_sqrt=true", 0},
      {"objective=regression_l1", 0},
      {"objective=huber", 0},
      {"objective=poisson", 0},
      {"objective=gamma", 0},
      {"objective=tweedie", 0},
      {"objective=quantile alpha=0.8", 0},
      {"objective=mape", 0},
      {"objective=cross_entropy", 2},
      {"objective=cross_entropy_lambda", 2},
      {"objective=multiclass num_class=3", 3, 3},
      {"objective=multiclassova num_class=4", 4, 4},
      {"objective=binary categorical_feature=0 min_data_per_group=5 cat_smooth=1", 2},
      {"objective=binary categorical_feature=0 max_cat_to_onehot=64", 2},
      {"objective=binary zero_as_missing=true", 2},
      {"objective=binary use_missing=false", 2},
      {"objective=binary boosting=dart drop_rate=0.5", 2},
      {"objective=binary boosting=rf bagging_freq=1 bagging_fraction=0.6", 2},
      {"objective=regression boosting=rf bagging_freq=1 bagging_fraction=0.6", 0},
      {"objective=binary max_depth=2 num_leaves=4", 2},
      {"objective=binary num_leaves=200 min_data_in_leaf=1", 2},
      {"objective=binary min_data_in_leaf=100000", 2},  // no split at all
  };
  return all;
}

std::string train(const Case& one, const Table& table, const std::string& more = {},
                  int rounds = 15) {
  return LightgbmLibrary::get().train(
      table.values, table.rows, table.cols, table.labels,
      one.parameters + " verbosity=-1 num_threads=1 deterministic=true seed=3 " + more, rounds);
}

std::vector<std::uint64_t> double_bits(const std::vector<double>& values) {
  std::vector<std::uint64_t> out;
  for (const double value : values) out.push_back(std::bit_cast<std::uint64_t>(value));
  return out;
}

TEST(LightgbmModel, ScoresTheSameBitsAsTheLibrary) {
  const Table unseen = random_table(99, 333, 6, 2);
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.parameters);
    const std::string text = train(one, random_table(1, 900, 6, one.classes));
    const auto model = load_lightgbm(text);
    ASSERT_TRUE(ok(model));
    ASSERT_EQ((*model)->outputs(), one.outputs);
    EXPECT_EQ((*model)->feature_names()[0], "Column_0");
    const auto theirs = LightgbmLibrary::get().predict(text, unseen.values, unseen.rows,
                                                       unseen.cols, 0, one.outputs);
    std::vector<double> ours(unseen.rows * one.outputs);
    ASSERT_TRUE(ok((*model)->predict(std::span<const double>(unseen.values), unseen.rows, ours)));
    ASSERT_EQ(double_bits(ours), double_bits(theirs));
    std::vector<double> again(one.outputs);
    for (std::size_t row = 0; row < 40; ++row) {
      ASSERT_TRUE(ok(
          (*model)->predict(std::span<const double>(unseen.values).subspan(row * 6, 6), 1, again)));
      for (std::size_t k = 0; k < one.outputs; ++k)
        ASSERT_EQ(std::bit_cast<std::uint64_t>(again[k]),
                  std::bit_cast<std::uint64_t>(ours[row * one.outputs + k]));
    }
  }
}

TEST(LightgbmModel, ScoresTheBitsOfTheLibraryOverThousandsOfRandomTrees) {
  Rng rng(5);
  for (int round = 0; round < 150; ++round) {
    const Case& one = cases()[rng.below(cases().size())];
    const std::size_t cols = 3 + rng.below(8);
    SCOPED_TRACE(fmt::format("round {}, {}", round, one.parameters));
    const std::string text =
        train(one, random_table(rng.below(1000), 300, cols, one.classes),
              fmt::format("min_data_in_leaf=2 feature_fraction=0.7 extra_trees={}",
                          rng.below(2) == 0 ? "true" : "false"),
              1 + static_cast<int>(rng.below(25)));
    const auto model = load_lightgbm(text);
    ASSERT_TRUE(ok(model));
    const Table unseen = random_table(rng.below(1000), 100, cols, 2);
    std::vector<double> ours(unseen.rows * one.outputs);
    ASSERT_TRUE(ok((*model)->predict(std::span<const double>(unseen.values), unseen.rows, ours)));
    ASSERT_EQ(double_bits(ours),
              double_bits(LightgbmLibrary::get().predict(text, unseen.values, unseen.rows,
                                                         unseen.cols, 0, one.outputs)));
  }
}

TEST(LightgbmModel, ContributionsAreTheLibrarys) {
  const Table unseen = random_table(98, 40, 6, 2);
  for (const Case& one : cases()) {
    SCOPED_TRACE(one.parameters);
    const std::string text = train(one, random_table(2, 600, 6, one.classes), {}, 8);
    const auto model = load_lightgbm(text);
    ASSERT_TRUE(ok(model));
    const auto theirs = LightgbmLibrary::get().predict(text, unseen.values, unseen.rows,
                                                       unseen.cols, 3, one.outputs * 7);
    std::vector<double> ours(theirs.size());
    ASSERT_TRUE(ok((*model)->contributions(unseen.values, unseen.rows, ours)));
    // The library does not divide the contributions of averaged forests.
    const double scale =
        one.parameters.find("boosting=rf") == std::string::npos ? 1 : theirs[6] / ours[6];
    for (std::size_t i = 0; i < ours.size(); ++i)
      ASSERT_NEAR(ours[i] * scale, theirs[i], 1e-9 * (1 + std::abs(theirs[i]))) << i;
  }
}

TEST(LightgbmModel, SurvivesTruncationAndDamage) {
  const Table table = random_table(1, 300, 4, 2);
  const std::string good =
      train({"objective=binary categorical_feature=0 min_data_per_group=5", 2}, table, {}, 4);
  ASSERT_TRUE(ok(load_lightgbm(good)));
  const std::size_t trees_end = good.find("end of trees");
  for (std::size_t size = 0; size < trees_end; size += 1 + size / 60)
    EXPECT_TRUE(failed_with(load_lightgbm(std::string_view(good).substr(0, size)), Code::data_loss))
        << "cut at " << size;
  Rng rng(4);
  int loaded = 0;
  for (int i = 0; i < 4000; ++i) {
    std::string bad = good;
    for (std::uint64_t n = 1 + rng.below(3); n > 0; --n)
      bad[rng.below(trees_end)] =
          rng.below(2) == 0 ? static_cast<char>(rng.below(256)) : "0123456789-. e"[rng.below(14)];
    const auto model = load_lightgbm(bad);
    if (!model || (*model)->features() != 4) continue;
    ++loaded;  // damage that makes another valid model
    std::vector<double> out(2 * (*model)->outputs());
    ASSERT_TRUE(ok((*model)->predict(std::span<const double>(table.values).first(8), 2, out)));
  }
  EXPECT_GT(loaded, 0);
}

TEST(LightgbmModel, SaysWhatIsWrongWithAFile) {
  const Table table = random_table(1, 300, 4, 2);
  const std::string good = train({"objective=binary", 2}, table, {}, 2);
  const auto with = [&](const std::string& key, const std::string& value) {
    std::string text = good;
    const std::size_t at = text.find("\n" + key + "=") + key.size() + 2;
    text.replace(at, text.find('\n', at) - at, value);
    return load_lightgbm(text);
  };
  const std::vector<std::tuple<std::string, std::string, Code, std::string>> rows = {
      {"objective", "dreams", Code::unimplemented, "dreams"},
      {"is_linear", "1", Code::unimplemented, "linear"},
      {"max_feature_idx", "99999999", Code::data_loss, "features"},
      {"max_feature_idx", "-1", Code::data_loss, "no number"},
      {"num_tree_per_iteration", "0", Code::data_loss, "outputs"},
      {"num_leaves", "100000000000", Code::data_loss, "leaves"},
      {"left_child", "0 0", Code::data_loss, "left_child has 2 values"},
      {"split_feature", "0 x", Code::data_loss, "no number"},
      {"tree_sizes", "1 2 3", Code::data_loss, "announces 3 trees"},
  };
  for (const auto& [key, value, code, want] : rows) {
    SCOPED_TRACE(key + "=" + value);
    const auto model = with(key, value);
    EXPECT_TRUE(failed_with(model, code));
    EXPECT_THAT(message_of(model), HasSubstr(want));
  }
  // The first split leads to itself.
  std::string cycle = good;
  const std::size_t at = cycle.find("left_child=") + 11;
  cycle.replace(at, cycle.find_first_of(" \n", at) - at, "0");
  EXPECT_THAT(message_of(load_lightgbm(cycle)), HasSubstr("no node of its own"));
  EXPECT_TRUE(failed_with(load_lightgbm(""), Code::data_loss));
}

}  // namespace
}  // namespace slipway::models
