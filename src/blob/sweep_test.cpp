#include "blob/sweep.h"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>

#include "base/hash.h"
#include "base/json.h"
#include "db/database.h"
#include "support/crash.h"
#include "support/support.h"

namespace slipway::blob {
namespace {

namespace fs = std::filesystem;
using test::ok;
using test::Scratch;

// Later than anything a test puts, by the file system's clock.
Time far_future() { return from_micros(std::int64_t{4'000'000'000} * 1'000'000); }

struct World {
  Scratch scratch;
  std::unique_ptr<Store> store;
  std::unique_ptr<db::Database> db;

  World() {
    store = std::move(*Store::open(scratch / "blobs"));
    db = std::move(*db::Database::open(scratch / "names.db", {}));
    exec("CREATE TABLE names(sha256 TEXT, path TEXT, note TEXT)");
  }
  void exec(const std::string& sql) {
    auto done = db->write([&](db::Transaction& tx) { return tx.run(sql); });
    ASSERT_TRUE(ok(done));
  }
  std::string put(const std::string& bytes) {
    auto ref = store->put_bytes(bytes);
    EXPECT_TRUE(ok(ref));
    return ref->sha256;
  }
  void name(const std::string& sha256, const std::string& path = "", const std::string& note = "") {
    auto done = db->write([&](db::Transaction& tx) {
      return tx.run("INSERT INTO names VALUES(?, ?, ?)", sha256, path, note);
    });
    ASSERT_TRUE(ok(done));
  }
  LiveSet live(const LeaveOut& leave_out = {}) {
    static constexpr RootSource kRoots[] = {
        {.kind = "files",
         .table = "names",
         .sql = "SELECT sha256, path FROM names",
         .manifests = true},
        {.kind = "notes",
         .table = "names",
         .sql = "SELECT note FROM names",
         .exact = false,
         .manifests = true},
    };
    auto marked = mark({}, *db, *store, kRoots, leave_out);
    EXPECT_TRUE(ok(marked));
    return *marked;
  }
  Swept run(const SweepOptions& options = {.put_before = far_future()}) {
    auto swept = sweep({}, *store, live(), options);
    EXPECT_TRUE(ok(swept));
    return *swept;
  }
  fs::path file(const std::string& sha256) const {
    return store->root() / sha256.substr(0, 2) / sha256;
  }
};

TEST(Sweep, KeepsWhatIsNamedAndRemovesTheRest) {
  World world;
  const std::string named = world.put("named");
  const std::string in_text = world.put("in a text");
  const std::string garbage = world.put("garbage");
  world.name(named, "a", "{\"evidence\":\"" + in_text + "\",\"not\":\"" + garbage + "0\"}");
  const Swept said = world.run({.put_before = far_future(), .dry_run = true});
  EXPECT_EQ(said.garbage_digests, std::vector{garbage});
  EXPECT_TRUE(world.store->has(garbage));
  const Swept done = world.run();
  EXPECT_EQ(done.garbage.count, 1);
  EXPECT_EQ(done.garbage.bytes, 7);
  EXPECT_TRUE(world.store->has(named));
  EXPECT_TRUE(world.store->has(in_text));
  EXPECT_FALSE(world.store->has(garbage));
  EXPECT_EQ(done.kept[0].count, 1);
  EXPECT_EQ(done.kept[1].count, 1);
}

TEST(Sweep, KeepsTheFilesOfNamedFolders) {
  World world;
  fs::create_directories(world.scratch / "folder/deep");
  std::ofstream(world.scratch / "folder/a") << "a";
  std::ofstream(world.scratch / "folder/deep/b") << "b";
  const auto tree = world.store->put_tree(world.scratch / "folder");
  ASSERT_TRUE(ok(tree));
  world.put("garbage");
  world.name(tree->sha256);
  EXPECT_EQ(world.run().garbage.count, 1);
  EXPECT_TRUE(ok(world.store->verify_tree(tree->sha256)));
}

TEST(Sweep, SparesYoungBlobsAndThoseThatArePutAgain) {
  World world;
  const std::string old = world.put("old");
  const std::string again = world.put("put again");
  for (const std::string& sha256 : {old, again}) {
    fs::last_write_time(world.file(sha256),
                        fs::file_time_type::clock::now() - std::chrono::hours{48});
  }
  world.put("young");
  world.put("put again");
  const Time yesterday =
      std::chrono::time_point_cast<Duration>(SystemClock().now() - std::chrono::hours{24});
  const Swept swept = world.run({.put_before = yesterday});
  EXPECT_EQ(swept.garbage_digests, std::vector{old});
  EXPECT_EQ(swept.young.count, 2);
  EXPECT_TRUE(world.store->has(again));
}

TEST(Sweep, GoesOnWithoutWhatIsMissing) {
  World world;
  const std::string lost = sha256_hex("never put");
  world.name(lost);
  world.put("garbage");
  const Swept swept = world.run();
  EXPECT_EQ(swept.missing, 1);
  EXPECT_EQ(swept.missing_digests, std::vector{lost});
  EXPECT_EQ(swept.garbage.count, 1);
}

TEST(Sweep, SaysWhichManifestsCannotBeRead) {
  World world;
  fs::create_directory(world.scratch / "folder");
  std::ofstream(world.scratch / "folder/a") << "a";
  const auto tree = world.store->put_tree(world.scratch / "folder");
  ASSERT_TRUE(ok(tree));
  world.name(tree->sha256);
  fs::permissions(world.file(tree->sha256), fs::perms::owner_all);
  std::ofstream(world.file(tree->sha256)) << "{\"files\":[]}";
  EXPECT_EQ(world.live().damaged_manifests, std::vector{tree->sha256});
}

TEST(Sweep, LeavesOutRowsByTheirPath) {
  World world;
  const std::string one = world.put("one");
  world.name(one, "7/run/artifacts/a");
  const LiveSet live = world.live([](std::string_view path) { return path.starts_with("7/run/"); });
  EXPECT_TRUE(live.entries().empty());
}

TEST(Sweep, PutsBackWhatAKilledSweepHadSetAside) {
  World world;
  const std::string named = world.put("named");
  world.name(named);
  fs::rename(world.file(named), world.file(named).parent_path() / (".gc-" + named));
  EXPECT_FALSE(world.store->has(named));
  const Swept swept = world.run();
  EXPECT_EQ(swept.missing, 0);
  EXPECT_TRUE(ok(world.store->verify(named)));
}

TEST(Sweep, StopsWhenItIsCancelled) {
  World world;
  world.put("garbage");
  std::stop_source stop;
  stop.request_stop();
  Context ctx;
  ctx.stop = stop.get_token();
  const auto swept = sweep(ctx, *world.store, world.live(), {.put_before = far_future()});
  EXPECT_TRUE(test::failed_with(swept, Code::cancelled));
}

TEST(Sweep, KilledAnywhereIsFinishedByTheNext) {
  constexpr int kGarbage = 6;
  if (const fs::path home = test::crash_home(); !home.empty()) {
    const auto store = Store::open(home / "blobs");
    ASSERT_TRUE(ok(store));
    LiveSet nothing;
    nothing.finish();
    (void)sweep({}, **store, nothing, {.put_before = far_future()});
    return;
  }
  if (!test::kHasFaultPoints) GTEST_SKIP() << "needs fault points: the debug, asan or tsan preset";
  for (const std::string point : {"sweep_aside", "sweep_removed"}) {
    for (int hit = 1; hit <= 3; ++hit) {
      SCOPED_TRACE(point + " " + std::to_string(hit));
      const Scratch scratch;
      {
        const auto store = Store::open(scratch / "blobs");
        ASSERT_TRUE(ok(store));
        for (int i = 0; i < kGarbage; ++i)
          ASSERT_TRUE(ok((*store)->put_bytes("garbage " + std::to_string(i))));
      }
      const int status =
          test::run_with_fault("Sweep.KilledAnywhereIsFinishedByTheNext",
                               "blob." + point + ":" + std::to_string(hit), scratch.path());
      ASSERT_TRUE(test::killed(status)) << status;
      const auto store = Store::open(scratch / "blobs");
      ASSERT_TRUE(ok(store));
      LiveSet nothing;
      nothing.finish();
      const auto swept = sweep({}, **store, nothing, {.put_before = far_future()});
      ASSERT_TRUE(ok(swept));
      // Gone before the kill: those of the earlier hits, and for the later point this one, too.
      const int gone = point == "sweep_aside" ? hit - 1 : hit;
      EXPECT_EQ(swept->garbage.count, kGarbage - gone);
      for (const auto& entry : fs::recursive_directory_iterator(scratch / "blobs")) {
        if (entry.is_regular_file() && entry.path().parent_path().filename().string().size() == 2)
          ADD_FAILURE() << "left: " << entry.path();
      }
    }
  }
}

}  // namespace
}  // namespace slipway::blob
