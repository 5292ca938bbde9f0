// kill -9 in the middle of a migration.
#include <gtest/gtest.h>

#include "db/schema.h"
#include "support/crash.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::db {
namespace {

using test::ok;

constexpr Migration kOne[] = {{1, "init", "CREATE TABLE one(id TEXT);"},
                              {2, "more", "CREATE TABLE more(id TEXT);"}};
constexpr Migration kTwo[] = {{1, "init", "CREATE TABLE two(id TEXT);"}};
constexpr ModuleSchema kSchemas[] = {{"one", kOne}, {"two", kTwo}};

void migrate(const std::filesystem::path& home) {
  const auto db = Database::open(test::database_at(home / "test.db"), {});
  ASSERT_TRUE(ok(db));
  ASSERT_TRUE(ok(migrate_all(**db, kSchemas)));
}

TEST(MigrationCrash, LeavesAllOfItOrNothing) {
  if (!test::crash_home().empty()) return migrate(test::crash_home());
  if (!test::kHasFaultPoints) GTEST_SKIP() << "needs fault points: the debug, asan or tsan preset";
  for (const std::string point :
       {"db.mid_migration:1", "db.mid_migration:2", "db.mid_migration:3", "db.before_commit:1"}) {
    SCOPED_TRACE(point);
    const test::Scratch scratch;
    const int status =
        test::run_with_fault("MigrationCrash.LeavesAllOfItOrNothing", point, scratch.path());
    ASSERT_TRUE(test::killed(status)) << status;
    const auto db = Database::open(test::database_at(scratch / "test.db"), {});
    ASSERT_TRUE(ok(db));
    const auto plan = plan_migrations(**db, kSchemas);
    ASSERT_TRUE(ok(plan));
    EXPECT_TRUE(plan->fresh);
    EXPECT_EQ(plan->pending.size(), 3U);
    // The next start does it.
    ASSERT_TRUE(ok(migrate_all(**db, kSchemas)));
    EXPECT_TRUE(plan_migrations(**db, kSchemas)->pending.empty());
  }
}

}  // namespace
}  // namespace slipway::db
