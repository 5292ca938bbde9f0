// Thrift's compact protocol as a tree of values, for changing a few fields of a structure and
// keeping all others as they are, the unknown ones too. Bounded: nothing is larger than the bytes
// it was read from.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace slipway::data::thrift {

enum class Kind : std::uint8_t {
  yes = 1,
  no = 2,
  byte = 3,
  i16 = 4,
  i32 = 5,
  i64 = 6,
  real = 7,
  binary = 8,
  list = 9,
  set = 10,
  map = 11,
  structure = 12,
};

struct Value {
  Kind kind = Kind::structure;
  std::int64_t integer = 0;     // byte, i16, i32, i64; of a boolean inside a list: its byte
  std::string_view bytes;       // binary; the eight bytes of a real. Borrowed from what was read
  Kind item = Kind::structure;  // of list and set; the keys of a map
  Kind mapped = Kind::structure;
  std::vector<std::pair<std::int16_t, Value>> fields;  // structure, by rising id
  std::vector<Value> items;                            // list, set; of a map key, value, key, ...

  const Value* field(std::int16_t id) const;
  Value* field(std::int16_t id);
  std::optional<std::int64_t> number(std::int16_t id) const;  // of an integer field
  void set_number(std::int16_t id, std::int64_t value);       // only when the field is there
  void drop(std::int16_t id);
};

// The structure that the bytes begin with; nothing when they are no such thing.
std::optional<Value> parse(std::string_view bytes);
std::string write(const Value& structure);

}  // namespace slipway::data::thrift
