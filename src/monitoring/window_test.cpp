#include "monitoring/window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "monitoring/test_traffic_internal.h"
#include "support/support.h"

namespace slipway::monitoring {
namespace {

using test::ok;
using ::testing::Contains;
using ::testing::HasSubstr;
using namespace test_support;  // NOLINT(google-build-using-namespace): this file's own fakes

const Time kMonday = *parse_time("2013-04-01");

MonitorSpec spec_of() {
  MonitorSpec spec;
  spec.deployment = "flights";
  spec.min_rows = 100;
  return spec;
}

std::vector<std::optional<double>> labels_of(const std::vector<LoggedRow>& rows) {
  std::vector<std::optional<double>> labels;
  for (const auto& row : rows) labels.push_back(row.label);
  return labels;
}

Result<WindowReport> evaluate(const std::vector<LoggedRow>& rows,
                              const std::vector<LoggedRow>& shadows, const Reference* reference) {
  const auto labels = labels_of(rows);
  return evaluate_window(spec_of(), {.window = {kMonday, kMonday + std::chrono::days(7)},
                                     .phase = Phase::labels,
                                     .primary = log_table(rows, false),
                                     .shadow = log_table(shadows, true),
                                     .labels = labels,
                                     .reference = reference});
}

TEST(WindowAt, AlignsToMondays) {
  const std::vector<std::tuple<std::string, Duration, std::string>> rows = {
      {"2013-04-03T12:00:00Z", std::chrono::days(7), "2013-04-01T00:00:00Z"},
      {"2013-04-01T00:00:00Z", std::chrono::days(7), "2013-04-01T00:00:00Z"},
      {"2013-03-31T23:59:59.999999Z", std::chrono::days(7), "2013-03-25T00:00:00Z"},
      {"2013-04-03T12:34:00Z", std::chrono::hours(1), "2013-04-03T12:00:00Z"},
      {"1969-12-31T00:00:00Z", std::chrono::days(7), "1969-12-29T00:00:00Z"},
  };
  for (const auto& [time, length, start] : rows) {
    const Window window = window_at(*parse_time(time), length);
    EXPECT_EQ(format_time(window.start), start);
    EXPECT_EQ(window.end - window.start, length);
  }
}

TEST(EvaluateWindow, ReportsTrafficDriftAndPerformance) {
  Rng rng(1);
  auto rows = draw_rows(rng, kMonday, std::chrono::days(7), 1000, 1);
  rows[3].label.reset();
  rows[4].score = std::numeric_limits<double>::quiet_NaN();
  auto shadows = rows;
  for (auto& row : shadows) {
    row.alias = "challenger";
    row.version = 2;
    row.score = 0.9 * row.score + 0.1 * rng.uniform();
  }
  const Reference reference = good_reference();
  const auto report = evaluate(rows, shadows, &reference);
  ASSERT_TRUE(ok(report)) << ok(report);
  EXPECT_EQ(report->rows, 1000);
  EXPECT_EQ(report->version, 1);
  EXPECT_NEAR(report->request_rate, 1000 / (7 * 86400.0), 1e-12);
  EXPECT_EQ(report->latency_p50_ms, 500);
  EXPECT_EQ(report->latency_p99_ms, 990);
  EXPECT_EQ(report->missing_scores, 1);
  EXPECT_EQ(report->performance.labelled, 998);
  EXPECT_EQ(report->performance.alias, "champion");
  EXPECT_NEAR(report->performance.coverage(), 0.998, 1e-12);
  EXPECT_NEAR(report->performance.metrics.at("auc"), 0.83, 0.04);
  ASSERT_EQ(report->shadows.size(), 1U);
  EXPECT_EQ(report->shadows[0].version, 2);
  EXPECT_EQ(report->shadows[0].labelled, 998);
  EXPECT_LT(report->shadows[0].metrics.at("auc"), report->performance.metrics.at("auc") + 0.01);
  ASSERT_EQ(report->columns.size(), 2U);
  EXPECT_FALSE(report->columns[0].drifted);
  EXPECT_TRUE(report->weighted_drift.has_value());
  ASSERT_TRUE(report->score.has_value());
  EXPECT_FALSE(report->score->drifted);
  const auto values = report->values(spec_of());
  EXPECT_EQ(values.at("reference.auc"), 0.83);
  EXPECT_EQ(values.at("shadow.challenger.auc"), report->shadows[0].metrics.at("auc"));
  EXPECT_EQ(values.at("drifted_columns"), 0);
  EXPECT_NEAR(values.at("calibration_gap"), 0, 0.05);
  // Every value without a free part is a name that rules may use.
  for (const auto& [name, value] : values) EXPECT_TRUE(rule_vocabulary().has(name)) << name;
  const Json json = report->to_json(spec_of());
  EXPECT_EQ(json["start"], "2013-04-01T00:00:00Z");
  EXPECT_EQ(json["values"]["rows"], 1000);
  EXPECT_TRUE(ok(parse_json(json.dump())));
}

TEST(EvaluateWindow, SeesDriftOfInputsAndScore) {
  Rng rng(2);
  auto rows = draw_rows(rng, kMonday, std::chrono::days(7), 1000, 1, 1.5);
  for (auto& row : rows) row.score = std::min(1.0, row.score + 0.3);
  const Reference reference = good_reference();
  const auto report = evaluate(rows, {}, &reference);
  ASSERT_TRUE(ok(report));
  for (const auto& column : report->columns) {
    EXPECT_EQ(column.major, column.name == "temp") << column.name;
    EXPECT_EQ(column.drifted, column.name == "temp") << column.name;
  }
  const auto values = report->values(spec_of());
  EXPECT_EQ(values.at("drifted_columns"), 1);
  EXPECT_EQ(values.at("drifted_share"), 0.5);
  EXPECT_GT(values.at("drift.temp.psi"), 0.2);
  EXPECT_GT(values.at("score_psi"), 0.2);
  EXPECT_GT(values.at("weighted_drift"), 0.2);
}

TEST(EvaluateWindow, DecidesNothingOnTooFewRowsOrLabels) {
  Rng rng(3);
  const Reference reference = good_reference();
  const auto few = evaluate(draw_rows(rng, kMonday, std::chrono::days(7), 99, 1), {}, &reference);
  ASSERT_TRUE(ok(few));
  const auto values = few->values(spec_of());
  EXPECT_EQ(values.at("rows"), 99);
  EXPECT_FALSE(values.contains("mean_score"));
  EXPECT_FALSE(values.contains("drifted_columns"));
  EXPECT_FALSE(values.contains("auc"));
  EXPECT_THAT(few->notes, Contains(HasSubstr("fewer than min_rows")));

  auto rows = draw_rows(rng, kMonday, std::chrono::days(7), 300, 1);
  for (std::size_t i = 50; i < rows.size(); ++i) rows[i].label.reset();
  const auto unlabelled = evaluate(rows, {}, &reference);
  ASSERT_TRUE(ok(unlabelled));
  EXPECT_FALSE(unlabelled->values(spec_of()).contains("auc"));
  EXPECT_TRUE(unlabelled->values(spec_of()).contains("mean_score"));
  EXPECT_EQ(unlabelled->performance.labelled, 50);
}

TEST(EvaluateWindow, TakesEmptyWindowsAndMissingReferences) {
  const Reference reference = good_reference();
  const auto empty = evaluate({}, {}, &reference);
  ASSERT_TRUE(ok(empty)) << ok(empty);
  EXPECT_EQ(empty->rows, 0);
  EXPECT_EQ(empty->values(spec_of()).at("rows"), 0);
  EXPECT_TRUE(ok(parse_json(empty->to_json(spec_of()).dump())));

  Rng rng(4);
  auto rows = draw_rows(rng, kMonday, std::chrono::days(7), 200, 1);
  for (auto& row : rows) row.label = 0;
  const auto alone = evaluate(rows, {}, nullptr);
  ASSERT_TRUE(ok(alone));
  EXPECT_TRUE(alone->columns.empty());
  EXPECT_THAT(alone->notes, Contains(HasSubstr("no reference profile")));
  EXPECT_THAT(alone->performance.undefined.at("auc"), HasSubstr("all 200 labels are 0"));
  EXPECT_FALSE(alone->values(spec_of()).contains("auc"));
}

TEST(EvaluateWindow, NotesWhatItCannotCompare) {
  Rng rng(5);
  auto rows = draw_rows(rng, kMonday, std::chrono::days(7), 200, 1);
  rows[0].score = 1.7;  // not a probability
  Reference reference = good_reference();
  reference.profile.columns[0].name = "gone";
  const auto report = evaluate(rows, {}, &reference);
  ASSERT_TRUE(ok(report));
  EXPECT_THAT(report->notes, Contains(HasSubstr("'gone'")));
  EXPECT_THAT(report->notes, Contains(HasSubstr("score 1.7")));
  EXPECT_EQ(report->columns.size(), 1U);
}

TEST(EvaluateWindow, RefusesALogWithoutItsColumns) {
  const data::Schema schema{{{"id", data::Type::text, false}}};
  const data::BatchBuilder builder(schema);
  const auto report = evaluate_window(
      spec_of(),
      {.window = {kMonday, kMonday + std::chrono::days(7)}, .primary = *builder.to_table()});
  EXPECT_EQ(test::code_of(report), "invalid_argument");
}

TEST(MainVersion, IsTheMostFrequentTheNewerOfEquals) {
  std::vector<LoggedRow> rows(4);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i].version = i < 2 ? 1 : 2;
  EXPECT_EQ(*main_version(log_table(rows, false)), 2);
  rows[2].version = 1;
  EXPECT_EQ(*main_version(log_table(rows, false)), 1);
  EXPECT_EQ(*main_version(log_table({}, false)), 0);
}

}  // namespace
}  // namespace slipway::monitoring
