// The Arrow side of data/table.h: schemas and arrays brought to the five plain types.
#include <arrow/api.h>
#include <arrow/util/decimal.h>

#include "data/arrow_internal.h"
#include "data/table.h"

namespace slipway::data {

namespace {

using ArrayPtr = std::shared_ptr<arrow::Array>;

std::optional<Type> plain_type(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::BOOL:
      return Type::boolean;
    case arrow::Type::INT8:
    case arrow::Type::INT16:
    case arrow::Type::INT32:
    case arrow::Type::INT64:
    case arrow::Type::UINT8:
    case arrow::Type::UINT16:
    case arrow::Type::UINT32:
    case arrow::Type::UINT64:
      return Type::int64;
    case arrow::Type::FLOAT:
    case arrow::Type::DOUBLE:
    case arrow::Type::DECIMAL128:
      return Type::float64;
    case arrow::Type::STRING:
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
    case arrow::Type::NA:
      return Type::text;
    case arrow::Type::DATE32:
    case arrow::Type::DATE64:
    case arrow::Type::TIMESTAMP:
      return Type::timestamp;
    case arrow::Type::DICTIONARY: {
      const auto& dictionary = static_cast<const arrow::DictionaryType&>(type);
      return plain_type(*dictionary.value_type());
    }
    default:
      return std::nullopt;
  }
}

// Already in the layout that ColumnView reads.
bool is_plain(const arrow::DataType& type) {
  switch (type.id()) {
    case arrow::Type::BOOL:
    case arrow::Type::INT64:
    case arrow::Type::DOUBLE:
    case arrow::Type::STRING:
      return true;
    case arrow::Type::TIMESTAMP:
      return static_cast<const arrow::TimestampType&>(type).unit() == arrow::TimeUnit::MICRO;
    default:
      return false;
  }
}

Error wrap(const arrow::Status& status, std::string_view column) {
  const Code code = status.IsOutOfMemory() ? Code::resource_exhausted : Code::internal;
  return {code, fmt::format("column '{}': {}", column, status.message())};
}

// Runs `convert` over the values that are not null and builds an array of Builder's type from them.
template <class Builder, class Array, class Convert>
arrow::Result<ArrayPtr> rebuild(const arrow::Array& from, Builder builder, const Convert& convert) {
  const auto& array = static_cast<const Array&>(from);
  ARROW_RETURN_NOT_OK(builder.Reserve(array.length()));
  for (std::int64_t row = 0; row < array.length(); ++row) {
    if (array.IsNull(row)) {
      ARROW_RETURN_NOT_OK(builder.AppendNull());
    } else {
      ARROW_RETURN_NOT_OK(builder.Append(convert(array.GetView(row))));
    }
  }
  return builder.Finish();
}

template <class Array>
arrow::Result<ArrayPtr> widen_integers(const arrow::Array& from) {
  return rebuild<arrow::Int64Builder, Array>(
      from, arrow::Int64Builder(), [](auto value) { return static_cast<std::int64_t>(value); });
}

arrow::Result<ArrayPtr> widen_uint64(const arrow::Array& from) {
  const auto& array = static_cast<const arrow::UInt64Array&>(from);
  for (std::int64_t row = 0; row < array.length(); ++row) {
    if (array.IsValid(row) &&
        array.Value(row) > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return arrow::Status::Invalid("row ", row + 1, " holds ", array.Value(row),
                                    ", which exceeds a signed 64-bit integer");
    }
  }
  return widen_integers<arrow::UInt64Array>(from);
}

template <class Array>
arrow::Result<ArrayPtr> micros_of(const arrow::Array& from, std::int64_t times,
                                  std::int64_t divided_by = 1) {
  arrow::TimestampBuilder builder(arrow::timestamp(arrow::TimeUnit::MICRO),
                                  arrow::default_memory_pool());
  const auto& array = static_cast<const Array&>(from);
  ARROW_RETURN_NOT_OK(builder.Reserve(array.length()));
  for (std::int64_t row = 0; row < array.length(); ++row) {
    if (array.IsNull(row)) {
      ARROW_RETURN_NOT_OK(builder.AppendNull());
      continue;
    }
    std::int64_t value = array.Value(row);
    if (__builtin_mul_overflow(value, times, &value)) {
      return arrow::Status::Invalid("row ", row + 1,
                                    " holds a time beyond what microseconds can express");
    }
    // rounds towards the past, also before 1970
    value = value / divided_by - (value % divided_by < 0 ? 1 : 0);
    ARROW_RETURN_NOT_OK(builder.Append(value));
  }
  return builder.Finish();
}

arrow::Result<ArrayPtr> bring_timestamp(const arrow::Array& from) {
  switch (static_cast<const arrow::TimestampType&>(*from.type()).unit()) {
    case arrow::TimeUnit::SECOND:
      return micros_of<arrow::TimestampArray>(from, 1'000'000);
    case arrow::TimeUnit::MILLI:
      return micros_of<arrow::TimestampArray>(from, 1'000);
    case arrow::TimeUnit::MICRO:
      break;
    case arrow::TimeUnit::NANO:
      return micros_of<arrow::TimestampArray>(from, 1, 1'000);
  }
  return micros_of<arrow::TimestampArray>(from, 1);
}

arrow::Result<ArrayPtr> bring(const ArrayPtr& array);

arrow::Result<ArrayPtr> decode_dictionary(const arrow::Array& from) {
  const auto& coded = static_cast<const arrow::DictionaryArray&>(from);
  ARROW_ASSIGN_OR_RAISE(const auto values, bring(coded.dictionary()));
  std::unique_ptr<arrow::ArrayBuilder> builder;
  ARROW_RETURN_NOT_OK(arrow::MakeBuilder(arrow::default_memory_pool(), values->type(), &builder));
  ARROW_RETURN_NOT_OK(builder->Reserve(coded.length()));
  const arrow::ArraySpan span(*values->data());
  for (std::int64_t row = 0; row < coded.length(); ++row) {
    if (coded.IsNull(row)) {
      ARROW_RETURN_NOT_OK(builder->AppendNull());
    } else {
      ARROW_RETURN_NOT_OK(builder->AppendArraySlice(span, coded.GetValueIndex(row), 1));
    }
  }
  return builder->Finish();
}

arrow::Result<ArrayPtr> bring(const ArrayPtr& array) {
  const auto& type = *array->type();
  if (is_plain(type)) return array;
  switch (type.id()) {
    case arrow::Type::INT8:
      return widen_integers<arrow::Int8Array>(*array);
    case arrow::Type::INT16:
      return widen_integers<arrow::Int16Array>(*array);
    case arrow::Type::INT32:
      return widen_integers<arrow::Int32Array>(*array);
    case arrow::Type::UINT8:
      return widen_integers<arrow::UInt8Array>(*array);
    case arrow::Type::UINT16:
      return widen_integers<arrow::UInt16Array>(*array);
    case arrow::Type::UINT32:
      return widen_integers<arrow::UInt32Array>(*array);
    case arrow::Type::UINT64:
      return widen_uint64(*array);
    case arrow::Type::FLOAT:
      return rebuild<arrow::DoubleBuilder, arrow::FloatArray>(
          *array, arrow::DoubleBuilder(), [](float value) { return static_cast<double>(value); });
    case arrow::Type::DECIMAL128: {
      const auto scale = static_cast<const arrow::Decimal128Type&>(type).scale();
      return rebuild<arrow::DoubleBuilder, arrow::Decimal128Array>(
          *array, arrow::DoubleBuilder(), [scale](std::string_view bytes) {
            return arrow::Decimal128(reinterpret_cast<const std::uint8_t*>(bytes.data()))
                .ToDouble(scale);
          });
    }
    case arrow::Type::LARGE_STRING:
      return rebuild<arrow::StringBuilder, arrow::LargeStringArray>(
          *array, arrow::StringBuilder(), [](std::string_view text) { return text; });
    case arrow::Type::STRING_VIEW:
      return rebuild<arrow::StringBuilder, arrow::StringViewArray>(
          *array, arrow::StringBuilder(), [](std::string_view text) { return text; });
    case arrow::Type::NA: {
      arrow::StringBuilder builder;
      ARROW_RETURN_NOT_OK(builder.AppendNulls(array->length()));
      return builder.Finish();
    }
    case arrow::Type::DATE32:
      return micros_of<arrow::Date32Array>(*array, 86'400'000'000);
    case arrow::Type::DATE64:
      return micros_of<arrow::Date64Array>(*array, 1'000);
    case arrow::Type::TIMESTAMP:
      return bring_timestamp(*array);
    case arrow::Type::DICTIONARY:
      return decode_dictionary(*array);
    default:
      return arrow::Status::NotImplemented("type ", type.ToString());
  }
}

ColumnView view_of(const arrow::Array& array, Type type) {
  const auto& data = *array.data();
  ColumnView view{.type = type, .rows = array.length(), .offset = data.offset};
  if (array.null_count() > 0 && data.buffers[0]) view.validity = data.buffers[0]->data();
  if (type == Type::text) {
    if (data.buffers[1])
      view.text_offsets = reinterpret_cast<const std::int32_t*>(data.buffers[1]->data());
    if (data.buffers[2]) view.text_bytes = reinterpret_cast<const char*>(data.buffers[2]->data());
  } else if (data.buffers[1]) {
    view.values = data.buffers[1]->data();
  }
  return view;
}

// Copies one view into an Arrow array.
arrow::Result<ArrayPtr> array_of(const ColumnView& view) {
  std::unique_ptr<arrow::ArrayBuilder> any;
  ARROW_RETURN_NOT_OK(
      arrow::MakeBuilder(arrow::default_memory_pool(), arrow_type(view.type), &any));
  ARROW_RETURN_NOT_OK(any->Reserve(view.rows));
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) {
      ARROW_RETURN_NOT_OK(any->AppendNull());
      continue;
    }
    switch (view.type) {
      case Type::boolean:
        ARROW_RETURN_NOT_OK(static_cast<arrow::BooleanBuilder&>(*any).Append(view.boolean(row)));
        break;
      case Type::int64:
        ARROW_RETURN_NOT_OK(static_cast<arrow::Int64Builder&>(*any).Append(view.integer(row)));
        break;
      case Type::float64:
        ARROW_RETURN_NOT_OK(static_cast<arrow::DoubleBuilder&>(*any).Append(view.real(row)));
        break;
      case Type::text:
        ARROW_RETURN_NOT_OK(static_cast<arrow::StringBuilder&>(*any).Append(view.text(row)));
        break;
      case Type::timestamp:
        ARROW_RETURN_NOT_OK(static_cast<arrow::TimestampBuilder&>(*any).Append(view.integer(row)));
        break;
    }
  }
  return any->Finish();
}

}  // namespace

std::shared_ptr<arrow::DataType> arrow_type(Type type) {
  switch (type) {
    case Type::boolean:
      return arrow::boolean();
    case Type::int64:
      return arrow::int64();
    case Type::float64:
      return arrow::float64();
    case Type::text:
      return arrow::utf8();
    case Type::timestamp:
      return arrow::timestamp(arrow::TimeUnit::MICRO);
  }
  return arrow::null();
}

std::shared_ptr<arrow::Schema> arrow_schema(const Schema& schema) {
  arrow::FieldVector fields;
  for (const auto& field : schema.fields) {
    fields.push_back(arrow::field(field.name, arrow_type(field.type), field.nullable));
  }
  return arrow::schema(std::move(fields));
}

Result<Schema> schema_of(const arrow::Schema& from) {
  Schema schema;
  for (const auto& field : from.fields()) {
    const auto type = plain_type(*field->type());
    if (!type) {
      return invalid_argument(
          fmt::format("column '{}' has type {}, which is none of boolean, int64, float64, text, "
                      "timestamp; cast it or leave it out",
                      field->name(), field->type()->ToString()));
    }
    schema.fields.push_back({field->name(), *type, field->nullable()});
  }
  return schema;
}

Result<Schema> schema_of(const TablePtr& table) { return schema_of(*table->schema()); }

struct Columns::Impl {
  Schema schema;
  std::vector<ArrayPtr> arrays;  // keep alive what the views borrow
  Batch batch;
};

Columns::Columns() : impl_(std::make_unique<Impl>()) {}
Columns::~Columns() = default;
Columns::Columns(Columns&&) noexcept = default;
Columns& Columns::operator=(Columns&&) noexcept = default;

Result<Columns> Columns::from_table(const TablePtr& table) {
  Columns columns;
  auto schema = schema_of(table);
  if (!schema) return schema.error();
  Impl& impl = *columns.impl_;
  impl.schema = std::move(*schema);
  impl.batch.schema = &impl.schema;
  impl.batch.rows = table->num_rows();
  for (int i = 0; i < table->num_columns(); ++i) {
    const Field& field = impl.schema.fields[static_cast<std::size_t>(i)];
    const auto& chunks = *table->column(i);
    auto joined = [&]() -> arrow::Result<ArrayPtr> {
      if (chunks.num_chunks() == 0) return arrow::MakeEmptyArray(arrow_type(field.type));
      arrow::ArrayVector parts;
      for (const auto& chunk : chunks.chunks()) {
        ARROW_ASSIGN_OR_RAISE(auto part, bring(chunk));
        parts.push_back(std::move(part));
      }
      if (parts.size() == 1) return parts.front();
      return arrow::Concatenate(parts);
    }();
    if (!joined.ok()) return wrap(joined.status(), field.name);
    impl.batch.columns.push_back(view_of(**joined, field.type));
    impl.arrays.push_back(std::move(*joined));
  }
  return columns;
}

const Schema& Columns::schema() const { return impl_->schema; }
Batch Columns::batch() const { return impl_->batch; }
std::int64_t Columns::rows() const { return impl_->batch.rows; }

Result<ColumnView> Columns::column(std::string_view name) const {
  const auto at = impl_->schema.find(name);
  if (!at) return at.error();
  return impl_->batch.columns[*at];
}

Result<TablePtr> table_of(const Batch& batch) {
  arrow::ArrayVector arrays;
  for (std::size_t i = 0; i < batch.columns.size(); ++i) {
    auto array = array_of(batch.columns[i]);
    if (!array.ok()) return wrap(array.status(), batch.schema->fields[i].name);
    arrays.push_back(std::move(*array));
  }
  return arrow::Table::Make(arrow_schema(*batch.schema), std::move(arrays), batch.rows);
}

Result<TablePtr> plain_table(const TablePtr& table) {
  const auto schema = schema_of(table);
  if (!schema) return schema.error();
  std::vector<std::shared_ptr<arrow::ChunkedArray>> columns;
  for (int i = 0; i < table->num_columns(); ++i) {
    const Field& field = schema->fields[static_cast<std::size_t>(i)];
    arrow::ArrayVector chunks;
    for (const auto& chunk : table->column(i)->chunks()) {
      auto brought = bring(chunk);
      if (!brought.ok()) return wrap(brought.status(), field.name);
      // a time zone is a remark on a UTC value: drop it, so that equal values have equal types
      if (field.type == Type::timestamp) brought = (*brought)->View(arrow_type(field.type));
      if (!brought.ok()) return wrap(brought.status(), field.name);
      chunks.push_back(std::move(*brought));
    }
    columns.push_back(
        std::make_shared<arrow::ChunkedArray>(std::move(chunks), arrow_type(field.type)));
  }
  return arrow::Table::Make(arrow_schema(*schema), std::move(columns), table->num_rows());
}

Result<TablePtr> concatenate(const std::vector<TablePtr>& tables) {
  if (tables.empty()) return invalid_argument("no tables to concatenate");
  auto joined = arrow::ConcatenateTables(tables);
  if (!joined.ok())
    return invalid_argument("tables differ in their schema: " + joined.status().message());
  return *joined;
}

}  // namespace slipway::data
