// Packed metric points: the bytes, and histories read back from log, chunks and the old table.
#include "tracking/metric_store_internal.h"

#include <random>

#include "tracking/metric_codec_internal.h"
#include "tracking/tracking_test_internal.h"

namespace slipway::tracking {
namespace {

using test::ok;
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr auto kLeast = std::numeric_limits<std::int64_t>::min();
constexpr auto kMost = std::numeric_limits<std::int64_t>::max();

bool same(const Point& a, const Point& b) { return !is_before(a, b) && !is_before(b, a); }

std::vector<Point> random_points(std::mt19937_64& random, std::size_t count) {
  const auto shape = random() % 4;
  std::vector<Point> points;
  for (std::size_t i = 0; i < count; ++i) {
    const auto n = static_cast<std::int64_t>(i);
    Point point{1'700'000'000'000 + n * 1000, n, static_cast<double>(random()) / 1e19};
    if (shape == 1) point.timestamp_ms += static_cast<std::int64_t>(random() % 500);
    if (shape == 2) point = {n / 3, n % 3, random() % 5 == 0 ? kNan : 0.25 * (random() % 4)};
    if (shape == 3) {
      point = {static_cast<std::int64_t>(random()), static_cast<std::int64_t>(random()),
               std::bit_cast<double>(random())};
    }
    points.push_back(point);
  }
  sort_points(points);
  return points;
}

TEST(MetricCodec, PointsComeBackAsTheyWere) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 400; ++round) {
    SCOPED_TRACE(round);
    const auto points = random_points(random, random() % 300);
    const std::string bytes = encode_chunk(points);
    std::vector<Point> back;
    ASSERT_TRUE(ok(decode_chunk(bytes, back)));
    ASSERT_EQ(back.size(), points.size());
    for (std::size_t i = 0; i < back.size(); ++i) EXPECT_TRUE(same(back[i], points[i])) << i;
  }
}

TEST(MetricCodec, KeepsTheEndsOfWhatNumbersCanBe) {
  std::vector<Point> points = {{kLeast, kMost, 0}, {0, kLeast, -0.0}, {kMost, 0, kNan}};
  std::vector<Point> back;
  ASSERT_TRUE(ok(decode_chunk(encode_chunk(points), back)));
  for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(same(back[i], points[i])) << i;
}

TEST(MetricCodec, EvenlySpacedPointsTakeLittleMoreThanTheirValues) {
  std::vector<Point> points;
  for (std::int64_t i = 0; i < 1000; ++i) {
    points.push_back({1'700'000'000'000 + i * 40, i, 1.0 / static_cast<double>(i + 3)});
  }
  EXPECT_LT(encode_chunk(points).size(), 8'100U);
  for (Point& point : points) point.value = 0.5;
  EXPECT_LT(encode_chunk(points).size(), 1'100U);
}

TEST(MetricCodec, DamagedBytesAreRefusedNotReadWrongly) {
  std::mt19937_64 random(11);
  const std::string whole = encode_chunk(random_points(random, 100));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    std::vector<Point> points;
    EXPECT_FALSE(decode_chunk(whole.substr(0, size), points)) << size;
    EXPECT_TRUE(points.empty());
  }
  for (int round = 0; round < 2000; ++round) {  // whatever comes out: no crash, no great allocation
    std::string bytes = whole;
    bytes[random() % bytes.size()] = static_cast<char>(random());
    std::vector<Point> points;
    if (!decode_chunk(bytes, points)) {
      EXPECT_TRUE(points.empty());
    }
  }
  std::string_view record =
      "\x05"
      "ab";
  std::string_view key;
  std::string_view chunk;
  EXPECT_FALSE(next_in_record(record, key, chunk));
}

TEST(SamplePoints, AreSpreadEvenlyAndKeepTheLast) {
  const auto steps_of = [](std::size_t count, std::size_t most) {
    std::vector<Point> points;
    for (std::size_t i = 0; i < count; ++i) points.push_back({0, static_cast<std::int64_t>(i), 0});
    std::vector<std::int64_t> steps;
    for (const Point& point : sample_points(points, most)) steps.push_back(point.step);
    return steps;
  };
  using Steps = std::vector<std::int64_t>;
  EXPECT_EQ(steps_of(0, 3), Steps{});
  EXPECT_EQ(steps_of(3, 3), (Steps{0, 1, 2}));
  EXPECT_EQ(steps_of(10, 3), (Steps{0, 4, 9}));  // stretches of 4, 3, 3; the last point for 7
  EXPECT_EQ(steps_of(10, 1), Steps{9});
  EXPECT_EQ(steps_of(4, 3), (Steps{0, 2, 3}));
}

class MetricStoreTest : public TrackingTest {
 protected:
  std::vector<Metric> history(const RunId& run, const std::string& key) {
    auto page = tracking_->metric_history(run, key);
    EXPECT_TRUE(ok(page));
    return page ? page->items : std::vector<Metric>{};
  }
  std::int64_t count(const std::string& table) {
    auto rows = db_->read([&](db::Connection& c) -> Result<std::int64_t> {
      auto found = c.query("SELECT count(*) FROM " + table);
      if (!found) return found.error();
      return found->next() ? found->integer(0) : -1;
    });
    EXPECT_TRUE(ok(rows));
    return rows.value_or(-1);
  }
};

// Points of a few metrics in all sizes of calls, with repetitions and out of order, against a plain
// list.
TEST_F(MetricStoreTest, AHistoryIsEveryPointOnceInOrder) {
  std::mt19937_64 random(3);
  const auto run = new_run("many");
  std::map<std::string, std::vector<Point>> expected;
  for (int call = 0; call < 700; ++call) {
    Batch batch;
    const std::size_t size = random() % 5 == 0 ? 1 + random() % 400 : 1 + random() % 4;
    const bool one_key = random() % 2 == 0;
    for (std::size_t i = 0; i < size; ++i) {
      const std::string key = one_key ? "a" : fmt::format("k{}", random() % 7);
      const Point point{static_cast<std::int64_t>(random() % (random() % 9 == 0 ? 40 : 4'000)),
                        static_cast<std::int64_t>(random() % 50),
                        random() % 20 == 0 ? kNan : static_cast<double>(random() % 6) - 2};
      batch.metrics.push_back({.key = key,
                               .value = point.value,
                               .timestamp_ms = point.timestamp_ms,
                               .step = point.step});
      expected[key].push_back(point);
    }
    ASSERT_TRUE(ok(tracking_->log_batch(run, batch)));
  }
  EXPECT_GT(count("run_metric_chunks"), 10);
  for (auto& [key, points] : expected) {
    SCOPED_TRACE(key);
    sort_points(points);
    const auto all = history(run, key);
    ASSERT_EQ(all.size(), points.size());
    for (std::size_t i = 0; i < all.size(); ++i) {
      EXPECT_TRUE(same({all[i].timestamp_ms, all[i].step, all[i].value}, points[i])) << i;
    }
    // Pages say the same.
    std::vector<Metric> paged;
    std::string token;
    do {
      const auto page = tracking_->metric_history(run, key, 97, token);
      ASSERT_TRUE(ok(page));
      paged.insert(paged.end(), page->items.begin(), page->items.end());
      token = page->next_page;
    } while (!token.empty());
    ASSERT_EQ(paged.size(), all.size());
    for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(paged[i].step, all[i].step) << i;
    // The latest value follows the greatest step, time and value.
    const auto best = std::ranges::max_element(points, [](const Point& a, const Point& b) {
      return std::tuple(a.step, a.timestamp_ms, place_of(a.value)) <
             std::tuple(b.step, b.timestamp_ms, place_of(b.value));
    });
    const auto read = tracking_->run(run);
    ASSERT_TRUE(ok(read));
    EXPECT_EQ(place_of(read->metric(key)->value), place_of(best->value));
    EXPECT_EQ(read->metric(key)->step, best->step);
  }
}

TEST_F(MetricStoreTest, SinglePointsArePackedAndTheLogStaysShort) {
  const auto run = new_run("single");
  for (std::int64_t step = 0; step < 1'000; ++step) {
    ASSERT_TRUE(ok(tracking_->log_metric(
        run, {.key = "loss", .value = 1.0, .timestamp_ms = step, .step = step})));
  }
  EXPECT_LT(count("run_metric_log"), 256);
  EXPECT_EQ(count("run_metric_chunks"), 3);  // every 256 of them
  EXPECT_EQ(history(run, "loss").size(), 1'000U);
}

TEST_F(MetricStoreTest, PagesFarInsideALongHistoryAreExact) {
  const auto run = new_run("long");
  for (std::int64_t batch = 0; batch < 50; ++batch) {
    Batch points;
    for (std::int64_t i = 0; i < 1'000; ++i) {
      const std::int64_t step = batch * 1'000 + i;
      points.metrics.push_back({.key = "m", .value = 0.5, .timestamp_ms = step, .step = step});
    }
    ASSERT_TRUE(ok(tracking_->log_batch(run, points)));
  }
  std::string token;
  std::int64_t next = 0;
  for (int page = 0; page < 3; ++page) {
    const auto read = tracking_->metric_history(run, "m", 17'003, token);
    ASSERT_TRUE(ok(read));
    for (const auto& metric : read->items) ASSERT_EQ(metric.step, next++);
    token = read->next_page;
  }
  EXPECT_EQ(next, 50'000);
  EXPECT_EQ(token, "");
  const auto sampled = tracking_->sample_history(run, "m", 320, {.first = 10, .last = 40'000});
  ASSERT_TRUE(ok(sampled));
  EXPECT_EQ(sampled->size(), 320U);
  EXPECT_EQ(sampled->front().step, 10);
  EXPECT_EQ(sampled->back().step, 40'000);
}

// What a version before the chunks wrote.
TEST_F(MetricStoreTest, PointsOfTheOldTableAreRead) {
  const auto run = new_run("old");
  ASSERT_TRUE(ok(db_->write([](db::Transaction& tx) -> Result<void> {
    for (int step = 0; step < 5; ++step) {
      auto put = tx.run(
          "INSERT INTO run_metrics(run, key, timestamp_ms, step, value, is_nan) "
          "SELECT seq, 'm', ?1, ?1, 0, ?2 FROM runs",
          step, step == 2);
      if (!put) return put;
    }
    return {};
  })));
  ASSERT_TRUE(
      ok(tracking_->log_metric(run, {.key = "m", .value = 0, .timestamp_ms = 4, .step = 4})));
  ASSERT_TRUE(
      ok(tracking_->log_metric(run, {.key = "m", .value = 0, .timestamp_ms = 9, .step = 9})));
  const auto points = history(run, "m");
  ASSERT_EQ(points.size(), 6U);
  EXPECT_TRUE(std::isnan(points[2].value));
  EXPECT_EQ(points[5].step, 9);
}

TEST_F(MetricStoreTest, ARefusedBatchLeavesNothing) {
  const auto run = new_run("refused");
  Batch batch;
  batch.metrics = {{.key = "m", .value = 1, .timestamp_ms = 1, .step = 1}};
  batch.params = {{"p", "1"}, {"p", "2"}};
  EXPECT_EQ(tracking_->log_batch(run, batch).error().code, Code::invalid_argument);
  batch.params = {{"p", "1"}};
  batch.metrics[0].timestamp_ms = -1;
  EXPECT_EQ(tracking_->log_batch(run, batch).error().code, Code::invalid_argument);
  std::promise<Result<void>> asked;
  tracking_->log_batch_async({"nobody"}, {.metrics = {{.key = "m"}}},
                             [&](Result<void> outcome) { asked.set_value(outcome); });
  EXPECT_EQ(asked.get_future().get().error().code, Code::not_found);
  EXPECT_TRUE(history(run, "m").empty());
  EXPECT_TRUE(tracking_->run(run)->params.empty());
}

TEST_F(MetricStoreTest, DatasetsOfExperimentsAreListedOnce) {
  const auto a = new_run("a");
  const auto b = new_run("b");
  const DatasetInput input{.name = "flights",
                           .digest = "d",
                           .source_type = "local",
                           .source = "s",
                           .tags = {{"mlflow.data.context", "training"}}};
  ASSERT_TRUE(ok(tracking_->log_inputs(a, {{input}})));
  ASSERT_TRUE(ok(tracking_->log_inputs(b, {{input}})));
  const std::vector<ExperimentId> experiments = {kDefaultExperiment};
  const auto found = tracking_->search_datasets(experiments);
  ASSERT_TRUE(ok(found));
  ASSERT_EQ(found->size(), 1U);
  EXPECT_EQ(found->front().context, "training");
}

}  // namespace
}  // namespace slipway::tracking
