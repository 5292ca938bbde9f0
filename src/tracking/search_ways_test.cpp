// A search of a large page collects and sorts, one of a small page walks an index: whatever the
// way, the runs and their order have to be the same.
#include <random>

#include "tracking/tracking_test_internal.h"

namespace slipway::tracking {
namespace {

using test::ok;

class SearchWaysTest : public TrackingTest {
 protected:
  void SetUp() override {
    TrackingTest::SetUp();
    auto other = tracking_->create_experiment("other");
    ASSERT_TRUE(ok(other));
    other_ = other->id;
    const double values[] = {0, 0.25, 0.25, -1, 7, std::numeric_limits<double>::quiet_NaN()};
    for (int i = 0; i < 240; ++i) {
      auto run = tracking_->create_run(
          ctx_, {.experiment = random_() % 4 == 0 ? other_ : kDefaultExperiment,
                 .name = fmt::format("run {}", random_() % 5),
                 .start_ms = static_cast<std::int64_t>(random_() % 30)});
      ASSERT_TRUE(ok(run));
      Batch batch;
      for (const std::string key : {"a", "b"}) {
        if (random_() % 4 == 0) continue;
        batch.metrics.push_back({.key = key, .value = values[random_() % 6], .timestamp_ms = 1});
      }
      if (random_() % 3 != 0) batch.params.push_back({"p", fmt::format("{}", random_() % 3)});
      if (random_() % 3 != 0) {  // alike in what the index holds of them
        batch.tags.push_back({"t", std::string(64, 'x') + (random_() % 2 == 0 ? "1" : "2")});
      }
      ASSERT_TRUE(ok(tracking_->log_batch(run->id, batch)));
      if (random_() % 9 == 0) {
        ASSERT_TRUE(ok(tracking_->delete_run(run->id)));
      }
    }
  }

  std::vector<std::string> find(RunSearch search, std::int64_t page_size) {
    std::vector<std::string> ids;
    search.max_results = page_size;
    do {
      const auto page = tracking_->search_runs(search);
      EXPECT_TRUE(ok(page));
      if (!page) break;
      for (const auto& run : page->items) ids.push_back(run.id.value);
      search.page = page->next_page;
    } while (!search.page.empty());
    return ids;
  }
  template <std::size_t N>
  std::string pick(const std::string_view (&from)[N]) {
    return std::string(from[random_() % N]);
  }

  std::mt19937 random_{17};
  ExperimentId other_;
};

TEST_F(SearchWaysTest, EveryWayFindsTheSameRunsInTheSameOrder) {
  static const std::string alike = "tags.t = '" + std::string(64, 'x') + "1'";
  const std::string_view conditions[] = {"metrics.a > 0",
                                         "metrics.a != 0.25",
                                         "metrics.b <= 0.25",
                                         "metrics.b = 7",
                                         "params.p = '1'",
                                         "params.p != '1'",
                                         "params.p IS NULL",
                                         "params.p IN ('0', '2')",
                                         "tags.t LIKE 'x%'",
                                         "run_name = 'run 3'",
                                         "status = 'RUNNING'",
                                         "start_time > 4",
                                         alike};
  const std::string_view orders[] = {"metrics.a",         "metrics.a DESC", "metrics.b",
                                     "start_time DESC",   "start_time",     "params.p DESC",
                                     "attributes.run_id", "tags.t",         "run_name"};
  int found = 0;
  const int rounds = test::on_postgres() ? 50 : 250;  // each is hundreds of round trips
  for (int round = 0; round < rounds; ++round) {
    RunSearch search;
    search.experiments = {kDefaultExperiment};
    if (random_() % 3 == 0) search.experiments.push_back(other_);
    search.view = static_cast<View>(random_() % 3);
    for (auto count = random_() % 3; count > 0; --count) {
      search.filter += (search.filter.empty() ? "" : " AND ") + pick(conditions);
    }
    if (random_() % 4 != 0) search.order_by.push_back(pick(orders));
    if (random_() % 3 == 0) search.order_by.emplace_back("end_time");
    SCOPED_TRACE(fmt::format("{} | {}", search.filter, fmt::join(search.order_by, ", ")));
    const auto whole = find(search, 10'000);
    found += whole.empty() ? 0 : 1;
    EXPECT_EQ(find(search, 3), whole);
    EXPECT_EQ(find(search, 40), whole);
  }
  EXPECT_GT(found, rounds / 2);
}

// More runs than are counted: the guesses know only that there are many.
TEST_F(SearchWaysTest, ManyRunsAreFoundByEveryWay) {
  if (test::on_postgres()) GTEST_SKIP() << "27,000 round trips for the same statements";
  constexpr int kRuns = 9'000;
  auto crowd = tracking_->create_experiment("crowd");
  ASSERT_TRUE(ok(crowd));
  ASSERT_TRUE(ok(db_->write([&](db::Transaction& tx) -> Result<void> {
    for (int i = 0; i < kRuns; ++i) {
      auto put = tx.run(
          "INSERT INTO runs(seq, id, experiment_id, name, user_id, status, start_ms, artifact_uri) "
          "VALUES (?, ?, ?, 'r', 'u', 'RUNNING', ?, '')",
          1'000 + i, fmt::format("c{:031x}", i), crowd->id.value, i);
      if (!put) return put;
      put = tx.run("INSERT INTO run_params(run, key, value) VALUES (?, 'q', ?)", 1'000 + i,
                   i % 9'000 == 77 ? "rare"
                   : i % 10 == 0   ? "no"
                                   : "yes");
      if (!put) return put;
      put = tx.run(
          "INSERT INTO run_latest_metrics(run, key, value, is_nan, step, timestamp_ms) "
          "VALUES (?, 'c', ?, 0, 0, 0)",
          1'000 + i, static_cast<double>(i % 100));
      if (!put) return put;
    }
    return {};
  })));
  const auto ids = [&](const std::string& filter, std::vector<std::string> order_by,
                       std::int64_t page) {
    return find({.experiments = {crowd->id}, .filter = filter, .order_by = std::move(order_by)},
                page);
  };
  const std::string both = "params.q = 'yes' AND metrics.c >= 1";
  auto by_param = ids(both, {"params.q"}, 50'000);  // collected and sorted
  EXPECT_EQ(by_param.size(), kRuns / 10 * 9 - 1U);
  EXPECT_EQ(ids(both, {}, 700), by_param);  // walked from the newest on
  auto by_metric = ids(both, {"metrics.c DESC"}, 2'000);
  EXPECT_EQ(by_metric.front(), fmt::format("c{:031x}", 8'999));
  std::ranges::sort(by_param);
  std::ranges::sort(by_metric);
  EXPECT_EQ(by_metric, by_param);
  EXPECT_EQ(ids("params.q = 'rare'", {"metrics.c"}, 10), std::vector{fmt::format("c{:031x}", 77)});
}

TEST_F(SearchWaysTest, FieldsThatStandTwiceInAnOrderAreRefused) {
  for (const auto& order_by : std::vector<std::vector<std::string>>{{"metrics.a", "metrics.a DESC"},
                                                                    {"start_time", "created"},
                                                                    {"run_name", "`Run Name`"}}) {
    EXPECT_EQ(tracking_->search_runs({.experiments = {kDefaultExperiment}, .order_by = order_by})
                  .error()
                  .code,
              Code::invalid_argument);
  }
}

TEST_F(SearchWaysTest, AQuotedScopeIsAScope) {
  EXPECT_EQ(find({.experiments = {kDefaultExperiment}, .filter = "`metrics`.`a` > 0"}, 100),
            find({.experiments = {kDefaultExperiment}, .filter = "metrics.a > 0"}, 100));
}

}  // namespace
}  // namespace slipway::tracking
