// Columns as they cross module borders: Arrow tables in memory (arrow::Table, forward-declared
// here), a schema of five plain types, and ColumnView, a borrowed look at one contiguous run of
// values in Arrow's own layout. Code that walks values (features, drift, profiles) takes views and
// so runs the same on a Parquet batch and on one row of a request.
#pragma once
#include <arrow/type_fwd.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"

namespace slipway::data {

// The five types every source is brought to: all integers up to 64 bits are int64, floats and
// decimals float64, dates and times timestamps (microseconds since 1970 UTC, int64), everything
// else text (UTF-8, int32 offsets).
enum class Type { boolean, int64, float64, text, timestamp };

std::string_view to_string(Type type);  // "int64"
Result<Type> parse_type(std::string_view text);

struct Field {
  std::string name;
  Type type = Type::text;
  bool nullable = true;
  bool operator==(const Field&) const = default;
};

struct Schema {
  std::vector<Field> fields;
  std::optional<std::size_t> index(std::string_view name) const;
  // The index, or invalid_argument naming the nearest column.
  Result<std::size_t> find(std::string_view name) const;
  std::vector<std::string> names() const;
  Json to_json() const;  // [{"name","type","nullable"}]
  static Result<Schema> from_json(const Json& json);
  bool operator==(const Schema&) const = default;
};

// Borrowed: valid while its owner lives. Layout as in the Arrow columnar format.
struct ColumnView {
  Type type = Type::float64;
  std::int64_t rows = 0;
  std::int64_t offset = 0;  // of row 0 in the buffers (values, bits and text offsets alike)
  const std::uint8_t* validity =
      nullptr;                   // bit per row, least significant first; nullptr: no nulls
  const void* values = nullptr;  // int64_t (int64, timestamp), double (float64), bits (boolean)
  const std::int32_t* text_offsets = nullptr;  // text: rows + 1 offsets from `offset` on
  const char* text_bytes = nullptr;

  bool is_null(std::int64_t row) const {
    if (validity == nullptr) return false;
    const std::int64_t i = offset + row;
    return ((validity[i >> 3] >> (i & 7)) & 1) == 0;
  }
  std::int64_t integer(std::int64_t row) const {
    return static_cast<const std::int64_t*>(values)[offset + row];
  }
  double real(std::int64_t row) const { return static_cast<const double*>(values)[offset + row]; }
  bool boolean(std::int64_t row) const {
    const std::int64_t i = offset + row;
    return ((static_cast<const std::uint8_t*>(values)[i >> 3] >> (i & 7)) & 1) != 0;
  }
  std::string_view text(std::int64_t row) const {
    const std::int32_t begin = text_offsets[offset + row];
    return {text_bytes + begin, static_cast<std::size_t>(text_offsets[offset + row + 1] - begin)};
  }
  // Any non-text value as a double; null is NaN.
  double number(std::int64_t row) const;
  ColumnView slice(std::int64_t begin, std::int64_t count) const {
    ColumnView view = *this;
    view.offset += begin;
    view.rows = count;
    return view;
  }
};

// Some rows of all columns of a schema.
struct Batch {
  const Schema* schema = nullptr;
  std::vector<ColumnView> columns;  // as many as the schema has fields
  std::int64_t rows = 0;
  Batch slice(std::int64_t begin, std::int64_t count) const;
};

using TablePtr = std::shared_ptr<arrow::Table>;

// A table's columns, each combined into one contiguous array, with the views into it. Owns what the
// views borrow.
class Columns {
 public:
  Columns();
  ~Columns();
  Columns(Columns&&) noexcept;
  Columns& operator=(Columns&&) noexcept;
  // Copies only columns that stand in several chunks or in a type that has to be brought to one of
  // the five.
  static Result<Columns> from_table(const TablePtr& table);
  const Schema& schema() const;
  Batch batch() const;
  Result<ColumnView> column(std::string_view name) const;
  std::int64_t rows() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Builds rows column by column in Arrow's layout; reusable after clear() without new allocations.
// Used for requests, tests and the prediction log. Not thread-safe.
class BatchBuilder {
 public:
  explicit BatchBuilder(Schema schema);
  ~BatchBuilder();
  BatchBuilder(BatchBuilder&&) noexcept;
  const Schema& schema() const { return schema_; }
  void clear();
  void append_null(std::size_t column);
  void append_integer(std::size_t column, std::int64_t value);  // int64, timestamp
  void append_real(std::size_t column, double value);           // float64
  void append_boolean(std::size_t column, bool value);
  void append_text(std::size_t column, std::string_view value);
  // A number or text put into a column of any type, converted exactly or refused (invalid_argument
  // names the column): 3 into float64, 3.0 into int64, "2013-01-01" into timestamp; never "3" into
  // a number. Refused: nothing is appended.
  Result<void> append_json(std::size_t column, const Json& value);
  std::int64_t rows(std::size_t column) const;
  // Views of what was appended; valid until the next append or clear. internal error when columns
  // differ in length.
  Result<Batch> batch() const;
  // batch() into a Batch that is kept: no allocation once it has been used.
  Result<void> view(Batch& into) const;
  Result<TablePtr> to_table() const;  // copies

 private:
  struct Column;
  Schema schema_;
  std::vector<Column> columns_;
};

Result<Schema> schema_of(const TablePtr& table);
// A table with a copy of these rows.
Result<TablePtr> table_of(const Batch& batch);
// All rows of tables with one schema, in order; copies nothing.
Result<TablePtr> concatenate(const std::vector<TablePtr>& tables);

}  // namespace slipway::data
