// Where a test's database is: the file it names, or, when SLIPWAY_TEST_DATABASE names a PostgreSQL
// database (tests/support/postgres_server.py starts one), a schema in it of that file's own. The
// same file is the same database again, so a test that opens it twice finds what it wrote.
//   auto db = db::Database::open(test::database_at(scratch / "slipway.db"), {});
#pragma once
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/hash.h"

namespace slipway::test {

inline bool on_postgres() {
  return std::getenv("SLIPWAY_TEST_DATABASE") != nullptr;  // NOLINT(concurrency-mt-unsafe)
}

inline std::filesystem::path database_at(const std::filesystem::path& file) {
  const char* url = std::getenv("SLIPWAY_TEST_DATABASE");  // NOLINT(concurrency-mt-unsafe)
  if (url == nullptr) return file;
  return std::string(url) + "?options=-csearch_path%3Dt_" + sha256_hex(file.string()).substr(0, 24);
}

}  // namespace slipway::test
