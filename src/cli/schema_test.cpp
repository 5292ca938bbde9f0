#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <sstream>

#include "base/file.h"
#include "cli/home.h"
#include "cli/place_internal.h"
#include "cli/schema_internal.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::message_of;
using test::ok;

std::map<std::string, std::int64_t> held(const db::Database& db) {
  std::map<std::string, std::int64_t> versions;
  const auto all = schema_versions(db);
  EXPECT_TRUE(ok(all));
  if (all) {
    for (const auto& version : *all) versions[version.module] = version.version;
  }
  return versions;
}

std::map<std::string, std::int64_t> known() {
  std::map<std::string, std::int64_t> versions;
  for (const auto& schema : all_schemas())
    versions[std::string(schema.module)] = schema.migrations.back().version;
  return versions;
}

std::vector<fs::path> backups(const fs::path& home) {
  std::vector<fs::path> copies;
  std::error_code problem;
  for (const auto& entry : fs::directory_iterator(home / "backups", problem))
    copies.push_back(entry.path());
  return copies;
}

struct SchemaTest : ::testing::Test {
  void SetUp() override { ASSERT_TRUE(ok(make_dirs(home))); }
  // As an older slipway left it: with the schema of the first two modules.
  std::unique_ptr<db::Database> old_database() {
    auto db = db::Database::open(test::database_at(home / "slipway.db"), {});
    EXPECT_TRUE(ok(db));
    EXPECT_TRUE(ok(migrate_all(**db, all_schemas().first(2))));
    return *std::move(db);
  }

  test::Scratch scratch;
  fs::path home = scratch / "home";
  ManualClock clock{test::kNoon2013};
};

TEST_F(SchemaTest, ListsWhatAnOpenedHomeHolds) {
  if (test::on_postgres()) GTEST_SKIP() << "a home of its own is SQLite's";
  const auto opened = Home::open(home, {});
  ASSERT_TRUE(ok(opened));
  EXPECT_EQ(held((*opened)->db()), known());
}

TEST_F(SchemaTest, ANewDatabaseIsMadeByWhoeverComesFirst) {
  auto db = db::Database::open(test::database_at(home / "slipway.db"), {});
  ASSERT_TRUE(ok(db));
  ASSERT_TRUE(ok(bring_up_to_date(**db, home, MayMigrate::no, clock)));
  EXPECT_EQ(held(**db), known());
  EXPECT_TRUE(backups(home).empty());
}

TEST_F(SchemaTest, OnlyWhoMayMigratesAnOldDatabase) {
  const auto db = old_database();
  const auto before = held(*db);
  const auto looking = bring_up_to_date(*db, home, MayMigrate::no, clock);
  EXPECT_EQ(code_of(looking), "failed_precondition");
  EXPECT_NE(message_of(looking).find("slipway db migrate"), std::string::npos);
  {
    const auto server = FileLock::acquire(home / "server.lock", "the home");
    ASSERT_TRUE(ok(server));
    EXPECT_EQ(code_of(bring_up_to_date(*db, home, MayMigrate::if_alone, clock)),
              "failed_precondition");
  }
  EXPECT_EQ(held(*db), before);
  EXPECT_TRUE(backups(home).empty());

  ASSERT_TRUE(ok(bring_up_to_date(*db, home, MayMigrate::if_alone, clock)));
  EXPECT_EQ(held(*db), known());
  const auto copies = backups(home);
  ASSERT_EQ(copies.size(), 1U);
  if (test::on_postgres()) return;
  EXPECT_EQ(copies[0].filename(), "20130401-120000-before-migration.db");
  const auto copy = db::Database::open(copies[0], {.read_only = true});
  ASSERT_TRUE(ok(copy));
  EXPECT_EQ(held(**copy), before);
}

TEST_F(SchemaTest, KeepsTheNewestCopies) {
  const auto db = old_database();
  for (int i = 0; i < kKeptBackups + 3; ++i) {
    clock.advance(std::chrono::seconds(1));
    ASSERT_TRUE(ok(keep_backup(*db, home, "before-migration", clock)));
  }
  const auto copies = backups(home);
  EXPECT_EQ(std::ssize(copies), kKeptBackups);
  for (const auto& copy : copies) EXPECT_GT(copy.filename().string(), "20130401-120003");
}

TEST_F(SchemaTest, AnOlderProgramRefusesANewerDatabaseAndTouchesNothing) {
  auto db = old_database();
  ASSERT_TRUE(ok(db->write([](db::Transaction& tx) {
    return tx.run(
        "INSERT INTO schema_migrations(module, version, name, sha256) VALUES('jobs', 999, 'later', "
        "'x')");
  })));
  const auto before = held(*db);
  for (const MayMigrate may : {MayMigrate::yes, MayMigrate::if_alone, MayMigrate::no}) {
    const auto refused = bring_up_to_date(*db, home, may, clock);
    EXPECT_EQ(code_of(refused), "failed_precondition");
    EXPECT_NE(message_of(refused).find("999"), std::string::npos);
    EXPECT_NE(message_of(refused).find("newer slipway"), std::string::npos);
  }
  EXPECT_EQ(held(*db), before);
  EXPECT_TRUE(backups(home).empty());
}

TEST_F(SchemaTest, AFailedMigrationLeavesTheSchemaAsItWas) {
  const auto db = old_database();
  const auto before = held(*db);
  constexpr db::Migration kGood[] = {{1, "init", "CREATE TABLE good(id TEXT);"}};
  constexpr db::Migration kBad[] = {
      {1, "init", "CREATE TABLE bad(id TEXT); CREATE TABLE bad(id TEXT);"}};
  const db::ModuleSchema schemas[] = {{"good", kGood}, {"bad", kBad}};
  EXPECT_FALSE(ok(migrate_all(*db, schemas)));
  EXPECT_EQ(held(*db), before);
  EXPECT_TRUE(ok(migrate_all(*db, std::span(schemas).first(1)))) << "no table is left over";
}

// The named statements of a module, as cmake/EmbedSql.cmake cuts them.
std::map<std::string, std::string> statements_of(const fs::path& file) {
  std::map<std::string, std::string> statements;
  std::istringstream lines(read_file(file).value_or(""));
  std::string name;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("-- name: ")) {
      name = line.substr(9);
    } else if (!name.empty()) {
      statements[name] += line + "\n";
    }
  }
  return statements;
}

// "?" and "?3" outside texts and comments.
std::size_t count_parameters(const std::string& sql) {
  std::size_t count = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < sql.size(); ++i) {
    if (sql[i] == '\'') in_text = !in_text;
    if (!in_text && sql.compare(i, 2, "--") == 0) i = std::min(sql.find('\n', i), sql.size() - 1);
    if (in_text || sql[i] != '?') continue;
    const int number = std::atoi(sql.c_str() + i + 1);
    count = std::max(number > 0 ? static_cast<std::size_t>(number) : count + 1, count);
  }
  return count;
}

TEST_F(SchemaTest, EveryNamedStatementOfEveryModuleIsUnderstood) {
  auto db = db::Database::open(test::database_at(home / "slipway.db"), {.durable = false});
  ASSERT_TRUE(ok(db));
  ASSERT_TRUE(ok(migrate_all(**db, all_schemas())));
  std::size_t understood = 0;
  for (const auto& schema : all_schemas()) {
    const fs::path file = fs::path("src") / schema.module / "sql" / "queries.sql";
    for (const auto& [name, sql] : statements_of(file)) {
      SCOPED_TRACE(fmt::format("{}.{}", schema.module, name));
      const std::vector<db::Value> nulls(count_parameters(sql));
      // Nulls break constraints when it is run; it has to be understood before.
      const auto ran = (*db)->write([&](db::Transaction& tx) -> Result<void> {
        auto rows = tx.query_values(sql, nulls);
        if (!rows) return rows.error();
        return failed_precondition("undo");
      });
      const std::string message = message_of(ran);
      EXPECT_EQ(message.find("cannot prepare"), std::string::npos) << message;
      EXPECT_NE(code_of(ran), "unimplemented") << message;
      EXPECT_EQ(message.find("parameters and got"), std::string::npos) << message;
      ++understood;
    }
  }
  EXPECT_GT(understood, 200U);
}

TEST(Place, IsWhatTheHomeRemembers) {
  const test::Scratch scratch;
  const std::string url = "postgresql://u@h/d";
  const auto fresh = find_place(scratch.path(), "");
  ASSERT_TRUE(ok(fresh));
  EXPECT_EQ(fresh->file_or_url, scratch / "slipway.db");
  EXPECT_FALSE(fresh->known);

  const auto first = find_place(scratch.path(), "postgresql://u:secret@h/d");
  ASSERT_TRUE(ok(first));
  EXPECT_EQ(first->url, url);
  ASSERT_TRUE(ok(remember_place(scratch.path(), *first)));
  EXPECT_EQ(read_file(scratch / "database.json").value_or("").find("secret"), std::string::npos);
  for (const std::string wanted : {"", "postgresql://u@h/d", "postgresql://u:other@h/d"}) {
    const auto again = find_place(scratch.path(), wanted);
    ASSERT_TRUE(ok(again)) << wanted;
    EXPECT_EQ(again->url, url);
    EXPECT_TRUE(again->known);
  }
  EXPECT_EQ(code_of(find_place(scratch.path(), "postgresql://u@h/other")), "failed_precondition");
}

TEST(Place, AHomeThatBeganWithSqliteStaysWithIt) {
  const test::Scratch scratch;
  scratch.file("slipway.db", "");
  EXPECT_EQ(code_of(find_place(scratch.path(), "postgresql://u@h/d")), "failed_precondition");
  EXPECT_EQ(code_of(find_place(scratch.path(), "mysql://u@h/d")), "invalid_argument");
  scratch.file("database.json", "{\"uri\": 1}");
  EXPECT_EQ(code_of(find_place(scratch.path(), "")), "invalid_argument");
}

}  // namespace
}  // namespace slipway::cli
