// kill -9, I/O errors and a full disk while a version is written.
#include <gtest/gtest.h>

#include "data/datasets.h"
#include "data/engine.h"
#include "support/crash.h"
#include "support/support.h"

namespace slipway::data {
namespace {

namespace fs = std::filesystem;
using test::ok;

struct CrashHome {
  explicit CrashHome(const fs::path& folder) {
    db = std::move(*db::Database::open((folder / "slipway.db").string(), {}));
    blobs = std::move(*blob::Store::open(folder / "blobs"));
    audit = std::move(*audit::Log::open(*db, folder / "keys", clock));
    datasets = std::move(*DatasetStore::open(*db, *blobs, *audit, clock));
  }
  ManualClock clock{test::kNoon2013};
  std::unique_ptr<db::Database> db;
  std::unique_ptr<blob::Store> blobs;
  std::unique_ptr<audit::Log> audit;
  std::unique_ptr<DatasetStore> datasets;
};

// One version of three row groups, noted once it is acknowledged.
void commit_one(const fs::path& folder) {
  const CrashHome home(folder);
  const auto ref = home.datasets->commit({}, {.name = "rows", .files = {folder / "rows.parquet"}});
  test::note(folder, ref ? ref->version : "failed");
}

TEST(DatasetCrash, LeavesAVersionWholeOrNotAtAll) {
  if (!test::crash_home().empty()) return commit_one(test::crash_home());
  if (!test::kHasFaultPoints) GTEST_SKIP() << "needs fault points: the debug, asan or tsan preset";
  for (const std::string fault :
       {"dataset.piece:2", "blob.tmp_partial:3", "blob.fsync:2", "blob.after_rename:3",
        "dataset.before_commit", "dataset.after_commit", "blob.fsync:2:enospc",
        "blob.tmp_partial:2:enospc", "dataset.piece:3:eio"}) {
    SCOPED_TRACE(fault);
    const test::Scratch scratch;
    auto engine = std::move(*Engine::open({.threads = 1, .temp_dir = scratch.path()}));
    ASSERT_TRUE(ok(engine->write_parquet({}, "SELECT i, sqrt(i) AS x FROM range(300000) t(i)",
                                         scratch / "rows.parquet")));
    (void)test::run_with_fault("DatasetCrash.LeavesAVersionWholeOrNotAtAll", fault, scratch.path());
    const auto told = test::notes(scratch.path());
    const bool acknowledged = !told.empty() && told.front() != "failed";
    const CrashHome home(scratch.path());
    const auto versions = home.datasets->versions("rows");
    ASSERT_TRUE(ok(versions));
    if (acknowledged) {
      EXPECT_EQ(versions->size(), 1U);
    }
    for (const auto& version : *versions) {
      const auto table = home.datasets->load({}, version.ref);
      ASSERT_TRUE(ok(table));
      EXPECT_EQ(Columns::from_table(*table)->rows(), 300'000);
    }
    // What was being written is gone with the process or the next start.
    int left = 0;
    for (const auto& entry : fs::recursive_directory_iterator(scratch / "blobs/tmp"))
      left += entry.is_regular_file() && entry.file_size() > 0 ? 1 : 0;  // lock files are empty
    EXPECT_EQ(left, 0);
    // And the same again works.
    const auto again =
        home.datasets->commit({}, {.name = "rows", .files = {scratch / "rows.parquet"}});
    ASSERT_TRUE(ok(again));
    EXPECT_EQ(home.datasets->versions("rows")->size(), 1U);
  }
}

}  // namespace
}  // namespace slipway::data
