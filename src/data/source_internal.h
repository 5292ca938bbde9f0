// How the sources of the engine become the SELECT of a view, in the five plain types. Private to
// this folder.
#pragma once
#include "data/engine_internal.h"

namespace slipway::data::duck {

inline constexpr int kFewRows = 2'048;
inline constexpr int kSampleRows = 102'400;  // looked at for the types of columns declaring none

// How a column is read, and brought to its plain type. Declared times and times with an offset are
// read as text: the readers themselves would drop the offset (TIMESTAMP) or turn what is no time
// into null (with time zone).
struct Reading {
  std::string name;
  std::string type;   // of the reader
  std::string plain;  // the expression over it
};

// `found` as it is declared, else as its target says.
Reading reading_of(const Column& found, const Source& source);
std::string select_plain(const std::vector<Reading>& columns, const std::string& from);
std::string struct_of(const std::vector<Reading>& columns);  // {'a': 'BIGINT', ...}
std::string list_of(const std::vector<std::filesystem::path>& files);

// Columns of a relation, before it is brought to the plain types.
Result<std::vector<Column>> columns_of(duckdb_connection connection, const std::string& from);
// invalid_argument for a declared type of a column that is not there.
Result<void> check_declared(const std::map<std::string, Type>& declared,
                            const std::vector<std::string>& names, const std::string& place);

// Folders named key=value above a file: Hive's way to partition. Their values become columns.
struct Partitions {
  std::vector<Column> columns;  // int64, timestamp or text, after all their values
};
Result<Partitions> partitions_of(const std::vector<std::filesystem::path>& files);
std::string hive_types(const Partitions& partitions);  // ", hive_partitioning = true, ..."

Result<std::string> csv_sql(duckdb_connection connection, const Source& source,
                            const std::vector<std::filesystem::path>& files);

}  // namespace slipway::data::duck
