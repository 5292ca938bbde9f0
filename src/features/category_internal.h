// From a value to a small number: the categories of a column, found in a few nanoseconds.
// Open addressing with linear probing, at most half full; keys stand in one block of memory. A
// lookup allocates nothing and, once built, an index is never changed: any number of threads may
// read it.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "data/table.h"

namespace slipway::features {

inline constexpr std::int32_t kMissingCode = -2;  // of a row without a value

// Numbers distinct texts 0, 1, 2, … in order of insertion.
class TextIndex {
 public:
  std::int32_t find(std::string_view key) const;  // -1 when absent
  std::int32_t insert(std::string_view key);      // of the key that was there, or a new one
  std::size_t size() const { return keys_.size(); }
  std::string_view key(std::size_t number) const {
    return std::string_view(bytes_).substr(keys_[number].begin, keys_[number].size);
  }

 private:
  struct Key {
    std::uint64_t head;  // its first bytes
    std::uint32_t begin;
    std::uint32_t size;
  };
  std::size_t slot(std::string_view key, std::uint64_t hash) const;
  void grow();
  std::string bytes_;
  std::vector<Key> keys_;
  std::vector<std::int32_t> slots_;  // number of a key, or -1; a power of two of them
};

// The same for 64-bit integers.
class IntegerIndex {
 public:
  std::int32_t find(std::int64_t key) const;
  std::int32_t insert(std::int64_t key);
  std::size_t size() const { return keys_.size(); }
  std::int64_t key(std::size_t number) const { return keys_[number]; }

 private:
  std::size_t slot(std::int64_t key) const;
  void grow();
  std::vector<std::int64_t> keys_;
  std::vector<std::int32_t> slots_;
};

// Categories of one kind of value: texts, integers (also booleans and timestamps), or reals (by
// their bits, -0 as 0).
class CategoryIndex {
 public:
  enum class Kind { text, integer, real };
  explicit CategoryIndex(Kind kind = Kind::text) : kind_(kind) {}
  static Kind kind_of(data::Type type);

  Kind kind() const { return kind_; }
  std::size_t size() const { return kind_ == Kind::text ? texts_.size() : integers_.size(); }
  // Numbers of the rows' values, into codes; -1 for one that is absent, -2 for a missing one.
  void find(const data::ColumnView& column, std::int64_t begin,
            std::span<std::int32_t> codes) const;
  void find(std::span<const double> values, std::span<std::int32_t> codes) const;
  void insert(const data::ColumnView& column, std::span<std::int32_t> codes);
  void insert(std::span<const double> values, std::span<std::int32_t> codes);
  // A declared value; invalid_argument when it is not of this kind.
  Result<std::int32_t> insert(const Json& key);
  Result<std::int32_t> find(const Json& key) const;

  Json key(std::size_t number) const;           // text that is not UTF-8 as {"base64": …}
  std::string label(std::size_t number) const;  // for names and messages
  // Numbers of all categories in the order of their values: the same whatever order the rows came
  // in.
  std::vector<std::int32_t> sorted() const;

 private:
  Kind kind_;
  TextIndex texts_;
  IntegerIndex integers_;
};

bool is_utf8(std::string_view text);
Json text_to_json(std::string_view text);  // a string, or {"base64": …} when it is not UTF-8
Result<std::string> text_from_json(const Json& json);

}  // namespace slipway::features
