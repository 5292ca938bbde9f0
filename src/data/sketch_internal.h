// Mergeable summaries of a stream of values in bounded memory; profile.h names the papers. Private
// to this folder. All are deterministic: the same values in the same order give the same state. Not
// thread-safe.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/json.h"

namespace slipway::data {

// Scatters the bits of a key: the finalizer of splitmix64, a bijection, so that distinct keys stay
// distinct.
inline std::uint64_t mix64(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// KLL: quantiles of numbers.
class QuantileSketch {
 public:
  void add(double value, std::int64_t weight = 1);
  void merge(const QuantileSketch& other);
  std::int64_t count() const { return count_; }
  // The values kept with their weights, ascending; weights sum to count().
  std::vector<std::pair<double, std::int64_t>> sorted() const;
  // All three sketches: their state, and false when the JSON is none.
  Json state() const;
  bool restore(const Json& state);

 private:
  std::size_t capacity(std::size_t level) const;
  void compress();
  std::vector<std::vector<double>> levels_;  // a value at level i stands for 2^i
  std::size_t held_ = 0;
  std::size_t limit_ = 0;
  std::int64_t count_ = 0;
  std::uint64_t coin_ = 0x9e3779b97f4a7c15ULL;
};

// HyperLogLog: how many distinct hashes.
class DistinctSketch {
 public:
  void add_hash(std::uint64_t hash);
  void merge(const DistinctSketch& other);
  std::int64_t estimate() const;
  Json state() const;
  bool restore(const Json& state);

 private:
  static constexpr int kBits = 14;
  std::array<std::uint8_t, std::size_t{1} << kBits> registers_{};
};

// Counts of the most frequent keys. Exact while there are at most kMaxKeys distinct ones; then each
// count may be too low by at most error(). A key is 64 bits: of a number itself, or the hash of a
// text, which is kept beside it.
class FrequentItems {
 public:
  static constexpr std::size_t kMaxKeys = 4096;
  FrequentItems();
  void add(std::uint64_t key, std::int64_t count, std::string_view text = {}) {
    std::size_t at = mix64(key) & kMask;
    while (slots_[at].count != 0) {
      if (slots_[at].key == key) {
        slots_[at].count += count;
        return;
      }
      at = (at + 1) & kMask;
    }
    insert(at, key, count, text);
  }
  void merge(const FrequentItems& other);
  bool exact() const { return exact_; }
  std::int64_t error() const { return error_; }
  std::size_t size() const { return size_; }

  struct Item {
    std::uint64_t key;
    std::int64_t count;
    std::string_view text;
  };
  std::vector<Item> items() const;  // in no order
  Json state() const;
  bool restore(const Json& state);

 private:
  static constexpr std::size_t kSlots = 8192;
  static constexpr std::size_t kMask = kSlots - 1;
  struct Slot {
    std::uint64_t key = 0;
    std::int64_t count = 0;  // 0: empty
    std::uint32_t begin = 0;
    std::uint32_t size = 0;
  };
  void insert(std::size_t at, std::uint64_t key, std::int64_t count, std::string_view text);
  void purge();
  std::vector<Slot> slots_;
  std::string bytes_;
  std::size_t size_ = 0;
  std::int64_t error_ = 0;
  bool exact_ = true;
};

}  // namespace slipway::data
