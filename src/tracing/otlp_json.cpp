// JSON to protobuf's wire format, by a table of the messages that carry spans. The rules are
// OpenTelemetry's (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): names in
// lowerCamelCase, ids in hexadecimal, enumerations as numbers, unknown members passed over; and
// protobuf's (https://protobuf.dev/programming-guides/json) for the rest: numbers of 64 bits may be
// texts, bytes are base64, null is as if it were not there.
#include "tracing/otlp_json.h"

#include <bit>
#include <charconv>
#include <limits>
#include <optional>
#include <span>

#include "base/hash.h"
#include "base/json.h"

namespace slipway::tracing {
namespace {

enum class As { text, id, bytes, whole, fixed64, fixed32, real, truth, message };

struct Member;
using Message = std::span<const Member> (*)();

struct Member {
  std::string_view name;
  std::uint32_t number;
  As as;
  Message message = nullptr;
  bool many = false;
};

std::span<const Member> any_value();
std::span<const Member> key_value();

std::span<const Member> array_value() {
  static constexpr Member kMembers[] = {{"values", 1, As::message, any_value, true}};
  return kMembers;
}
std::span<const Member> key_value_list() {
  static constexpr Member kMembers[] = {{"values", 1, As::message, key_value, true}};
  return kMembers;
}
std::span<const Member> any_value() {
  static constexpr Member kMembers[] = {{"stringValue", 1, As::text},
                                        {"boolValue", 2, As::truth},
                                        {"intValue", 3, As::whole},
                                        {"doubleValue", 4, As::real},
                                        {"bytesValue", 7, As::bytes},
                                        {"arrayValue", 5, As::message, array_value},
                                        {"kvlistValue", 6, As::message, key_value_list}};
  return kMembers;
}
std::span<const Member> key_value() {
  static constexpr Member kMembers[] = {{"key", 1, As::text}, {"value", 2, As::message, any_value}};
  return kMembers;
}
std::span<const Member> span_event() {
  static constexpr Member kMembers[] = {{"timeUnixNano", 1, As::fixed64},
                                        {"name", 2, As::text},
                                        {"attributes", 3, As::message, key_value, true},
                                        {"droppedAttributesCount", 4, As::whole}};
  return kMembers;
}
std::span<const Member> span_link() {
  static constexpr Member kMembers[] = {{"traceId", 1, As::id},
                                        {"spanId", 2, As::id},
                                        {"traceState", 3, As::text},
                                        {"attributes", 4, As::message, key_value, true},
                                        {"droppedAttributesCount", 5, As::whole},
                                        {"flags", 6, As::fixed32}};
  return kMembers;
}
std::span<const Member> span_status() {
  static constexpr Member kMembers[] = {{"message", 2, As::text}, {"code", 3, As::whole}};
  return kMembers;
}
std::span<const Member> one_span() {
  static constexpr Member kMembers[] = {{"traceId", 1, As::id},
                                        {"spanId", 2, As::id},
                                        {"traceState", 3, As::text},
                                        {"parentSpanId", 4, As::id},
                                        {"name", 5, As::text},
                                        {"kind", 6, As::whole},
                                        {"startTimeUnixNano", 7, As::fixed64},
                                        {"endTimeUnixNano", 8, As::fixed64},
                                        {"attributes", 9, As::message, key_value, true},
                                        {"droppedAttributesCount", 10, As::whole},
                                        {"events", 11, As::message, span_event, true},
                                        {"droppedEventsCount", 12, As::whole},
                                        {"links", 13, As::message, span_link, true},
                                        {"droppedLinksCount", 14, As::whole},
                                        {"status", 15, As::message, span_status},
                                        {"flags", 16, As::fixed32}};
  return kMembers;
}
std::span<const Member> scope_spans() {
  static constexpr Member kMembers[] = {{"spans", 2, As::message, one_span, true}};
  return kMembers;
}
std::span<const Member> resource_spans() {
  static constexpr Member kMembers[] = {{"scopeSpans", 2, As::message, scope_spans, true}};
  return kMembers;
}
std::span<const Member> export_request() {
  static constexpr Member kMembers[] = {{"resourceSpans", 1, As::message, resource_spans, true}};
  return kMembers;
}

Error wrong_member(const Member& member, std::string_view wanted) {
  return invalid_argument(
      fmt::format("the body is no OTLP trace request: '{}' has to be {}", member.name, wanted));
}

// protobuf's wire types.
constexpr std::uint64_t kVarint = 0;
constexpr std::uint64_t kFixed64 = 1;
constexpr std::uint64_t kBytes = 2;
constexpr std::uint64_t kFixed32 = 5;

void put_varint(std::string& to, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) to += static_cast<char>(0x80 | (value & 0x7f));
  to += static_cast<char>(value);
}

void put_tag(std::string& to, const Member& member, std::uint64_t wire) {
  put_varint(to, std::uint64_t{member.number} << 3 | wire);
}

void put_bytes(std::string& to, const Member& member, std::string_view bytes) {
  put_tag(to, member, kBytes);
  put_varint(to, bytes.size());
  to += bytes;
}

void put_fixed(std::string& to, const Member& member, std::uint64_t value, int size) {
  put_tag(to, member, size == 8 ? kFixed64 : kFixed32);
  for (int i = 0; i < size; ++i) to += static_cast<char>(value >> (8 * i) & 0xff);
}

template <class T>
std::optional<T> number_in(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || problem != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  return value;
}

// A whole number, as one or as a text; negative ones in two's complement.
std::optional<std::uint64_t> read_whole(const Json& json) {
  if (json.is_number_unsigned()) return json.get<std::uint64_t>();
  if (json.is_number_integer()) return static_cast<std::uint64_t>(json.get<std::int64_t>());
  if (!json.is_string()) return std::nullopt;
  const auto& text = json.get_ref<const std::string&>();
  if (!text.starts_with('-')) return number_in<std::uint64_t>(text);
  const auto negative = number_in<std::int64_t>(text);
  if (!negative) return std::nullopt;
  return static_cast<std::uint64_t>(*negative);
}

std::optional<double> read_real(const Json& json) {
  if (json.is_number()) return json.get<double>();
  if (!json.is_string()) return std::nullopt;
  const auto& text = json.get_ref<const std::string&>();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  return number_in<double>(text);
}

Result<void> put_message(std::string& to, const Json& json, std::span<const Member> members);

Result<void> put_member(std::string& to, const Member& member, const Json& json) {
  switch (member.as) {
    case As::text:
      if (!json.is_string()) return wrong_member(member, "a text");
      put_bytes(to, member, json.get_ref<const std::string&>());
      return {};
    case As::id:
    case As::bytes: {
      const bool hexadecimal = member.as == As::id;
      const std::string_view wanted = hexadecimal ? "hexadecimal characters" : "a text in base64";
      if (!json.is_string()) return wrong_member(member, wanted);
      std::string text = json.get<std::string>();
      if (hexadecimal) {
        for (char& c : text) {
          if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
        }
      }
      const auto bytes = hexadecimal ? from_hex(text) : from_base64(text);
      if (!bytes) return wrong_member(member, wanted);
      put_bytes(to, member, *bytes);
      return {};
    }
    case As::whole:
    case As::fixed64:
    case As::fixed32: {
      const auto value = read_whole(json);
      if (!value) return wrong_member(member, "a whole number");
      if (member.as == As::whole) {
        put_tag(to, member, kVarint);
        put_varint(to, *value);
      } else {
        put_fixed(to, member, *value, member.as == As::fixed64 ? 8 : 4);
      }
      return {};
    }
    case As::real: {
      const auto value = read_real(json);
      if (!value) return wrong_member(member, "a number");
      put_fixed(to, member, std::bit_cast<std::uint64_t>(*value), 8);
      return {};
    }
    case As::truth:
      if (!json.is_boolean()) return wrong_member(member, "true or false");
      put_tag(to, member, kVarint);
      put_varint(to, json.get<bool>() ? 1 : 0);
      return {};
    case As::message: {
      if (!json.is_object()) return wrong_member(member, "an object");
      std::string inner;
      if (auto put = put_message(inner, json, member.message()); !put) return put;
      put_bytes(to, member, inner);
      return {};
    }
  }
  return {};
}

// As deep as the JSON is, which parse_json() limits.
Result<void> put_message(std::string& to, const Json& json, std::span<const Member> members) {
  for (const Member& member : members) {
    const auto found = json.find(member.name);
    if (found == json.end() || found->is_null()) continue;
    if (!member.many) {
      if (auto put = put_member(to, member, *found); !put) return put;
      continue;
    }
    if (!found->is_array()) return wrong_member(member, "a list");
    for (const Json& item : *found) {
      if (auto put = put_member(to, member, item); !put) return put;
    }
  }
  return {};
}

}  // namespace

Result<std::string> otlp_from_json(std::string_view text) {
  const auto json = parse_json(text, "the OTLP trace request");
  if (!json) return json.error();
  if (!json->is_object())
    return invalid_argument("the body is no OTLP trace request: it is no JSON object");
  std::string message;
  if (auto put = put_message(message, *json, export_request()); !put) return put.error();
  return message;
}

}  // namespace slipway::tracing
