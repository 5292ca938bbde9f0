#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>

#include "base/hash.h"
#include "features/category_internal.h"

namespace slipway::features {
namespace {

constexpr std::int32_t kAbsent = -1;

// Multiply and fold (the mixing step of W. Yi's wyhash, 2019).
std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

constexpr std::uint64_t kSalt = 0x9E3779B97F4A7C15;  // 2^64 / golden ratio
constexpr std::uint64_t kSalt2 = 0xD1B54A32D192ED03;

// The first bytes of a text, up to eight, in one word; with the size, all there is to a short one.
std::uint64_t head_of(std::string_view text) {
  const char* bytes = text.data();
  const std::size_t size = text.size();
  if (size >= 8) {
    std::uint64_t word;
    std::memcpy(&word, bytes, 8);
    return word;
  }
  if (size >= 4) {  // two words that overlap
    std::uint32_t first;
    std::uint32_t last;
    std::memcpy(&first, bytes, 4);
    std::memcpy(&last, bytes + size - 4, 4);
    return first | static_cast<std::uint64_t>(last) << 32;
  }
  if (size == 0) return 0;
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint64_t>(static_cast<unsigned char>(bytes[i]));
  };
  return byte(0) | byte(size / 2) << 8 | byte(size - 1) << 16;
}

// Of this process only: never stored.
std::uint64_t hash_of(std::string_view key) {
  std::uint64_t hash = mix(kSalt ^ key.size() ^ head_of(key), kSalt2);
  for (std::size_t at = 8; at < key.size(); at += 8)
    hash = mix(hash ^ head_of(key.substr(at)), kSalt2);
  return hash;
}

std::uint64_t hash_of(std::int64_t key) {
  return mix(static_cast<std::uint64_t>(key) ^ kSalt, kSalt2);
}

// Reals as categories: one key per value.
std::int64_t bits_of(double value) { return std::bit_cast<std::int64_t>(value == 0 ? 0.0 : value); }

// Calls body(row) for each row with a value and puts kMissingCode where there is none.
template <class Body>
void each_code(const data::ColumnView& column, std::int64_t begin, std::span<std::int32_t> codes,
               Body body) {
  for (std::size_t i = 0; i < codes.size(); ++i) {
    const std::int64_t row = begin + static_cast<std::int64_t>(i);
    codes[i] = column.is_null(row) ? kMissingCode : body(row);
  }
}

template <class Reals>
std::int32_t real_code(double value, Reals of) {
  return std::isfinite(value) ? of(bits_of(value)) : kMissingCode;
}

template <class Integers>
void integer_codes(const data::ColumnView& column, std::int64_t begin,
                   std::span<std::int32_t> codes, Integers of) {
  if (column.type == data::Type::float64) {
    each_code(column, begin, codes,
              [&](std::int64_t row) { return real_code(column.real(row), of); });
  } else if (column.type == data::Type::boolean) {
    each_code(column, begin, codes,
              [&](std::int64_t row) { return of(column.boolean(row) ? 1 : 0); });
  } else {
    each_code(column, begin, codes, [&](std::int64_t row) { return of(column.integer(row)); });
  }
}

template <class Reals>
void real_codes(std::span<const double> values, std::span<std::int32_t> codes, Reals of) {
  for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = real_code(values[i], of);
}

}  // namespace

std::size_t TextIndex::slot(std::string_view key, std::uint64_t hash) const {
  const std::size_t mask = slots_.size() - 1;
  const std::uint64_t head = head_of(key);
  for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
    const std::int32_t number = slots_[at];
    if (number < 0) return at;
    const Key& stored = keys_[static_cast<std::size_t>(number)];
    if (stored.head != head || stored.size != key.size()) continue;
    if (key.size() <= 8 ||
        std::memcmp(bytes_.data() + stored.begin + 8, key.data() + 8, key.size() - 8) == 0) {
      return at;
    }
  }
}

std::int32_t TextIndex::find(std::string_view key) const {
  return slots_.empty() ? kAbsent : slots_[slot(key, hash_of(key))];
}

std::int32_t TextIndex::insert(std::string_view key) {
  if (slots_.size() < 2 * (keys_.size() + 1)) grow();
  const std::uint64_t hash = hash_of(key);
  std::int32_t& number = slots_[slot(key, hash)];
  if (number >= 0) return number;
  number = static_cast<std::int32_t>(keys_.size());
  keys_.push_back({head_of(key), static_cast<std::uint32_t>(bytes_.size()),
                   static_cast<std::uint32_t>(key.size())});
  bytes_.append(key);
  return number;
}

void TextIndex::grow() {
  slots_.assign(std::max<std::size_t>(16, slots_.size() * 2), -1);
  for (std::size_t number = 0; number < keys_.size(); ++number) {
    const std::string_view text = key(number);
    slots_[slot(text, hash_of(text))] = static_cast<std::int32_t>(number);
  }
}

std::size_t IntegerIndex::slot(std::int64_t key) const {
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash_of(key) & mask;
  while (slots_[at] >= 0 && keys_[static_cast<std::size_t>(slots_[at])] != key)
    at = (at + 1) & mask;
  return at;
}

std::int32_t IntegerIndex::find(std::int64_t key) const {
  return slots_.empty() ? kAbsent : slots_[slot(key)];
}

std::int32_t IntegerIndex::insert(std::int64_t key) {
  if (slots_.size() < 2 * (keys_.size() + 1)) grow();
  std::int32_t& number = slots_[slot(key)];
  if (number >= 0) return number;
  number = static_cast<std::int32_t>(keys_.size());
  keys_.push_back(key);
  return number;
}

void IntegerIndex::grow() {
  slots_.assign(std::max<std::size_t>(16, slots_.size() * 2), -1);
  for (std::size_t number = 0; number < keys_.size(); ++number) {
    slots_[slot(keys_[number])] = static_cast<std::int32_t>(number);
  }
}

CategoryIndex::Kind CategoryIndex::kind_of(data::Type type) {
  switch (type) {
    case data::Type::text:
      return Kind::text;
    case data::Type::float64:
      return Kind::real;
    default:
      return Kind::integer;
  }
}

void CategoryIndex::find(const data::ColumnView& column, std::int64_t begin,
                         std::span<std::int32_t> codes) const {
  if (kind_ == Kind::text) {
    each_code(column, begin, codes,
              [&](std::int64_t row) { return texts_.find(column.text(row)); });
  } else {
    integer_codes(column, begin, codes, [&](std::int64_t key) { return integers_.find(key); });
  }
}

void CategoryIndex::find(std::span<const double> values, std::span<std::int32_t> codes) const {
  real_codes(values, codes, [&](std::int64_t key) { return integers_.find(key); });
}

void CategoryIndex::insert(const data::ColumnView& column, std::span<std::int32_t> codes) {
  if (kind_ == Kind::text) {
    each_code(column, 0, codes, [&](std::int64_t row) { return texts_.insert(column.text(row)); });
  } else {
    integer_codes(column, 0, codes, [&](std::int64_t key) { return integers_.insert(key); });
  }
}

void CategoryIndex::insert(std::span<const double> values, std::span<std::int32_t> codes) {
  real_codes(values, codes, [&](std::int64_t key) { return integers_.insert(key); });
}

namespace {

// The declared value as an integer key of the kind, if it is one.
std::optional<std::int64_t> integer_key(CategoryIndex::Kind kind, const Json& key) {
  if (kind == CategoryIndex::Kind::real) {
    if (!key.is_number()) return std::nullopt;
    return bits_of(key.get<double>());
  }
  if (key.is_boolean()) return key.get<bool>() ? 1 : 0;
  if (key.is_number_unsigned() && key.get<std::uint64_t>() > INT64_MAX) return std::nullopt;
  if (!key.is_number_integer()) return std::nullopt;
  return key.get<std::int64_t>();
}

Error not_of_kind(CategoryIndex::Kind kind, const Json& key) {
  return invalid_argument(
      "the category " + key.dump(-1, ' ', false, Json::error_handler_t::replace) +
      (kind == CategoryIndex::Kind::text ? " is not a text, but the column is"
                                         : " is not a number of the column's type"));
}

}  // namespace

Result<std::int32_t> CategoryIndex::insert(const Json& key) {
  if (kind_ == Kind::text) {
    const auto text = text_from_json(key);
    if (!text) return not_of_kind(kind_, key);
    return texts_.insert(*text);
  }
  const auto integer = integer_key(kind_, key);
  if (!integer) return not_of_kind(kind_, key);
  return integers_.insert(*integer);
}

Result<std::int32_t> CategoryIndex::find(const Json& key) const {
  if (kind_ == Kind::text) {
    const auto text = text_from_json(key);
    if (!text) return not_of_kind(kind_, key);
    return texts_.find(*text);
  }
  const auto integer = integer_key(kind_, key);
  if (!integer) return not_of_kind(kind_, key);
  return integers_.find(*integer);
}

Json CategoryIndex::key(std::size_t number) const {
  if (kind_ == Kind::text) return text_to_json(texts_.key(number));
  if (kind_ == Kind::real) return std::bit_cast<double>(integers_.key(number));
  return integers_.key(number);
}

std::string CategoryIndex::label(std::size_t number) const {
  const Json value = key(number);
  if (value.is_object()) return "base64:" + value["base64"].get<std::string>();
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::vector<std::int32_t> CategoryIndex::sorted() const {
  std::vector<std::int32_t> order(size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    const auto i = static_cast<std::size_t>(a);
    const auto j = static_cast<std::size_t>(b);
    if (kind_ == Kind::text) return texts_.key(i) < texts_.key(j);
    if (kind_ == Kind::integer) return integers_.key(i) < integers_.key(j);
    return std::bit_cast<double>(integers_.key(i)) < std::bit_cast<double>(integers_.key(j));
  });
  return order;
}

// Well-formed UTF-8 as The Unicode Standard, table 3-7, defines it.
bool is_utf8(std::string_view text) {
  const auto* at = reinterpret_cast<const unsigned char*>(text.data());
  const auto* const end = at + text.size();
  const auto tail = [&](unsigned char low, unsigned char high) {
    return at < end && *at >= low && *at++ <= high;
  };
  while (at < end) {
    const unsigned char c = *at++;
    if (c < 0x80) continue;
    if (c < 0xC2 || c > 0xF4) return false;
    if (c < 0xE0) {
      if (!tail(0x80, 0xBF)) return false;
    } else if (c < 0xF0) {
      if (!tail(c == 0xE0 ? 0xA0 : 0x80, c == 0xED ? 0x9F : 0xBF) || !tail(0x80, 0xBF))
        return false;
    } else {
      if (!tail(c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF) || !tail(0x80, 0xBF) ||
          !tail(0x80, 0xBF)) {
        return false;
      }
    }
  }
  return true;
}

Json text_to_json(std::string_view text) {
  if (is_utf8(text)) return std::string(text);
  return Json{{"base64", to_base64(text)}};
}

Result<std::string> text_from_json(const Json& json) {
  if (json.is_string()) return json.get<std::string>();
  if (json.is_object() && json.size() == 1 && json.contains("base64") &&
      json["base64"].is_string()) {
    return from_base64(json["base64"].get<std::string>());
  }
  return invalid_argument("a text is a string or {\"base64\": …}");
}

}  // namespace slipway::features
