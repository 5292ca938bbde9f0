// What the .cpp files of this folder need of Arrow beside data/table.h. Private: never included by
// other folders.
#pragma once
#include <arrow/type.h>

#include "data/table.h"

namespace slipway::data {

// The Arrow type in which a plain type is held: bool, int64, double, string, timestamp[us] (UTC by
// definition, without zone).
std::shared_ptr<arrow::DataType> arrow_type(Type type);
std::shared_ptr<arrow::Schema> arrow_schema(const Schema& schema);
// The plain types an Arrow schema is brought to; invalid_argument names the column with any other.
Result<Schema> schema_of(const arrow::Schema& from);

}  // namespace slipway::data
