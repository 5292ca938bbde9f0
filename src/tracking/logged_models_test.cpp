#include "tracking/tracking_test_internal.h"

namespace slipway::tracking {
namespace {

using test::code_of;
using test::ok;

TEST_F(TrackingTest, ALoggedModelIsPendingUntilFinalized) {
  const auto made = tracking_->create_logged_model({.name = "late",
                                                    .type = "agent",
                                                    .run_id = "r",
                                                    .params = {{"depth", "6"}},
                                                    .tags = {{"k", "v"}}});
  ASSERT_TRUE(ok(made));
  EXPECT_TRUE(made->id.starts_with("m-"));
  EXPECT_EQ(made->status, ModelStatus::pending);
  EXPECT_EQ(made->artifact_uri, "mlflow-artifacts:/0/models/" + made->id + "/artifacts");
  ASSERT_TRUE(ok(tracking_->finalize_logged_model(made->id, ModelStatus::ready)));
  ASSERT_TRUE(ok(tracking_->set_logged_model_tags(made->id, {{"k", "w"}, {"l", "x"}})));
  ASSERT_TRUE(ok(tracking_->delete_logged_model_tag(made->id, "l")));
  EXPECT_EQ(code_of(tracking_->delete_logged_model_tag(made->id, "l")), "not_found");
  ASSERT_TRUE(ok(tracking_->log_logged_model_params(made->id, std::vector<Param>{{"eta", "0.1"}})));
  const auto found = tracking_->logged_model(made->id);
  ASSERT_TRUE(ok(found));
  EXPECT_EQ(found->status, ModelStatus::ready);
  EXPECT_EQ(found->tags, (Tags{{"k", "w"}}));
  EXPECT_EQ(found->params.size(), 2U);
  ASSERT_TRUE(ok(tracking_->delete_logged_model(made->id)));
  EXPECT_EQ(code_of(tracking_->logged_model(made->id)), "not_found");
  EXPECT_TRUE(tracking_->logged_model(made->id, true)->deleted);
  for (const std::string bad : {"a/b", "a:b", "a.b", "a'b"}) {
    EXPECT_EQ(code_of(tracking_->create_logged_model({.name = bad})), "invalid_argument") << bad;
  }
}

TEST_F(TrackingTest, SearchesLoggedModels) {
  for (const std::string name : {"a", "b", "c"}) {
    clock_.advance(std::chrono::seconds(1));
    const auto made = tracking_->create_logged_model(
        {.name = name, .run_id = "run " + name, .tags = {{"letter", name}}});
    ASSERT_TRUE(ok(made));
    if (name == "b") {
      ASSERT_TRUE(ok(tracking_->finalize_logged_model(made->id, ModelStatus::ready)));
    }
  }
  const auto names = [&](const std::string& filter,
                         std::vector<LoggedModelSearch::Order> order_by = {}) {
    const auto page = tracking_->search_logged_models(
        {.experiments = {kDefaultExperiment}, .filter = filter, .order_by = std::move(order_by)});
    EXPECT_TRUE(ok(page)) << filter;
    std::string joined;
    if (page) {
      for (const auto& model : page->items) joined += model.name;
    }
    return joined;
  };
  EXPECT_EQ(names(""), "cba");
  EXPECT_EQ(names("", {{.field = "name"}}), "abc");
  EXPECT_EQ(names("name = 'b'"), "b");
  EXPECT_EQ(names("status = 'READY'"), "b");
  EXPECT_EQ(names("tags.letter IN ('a', 'c') AND creation_timestamp > 0"), "ca");
  EXPECT_EQ(names("source_run_id = 'run c'"), "c");
  EXPECT_EQ(code_of(tracking_->search_logged_models({.filter = "colour = 'x'"})),
            "invalid_argument");
}

TEST_F(TrackingTest, FindsLoggedModelsByTheirMetricsOnADataset) {
  const auto run = tracking_->create_run(ctx_, {});
  ASSERT_TRUE(ok(run));
  std::map<std::string, std::string> ids;
  for (const std::string name : {"a", "b", "c", "d"}) {
    clock_.advance(std::chrono::seconds(1));
    ids[name] = tracking_->create_logged_model({.name = name})->id;
  }
  const auto log = [&](const std::string& model, const std::string& dataset, double value,
                       std::int64_t step) {
    return tracking_->log_model_metrics(
        run->id, std::vector<ModelMetric>{{.model_id = ids[model],
                                           .metric = {"auc", value, 1000 + step, step},
                                           .dataset_name = dataset,
                                           .dataset_digest = dataset + " digest"}});
  };
  ASSERT_TRUE(ok(log("a", "train", 0.9, 0)));
  ASSERT_TRUE(ok(log("a", "train", 0.8, 1)));  // newer, and so the one that counts for order
  ASSERT_TRUE(ok(log("a", "test", 0.4, 0)));
  ASSERT_TRUE(ok(log("b", "train", 0.85, 0)));
  ASSERT_TRUE(ok(log("b", "train", 0.85, 0)));  // the same again
  ASSERT_TRUE(ok(log("c", "train", std::numeric_limits<double>::quiet_NaN(), 0)));
  EXPECT_EQ(tracking_->logged_model(ids["b"])->metrics.size(), 1U);
  EXPECT_TRUE(std::isnan(tracking_->logged_model(ids["c"])->metrics.at(0).metric.value));
  EXPECT_EQ(tracking_->logged_model(ids["a"])->metrics.at(0).run_id, run->id.value);

  struct Row {
    std::string filter;
    std::vector<LoggedModelSearch::Dataset> datasets;
    std::vector<LoggedModelSearch::Order> order_by;
    std::string names;
  };
  for (const auto& row : std::vector<Row>{
           {"metrics.auc >= 0.85", {}, {}, "ba"},
           {"metrics.auc >= 0.85", {{.name = "test"}}, {}, ""},
           {"metrics.auc < 0.5", {{.name = "train"}, {.name = "test"}}, {}, "a"},
           {"", {{.name = "test", .digest = "test digest"}}, {}, "a"},
           {"", {{.name = "test", .digest = "other"}}, {}, ""},
           {"", {}, {{"metrics.auc", true, {.name = "train"}}}, "badc"},
           {"", {}, {{"metrics.auc", false, {.name = "train"}}}, "abdc"},
           {"", {}, {{"metrics.auc", false, {.name = "test"}}}, "adcb"},
       }) {
    const auto page = tracking_->search_logged_models({.experiments = {kDefaultExperiment},
                                                       .filter = row.filter,
                                                       .datasets = row.datasets,
                                                       .order_by = row.order_by});
    ASSERT_TRUE(ok(page));
    std::string names;
    for (const auto& model : page->items) names += model.name;
    EXPECT_EQ(names, row.names) << row.filter;
  }
  for (const std::string field : {"params.a", "tags.a", "colour"}) {
    EXPECT_EQ(code_of(tracking_->search_logged_models({.order_by = {{.field = field}}})),
              "invalid_argument");
  }
  EXPECT_EQ(code_of(tracking_->search_logged_models({.datasets = {{}}})), "invalid_argument");
  ids["z"] = "m-nobody";
  EXPECT_EQ(code_of(log("z", "train", 1, 0)), "not_found");
}

}  // namespace
}  // namespace slipway::tracking
