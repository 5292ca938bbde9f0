#include "evaluation/evaluation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "support/support.h"

namespace slipway::evaluation {
namespace {

using test::ok;
using ::testing::HasSubstr;

struct Rows {
  std::vector<double> labels, good, bad;
};

// Labels drawn from `good` scores; `bad` scores are those with noise.
Rows rows_of(std::size_t count, std::uint64_t seed) {
  Rows rows;
  Rng rng(seed);
  for (std::size_t i = 0; i < count; ++i) {
    const double score = 1 / (1 + std::exp(-(rng.normal() - 1.2)));
    rows.labels.push_back(rng.uniform() < score ? 1 : 0);
    rows.good.push_back(score);
    rows.bad.push_back(1 / (1 + std::exp(-(0.6 * std::log(score / (1 - score)) + rng.normal()))));
  }
  return rows;
}

TEST(Compare, FindsTheBetterModelAndTheEqualOne) {
  const Rows rows = rows_of(3000, 1);
  for (const Metric metric : {Metric::auc, Metric::log_loss, Metric::brier, Metric::ece}) {
    SCOPED_TRACE(std::string(to_string(metric)));
    const auto better = compare(rows.labels, rows.bad, rows.good, metric, {.seed = 7});
    ASSERT_TRUE(ok(better));
    EXPECT_GT(better->low, 0);
    EXPECT_GE(better->improvement, better->low);
    EXPECT_LE(better->improvement, better->high);
    EXPECT_GT(better->p_better, 0.97);
    EXPECT_EQ(better->draws, 200);
    const auto same = compare(rows.labels, rows.good, rows.good, metric, {.seed = 7});
    ASSERT_TRUE(ok(same));
    EXPECT_EQ(same->low, 0);
    EXPECT_EQ(same->high, 0);
    EXPECT_EQ(same->p_better, 0.5);
  }
}

TEST(Compare, GivesTheSameNumbersOnAnyNumberOfThreads) {
  const Rows rows = rows_of(500, 2);
  const auto one =
      compare(rows.labels, rows.bad, rows.good, Metric::auc, {.seed = 3, .threads = 1});
  const auto four =
      compare(rows.labels, rows.bad, rows.good, Metric::auc, {.seed = 3, .threads = 4});
  const auto other = compare(rows.labels, rows.bad, rows.good, Metric::auc, {.seed = 4});
  EXPECT_EQ(one->to_json(), four->to_json());
  EXPECT_NE(one->low, other->low);
}

TEST(Compare, SaysWhyThereIsNoAnswer) {
  const std::vector<double> zeros(10, 0);
  const std::vector<double> scores(10, 0.5);
  const auto comparison = compare(zeros, scores, scores, Metric::auc);
  ASSERT_TRUE(ok(comparison));
  EXPECT_THAT(comparison->undefined, HasSubstr("all 10 labels are 0"));
  EXPECT_TRUE(ok(Comparison::from_json(comparison->to_json())));
  EXPECT_EQ(test::code_of(compare(zeros, scores, std::vector<double>(9, 0.5), Metric::auc)),
            "invalid_argument");
  EXPECT_EQ(test::code_of(compare(zeros, scores, scores, Metric::auc, {.draws = 1})),
            "invalid_argument");
}

TEST(Bootstrap, ResamplesEveryMetricAsTheMetricItself) {
  // The mean over draws of each resampled metric lies near the metric of the whole: a check of
  // every prepared form.
  const Rows rows = rows_of(4000, 5);
  std::vector<Metric> metrics(std::begin(kBinaryMetrics), std::end(kBinaryMetrics));
  metrics.insert(metrics.end(), std::begin(kRegressionMetrics), std::end(kRegressionMetrics));
  const auto intervals =
      bootstrap(rows.labels, rows.good, metrics, {.draws = 400, .seed = 9, .threshold = 0.4});
  ASSERT_TRUE(ok(intervals));
  const auto binary = Binary::of(rows.labels, rows.good);
  const auto numeric = Numeric::of(rows.labels, rows.good);
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    SCOPED_TRACE(std::string(to_string(metrics[i])));
    const double value = is_regression(metrics[i]) ? measure(metrics[i], *numeric)
                                                   : measure(metrics[i], *binary, 0.4);
    const Interval interval = (*intervals)[i];
    EXPECT_LT(interval.low, interval.high);
    EXPECT_LT(interval.high - interval.low, 0.2);
    if (metrics[i] == Metric::ece)
      continue;  // resampling noise adds to it: biased upwards by nature
    EXPECT_LT(interval.low, value);
    EXPECT_GT(interval.high, value);
  }
}

TEST(Bootstrap, CoversTheTruthAboutAsOftenAsItSays) {
  // AUC of scores drawn from their own labels' law: the truth, from a large sample, against 200
  // small ones.
  const Rows large = rows_of(200'000, 11);
  const double truth = auc(*Binary::of(large.labels, large.good));
  int covered = 0;
  for (std::uint64_t sample = 0; sample < 200; ++sample) {
    const Rows small = rows_of(400, 1000 + sample);
    const Metric metrics[] = {Metric::auc};
    const auto intervals =
        bootstrap(small.labels, small.good, metrics, {.draws = 200, .seed = sample});
    ASSERT_TRUE(ok(intervals));
    covered += (*intervals)[0].low <= truth && truth <= (*intervals)[0].high ? 1 : 0;
  }
  std::cout << "coverage of the 95 % interval: " << covered / 2.0 << " %\n";
  EXPECT_GE(covered, 180);
  EXPECT_LE(covered, 200);
}

TEST(Bootstrap, Takes80kRowsTimes200DrawsInSeconds) {
  const Rows rows = rows_of(80'000, 6);
  const auto begin = std::chrono::steady_clock::now();
  const auto comparison = compare(rows.labels, rows.bad, rows.good, Metric::auc, {.seed = 1});
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  ASSERT_TRUE(ok(comparison));
  std::cout << "paired bootstrap of AUC, 80,000 rows x 200 draws x 2 models: " << took.count()
            << " s\n";
  EXPECT_LT(took.count(), 20);  // about 0.3 s alone on 2 cores; slack for sanitizers and crowds
}

Evaluation full() {
  static const Rows rows = rows_of(2000, 8);
  static const data::Schema schema{
      {{"carrier", data::Type::text, true}, {"hour", data::Type::int64, true}}};
  static data::BatchBuilder builder(schema);
  if (builder.rows(0) == 0) {
    for (std::size_t i = 0; i < rows.labels.size(); ++i) {
      if (i % 10 == 9) {
        builder.append_null(0);
      } else {
        builder.append_text(0, i % 3 == 0 ? "UA" : "AA\x1b[2J");
      }
      builder.append_integer(1, static_cast<std::int64_t>(i % 2));
    }
  }
  const auto batch = builder.batch();
  EvaluateOptions options;
  options.slices = {{"carrier", batch->columns[0]}, {"hour", batch->columns[1]}};
  options.threshold = 0.4;
  options.prior_rate = 0.3;
  options.champion_scores = rows.bad;
  options.champion_name = "flights version 3";
  auto result = evaluate_binary(rows.labels, rows.good, options);
  EXPECT_TRUE(ok(result)) << ok(result);
  return *result;
}

TEST(Evaluation, HoldsMetricsSlicesNaiveAndChampion) {
  const Evaluation result = full();
  EXPECT_EQ(result.rows, 2000);
  EXPECT_EQ(result.metrics.size(), 8U);
  EXPECT_LT(result.metrics.at("log_loss"), result.naive.at("log_loss"));
  EXPECT_LT(result.metrics.at("log_loss"), result.champion.at("log_loss"));
  EXPECT_EQ(result.naive.at("auc"), 0.5);
  ASSERT_EQ(result.slices.size(), 5U);
  EXPECT_EQ(result.slices[0].column, "carrier");
  EXPECT_GE(result.slices[0].rows, result.slices[1].rows);
  EXPECT_EQ(result.slices[2].value, "(null)");
  EXPECT_EQ(result.slices[3].column, "hour");
  const auto values = result.values();
  EXPECT_EQ(values.at("champion.auc"), result.champion.at("auc"));
  EXPECT_GT(values.at("improvement.log_loss.low"), 0);
  EXPECT_LE(values.at("worst.hour.auc"), values.at("slices.hour.0.auc"));
  EXPECT_LE(values.at("worst.hour.auc"), values.at("slices.hour.1.auc"));
  EXPECT_GE(values.at("worst.hour.log_loss"), values.at("slices.hour.1.log_loss"));
}

TEST(Evaluation, SurvivesJson) {
  const Evaluation result = full();
  const auto back = Evaluation::from_json(result.to_json());
  ASSERT_TRUE(ok(back)) << ok(back);
  EXPECT_EQ(back->to_json(), result.to_json());
  EXPECT_EQ(back->values(), result.values());
  EXPECT_FALSE(ok(Evaluation::from_json({{"task", 3}})));
}

TEST(Evaluation, RendersATableForTheTerminal) {
  const std::string text = full().render_text();
  for (const std::string_view part :
       {"2,000 rows", "auc", "95 % interval", "Against flights version 3", "better",
        "Confusion at threshold 0.4", "Calibration", "carrier = UA"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_EQ(text.find('\x1b'), std::string::npos);  // values from data cannot steer the terminal
}

TEST(Evaluation, TakesOneClassAndNoRows) {
  const std::vector<double> zeros(200, 0);
  const std::vector<double> scores(200, 0.25);
  const auto one_class = evaluate_binary(zeros, scores, {});
  ASSERT_TRUE(ok(one_class)) << ok(one_class);
  EXPECT_FALSE(one_class->metrics.contains("auc"));
  EXPECT_THAT(one_class->undefined.at("auc"), HasSubstr("both classes"));
  EXPECT_TRUE(one_class->metrics.contains("log_loss"));
  EXPECT_THAT(one_class->render_text(), HasSubstr("auc is undefined"));
  const auto empty = evaluate_binary({}, {}, {});
  ASSERT_TRUE(ok(empty));
  EXPECT_TRUE(empty->metrics.empty());
  EXPECT_TRUE(ok(Evaluation::from_json(empty->to_json())));
  EXPECT_FALSE(empty->render_text().empty());
}

TEST(Evaluation, MeasuresARegression) {
  std::vector<double> labels;
  std::vector<double> predictions;
  Rng rng(3);
  for (int i = 0; i < 500; ++i) {
    labels.push_back(rng.normal() * 10);
    predictions.push_back(labels.back() + rng.normal());
  }
  const auto result = evaluate_regression(labels, predictions, {});
  ASSERT_TRUE(ok(result));
  EXPECT_NEAR(result->metrics.at("rmse"), 1, 0.1);
  EXPECT_GT(result->metrics.at("r2"), 0.98);
  EXPECT_GT(result->naive.at("rmse"), 9);
  EXPECT_THAT(result->render_text(), HasSubstr("rmse"));
}

TEST(Evaluation, RefusesSlicesOfTheWrongShape) {
  const std::vector<double> labels = {0, 1};
  const std::vector<double> scores = {0.2, 0.8};
  data::ColumnView view{.type = data::Type::int64, .rows = 3};
  EXPECT_THAT(test::message_of(evaluate_binary(labels, scores, {.slices = {{"hour", view}}})),
              HasSubstr("3 rows"));
  view = {.type = data::Type::float64, .rows = 2};
  EXPECT_THAT(test::message_of(evaluate_binary(labels, scores, {.slices = {{"temp", view}}})),
              HasSubstr("float64"));
}

}  // namespace
}  // namespace slipway::evaluation
