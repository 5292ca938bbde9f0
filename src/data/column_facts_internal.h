// What validation needs to know of a column's values: how often each occurs, while there are not
// too many, and their moments in any case. Exact, and the same whatever the number of threads.
// Private to this folder.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "data/group_scan_internal.h"
#include "data/profile_internal.h"
#include "data/validation.h"

namespace slipway::data {

// Counts of distinct values. Numbers are keyed by their bits, texts by a hash and compared.
class ValueCounts {
 public:
  // With more distinct values than this, a column is not counted: 131,072 rows of counts are as
  // much as a SELECT over them is quick for.
  static constexpr std::size_t kMost = std::size_t{1} << 17;
  void add(std::uint64_t key, std::int64_t count);
  void add_text(std::string_view text, std::int64_t count);
  std::size_t size() const { return size_; }
  bool too_many() const { return size_ > kMost; }

  struct Item {
    std::uint64_t key = 0;
    std::int64_t count = 0;
    std::string_view text;
  };
  std::vector<Item> items() const;  // in no order
  void clear();

 private:
  struct Slot {
    std::uint64_t key = 0;
    std::int64_t count = 0;  // 0: empty
    std::size_t begin = 0;   // of the text in bytes_
    std::size_t length = 0;
  };
  template <class Same>
  Slot& find(std::uint64_t key, const Same& same);
  void grow();
  std::vector<Slot> slots_;
  std::string bytes_;
  std::size_t size_ = 0;
};

struct ColumnFacts {
  Type type = Type::text;
  std::int64_t rows = 0;
  std::int64_t nulls = 0;
  std::int64_t not_finite = 0;  // NaN and infinities
  Moments moments;              // of the finite numbers
  double sum = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  bool counted = true;  // `values` holds every distinct value
  ValueCounts values;
  double number_of(std::uint64_t key) const;
};

// 128 bits of a row's key: for a billion rows, two different keys look alike with a chance of
// 1e-21.
struct KeyHash {
  std::uint64_t high = 0, low = 0;
  bool operator==(const KeyHash&) const = default;
};

// A set of columns that should be unique together.
struct KeyFacts {
  std::vector<std::size_t> columns;  // of the scan's schema
  std::int64_t rows = 0;             // with no null in the key
  std::int64_t duplicates = 0;       // of those, whose key occurs more than once
  std::vector<KeyHash> repeated;     // the keys that do, sorted
};

struct FactsWanted {
  std::vector<std::size_t> columns;
  std::vector<KeyFacts> keys;
};

// One pass over the files. `keys` of `wanted` is filled in.
Result<std::vector<ColumnFacts>> gather_facts(const Context& ctx, const GroupScan& scan,
                                              FactsWanted& wanted, int threads);

// The distinct keys whose hashes were repeated, as rows of the key's columns: another pass over
// those columns.
Result<TablePtr> repeated_keys(const Context& ctx, const GroupScan& scan, const KeyFacts& key,
                               int threads);

// The figure of a rule of one column; NaN when there is no value to compute it from, nothing when
// the facts do not tell.
std::optional<double> figure_of(const Expectation& rule, const ColumnFacts& facts);

// The values with their counts as rows: the column, and kCountColumn.
inline constexpr std::string_view kCountColumn = "slipway n";
Result<TablePtr> value_table(const ColumnFacts& facts, const std::string& column);

}  // namespace slipway::data
