// What the .cpp files of this folder need of Arrow beside data/table.h. Private: never included by
// other folders.
#pragma once
#include <arrow/type.h>

#include <filesystem>

#include "data/table.h"

namespace slipway::data {

// The Arrow type in which a plain type is held: bool, int64, double, string, timestamp[us] (UTC by
// definition, without zone).
std::shared_ptr<arrow::DataType> arrow_type(Type type);
std::shared_ptr<arrow::Schema> arrow_schema(const Schema& schema);
// The plain types an Arrow schema is brought to; invalid_argument names the column with any other.
Result<Schema> schema_of(const arrow::Schema& from);

// The table with each column brought to its plain type; columns that are so already are shared, not
// copied.
Result<TablePtr> plain_table(const TablePtr& table);

// What a Parquet file says of itself.
struct ParquetFacts {
  Schema schema;
  std::int64_t rows = 0;
};
Result<ParquetFacts> parquet_facts(const std::filesystem::path& file);

}  // namespace slipway::data
