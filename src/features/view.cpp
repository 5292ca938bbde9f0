#include "features/view.h"

#include <arrow/api.h>

#include <cmath>
#include <mutex>
#include <numeric>

#include "base/parallel.h"
#include "features/category_internal.h"
#include "features/stage_internal.h"

namespace slipway::features {
namespace {

using Stat = ViewValue::Stat;

constexpr std::size_t kLookUpsPerTask = 512;

// A key of one or more columns as bytes; equal values of integer columns and of texts give equal
// bytes, whichever side they come from. False: a part of it is missing.
bool append_key(const data::ColumnView& column, std::int64_t row, std::string& out) {
  if (column.is_null(row)) return false;
  std::uint64_t bits = 0;
  switch (column.type) {
    case data::Type::text: {
      const std::string_view text = column.text(row);
      bits = text.size();
      out.append(reinterpret_cast<const char*>(&bits), sizeof bits).append(text);
      return true;
    }
    case data::Type::float64: {
      const double value = column.real(row);
      if (!std::isfinite(value)) return false;
      // Whole numbers serve as integers: a request's 3.0 finds the dataset's 3.
      const bool whole = value == std::trunc(value) && std::abs(value) < 9e15;
      bits = whole ? static_cast<std::uint64_t>(static_cast<std::int64_t>(value))
                   : std::bit_cast<std::uint64_t>(value);
      break;
    }
    case data::Type::boolean:
      bits = column.boolean(row) ? 1 : 0;
      break;
    case data::Type::int64:
    case data::Type::timestamp:
      bits = static_cast<std::uint64_t>(column.integer(row));
      break;
  }
  out.append(reinterpret_cast<const char*>(&bits), sizeof bits);
  return true;
}

bool append_key(std::span<const data::ColumnView> columns, std::int64_t row, std::string& out) {
  out.clear();
  for (const data::ColumnView& column : columns) {
    if (!append_key(column, row, out)) return false;
  }
  return true;
}

double number_of(const data::ColumnView& column, std::int64_t row) {
  const double value = column.is_null(row) ? kMissing : column.number(row);
  return std::isfinite(value) ? value : kMissing;
}

// Missing values last.
bool before(double a, double b) {
  if (std::isnan(a)) return false;
  return std::isnan(b) || a < b;
}

// One value being computed from events, newest first.
struct Tally {
  const ViewValue* value = nullptr;
  std::int64_t seen = 0;  // events, for lags and windows of events
  double count = 0;       // values that are there
  double sum = 0;
  double mean = 0;
  double squares = 0;  // B. Welford, "Note on a method for calculating corrected sums …" (1962)
  double least = kMissing;
  double greatest = kMissing;
  double found = kMissing;
  bool done = false;

  void add(double x, std::uint64_t age) {
    if (value->within && age >= static_cast<std::uint64_t>(value->within->count())) done = true;
    if (done) return;
    ++seen;
    if (value->stat == Stat::lag) {
      done = seen == value->lag;
      if (done) found = x;
      return;
    }
    done = value->rows && seen == *value->rows;
    if (std::isnan(x)) return;
    ++count;
    sum += x;
    const double step = x - mean;
    mean += step / count;
    squares += step * (x - mean);
    least = std::isnan(least) || x < least ? x : least;
    greatest = std::isnan(greatest) || x > greatest ? x : greatest;
  }
  double result() const {
    switch (value->stat) {
      case Stat::lag:
        return found;
      case Stat::count:
        return count;
      case Stat::least:
        return least;
      case Stat::greatest:
        return greatest;
      case Stat::sum:
        return count > 0 && std::isfinite(sum) ? sum : kMissing;
      case Stat::mean:
        return count > 0 && std::isfinite(sum) ? sum / count : kMissing;
      case Stat::deviation: {
        const double deviation = std::sqrt(squares / count);
        return count > 0 && std::isfinite(deviation) ? deviation : kMissing;
      }
    }
    return kMissing;
  }
};

}  // namespace

struct View::Impl {
  ViewSpec spec;
  std::string digest;
  std::string version;
  TextIndex index;                   // of keys
  std::vector<std::size_t> begins;   // [keys + 1], of each key's events
  std::vector<std::int64_t> events;  // microseconds; of one key newest first
  std::vector<std::int64_t> known;
  std::vector<std::vector<double>> columns;  // [columns, events]
  std::vector<std::int32_t> column_of;       // of each value; -1: counts all
  std::int64_t newest = std::numeric_limits<std::int64_t>::min();

  Freshness look_up(std::string_view key, std::int64_t at, double* out) const {
    thread_local std::vector<Tally> tallies;
    tallies.assign(spec.values.size(), {});
    for (std::size_t v = 0; v < tallies.size(); ++v) tallies[v].value = &spec.values[v];
    const std::int32_t number = index.find(key);
    Freshness freshness = Freshness::unknown;
    std::size_t open = tallies.size();
    if (number >= 0) {
      const auto first =
          events.begin() + static_cast<std::ptrdiff_t>(begins[static_cast<std::size_t>(number)]);
      const auto last = events.begin() +
                        static_cast<std::ptrdiff_t>(begins[static_cast<std::size_t>(number) + 1]);
      const auto from = std::lower_bound(first, last, at, std::greater<>());
      for (auto i = static_cast<std::size_t>(from - events.begin());
           i < static_cast<std::size_t>(last - events.begin()) && open > 0; ++i) {
        if (known[i] > at) continue;
        // The event lies before the decision; however far, the difference fits without a sign.
        const auto age = static_cast<std::uint64_t>(at) - static_cast<std::uint64_t>(events[i]);
        if (spec.ttl && age > static_cast<std::uint64_t>(spec.ttl->count())) {
          if (freshness == Freshness::unknown) freshness = Freshness::expired;
          break;
        }
        freshness = Freshness::fresh;
        open = 0;
        for (std::size_t v = 0; v < tallies.size(); ++v) {
          if (tallies[v].done) continue;
          tallies[v].add(column_of[v] < 0 ? 1 : columns[static_cast<std::size_t>(column_of[v])][i],
                         age);
          open += tallies[v].done ? 0 : 1;
        }
      }
    }
    for (std::size_t v = 0; v < tallies.size(); ++v) out[v] = tallies[v].result();
    return freshness;
  }
};

View::View(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
View::~View() = default;
const ViewSpec& View::spec() const { return impl_->spec; }
const std::string& View::digest() const { return impl_->digest; }
const std::string& View::version() const { return impl_->version; }
std::int64_t View::events() const { return static_cast<std::int64_t>(impl_->events.size()); }
std::int64_t View::keys() const { return static_cast<std::int64_t>(impl_->index.size()); }
std::optional<Time> View::newest_event() const {
  if (impl_->events.empty()) return std::nullopt;
  return from_micros(impl_->newest);
}

Result<ViewPtr> View::build(const Context& ctx, const ViewSpec& spec, const data::Batch& history,
                            const std::string& version) {
  const auto column = [&](const std::string& name) -> Result<data::ColumnView> {
    const auto at = history.schema->find(name);
    if (!at) return at.error().at("view '" + spec.name + "'");
    return history.columns[*at];
  };
  const auto moment = [&](const std::string& name) -> Result<data::ColumnView> {
    auto found = column(name);
    if (found && found->type != data::Type::timestamp) {
      return invalid_argument("view '" + spec.name + "': column '" + name + "' is " +
                              std::string(to_string(found->type)) + ", and a time is needed");
    }
    return found;
  };
  auto impl = std::make_unique<Impl>();
  impl->spec = spec;
  impl->digest = spec.digest();
  impl->version = version;
  const auto event = moment(spec.event);
  if (!event) return event.error();
  const auto known = moment(spec.known_column.empty() ? spec.event : spec.known_column);
  if (!known) return known.error();
  std::vector<data::ColumnView> keys;
  for (const auto& [mine, theirs] : spec.keys) {
    const auto key = column(theirs);
    if (!key) return key.error();
    keys.push_back(*key);
  }
  std::vector<std::string> names;
  std::vector<data::ColumnView> numbers;
  for (const ViewValue& value : spec.values) {
    const auto there = std::find(names.begin(), names.end(), value.of);
    impl->column_of.push_back(value.of.empty() ? -1
                                               : static_cast<std::int32_t>(there - names.begin()));
    if (value.of.empty() || there != names.end()) continue;
    const auto found = column(value.of);
    if (!found) return found.error();
    if (found->type == data::Type::text || found->type == data::Type::timestamp) {
      return invalid_argument("view '" + spec.name + "': column '" + value.of + "' is " +
                              std::string(to_string(found->type)) + ", and values are numbers");
    }
    names.push_back(value.of);
    numbers.push_back(*found);
  }

  struct Event {
    std::int32_t key;
    std::int64_t at;
    std::int64_t known;
    std::int64_t row;
  };
  std::vector<Event> events;
  std::string bytes;
  for (std::int64_t row = 0; row < history.rows; ++row) {
    if ((row & 0xFFFF) == 0) {
      if (const auto wanted = ctx.check(); !wanted) return wanted.error();
    }
    if (event->is_null(row) || known->is_null(row) || !append_key(keys, row, bytes)) continue;
    std::int64_t since = known->integer(row);
    if (spec.known_column.empty() &&
        __builtin_add_overflow(since, spec.known_after.count(), &since))
      continue;  // never
    events.push_back({impl->index.insert(bytes), event->integer(row), since, row});
  }
  std::sort(events.begin(), events.end(), [&](const Event& a, const Event& b) {
    if (a.key != b.key) return a.key < b.key;
    if (a.at != b.at) return a.at > b.at;
    if (a.known != b.known) return a.known > b.known;
    for (const data::ColumnView& values : numbers) {
      const double x = number_of(values, a.row);
      const double y = number_of(values, b.row);
      if (before(x, y)) return true;
      if (before(y, x)) return false;
    }
    return false;
  });
  if (const auto wanted = ctx.check(); !wanted) return wanted.error();
  impl->begins.assign(impl->index.size() + 1, 0);
  impl->columns.resize(numbers.size());
  for (const Event& each : events) {
    ++impl->begins[static_cast<std::size_t>(each.key) + 1];
    impl->events.push_back(each.at);
    impl->known.push_back(each.known);
    impl->newest = std::max(impl->newest, each.at);
    for (std::size_t c = 0; c < numbers.size(); ++c)
      impl->columns[c].push_back(number_of(numbers[c], each.row));
  }
  std::partial_sum(impl->begins.begin(), impl->begins.end(), impl->begins.begin());
  return ViewPtr(new View(std::move(impl)));
}

Result<void> View::look_up(const data::Batch& rows, std::span<double> out,
                           std::span<Freshness> freshness, std::optional<Time> now) const {
  const ViewSpec& spec = impl_->spec;
  const auto count = static_cast<std::size_t>(rows.rows);
  if (out.size() != count * spec.values.size() ||
      (!freshness.empty() && freshness.size() != count)) {
    return invalid_argument("view '" + spec.name + "': room for " + std::to_string(out.size()) +
                            " values, and there are " + std::to_string(count) + " rows of " +
                            std::to_string(spec.values.size()));
  }
  thread_local std::vector<data::ColumnView> keys;
  thread_local std::string key;
  keys.clear();
  for (const auto& [mine, theirs] : spec.keys) {
    const auto at = rows.schema->find(mine);
    if (!at) return at.error().at("view '" + spec.name + "'");
    keys.push_back(rows.columns[*at]);
  }
  const data::ColumnView* times = nullptr;
  if (!now) {
    const auto at = rows.schema->find(spec.at);
    if (!at) return at.error().at("view '" + spec.name + "'");
    times = &rows.columns[*at];
    if (times->type != data::Type::timestamp) {
      return invalid_argument("view '" + spec.name + "': column '" + spec.at + "' is " +
                              std::string(to_string(times->type)) +
                              ", and the time of the decision is needed");
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = static_cast<std::int64_t>(i);
    double* const to = out.data() + i * spec.values.size();
    const bool timed = times == nullptr || !times->is_null(row);
    const bool keyed = append_key(keys, row, key);
    const std::int64_t at = now ? to_micros(*now) : (timed ? times->integer(row) : 0);
    Freshness found = Freshness::unknown;
    if (timed && keyed) {
      found = impl_->look_up(key, at, to);
    } else {
      std::fill_n(to, spec.values.size(), kMissing);
    }
    if (!freshness.empty()) freshness[i] = found;
  }
  return {};
}

Result<data::TablePtr> join_views(const Context& ctx, const data::Batch& rows,
                                  std::span<const ViewPtr> views, int threads) {
  auto table = data::table_of(rows);
  if (!table) return table.error();
  for (const ViewPtr& view : views) {
    const std::vector<std::string> names = view->spec().outputs();
    for (const std::string& name : names) {
      if (rows.schema->index(name))
        return invalid_argument("there is a column called '" + name + "' already");
    }
    const auto count = static_cast<std::size_t>(rows.rows);
    std::vector<double> values(count * names.size());
    std::mutex mutex;
    Result<void> outcome;
    parallel_for(
        count, kLookUpsPerTask,
        [&](std::size_t begin, std::size_t end) {
          if (ctx.cancelled()) return;
          const auto part =
              rows.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end - begin));
          auto done = view->look_up(
              part, std::span(values).subspan(begin * names.size(), (end - begin) * names.size()));
          if (done) return;
          const std::scoped_lock lock(mutex);
          outcome = std::move(done);
        },
        threads);
    if (!outcome) return outcome.error();
    if (const auto wanted = ctx.check(); !wanted) return wanted.error();
    for (std::size_t v = 0; v < names.size(); ++v) {
      arrow::DoubleBuilder builder;
      auto status = builder.Reserve(rows.rows);
      for (std::size_t i = 0; i < count && status.ok(); ++i) {
        const double value = values[i * names.size() + v];
        status = std::isnan(value) ? builder.AppendNull() : builder.Append(value);
      }
      std::shared_ptr<arrow::Array> array;
      if (status.ok()) status = builder.Finish(&array);
      if (!status.ok()) return internal(status.ToString());
      auto wider =
          (*table)->AddColumn((*table)->num_columns(), arrow::field(names[v], arrow::float64()),
                              std::make_shared<arrow::ChunkedArray>(array));
      if (!wider.ok()) return internal(wider.status().ToString());
      *table = *wider;
    }
  }
  return table;
}

}  // namespace slipway::features
