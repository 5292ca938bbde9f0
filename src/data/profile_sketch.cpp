// A profiler's state as bytes: CBOR (RFC 8949) of a version and, for each column, its sketches.
// Numbers that come in long rows are kept as little-endian byte strings.
#include "data/profile_internal.h"

namespace slipway::data {

namespace {

constexpr std::string_view kSketchFormat = "slipway sketch 1";

template <class T>
Json packed(const std::vector<T>& values) {
  std::vector<std::uint8_t> bytes(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return Json::binary(std::move(bytes));
}

template <class T>
bool unpack(const Json& state, const char* key, std::vector<T>& values) {
  const auto found = state.find(key);
  if (found == state.end() || !found->is_binary()) return false;
  const auto& bytes = found->get_binary();
  if (bytes.size() % sizeof(T) != 0) return false;
  values.resize(bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return true;
}

bool take(const Json& state, const char* key, std::int64_t& into) {
  const auto found = state.find(key);
  if (found == state.end() || !found->is_number_integer()) return false;
  into = found->get<std::int64_t>();
  return into >= 0;
}

bool take(const Json& state, const char* key, double& into) {
  const auto found = state.find(key);
  if (found == state.end() || !found->is_number()) return false;
  into = found->get<double>();
  return true;
}

Json bits(double value) { return std::bit_cast<std::uint64_t>(value); }

bool take_bits(const Json& state, const char* key, double& into) {
  const auto found = state.find(key);
  if (found == state.end() || !found->is_number_unsigned()) return false;
  into = std::bit_cast<double>(found->get<std::uint64_t>());
  return true;
}

}  // namespace

Json QuantileSketch::state() const {
  Json levels = Json::array();
  for (const auto& level : levels_) levels.push_back(packed(level));
  return {{"levels", std::move(levels)}, {"count", count_}, {"coin", coin_}};
}

bool QuantileSketch::restore(const Json& state) {
  QuantileSketch sketch;
  const auto levels = state.find("levels");
  if (levels == state.end() || !levels->is_array() || levels->size() > 62) return false;
  std::int64_t weight = 0;
  for (std::size_t i = 0; i < levels->size(); ++i) {
    auto& level = sketch.levels_.emplace_back();
    if (!unpack(Json{{"values", (*levels)[i]}}, "values", level)) return false;
    sketch.held_ += level.size();
    weight += static_cast<std::int64_t>(level.size()) << i;
  }
  for (std::size_t i = 0; i < sketch.levels_.size(); ++i) sketch.limit_ += sketch.capacity(i);
  if (!take(state, "count", sketch.count_) || sketch.count_ != weight) return false;
  const auto coin = state.find("coin");
  if (coin == state.end() || !coin->is_number_unsigned()) return false;
  sketch.coin_ = coin->get<std::uint64_t>();
  *this = std::move(sketch);
  return true;
}

Json DistinctSketch::state() const {
  return packed(std::vector<std::uint8_t>(registers_.begin(), registers_.end()));
}

bool DistinctSketch::restore(const Json& state) {
  if (!state.is_binary() || state.get_binary().size() != registers_.size()) return false;
  const auto& bytes = state.get_binary();
  if (std::any_of(bytes.begin(), bytes.end(), [](auto rank) { return rank > 64 - kBits + 1; }))
    return false;
  std::copy(bytes.begin(), bytes.end(), registers_.begin());
  return true;
}

Json FrequentItems::state() const {
  std::vector<std::uint64_t> keys;
  std::vector<std::int64_t> counts;
  std::vector<std::uint32_t> lengths;
  std::vector<std::uint8_t> texts;
  for (const auto& item : items()) {
    keys.push_back(item.key);
    counts.push_back(item.count);
    lengths.push_back(static_cast<std::uint32_t>(item.text.size()));
    texts.insert(texts.end(), item.text.begin(), item.text.end());
  }
  return {{"keys", packed(keys)},   {"counts", packed(counts)}, {"lengths", packed(lengths)},
          {"texts", packed(texts)}, {"error", error_},          {"exact", exact_}};
}

bool FrequentItems::restore(const Json& state) {
  std::vector<std::uint64_t> keys;
  std::vector<std::int64_t> counts;
  std::vector<std::uint32_t> lengths;
  std::vector<std::uint8_t> texts;
  if (!unpack(state, "keys", keys) || !unpack(state, "counts", counts) ||
      !unpack(state, "lengths", lengths) || !unpack(state, "texts", texts))
    return false;
  if (keys.size() > kMaxKeys || counts.size() != keys.size() || lengths.size() != keys.size())
    return false;
  FrequentItems items;
  std::size_t at = 0;
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (counts[i] <= 0 || lengths[i] > texts.size() - at) return false;
    items.add(keys[i], counts[i], {reinterpret_cast<const char*>(texts.data()) + at, lengths[i]});
    at += lengths[i];
  }
  const auto exact = state.find("exact");
  if (exact == state.end() || !exact->is_boolean()) return false;
  if (!take(state, "error", items.error_)) return false;
  items.exact_ = exact->get<bool>();
  *this = std::move(items);
  return true;
}

Json TextKinds::state() const { return {integers, reals, times, leading_zeros, padded}; }

bool TextKinds::restore(const Json& state) {
  if (!state.is_array() || state.size() != 5) return false;
  std::int64_t* const into[] = {&integers, &reals, &times, &leading_zeros, &padded};
  for (std::size_t i = 0; i < 5; ++i) {
    if (!state[i].is_number_integer()) return false;
    *into[i] = state[i].get<std::int64_t>();
  }
  return true;
}

Json ColumnSummary::state() const {
  return {
      {"rows", rows},
      {"nulls", nulls},
      {"not_finite", not_finite},
      {"zeros", zeros},
      {"min", bits(min)},
      {"max", bits(max)},
      {"moments", {{"count", moments.count}, {"mean", moments.mean}, {"squares", moments.squares}}},
      {"texts", texts},
      {"shortest", shortest},
      {"longest", longest},
      {"total_length", total_length},
      {"kinds", kinds.state()},
      {"frequent", frequent.state()},
      {"sketching", sketching},
      {"distinct", sketching ? distinct.state() : Json()},
      {"quantiles", sketching ? quantiles.state() : Json()}};
}

bool ColumnSummary::restore(const Json& state) {
  if (!state.is_object()) return false;
  const auto moment = state.value("moments", Json::object());
  const auto flag = state.find("sketching");
  if (flag == state.end() || !flag->is_boolean()) return false;
  sketching = flag->get<bool>();
  return take(state, "rows", rows) && take(state, "nulls", nulls) &&
         take(state, "not_finite", not_finite) && take(state, "zeros", zeros) &&
         take_bits(state, "min", min) && take_bits(state, "max", max) &&
         take(moment, "count", moments.count) && take(moment, "mean", moments.mean) &&
         take(moment, "squares", moments.squares) && take(state, "texts", texts) &&
         take(state, "shortest", shortest) && take(state, "longest", longest) &&
         take(state, "total_length", total_length) && kinds.restore(state.value("kinds", Json())) &&
         frequent.restore(state.value("frequent", Json::object())) &&
         (!sketching || (distinct.restore(state.value("distinct", Json())) &&
                         quantiles.restore(state.value("quantiles", Json::object()))));
}

Json RowSample::state() const {
  std::vector<std::uint64_t> numbers;
  std::vector<std::uint64_t> cells;
  for (const auto& [number, from] : heap_) {
    numbers.push_back(number);
    for (std::size_t column = 0; column < columns_; ++column)
      cells.push_back(cells_[from * columns_ + column]);
  }
  return {{"numbers", packed(numbers)}, {"cells", packed(cells)}, {"seen", seen_}, {"salt", salt_}};
}

bool RowSample::restore(const Json& state) {
  std::vector<std::uint64_t> numbers;
  std::vector<std::uint64_t> cells;
  if (!state.is_object() || !unpack(state, "numbers", numbers) || !unpack(state, "cells", cells))
    return false;
  if (numbers.size() > limit_ || cells.size() != numbers.size() * columns_) return false;
  const auto salt = state.find("salt");
  if (salt == state.end() || !salt->is_number_unsigned() || !take(state, "seen", seen_))
    return false;
  salt_ = salt->get<std::uint64_t>();
  heap_.clear();
  for (std::size_t row = 0; row < numbers.size(); ++row) heap_.emplace_back(numbers[row], row);
  std::make_heap(heap_.begin(), heap_.end());
  cells_ = std::move(cells);
  return true;
}

std::string Profiler::save() const {
  const auto& options = impl_->options;
  Json state = {{"format", kSketchFormat},
                {"schema", impl_->schema.to_json()},
                {"rows", impl_->rows},
                {"options",
                 {{"bins", options.bins},
                  {"top", options.top},
                  {"categories", options.categories},
                  {"histogram", options.histogram},
                  {"sample", options.sample},
                  {"target", options.target}}},
                {"columns", Json::array()},
                {"sample", impl_->sample.state()}};
  for (const auto& column : impl_->columns) state["columns"].push_back(column.state());
  std::string bytes;
  Json::to_cbor(state, bytes);
  return bytes;
}

Result<Profiler> Profiler::load(std::string_view bytes) {
  const auto damaged = [](std::string_view what) {
    return invalid_argument(
        fmt::format("not a whole profile sketch of format \"{}\": {}", kSketchFormat, what));
  };
  const Json state = Json::from_cbor(bytes, true, false);
  if (!state.is_object() || state.value("format", Json()) != Json(kSketchFormat))
    return damaged("its beginning is another");
  auto schema = Schema::from_json(state.value("schema", Json()));
  if (!schema) return damaged(schema.error().message);
  const auto given = state.value("options", Json::object());
  ProfileOptions options;
  constexpr std::int64_t kMostOf = 1'000'000;  // of any option: more is no option but damage
  std::int64_t numbers[5] = {};
  const char* const names[] = {"bins", "top", "categories", "histogram", "sample"};
  for (std::size_t i = 0; i < 5; ++i) {
    if (!given.is_object() || !take(given, names[i], numbers[i]) || numbers[i] > kMostOf)
      return damaged(names[i]);
  }
  options.bins = static_cast<std::size_t>(numbers[0]);
  options.top = static_cast<std::size_t>(numbers[1]);
  options.categories = static_cast<std::size_t>(numbers[2]);
  options.histogram = static_cast<std::size_t>(numbers[3]);
  options.sample = static_cast<std::size_t>(numbers[4]);
  if (const auto target = given.value("target", Json()); target.is_string())
    options.target = target.get<std::string>();
  Profiler profiler(std::move(*schema), std::move(options));
  auto& impl = *profiler.impl_;
  const auto columns = state.find("columns");
  if (columns == state.end() || !columns->is_array() || columns->size() != impl.columns.size())
    return damaged("columns");
  for (std::size_t i = 0; i < impl.columns.size(); ++i) {
    if (!impl.columns[i].restore((*columns)[i]))
      return damaged("column '" + impl.schema.fields[i].name + "'");
  }
  if (!take(state, "rows", impl.rows)) return damaged("rows");
  if (!impl.sample.restore(state.value("sample", Json()))) return damaged("sample");
  return profiler;
}

}  // namespace slipway::data
