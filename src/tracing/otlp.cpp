// Reading OTLP: protobuf's wire format (https://protobuf.dev/programming-guides/encoding) walked by
// hand, for the few messages that carry spans. Field numbers are those of opentelemetry-proto 1.x
// (opentelemetry/proto/{collector/trace,trace,common}/v1, Apache-2.0). Fields we do not know are
// passed over, as protobuf wants it.
#include <bit>
#include <cmath>

#include "base/hash.h"
#include "base/utf8.h"
#include "tracing/tracing.h"

namespace slipway::tracing {
namespace {

constexpr int kDeepestValue = 32;  // lists and maps within each other

enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

Error wrong(std::string_view what) {
  return invalid_argument(fmt::format("the body is no OTLP trace request: {}", what));
}

// One field of a message: its number, and its value in the form its wire type has.
struct Field {
  std::uint32_t number = 0;
  Wire wire = Wire::varint;
  std::uint64_t integer = 0;  // varint, fixed64, fixed32
  std::string_view bytes;
};

class Reader {
 public:
  explicit Reader(std::string_view message) : rest_(message) {}

  bool at_end() const { return rest_.empty(); }

  Result<Field> next() {
    const auto tag = varint();
    if (!tag) return tag.error();
    Field field{.number = static_cast<std::uint32_t>(*tag >> 3), .wire = Wire(*tag & 7)};
    if (field.number == 0 || *tag >> 35 != 0) return wrong("a field has no number");
    switch (field.wire) {
      case Wire::varint: {
        const auto value = varint();
        if (!value) return value.error();
        field.integer = *value;
        return field;
      }
      case Wire::fixed64:
      case Wire::fixed32: {
        const std::size_t size = field.wire == Wire::fixed64 ? 8 : 4;
        if (rest_.size() < size) return wrong("it ends within a number");
        for (std::size_t i = size; i-- > 0;) {  // little-endian
          field.integer = field.integer << 8 | static_cast<unsigned char>(rest_[i]);
        }
        rest_.remove_prefix(size);
        return field;
      }
      case Wire::bytes: {
        const auto size = varint();
        if (!size) return size.error();
        if (*size > rest_.size()) return wrong("a part is longer than the whole");
        field.bytes = rest_.substr(0, *size);
        rest_.remove_prefix(*size);
        return field;
      }
    }
    return wrong("a field has an unknown wire type");
  }

 private:
  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (rest_.empty()) return wrong("it ends within a number");
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    return wrong("a number is too long");
  }

  std::string_view rest_;
};

// Calls take(field) for each field of a message, until one is refused.
template <class Take>
Result<void> each_field(std::string_view message, Take&& take) {
  Reader reader(message);
  while (!reader.at_end()) {
    const auto field = reader.next();
    if (!field) return field.error();
    if (auto taken = take(*field); !taken) return taken;
  }
  return {};
}

// Numbers of 64 bits are texts in protobuf's JSON.
Json integer64(std::uint64_t value) { return std::to_string(value); }

// A field that must be a text or message.
Result<std::string_view> bytes_of_field(const Field& field) {
  if (field.wire != Wire::bytes) return wrong("a text or message was expected");
  return field.bytes;
}

// A field that must be a text. protobuf's texts are UTF-8, and so is JSON.
Result<std::string> text_of_field(const Field& field) {
  const auto bytes = bytes_of_field(field);
  if (!bytes) return bytes.error();
  if (!is_utf8(*bytes)) return wrong("a text is not UTF-8");
  return std::string(*bytes);
}

Result<void> put_text(Json& to, const char* name, const Field& field) {
  auto text = text_of_field(field);
  if (!text) return text.error();
  to[name] = std::move(*text);
  return {};
}

Result<Json> read_value(std::string_view message, int depth);

// KeyValue {key = 1, value = 2}
Result<Json> read_pair(std::string_view message, int depth) {
  Json pair = {{"key", ""}};
  auto read = each_field(message, [&](const Field& field) -> Result<void> {
    if (field.number != 1 && field.number != 2) return {};
    if (field.number == 1) return put_text(pair, "key", field);
    const auto bytes = bytes_of_field(field);
    if (!bytes) return bytes.error();
    auto value = read_value(*bytes, depth);
    if (!value) return value.error();
    pair["value"] = std::move(*value);
    return {};
  });
  if (!read) return read.error();
  return pair;
}

// The repeated field 1 of ArrayValue and KeyValueList.
Result<Json> read_list(std::string_view message, int depth, bool pairs) {
  Json values = Json::array();
  auto read = each_field(message, [&](const Field& field) -> Result<void> {
    if (field.number != 1) return {};
    const auto bytes = bytes_of_field(field);
    if (!bytes) return bytes.error();
    auto value = pairs ? read_pair(*bytes, depth) : read_value(*bytes, depth);
    if (!value) return value.error();
    values.push_back(std::move(*value));
    return {};
  });
  if (!read) return read.error();
  return Json{{"values", std::move(values)}};
}

Json json_double(std::uint64_t bits) {
  const auto value = std::bit_cast<double>(bits);
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

// AnyValue: one of string = 1, bool = 2, int = 3, double = 4, array = 5, map = 6, bytes = 7
Result<Json> read_value(std::string_view message, int depth) {
  if (depth > kDeepestValue) {
    return wrong(fmt::format("a value is nested more than {} deep", kDeepestValue));
  }
  Json value = Json::object();
  auto read = each_field(message, [&](const Field& field) -> Result<void> {
    switch (field.number) {
      case 2:
        value = {{"bool_value", field.integer != 0}};
        return {};
      case 3:
        value = {{"int_value", std::to_string(static_cast<std::int64_t>(field.integer))}};
        return {};
      case 4:
        value = {{"double_value", json_double(field.integer)}};
        return {};
      case 1:
      case 5:
      case 6:
      case 7:
        break;
      default:
        return {};
    }
    const auto bytes = bytes_of_field(field);
    if (!bytes) return bytes.error();
    if (field.number == 1) {
      value = Json::object();
      return put_text(value, "string_value", field);
    }
    if (field.number == 7) {
      value = {{"bytes_value", to_base64(*bytes)}};
      return {};
    }
    auto list = read_list(*bytes, depth + 1, field.number == 6);
    if (!list) return list.error();
    value = {{field.number == 5 ? "array_value" : "kvlist_value", std::move(*list)}};
    return {};
  });
  if (!read) return read.error();
  return value;
}

Result<void> add_pair(Json& to, const Field& field) {
  const auto bytes = bytes_of_field(field);
  if (!bytes) return bytes.error();
  auto pair = read_pair(*bytes, 0);
  if (!pair) return pair.error();
  to["attributes"].push_back(std::move(*pair));
  return {};
}

// Event {time = 1, name = 2, attributes = 3, dropped = 4}
Result<Json> read_event(std::string_view message) {
  Json event = {{"name", ""}, {"time_unix_nano", "0"}};
  auto read = each_field(message, [&](const Field& field) -> Result<void> {
    if (field.number == 1) event["time_unix_nano"] = integer64(field.integer);
    if (field.number == 2) return put_text(event, "name", field);
    if (field.number == 3) return add_pair(event, field);
    if (field.number == 4) event["dropped_attributes_count"] = field.integer;
    return {};
  });
  if (!read) return read.error();
  return event;
}

// Link {trace_id = 1, span_id = 2, trace_state = 3, attributes = 4, dropped = 5, flags = 6}
Result<Json> read_link(std::string_view message) {
  Json link = Json::object();
  auto read = each_field(message, [&](const Field& field) -> Result<void> {
    if (field.number == 1) link["trace_id"] = to_base64(field.bytes);
    if (field.number == 2) link["span_id"] = to_base64(field.bytes);
    if (field.number == 3) return put_text(link, "trace_state", field);
    if (field.number == 4) return add_pair(link, field);
    if (field.number == 5) link["dropped_attributes_count"] = field.integer;
    if (field.number == 6) link["flags"] = field.integer;
    return {};
  });
  if (!read) return read.error();
  return link;
}

// Status {message = 2, code = 3}
Result<Json> read_status(std::string_view message, Span& span) {
  static constexpr std::string_view kCodes[] = {"UNSET", "OK", "ERROR"};
  Json status = Json::object();
  auto read = each_field(message, [&](const Field& field) -> Result<void> {
    if (field.number == 2) return put_text(status, "message", field);
    if (field.number == 3) {
      if (field.integer > 2) return wrong("a span has an unknown status");
      span.status = kCodes[field.integer];
      status["code"] = "STATUS_CODE_" + span.status;
    }
    return {};
  });
  if (!read) return read.error();
  return status;
}

Result<std::string> read_id(std::string_view bytes, std::size_t size, std::string_view what) {
  if (bytes.size() != size) {
    return wrong(
        fmt::format("a span has a {} of {} bytes instead of {}", what, bytes.size(), size));
  }
  return to_hex({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

Result<std::int64_t> read_time(std::uint64_t nanoseconds) {
  if (nanoseconds > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
    return wrong("a span has a time after the year 2262");
  }
  return static_cast<std::int64_t>(nanoseconds);
}

// An AnyValue as the plain JSON it stands for.
Json plain(const Json& value) {
  if (value.empty()) return nullptr;
  const auto member = value.begin();
  const std::string& kind = member.key();
  const Json& inner = member.value();
  if (kind == "int_value") return Json::parse(inner.get_ref<const std::string&>());
  if (kind == "array_value") {
    Json list = Json::array();
    for (const auto& item : inner.at("values")) list.push_back(plain(item));
    return list;
  }
  if (kind == "kvlist_value") {
    Json map = Json::object();
    for (const auto& pair : inner.at("values")) {
      map[pair.at("key").get<std::string>()] =
          pair.contains("value") ? plain(pair["value"]) : Json(nullptr);
    }
    return map;
  }
  return inner;
}

std::string shown(const Json& value) {
  const Json json = plain(value);
  if (json.is_string()) return json.get<std::string>();
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void note_attribute(Span& span, const Json& pair) {
  const auto value = pair.find("value");
  if (value == pair.end()) return;
  const auto& key = pair.at("key").get_ref<const std::string&>();
  if (key == "mlflow.spanInputs") span.inputs = shown(*value);
  if (key == "mlflow.spanOutputs") span.outputs = shown(*value);
  if (key == "mlflow.spanType") span.type = shown(*value);
}

// Span; the numbers are beside the fields.
Result<Span> read_span(std::string_view message) {
  Span span{.type = "UNKNOWN", .status = "UNSET"};
  Json json = {{"name", ""}, {"attributes", Json::array()}};
  const auto add_to = [&](const char* list, Result<Json> part) -> Result<void> {
    if (!part) return part.error();
    json[list].push_back(std::move(*part));
    return {};
  };
  auto read = each_field(message, [&](const Field& field) -> Result<void> {
    const bool text = (field.number <= 5 && field.number >= 1) || field.number == 11 ||
                      field.number == 13 || field.number == 15;
    if (text && field.wire != Wire::bytes) return wrong("a text or message was expected");
    switch (field.number) {
      case 1: {  // trace_id
        auto id = read_id(field.bytes, 16, "trace id");
        if (!id) return id.error();
        span.trace_id = std::move(*id);
        json["trace_id"] = to_base64(field.bytes);
        return {};
      }
      case 2:    // span_id
      case 4: {  // parent_span_id
        if (field.number == 4 && field.bytes.empty()) return {};
        auto id = read_id(field.bytes, 8, "span id");
        if (!id) return id.error();
        (field.number == 2 ? span.span_id : span.parent_id) = std::move(*id);
        json[field.number == 2 ? "span_id" : "parent_span_id"] = to_base64(field.bytes);
        return {};
      }
      case 3:
        return put_text(json, "trace_state", field);
      case 5:
        if (auto put = put_text(json, "name", field); !put) return put;
        span.name = json["name"].get<std::string>();
        return {};
      case 6:
        json["kind"] = field.integer;
        return {};
      case 7:    // start_time_unix_nano
      case 8: {  // end_time_unix_nano
        const auto time = read_time(field.integer);
        if (!time) return time.error();
        (field.number == 7 ? span.start_ns : span.end_ns) = *time;
        json[field.number == 7 ? "start_time_unix_nano" : "end_time_unix_nano"] =
            integer64(field.integer);
        return {};
      }
      case 9:  // attributes
        if (auto added = add_pair(json, field); !added) return added;
        note_attribute(span, json["attributes"].back());
        return {};
      case 10:
        json["dropped_attributes_count"] = field.integer;
        return {};
      case 11:
        return add_to("events", read_event(field.bytes));
      case 12:
        json["dropped_events_count"] = field.integer;
        return {};
      case 13:
        return add_to("links", read_link(field.bytes));
      case 14:
        json["dropped_links_count"] = field.integer;
        return {};
      case 15: {
        auto status = read_status(field.bytes, span);
        if (!status) return status.error();
        json["status"] = std::move(*status);
        return {};
      }
      case 16:
        json["flags"] = field.integer;
        return {};
      default:
        return {};
    }
  });
  if (!read) return read.error();
  if (span.trace_id.empty() || span.span_id.empty()) return wrong("a span has no id");
  span.json = std::move(json);
  return span;
}

}  // namespace

Result<std::vector<Span>> read_otlp(std::string_view message, std::size_t most_spans) {
  std::vector<Span> spans;
  // ExportTraceServiceRequest.resource_spans = 1, ResourceSpans.scope_spans = 2,
  // ScopeSpans.spans = 2
  const auto within = [](std::uint32_t number, auto&& take) {
    return [number, take](const Field& field) -> Result<void> {
      if (field.number != number) return {};
      const auto bytes = bytes_of_field(field);
      if (!bytes) return bytes.error();
      return take(*bytes);
    };
  };
  const auto take_span = [&](std::string_view bytes) -> Result<void> {
    if (spans.size() >= most_spans) {
      return resource_exhausted(fmt::format("one request carries at most {} spans", most_spans));
    }
    auto span = read_span(bytes);
    if (!span) return span.error();
    spans.push_back(std::move(*span));
    return {};
  };
  const auto take_scope = [&](std::string_view bytes) {
    return each_field(bytes, within(2, take_span));
  };
  const auto take_resource = [&](std::string_view bytes) {
    return each_field(bytes, within(2, take_scope));
  };
  if (auto read = each_field(message, within(1, take_resource)); !read) return read.error();
  if (spans.empty()) return wrong("it holds no span");
  return spans;
}

}  // namespace slipway::tracing
