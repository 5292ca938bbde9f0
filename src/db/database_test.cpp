#include "db/database.h"

#include <gtest/gtest.h>

#include "support/database.h"
#include "support/support.h"

namespace slipway::db {
namespace {

using test::failed_with;
using test::ok;

constexpr Migration kOne[] = {
    {1, "init", "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE);"}};
constexpr Migration kTwo[] = {
    {1, "init", "CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT UNIQUE);"},
    {2, "more", "ALTER TABLE t ADD COLUMN size REAL; CREATE INDEX t_size ON t(size);"}};

struct DatabaseTest : ::testing::Test {
  test::Scratch scratch;
  std::unique_ptr<Database> open(Options options = {}) {
    auto db = Database::open(test::database_at(scratch / "test.db"), options);
    EXPECT_TRUE(ok(db));
    return db ? std::move(*db) : nullptr;
  }
  static std::int64_t count(const Database& db) {
    auto n = db.read([](Connection& c) -> Result<std::int64_t> {
      auto rows = c.query("SELECT count(*) FROM t");
      if (!rows) return rows.error();
      rows->next();
      return rows->integer(0);
    });
    EXPECT_TRUE(ok(n));
    return n.value_or(-1);
  }
};

TEST_F(DatabaseTest, ReadsBackEveryKindOfValue) {
  auto db = open();
  ASSERT_TRUE(ok(db->write([](Transaction& tx) -> Result<void> {
    if (auto made = tx.run("CREATE TABLE v(i INTEGER, r REAL, s TEXT, b BLOB, n TEXT)"); !made)
      return made;
    return tx.run("INSERT INTO v VALUES(?, ?, ?, ?, ?)", 9'007'199'254'740'993, 0.1,
                  "odd \xC3\xA9 'text'", Blob{std::string_view("a\0b", 3)},
                  std::optional<std::string>());
  })));
  auto checked = db->read([](Connection& c) -> Result<void> {
    auto rows = c.query("SELECT * FROM v");
    if (!rows) return rows.error();
    EXPECT_TRUE(rows->next());
    EXPECT_EQ(rows->integer(0), 9'007'199'254'740'993);
    EXPECT_EQ(rows->real(1), 0.1);
    EXPECT_EQ(rows->text(2), "odd \xC3\xA9 'text'");
    EXPECT_EQ(rows->text(3), std::string("a\0b", 3));
    EXPECT_FALSE(rows->maybe_text(4).has_value());
    EXPECT_FALSE(rows->next());
    return rows->status();
  });
  EXPECT_TRUE(ok(checked));
}

TEST_F(DatabaseTest, UndoesOnlyTheFailedWriteOfAGroup) {
  auto db = open();
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  std::vector<std::future<bool>> outcomes;
  for (int i = 0; i < 200; ++i) {
    auto promise = std::make_shared<std::promise<bool>>();
    outcomes.push_back(promise->get_future());
    db->write_async(
        [i](Transaction& tx) -> Result<void> {
          if (auto put = tx.run("INSERT INTO t(id, name) VALUES(?, ?)", i, "n" + std::to_string(i));
              !put)
            return put;
          if (i % 3 == 0) return failed_precondition("not this one");
          return {};
        },
        [promise](Result<void> outcome) { promise->set_value(outcome.has_value()); });
  }
  int good = 0;
  for (int i = 0; i < 200; ++i) {
    const bool committed = outcomes[static_cast<std::size_t>(i)].get();
    EXPECT_EQ(committed, i % 3 != 0) << i;
    good += committed ? 1 : 0;
  }
  EXPECT_EQ(count(*db), good);
}

TEST_F(DatabaseTest, NamesAUniqueConstraintAsAlreadyExists) {
  auto db = open();
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  const auto insert = [](Transaction& tx) { return tx.run("INSERT INTO t(name) VALUES('a')"); };
  EXPECT_TRUE(ok(db->write(insert)));
  EXPECT_TRUE(failed_with(db->write(insert), Code::already_exists));
  EXPECT_EQ(count(*db), 1);
}

TEST_F(DatabaseTest, MigratesOnceAndInOrder) {
  {
    auto db = open();
    ASSERT_TRUE(ok(db->migrate("m", kOne)));
    ASSERT_TRUE(ok(db->migrate("m", kOne)));
    ASSERT_TRUE(ok(db->migrate("m", kTwo)));
  }
  auto db = open();
  EXPECT_TRUE(ok(db->migrate("m", kTwo)));
  EXPECT_TRUE(failed_with(db->migrate("m", kOne),
                          Code::failed_precondition));  // an older program refuses a newer file
  constexpr Migration kChanged[] = {kOne[0], {2, "more", "ALTER TABLE t ADD COLUMN other REAL;"}};
  EXPECT_TRUE(failed_with(db->migrate("m", kChanged), Code::data_loss));
}

TEST_F(DatabaseTest, LeavesNothingOfAFailedMigration) {
  auto db = open();
  constexpr Migration kBroken[] = {
      {1, "init", "CREATE TABLE half(id TEXT); CREATE TABLE half(id TEXT);"}};
  EXPECT_FALSE(ok(db->migrate("m", kBroken)));
  constexpr Migration kMended[] = {{1, "init", "CREATE TABLE half(id TEXT);"}};
  EXPECT_TRUE(ok(db->migrate("m", kMended)));
}

TEST_F(DatabaseTest, ListsHoldNumbersTextsOrNothing) {
  auto db = open();
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  ASSERT_TRUE(ok(db->write([](Transaction& tx) {
    return tx.run("INSERT INTO t(id, name) VALUES(1, 'one'), (2, 'two'), (3, 'three')");
  })));
  const auto found = [&](std::string_view condition, const std::optional<std::string>& list) {
    std::string names;
    EXPECT_TRUE(ok(db->read([&](Connection& c) -> Result<void> {
      auto rows = c.query("SELECT name FROM t WHERE " + std::string(condition) +
                              " (SELECT value FROM json_each(?)) ORDER BY id",
                          list);
      if (!rows) return rows.error();
      while (rows->next()) names += rows->text(0) + " ";
      return rows->status();
    })));
    return names;
  };
  EXPECT_EQ(found("id IN", "[1, 3, 7]"), "one three ");
  EXPECT_EQ(found("id NOT IN", "[1, 3]"), "two ");
  EXPECT_EQ(found("name IN", "[\"two\", \"it's\"]"), "two ");
  EXPECT_EQ(found("id IN", "[]"), "");
  EXPECT_EQ(found("name NOT IN", "[]"), "one two three ");
  EXPECT_EQ(found("id IN", std::nullopt), "");
}

TEST_F(DatabaseTest, ATriggerRefusesUntilItIsDropped) {
  auto db = open();
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  constexpr Migration kGuard[] = {
      {1, "init",
       "CREATE TRIGGER t_no_delete BEFORE DELETE ON t\n"
       "BEGIN SELECT RAISE(ABORT, 'rows of t are never deleted'); END;"}};
  ASSERT_TRUE(ok(db->migrate("guard", kGuard)));
  const auto run = [&](std::string_view sql) {
    return db->write([&](Transaction& tx) { return tx.run(sql); });
  };
  ASSERT_TRUE(ok(run("INSERT INTO t(name) VALUES('a')")));
  const auto refused = run("DELETE FROM t");
  EXPECT_TRUE(failed_with(refused, Code::failed_precondition));
  EXPECT_NE(test::message_of(refused).find("never deleted"), std::string::npos);
  EXPECT_EQ(count(*db), 1);
  ASSERT_TRUE(ok(run("DROP TRIGGER IF EXISTS t_no_delete")));
  ASSERT_TRUE(ok(run("DROP TRIGGER IF EXISTS t_no_delete")));
  EXPECT_TRUE(ok(run("DELETE FROM t")));
  EXPECT_EQ(count(*db), 0);
}

TEST_F(DatabaseTest, ReadersSeeASnapshotWhileWritesGoOn) {
  auto db = open();
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  auto seen = db->read([&](Connection& c) -> Result<std::int64_t> {
    auto first = c.query("SELECT count(*) FROM t");
    if (!first) return first.error();
    first->next();
    EXPECT_TRUE(ok(
        db->write([](Transaction& tx) { return tx.run("INSERT INTO t(name) VALUES('later')"); })));
    auto second = c.query("SELECT count(*) FROM t");
    if (!second) return second.error();
    second->next();
    return second->integer(0);
  });
  ASSERT_TRUE(ok(seen));
  EXPECT_EQ(*seen, 0);
  EXPECT_EQ(count(*db), 1);
}

TEST_F(DatabaseTest, NoticesWritesOfAnotherProcess) {
  auto db = open();
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  auto before = db->change_counter();
  ASSERT_TRUE(ok(before));
  auto other = open();
  ASSERT_TRUE(
      ok(other->write([](Transaction& tx) { return tx.run("INSERT INTO t(name) VALUES('a')"); })));
  auto after = db->change_counter();
  ASSERT_TRUE(ok(after));
  EXPECT_NE(*before, *after);
}

TEST_F(DatabaseTest, ManyThreadsWriteWithoutLosingOne) {
  auto db = open({.durable = false});
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 8; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < 50; ++i) {
          EXPECT_TRUE(ok(db->write([&](Transaction& tx) {
            return tx.run("INSERT INTO t(name) VALUES(?)",
                          std::to_string(t) + "/" + std::to_string(i));
          })));
          count(*db);
        }
      });
    }
  }
  EXPECT_EQ(count(*db), 400);
}

TEST_F(DatabaseTest, BackupIsADatabaseOfItsOwn) {
  if (test::on_postgres()) GTEST_SKIP() << "a dump of PostgreSQL is no database yet";
  auto db = open();
  ASSERT_TRUE(ok(db->migrate("m", kOne)));
  ASSERT_TRUE(
      ok(db->write([](Transaction& tx) { return tx.run("INSERT INTO t(name) VALUES('kept')"); })));
  ASSERT_TRUE(ok(db->backup_to(scratch / "copy.db")));
  EXPECT_TRUE(failed_with(db->backup_to(scratch / "copy.db"), Code::already_exists));
  auto copy = Database::open(scratch / "copy.db", {.read_only = true});
  ASSERT_TRUE(ok(copy));
  EXPECT_EQ(count(**copy), 1);
  EXPECT_TRUE(failed_with((*copy)->write([](Transaction& tx) { return tx.run("DELETE FROM t"); }),
                          Code::failed_precondition));
}

TEST_F(DatabaseTest, LeavesOneFileWhenItIsClosed) {
  if (test::on_postgres()) GTEST_SKIP() << "SQLite's files";
  {
    auto db = open();
    ASSERT_TRUE(ok(db->migrate("m", kOne)));
    ASSERT_TRUE(
        ok(db->write([](Transaction& tx) { return tx.run("INSERT INTO t(name) VALUES('a')"); })));
    EXPECT_EQ(count(*db), 1);
    EXPECT_TRUE(ok(db->change_counter()));
    EXPECT_TRUE(std::filesystem::exists(scratch / "test.db-wal"));
  }
  EXPECT_FALSE(std::filesystem::exists(scratch / "test.db-wal"));
  EXPECT_FALSE(std::filesystem::exists(scratch / "test.db-shm"));
}

TEST_F(DatabaseTest, RefusesAFileThatIsNoDatabase) {
  if (test::on_postgres()) GTEST_SKIP() << "PostgreSQL has no file";
  scratch.file("test.db",
               "this is no database, but a text that is long enough to have a header of its own: " +
                   std::string(4096, 'x'));
  EXPECT_TRUE(failed_with(Database::open(scratch / "test.db", {}), Code::data_loss));
}

}  // namespace
}  // namespace slipway::db
