#include "data/sketch_internal.h"

#include <bit>
#include <numbers>

namespace slipway::data {

namespace {

constexpr std::size_t kWidth = 1024;  // of the highest level; lower ones shrink by 2/3
constexpr std::size_t kNarrowest = 8;
constexpr std::size_t kLongestText = 256;  // bytes kept of a frequent text

}  // namespace

std::size_t QuantileSketch::capacity(std::size_t level) const {
  const auto depth = static_cast<double>(levels_.size() - 1 - level);
  return std::max(kNarrowest,
                  static_cast<std::size_t>(std::ceil(kWidth * std::pow(2.0 / 3.0, depth))));
}

void QuantileSketch::add(double value, std::int64_t weight) {
  count_ += weight;
  // a weight is the sum of powers of two: the value enters each of those levels once
  for (std::size_t level = 0; weight != 0; ++level, weight >>= 1) {
    if ((weight & 1) == 0) continue;
    if (levels_.size() <= level) {
      levels_.resize(level + 1);
      limit_ = 0;
      for (std::size_t i = 0; i < levels_.size(); ++i) limit_ += capacity(i);
    }
    levels_[level].push_back(value);
    ++held_;
  }
  if (held_ > limit_) compress();
}

void QuantileSketch::compress() {
  while (held_ > limit_) {
    std::size_t level = 0;
    while (levels_[level].size() < capacity(level)) ++level;
    if (level + 1 == levels_.size()) {
      levels_.emplace_back();
      limit_ = 0;
      for (std::size_t i = 0; i < levels_.size(); ++i) limit_ += capacity(i);
    }
    auto& full = levels_[level];
    std::sort(full.begin(), full.end());
    // every second value moves up with twice the weight; an odd one out stays
    const bool odd = full.size() % 2 == 1;
    const double left = full.back();
    coin_ = mix64(coin_ + 1);
    const std::size_t pairs = full.size() / 2;
    auto& above = levels_[level + 1];
    for (std::size_t i = 0; i < pairs; ++i) above.push_back(full[2 * i + (coin_ & 1)]);
    full.clear();
    if (odd) full.push_back(left);
    held_ -= pairs;
  }
}

void QuantileSketch::merge(const QuantileSketch& other) {
  if (levels_.size() < other.levels_.size()) levels_.resize(other.levels_.size());
  for (std::size_t i = 0; i < other.levels_.size(); ++i) {
    levels_[i].insert(levels_[i].end(), other.levels_[i].begin(), other.levels_[i].end());
  }
  count_ += other.count_;
  held_ += other.held_;
  limit_ = 0;
  for (std::size_t i = 0; i < levels_.size(); ++i) limit_ += capacity(i);
  compress();
}

std::vector<std::pair<double, std::int64_t>> QuantileSketch::sorted() const {
  std::vector<std::pair<double, std::int64_t>> values;
  values.reserve(held_);
  for (std::size_t level = 0; level < levels_.size(); ++level) {
    for (const double value : levels_[level]) values.emplace_back(value, std::int64_t{1} << level);
  }
  std::sort(values.begin(), values.end());
  return values;
}

void DistinctSketch::add_hash(std::uint64_t hash) {
  const auto at = hash >> (64 - kBits);
  const auto rank = static_cast<std::uint8_t>(
      std::countl_zero((hash << kBits) | (std::uint64_t{1} << (kBits - 1))) + 1);
  registers_[at] = std::max(registers_[at], rank);
}

void DistinctSketch::merge(const DistinctSketch& other) {
  for (std::size_t i = 0; i < registers_.size(); ++i)
    registers_[i] = std::max(registers_[i], other.registers_[i]);
}

// O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017), algorithm 6: no
// bias at any size, and no switch between estimators.
std::int64_t DistinctSketch::estimate() const {
  constexpr int kRanks = 64 - kBits;
  const auto count = static_cast<double>(registers_.size());
  std::array<double, kRanks + 2> of_rank{};
  for (const auto rank : registers_) ++of_rank[rank];
  if (of_rank[0] == count) return 0;
  // tau(1 - full / count), for registers that can rise no more
  double x = 1 - of_rank[kRanks + 1] / count;
  double tail = 0;
  if (x > 0 && x < 1) {
    double weight = 1;
    tail = 1 - x;
    for (double before = 0; before != tail;) {
      before = tail;
      x = std::sqrt(x);
      weight *= 0.5;
      tail -= (1 - x) * (1 - x) * weight;
    }
    tail /= 3;
  }
  double sum = count * tail;
  for (int rank = kRanks; rank >= 1; --rank)
    sum = 0.5 * (sum + of_rank[static_cast<std::size_t>(rank)]);
  // sigma(empty / count), for registers that saw nothing
  x = of_rank[0] / count;
  double head = x;
  double weight = 1;
  for (double before = -1; before != head;) {
    before = head;
    x *= x;
    head += x * weight;
    weight += weight;
  }
  sum += count * head;
  return std::llround(count * count / (2 * std::numbers::ln2 * sum));
}

FrequentItems::FrequentItems() : slots_(kSlots) {}

void FrequentItems::insert(std::size_t at, std::uint64_t key, std::int64_t count,
                           std::string_view text) {
  text = text.substr(0, kLongestText);
  slots_[at] = {key, count, static_cast<std::uint32_t>(bytes_.size()),
                static_cast<std::uint32_t>(text.size())};
  bytes_ += text;
  if (++size_ > kMaxKeys) purge();
}

// Takes the median count off every key and drops those that have nothing left: at least half of
// them.
void FrequentItems::purge() {
  exact_ = false;
  std::vector<std::int64_t> counts;
  counts.reserve(size_);
  for (const auto& slot : slots_) {
    if (slot.count != 0) counts.push_back(slot.count);
  }
  const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
  std::nth_element(counts.begin(), middle, counts.end());
  const std::int64_t median = *middle;
  error_ += median;
  std::vector<Slot> kept(kSlots);
  std::string bytes;
  size_ = 0;
  for (const auto& slot : slots_) {
    if (slot.count <= median) continue;
    std::size_t at = mix64(slot.key) & kMask;
    while (kept[at].count != 0) at = (at + 1) & kMask;
    kept[at] = {slot.key, slot.count - median, static_cast<std::uint32_t>(bytes.size()), slot.size};
    bytes.append(bytes_, slot.begin, slot.size);
    ++size_;
  }
  slots_ = std::move(kept);
  bytes_ = std::move(bytes);
}

void FrequentItems::merge(const FrequentItems& other) {
  for (const auto& item : other.items()) add(item.key, item.count, item.text);
  error_ += other.error_;
  exact_ = exact_ && other.exact_;
}

std::vector<FrequentItems::Item> FrequentItems::items() const {
  std::vector<Item> items;
  items.reserve(size_);
  for (const auto& slot : slots_) {
    if (slot.count != 0)
      items.push_back(
          {slot.key, slot.count, std::string_view(bytes_).substr(slot.begin, slot.size)});
  }
  return items;
}

}  // namespace slipway::data
