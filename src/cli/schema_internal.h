// The schemas of all modules in one list, and bringing a home's database up to date: who may, when,
// and what is kept beforehand. docs/adr/0014 gives the reasons.
#pragma once
#include <filesystem>
#include <optional>
#include <span>

#include "base/clock.h"
#include "db/schema.h"

namespace slipway::cli {

// In the order of the layers; a test compares it with what an opened home holds.
std::span<const db::ModuleSchema> all_schemas();

enum class MayMigrate {
  yes,       // the server, which holds the home's lock, and `slipway db migrate`
  if_alone,  // commands that write: when no server has the home
  no,        // commands that only look
};

// Nothing when all is up to date. A database without any schema gets one. Else what is pending is
// run after a copy has been put into <home>/backups, or failed_precondition says what to do.
Result<void> bring_up_to_date(db::Database& db, const std::filesystem::path& home, MayMigrate may,
                              const Clock& clock);

// Copies the database to <home>/backups/<time>-<why>.db (or .dump), and drops all but the newest
// `keep` of that kind. The path of the copy.
inline constexpr int kKeptBackups = 5;
Result<std::filesystem::path> keep_backup(const db::Database& db, const std::filesystem::path& home,
                                          std::string_view why, const Clock& clock);

// "20261124-101500": for the names of files.
std::string name_of_time(Time time);

}  // namespace slipway::cli
