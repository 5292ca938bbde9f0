// What a profiler knows of one column so far. Private to this folder.
#pragma once
#include <limits>
#include <string>
#include <string_view>
#include <vector>

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

struct ColumnSummary {
  explicit ColumnSummary(Type column_type) : type(column_type) {}
  void add(const ColumnView& view);
  void merge(const ColumnSummary& other);
  ColumnProfile finish(const std::string& name, const ProfileOptions& options) const;

  Type type;
  std::int64_t rows = 0;
  std::int64_t nulls = 0;
  std::int64_t not_finite = 0;
  std::int64_t zeros = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
  Moments moments;
  std::int64_t texts = 0, shortest = 0, longest = 0, total_length = 0;
  FrequentItems frequent;
  // Used once there are more distinct values than `frequent` counts exactly.
  bool sketching = false;
  DistinctSketch distinct;
  QuantileSketch quantiles;

 private:
  double number_of(std::uint64_t key) const;
  Json value_of(const FrequentItems::Item& item) const;
  void add_key(std::uint64_t key, std::string_view text = {}, std::int64_t count = 1);
  template <class Get, class Key>
  void add_numbers(const ColumnView& view, const Get& get, const Key& key);
  void start_sketching(const std::vector<FrequentItems::Item>& items);
  void finish_categories(ColumnProfile& profile, const std::vector<FrequentItems::Item>& items,
                         const ProfileOptions& options) const;
  void finish_numbers(ColumnProfile& profile, const std::vector<FrequentItems::Item>& items,
                      const ProfileOptions& options) const;
};

// What looks suspicious about a column; items by falling count.
std::vector<std::string> remarks(const ColumnProfile& profile,
                                 const std::vector<FrequentItems::Item>& items);

}  // namespace slipway::data
