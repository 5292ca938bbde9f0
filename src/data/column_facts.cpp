#include "data/column_facts_internal.h"

#include "base/hash.h"
#include "base/parallel.h"

namespace slipway::data {

namespace {

constexpr std::uint64_t kTextKey = 0x76616c7565ULL;
constexpr std::int64_t kWindow = std::int64_t{1} << 16;  // of whole numbers counted by place

std::uint64_t number_bits(double value) {
  if (value == 0) value = 0;  // one zero
  if (std::isnan(value)) value = std::numeric_limits<double>::quiet_NaN();
  return std::bit_cast<std::uint64_t>(value);
}

// What one thread has seen of a column.
struct FactsPart {
  ValueCounts values;
  bool counted = true;
  std::vector<std::int64_t> window;  // counts of [base, base + kWindow)
  std::int64_t base = 0;
  std::vector<std::int64_t> code_counts;  // scratch

  void stop_counting_when_too_many() {
    if (!values.too_many()) return;
    counted = false;
    values.clear();
  }
};

// What a row group gives beside counts; joined in the order of groups, so that sums do not depend
// on threads.
struct GroupMoments {
  std::int64_t rows = 0, nulls = 0, not_finite = 0;
  Moments moments;
  double sum = 0;
  double min = std::numeric_limits<double>::infinity();
  double max = -std::numeric_limits<double>::infinity();
};

template <class Get>
void add_moments(const ColumnView& view, const Get& get, GroupMoments& into) {
  std::int64_t count = 0;
  double sum = 0;
  double low = into.min;
  double high = into.max;
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) continue;
    const double value = get(row);
    if (!std::isfinite(value)) continue;
    ++count;
    sum += value;
    low = value < low ? value : low;
    high = value > high ? value : high;
  }
  Moments batch;
  batch.count = count;
  batch.mean = count == 0 ? 0 : sum / static_cast<double>(count);
  std::int64_t nulls = 0;
  std::int64_t odd = 0;
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) {
      ++nulls;
      continue;
    }
    const double value = get(row);
    if (!std::isfinite(value)) {
      ++odd;
      continue;
    }
    const double apart = value - batch.mean;
    batch.squares += apart * apart;
  }
  into.nulls += nulls;
  into.not_finite += odd;
  into.moments.merge(batch);
  into.sum += sum;
  into.min = low;
  into.max = high;
}

void add_texts(const GroupColumn& column, FactsPart& part, GroupMoments& moments) {
  const auto rows = moments.rows;
  if (!column.coded()) {
    for (std::int64_t row = 0; row < column.view.rows; ++row) {
      if (column.view.is_null(row)) {
        ++moments.nulls;
      } else if (part.counted) {
        part.values.add_text(column.view.text(row), 1);
        part.stop_counting_when_too_many();
      }
    }
    return;
  }
  auto& counts = part.code_counts;
  counts.assign(static_cast<std::size_t>(column.view.rows), 0);
  for (std::int64_t row = 0; row < rows; ++row) {
    if (column.is_null(row)) {
      ++moments.nulls;
    } else {
      ++counts[static_cast<std::size_t>(column.codes[row])];
    }
  }
  for (std::size_t code = 0; part.counted && code < counts.size(); ++code) {
    if (counts[code] == 0) continue;
    part.values.add_text(column.view.text(static_cast<std::int64_t>(code)), counts[code]);
    part.stop_counting_when_too_many();
  }
}

void add_integers(const ColumnView& view, FactsPart& part) {
  if (part.window.empty()) {
    for (std::int64_t row = 0; row < view.rows && part.window.empty(); ++row) {
      if (view.is_null(row)) continue;
      part.window.assign(static_cast<std::size_t>(kWindow), 0);
      // wraps at the ends of the range, as the difference below does
      part.base = static_cast<std::int64_t>(static_cast<std::uint64_t>(view.integer(row)) -
                                            static_cast<std::uint64_t>(kWindow / 2));
    }
  }
  const auto base = static_cast<std::uint64_t>(part.base);
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) continue;
    const auto value = static_cast<std::uint64_t>(view.integer(row));
    const std::uint64_t place = value - base;
    if (place < static_cast<std::uint64_t>(kWindow)) {
      ++part.window[place];
      continue;
    }
    part.values.add(value, 1);
    if (part.values.too_many()) {
      part.stop_counting_when_too_many();
      return;
    }
  }
}

// A column of one batch: moments, nulls, counts.
void add_column(const GroupColumn& column, FactsPart& part, GroupMoments& moments,
                std::int64_t rows) {
  const ColumnView& view = column.view;
  switch (view.type) {
    case Type::text: {
      GroupMoments batch;
      batch.rows = rows;
      add_texts(column, part, batch);
      moments.nulls += batch.nulls;
      return;
    }
    case Type::int64:
    case Type::timestamp:
      add_moments(
          view, [&](std::int64_t row) { return static_cast<double>(view.integer(row)); }, moments);
      if (part.counted) add_integers(view, part);
      return;
    case Type::boolean:
      add_moments(view, [&](std::int64_t row) { return view.boolean(row) ? 1.0 : 0.0; }, moments);
      for (std::int64_t row = 0; row < view.rows; ++row) {
        if (!view.is_null(row)) part.values.add(view.boolean(row) ? 1 : 0, 1);
      }
      return;
    case Type::float64:
      add_moments(view, [&](std::int64_t row) { return view.real(row); }, moments);
      for (std::int64_t row = 0; part.counted && row < view.rows; ++row) {
        if (view.is_null(row)) continue;
        part.values.add(number_bits(view.real(row)), 1);
        part.stop_counting_when_too_many();
      }
      return;
  }
}

std::uint64_t value_bits(const ColumnView& view, std::int64_t row) {
  switch (view.type) {
    case Type::boolean:
      return view.boolean(row) ? 1 : 0;
    case Type::float64:
      return number_bits(view.real(row));
    default:
      return static_cast<std::uint64_t>(view.integer(row));
  }
}

KeyHash fold(KeyHash hash, std::uint64_t a, std::uint64_t b) {
  return {mix64(hash.high ^ a) + 0x9e3779b97f4a7c15ULL,
          mix64((hash.low ^ (b * 0xff51afd7ed558ccdULL)) + 0xc2b2ae3d27d4eb4fULL)};
}

// The key hashes of a batch's rows; `present` says which rows have no null in the key.
void hash_keys(const GroupBatch& batch, const std::vector<std::size_t>& places,
               std::vector<KeyHash>& hashes, std::vector<std::uint8_t>& present) {
  hashes.assign(static_cast<std::size_t>(batch.rows), KeyHash{});
  present.assign(static_cast<std::size_t>(batch.rows), 1);
  std::vector<KeyHash> of_codes;
  for (const auto place : places) {
    const auto& column = batch.columns[place];
    const bool text = column.view.type == Type::text;
    const auto hash_text = [&](std::int64_t at) {
      const auto value = column.view.text(at);
      return KeyHash{hash64(value, 1), hash64(value, 0x5bd1e9955bd1e995ULL)};
    };
    if (column.coded()) {
      of_codes.clear();
      for (std::int64_t code = 0; code < column.view.rows; ++code)
        of_codes.push_back(column.view.is_null(code) ? KeyHash{} : hash_text(code));
    }
    for (std::int64_t row = 0; row < batch.rows; ++row) {
      const auto at = static_cast<std::size_t>(row);
      if (column.is_null(row)) {
        present[at] = 0;
        continue;
      }
      if (!text) {
        const auto bits = value_bits(column.view, row);
        hashes[at] = fold(hashes[at], bits, bits);
        continue;
      }
      const KeyHash value =
          column.coded() ? of_codes[static_cast<std::size_t>(column.codes[row])] : hash_text(row);
      hashes[at] = fold(hashes[at], value.high, value.low);
    }
  }
}

// Counts the hashes that occur more than once, part by part: each part's table fits in a cache.
void find_repeated(std::vector<std::vector<KeyHash>>& found, int threads, KeyFacts& key) {
  std::size_t total = 0;
  for (const auto& part : found) total += part.size();
  key.rows = static_cast<std::int64_t>(total);
  int bits = 0;
  while ((total >> bits) > 4096 && bits < 16) ++bits;
  const std::size_t parts = std::size_t{1} << bits;
  const auto part_of = [&](const KeyHash& hash) {
    return bits == 0 ? 0 : static_cast<std::size_t>(hash.high >> (64 - bits));
  };
  std::vector<std::size_t> begins(parts + 1, 0);
  for (const auto& list : found) {
    for (const auto& hash : list) ++begins[part_of(hash) + 1];
  }
  std::partial_sum(begins.begin(), begins.end(), begins.begin());
  std::vector<KeyHash> all(total);
  {
    auto next = begins;
    for (auto& list : found) {
      for (const auto& hash : list) all[next[part_of(hash)]++] = hash;
      std::vector<KeyHash>().swap(list);
    }
  }
  std::vector<std::int64_t> duplicates(parts, 0);
  std::vector<std::vector<KeyHash>> repeated(parts);
  parallel_for(
      parts, 64,
      [&](std::size_t from, std::size_t until) {
        std::vector<std::pair<std::uint32_t, std::uint32_t>> slots;  // first row + 1, how many
        for (std::size_t part = from; part < until; ++part) {
          const auto begin = begins[part];
          const auto count = begins[part + 1] - begin;
          std::size_t size = 16;
          while (size < 2 * count) size *= 2;
          slots.assign(size, {0, 0});
          for (std::size_t i = 0; i < count; ++i) {
            const auto& hash = all[begin + i];
            std::size_t at = hash.low & (size - 1);
            while (slots[at].first != 0 && !(all[begin + slots[at].first - 1] == hash))
              at = (at + 1) & (size - 1);
            if (slots[at].first == 0) slots[at].first = static_cast<std::uint32_t>(i + 1);
            ++slots[at].second;
          }
          for (const auto& [first, times] : slots) {
            if (times < 2) continue;
            duplicates[part] += times;
            repeated[part].push_back(all[begin + first - 1]);
          }
        }
      },
      threads);
  const auto less = [](const KeyHash& a, const KeyHash& b) {
    return a.high != b.high ? a.high < b.high : a.low < b.low;
  };
  for (std::size_t part = 0; part < parts; ++part) {
    key.duplicates += duplicates[part];
    std::sort(repeated[part].begin(), repeated[part].end(), less);
    key.repeated.insert(key.repeated.end(), repeated[part].begin(), repeated[part].end());
  }
}

void append_value(BatchBuilder& builder, std::size_t column, const ColumnView& view,
                  std::int64_t row) {
  switch (view.type) {
    case Type::boolean:
      return builder.append_boolean(column, view.boolean(row));
    case Type::float64:
      return builder.append_real(column, view.real(row));
    case Type::text:
      return builder.append_text(column, view.text(row));
    default:
      return builder.append_integer(column, view.integer(row));
  }
}

}  // namespace

void ValueCounts::clear() {
  slots_.clear();
  slots_.shrink_to_fit();
  bytes_.clear();
  bytes_.shrink_to_fit();
  size_ = 0;
}

void ValueCounts::grow() {
  std::vector<Slot> old(std::max<std::size_t>(256, slots_.size() * 2));
  old.swap(slots_);
  const std::size_t mask = slots_.size() - 1;
  for (const auto& slot : old) {
    if (slot.count == 0) continue;
    std::size_t at = mix64(slot.key) & mask;
    while (slots_[at].count != 0) at = (at + 1) & mask;
    slots_[at] = slot;
  }
}

// The slot that holds the key, or the empty one where it belongs.
template <class Same>
ValueCounts::Slot& ValueCounts::find(std::uint64_t key, const Same& same) {
  if (2 * (size_ + 1) > slots_.size()) grow();
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = mix64(key) & mask;
  while (slots_[at].count != 0 && !(slots_[at].key == key && same(slots_[at])))
    at = (at + 1) & mask;
  return slots_[at];
}

void ValueCounts::add(std::uint64_t key, std::int64_t count) {
  Slot& slot = find(key, [](const Slot&) { return true; });
  if (slot.count == 0) {
    slot.key = key;
    ++size_;
  }
  slot.count += count;
}

void ValueCounts::add_text(std::string_view text, std::int64_t count) {
  const auto key = hash64(text, kTextKey);
  Slot& slot = find(key, [&](const Slot& held) {
    return std::string_view(bytes_).substr(held.begin, held.length) == text;
  });
  if (slot.count == 0) {
    slot.key = key;
    slot.begin = bytes_.size();
    slot.length = text.size();
    bytes_ += text;
    ++size_;
  }
  slot.count += count;
}

std::vector<ValueCounts::Item> ValueCounts::items() const {
  std::vector<Item> items;
  items.reserve(size_);
  for (const auto& slot : slots_) {
    if (slot.count != 0)
      items.push_back(
          {slot.key, slot.count, std::string_view(bytes_).substr(slot.begin, slot.length)});
  }
  return items;
}

double ColumnFacts::number_of(std::uint64_t key) const {
  if (type == Type::float64) return std::bit_cast<double>(key);
  return static_cast<double>(static_cast<std::int64_t>(key));
}

Result<std::vector<ColumnFacts>> gather_facts(const Context& ctx, const GroupScan& scan,
                                              FactsWanted& wanted, int threads) {
  // the columns read: those asked for, then those of keys only
  std::vector<std::size_t> read = wanted.columns;
  std::vector<std::vector<std::size_t>> key_places;
  for (const auto& key : wanted.keys) {
    auto& places = key_places.emplace_back();
    for (const auto column : key.columns) {
      auto at = std::find(read.begin(), read.end(), column);
      if (at == read.end()) at = read.insert(read.end(), column);
      places.push_back(static_cast<std::size_t>(at - read.begin()));
    }
  }
  const std::size_t columns = wanted.columns.size();
  const std::size_t workers = GroupScan::workers(threads);
  std::vector<std::vector<FactsPart>> parts(workers);
  for (auto& part : parts) part.resize(columns);
  std::vector<std::vector<GroupMoments>> moments(scan.groups(), std::vector<GroupMoments>(columns));
  std::vector<std::vector<std::vector<KeyHash>>> hashes(wanted.keys.size());
  for (auto& of_key : hashes) of_key.resize(workers);

  auto done = scan.run(ctx, read, threads, [&](std::size_t worker, const GroupBatch& batch) {
    for (std::size_t i = 0; i < columns; ++i) {
      auto& group = moments[batch.group][i];
      group.rows += batch.rows;
      add_column(batch.columns[i], parts[worker][i], group, batch.rows);
    }
    std::vector<KeyHash> keys;
    std::vector<std::uint8_t> present;
    for (std::size_t k = 0; k < key_places.size(); ++k) {
      hash_keys(batch, key_places[k], keys, present);
      auto& into = hashes[k][worker];
      for (std::size_t row = 0; row < keys.size(); ++row) {
        if (present[row] != 0) into.push_back(keys[row]);
      }
    }
  });
  if (!done) return done.error();
  for (std::size_t k = 0; k < wanted.keys.size(); ++k)
    find_repeated(hashes[k], threads, wanted.keys[k]);

  std::vector<ColumnFacts> facts(columns);
  for (std::size_t i = 0; i < columns; ++i) {
    auto& fact = facts[i];
    fact.type = scan.schema().fields[wanted.columns[i]].type;
    for (const auto& group : moments) {
      fact.rows += group[i].rows;
      fact.nulls += group[i].nulls;
      fact.not_finite += group[i].not_finite;
      fact.moments.merge(group[i].moments);
      fact.sum += group[i].sum;
      fact.min = std::min(fact.min, group[i].min);
      fact.max = std::max(fact.max, group[i].max);
    }
    for (auto& of_worker : parts) {
      auto& part = of_worker[i];
      fact.counted = fact.counted && part.counted;
      if (!fact.counted) continue;
      for (const auto& item : part.values.items()) {
        if (fact.type == Type::text) {
          fact.values.add_text(item.text, item.count);
        } else {
          fact.values.add(item.key, item.count);
        }
      }
      for (std::size_t place = 0; place < part.window.size(); ++place) {
        if (part.window[place] != 0)
          fact.values.add(static_cast<std::uint64_t>(part.base) + place, part.window[place]);
      }
      part = FactsPart();
    }
    fact.counted = fact.counted && !fact.values.too_many();
    if (!fact.counted) fact.values.clear();
  }
  return facts;
}

Result<TablePtr> repeated_keys(const Context& ctx, const GroupScan& scan, const KeyFacts& key,
                               int threads) {
  Schema schema;
  for (const auto column : key.columns) schema.fields.push_back(scan.schema().fields[column]);
  std::vector<std::size_t> places(key.columns.size());
  std::iota(places.begin(), places.end(), std::size_t{0});
  // most rows are told apart by a bit
  std::vector<std::uint64_t> maybe(1 << 14, 0);
  const auto bit_of = [&](const KeyHash& hash) { return hash.low & (maybe.size() * 64 - 1); };
  for (const auto& hash : key.repeated) maybe[bit_of(hash) / 64] |= 1ULL << (bit_of(hash) % 64);
  const auto less = [](const KeyHash& a, const KeyHash& b) {
    return a.high != b.high ? a.high < b.high : a.low < b.low;
  };
  std::mutex mutex;
  std::vector<bool> taken(key.repeated.size(), false);
  BatchBuilder builder(schema);
  auto done = scan.run(ctx, key.columns, threads, [&](std::size_t, const GroupBatch& batch) {
    std::vector<KeyHash> hashes;
    std::vector<std::uint8_t> present;
    hash_keys(batch, places, hashes, present);
    for (std::size_t row = 0; row < hashes.size(); ++row) {
      const auto bit = bit_of(hashes[row]);
      if (present[row] == 0 || ((maybe[bit / 64] >> (bit % 64)) & 1) == 0) continue;
      const auto at = std::lower_bound(key.repeated.begin(), key.repeated.end(), hashes[row], less);
      if (at == key.repeated.end() || !(*at == hashes[row])) continue;
      const std::scoped_lock lock(mutex);
      const auto number = static_cast<std::size_t>(at - key.repeated.begin());
      if (taken[number]) continue;
      taken[number] = true;
      for (std::size_t i = 0; i < places.size(); ++i) {
        const auto& column = batch.columns[i];
        const auto place =
            column.coded() ? std::int64_t{column.codes[row]} : static_cast<std::int64_t>(row);
        append_value(builder, i, column.view, place);
      }
    }
  });
  if (!done) return done.error();
  return builder.to_table();
}

Result<TablePtr> value_table(const ColumnFacts& facts, const std::string& column) {
  BatchBuilder builder({{{column, facts.type}, {std::string(kCountColumn), Type::int64}}});
  for (const auto& item : facts.values.items()) {
    switch (facts.type) {
      case Type::text:
        builder.append_text(0, item.text);
        break;
      case Type::boolean:
        builder.append_boolean(0, item.key != 0);
        break;
      case Type::float64:
        builder.append_real(0, std::bit_cast<double>(item.key));
        break;
      case Type::int64:
      case Type::timestamp:
        builder.append_integer(0, static_cast<std::int64_t>(item.key));
        break;
    }
    builder.append_integer(1, item.count);
  }
  if (facts.nulls > 0) {
    builder.append_null(0);
    builder.append_integer(1, facts.nulls);
  }
  return builder.to_table();
}

}  // namespace slipway::data
