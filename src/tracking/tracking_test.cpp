#include <limits>

#include "support/opened.h"
#include "tracking/tracking_test_internal.h"

namespace slipway::tracking {
namespace {

using test::code_of;
using test::message_of;
using test::ok;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST_F(TrackingTest, BeginsWithTheDefaultExperiment) {
  const auto experiment = tracking_->experiment(kDefaultExperiment);
  ASSERT_TRUE(ok(experiment));
  EXPECT_EQ(experiment->name, "Default");
  EXPECT_EQ(experiment->artifact_location, "mlflow-artifacts:/0");
  reopen();
  EXPECT_EQ(tracking_->search_experiments({})->items.size(), 1U);
}

TEST_F(TrackingTest, NumbersExperimentsAndNeverReusesANumber) {
  const auto first = tracking_->create_experiment("flights", {{"team", "ops"}});
  ASSERT_TRUE(ok(first));
  EXPECT_EQ(first->id.text(), "1");
  EXPECT_EQ(first->artifact_location, "mlflow-artifacts:/1");
  EXPECT_EQ(first->tags.at("team"), "ops");
  EXPECT_EQ(first->created_ms, to_millis(test::kNoon2013));
  const auto elsewhere = tracking_->create_experiment("elsewhere", {}, "s3://bucket/x");
  ASSERT_TRUE(ok(elsewhere));
  EXPECT_EQ(elsewhere->artifact_location, "s3://bucket/x");
  EXPECT_EQ(tracking_->experiment_by_name("flights")->id, first->id);
}

TEST_F(TrackingTest, RefusesBadExperiments) {
  ASSERT_TRUE(ok(tracking_->create_experiment("taken")));
  const std::vector<std::tuple<std::string, std::string, std::string>> rows = {
      {"", "", "invalid_argument"},
      {"taken", "", "already_exists"},
      {std::string(501, 'x'), "", "invalid_argument"},
      {"a", "s3://bucket/../x", "invalid_argument"},
      {"b", "s3://bucket#x", "invalid_argument"},
      {"c", "s3://bucket\n", "invalid_argument"},
  };
  for (const auto& [name, location, code] : rows) {
    SCOPED_TRACE(name);
    EXPECT_EQ(code_of(tracking_->create_experiment(name, {}, location)), code);
  }
  EXPECT_EQ(code_of(tracking_->create_experiment("d", {{"..", "x"}})), "invalid_argument");
  EXPECT_EQ(code_of(tracking_->experiment({99})), "not_found");
  EXPECT_EQ(code_of(tracking_->experiment_by_name("nobody")), "not_found");
  EXPECT_EQ(code_of(ExperimentId::parse("1x")), "not_found");
}

TEST_F(TrackingTest, DeletesAnExperimentWithItsRunsAndBringsThemBack) {
  const auto experiment = tracking_->create_experiment("flights");
  const RunId kept = new_run("kept", experiment->id);
  const RunId thrown = new_run("thrown", experiment->id);
  ASSERT_TRUE(ok(tracking_->delete_run(thrown)));
  clock_.advance(std::chrono::seconds(1));
  ASSERT_TRUE(ok(tracking_->delete_experiment(experiment->id)));
  EXPECT_TRUE(tracking_->experiment(experiment->id)->deleted);
  EXPECT_TRUE(tracking_->run(kept)->deleted);
  EXPECT_EQ(code_of(tracking_->create_run(ctx_, {.experiment = experiment->id})),
            "failed_precondition");
  const auto again = tracking_->create_experiment("flights");
  EXPECT_EQ(code_of(again), "already_exists");
  EXPECT_NE(message_of(again).find("restore"), std::string::npos);
  EXPECT_EQ(code_of(tracking_->rename_experiment(experiment->id, "x")), "failed_precondition");

  ASSERT_TRUE(ok(tracking_->restore_experiment(experiment->id)));
  EXPECT_FALSE(tracking_->run(kept)->deleted);
  EXPECT_TRUE(tracking_->run(thrown)->deleted);  // it was deleted by itself
  EXPECT_EQ(code_of(tracking_->restore_experiment(experiment->id)), "not_found");
}

TEST_F(TrackingTest, SearchesExperiments) {
  for (const std::string name : {"alpha", "beta", "gamma"}) {
    clock_.advance(std::chrono::seconds(1));
    ASSERT_TRUE(ok(tracking_->create_experiment(name, {{"letter", name.substr(0, 1)}})));
  }
  ASSERT_TRUE(ok(tracking_->delete_experiment(tracking_->experiment_by_name("beta")->id)));
  const auto names = [&](const ExperimentSearch& search) {
    const auto page = tracking_->search_experiments(search);
    EXPECT_TRUE(ok(page));
    std::string joined;
    for (const auto& experiment : page->items) joined += experiment.name + " ";
    return joined;
  };
  EXPECT_EQ(names({}), "gamma alpha Default ");
  EXPECT_EQ(names({.view = View::deleted_only}), "beta ");
  EXPECT_EQ(names({.filter = "name LIKE '%a%'", .order_by = {"name"}, .view = View::all}),
            "Default alpha beta gamma ");
  EXPECT_EQ(names({.filter = "tags.letter = 'g'"}), "gamma ");
  EXPECT_EQ(names({.filter = "name ILIKE 'ALPHA'"}), "alpha ");
  EXPECT_EQ(code_of(tracking_->search_experiments({.filter = "colour = 'x'"})), "invalid_argument");

  const auto first = tracking_->search_experiments({.max_results = 2});
  ASSERT_FALSE(first->next_page.empty());
  EXPECT_EQ(names({.max_results = 2, .page = first->next_page}), "Default ");
}

TEST_F(TrackingTest, CreatesARunWithNameUserAndTags) {
  ctx_.principal.name = "ada";
  const auto run = tracking_->create_run(
      ctx_, {.name = "train", .start_ms = 17, .tags = {{"mlflow.parentRunId", "p"}}});
  ASSERT_TRUE(ok(run));
  EXPECT_EQ(run->name, "train");
  EXPECT_EQ(run->user, "ada");
  EXPECT_EQ(run->status, RunStatus::running);
  EXPECT_EQ(run->start_ms, 17);
  EXPECT_FALSE(run->end_ms);
  EXPECT_EQ(run->artifact_uri, "mlflow-artifacts:/0/" + run->id.value + "/artifacts");
  EXPECT_EQ(run->tags, (Tags{{"mlflow.parentRunId", "p"}, {"mlflow.runName", "train"}}));

  const auto unnamed = tracking_->create_run(ctx_, {});
  EXPECT_EQ(std::ranges::count(unnamed->name, '-'), 2) << unnamed->name;
  EXPECT_EQ(unnamed->tags.at("mlflow.runName"), unnamed->name);
  EXPECT_EQ(tracking_->create_run(ctx_, {.tags = {{"mlflow.runName", "t"}}})->name, "t");
  EXPECT_EQ(code_of(tracking_->create_run(ctx_, {.name = "a", .tags = {{"mlflow.runName", "b"}}})),
            "invalid_argument");
  EXPECT_EQ(code_of(tracking_->create_run(ctx_, {.experiment = {42}})), "not_found");
}

TEST_F(TrackingTest, EndsRenamesDeletesAndRestoresARun) {
  const RunId id = new_run("first");
  clock_.advance(std::chrono::seconds(5));
  const auto ended = tracking_->end_run(id, RunStatus::failed);
  ASSERT_TRUE(ok(ended));
  EXPECT_EQ(ended->status, RunStatus::failed);
  EXPECT_EQ(*ended->end_ms - ended->start_ms, 5000);
  ASSERT_TRUE(ok(tracking_->update_run(id, {.name = "second"})));
  EXPECT_EQ(tracking_->run(id)->tags.at("mlflow.runName"), "second");
  EXPECT_EQ(tracking_->run(id)->status, RunStatus::failed);
  ASSERT_TRUE(ok(tracking_->set_tag(id, "mlflow.runName", "third")));
  EXPECT_EQ(tracking_->run(id)->name, "third");

  ASSERT_TRUE(ok(tracking_->delete_run(id)));
  EXPECT_EQ(code_of(tracking_->delete_run(id)), "failed_precondition");
  EXPECT_EQ(code_of(tracking_->log_param(id, "a", "1")), "failed_precondition");
  EXPECT_EQ(code_of(tracking_->update_run(id, {})), "failed_precondition");
  ASSERT_TRUE(ok(tracking_->restore_run(id)));
  EXPECT_EQ(code_of(tracking_->restore_run(id)), "failed_precondition");
  EXPECT_EQ(code_of(tracking_->run({"nobody"})), "not_found");
}

TEST_F(TrackingTest, KeepsTheLatestMetricByStepThenTimeThenValue) {
  struct Row {
    std::string name;
    std::vector<Metric> points;
    double want;
  };
  const std::vector<Row> rows = {
      {"one", {{"m", 1, 10, 0}}, 1},
      {"higher_step", {{"m", 1, 99, 0}, {"m", 2, 5, 1}, {"m", 3, 999, 0}}, 2},
      {"later_time", {{"m", 1, 10, 0}, {"m", 2, 11, 0}, {"m", 3, 9, 0}}, 2},
      {"greater_value", {{"m", 1, 10, 0}, {"m", 3, 10, 0}, {"m", 2, 10, 0}}, 3},
      {"negative_step", {{"m", 1, 10, -5}, {"m", 2, 10, -6}}, 1},
      {"infinity", {{"m", kInfinity, 10, 1}}, std::numeric_limits<double>::max()},
      {"minus_infinity", {{"m", -kInfinity, 10, 1}}, std::numeric_limits<double>::lowest()},
      {"nan", {{"m", 1, 10, 0}, {"m", kNan, 10, 1}}, kNan},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const RunId together = new_run();
    ASSERT_TRUE(ok(tracking_->log_batch(together, {.metrics = row.points})));
    const RunId one_by_one = new_run();
    for (const auto& point : row.points) {
      ASSERT_TRUE(ok(tracking_->log_metric(one_by_one, point)));
    }
    for (const auto& id : {together, one_by_one}) {
      const auto run = tracking_->run(id);
      ASSERT_EQ(run->metrics.size(), 1U);
      if (std::isnan(row.want)) {
        EXPECT_TRUE(std::isnan(run->metric("m")->value));
      } else {
        EXPECT_EQ(run->metric("m")->value, row.want);
      }
      EXPECT_EQ(tracking_->metric_history(id, "m")->items.size(), row.points.size());
    }
  }
}

TEST_F(TrackingTest, ARepeatedMetricChangesNothing) {
  const RunId id = new_run();
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(ok(tracking_->log_metric(id, {"m", 1.5, 10, 2})));
    ASSERT_TRUE(ok(tracking_->log_metric(id, {"m", kNan, 10, 2})));
  }
  EXPECT_EQ(tracking_->metric_history(id, "m")->items.size(), 2U);
}

TEST_F(TrackingTest, PagesThroughAHistoryInTimeOrder) {
  const RunId id = new_run();
  Batch batch;
  for (int i = 0; i < 25; ++i) batch.metrics.push_back({"m", i * 1.0, 1000 - i, i});
  ASSERT_TRUE(ok(tracking_->log_batch(id, batch)));
  std::vector<std::int64_t> times;
  std::string page;
  int pages = 0;
  do {
    const auto history = tracking_->metric_history(id, "m", 10, page);
    ASSERT_TRUE(ok(history));
    for (const auto& point : history->items) times.push_back(point.timestamp_ms);
    page = history->next_page;
    ++pages;
  } while (!page.empty());
  EXPECT_EQ(pages, 3);
  EXPECT_EQ(times.size(), 25U);
  EXPECT_TRUE(std::ranges::is_sorted(times));
  EXPECT_TRUE(tracking_->metric_history(id, "other")->items.empty());
  EXPECT_EQ(code_of(tracking_->metric_history({"nobody"}, "m")), "not_found");
  EXPECT_EQ(code_of(tracking_->metric_history(id, "m", -1)), "invalid_argument");
}

TEST_F(TrackingTest, AParamIsSetOnce) {
  const RunId id = new_run();
  ASSERT_TRUE(ok(tracking_->log_param(id, "depth", "6")));
  ASSERT_TRUE(ok(tracking_->log_param(id, "depth", "6")));
  const auto changed = tracking_->log_param(id, "depth", "7");
  EXPECT_EQ(code_of(changed), "failed_precondition");
  EXPECT_NE(message_of(changed).find("'6'"), std::string::npos);
  EXPECT_EQ(*tracking_->run(id)->param("depth"), "6");
  ASSERT_TRUE(ok(tracking_->log_param(id, "empty", "")));
}

TEST_F(TrackingTest, CutsLongValuesBetweenCharacters) {
  const RunId id = new_run();
  std::string umlauts;
  for (int i = 0; i < 7000; ++i) umlauts += "ü";
  ASSERT_TRUE(ok(tracking_->log_param(id, "long", umlauts)));
  EXPECT_EQ(tracking_->run(id)->param("long")->size(), 12'000U);
  ASSERT_TRUE(ok(tracking_->log_param(id, "long", umlauts)));  // the same again
  ASSERT_TRUE(ok(tracking_->set_tag(id, "long", std::string(9000, 'x'))));
  EXPECT_EQ(tracking_->run(id)->tags.at("long").size(), 8000U);
}

TEST_F(TrackingTest, ChecksKeys) {
  const RunId id = new_run();
  for (const std::string good : {"a", "val/loss", "a b", "a.b-c_d:e", "größe", "..a", "a..b"}) {
    EXPECT_TRUE(ok(tracking_->log_param(id, good, "1"))) << good;
  }
  for (const std::string bad :
       {"", "/a", "a/", "a//b", "../a", "a/../b", ".", "./a", "a\n", "a'b", "a%b"}) {
    EXPECT_EQ(code_of(tracking_->log_param(id, bad, "1")), "invalid_argument") << bad;
    EXPECT_EQ(code_of(tracking_->log_metric(id, {bad, 1, 1, 1})), "invalid_argument") << bad;
    EXPECT_EQ(code_of(tracking_->set_tag(id, bad, "1")), "invalid_argument") << bad;
  }
  EXPECT_TRUE(ok(tracking_->set_tag(id, std::string(250, 'k'), "1")));
  EXPECT_EQ(code_of(tracking_->set_tag(id, std::string(251, 'k'), "1")), "invalid_argument");
}

TEST_F(TrackingTest, ABatchIsAllOrNothing) {
  const RunId id = new_run();
  ASSERT_TRUE(ok(tracking_->log_param(id, "depth", "6")));
  const auto logged = tracking_->log_batch(id, {.metrics = {{"m", 1, 1, 1}},
                                                .params = {{"new", "1"}, {"depth", "7"}},
                                                .tags = {{"t", "1"}}});
  EXPECT_EQ(code_of(logged), "failed_precondition");
  const auto run = tracking_->run(id);
  EXPECT_TRUE(run->metrics.empty());
  EXPECT_EQ(run->params.size(), 1U);
  EXPECT_FALSE(run->tags.contains("t"));
  EXPECT_TRUE(tracking_->metric_history(id, "m")->items.empty());
}

TEST_F(TrackingTest, ABatchHasLimits) {
  const RunId id = new_run();
  const auto metrics = [](int n) {
    Batch batch;
    for (int i = 0; i < n; ++i) batch.metrics.push_back({"m", 1.0 * i, 1, i});
    return batch;
  };
  EXPECT_TRUE(ok(tracking_->log_batch(id, {})));
  EXPECT_TRUE(ok(tracking_->log_batch(id, metrics(1000))));
  EXPECT_EQ(code_of(tracking_->log_batch(id, metrics(1001))), "invalid_argument");
  auto mixed = metrics(1000);
  mixed.tags.push_back({"t", "1"});
  EXPECT_EQ(code_of(tracking_->log_batch(id, mixed)), "invalid_argument");
  Batch params;
  for (int i = 0; i < 101; ++i) params.params.push_back({fmt::format("p{}", i), "1"});
  EXPECT_EQ(code_of(tracking_->log_batch(id, params)), "invalid_argument");
}

TEST_F(TrackingTest, SetsAndDeletesTags) {
  const RunId id = new_run();
  ASSERT_TRUE(ok(tracking_->set_tag(id, "stage", "one")));
  ASSERT_TRUE(ok(tracking_->set_tag(id, "stage", "two")));
  EXPECT_EQ(tracking_->run(id)->tags.at("stage"), "two");
  ASSERT_TRUE(ok(tracking_->delete_tag(id, "stage")));
  EXPECT_EQ(code_of(tracking_->delete_tag(id, "stage")), "not_found");
}

TEST_F(TrackingTest, KeepsDatasetInputsAndModelLinks) {
  const RunId id = new_run();
  const DatasetInput training{.name = "flights",
                              .digest = "abc",
                              .source_type = "slipway",
                              .source = "{}",
                              .tags = {{"mlflow.data.context", "training"}}};
  DatasetInput validation = training;
  validation.tags = {{"mlflow.data.context", "validation"}};
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(ok(tracking_->log_inputs(id, std::vector{training, validation})));
  }
  ASSERT_TRUE(ok(tracking_->log_outputs(id, std::vector<ModelLink>{{"m-1", 3}})));
  const auto run = tracking_->run(id);
  ASSERT_EQ(run->datasets.size(), 2U);
  EXPECT_EQ(run->datasets[0].tags, training.tags);
  ASSERT_EQ(run->model_outputs.size(), 1U);
  EXPECT_EQ(run->model_outputs[0].step, 3);
  EXPECT_EQ(code_of(tracking_->log_inputs(id, std::vector{DatasetInput{}})), "invalid_argument");
}

TEST_F(TrackingTest, RecordsModelsAsJsonList) {
  const RunId id = new_run();
  ASSERT_TRUE(ok(tracking_->record_model(id, {{"artifact_path", "model"}})));
  ASSERT_TRUE(ok(tracking_->record_model(id, {{"artifact_path", std::string(9000, 'x')}})));
  const auto history = parse_json(tracking_->run(id)->tags.at("mlflow.log-model.history"));
  ASSERT_TRUE(ok(history));
  EXPECT_EQ(history->size(), 2U);
}

TEST_F(TrackingTest, SurvivesAnotherOpening) {
  const RunId id = new_run("kept");
  ASSERT_TRUE(ok(tracking_->log_metric(id, {"m", 0.1 + 0.2, 1, 1})));
  tracking_.reset();
  db_.reset();
  db_ = test::opened(db::Database::open(test::database_at(scratch_ / "slipway.db"), {}));
  reopen();
  EXPECT_EQ(tracking_->run(id)->metric("m")->value, 0.1 + 0.2);
}

}  // namespace
}  // namespace slipway::tracking
