// Moving out: everything tracking, the registry and the audit log hold, as Parquet files that any
// tool reads, with a manifest (docs/reference/moving.md describes the files).
//   auto report = export_parquet(ctx, db, clock, {.folder = "out"}, {});
// One snapshot of the database: what is written meanwhile is not in it. The folder appears whole,
// durable and only at the end; an export that was cut off leaves nothing of that name. Rows go from
// the database to the files in pieces, so memory stays flat. Blocks.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/result.h"

namespace slipway::db {
class Database;
}

namespace slipway::transfer {

struct ExportOptions {
  std::filesystem::path folder;  // must not be there yet
  std::vector<std::string>
      experiments;  // names; empty: all. With some, registry and audit stay out
};

struct ExportedTable {
  std::string name;
  std::string file;
  std::int64_t rows = 0;
  std::int64_t bytes = 0;
  std::string sha256;
};

struct ExportReport {
  std::vector<ExportedTable> tables;
  Json to_json() const;  // the manifest
  Time at;
  std::vector<std::string> experiments;
};

// The table being written, and its rows so far.
using ExportObserver = std::function<void(const std::string& table, std::int64_t rows)>;

// already_exists when the folder is there; not_found for an experiment that is not.
Result<ExportReport> export_parquet(const Context& ctx, const db::Database& db, const Clock& clock,
                                    const ExportOptions& options, const ExportObserver& observer);

}  // namespace slipway::transfer
