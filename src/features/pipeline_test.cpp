#include "features/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numbers>

#include "base/parallel.h"
#include "support/every_transform.h"
#include "support/odd_rows.h"
#include "support/support.h"

namespace slipway::features {
namespace {

using data::Type;
using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<std::uint32_t> bits(std::span<const float> values) {
  std::vector<std::uint32_t> out;
  for (const float value : values) out.push_back(std::bit_cast<std::uint32_t>(value));
  return out;
}

PipelineSpec spec_of(const std::string& json) {
  const auto parsed = parse_json(json);
  auto spec = PipelineSpec::from_json(*parsed);
  EXPECT_TRUE(ok(spec));
  return spec ? std::move(*spec) : PipelineSpec{};
}

// One column from JSON values; "NaN" and "inf" in a float64 column are those.
class OneColumn {
 public:
  OneColumn(Type type, const Json& values) : builder_({{{"x", type, true}}}) {
    for (const Json& value : values) {
      if (type == Type::float64 && value.is_string()) {
        builder_.append_real(0, value == "NaN" ? std::nan("") : kInf);
      } else {
        EXPECT_TRUE(ok(builder_.append_json(0, value)));
      }
    }
  }
  data::Batch batch() const { return *builder_.batch(); }

 private:
  data::BatchBuilder builder_;
};

// Fits a chain on one column and transforms another with it.
std::vector<float> run(const std::string& chain, Type type, const Json& train, const Json& serve,
                       const std::vector<double>& target = {}) {
  const OneColumn fit_on(type, train);
  const OneColumn apply_to(type, serve);
  const auto pipeline = Pipeline::fit({}, spec_of(R"([{"columns": "x", "apply": )" + chain + "}]"),
                                      fit_on.batch(), target);
  EXPECT_TRUE(ok(pipeline)) << chain;
  if (!pipeline) return {};
  std::vector<float> out(serve.size() * pipeline->outputs().size());
  EXPECT_TRUE(ok(pipeline->transform(apply_to.batch(), out)));
  return out;
}

TEST(Pipeline, TransformsNumbersAsComputedByHand) {
  struct Row {
    std::string chain;
    Json train;
    Json serve;
    std::vector<float> want;
  };
  const std::vector<Row> rows = {
      {R"(["passthrough"])",
       {1.0, 2.0},
       {3.5, nullptr, "NaN", "inf", 1e300},
       {3.5F, kNaN, kNaN, kNaN, 3.40282347e38F}},
      {R"([{"impute": "mean"}])",
       {1.0, 2.0, 6.0, nullptr},
       {nullptr, "NaN", "inf", 7.0},
       {3, 3, 3, 7}},
      {R"([{"impute": "median"}])", {1.0, 2.0, 6.0, 8.0, nullptr}, {nullptr}, {4}},
      {R"([{"impute": "most_frequent"}])", {5.0, 2.0, 2.0, 5.0, 9.0}, {nullptr}, {2}},
      {R"([{"impute": -1}])", {1.0}, {nullptr}, {-1}},
      {R"([{"impute": {"strategy": "mean", "indicator": true}}])",
       {1.0, 3.0},
       {nullptr, 9.0},
       {2, 1, 9, 0}},
      {R"(["standardize"])", {1.0, 3.0, nullptr}, {1.0, 2.0, 5.0, nullptr}, {-1, 0, 3, kNaN}},
      {R"([{"standardize": {"center": false}}])", {1.0, 3.0}, {2.0}, {2}},
      {R"(["standardize"])", {4.0, 4.0}, {4.0, 6.0}, {0, 2}},
      {R"([{"clip": {"low": 0, "high": 2}}])",
       {1.0},
       {-5.0, 1.5, 9.0, nullptr},
       {0, 1.5F, 2, kNaN}},
      {R"([{"clip": {"high_quantile": 0.5}}])", {1.0, 2.0, 4.0}, {-5.0, 9.0}, {-5, 2}},
      {R"(["log1p"])",
       {1.0},
       {0.0, std::numbers::e - 1, -1.0, -7.0, nullptr},
       {0, 1, kNaN, kNaN, kNaN}},
      {R"([{"bucketize": {"edges": [0, 10]}}])",
       {1.0},
       {-1.0, 0.0, 9.9, 10.0, nullptr},
       {0, 1, 1, 2, kNaN}},
      {R"([{"bucketize": {"bins": 4}}])",
       {1.0, 2.0, 3.0, 4.0, 5.0},
       {0.0, 2.0, 3.5, 99.0},
       {0, 1, 2, 3}},
      {R"([{"bucketize": {"bins": 2, "by": "width"}}])", {0.0, 1.0, 10.0}, {4.9, 5.0}, {0, 1}},
      {R"([{"bucketize": {"edges": [5]}}, "onehot"])",
       {1.0, 7.0},
       {2.0, 8.0, nullptr},
       {1, 0, 0, 1, 0, 0}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.chain);
    EXPECT_EQ(bits(run(row.chain, Type::float64, row.train, row.serve)), bits(row.want));
  }
}

TEST(Pipeline, TransformsCategoriesAsComputedByHand) {
  struct Row {
    std::string chain;
    Type type;
    Json train;
    Json serve;
    std::vector<float> want;
  };
  const std::vector<Row> rows = {
      {R"(["onehot"])", Type::text, {"b", "a"}, {"a", "b", "z", nullptr}, {1, 0, 0, 1, 0, 0, 0, 0}},
      // a, (missing): a null that training knew has its own output
      {R"(["onehot"])", Type::text, {"a", nullptr}, {nullptr, "a", "z"}, {0, 1, 1, 0, 0, 0}},
      // a, (rare)
      {R"([{"onehot": {"min_share": 0.4}}])",
       Type::text,
       {"a", "a", "b", "c"},
       {"a", "b", "z"},
       {1, 0, 0, 1, 0, 1}},
      {R"([{"onehot": {"max_categories": 1, "unknown": "zeros"}}])",
       Type::text,
       {"a", "a", "b"},
       {"b", "z"},
       {0, 1, 0, 0}},
      // a, (unknown)
      {R"([{"onehot": {"unknown": "bucket"}}])", Type::text, {"a"}, {"a", "z"}, {1, 0, 0, 1}},
      {R"([{"impute": "most_frequent"}, "onehot"])",
       Type::text,
       {"b", "b", "a"},
       {nullptr},
       {0, 1}},
      {R"([{"impute": {"value": "none"}}, "onehot"])",
       Type::text,
       {"a"},
       {nullptr, "a"},
       {0, 1, 1, 0}},
      {R"([{"impute": {"value": 7, "indicator": true}}, "onehot"])",
       Type::int64,
       {7, 8},
       {nullptr, 8},
       {1, 0, 1, 0, 1, 0}},
      {R"(["onehot"])", Type::boolean, {true, false}, {false, true}, {1, 0, 0, 1}},
      {R"(["onehot"])", Type::float64, {0.5, -0.0}, {0.0, 0.5}, {1, 0, 0, 1}},
      {R"(["ordinal"])", Type::text, {"b", "a", "c"}, {"a", "c", "z", nullptr}, {0, 2, kNaN, kNaN}},
      {R"([{"ordinal": ["low", "high"]}])", Type::text, {"high", "low"}, {"low", "high"}, {0, 1}},
      {R"(["ordinal", {"impute": -1}])", Type::int64, {10, 20}, {20, 99}, {1, -1}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.chain);
    EXPECT_EQ(bits(run(row.chain, row.type, row.train, row.serve)), bits(row.want));
  }
}

TEST(Pipeline, EncodesTargetsWithSmoothing) {
  // prior 0.5; a: (2 + 2 * .5) / (3 + 2) = .6; b: (0 + 1) / (1 + 2) = 1/3; null: as b; unseen: the
  // prior
  const std::vector<float> out =
      run(R"([{"target_encode": {"smoothing": 2}}])", Type::text,
          {"a", "a", "a", "b", nullptr, "c"}, {"a", "b", nullptr, "z"}, {1, 1, 0, 0, 0, 1});
  EXPECT_THAT(out,
              ElementsAre(0.6F, static_cast<float>(1.0 / 3), static_cast<float>(1.0 / 3), 0.5F));
}

TEST(Pipeline, HidesEachTrainingRowsOwnTargetFromIt) {
  // One category, targets 0..: without its own fold a row sees the mean of the others only. With as
  // many folds as rows that is leave-one-out, and its encoding falls as its own target rises.
  const OneColumn rows(Type::text, {"a", "a", "a", "a"});
  const std::vector<double> target = {0, 1, 2, 3};
  const auto fitted = Pipeline::fit_transform(
      {},
      spec_of(R"([{"columns": "x", "apply": [{"target_encode": {"smoothing": 0, "folds": 4}}]}])"),
      rows.batch(), target);
  ASSERT_TRUE(ok(fitted));
  EXPECT_THAT(fitted->matrix,
              ElementsAre(2.0F, static_cast<float>(5.0 / 3), static_cast<float>(4.0 / 3), 1.0F));
  std::vector<float> served(4);
  ASSERT_TRUE(ok(fitted->pipeline.transform(rows.batch(), served)));
  EXPECT_THAT(served, ElementsAre(1.5F, 1.5F, 1.5F, 1.5F));
}

TEST(Pipeline, ReadsCalendarPartsInItsZone) {
  const std::string chain =
      R"([{"datetime": {"parts": ["year", "month", "day", "doy", "dow", "hour", "minute"], "zone": "-05:00"}}])";
  struct Row {
    Json time;
    std::vector<float> want;
  };
  const std::vector<Row> rows = {
      {"2013-01-01T04:59:00Z", {2012, 12, 31, 366, 0, 23, 59}},
      {"2013-01-01T05:00:00Z", {2013, 1, 1, 1, 1, 0, 0}},
      {"2012-02-29T17:30:00Z", {2012, 2, 29, 60, 2, 12, 30}},
      {"2000-03-01T05:00:00Z", {2000, 3, 1, 61, 2, 0, 0}},
      {"1900-03-01T05:00:00Z", {1900, 3, 1, 60, 3, 0, 0}},
      {"1969-12-31T23:59:59.999999Z", {1969, 12, 31, 365, 2, 18, 59}},
      {nullptr, {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN}},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.time.dump());
    EXPECT_EQ(bits(run(chain, Type::timestamp, {"2013-01-01T00:00:00Z"}, Json::array({row.time}))),
              bits(row.want));
  }
  // The ends of 64-bit time are years like any other.
  data::BatchBuilder ends({{{"x", Type::timestamp, true}}});
  ends.append_integer(0, std::numeric_limits<std::int64_t>::min());
  ends.append_integer(0, std::numeric_limits<std::int64_t>::max());
  const auto pipeline = Pipeline::fit(
      {}, spec_of(R"([{"columns": "x", "apply": [{"datetime": ["year", "month", "day"]}]}])"),
      *ends.batch(), {});
  ASSERT_TRUE(ok(pipeline));
  std::vector<float> out(6);
  ASSERT_TRUE(ok(pipeline->transform(*ends.batch(), out)));
  EXPECT_THAT(out, ElementsAre(-290308, 12, 21, 294247, 1, 10));
}

TEST(Pipeline, TurnsCyclicalPartsIntoSineAndCosine) {
  const auto out = run(R"([{"datetime": {"cyclical": ["hour", "dow"]}}])", Type::timestamp,
                       {"2013-01-01"}, {"2012-12-31T06:00:00Z"});  // a Monday
  ASSERT_EQ(out.size(), 4U);
  EXPECT_FLOAT_EQ(out[0], 1);
  EXPECT_NEAR(out[1], 0, 1e-7);
  EXPECT_FLOAT_EQ(out[2], 0);
  EXPECT_FLOAT_EQ(out[3], 1);
}

TEST(Pipeline, SaysWhichColumnHasNothingToLearnFrom) {
  for (const std::string chain :
       {R"([{"impute": "median"}])", R"(["standardize"])", R"(["passthrough"])",
        R"([{"bucketize": 4}])", R"(["onehot"])", R"([{"clip": {"low_quantile": 0.1}}])"}) {
    SCOPED_TRACE(chain);
    const OneColumn empty(Type::float64, {nullptr, "NaN", nullptr});
    const auto pipeline = Pipeline::fit(
        {}, spec_of(R"([{"columns": "x", "apply": )" + chain + "}]"), empty.batch(), {});
    ASSERT_TRUE(failed_with(pipeline, Code::failed_precondition));
    EXPECT_THAT(message_of(pipeline), HasSubstr("'x'"));
  }
  const OneColumn empty(Type::float64, {nullptr});
  const auto filled = Pipeline::fit({}, spec_of(R"([{"columns": "x", "apply": [{"impute": 3}]}])"),
                                    empty.batch(), {});
  ASSERT_TRUE(ok(filled));
  EXPECT_THAT(filled->notes(), ElementsAre(HasSubstr("no value in any training row")));
}

TEST(Pipeline, RefusesToFitOnWhatCannotTeachIt) {
  const OneColumn none(Type::float64, Json::array());
  const OneColumn two(Type::text, {"a", "b"});
  const PipelineSpec encode = spec_of(R"([{"columns": "x", "apply": ["target_encode"]}])");
  EXPECT_TRUE(failed_with(
      Pipeline::fit({}, spec_of(R"([{"columns": "x", "apply": ["log1p"]}])"), none.batch(), {}),
      Code::failed_precondition));
  EXPECT_TRUE(failed_with(Pipeline::fit({}, encode, two.batch(), {}), Code::invalid_argument));
  const std::vector<double> short_target = {1};
  EXPECT_TRUE(
      failed_with(Pipeline::fit({}, encode, two.batch(), short_target), Code::invalid_argument));
  const std::vector<double> nan_target = {1, std::nan("")};
  EXPECT_TRUE(
      failed_with(Pipeline::fit({}, encode, two.batch(), nan_target), Code::invalid_argument));
  const OneColumn huge(Type::float64, {1e308, 1e308, -1e308});
  EXPECT_THAT(
      message_of(Pipeline::fit({}, spec_of(R"([{"columns": "x", "apply": ["standardize"]}])"),
                               huge.batch(), {})),
      HasSubstr("clip them first"));
}

TEST(Pipeline, StopsWhenTheWorkIsNoLongerWanted) {
  const OneColumn rows(Type::float64, {1.0});
  std::stop_source stop;
  stop.request_stop();
  Context ctx;
  ctx.stop = stop.get_token();
  EXPECT_TRUE(failed_with(
      Pipeline::fit(ctx, spec_of(R"([{"columns": "x", "apply": ["log1p"]}])"), rows.batch(), {}),
      Code::cancelled));
}

TEST(Pipeline, AsksForASuffixWhenTwoFeaturesHaveOneName) {
  const OneColumn rows(Type::float64, {1.0, 2.0});
  const auto twice = Pipeline::fit(
      {},
      spec_of(
          R"([{"columns": "x", "apply": ["standardize"]}, {"columns": "x", "apply": ["passthrough"]}])"),
      rows.batch(), {});
  EXPECT_THAT(message_of(twice), HasSubstr("suffix"));
  const auto named = Pipeline::fit(
      {},
      spec_of(
          R"([{"columns": "x", "apply": ["standardize"]}, {"columns": "x", "apply": ["passthrough"], "suffix": "_raw"}])"),
      rows.batch(), {});
  ASSERT_TRUE(ok(named));
  EXPECT_THAT(named->outputs(), ElementsAre("x", "x_raw"));
  EXPECT_EQ(named->inputs().fields.size(), 1U);
}

TEST(Pipeline, FindsColumnsByNameAndRefusesOtherTypes) {
  const OneColumn train(Type::float64, {1.0, 2.0});
  const auto pipeline = Pipeline::fit(
      {}, spec_of(R"([{"columns": "x", "apply": ["passthrough"]}])"), train.batch(), {});
  ASSERT_TRUE(ok(pipeline));
  std::vector<float> out(1);
  data::BatchBuilder wider({{{"y", Type::text, true}, {"x", Type::int64, true}}});
  wider.append_text(0, "?");
  wider.append_integer(1, 7);
  ASSERT_TRUE(
      ok(pipeline->transform(*wider.batch(), out)));  // integers serve where reals were fitted
  EXPECT_EQ(out[0], 7);
  data::BatchBuilder text({{{"x", Type::text, true}}});
  text.append_text(0, "7");
  EXPECT_THAT(message_of(pipeline->transform(*text.batch(), out)), HasSubstr("fitted on float64"));
  data::BatchBuilder other({{{"xx", Type::float64, true}}});
  other.append_real(0, 7);
  EXPECT_THAT(message_of(pipeline->transform(*other.batch(), out)), HasSubstr("xx"));
  std::vector<float> wrong(3);
  EXPECT_TRUE(failed_with(pipeline->transform(*wider.batch(), wrong), Code::invalid_argument));
}

class EverythingTest : public ::testing::Test {
 protected:
  EverythingTest() : train_(test::odd_schema()) {
    Rng rng(11);
    test::append_odd_rows(train_, rng, 20'000, /*wild=*/false);
    for (int i = 0; i < 20'000; ++i) target_.push_back(rng.uniform() < 0.24 ? 1 : 0);
  }
  Result<Fitted> fit(int threads = 0, std::uint64_t seed = 3) const {
    return Pipeline::fit_transform({}, spec_of(test::kEveryTransform), *train_.batch(), target_,
                                   {seed, threads});
  }
  data::BatchBuilder train_;
  std::vector<double> target_;
};

TEST_F(EverythingTest, GivesTheSameBitsByBatchByRowAndOnAnyNumberOfThreads) {
  const auto fitted = fit();
  ASSERT_TRUE(ok(fitted));
  const Pipeline& pipeline = fitted->pipeline;
  const std::size_t cols = pipeline.outputs().size();
  constexpr std::size_t kRows = 20'000;
  data::BatchBuilder rows(test::odd_schema());
  Rng rng(12);
  test::append_odd_rows(rows, rng, kRows);
  const data::Batch batch = *rows.batch();
  std::vector<float> whole(kRows * cols);
  ASSERT_TRUE(ok(pipeline.transform(batch, whole, 1)));
  for (const float value : whole) ASSERT_FALSE(std::isinf(value));

  for (const int threads : {2, 3, 8}) {
    std::vector<float> again(kRows * cols);
    ASSERT_TRUE(ok(pipeline.transform(batch, again, threads)));
    ASSERT_EQ(std::memcmp(again.data(), whole.data(), whole.size() * sizeof(float)), 0)
        << threads << " threads";
  }
  for (std::size_t begin = 0; begin < kRows;) {
    // One row at a time for the first four thousand, then any size from 1 to 700.
    const std::size_t size =
        begin < 4'000 ? 1 : std::min<std::size_t>(1 + rng.below(700), kRows - begin);
    std::vector<float> part(size * cols);
    ASSERT_TRUE(ok(pipeline.transform(
        batch.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(size)), part)));
    ASSERT_EQ(std::memcmp(part.data(), whole.data() + begin * cols, part.size() * sizeof(float)), 0)
        << "rows from " << begin << ", " << size << " of them";
    begin += size;
  }
  // A row rebuilt on its own, as a request brings it.
  data::BatchBuilder one(pipeline.inputs());
  for (std::int64_t row = 0; row < 2000; ++row) {
    one.clear();
    for (std::size_t c = 0; c < pipeline.inputs().fields.size(); ++c) {
      const data::Field& field = pipeline.inputs().fields[c];
      const data::ColumnView& column = batch.columns[*batch.schema->index(field.name)];
      if (column.is_null(row)) {
        one.append_null(c);
      } else if (field.type == Type::text) {
        one.append_text(c, column.text(row));
      } else if (field.type == Type::float64) {
        one.append_real(c, column.real(row));
      } else if (field.type == Type::boolean) {
        one.append_boolean(c, column.boolean(row));
      } else {
        one.append_integer(c, column.integer(row));
      }
    }
    std::vector<float> part(cols);
    ASSERT_TRUE(ok(pipeline.transform(*one.batch(), part)));
    ASSERT_EQ(std::memcmp(part.data(), whole.data() + static_cast<std::size_t>(row) * cols,
                          cols * sizeof(float)),
              0);
  }
}

TEST_F(EverythingTest, IsTheSameAfterARoundTripThroughJson) {
  const auto fitted = fit();
  ASSERT_TRUE(ok(fitted));
  const Json json = fitted->pipeline.to_json();
  const auto text = parse_json(canonical(json));
  ASSERT_TRUE(ok(text));
  const auto back = Pipeline::from_json(*text);
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(canonical(back->to_json()), canonical(json));
  EXPECT_EQ(back->digest(), fitted->pipeline.digest());
  EXPECT_EQ(back->outputs(), fitted->pipeline.outputs());
  EXPECT_EQ(back->inputs(), fitted->pipeline.inputs());
  data::BatchBuilder rows(test::odd_schema());
  Rng rng(13);
  test::append_odd_rows(rows, rng, 5000);
  std::vector<float> before(5000 * back->outputs().size());
  std::vector<float> after(before.size());
  ASSERT_TRUE(ok(fitted->pipeline.transform(*rows.batch(), before)));
  ASSERT_TRUE(ok(back->transform(*rows.batch(), after)));
  EXPECT_EQ(std::memcmp(before.data(), after.data(), before.size() * sizeof(float)), 0);
}

TEST_F(EverythingTest, KeepsTextsThatAreNotUtf8) {
  data::BatchBuilder rows(test::odd_schema());
  Rng rng(14);
  test::append_odd_rows(rows, rng, 5000);
  const std::vector<double> target(5000, 0.5);
  const auto fitted =
      Pipeline::fit({}, spec_of(R"([{"columns": ["carrier", "tail"], "apply": ["ordinal"]}])"),
                    *rows.batch(), target);
  ASSERT_TRUE(ok(fitted));
  const auto back = Pipeline::from_json(*parse_json(canonical(fitted->to_json())));
  ASSERT_TRUE(ok(back));
  std::vector<float> before(10'000);
  std::vector<float> after(10'000);
  ASSERT_TRUE(ok(fitted->transform(*rows.batch(), before)));
  ASSERT_TRUE(ok(back->transform(*rows.batch(), after)));
  EXPECT_EQ(bits(before), bits(after));
}

TEST_F(EverythingTest, IsFittedAlikeByAnyNumberOfThreadsAndDifferentlyByAnotherSeed) {
  const auto one = fit(1);
  const auto many = fit(8);
  ASSERT_TRUE(ok(one));
  ASSERT_TRUE(ok(many));
  EXPECT_EQ(one->pipeline.digest(), many->pipeline.digest());
  EXPECT_EQ(bits(one->matrix), bits(many->matrix));
  const auto other = fit(0, /*seed=*/4);
  ASSERT_TRUE(ok(other));
  EXPECT_NE(bits(one->matrix), bits(other->matrix));  // other folds
}

TEST_F(EverythingTest, TrainsOnWhatItServesExceptForTargetEncodings) {
  const auto fitted = fit();
  ASSERT_TRUE(ok(fitted));
  const auto& outputs = fitted->pipeline.outputs();
  std::vector<float> served(fitted->matrix.size());
  ASSERT_TRUE(ok(fitted->pipeline.transform(*train_.batch(), served)));
  std::set<std::string> different;
  for (std::size_t i = 0; i < served.size(); ++i) {
    if (std::bit_cast<std::uint32_t>(served[i]) !=
        std::bit_cast<std::uint32_t>(fitted->matrix[i])) {
      different.insert(outputs[i % outputs.size()]);
    }
  }
  EXPECT_THAT(different, ElementsAre("month_t.target", "slot.target", "tail.target"));
}

TEST_F(EverythingTest, SurvivesAnyDamageToItsJson) {
  const auto fitted = fit();
  ASSERT_TRUE(ok(fitted));
  const Json json = fitted->pipeline.to_json();
  Rng rng(15);
  data::BatchBuilder rows(test::odd_schema());
  test::append_odd_rows(rows, rng, 64);
  for (int i = 0; i < 60; ++i) {
    // Replaces, drops or doubles a random value somewhere in the tree.
    Json broken = json;
    Json* at = &broken;
    while (at->is_structured() && !at->empty() && rng.uniform() > 0.15) {
      auto child = at->begin();
      std::advance(child, rng.below(std::min<std::uint64_t>(at->size(), 50)));
      at = &*child;
    }
    static const Json kOdd[] = {
        nullptr, -1, 1e308, "x", Json::array(), Json::object(), true, 1 << 30, Json::array({0.0})};
    *at = kOdd[rng.below(std::size(kOdd))];
    const auto pipeline = Pipeline::from_json(broken);
    if (!pipeline) continue;  // refused: good
    std::vector<float> out(64 * pipeline->outputs().size());
    (void)pipeline->transform(*rows.batch(), out);  // accepted: then it runs within its bounds
  }
}

TEST(Pipeline, RefusesJsonOfAnotherVersion) {
  EXPECT_TRUE(failed_with(Pipeline::from_json({{"version", 3}}), Code::unimplemented));
  EXPECT_TRUE(failed_with(Pipeline::from_json(Json::array()), Code::data_loss));
}

}  // namespace
}  // namespace slipway::features
