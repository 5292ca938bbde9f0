// Where a home keeps its metadata: in <home>/slipway.db, or in the PostgreSQL database that
// <home>/database.json names since it was first used with one. The password is never kept: it comes
// from the environment (PGPASSWORD, SLIPWAY_DATABASE) or a file (passfile= in the URL, ~/.pgpass).
#pragma once
#include <filesystem>
#include <string>

#include "base/result.h"

namespace slipway::cli {

struct Place {
  std::filesystem::path file_or_url;  // for db::Database::open
  std::string url;                    // without a password; empty: SQLite
  bool known = false;                 // the home has been used before
};

// `wanted` is --database or SLIPWAY_DATABASE, or empty. failed_precondition when the home keeps its
// metadata elsewhere.
Result<Place> find_place(const std::filesystem::path& home, const std::string& wanted);

// After the database was opened and found to be slipway's: the next command need not name it.
Result<void> remember_place(const std::filesystem::path& home, const Place& place);

}  // namespace slipway::cli
