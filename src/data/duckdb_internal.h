// DuckDB's C API with owners, and its errors in our words. Private to this folder.
#pragma once
#include <duckdb.h>

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/result.h"
#include "data/engine.h"
#include "data/table.h"

namespace slipway::data::duck {

// Owns one handle of the C API.
template <class T, void (*Free)(T*)>
class Handle {
 public:
  Handle() = default;
  Handle(Handle&& other) noexcept : handle_(std::exchange(other.handle_, T{})) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Handle() { Free(&handle_); }
  T get() const { return handle_; }
  T* out() { return &handle_; }

 private:
  T handle_{};
};

using Database = Handle<duckdb_database, duckdb_close>;
using Config = Handle<duckdb_config, duckdb_destroy_config>;
using Prepared = Handle<duckdb_prepared_statement, duckdb_destroy_prepare>;
using Pending = Handle<duckdb_pending_result, duckdb_destroy_pending>;
using Statements = Handle<duckdb_extracted_statements, duckdb_destroy_extracted>;
using Chunk = Handle<duckdb_data_chunk, duckdb_destroy_data_chunk>;
using LogicalType = Handle<duckdb_logical_type, duckdb_destroy_logical_type>;
using ErrorData = Handle<duckdb_error_data, duckdb_destroy_error_data>;
using ArrowOptions = Handle<duckdb_arrow_options, duckdb_destroy_arrow_options>;
using Connection = Handle<duckdb_connection, duckdb_disconnect>;

class QueryResult {
 public:
  QueryResult() = default;
  QueryResult(const QueryResult&) = delete;
  ~QueryResult() { duckdb_destroy_result(&result_); }
  duckdb_result* get() { return &result_; }

 private:
  duckdb_result result_{};
};

// The text a message is about. Empty: SQL of our own, whose lines and columns say nothing to the
// user.
struct SqlText {
  std::string_view sql;   // as the user wrote it
  std::size_t begin = 0;  // where it stands in what DuckDB was given
  SqlOrigin origin = {};  // where the user wrote it
};

// DuckDB reports with errors_as_json: the kind, the message and the position. `text` gives line and
// column.
Error translate(std::string_view report, const SqlText& text);

// The column and the text of a report that a text is no time: DuckDB does not tell where it stands
// in the file.
struct BadTime {
  std::string column;
  std::string value;
};
std::optional<BadTime> bad_time(std::string_view report);
std::string not_a_time(
    const BadTime& bad);  // "column 'at' holds 'soon', which is not a time such as ..."

// The plain type a column of DuckDB's is brought to, and the name of the DuckDB type to cast it to;
// an empty name: none needed.
struct Target {
  Type type;
  std::string_view cast;
};
Target target_of(duckdb_type type);
std::string_view sql_type(Type type);  // BIGINT …

// Runs DuckDB's work while a watcher interrupts the connection as soon as ctx is cancelled or late.
class Watch {
 public:
  Watch(const Context& ctx, duckdb_connection connection);
  ~Watch();
  Watch(const Watch&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::data::duck
