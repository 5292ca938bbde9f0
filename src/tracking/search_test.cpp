#include <chrono>
#include <iostream>
#include <numeric>

#include "tracking/tracking_test_internal.h"

namespace slipway::tracking {
namespace {

using test::code_of;
using test::ok;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

class SearchTest : public TrackingTest {
 protected:
  // Runs a … f, one second apart; "auc" of b equals that of c, of d it is NaN, and e and f have
  // none.
  void SetUp() override {
    TrackingTest::SetUp();
    struct Row {
      std::string name;
      std::optional<double> auc;
      std::string depth;
      RunStatus status;
    };
    for (const auto& row : std::vector<Row>{{"a", 0.9, "6", RunStatus::finished},
                                            {"b", 0.7, "6", RunStatus::finished},
                                            {"c", 0.7, "8", RunStatus::failed},
                                            {"d", kNan, "8", RunStatus::killed},
                                            {"e", {}, "10", RunStatus::finished},
                                            {"f", {}, "", RunStatus::running}}) {
      clock_.advance(std::chrono::seconds(1));
      const RunId id = new_run(row.name);
      if (row.auc) {
        EXPECT_TRUE(ok(tracking_->log_metric(id, {"auc", *row.auc, 1, 1})));
      }
      if (!row.depth.empty()) {
        EXPECT_TRUE(ok(tracking_->log_param(id, "max depth", row.depth)));
      }
      EXPECT_TRUE(ok(tracking_->set_tag(id, "letter", row.name)));
      if (is_final(row.status)) {
        EXPECT_TRUE(ok(tracking_->end_run(id, row.status)));
      }
      ids_by_name_[row.name] = id;
    }
  }
  std::string names(RunSearch search) {
    if (search.experiments.empty()) search.experiments = {kDefaultExperiment};
    const auto page = tracking_->search_runs(search);
    EXPECT_TRUE(ok(page)) << search.filter;
    std::string names;
    if (!page) return "error";
    for (const auto& run : page->items) names += run.name;
    return names;
  }
  std::map<std::string, RunId> ids_by_name_;
};

TEST_F(SearchTest, FiltersLikeMlflow) {
  const std::string start_of_c = std::to_string(tracking_->run(ids_by_name_["c"])->start_ms);
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"", "fedcba"},
      {"metrics.auc > 0.7", "a"},
      {"metrics.auc >= 0.7", "cba"},
      {"metrics.auc < 0.9", "cb"},
      {"metrics.auc = 0.7", "cb"},
      {"metrics.auc != 0.7", "da"},
      {"metrics.other > 0", ""},
      {"params.`max depth` = '8'", "dc"},
      {"params.\"max depth\" != '8'", "eba"},
      {"params.`max depth` LIKE '1%'", "e"},
      {"params.`max depth` IN ('6', '10')", "eba"},
      {"params.`max depth` IS NULL", "f"},
      {"params.`max depth` IS NOT NULL", "edcba"},
      {"tags.letter = 'a'", "a"},
      {"tags.letter LIKE 'A'", ""},
      {"tags.letter ILIKE 'A'", "a"},
      {"tags.letter LIKE '_'", "fedcba"},
      {"tags.letter LIKE '*'", ""},
      {"tags.letter LIKE '[a-f]'", ""},
      {"tags.mlflow.runName = 'b'", "b"},
      {"attributes.status = 'FINISHED'", "eba"},
      {"status != 'FINISHED'", "fdc"},
      {"attr.run_name IN ('a', 'f')", "fa"},
      {"run_name NOT IN ('a', 'f')", "edcb"},
      {"attributes.start_time > " + start_of_c, "fed"},
      {"start_time <= " + start_of_c, "cba"},
      {"end_time > 0", "edcba"},
      {"run_id = '" + ids_by_name_["d"].value + "'", "d"},
      {"metrics.auc > 0.1 AND params.`max depth` = '6' and status = 'FINISHED'", "ba"},
      {"user_id = 'local'", "fedcba"},
  };
  for (const auto& [filter, want] : rows) {
    SCOPED_TRACE(filter);
    EXPECT_EQ(names({.filter = filter}), want);
    // Whatever the way through the tables, the same runs are found.
    auto by_metric = names({.filter = filter, .order_by = {"metrics.auc"}});
    std::ranges::sort(by_metric, std::greater<>());
    EXPECT_EQ(by_metric, want);
  }
}

TEST_F(SearchTest, OrdersWithNanAndMissingValuesLast) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> rows = {
      {{}, "fedcba"},
      {{"metrics.auc DESC"}, "acbdfe"},
      {{"metrics.auc ASC"}, "cbadfe"},
      {{"metrics.auc", "attributes.start_time ASC"}, "bcadef"},
      {{"metrics.auc DESC", "run_name"}, "abcdef"},
      {{"start_time ASC"}, "abcdef"},
      {{"attributes.end_time DESC"}, "edcbaf"},
      {{"attributes.end_time"}, "abcdef"},
      {{"params.`max depth`"}, "ebadcf"},
      {{"params.`max depth` DESC", "metrics.auc"}, "cdbaef"},
      {{"tags.letter DESC"}, "fedcba"},
      {{"metrics.nobody", "tags.letter"}, "abcdef"},
      {{"status", "metrics.auc DESC"}, "cabedf"},
  };
  for (const auto& [order, want] : rows) {
    SCOPED_TRACE(fmt::format("{}", fmt::join(order, ", ")));
    EXPECT_EQ(names({.order_by = order}), want);
  }
}

TEST_F(SearchTest, PagesJoinToTheWholeWhateverTheirSize) {
  for (const std::vector<std::string>& order :
       {std::vector<std::string>{}, {"metrics.auc DESC"}, {"params.`max depth`"}}) {
    const std::string whole = names({.order_by = order});
    for (std::int64_t size = 1; size <= 7; ++size) {
      SCOPED_TRACE(fmt::format("{} by {}", fmt::join(order, ","), size));
      RunSearch search{.experiments = {kDefaultExperiment}, .order_by = order, .max_results = size};
      std::string joined;
      std::int64_t pages = 0;
      do {
        const auto page = tracking_->search_runs(search);
        ASSERT_TRUE(ok(page));
        for (const auto& run : page->items) joined += run.name;
        search.page = page->next_page;
        ++pages;
      } while (!search.page.empty());
      EXPECT_EQ(joined, whole);
      EXPECT_EQ(pages, (6 + size - 1) / size);
    }
  }
}

TEST_F(SearchTest, SeesDeletedRunsAndOtherExperimentsOnlyWhenAsked) {
  const auto other = tracking_->create_experiment("other");
  new_run("x", other->id);
  ASSERT_TRUE(ok(tracking_->delete_run(ids_by_name_["b"])));
  EXPECT_EQ(names({}), "fedca");
  EXPECT_EQ(names({.view = View::deleted_only}), "b");
  EXPECT_EQ(names({.view = View::all}), "fedcba");
  EXPECT_EQ(names({.experiments = {other->id}}), "x");
  EXPECT_EQ(names({.experiments = {other->id, kDefaultExperiment}, .order_by = {"run_name"}}),
            "acdefx");
  EXPECT_TRUE(tracking_->search_runs({})->items.empty());
}

TEST_F(SearchTest, FindsRunsByDataset) {
  const DatasetInput flights{
      .name = "flights", .digest = "d1", .tags = {{"mlflow.data.context", "training"}}};
  ASSERT_TRUE(ok(tracking_->log_inputs(ids_by_name_["a"], std::vector{flights})));
  EXPECT_EQ(names({.filter = "dataset.name = 'flights' AND datasets.digest LIKE 'd%'"}), "a");
  EXPECT_EQ(names({.filter = "dataset.context = 'test'"}), "");
}

TEST_F(SearchTest, RefusesWhatHasNoMeaning) {
  for (const std::string filter :
       {"metrics.auc > '0.7'", "metrics.auc LIKE 'x'", "params.a > '1'", "params.a = 1",
        "tags.a >= 'x'", "colour = 'x'", "attributes.colour = 'x'", "things.a = 'x'",
        "start_time = 'noon'", "status > 'A'", "metrics.auc IN ('1')", "dataset.colour = 'x'"}) {
    EXPECT_EQ(code_of(tracking_->search_runs({.experiments = {{0}}, .filter = filter})),
              "invalid_argument")
        << filter;
  }
  for (const std::string order : {"colour", "metrics.a UP", "dataset.name", ""}) {
    EXPECT_EQ(code_of(tracking_->search_runs({.experiments = {{0}}, .order_by = {order}})),
              "invalid_argument")
        << order;
  }
  for (const std::int64_t size : {0, -1, 50'001}) {
    EXPECT_EQ(code_of(tracking_->search_runs({.experiments = {{0}}, .max_results = size})),
              "invalid_argument");
  }
}

TEST_F(SearchTest, KeepsValuesOutOfTheStatement) {
  const std::string evil = "x' OR '1'='1";
  ASSERT_TRUE(ok(tracking_->set_tag(ids_by_name_["a"], "note", evil)));
  EXPECT_EQ(names({.filter = "tags.note = \"" + evil + "\""}), "a");
  EXPECT_EQ(names({.filter = "tags.`'; DROP TABLE runs; --` = 'x'"}), "");
  EXPECT_EQ(names({.order_by = {"tags.`'; DROP TABLE runs; --`"}}), "fedcba");
}

// 10,000 runs, the size at which other servers take seconds to order by a metric. The bounds are
// far above what it takes, so that a busy machine passes and a lost index does not. On PostgreSQL
// nobody has gathered statistics yet: the plans must not need them.
TEST_F(TrackingTest, SearchesTenThousandRunsInMilliseconds) {
  constexpr int kRuns = 10'000;
  std::vector<int> numbers(kRuns);
  std::iota(numbers.begin(), numbers.end(), 1);
  const std::string all = fmt::format("[{}]", fmt::join(numbers, ","));
  const auto written = db_->write([&](db::Transaction& tx) -> Result<void> {
    auto put = tx.run(
        "INSERT INTO runs(seq, id, experiment_id, name, user_id, status, start_ms, artifact_uri) "
        "SELECT CAST(value AS INTEGER), 'run ' || value, 0, 'n', 'u', 'FINISHED', "
        "CAST(value AS INTEGER), 'mlflow-artifacts:/0' FROM json_each(?)",
        all);
    for (const std::string key : {"auc", "loss", "time"}) {
      if (!put) return put;
      put = tx.run(
          "INSERT INTO run_latest_metrics(run, key, value, is_nan, step, timestamp_ms) "
          "SELECT CAST(value AS INTEGER), ?, CAST(value AS INTEGER) * 7919 % 10000 / 10000.0, 0, "
          "1, 1 FROM json_each(?)",
          key, all);
    }
    for (const std::string key : {"depth", "eta", "seed"}) {
      if (!put) return put;
      put = tx.run(
          "INSERT INTO run_params(run, key, value) SELECT CAST(value AS INTEGER), ?, "
          "CAST(CAST(value AS INTEGER) % 10 AS TEXT) FROM json_each(?)",
          key, all);
    }
    return put;
  });
  ASSERT_TRUE(ok(written));
  const std::vector<std::pair<std::string, RunSearch>> rows = {
      {"newest 100", {}},
      {"order by a metric", {.order_by = {"metrics.auc DESC"}}},
      {"order by a metric, rare filter",
       {.filter = "metrics.loss > 0.99 and params.depth = '3'", .order_by = {"metrics.auc"}}},
      {"filter by metric and param",
       {.filter = "metrics.auc > 0.5 and params.depth = '3'", .order_by = {"metrics.auc DESC"}}},
      {"order by two", {.order_by = {"params.depth", "metrics.auc"}}},
  };
  for (auto [name, search] : rows) {
    search.experiments = {kDefaultExperiment};
    search.max_results = 100;
    auto best = std::chrono::microseconds::max();
    for (int round = 0; round < 5; ++round) {
      const auto start = std::chrono::steady_clock::now();
      const auto page = tracking_->search_runs(search);
      const auto took = std::chrono::duration_cast<std::chrono::microseconds>(
          std::chrono::steady_clock::now() - start);
      ASSERT_TRUE(ok(page));
      EXPECT_GE(page->items.size(), 10U) << name;
      best = std::min(best, took);
    }
    std::cout << fmt::format("  {:<32} {:>6} us\n", name, best.count());
    EXPECT_LT(best, std::chrono::milliseconds(200)) << name;
  }
}

}  // namespace
}  // namespace slipway::tracking
