// Disks that are full or fail, locks that are held, servers that go away.
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/mount.h>

#include <atomic>
#include <cstring>
#include <fstream>
#include <thread>

#include "db/database.h"
#include "db/postgres_internal.h"
#include "db/postgres_statistics_internal.h"
#include "db/server_lock.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::db {
namespace {

using test::code_of;
using test::message_of;
using test::ok;

constexpr Migration kTable[] = {{1, "init", "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT);"}};

Result<void> put(Database& db, const std::string& name) {
  return db.write([&](Transaction& tx) { return tx.run("INSERT INTO t(name) VALUES(?)", name); });
}

std::int64_t count(const Database& db) {
  auto n = db.read([](Connection& c) -> Result<std::int64_t> {
    auto rows = c.query("SELECT count(*) FROM t");
    if (!rows) return rows.error();
    if (!rows->next()) return rows->status().error();
    return rows->integer(0);
  });
  EXPECT_TRUE(ok(n));
  return n.value_or(-1);
}

TEST(FullDisk, RefusesWritesKeepsReadingAndRecoversByItself) {
  const test::Scratch scratch;
  const auto root = scratch / "small";
  std::filesystem::create_directory(root);
  if (::mount("tmpfs", root.c_str(), "tmpfs", 0, "size=4m") != 0)
    GTEST_SKIP() << "a small tmpfs could not be mounted; run this test as root";
  struct Unmount {
    std::filesystem::path path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{root};
  auto opened = Database::open(root / "test.db", {});
  ASSERT_TRUE(ok(opened));
  Database& db = **opened;
  ASSERT_TRUE(ok(db.migrate("m", kTable)));
  ASSERT_TRUE(ok(put(db, "kept")));

  {
    std::ofstream ballast(root / "ballast", std::ios::binary);
    const std::string block(1 << 16, 'x');
    while (ballast.write(block.data(), std::ssize(block)).flush()) {
    }
  }
  std::int64_t good = 1;
  Result<void> refused;
  for (int i = 0; i < 1000 && refused; ++i) {
    refused = put(db, std::string(50'000, 'y'));
    good += refused ? 1 : 0;
  }
  EXPECT_EQ(code_of(refused), "storage_full");
  EXPECT_EQ(code_of(put(db, std::string(500'000, 'y'))), "storage_full");
  EXPECT_EQ(count(db), good) << "reads go on, and see what was acknowledged";
  EXPECT_TRUE(ok(db.health())) << "a full disk is no reason to stop for good";

  // One of a group of writes that is too large for the disk does not harm a later one.
  std::filesystem::remove(root / "ballast");
  EXPECT_TRUE(ok(put(db, "after")));
  EXPECT_EQ(count(db), good + 1);
  EXPECT_TRUE(db.check().value_or({"unreadable"}).empty());
}

// SQLite's own file system, with an fsync that fails when it is told to (sqlite.org/vfs.html).
class FailingDisk {
 public:
  FailingDisk() {
    original_ = sqlite3_vfs_find(nullptr);
    vfs_ = *original_;
    vfs_.zName = "failing";
    vfs_.szOsFile = static_cast<int>(sizeof(File)) + original_->szOsFile;
    vfs_.xOpen = open;
    sqlite3_vfs_register(&vfs_, 1);
  }
  ~FailingDisk() {
    sqlite3_vfs_unregister(&vfs_);
    sqlite3_vfs_register(original_, 1);
    failures_left = 0;
  }
  static inline std::atomic<int> failures_left{0};

 private:
  struct File {
    sqlite3_file base;
    sqlite3_io_methods methods;
    sqlite3_file* real() { return reinterpret_cast<sqlite3_file*>(this + 1); }
  };
  static File* file(sqlite3_file* base) { return reinterpret_cast<File*>(base); }
  template <auto Method, class... Args>
  static int pass(sqlite3_file* base, Args... args) {
    sqlite3_file* real = file(base)->real();
    return (real->pMethods->*Method)(real, args...);
  }
  static void unmap_barrier(sqlite3_file* base) {
    sqlite3_file* real = file(base)->real();
    real->pMethods->xShmBarrier(real);
  }
  static int sync(sqlite3_file* base, int flags) {
    if (failures_left > 0) {
      --failures_left;
      return SQLITE_IOERR_FSYNC;
    }
    return pass<&sqlite3_io_methods::xSync>(base, flags);
  }
  static int open(sqlite3_vfs*, const char* name, sqlite3_file* base, int flags, int* out) {
    File* opened = file(base);
    std::memset(static_cast<void*>(opened), 0, sizeof(File));
    const int code = original_->xOpen(original_, name, opened->real(), flags, out);
    if (opened->real()->pMethods == nullptr) return code;
    using M = sqlite3_io_methods;
    opened->methods = {.iVersion = 2,
                       .xClose = pass<&M::xClose>,
                       .xRead = pass<&M::xRead, void*, int, sqlite3_int64>,
                       .xWrite = pass<&M::xWrite, const void*, int, sqlite3_int64>,
                       .xTruncate = pass<&M::xTruncate, sqlite3_int64>,
                       .xSync = sync,
                       .xFileSize = pass<&M::xFileSize, sqlite3_int64*>,
                       .xLock = pass<&M::xLock, int>,
                       .xUnlock = pass<&M::xUnlock, int>,
                       .xCheckReservedLock = pass<&M::xCheckReservedLock, int*>,
                       .xFileControl = pass<&M::xFileControl, int, void*>,
                       .xSectorSize = pass<&M::xSectorSize>,
                       .xDeviceCharacteristics = pass<&M::xDeviceCharacteristics>,
                       .xShmMap = pass<&M::xShmMap, int, int, int, void volatile**>,
                       .xShmLock = pass<&M::xShmLock, int, int, int>,
                       .xShmBarrier = unmap_barrier,
                       .xShmUnmap = pass<&M::xShmUnmap, int>,
                       .xFetch = nullptr,
                       .xUnfetch = nullptr};
    opened->base.pMethods = &opened->methods;
    return code;
  }

  static inline sqlite3_vfs* original_ = nullptr;
  sqlite3_vfs vfs_{};
};

TEST(FailedFsync, RefusesEveryWriteUntilTheProgramRestarts) {
  const test::Scratch scratch;
  const FailingDisk disk;
  {
    auto opened = Database::open(scratch / "test.db", {});
    ASSERT_TRUE(ok(opened));
    Database& db = **opened;
    ASSERT_TRUE(ok(db.migrate("m", kTable)));
    ASSERT_TRUE(ok(put(db, "kept")));
    FailingDisk::failures_left = 1;
    EXPECT_EQ(code_of(put(db, "not kept")), "unavailable");
    EXPECT_EQ(FailingDisk::failures_left, 0);
    // The disk says it is well again, and is not believed.
    EXPECT_EQ(code_of(put(db, "nor this")), "unavailable");
    EXPECT_NE(message_of(put(db, "nor this")).find("restarted"), std::string::npos);
    EXPECT_EQ(code_of(db.health()), "unavailable");
    EXPECT_EQ(count(db), 1) << "reads go on";
  }
  auto again = Database::open(scratch / "test.db", {});
  ASSERT_TRUE(ok(again));
  EXPECT_EQ(count(**again), 1);
  EXPECT_TRUE(ok(put(**again, "after")));
  EXPECT_TRUE(ok((*again)->health()));
}

TEST(Locks, AWriteThatWaitsTooLongForAnotherProcessIsUnavailable) {
  const test::Scratch scratch;
  const auto place = test::database_at(scratch / "test.db");
  auto first = Database::open(place, {});
  ASSERT_TRUE(ok(first));
  ASSERT_TRUE(ok((*first)->migrate("m", kTable)));
  auto second = Database::open(place, {.lock_wait = std::chrono::milliseconds(100)});
  ASSERT_TRUE(ok(second));
  ASSERT_TRUE(ok((*first)->write([&](Transaction& tx) -> Result<void> {
    const auto refused = put(**second, "waits");
    EXPECT_EQ(code_of(refused), "unavailable");
    EXPECT_NE(message_of(refused).find("try again"), std::string::npos);
    return tx.run("INSERT INTO t(name) VALUES('first')");
  })));
  EXPECT_TRUE(ok(put(**second, "second")));
  EXPECT_EQ(count(**first), 2);
}

struct PostgresTest : ::testing::Test {
  void SetUp() override {
    if (!test::on_postgres()) GTEST_SKIP() << "needs SLIPWAY_TEST_DATABASE";
    place = test::database_at(scratch / "test.db").string() +
            "&application_name=slipway%20of%20this%20test";
    auto opened = Database::open(place, {});
    ASSERT_TRUE(ok(opened));
    db = *std::move(opened);
    ASSERT_TRUE(ok(db->migrate("m", kTable)));
  }
  // Cuts all connections to the test's schema but the one that asks.
  Result<void> cut_connections() const {
    SharedCatalog catalog;
    const auto url = parse_postgres_url(place.string());
    if (!url) return url.error();
    auto session = PostgresSession::open(*url, {}, true, catalog);
    if (!session) return session.error();
    auto cut = (*session)->simple(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = "
        "'slipway of this test' AND pid <> pg_backend_pid()");
    if (!cut) return cut.error();
    return {};
  }

  test::Scratch scratch;
  std::filesystem::path place;
  std::unique_ptr<Database> db;
};

TEST_F(PostgresTest, ConnectsAnewAfterItsConnectionsWereCut) {
  ASSERT_TRUE(ok(put(*db, "before")));
  ASSERT_EQ(count(*db), 1);
  ASSERT_TRUE(ok(db->change_counter()));
  ASSERT_TRUE(ok(cut_connections()));
  EXPECT_EQ(count(*db), 1);
  EXPECT_TRUE(ok(put(*db, "after")));
  EXPECT_TRUE(ok(db->change_counter()));
  EXPECT_EQ(count(*db), 2);
}

TEST_F(PostgresTest, RunsAWriteAgainWhoseConnectionIsCutInTheMiddle) {
  int runs = 0;
  const auto outcome = db->write([&](Transaction& tx) -> Result<void> {
    if (auto put = tx.run("INSERT INTO t(name) VALUES('half')"); !put) return put;
    if (++runs == 1) {
      EXPECT_TRUE(ok(cut_connections()));
    }
    return tx.run("INSERT INTO t(name) VALUES('whole')");
  });
  EXPECT_TRUE(ok(outcome));
  EXPECT_EQ(runs, 2);
  EXPECT_EQ(count(*db), 2) << "nothing of the first run is left";
}

TEST_F(PostgresTest, CutsOffAStatementThatTakesTooLong) {
  auto hasty = Database::open(place, {.statement_timeout = std::chrono::milliseconds(100)});
  ASSERT_TRUE(ok(hasty));
  const auto slow = (*hasty)->read([](Connection& c) -> Result<void> {
    auto rows = c.query("--pg SELECT pg_sleep(30)::text");
    return rows ? rows->status() : rows.error();
  });
  EXPECT_EQ(code_of(slow), "deadline_exceeded");
  EXPECT_TRUE(ok(put(**hasty, "quick")));
}

TEST_F(PostgresTest, ReadsManyRowsInBatches) {
  const std::int64_t rows_there = 2 * kBatchRows + 17;
  ASSERT_TRUE(ok(db->write([&](Transaction& tx) {
    return tx.run("--pg INSERT INTO t(name) SELECT 'n' || i FROM generate_series(1, $1) i",
                  rows_there);
  })));
  for (const std::int64_t above : {std::int64_t{0}, rows_there - kBatchRows, rows_there}) {
    std::int64_t seen = 0;
    std::int64_t last = above;
    ASSERT_TRUE(ok(db->read([&](Connection& c) -> Result<void> {
      auto rows = c.query("SELECT id, name FROM t WHERE id > ? ORDER BY id -- many rows\n", above);
      if (!rows) return rows.error();
      while (rows->next()) {
        EXPECT_EQ(rows->integer(0), ++last);
        if (++seen == 3) {  // other queries may go between
          auto other = c.query("SELECT count(*) FROM t");
          if (!other) return other.error();
          EXPECT_TRUE(other->next());
          EXPECT_EQ(other->integer(0), rows_there);
        }
      }
      return rows->status();
    })));
    EXPECT_EQ(seen, rows_there - above);
  }
}

TEST_F(PostgresTest, HasOneServerAtATime) {
  {
    const auto first = ServerLock::acquire(place.string());
    ASSERT_TRUE(ok(first));
    EXPECT_EQ(code_of(ServerLock::acquire(place.string())), "failed_precondition");
    // In a schema of its own another server may run.
    EXPECT_TRUE(ok(ServerLock::acquire(test::database_at(scratch / "other.db").string())));
  }
  EXPECT_TRUE(ok(ServerLock::acquire(place.string())));
}

TEST_F(PostgresTest, KnowsTheSizeOfATableThatHasJustBeenFilled) {
  ASSERT_TRUE(ok(db->write([](Transaction& tx) {
    return tx.run("--pg INSERT INTO t(name) SELECT 'row ' || i FROM generate_series(1, 5000) i");
  })));
  const auto url = parse_postgres_url(place.string());
  ASSERT_TRUE(ok(url));
  SharedCatalog catalog;
  const auto session = PostgresSession::open(*url, {}, true, catalog);
  ASSERT_TRUE(ok(session));
  EXPECT_EQ(*refresh_statistics(**session), 1);
  EXPECT_EQ(*(*session)->ask("SELECT reltuples FROM pg_class WHERE oid = 't'::regclass"), "5000");
  EXPECT_EQ(*refresh_statistics(**session), 0);
}

TEST_F(PostgresTest, OrdersTextsByTheirBytes) {
  for (const char* name : {"b", "B", "a", "_", "\xC3\xA9", "z"}) ASSERT_TRUE(ok(put(*db, name)));
  std::string order;
  ASSERT_TRUE(ok(db->read([&](Connection& c) -> Result<void> {
    auto rows = c.query("SELECT name FROM t ORDER BY name");
    if (!rows) return rows.error();
    while (rows->next()) order += rows->text(0);
    return rows->status();
  })));
  EXPECT_EQ(order, "B_abz\xC3\xA9");
}

TEST_F(PostgresTest, RefusesTextsItCannotHold) {
  EXPECT_EQ(code_of(put(*db, std::string("a\0b", 3))), "invalid_argument");
  EXPECT_EQ(code_of(put(*db, "\xff\xfe")), "invalid_argument");
  EXPECT_TRUE(ok(put(*db, "good")));
}

TEST_F(PostgresTest, SaysNothingOfPasswords) {
  for (const std::string url : {"postgresql://u:hunter2%20secret@127.0.0.1:1/db",
                                "postgresql://u@127.0.0.1:1/db?password=hunter2%20secret",
                                "postgresql://u:hunter2%20secret@127.0.0.1:port/db"}) {
    const auto opened = Database::open(url, {});
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(message_of(opened).find("hunter2"), std::string::npos) << message_of(opened);
  }
}

TEST(PostgresUrls, AreShownWithoutTheirPassword) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"postgresql://u:p@h:5432/d", "postgresql://u@h:5432/d"},
      {"postgres://u:p%40x@h/d?sslmode=require", "postgres://u@h/d?sslmode=require"},
      {"postgresql://h/d?password=p", "postgresql://h/d"},
      {"postgresql://h/d?user=b&password=p&connect_timeout=3",
       "postgresql://h/d?user=b&connect_timeout=3"},
      {"postgresql://u@h/d", "postgresql://u@h/d"},
      {"postgresql:///d", "postgresql:///d"},
  };
  for (const auto& [url, want] : rows) {
    SCOPED_TRACE(url);
    const auto parsed = parse_postgres_url(url);
    ASSERT_TRUE(ok(parsed));
    EXPECT_EQ(parsed->without_password, want);
  }
  EXPECT_EQ(code_of(parse_postgres_url("mysql://h/d")), "invalid_argument");
  EXPECT_EQ(code_of(parse_postgres_url("postgresql://u:p@[h/d")), "invalid_argument");
}

}  // namespace
}  // namespace slipway::db
