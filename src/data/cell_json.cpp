#include "data/cell_json.h"

#include "base/clock.h"

namespace slipway::data {

Json cell_json(const ColumnView& column, std::int64_t row) {
  if (column.is_null(row)) return nullptr;
  switch (column.type) {
    case Type::boolean:
      return column.boolean(row);
    case Type::int64:
      return column.integer(row);
    case Type::float64:
      return json_number(column.real(row));
    case Type::text:
      return column.text(row);
    case Type::timestamp:
      return format_time(from_micros(column.integer(row)));
  }
  return nullptr;
}

}  // namespace slipway::data
