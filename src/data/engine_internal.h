// How the files of the engine work on one connection. Private to this folder.
#pragma once
#include "data/duckdb_internal.h"
#include "data/engine.h"

namespace slipway::data::duck {

struct Column {
  std::string name;
  Target target;
  duckdb_type raw = DUCKDB_TYPE_VARCHAR;
};

// A statement that was prepared: bound, typed, not run.
struct Bound {
  Prepared statement;
  std::vector<Column> columns;
};

// One SELECT of the user's; anything else is invalid_argument.
Result<Bound> bind_select(duckdb_connection connection, std::string_view sql);
Result<Bound> bind_select(duckdb_connection connection, std::string_view sql, const SqlText& place);

// "SELECT CAST("year" AS BIGINT) AS "year", … FROM (<sql>) AS t("year", …)", and where <sql> begins
// in it.
struct Wrapped {
  std::string sql;
  std::size_t begin = 0;
};
Wrapped wrap(std::string_view sql, const std::vector<Column>& columns);
// The user's text up to its first semicolon (those in quotes and comments do not count).
std::string_view first_statement(std::string_view sql);

// Runs statements for their effect.
Result<void> run(duckdb_connection connection, const std::string& sql, const SqlText& text = {});
// The first column of the result as texts; nulls are empty.
Result<std::vector<std::string>> texts(duckdb_connection connection, const std::string& sql);
Result<std::int64_t> single_integer(duckdb_result* result);

// A source within reach: what DuckDB reads for it.
struct Reached {
  Source source;
  std::vector<std::filesystem::path> files;     // or URLs
  std::string relation;                         // of a database or a table format; empty: `files`
  std::string shown;                            // for messages; without secrets
  std::map<std::string, std::int64_t> offsets;  // Kafka: where to go on next time
};

// Loads what the source needs (extensions, secrets, an attached database), and writes what DuckDB
// cannot read itself (standard input, Arrow, Kafka) into files of `spool`. Values of secrets are
// added to `secrets`.
Result<Reached> reach(const Context& ctx, duckdb_connection connection, const Source& source,
                      const std::filesystem::path& spool, std::vector<std::string>& secrets);
// The remote objects that the source's paths stand for, with sizes, times and etags.
// Of a database or a topic: nothing.
Result<std::vector<FileFacts>> remote_facts(const Context& ctx, duckdb_connection connection,
                                            const Source& source,
                                            std::vector<std::string>& secrets);

// The SELECT over a source, in the five types: the body of its view.
Result<std::string> source_sql(duckdb_connection connection, const Reached& reached);

// "flights.csv:12", where a column of a CSV source first holds a text; nothing when it does
// nowhere.
std::optional<std::string> locate(duckdb_connection connection, const Source& source,
                                  const std::string& column, const std::string& text);

}  // namespace slipway::data::duck
