#include "data/table.h"

#include "base/clock.h"
#include "base/spec.h"

namespace slipway::data {

namespace {

constexpr std::string_view kTypeNames[] = {"boolean", "int64", "float64", "text", "timestamp"};
// Integers up to this size are exact in a double.
constexpr std::int64_t kExactInDouble = std::int64_t{1} << 53;

// The value as it stands in a message: JSON, cut short.
std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Error refused(const Field& field, std::string_view wanted, const Json& value) {
  return invalid_argument(fmt::format("column '{}' ({}) wants {}, got {}", field.name,
                                      to_string(field.type), wanted, shown(value)));
}

}  // namespace

std::string_view to_string(Type type) { return kTypeNames[static_cast<std::size_t>(type)]; }

Result<Type> parse_type(std::string_view text) {
  for (std::size_t i = 0; i < std::size(kTypeNames); ++i) {
    if (text == kTypeNames[i]) return static_cast<Type>(i);
  }
  const std::vector<std::string> names(std::begin(kTypeNames), std::end(kTypeNames));
  const auto near = nearest(text, names);
  return invalid_argument(fmt::format("'{}' is not a column type{}; the types are {}", text,
                                      near ? fmt::format(" (did you mean '{}'?)", *near) : "",
                                      fmt::join(names, ", ")));
}

std::optional<std::size_t> Schema::index(std::string_view name) const {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    if (fields[i].name == name) return i;
  }
  return std::nullopt;
}

Result<std::size_t> Schema::find(std::string_view name) const {
  if (const auto at = index(name)) return *at;
  const auto near = nearest(name, names());
  if (near)
    return invalid_argument(
        fmt::format("column '{}' does not exist; did you mean '{}'?", name, *near));
  auto known = names();
  const bool more = known.size() > 12;
  if (more) known.resize(12);
  return invalid_argument(fmt::format("column '{}' does not exist; the columns are {}{}", name,
                                      fmt::join(known, ", "), more ? ", ..." : ""));
}

std::vector<std::string> Schema::names() const {
  std::vector<std::string> names;
  names.reserve(fields.size());
  for (const auto& field : fields) names.push_back(field.name);
  return names;
}

Json Schema::to_json() const {
  Json list = Json::array();
  for (const auto& field : fields) {
    list.push_back(
        {{"name", field.name}, {"type", to_string(field.type)}, {"nullable", field.nullable}});
  }
  return list;
}

Result<Schema> Schema::from_json(const Json& json) {
  if (!json.is_array())
    return invalid_argument("a schema is a list of {name, type}, got " + shown(json));
  Schema schema;
  for (const auto& item : json) {
    if (!item.is_object() || !item.contains("name") || !item.contains("type") ||
        !item["name"].is_string() || !item["type"].is_string()) {
      return invalid_argument("a field of a schema is {name, type, nullable}, got " + shown(item));
    }
    const auto type = parse_type(item["type"].get_ref<const std::string&>());
    if (!type) return type.error().at("column '" + item["name"].get<std::string>() + "'");
    const auto nullable = item.find("nullable");
    if (nullable != item.end() && !nullable->is_boolean()) {
      return invalid_argument("nullable is true or false, got " + shown(*nullable));
    }
    auto name = item["name"].get<std::string>();
    if (schema.index(name))
      return invalid_argument("column '" + name + "' stands twice in the schema");
    schema.fields.push_back(
        {std::move(name), *type, nullable == item.end() || nullable->get<bool>()});
  }
  return schema;
}

double ColumnView::number(std::int64_t row) const {
  if (is_null(row)) return std::numeric_limits<double>::quiet_NaN();
  switch (type) {
    case Type::float64:
      return real(row);
    case Type::int64:
    case Type::timestamp:
      return static_cast<double>(integer(row));
    case Type::boolean:
      return boolean(row) ? 1.0 : 0.0;
    case Type::text:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

Batch Batch::slice(std::int64_t begin, std::int64_t count) const {
  Batch part{schema, {}, count};
  part.columns.reserve(columns.size());
  for (const auto& column : columns) part.columns.push_back(column.slice(begin, count));
  return part;
}

// One column being built. Only the buffers of its type are used; clear() keeps their memory.
struct BatchBuilder::Column {
  std::int64_t rows = 0;
  std::int64_t nulls = 0;
  std::vector<std::uint8_t> validity;    // bit per row
  std::vector<std::int64_t> integers;    // int64, timestamp
  std::vector<double> reals;             // float64
  std::vector<std::uint8_t> bits;        // boolean
  std::vector<std::int32_t> offsets{0};  // text: rows + 1
  std::vector<char> bytes;               // text

  void clear() {
    rows = 0;
    nulls = 0;
    validity.clear();
    integers.clear();
    reals.clear();
    bits.clear();
    offsets.resize(1);
    bytes.clear();
  }
  static void push_bit(std::vector<std::uint8_t>& to, std::int64_t at, bool value) {
    if ((at & 7) == 0) to.push_back(0);
    to.back() = static_cast<std::uint8_t>(to.back() | (static_cast<unsigned>(value) << (at & 7)));
  }
  void finish_row(bool valid) {
    push_bit(validity, rows, valid);
    nulls += valid ? 0 : 1;
    ++rows;
  }
};

BatchBuilder::BatchBuilder(Schema schema)
    : schema_(std::move(schema)), columns_(schema_.fields.size()) {}
BatchBuilder::~BatchBuilder() = default;
BatchBuilder::BatchBuilder(BatchBuilder&&) noexcept = default;

void BatchBuilder::clear() {
  for (auto& column : columns_) column.clear();
}

void BatchBuilder::append_null(std::size_t column) {
  Column& to = columns_[column];
  switch (schema_.fields[column].type) {
    case Type::int64:
    case Type::timestamp:
      to.integers.push_back(0);
      break;
    case Type::float64:
      to.reals.push_back(0);
      break;
    case Type::boolean:
      Column::push_bit(to.bits, to.rows, false);
      break;
    case Type::text:
      to.offsets.push_back(to.offsets.back());
      break;
  }
  to.finish_row(false);
}

void BatchBuilder::append_integer(std::size_t column, std::int64_t value) {
  Column& to = columns_[column];
  to.integers.push_back(value);
  to.finish_row(true);
}

void BatchBuilder::append_real(std::size_t column, double value) {
  Column& to = columns_[column];
  to.reals.push_back(value);
  to.finish_row(true);
}

void BatchBuilder::append_boolean(std::size_t column, bool value) {
  Column& to = columns_[column];
  Column::push_bit(to.bits, to.rows, value);
  to.finish_row(true);
}

void BatchBuilder::append_text(std::size_t column, std::string_view value) {
  Column& to = columns_[column];
  to.bytes.insert(to.bytes.end(), value.begin(), value.end());
  to.offsets.push_back(static_cast<std::int32_t>(to.bytes.size()));
  to.finish_row(true);
}

Result<void> BatchBuilder::append_json(std::size_t column, const Json& value) {
  const Field& field = schema_.fields[column];
  if (value.is_null()) {
    append_null(column);
    return {};
  }
  switch (field.type) {
    case Type::int64: {
      if (value.is_number_unsigned()) {
        const auto number = value.get<std::uint64_t>();
        if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) break;
        append_integer(column, static_cast<std::int64_t>(number));
        return {};
      }
      if (value.is_number_integer()) {
        append_integer(column, value.get<std::int64_t>());
        return {};
      }
      if (value.is_number_float()) {
        const double number = value.get<double>();
        if (!(std::abs(number) <= static_cast<double>(kExactInDouble)) ||
            number != std::trunc(number))
          break;
        append_integer(column, static_cast<std::int64_t>(number));
        return {};
      }
      break;
    }
    case Type::float64: {
      if (value.is_number_float()) {
        append_real(column, value.get<double>());
        return {};
      }
      if (!value.is_number_integer()) break;
      const bool exact = value.is_number_unsigned() ? value.get<std::uint64_t>() <=
                                                          static_cast<std::uint64_t>(kExactInDouble)
                                                    : value.get<std::int64_t>() >= -kExactInDouble;
      if (!exact) return refused(field, "a number that a double holds exactly", value);
      append_real(column, value.get<double>());
      return {};
    }
    case Type::boolean:
      if (!value.is_boolean()) return refused(field, "true or false", value);
      append_boolean(column, value.get<bool>());
      return {};
    case Type::text: {
      if (!value.is_string()) return refused(field, "a text", value);
      const auto& text = value.get_ref<const std::string&>();
      if (columns_[column].bytes.size() + text.size() > std::numeric_limits<std::int32_t>::max()) {
        return invalid_argument(
            fmt::format("column '{}' exceeds 2 GiB of text in one batch", field.name));
      }
      append_text(column, text);
      return {};
    }
    case Type::timestamp: {
      constexpr auto kWanted =
          "a time such as \"2013-04-01T05:00:00Z\" or whole microseconds since 1970";
      if (value.is_string()) {
        const auto time = parse_time(value.get_ref<const std::string&>());
        if (!time) return refused(field, kWanted, value);
        append_integer(column, to_micros(*time));
        return {};
      }
      if (!value.is_number_integer()) return refused(field, kWanted, value);
      append_integer(column, value.get<std::int64_t>());
      return {};
    }
  }
  return refused(field, field.type == Type::int64 ? "a whole number of 64 bits" : "a number",
                 value);
}

std::int64_t BatchBuilder::rows(std::size_t column) const { return columns_[column].rows; }

Result<void> BatchBuilder::view(Batch& into) const {
  into.schema = &schema_;
  into.rows = columns_.empty() ? 0 : columns_.front().rows;
  into.columns.resize(columns_.size());
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    const Column& from = columns_[i];
    if (from.rows != into.rows) {
      return internal(fmt::format("column '{}' has {} rows where column '{}' has {}",
                                  schema_.fields[i].name, from.rows, schema_.fields[0].name,
                                  into.rows));
    }
    ColumnView& view = into.columns[i];
    view = {.type = schema_.fields[i].type, .rows = from.rows};
    if (from.nulls > 0) view.validity = from.validity.data();
    switch (view.type) {
      case Type::int64:
      case Type::timestamp:
        view.values = from.integers.data();
        break;
      case Type::float64:
        view.values = from.reals.data();
        break;
      case Type::boolean:
        view.values = from.bits.data();
        break;
      case Type::text:
        view.text_offsets = from.offsets.data();
        view.text_bytes = from.bytes.data();
        break;
    }
  }
  return {};
}

Result<Batch> BatchBuilder::batch() const {
  Batch batch;
  if (auto viewed = view(batch); !viewed) return viewed.error();
  return batch;
}

Result<TablePtr> BatchBuilder::to_table() const {
  const auto whole = batch();
  if (!whole) return whole.error();
  return table_of(*whole);
}

}  // namespace slipway::data
