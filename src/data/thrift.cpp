#include "data/thrift.h"

namespace slipway::data::thrift {

namespace {

constexpr int kDeepest = 24;  // structures in each other; parquet.thrift has eight
constexpr std::uint8_t kManyItems = 15;

std::int64_t unzigzag(std::uint64_t value) {
  return static_cast<std::int64_t>(value >> 1) ^ -static_cast<std::int64_t>(value & 1);
}
std::uint64_t zigzag(std::int64_t value) {
  return (static_cast<std::uint64_t>(value) << 1) ^ static_cast<std::uint64_t>(value >> 63);
}

bool is_kind(std::uint8_t kind) { return kind >= 1 && kind <= 12; }

class Parser {
 public:
  explicit Parser(std::string_view bytes) : rest_(bytes) {}

  bool structure(Value& into, int depth) {
    if (depth > kDeepest) return false;
    into.kind = Kind::structure;
    std::int16_t id = 0;
    while (true) {
      std::uint8_t head = 0;
      if (!byte(head)) return false;
      if (head == 0) return true;
      const std::uint8_t kind = head & 0x0F;
      if (!is_kind(kind)) return false;
      if (const std::uint8_t delta = head >> 4; delta != 0) {
        id = static_cast<std::int16_t>(id + delta);
      } else {
        std::uint64_t raw = 0;
        if (!varint(raw)) return false;
        id = static_cast<std::int16_t>(unzigzag(raw));
      }
      into.fields.emplace_back(id, Value{});
      if (!value(into.fields.back().second, static_cast<Kind>(kind), depth, false)) return false;
    }
  }

 private:
  bool byte(std::uint8_t& into) {
    if (rest_.empty()) return false;
    into = static_cast<std::uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    return true;
  }
  bool varint(std::uint64_t& into) {
    into = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      std::uint8_t next = 0;
      if (!byte(next)) return false;
      into |= static_cast<std::uint64_t>(next & 0x7F) << shift;
      if ((next & 0x80) == 0) return true;
    }
    return false;
  }
  bool take(std::uint64_t size, std::string_view& into) {
    if (size > rest_.size()) return false;
    into = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }
  bool items(Value& into, std::uint64_t count, int depth, bool pairs) {
    if (count > rest_.size()) return false;  // each takes a byte at least
    for (std::uint64_t i = 0; i < count; ++i) {
      into.items.emplace_back();
      if (!value(into.items.back(), into.item, depth, true)) return false;
      if (!pairs) continue;
      into.items.emplace_back();
      if (!value(into.items.back(), into.mapped, depth, true)) return false;
    }
    return true;
  }
  bool value(Value& into, Kind kind, int depth, bool inside) {
    into.kind = kind;
    std::uint64_t raw = 0;
    switch (kind) {
      case Kind::yes:
      case Kind::no: {
        std::uint8_t held = 0;  // a field says it with its kind, an item with a byte
        if (inside && !byte(held)) return false;
        into.integer = held;
        return true;
      }
      case Kind::byte: {
        std::uint8_t held = 0;
        if (!byte(held)) return false;
        into.integer = static_cast<std::int8_t>(held);
        return true;
      }
      case Kind::i16:
      case Kind::i32:
      case Kind::i64:
        if (!varint(raw)) return false;
        into.integer = unzigzag(raw);
        return true;
      case Kind::real:
        return take(8, into.bytes);
      case Kind::binary:
        return varint(raw) && take(raw, into.bytes);
      case Kind::list:
      case Kind::set: {
        std::uint8_t head = 0;
        if (!byte(head) || !is_kind(head & 0x0F)) return false;
        into.item = static_cast<Kind>(head & 0x0F);
        raw = head >> 4;
        if (raw == kManyItems && !varint(raw)) return false;
        return items(into, raw, depth + 1, false);
      }
      case Kind::map: {
        std::uint8_t kinds = 0;
        if (!varint(raw)) return false;
        if (raw == 0) return true;
        if (!byte(kinds) || !is_kind(kinds >> 4) || !is_kind(kinds & 0x0F)) return false;
        into.item = static_cast<Kind>(kinds >> 4);
        into.mapped = static_cast<Kind>(kinds & 0x0F);
        return items(into, raw, depth + 1, true);
      }
      case Kind::structure:
        return structure(into, depth + 1);
    }
    return false;
  }

  std::string_view rest_;
};

void put_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(value | 0x80);
    value >>= 7;
  }
  out += static_cast<char>(value);
}

void put(std::string& out, const Value& value, bool inside) {
  switch (value.kind) {
    case Kind::yes:
    case Kind::no:
      if (inside) out += static_cast<char>(value.integer);
      return;
    case Kind::byte:
      out += static_cast<char>(value.integer);
      return;
    case Kind::i16:
    case Kind::i32:
    case Kind::i64:
      put_varint(out, zigzag(value.integer));
      return;
    case Kind::real:
      out += value.bytes;
      return;
    case Kind::binary:
      put_varint(out, value.bytes.size());
      out += value.bytes;
      return;
    case Kind::list:
    case Kind::set: {
      const auto count = value.items.size();
      const auto kind = static_cast<std::uint8_t>(value.item);
      if (count < kManyItems) {
        out += static_cast<char>(count << 4 | kind);
      } else {
        out += static_cast<char>(0xF0 | kind);
        put_varint(out, count);
      }
      for (const auto& item : value.items) put(out, item, true);
      return;
    }
    case Kind::map:
      put_varint(out, value.items.size() / 2);
      if (value.items.empty()) return;
      out += static_cast<char>(static_cast<std::uint8_t>(value.item) << 4 |
                               static_cast<std::uint8_t>(value.mapped));
      for (const auto& item : value.items) put(out, item, true);
      return;
    case Kind::structure: {
      std::int16_t last = 0;
      for (const auto& [id, field] : value.fields) {
        const int delta = id - last;
        const auto kind = static_cast<std::uint8_t>(field.kind);
        if (delta > 0 && delta < 16) {
          out += static_cast<char>(delta << 4 | kind);
        } else {
          out += static_cast<char>(kind);
          put_varint(out, zigzag(id));
        }
        put(out, field, false);
        last = id;
      }
      out += '\0';
      return;
    }
  }
}

}  // namespace

const Value* Value::field(std::int16_t id) const {
  for (const auto& [number, value] : fields) {
    if (number == id) return &value;
  }
  return nullptr;
}

Value* Value::field(std::int16_t id) {
  return const_cast<Value*>(static_cast<const Value*>(this)->field(id));
}

std::optional<std::int64_t> Value::number(std::int16_t id) const {
  const auto* value = field(id);
  if (value == nullptr || value->kind < Kind::byte || value->kind > Kind::i64) return std::nullopt;
  return value->integer;
}

void Value::set_number(std::int16_t id, std::int64_t value) {
  if (auto* held = field(id)) held->integer = value;
}

void Value::drop(std::int16_t id) {
  std::erase_if(fields, [id](const auto& field) { return field.first == id; });
}

std::optional<Value> parse(std::string_view bytes) {
  Value value;
  if (!Parser(bytes).structure(value, 0)) return std::nullopt;
  return value;
}

std::string write(const Value& structure) {
  std::string out;
  put(out, structure, false);
  return out;
}

}  // namespace slipway::data::thrift
