// The schemas of all modules at once: what is pending, and bringing it up to date in one
// transaction. Modules still call Database::migrate for their own; after `migrate_all` that finds
// nothing left to do.
//   auto plan = plan_migrations(*db, {{"jobs", jobs::kMigrations}, …});
//   if (plan && !plan->pending.empty()) done = migrate_all(*db, modules);
#pragma once
#include <span>
#include <string>
#include <vector>

#include "db/database.h"

namespace slipway::db {

struct ModuleSchema {
  std::string_view module;
  std::span<const Migration> migrations;
};

struct PendingMigration {
  std::string module;
  int version;
  std::string name;
};

struct MigrationPlan {
  bool fresh = false;  // the database holds no module's schema yet
  std::vector<PendingMigration> pending;
};

// failed_precondition when the database is newer than these modules, data_loss when a migration it
// was made with has changed since. Reads only.
Result<MigrationPlan> plan_migrations(const Database& db, std::span<const ModuleSchema> modules);

// Everything that is pending, in one transaction under the database's lock: all of it or nothing,
// whatever happens in between. Fault point db.mid_migration stands before each migration.
Result<void> migrate_all(Database& db, std::span<const ModuleSchema> modules);

// The highest version of each module that the database holds, by name.
struct ModuleVersion {
  std::string module;
  std::int64_t version;
};
Result<std::vector<ModuleVersion>> schema_versions(const Database& db);

}  // namespace slipway::db
