// What a profiler knows of one column so far. Private to this folder.
#pragma once
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "data/group_scan_internal.h"
#include "data/profile.h"
#include "data/sketch_internal.h"

namespace slipway::data {

// Count, mean and sum of squared distances from the mean, merged as in T. Chan, G. Golub, R.
// LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
struct Moments {
  std::int64_t count = 0;
  double mean = 0;
  double squares = 0;
  void merge(const Moments& other);
};

// What the texts of a column look like, by value.
struct TextKinds {
  std::int64_t integers = 0, reals = 0, times = 0;
  std::int64_t leading_zeros = 0;  // of the integers: "007"
  std::int64_t padded = 0;         // with a space before or after
  void add(std::string_view text, std::int64_t count);
  void merge(const TextKinds& other);
  Json state() const;
  bool restore(const Json& state);
};

struct ColumnSummary {
  explicit ColumnSummary(Type column_type) : type(column_type) {}
  void add(const GroupColumn& column, std::int64_t rows);
  void merge(const ColumnSummary& other);
  ColumnProfile finish(const std::string& name, const ProfileOptions& options) const;
  Json state() const;
  bool restore(const Json& state);

  Type type;
  std::int64_t rows = 0;
  std::int64_t nulls = 0;
  std::int64_t not_finite = 0;
  std::int64_t zeros = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  Moments moments;
  std::int64_t texts = 0, shortest = 0, longest = 0, total_length = 0;
  TextKinds kinds;
  FrequentItems frequent;
  // Used once there are more distinct values than `frequent` counts exactly.
  bool sketching = false;
  DistinctSketch distinct;
  QuantileSketch quantiles;

 private:
  double number_of(std::uint64_t key) const;
  Json value_of(const FrequentItems::Item& item) const;
  void add_key(std::uint64_t key, std::string_view text = {}, std::int64_t count = 1);
  void add_texts(const GroupColumn& column, std::int64_t count);
  void add_text(std::string_view text, std::int64_t count);
  void add_integers(const ColumnView& view);
  template <class Get, class Key>
  void add_numbers(const ColumnView& view, const Get& get, const Key& key);
  void start_sketching(const std::vector<FrequentItems::Item>& items);
  void finish_categories(ColumnProfile& profile, const std::vector<FrequentItems::Item>& items,
                         const ProfileOptions& options) const;
  void finish_numbers(ColumnProfile& profile, const std::vector<FrequentItems::Item>& items,
                      const ProfileOptions& options) const;
};

// What looks suspicious about a column; items by falling count.
std::vector<std::string> remarks(const ColumnProfile& profile, const TextKinds& kinds,
                                 const std::vector<FrequentItems::Item>& items);

// Some rows, chosen by chance: those with the smallest random numbers, so that samples merge into a
// sample of all. A cell is a number's bits (NaN: null) or the hash of a text (0: null).
class RowSample {
 public:
  RowSample() = default;
  RowSample(std::size_t columns, std::size_t limit) : columns_(columns), limit_(limit) {}
  void add(const GroupBatch& batch);
  void merge(const RowSample& other);
  std::size_t rows() const { return heap_.size(); }
  std::uint64_t cell(std::size_t row, std::size_t column) const {
    return cells_[heap_[row].second * columns_ + column];
  }
  Json state() const;
  bool restore(const Json& state);
  // In an order that does not depend on how the sample came about.
  void sort();

 private:
  std::size_t place(std::uint64_t priority);  // of the cells of a row that enters
  std::size_t columns_ = 0;
  std::size_t limit_ = 0;
  std::uint64_t salt_ = 0;  // out of the first row, so that parts draw apart
  std::int64_t seen_ = 0;
  std::vector<std::pair<std::uint64_t, std::size_t>> heap_;  // greatest first: number, place
  std::vector<std::uint64_t> cells_;
};

// Fills in profile.associations, and notes what is the same or tells the target.
void relate_columns(const RowSample& sample, const std::string& target, Profile& profile);

struct Profiler::Impl {
  Schema schema;
  ProfileOptions options;
  std::int64_t rows = 0;
  std::vector<ColumnSummary> columns;
  RowSample sample;
  void add(const GroupBatch& batch);
};

}  // namespace slipway::data
