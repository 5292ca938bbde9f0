// The transforms beside scikit-learn's: tests/golden/features/make.py wrote down what that says.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "base/file.h"
#include "features/pipeline.h"
#include "features/stage_internal.h"
#include "support/support.h"

namespace slipway::features {
namespace {

using data::Type;
using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Json& golden_transforms() {
  static const Json json = [] {
    const auto text = read_file("tests/golden/features/transforms.json");
    EXPECT_TRUE(ok(text));
    return *parse_json(*text);
  }();
  return json;
}

data::BatchBuilder column_of(Type type, const Json& values) {
  data::BatchBuilder builder({{{"x", type, true}}});
  for (const Json& value : values) EXPECT_TRUE(ok(builder.append_json(0, value)));
  return builder;
}

Result<PipelineSpec> chain_spec(const Json& chain) {
  return PipelineSpec::from_json(Json::array({{{"columns", "x"}, {"apply", chain}}}));
}

TEST(Transforms, GiveScikitLearnsNumbers) {
  ASSERT_GE(golden_transforms()["cases"].size(), 30U);
  for (const Json& golden : golden_transforms()["cases"]) {
    SCOPED_TRACE(golden["name"].get<std::string>());
    const Type type = *data::parse_type(golden["type"].get<std::string>());
    const auto train = column_of(type, golden["train"]);
    const auto serve = column_of(type, golden["serve"]);
    const auto spec = chain_spec(golden["chain"]);
    ASSERT_TRUE(ok(spec));
    const auto target = golden["target"].get<std::vector<double>>();
    const auto pipeline = Pipeline::fit({}, *spec, *train.batch(), target);
    ASSERT_TRUE(ok(pipeline));
    const std::size_t cols = pipeline->outputs().size();
    std::vector<float> out(golden["serve"].size() * cols);
    ASSERT_TRUE(ok(pipeline->transform(*serve.batch(), out)));
    const double tolerance = golden["tolerance"].get<double>();
    for (std::size_t row = 0; row < golden["want"].size(); ++row) {
      const Json& want = golden["want"][row];
      ASSERT_EQ(want.size(), cols);
      for (std::size_t c = 0; c < cols; ++c) {
        const double got = out[row * cols + c];
        if (want[c].is_null()) {
          ASSERT_TRUE(std::isnan(got)) << "row " << row << ", output " << c << " is " << got;
          continue;
        }
        const double value = want[c].get<double>();
        ASSERT_NEAR(got, value, tolerance * std::max(1.0, std::abs(value)))
            << "row " << row << " (" << golden["serve"][row] << "), output "
            << pipeline->outputs()[c];
      }
    }
    // What JSON keeps of it gives the same bits.
    const auto back = Pipeline::from_json(*parse_json(canonical(pipeline->to_json())));
    ASSERT_TRUE(ok(back));
    std::vector<float> again(out.size());
    ASSERT_TRUE(ok(back->transform(*serve.batch(), again)));
    ASSERT_EQ(std::memcmp(again.data(), out.data(), out.size() * sizeof(float)), 0);
  }
}

TEST(Transforms, ReadTheClocksOfAZoneAsItsFilesSay) {
  for (const Json& golden : golden_transforms()["zones"]) {
    const std::string zone = golden["zone"].get<std::string>();
    data::BatchBuilder times({{{"x", Type::timestamp, true}}});
    for (const Json& seconds : golden["seconds"])
      times.append_integer(0, seconds.get<std::int64_t>() * 1'000'000);
    const auto spec = chain_spec(
        {{{"datetime", {{"parts", {"year", "month", "day", "hour", "minute"}}, {"zone", zone}}}}});
    ASSERT_TRUE(ok(spec));
    const auto pipeline = Pipeline::fit({}, *spec, *times.batch(), {});
    ASSERT_TRUE(ok(pipeline));
    std::vector<float> out(golden["seconds"].size() * 5);
    ASSERT_TRUE(ok(pipeline->transform(*times.batch(), out)));
    for (std::size_t row = 0; row < golden["want"].size(); ++row) {
      for (std::size_t part = 0; part < 5; ++part) {
        // Local mean times of the nineteenth century count seconds, which a minute cannot show.
        ASSERT_EQ(out[row * 5 + part], golden["want"][row][part].get<float>())
            << zone << " at " << golden["seconds"][row] << ", part " << part;
      }
    }
  }
}

TEST(Transforms, MultiplyColumnsInScikitLearnsOrder) {
  const Json& golden = golden_transforms()["products"];
  data::BatchBuilder rows(
      {{{"a", Type::float64, true}, {"b", Type::float64, true}, {"c", Type::float64, true}}});
  const char* const names[] = {"a", "b", "c"};
  for (std::size_t c = 0; c < 3; ++c) {
    for (const Json& value : golden[names[c]]) rows.append_real(c, value.get<double>());
  }
  for (const bool interactions : {false, true}) {
    const auto spec = PipelineSpec::from_json(Json::array({{{"polynomial",
                                                             {{"columns", {"a", "b", "c"}},
                                                              {"degree", 3},
                                                              {"linear", true},
                                                              {"interactions_only", interactions}}},
                                                            {"suffix", ""}}}));
    ASSERT_TRUE(ok(spec));
    // The products of one column are that column; its name is taken.
    EXPECT_THAT(message_of(Pipeline::fit({}, *spec, *rows.batch(), {})), HasSubstr("as:"));
    auto renamed = *spec;
    for (Derive& derive : renamed.derived) derive.name += "'";
    const auto pipeline = Pipeline::fit({}, renamed, *rows.batch(), {});
    ASSERT_TRUE(ok(pipeline));
    const Json& want = golden[interactions ? "interactions" : "all"];
    const std::size_t cols = pipeline->outputs().size();
    ASSERT_EQ(cols, want[0].size());
    std::vector<float> out(want.size() * cols);
    ASSERT_TRUE(ok(pipeline->transform(*rows.batch(), out)));
    for (std::size_t i = 0; i < out.size(); ++i) {
      const double value = want[i / cols][i % cols].get<double>();
      ASSERT_NEAR(out[i], value, 1e-6 * std::max(1.0, std::abs(value)));
    }
    for (std::size_t c = 0; c < cols && !interactions; ++c)
      EXPECT_EQ(pipeline->outputs()[c], golden["names"][c].get<std::string>() + "'");
  }
}

class SelectionTest : public ::testing::Test {
 protected:
  SelectionTest() : rows_(schema()) {
    const Json& golden = golden_transforms()["selection"];
    for (std::size_t c = 0; c < 5; ++c) {
      for (const Json& value : golden["columns"][c]) rows_.append_real(c, value.get<double>());
    }
    target_ = golden["target"].get<std::vector<double>>();
  }
  static data::Schema schema() {
    data::Schema out;
    for (int c = 0; c < 5; ++c)
      out.fields.push_back({"x" + std::to_string(c), Type::float64, true});
    return out;
  }
  Result<Pipeline> fit(const Json& select, const FitOptions& options = {}) {
    const auto spec = PipelineSpec::from_json(
        Json::array({{{"columns", "x*"}, {"apply", "passthrough"}}, {{"select", select}}}));
    EXPECT_TRUE(ok(spec));
    return Pipeline::fit({}, *spec, *rows_.batch(), target_, options);
  }
  data::BatchBuilder rows_;
  std::vector<double> target_;
};

TEST_F(SelectionTest, RanksByMutualInformationAsScikitLearnDoes) {
  const auto want =
      golden_transforms()["selection"]["mutual_information"].get<std::vector<double>>();
  std::vector<std::size_t> order = {0, 1, 2, 3, 4};
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return want[a] > want[b]; });
  for (std::size_t keep = 1; keep <= 4; ++keep) {
    const auto pipeline = fit({{"by", "mutual_information"}, {"keep", keep}});
    ASSERT_TRUE(ok(pipeline));
    std::vector<std::string> names;
    for (std::size_t i = 0; i < keep; ++i) names.push_back("x" + std::to_string(order[i]));
    std::sort(names.begin(), names.end());
    EXPECT_EQ(pipeline->outputs(), names);
    EXPECT_EQ(pipeline->inputs().names(), names);  // what is left out need not be asked for
  }
  // The scores themselves: the threshold lies just below and just above them.
  for (const std::size_t c : {0U, 1U, 2U, 4U}) {
    const auto below = fit({{"by", "mutual_information"}, {"above", want[c] - 1e-9}});
    ASSERT_TRUE(ok(below));
    EXPECT_THAT(below->outputs(), ::testing::Contains("x" + std::to_string(c)));
    const auto above = fit({{"by", "mutual_information"}, {"above", want[c] + 1e-9}});
    if (!above) continue;  // nothing is left
    EXPECT_THAT(above->outputs(), ::testing::Not(::testing::Contains("x" + std::to_string(c))));
  }
}

TEST_F(SelectionTest, LeavesOutConstantsAndSaysSo) {
  const auto pipeline = fit({{"by", "variance"}});
  ASSERT_TRUE(ok(pipeline));
  EXPECT_THAT(pipeline->outputs(), ElementsAre("x0", "x1", "x2", "x4"));
  EXPECT_THAT(pipeline->notes(), ::testing::Contains(HasSubstr("'x3'")));
  EXPECT_TRUE(failed_with(fit({{"by", "variance"}, {"above", 1e9}}), Code::failed_precondition));
}

TEST_F(SelectionTest, AsksTheLearnerForImportance) {
  EXPECT_THAT(message_of(fit({{"by", "importance"}, {"keep", 2}})), HasSubstr("learner"));
  FitOptions options;
  options.importance = [](const Matrix& matrix) -> Result<std::vector<double>> {
    EXPECT_EQ(matrix.rows, 500U);
    EXPECT_EQ(matrix.labels.size(), 500U);
    return std::vector<double>{0, 3, 1, 2, 0.5};
  };
  const auto pipeline = fit({{"by", "importance"}, {"keep", 2}}, options);
  ASSERT_TRUE(ok(pipeline));
  EXPECT_THAT(pipeline->outputs(), ElementsAre("x1", "x3"));
}

TEST_F(SelectionTest, GivesTheSameBitsAsWithoutIt) {
  const char* const kSpec = R"([
    {"columns": "x*", "apply": [{"bins": 3}, {"onehot": {}}]},
    {"expression": "x0 + x4", "as": "sum", "apply": ["standardize"]},
    {"cross": ["k", "k2"], "apply": ["onehot"]})";
  data::Schema schema = SelectionTest::schema();
  schema.fields.push_back({"k", Type::text, true});
  schema.fields.push_back({"k2", Type::boolean, true});
  data::BatchBuilder rows(schema);
  const data::Batch numbers = *rows_.batch();
  for (std::int64_t row = 0; row < numbers.rows; ++row) {
    for (std::size_t c = 0; c < 5; ++c) rows.append_real(c, numbers.columns[c].real(row));
    row % 7 == 0 ? rows.append_null(5) : rows.append_text(5, row % 3 == 0 ? "a|b" : "c");
    rows.append_boolean(6, row % 2 == 0);
  }
  const auto all_spec = PipelineSpec::from_json(*parse_json(std::string(kSpec) + "]"));
  const auto some_spec = PipelineSpec::from_json(*parse_json(
      std::string(kSpec) + R"(, {"select": {"by": "mutual_information", "keep": 5}}])"));
  const auto all = Pipeline::fit_transform({}, *all_spec, *rows.batch(), target_);
  const auto some = Pipeline::fit_transform({}, *some_spec, *rows.batch(), target_);
  ASSERT_TRUE(ok(all));
  ASSERT_TRUE(ok(some));
  const auto& names = some->pipeline.outputs();
  ASSERT_EQ(names.size(), 5U);
  const auto back = Pipeline::from_json(*parse_json(canonical(some->pipeline.to_json())));
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(back->digest(), some->pipeline.digest());
  std::vector<float> served(500 * 5);
  ASSERT_TRUE(ok(back->transform(*rows.batch(), served)));
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto& before = all->pipeline.outputs();
    const auto at = static_cast<std::size_t>(std::find(before.begin(), before.end(), names[i]) -
                                             before.begin());
    ASSERT_LT(at, before.size());
    for (std::size_t row = 0; row < 500; ++row) {
      const float want = all->matrix[row * before.size() + at];
      ASSERT_EQ(std::bit_cast<std::uint32_t>(some->matrix[row * 5 + i]),
                std::bit_cast<std::uint32_t>(want));
      ASSERT_EQ(std::bit_cast<std::uint32_t>(served[row * 5 + i]),
                std::bit_cast<std::uint32_t>(want));
    }
  }
}

TEST(Transforms, FindNormalDeviatesToTheLastDigits) {
  const Json& golden = golden_transforms()["deviates"];
  for (std::size_t i = 0; i < golden["shares"].size(); ++i) {
    const double want = golden["want"][i].get<double>();
    EXPECT_NEAR(normal_deviate(golden["shares"][i].get<double>()), want,
                1e-13 * std::max(1.0, std::abs(want)));
  }
}

TEST(Transforms, ReadPipelinesOfTheOlderVersion) {
  // As version 1 wrote it, zone and all.
  const Json old = *parse_json(R"({"version": 1,
    "inputs": [{"name": "when", "type": "timestamp", "nullable": true}, {"name": "x", "type": "float64", "nullable": true}],
    "chains": [
      {"column": "when", "suffix": "", "stages": [{"op": "datetime", "parts": ["hour"], "cyclical": [], "offset_minutes": -330}]},
      {"column": "x", "suffix": "_s", "stages": [{"op": "number"}, {"op": "impute", "fill": [4.0], "indicator": true},
                                                 {"op": "standardize", "mean": [2.0], "scale": [4.0]}]}],
    "outputs": ["when.hour", "x_s", "x_s.missing"]})");
  const auto pipeline = Pipeline::from_json(old);
  ASSERT_TRUE(ok(pipeline));
  EXPECT_EQ(pipeline->to_json()["version"], 2);
  const auto again = Pipeline::from_json(pipeline->to_json());
  ASSERT_TRUE(ok(again));
  EXPECT_EQ(again->digest(), pipeline->digest());
  data::BatchBuilder rows({{{"when", Type::timestamp, true}, {"x", Type::float64, true}}});
  rows.append_integer(0, 1'356'998'400'000'000);  // 2013-01-01
  rows.append_null(1);
  std::vector<float> out(3);
  ASSERT_TRUE(ok(again->transform(*rows.batch(), out)));
  EXPECT_THAT(out, ElementsAre(18, 0.5F, 1));
  Json broken = old;
  broken["chains"][0]["stages"][0]["offset_minutes"] = 100'000;
  EXPECT_TRUE(failed_with(Pipeline::from_json(broken), Code::data_loss));
}

TEST(Transforms, TellWhatTheyNeed) {
  const std::vector<std::tuple<Json, Type, std::string>> rows = {
      {{{{"hash", 8}}}, Type::float64, "hash needs categories"},
      {Json::array({{{"hash", 8}}, "standardize"}), Type::text, "nothing can follow it"},
      {{{{"tfidf", 8}}}, Type::int64, "needs a text"},
      {{{{"bins", {{"by", "tree"}}}}}, Type::float64, "need the target"},
      {Json::array({"log1p", {{"text_hash", 8}}}), Type::text, "needs numbers"},
  };
  for (const auto& [chain, type, message] : rows) {
    SCOPED_TRACE(chain.dump());
    const auto spec = chain_spec(chain);
    ASSERT_TRUE(ok(spec));
    const auto column = column_of(type, type == Type::text ? Json{"a b", "b a"} : Json{1, 2});
    EXPECT_THAT(message_of(Pipeline::fit({}, *spec, *column.batch(), {})), HasSubstr(message));
  }
}

}  // namespace
}  // namespace slipway::features
