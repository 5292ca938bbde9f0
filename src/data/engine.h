// SQL over files and tables, by an embedded in-memory DuckDB.
//   auto engine = Engine::open({.memory_limit_mb = 512, .temp_dir = home / "tmp"});
//   engine->add_source("flights", *Source::of_file("flights.csv"));
//   auto table = engine->query(ctx, "SELECT carrier, avg(dep_delay) AS delay FROM flights GROUP BY
//   carrier");
// Results, and the relations themselves, have the five plain types only: times are UTC. `ASOF JOIN`
// is there. Errors are in our own words and tell the line and column in the SQL, or the file and
// line in the data. What exceeds the memory limit is spilled to temp_dir. No extension is ever
// downloaded, and no value of a credential stands in an error. Thread-safe: queries run side by
// side, each on a connection of its own. A query ends early, with ctx's error, when it is cancelled
// or late.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/result.h"
#include "data/source.h"
#include "data/table.h"

namespace slipway::data {

struct EngineOptions {
  std::int64_t memory_limit_mb = 512;
  int threads = 0;                 // 0: default_threads()
  std::filesystem::path temp_dir;  // empty: the system's
  // When not empty, SQL can reach files in these folders only (and in temp_dir).
  std::vector<std::filesystem::path> allowed_folders;
  Result<void> validate() const;
};

// Where a text of SQL stands, so that an error can name the place in the file it came from.
struct SqlOrigin {
  std::string file;  // empty: messages count lines and columns in the SQL itself
  int line = 1;      // of the SQL's first line
  int indent = 0;    // columns left of every line
  bool exact =
      true;  // false: `file` is a place already, and the SQL was made from what stands there
};

// What adding a source told beside its columns.
struct AddedSource {
  // Kafka: of each partition, the offset to go on with next time.
  std::map<std::string, std::int64_t> offsets;
};

class Engine {
 public:
  static Result<std::unique_ptr<Engine>> open(const EngineOptions& options);
  ~Engine();

  // `name` becomes a relation over the files, replacing one of that name. Types are settled now: a
  // file that does not fit (missing, empty, ragged, of the wrong type) fails here or, beyond the
  // sample, in the query that reads it.
  Result<void> add_source(const std::string& name, const Source& source);
  // The same for sources that take their time to be reached (remote, databases, Kafka).
  Result<AddedSource> add_source(const Context& ctx, const std::string& name, const Source& source);
  // The files or objects behind a source, with what identifies their bytes: SHA-256 of local ones,
  // size and etag of remote ones. A database or a topic has none.
  Result<std::vector<FileFacts>> facts(const Context& ctx, const Source& source);
  Result<void> add_table(const std::string& name, const TablePtr& table);  // copies
  std::vector<std::string> relations() const;                              // names, sorted
  std::optional<Source> source_of(const std::string& name) const;  // of a relation over files

  // `name` becomes a relation over a SELECT, evaluated when it is read. Its columns are as the SQL
  // gives them, not yet of the five types.
  Result<void> define(const std::string& name, const std::string& sql,
                      const SqlOrigin& origin = {});

  // One SELECT (or VALUES, or FROM ...).
  Result<TablePtr> query(const Context& ctx, const std::string& sql, const SqlOrigin& origin = {});
  Result<Schema> describe(const std::string& sql,
                          const SqlOrigin& origin = {});  // without running it
  // Rows written. ZSTD; in the order of the SQL. The same rows in the same order give the same
  // bytes, whatever the number of threads. Nothing is left at `file` after an error.
  Result<std::int64_t> write_parquet(const Context& ctx, const std::string& sql,
                                     const std::filesystem::path& file,
                                     const SqlOrigin& origin = {});
  // Statements for their effect (CREATE TABLE ... AS ...). Not for texts from outside.
  Result<void> execute(const std::string& sql);

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// "name" with its quotes, safe to put into SQL; and 'text'.
std::string quote_name(std::string_view name);
std::string quote_text(std::string_view text);

}  // namespace slipway::data
