#include "evaluation/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/file.h"
#include "support/support.h"

namespace slipway::evaluation {
namespace {

using test::ok;
using ::testing::HasSubstr;

// Made by tests/golden/evaluation/make.py with scikit-learn.
Json golden() {
  const auto text = read_file("tests/golden/evaluation/metrics.json");
  EXPECT_TRUE(ok(text)) << ok(text);
  return text ? parse_json(*text).value_or(Json()) : Json();
}

TEST(Metrics, AgreeWithScikitLearn) {
  const Json rows = golden()["binary"];
  ASSERT_EQ(rows.size(), 5U);
  for (const auto& row : rows) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const auto labels = row["labels"].get<std::vector<double>>();
    const auto scores = row["scores"].get<std::vector<double>>();
    const auto pairs = Binary::of(labels, scores);
    ASSERT_TRUE(ok(pairs)) << ok(pairs);
    const double threshold = row["threshold"];
    for (const Metric metric : kBinaryMetrics) {
      SCOPED_TRACE(std::string(to_string(metric)));
      EXPECT_NEAR(measure(metric, *pairs, threshold),
                  row[std::string(to_string(metric))].get<double>(), 1e-12);
    }
    EXPECT_NEAR(adaptive_calibration_error(*pairs), row["adaptive_ece"].get<double>(), 1e-12);
    const Confusion counts = confusion(*pairs, threshold);
    EXPECT_EQ((std::vector{counts.true_negative, counts.false_positive, counts.false_negative,
                           counts.true_positive}),
              row["confusion"].get<std::vector<std::int64_t>>());
  }
}

TEST(Metrics, CalibrationCurveAgreesWithScikitLearn) {
  const Json rows = golden()["binary"];
  for (const auto& row : rows) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const auto labels = row["labels"].get<std::vector<double>>();
    const auto scores = row["scores"].get<std::vector<double>>();
    // scikit-learn puts a score on an edge into the bin below it; ours goes above. Compare where
    // there are none.
    if (std::any_of(scores.begin(), scores.end(),
                    [](double s) { return s > 0 && s < 1 && s * 10 == std::floor(s * 10); })) {
      continue;
    }
    const auto pairs = Binary::of(labels, scores);
    std::vector<double> rates;
    std::vector<double> means;
    for (const auto& bin : calibration_curve(*pairs, 10)) {
      if (bin.rows == 0) continue;
      rates.push_back(bin.label_rate);
      means.push_back(bin.mean_score);
    }
    EXPECT_THAT(rates, testing::Pointwise(testing::DoubleNear(1e-12),
                                          row["calibration"]["rate"].get<std::vector<double>>()));
    EXPECT_THAT(means,
                testing::Pointwise(testing::DoubleNear(1e-12),
                                   row["calibration"]["mean_score"].get<std::vector<double>>()));
  }
}

TEST(Metrics, RegressionAgreesWithScikitLearn) {
  const Json rows = golden()["regression"];
  for (const auto& row : rows) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const auto labels = row["labels"].get<std::vector<double>>();
    const auto predictions = row["predictions"].get<std::vector<double>>();
    const auto pairs = Numeric::of(labels, predictions);
    ASSERT_TRUE(ok(pairs));
    for (const Metric metric : kRegressionMetrics) {
      EXPECT_NEAR(measure(metric, *pairs), row[std::string(to_string(metric))].get<double>(),
                  1e-12);
    }
  }
}

TEST(Metrics, AreUndefinedWithAReason) {
  const std::vector<double> zeros = {0, 0, 0};
  const std::vector<double> ones = {1, 1, 1};
  const std::vector<double> low = {0.1, 0.2, 0.3};
  const std::vector<double> none;
  const std::vector<
      std::tuple<std::string, std::vector<double>, std::vector<double>, Metric, std::string>>
      rows = {
          {"one class", zeros, low, Metric::auc, "all 3 labels are 0"},
          {"other class", ones, low, Metric::auc, "all 3 labels are 1"},
          {"nothing predicted", ones, low, Metric::precision, "threshold 0.5"},
          {"nothing positive", zeros, low, Metric::recall, "no label is 1"},
          {"neither", zeros, low, Metric::f1, "no label is 1"},
          {"no rows", none, none, Metric::log_loss, "no labelled rows"},
          {"no rows", none, none, Metric::ece, "no labelled rows"},
          {"wrong task", zeros, low, Metric::rmse, "regression"},
      };
  for (const auto& [name, labels, scores, metric, reason] : rows) {
    SCOPED_TRACE(name);
    const auto pairs = Binary::of(labels, scores);
    ASSERT_TRUE(ok(pairs));
    EXPECT_TRUE(std::isnan(measure(metric, *pairs)));
    EXPECT_THAT(why_undefined(metric, *pairs), HasSubstr(reason));
  }
  const auto defined = Binary::of(zeros, low);
  EXPECT_EQ(why_undefined(Metric::brier, *defined), "");
  const auto constant = Numeric::of(ones, low);
  EXPECT_TRUE(std::isnan(r2(*constant)));
  EXPECT_THAT(why_undefined(Metric::r2, *constant), HasSubstr("equal"));
}

TEST(Metrics, RefuseWhatIsNotLabelsAndProbabilities) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<std::tuple<std::vector<double>, std::vector<double>, std::string>> rows = {
      {{0, 1}, {0.5}, "2 labels beside 1 scores"},   {{0, 2}, {0.5, 0.5}, "row 1 has label 2"},
      {{0, nan}, {0.5, 0.5}, "row 1 has label nan"}, {{0, 1}, {0.5, 1.5}, "row 1 has score 1.5"},
      {{0, 1}, {nan, 0.5}, "row 0 has score nan"},
  };
  for (const auto& [labels, scores, message] : rows) {
    EXPECT_THAT(test::message_of(Binary::of(labels, scores)), HasSubstr(message));
  }
  EXPECT_EQ(test::code_of(Numeric::of(std::vector<double>{1, nan}, std::vector<double>{1, 1})),
            "invalid_argument");
}

TEST(Metrics, HaveNames) {
  for (const Metric metric : kBinaryMetrics) EXPECT_EQ(*parse_metric(to_string(metric)), metric);
  EXPECT_THAT(test::message_of(parse_metric("log_los")), HasSubstr("did you mean 'log_loss'?"));
  EXPECT_TRUE(higher_is_better(Metric::auc));
  EXPECT_FALSE(higher_is_better(Metric::log_loss));
}

}  // namespace
}  // namespace slipway::evaluation
