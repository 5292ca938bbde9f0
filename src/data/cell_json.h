// One cell as JSON, as answers and logs show it: null is null, numbers that JSON lacks are as
// json_number() writes them, times are texts in UTC.
#pragma once
#include <cstdint>

#include "base/json.h"
#include "data/table.h"

namespace slipway::data {

Json cell_json(const ColumnView& column, std::int64_t row);

}  // namespace slipway::data
