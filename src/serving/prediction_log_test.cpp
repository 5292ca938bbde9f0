#include "serving/prediction_log.h"

#include <arrow/api.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <numeric>
#include <thread>

#include "base/file.h"
#include "base/ids.h"
#include "base/log.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

namespace fs = std::filesystem;
using test::kNoon2013;
using test::ok;

const data::Schema kInputs{.fields = {{.name = "carrier", .type = data::Type::text},
                                      {.name = "temp", .type = data::Type::float64},
                                      {.name = "seats", .type = data::Type::int64},
                                      {.name = "holiday", .type = data::Type::boolean},
                                      {.name = "time_hour", .type = data::Type::timestamp}}};

Time hour(int n) { return kNoon2013 + std::chrono::hours(n); }

// Row i: its values follow from i; every seventh temp is missing.
void add_row(data::BatchBuilder& rows, int i) {
  rows.append_text(0, "C" + std::to_string(i));
  if (i % 7 == 0) {
    rows.append_null(1);
  } else {
    rows.append_real(1, i + 0.5);
  }
  rows.append_integer(2, i * 10);
  rows.append_boolean(3, i % 2 == 0);
  rows.append_integer(4, to_micros(hour(i)));
}

class PredictionLogTest : public testing::Test {
 protected:
  PredictionLogTest() { log::set_level(log::Level::off); }
  ~PredictionLogTest() override { log::set_level(log::Level::info); }

  void open(PredictionLogOptions options = {}) {
    log_.reset();
    auto opened = PredictionLog::open(root(), options);
    ASSERT_TRUE(ok(opened));
    log_ = std::move(*opened);
  }
  fs::path root() const { return scratch_ / "predictions"; }
  fs::path wal(int number) const { return root() / ".wal" / fmt::format("{:08}.wal", number); }

  Result<void> append(int first, int count = 1, std::string_view deployment = "flights") {
    data::BatchBuilder rows(kInputs);
    std::vector<std::string> ids;
    std::vector<double> scores;
    for (int i = first; i < first + count; ++i) {
      add_row(rows, i);
      ids.push_back(fmt::format("{}-{}", deployment, i));
      scores.push_back(i / 1000.0);
    }
    const auto batch = rows.batch();
    if (!batch) return batch.error();
    return log_->append({.deployment = deployment,
                         .time = hour(first),
                         .version = 3,
                         .alias = "champion",
                         .latency_us = 17,
                         .ids = ids,
                         .scores = scores,
                         .inputs = &*batch});
  }
  Result<void> append_shadow(int i) {
    const std::vector<std::string> ids = {fmt::format("flights-{}", i)};
    const std::vector<double> scores = {0.25};
    return log_->append({.deployment = "flights",
                         .time = hour(i),
                         .version = 4,
                         .role = Role::shadow,
                         .alias = "challenger",
                         .ids = ids,
                         .scores = scores});
  }
  // The numbers in the ids of what read() gives, in its order.
  std::vector<int> numbers(Time from = Time::min(), Time to = Time::max() - Duration(1),
                           const PredictionLog::ReadOptions& options = {}) {
    auto table = log_->read("flights", from, to, options);
    EXPECT_TRUE(ok(table));
    if (!table) return {};
    const auto columns = data::Columns::from_table(*table);
    EXPECT_TRUE(ok(columns));
    std::vector<int> all;
    for (std::int64_t row = 0; row < columns->rows(); ++row) {
      const auto id = columns->batch().columns[0].text(row);
      all.push_back(std::stoi(std::string(id.substr(id.find('-') + 1))));
    }
    return all;
  }
  static std::vector<int> upto(int count) {
    std::vector<int> all(static_cast<std::size_t>(count));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }

  test::Scratch scratch_;
  std::unique_ptr<PredictionLog> log_;
};

TEST_F(PredictionLogTest, GivesBackWhatWasAppended) {
  open();
  ASSERT_TRUE(ok(append(0, 10)));
  ASSERT_TRUE(ok(append_shadow(3)));
  for (const bool sealed : {false, true}) {
    SCOPED_TRACE(sealed);
    if (sealed) {
      ASSERT_TRUE(ok(log_->seal()));
    }
    const auto table = log_->read("flights", hour(0), hour(100));
    ASSERT_TRUE(ok(table));
    EXPECT_EQ(
        (*table)->schema()->field_names(),
        (std::vector<std::string>{"id", "time", "version", "role", "alias", "latency_us", "score",
                                  "carrier", "temp", "seats", "holiday", "time_hour"}));
    ASSERT_EQ((*table)->num_rows(), 11);
    const auto columns = data::Columns::from_table(*table);
    ASSERT_TRUE(ok(columns));
    const auto batch = columns->batch();
    EXPECT_EQ(batch.columns[0].text(2), "flights-2");
    EXPECT_EQ(from_micros(batch.columns[1].integer(2)), hour(0));
    EXPECT_EQ(batch.columns[2].integer(2), 3);
    EXPECT_EQ(batch.columns[3].text(2), "primary");
    EXPECT_EQ(batch.columns[5].integer(2), 17);
    EXPECT_EQ(batch.columns[6].real(2), 0.002);
    EXPECT_EQ(batch.columns[7].text(9), "C9");
    EXPECT_TRUE(batch.columns[8].is_null(7));
    EXPECT_EQ(batch.columns[8].real(8), 8.5);
    EXPECT_EQ(batch.columns[9].integer(9), 90);
    EXPECT_FALSE(batch.columns[10].boolean(9));
    EXPECT_EQ(from_micros(batch.columns[11].integer(9)), hour(9));
    EXPECT_EQ(batch.columns[3].text(10), "shadow");
    EXPECT_EQ(batch.columns[4].text(10), "challenger");
    EXPECT_TRUE(batch.columns[7].is_null(10));
    EXPECT_EQ(log_->count("flights"), 10);
    EXPECT_EQ(log_->count("flights", Role::shadow), 1);
    EXPECT_EQ(log_->watermark("flights"), hour(0));
    EXPECT_EQ(log_->deployments(), std::vector<std::string>{"flights"});
  }
}

TEST_F(PredictionLogTest, ReadsHalfOpenRangesRolesAndColumns) {
  open({.seal_rows = 8});
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(ok(append(i)));
  ASSERT_TRUE(ok(append_shadow(5)));
  EXPECT_EQ(numbers(hour(5), hour(12), {.columns = {}, .role = Role::primary}),
            (std::vector<int>{5, 6, 7, 8, 9, 10, 11}));
  EXPECT_EQ(numbers(hour(5), hour(6), {.columns = {}, .role = Role::shadow}),
            (std::vector<int>{5}));
  EXPECT_EQ(numbers(hour(50), hour(60)), std::vector<int>{});
  const auto table = log_->read("flights", hour(7), hour(9),
                                {.columns = {"id", "score", "carrier"}, .role = Role::primary});
  ASSERT_TRUE(ok(table));
  EXPECT_EQ((*table)->schema()->field_names(),
            (std::vector<std::string>{"id", "score", "carrier"}));
  EXPECT_EQ((*table)->num_rows(), 2);
  const auto nothing = log_->read("flights", hour(50), hour(60));
  ASSERT_TRUE(ok(nothing));
  EXPECT_EQ((*nothing)->num_columns(), 12);
  EXPECT_TRUE(test::failed_with(log_->read("trains", hour(0), hour(1)), Code::not_found));
}

TEST_F(PredictionLogTest, SurvivesReopeningAndGoesOnInTheSameFile) {
  open();
  ASSERT_TRUE(ok(append(0, 5)));
  open();
  ASSERT_TRUE(ok(append(5, 5)));
  open();
  EXPECT_EQ(numbers(), upto(10));
  EXPECT_FALSE(fs::exists(wal(2)));
  EXPECT_EQ(log_->stats().torn_bytes, 0);
}

TEST_F(PredictionLogTest, FindsOneRowByItsIdBeforeAndAfterSealing) {
  open();
  ASSERT_TRUE(ok(append(0, 30)));
  for (const bool sealed : {false, true}) {
    SCOPED_TRACE(sealed);
    if (sealed) {
      ASSERT_TRUE(ok(log_->seal()));
    }
    EXPECT_TRUE(log_->contains("flights-14"));
    EXPECT_FALSE(log_->contains("flights-30"));
    const auto found = log_->find("flights-14");
    ASSERT_TRUE(ok(found));
    EXPECT_EQ(found->deployment, "flights");
    EXPECT_EQ(found->version, 3);
    EXPECT_EQ(found->score, 0.014);
    const Json want = {{"carrier", "C14"},
                       {"temp", nullptr},
                       {"seats", 140},
                       {"holiday", true},
                       {"time_hour", format_time(hour(14))}};
    EXPECT_EQ(found->inputs, want);
    EXPECT_TRUE(test::failed_with(log_->find("flights-30"), Code::not_found));
  }
}

TEST_F(PredictionLogTest, RefusesAnIdThatWasUsedBefore) {
  open();
  ASSERT_TRUE(ok(append(0, 3)));
  EXPECT_TRUE(test::failed_with(append(2), Code::already_exists));
  EXPECT_TRUE(test::failed_with(append(1, 5), Code::already_exists));  // and keeps none of the five
  ASSERT_TRUE(ok(append(3, 2)));
  ASSERT_TRUE(ok(log_->seal()));
  EXPECT_TRUE(test::failed_with(append(4), Code::already_exists));
  open();
  EXPECT_TRUE(test::failed_with(append(0), Code::already_exists));
  EXPECT_EQ(numbers(), upto(5));
}

TEST_F(PredictionLogTest, RefusesBatchesThatDoNotFit) {
  open();
  const std::vector<std::string> ids = {"a", "b"};
  const std::vector<double> scores = {0.5};
  EXPECT_TRUE(
      test::failed_with(log_->append({.deployment = "flights", .ids = ids, .scores = scores}),
                        Code::invalid_argument));
  for (const char* name : {"", "../x", "a/b", ".wal"}) {
    EXPECT_TRUE(test::failed_with(
        log_->append({.deployment = name, .ids = {ids.data(), 1}, .scores = scores}),
        Code::invalid_argument));
  }
}

TEST_F(PredictionLogTest, SealsFullFilesIntoSegments) {
  open({.seal_rows = 10});
  for (int i = 0; i < 95; ++i) ASSERT_TRUE(ok(append(i)));
  ASSERT_TRUE(ok(log_->seal()));
  EXPECT_EQ(log_->stats().sealed_segments, 10);
  EXPECT_EQ(numbers(), upto(95));
  open({.seal_rows = 10});
  EXPECT_EQ(numbers(), upto(95));
  EXPECT_EQ(numbers(hour(33), hour(36)), (std::vector<int>{33, 34, 35}));
  EXPECT_EQ(log_->watermark("flights"), hour(94));
  EXPECT_EQ(log_->count("flights"), 95);
}

// What a kill leaves when it falls between the rename of the segments and the removal of the
// write-ahead file.
TEST_F(PredictionLogTest, NothingIsDoubledWhenTheSealDidNotFinish) {
  open();
  ASSERT_TRUE(ok(append(0, 20)));
  const fs::path saved = scratch_ / "saved.wal";
  fs::copy_file(wal(1), saved);
  ASSERT_TRUE(ok(log_->seal()));
  ASSERT_TRUE(ok(append(20, 5)));
  log_.reset();
  fs::copy_file(saved, wal(1));
  open();
  EXPECT_EQ(log_->count("flights"), 25);
  EXPECT_EQ(numbers(), upto(25));
  EXPECT_TRUE(test::failed_with(append(7), Code::already_exists));
  ASSERT_TRUE(ok(log_->seal()));
  EXPECT_EQ(numbers(), upto(25));
}

TEST_F(PredictionLogTest, AnUnfinishedWriteIsCutAtEveryByte) {
  open();
  ASSERT_TRUE(ok(append(0, 2)));
  const auto sound = fs::file_size(wal(1));
  ASSERT_TRUE(ok(append(2, 2)));
  log_.reset();
  const auto bytes = read_file(wal(1));
  ASSERT_TRUE(ok(bytes));
  for (std::size_t length = sound + 1; length < bytes->size(); length += 3) {
    SCOPED_TRACE(length);
    std::ofstream(wal(1), std::ios::binary | std::ios::trunc)
        .write(bytes->data(), static_cast<std::streamsize>(length));
    open();
    EXPECT_EQ(numbers(), upto(2));
    EXPECT_EQ(log_->stats().torn_bytes, static_cast<std::int64_t>(length - sound));
    ASSERT_TRUE(ok(append(2, 1)));  // and the log goes on behind the cut
    open();
    EXPECT_EQ(numbers(), upto(3));
    log_.reset();
  }
}

TEST_F(PredictionLogTest, AFileThatWasKilledAtBirthIsTakenUp) {
  open();
  log_.reset();
  for (const std::size_t length : {0u, 3u}) {
    std::ofstream(wal(1), std::ios::binary | std::ios::trunc)
        .write("SLI", static_cast<std::streamsize>(length));
    open();
    ASSERT_TRUE(ok(append(0)));
    open();
    EXPECT_EQ(numbers(), upto(1));
    log_.reset();
  }
}

TEST_F(PredictionLogTest, ADamagedRecordIsSetAsideAndReported) {
  open();
  ASSERT_TRUE(ok(append(0, 2)));
  const auto sound = fs::file_size(wal(1));
  ASSERT_TRUE(ok(append(2, 2)));
  ASSERT_TRUE(ok(append(4, 2)));
  log_.reset();
  auto bytes = read_file(wal(1));
  ASSERT_TRUE(ok(bytes));
  (*bytes)[sound + 30] ^= 0x40;
  std::ofstream(wal(1), std::ios::binary | std::ios::trunc)
      .write(bytes->data(), static_cast<std::streamsize>(bytes->size()));
  open();
  EXPECT_EQ(numbers(), upto(2));
  EXPECT_EQ(log_->stats().damaged_bytes, static_cast<std::int64_t>(bytes->size() - sound));
  EXPECT_EQ(*read_file(fs::path(wal(1)).concat(".damaged")), bytes->substr(sound));
}

TEST_F(PredictionLogTest, MissingIdFilesAreMadeAnew) {
  open();
  ASSERT_TRUE(ok(append(0, 50)));
  ASSERT_TRUE(ok(log_->seal()));
  log_.reset();
  for (const auto& entry : fs::directory_iterator(root() / "flights")) {
    if (entry.path().extension() == ".ids") fs::remove(entry.path());
  }
  open();
  EXPECT_TRUE(log_->contains("flights-49"));
  EXPECT_FALSE(log_->contains("flights-50"));
}

TEST_F(PredictionLogTest, VersionsWithOtherInputsAreReadUnderOneSchema) {
  open();
  ASSERT_TRUE(ok(append(0, 2)));
  const data::Schema changed{.fields = {{.name = "carrier", .type = data::Type::text},
                                        {.name = "seats", .type = data::Type::float64},
                                        {.name = "time", .type = data::Type::int64}}};
  data::BatchBuilder rows(changed);
  rows.append_text(0, "UA");
  rows.append_real(1, 2.5);
  rows.append_integer(2, 77);
  const auto batch = rows.batch();
  const std::vector<std::string> ids = {"flights-2"};
  const std::vector<double> scores = {std::nan("")};
  ASSERT_TRUE(ok(log_->append({.deployment = "flights",
                               .time = hour(2),
                               .version = 4,
                               .ids = ids,
                               .scores = scores,
                               .inputs = &*batch})));
  for (const bool sealed : {false, true}) {
    SCOPED_TRACE(sealed);
    if (sealed) {
      ASSERT_TRUE(ok(log_->seal()));
    }
    const auto table = log_->read("flights", hour(0), hour(10));
    ASSERT_TRUE(ok(table));
    const auto columns = data::Columns::from_table(*table);
    ASSERT_TRUE(ok(columns));
    EXPECT_EQ(columns->rows(), 3);
    const auto seats = columns->column("seats");
    ASSERT_TRUE(ok(seats));
    EXPECT_EQ(seats->type, data::Type::float64);
    EXPECT_TRUE(seats->is_null(0));
    EXPECT_EQ(seats->real(2), 2.5);
    EXPECT_EQ(columns->column("input.time")->integer(2), 77);
    EXPECT_TRUE(columns->column("temp")->is_null(2));
    EXPECT_TRUE(columns->column("score")->is_null(2));
  }
}

TEST_F(PredictionLogTest, OneWriterAtATimeAndReadersBesideIt) {
  open({.seal_rows = 10});
  for (int i = 0; i < 25; ++i) ASSERT_TRUE(ok(append(i)));
  EXPECT_TRUE(test::failed_with(PredictionLog::open(root(), {}), Code::failed_precondition));
  const auto reader = PredictionLog::open(root(), {.read_only = true});
  ASSERT_TRUE(ok(reader));
  EXPECT_EQ((*reader)->count("flights"), 25);
  EXPECT_EQ((*(*reader)->read("flights", hour(0), hour(100)))->num_rows(), 25);
  EXPECT_TRUE(test::failed_with((*reader)->seal(), Code::failed_precondition));
}

TEST_F(PredictionLogTest, ManyWritersShareTheSyncsAndLoseNothing) {
  open({.seal_rows = 300});
  constexpr int kThreads = 4;
  constexpr int kEach = 400;
  std::atomic<int> acknowledged{0};
  std::atomic<bool> stop{false};
  std::jthread reader([&] {
    while (!stop) {
      const auto table =
          log_->read("flights", Time::min(), hour(1'000'000), {.columns = {"id"}, .role = {}});
      if (table) {
        EXPECT_LE((*table)->num_rows(), kThreads * kEach);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < kThreads; ++t) {
      writers.emplace_back([&, t] {
        data::BatchBuilder rows(kInputs);
        for (int i = t * kEach; i < (t + 1) * kEach; ++i) {
          rows.clear();
          add_row(rows, i);
          const auto batch = rows.batch();
          const std::vector<std::string> ids = {fmt::format("flights-{}", i)};
          const std::vector<double> scores = {0.5};
          EXPECT_TRUE(ok(log_->append({.deployment = "flights",
                                       .time = hour(i),
                                       .version = 1,
                                       .new_ids = true,
                                       .ids = ids,
                                       .scores = scores,
                                       .inputs = &*batch},
                                      [&](const Result<void>& result) {
                                        if (result) ++acknowledged;
                                      })));
        }
      });
    }
  }
  stop = true;
  reader.join();
  log_.reset();  // waits for all
  EXPECT_EQ(acknowledged.load(), kThreads * kEach);
  open({.seal_rows = 300});
  auto all = numbers();
  std::ranges::sort(all);
  EXPECT_EQ(all, upto(kThreads * kEach));
}

// ---- kill -9
// --------------------------------------------------------------------------------------------------------

constexpr const char* kChildFolder = "SLIPWAY_TEST_PREDICTION_LOG";

// Not a test: the process that the tests below kill. Appends for ever and prints each number that
// was acknowledged.
TEST_F(PredictionLogTest, DISABLED_WriterProcess) {
  const char* folder = std::getenv(kChildFolder);
  ASSERT_NE(folder, nullptr);
  auto opened = PredictionLog::open(folder, {.seal_rows = 40});
  ASSERT_TRUE(ok(opened));
  log_ = std::move(*opened);
  for (int i = static_cast<int>(log_->count("flights")) + 1000; i < 1'000'000; ++i) {
    if (!append(i)) continue;
    const std::string line = fmt::format("ACK {}\n", i);
    if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) return;
  }
}

// Starts it, kills it after `acks` lines (or waits for its own death), returns what it
// acknowledged.
std::vector<int> run_writer(const fs::path& folder, std::size_t acks, const std::string& fault) {
  std::array<int, 2> ends{};
  EXPECT_EQ(::pipe(ends.data()), 0);
  const pid_t child = ::fork();
  if (child < 0) {
    ADD_FAILURE() << "cannot fork";
    return {};
  }
  if (child == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::close(ends[0]);
    ::setenv(kChildFolder, folder.c_str(),
             1);  // NOLINT(concurrency-mt-unsafe): one thread after fork
    if (!fault.empty())
      ::setenv("SLIPWAY_FAULT", fault.c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
    ::execl("/proc/self/exe", "serving_test",
            "--gtest_filter=PredictionLogTest.DISABLED_WriterProcess",
            "--gtest_also_run_disabled_tests", nullptr);
    ::_exit(127);
  }
  ::close(ends[1]);
  std::vector<int> acknowledged;
  std::FILE* lines = ::fdopen(ends[0], "r");
  std::array<char, 256> line{};
  while (std::fgets(line.data(), line.size(), lines) != nullptr) {
    if (std::string_view(line.data()).starts_with("ACK "))
      acknowledged.push_back(std::stoi(line.data() + 4));
    if (acks > 0 && acknowledged.size() == acks) ::kill(child, SIGKILL);
  }
  std::fclose(lines);
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  return acknowledged;
}

TEST_F(PredictionLogTest, AKilledWriterLosesNothingAcknowledgedAndDoublesNothing) {
  std::vector<std::string> faults(6);  // no fault: killed from outside, wherever it stands
#ifdef SLIPWAY_FAULT_POINTS
  for (const char* point : {"before_append", "after_append", "before_seal", "after_seal"}) {
    for (const int hit : {1, 2, 5}) faults.push_back(fmt::format("predlog.{}:{}:kill", point, hit));
  }
#endif
  std::set<int> acknowledged;
  std::size_t acks = 37;
  for (const auto& fault : faults) {
    SCOPED_TRACE(fault);
    for (const int number : run_writer(root(), fault.empty() ? acks : 0, fault))
      acknowledged.insert(number);
    acks += 41;
    open({.seal_rows = 40});
    const auto all = numbers();
    const std::set<int> unique(all.begin(), all.end());
    EXPECT_EQ(unique.size(), all.size());
    EXPECT_TRUE(std::ranges::includes(unique, acknowledged));
    EXPECT_EQ(log_->count("flights"), static_cast<std::int64_t>(all.size()));
    log_.reset();
  }
  EXPECT_GT(acknowledged.size(), 400u);
}

}  // namespace
}  // namespace slipway::serving
