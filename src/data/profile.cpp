#include "data/profile.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "data/profile_internal.h"

namespace slipway::data {

namespace {

constexpr double kProbabilities[] = {0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99};
constexpr std::uint64_t kTextSeed = 0x736c6970;

using Weighted = std::vector<std::pair<double, std::int64_t>>;  // values with counts, ascending

// The smallest value that at least the share `probability` of all lies at or below.
double quantile(const Weighted& values, std::int64_t total, double probability) {
  const double wanted = probability * static_cast<double>(total);
  double below = 0;
  for (const auto& [value, weight] : values) {
    below += static_cast<double>(weight);
    if (below >= wanted) return value;
  }
  return values.back().first;
}

// Edges between bins of about equal counts. A value that fills whole bins by itself gets one bin
// alone.
std::vector<double> edges_of(const Weighted& values, std::int64_t total, std::size_t bins) {
  std::vector<double> edges;
  double before = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 1; i < bins; ++i) {
    const double edge = quantile(values, total, static_cast<double>(i) / static_cast<double>(bins));
    if (edge != before) {
      edges.push_back(edge);
    } else {
      const double below = std::nextafter(edge, -std::numeric_limits<double>::infinity());
      if (edges.size() < 2 || edges[edges.size() - 2] < below) edges.insert(edges.end() - 1, below);
    }
    before = edge;
  }
  return edges;
}

Histogram histogram_of(const Weighted& values, std::int64_t total, std::size_t bars) {
  // a few values far off would leave one bar for all the others
  double low = values.front().first;
  double high = values.back().first;
  const double first = quantile(values, total, 0.01);
  const double last = quantile(values, total, 0.99);
  const double body = last - first;
  if (body > 0 && first - low > body) low = first;
  if (body > 0 && high - last > body) high = last;
  Histogram histogram{low, high, std::vector<std::int64_t>(bars, 0)};
  const double width = (high - low) / static_cast<double>(bars);
  for (const auto& [value, weight] : values) {
    const double at = width > 0 ? std::floor((value - low) / width) : 0;
    histogram
        .counts[static_cast<std::size_t>(std::clamp(at, 0.0, static_cast<double>(bars - 1)))] +=
        weight;
  }
  return histogram;
}

std::uint64_t bits_of(double value) {
  if (value == 0) value = 0;  // one zero
  std::uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

double real_of(std::uint64_t bits) {
  double value = 0;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace

double ColumnSummary::number_of(std::uint64_t key) const {
  if (type == Type::float64) return real_of(key);
  return static_cast<double>(static_cast<std::int64_t>(key));
}

// From counting every value to sketches, once there are too many distinct ones.
void ColumnSummary::start_sketching(const std::vector<FrequentItems::Item>& items) {
  sketching = true;
  for (const auto& item : items) {
    distinct.add_hash(mix64(item.key));
    if (type != Type::text) quantiles.add(number_of(item.key), item.count);
  }
}

void ColumnSummary::add_key(std::uint64_t key, std::string_view text, std::int64_t count) {
  if (!sketching && frequent.size() == FrequentItems::kMaxKeys) {
    // The next new key would make the counts inexact. (An old one would not; starting a little
    // early does no harm.)
    start_sketching(frequent.items());
  }
  if (sketching) {
    distinct.add_hash(mix64(key));
    if (type != Type::text) quantiles.add(number_of(key), count);
  }
  frequent.add(key, count, text);
}

void ColumnSummary::add(const GroupColumn& column, std::int64_t count) {
  rows += count;
  const ColumnView& view = column.view;
  switch (type) {
    case Type::text:
      return add_texts(column, count);
    case Type::float64:
      return add_numbers(
          view, [&view](std::int64_t row) { return view.real(row); },
          [](double value) { return bits_of(value); });
    case Type::boolean:
      return add_numbers(
          view,
          [&view](std::int64_t row) {
            return view.boolean(row) ? std::int64_t{1} : std::int64_t{0};
          },
          [](std::int64_t value) { return static_cast<std::uint64_t>(value); });
    case Type::int64:
    case Type::timestamp:
      return add_numbers(
          view, [&view](std::int64_t row) { return view.integer(row); },
          [](std::int64_t value) { return static_cast<std::uint64_t>(value); });
  }
}

void ColumnSummary::add_text(std::string_view text, std::int64_t count) {
  const auto length = static_cast<std::int64_t>(text.size());
  shortest = texts == 0 ? length : std::min(shortest, length);
  longest = std::max(longest, length);
  total_length += length * count;
  texts += count;
  kinds.add(text, count);
  add_key(hash64(text, kTextSeed), text, count);
}

void ColumnSummary::add_texts(const GroupColumn& column, std::int64_t count) {
  if (!column.coded()) {
    for (std::int64_t row = 0; row < count; ++row) {
      if (column.view.is_null(row)) {
        ++nulls;
      } else {
        add_text(column.view.text(row), 1);
      }
    }
    return;
  }
  std::vector<std::int64_t> times(static_cast<std::size_t>(column.view.rows), 0);
  for (std::int64_t row = 0; row < count; ++row) {
    if (column.is_null(row)) {
      ++nulls;
    } else {
      ++times[static_cast<std::size_t>(column.codes[row])];
    }
  }
  for (std::size_t code = 0; code < times.size(); ++code) {
    if (times[code] > 0) add_text(column.view.text(static_cast<std::int64_t>(code)), times[code]);
  }
}

// Whole numbers that lie close together are counted by place first.
void ColumnSummary::add_integers(const ColumnView& view) {
  std::int64_t least = std::numeric_limits<std::int64_t>::max();
  std::int64_t most = std::numeric_limits<std::int64_t>::min();
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) continue;
    const auto value = view.integer(row);
    least = std::min(least, value);
    most = std::max(most, value);
  }
  if (least > most) return;
  const auto span = static_cast<std::uint64_t>(most) - static_cast<std::uint64_t>(least);
  if (span < static_cast<std::uint64_t>(view.rows)) {
    std::vector<std::int64_t> times(span + 1, 0);
    for (std::int64_t row = 0; row < view.rows; ++row) {
      if (!view.is_null(row)) ++times[static_cast<std::size_t>(view.integer(row) - least)];
    }
    for (std::size_t place = 0; place < times.size(); ++place) {
      if (times[place] > 0)
        add_key(static_cast<std::uint64_t>(least + static_cast<std::int64_t>(place)), {},
                times[place]);
    }
    return;
  }
  // else neighbours that are equal together
  std::int64_t held = 0;
  std::int64_t times = 0;
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) continue;
    const auto value = view.integer(row);
    if (times > 0 && value != held) {
      add_key(static_cast<std::uint64_t>(held), {}, times);
      times = 0;
    }
    held = value;
    ++times;
  }
  if (times > 0) add_key(static_cast<std::uint64_t>(held), {}, times);
}

template <class Get, class Key>
void ColumnSummary::add_numbers(const ColumnView& view, const Get& get, const Key& key) {
  // Moments of this batch in two passes, then joined to the rest: exact to the last bits, and
  // quick.
  std::int64_t count = 0;
  double sum = 0;
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) continue;
    const auto value = static_cast<double>(get(row));
    if (!std::isfinite(value)) continue;
    ++count;
    sum += value;
  }
  const bool whole = type == Type::int64 || type == Type::timestamp;
  Moments batch;
  batch.count = count;
  batch.mean = count == 0 ? 0 : sum / static_cast<double>(count);
  for (std::int64_t row = 0; row < view.rows; ++row) {
    if (view.is_null(row)) {
      ++nulls;
      continue;
    }
    const auto raw = get(row);
    const auto value = static_cast<double>(raw);
    if (!std::isfinite(value)) {
      ++not_finite;
      continue;
    }
    const double from_mean = value - batch.mean;
    batch.squares += from_mean * from_mean;
    min = std::min(min, value);
    max = std::max(max, value);
    zeros += value == 0 ? 1 : 0;
    if (!whole) add_key(key(raw));
  }
  if (whole) add_integers(view);
  moments.merge(batch);
}

void Moments::merge(const Moments& other) {
  if (other.count == 0) return;
  const auto mine = static_cast<double>(count);
  const auto theirs = static_cast<double>(other.count);
  const double total = mine + theirs;
  const double apart = other.mean - mean;
  mean += apart * theirs / total;
  squares += other.squares + apart * apart * mine * theirs / total;
  count += other.count;
}

void ColumnSummary::merge(const ColumnSummary& other) {
  if (other.sketching) {
    if (!sketching) start_sketching(frequent.items());
    distinct.merge(other.distinct);
    quantiles.merge(other.quantiles);
    frequent.merge(other.frequent);
  } else {
    for (const auto& item : other.frequent.items()) add_key(item.key, item.text, item.count);
  }
  moments.merge(other.moments);
  if (other.texts > 0) shortest = texts == 0 ? other.shortest : std::min(shortest, other.shortest);
  longest = std::max(longest, other.longest);
  total_length += other.total_length;
  texts += other.texts;
  kinds.merge(other.kinds);
  rows += other.rows;
  nulls += other.nulls;
  not_finite += other.not_finite;
  zeros += other.zeros;
  min = std::min(min, other.min);
  max = std::max(max, other.max);
}

Json ColumnSummary::value_of(const FrequentItems::Item& item) const {
  switch (type) {
    case Type::text:
      return item.text;
    case Type::boolean:
      return item.key != 0;
    case Type::float64:
      return real_of(item.key);
    case Type::int64:
      return static_cast<std::int64_t>(item.key);
    case Type::timestamp:
      return format_time(from_micros(static_cast<std::int64_t>(item.key)));
  }
  return nullptr;
}

ColumnProfile ColumnSummary::finish(const std::string& name, const ProfileOptions& options) const {
  ColumnProfile profile;
  profile.name = name;
  profile.type = type;
  profile.rows = rows;
  profile.nulls = nulls;
  profile.not_finite = not_finite;
  profile.zeros = zeros;
  profile.shortest = shortest;
  profile.longest = longest;
  profile.mean_length =
      texts == 0 ? 0 : static_cast<double>(total_length) / static_cast<double>(texts);
  profile.distinct_exact = !sketching;
  profile.top_error = frequent.error();

  auto items = frequent.items();
  profile.distinct = sketching ? distinct.estimate() : static_cast<std::int64_t>(items.size());
  // equal counts in order of value, so that the same data gives the same profile
  std::sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
    if (a.count != b.count) return a.count > b.count;
    return type == Type::text ? a.text < b.text : number_of(a.key) < number_of(b.key);
  });
  for (std::size_t i = 0; i < std::min(options.top, items.size()); ++i) {
    profile.top.emplace_back(value_of(items[i]), items[i].count);
  }
  if (type == Type::text || type == Type::boolean) {
    finish_categories(profile, items, options);
  }
  if (type != Type::text && moments.count > 0) finish_numbers(profile, items, options);
  if (!profile.bins.categorical && profile.bins.counts.empty())
    profile.bins.counts = {0, nulls + not_finite};
  profile.notes = remarks(profile, kinds, items);
  return profile;
}

void ColumnSummary::finish_categories(ColumnProfile& profile,
                                      const std::vector<FrequentItems::Item>& items,
                                      const ProfileOptions& options) const {
  auto& bins = profile.bins;
  bins.categorical = true;
  std::int64_t other = rows - nulls;
  for (std::size_t i = 0; i < std::min(options.categories, items.size()); ++i) {
    bins.categories.emplace_back(type == Type::text  ? std::string(items[i].text)
                                 : items[i].key != 0 ? "true"
                                                     : "false");
    bins.counts.push_back(items[i].count);
    other -= items[i].count;
  }
  bins.counts.push_back(other);
  bins.counts.push_back(nulls);
}

void ColumnSummary::finish_numbers(ColumnProfile& profile,
                                   const std::vector<FrequentItems::Item>& items,
                                   const ProfileOptions& options) const {
  profile.min = min;
  profile.max = max;
  profile.mean = moments.mean;
  if (moments.count > 1)
    profile.stddev = std::sqrt(moments.squares / static_cast<double>(moments.count - 1));
  Weighted values;
  if (sketching) {
    values = quantiles.sorted();
  } else {
    for (const auto& item : items) values.emplace_back(number_of(item.key), item.count);
    std::sort(values.begin(), values.end());
  }
  for (const double p : kProbabilities)
    profile.quantiles.emplace_back(p, quantile(values, moments.count, p));
  if (type == Type::boolean) return;
  auto& bins = profile.bins;
  bins.edges = edges_of(values, moments.count, options.bins);
  bins.counts.assign(bins.edges.size() + 2, 0);
  for (const auto& [value, weight] : values) {
    const auto bin =
        std::lower_bound(bins.edges.begin(), bins.edges.end(), value) - bins.edges.begin();
    bins.counts[static_cast<std::size_t>(bin)] += weight;
  }
  bins.counts.back() = nulls + not_finite;
  if (options.histogram > 0)
    profile.histogram = histogram_of(values, moments.count, options.histogram);
}

void Profiler::Impl::add(const GroupBatch& batch) {
  parallel_for(
      columns.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) columns[i].add(batch.columns[i], batch.rows);
      },
      options.threads);
  if (options.sample > 0) sample.add(batch);
  rows += batch.rows;
}

Profiler::Profiler(Schema schema, ProfileOptions options) : impl_(std::make_unique<Impl>()) {
  for (const auto& field : schema.fields) impl_->columns.emplace_back(field.type);
  impl_->sample = RowSample(schema.fields.size(), options.sample);
  impl_->schema = std::move(schema);
  impl_->options = std::move(options);
}
Profiler::~Profiler() = default;
Profiler::Profiler(Profiler&&) noexcept = default;
Profiler& Profiler::operator=(Profiler&&) noexcept = default;

Result<void> Profiler::add(const Batch& batch) {
  if (batch.columns.size() != impl_->columns.size() || *batch.schema != impl_->schema) {
    return invalid_argument("the rows to profile have another schema than the profile");
  }
  // in pieces that fit in caches
  constexpr std::int64_t kPiece = 65'536;
  for (std::int64_t begin = 0; begin < batch.rows; begin += kPiece) {
    const auto piece = batch.slice(begin, std::min(kPiece, batch.rows - begin));
    GroupBatch group{0, piece.rows, {}};
    for (const auto& view : piece.columns) group.columns.push_back({.view = view});
    impl_->add(group);
  }
  return {};
}

Result<void> Profiler::merge(const Profiler& other) {
  if (other.impl_->schema != impl_->schema)
    return invalid_argument("profiles of different schemas do not merge");
  for (std::size_t i = 0; i < impl_->columns.size(); ++i)
    impl_->columns[i].merge(other.impl_->columns[i]);
  impl_->sample.merge(other.impl_->sample);
  impl_->rows += other.impl_->rows;
  return {};
}

Profile Profiler::finish() const {
  Profile profile;
  profile.rows = impl_->rows;
  for (std::size_t i = 0; i < impl_->columns.size(); ++i) {
    profile.columns.push_back(
        impl_->columns[i].finish(impl_->schema.fields[i].name, impl_->options));
  }
  if (impl_->options.sample > 0) {
    auto sample = impl_->sample;
    sample.sort();
    relate_columns(sample, impl_->options.target, profile);
  }
  return profile;
}

Result<Profile> Profile::of_files(const Context& ctx,
                                  const std::vector<std::filesystem::path>& files,
                                  const ProfileOptions& options) {
  const auto profiler = Profiler::of_files(ctx, files, options);
  if (!profiler) return profiler.error();
  return profiler->finish();
}

Result<Profiler> Profiler::of_files(const Context& ctx,
                                    const std::vector<std::filesystem::path>& files,
                                    const ProfileOptions& options) {
  auto scan = GroupScan::open(files);
  if (!scan) return scan.error();
  std::vector<std::size_t> columns(scan->schema().fields.size());
  std::iota(columns.begin(), columns.end(), std::size_t{0});
  if (!options.target.empty()) {
    if (const auto found = scan->schema().find(options.target); !found) return found.error();
  }
  auto single = options;
  single.threads = 1;  // the threads are those of the scan
  // A part for each row group, joined in their order as soon as it is their turn.
  Profiler whole(scan->schema(), single);
  std::mutex mutex;
  std::map<std::size_t, Profiler> waiting;
  std::size_t turn = 0;
  std::vector<std::optional<Profiler>> parts(GroupScan::workers(options.threads));
  auto done = scan->run(
      ctx, columns, options.threads,
      [&](std::size_t worker, const GroupBatch& batch) {
        if (!parts[worker]) parts[worker].emplace(scan->schema(), single);
        parts[worker]->impl_->add(batch);
      },
      [&](std::size_t worker, std::size_t group) {
        if (!parts[worker]) parts[worker].emplace(scan->schema(), single);  // a group of no rows
        const std::scoped_lock lock(mutex);
        waiting.emplace(group, std::move(*parts[worker]));
        parts[worker].reset();
        for (auto next = waiting.begin(); next != waiting.end() && next->first == turn;
             next = waiting.erase(next), ++turn) {
          (void)whole.merge(next->second);  // of one schema: cannot fail
        }
      });
  if (!done) return done.error();
  return whole;
}

Result<Profile> Profile::of(const Batch& batch, const ProfileOptions& options) {
  Profiler profiler(*batch.schema, options);
  if (auto added = profiler.add(batch); !added) return added.error();
  auto profile = profiler.finish();
  // The sketches fix the bins; with the rows at hand, what falls into them is counted exactly.
  for (std::size_t i = 0; i < profile.columns.size(); ++i) {
    auto& column = profile.columns[i];
    if (column.distinct_exact) continue;
    auto counts = count_in_bins(column, batch.columns[i]);
    if (!counts) return counts.error();
    column.bins.counts = std::move(*counts);
  }
  return profile;
}

const ColumnProfile* Profile::find(std::string_view column) const {
  for (const auto& candidate : columns) {
    if (candidate.name == column) return &candidate;
  }
  return nullptr;
}

}  // namespace slipway::data
