// Copies of a database that were made with Database::backup_to: looking into one, and putting one
// in a database's place. Nothing here may run beside a program that has the database open, and the
// calls say so when they notice.
//   auto facts = inspect_backup("slipway-2026-11-24.db");
//   if (facts) aside = restore_sqlite("slipway-2026-11-24.db", home / "slipway.db", ".before");
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "db/schema.h"

namespace slipway::db {

struct BackupFacts {
  Backend backend = Backend::sqlite;  // a SQLite file, or a dump of pg_dump
  std::vector<ModuleVersion> schema;  // of a dump: empty, since it says so only once restored
  std::int64_t bytes = 0;
};

// Reads the copy to its end. invalid_argument when the file is no copy of a database, data_loss
// when it is damaged, failed_precondition when it holds something other than slipway's tables.
Result<BackupFacts> inspect_backup(const std::filesystem::path& copy);

// Puts the copy in the place of `database`. The file that was there is kept under its name with
// `aside` behind it; the result names it, empty when there was none. unavailable when another
// process has the database open. Crash-safe: at every moment one whole database is there.
Result<std::filesystem::path> restore_sqlite(const std::filesystem::path& copy,
                                             const std::filesystem::path& database,
                                             const std::string& aside);

// Puts the dump in the place of the schema that slipway has in the database, in one transaction.
// The schema that was there is kept under its name with `aside` behind it, which the result names.
// unavailable when another slipway is connected.
Result<std::string> restore_postgres(const std::filesystem::path& dump, const std::string& url,
                                     const std::string& aside);

}  // namespace slipway::db
