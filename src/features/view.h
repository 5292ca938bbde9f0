// Values of a key's past as they were known at a moment: the newest value, earlier ones, and
// statistics over rolling windows. One class serves both sides, so that what a model was trained on
// is what it is asked with: look_up() over all rows of a training table is the offline join, and
// over the one row of a request the online look-up.
//   views:
//     - name: carrier_past
//       dataset: flight_history      # whose newest version is materialised
//       by: carrier                  # a column, a list, or {column of the rows: column there}
//       at: decision_time            # of the rows: when the decision is made
//       event: landed                # there: when it happened …
//       known: 10m                   # … and when that became known: an offset, or a column
//       ttl: 7d                      # older events no longer count
//       values:
//         last_delay: {of: arr_delay}
//         delay_before: {of: arr_delay, lag: 2}
//         delay_3h: {of: arr_delay, stat: mean, within: 3h}
//         landings_3h: {stat: count, within: 3h}
//         worst_of_20: {of: arr_delay, stat: max, rows: 20}
// The rule is that of data/point_in_time.h: an event counts at a decision when it lies before it,
// was known by then, and is no older than `ttl`. Newest first; of one moment the one known last
// first, then by values. A window `within` w reaches from the decision to less than w before it.
// A view is an immutable snapshot of one dataset version; thread-safe. look_up() allocates nothing
// after a thread's first calls.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "data/table.h"

namespace slipway::features {

struct ViewValue {
  enum class Stat { lag, count, sum, mean, least, greatest, deviation };
  std::string name;
  std::string of;  // a column of numbers; empty: count all events
  Stat stat = Stat::lag;
  std::int64_t lag = 1;                // 1: the newest
  std::optional<Duration> within{};    // the window, as time …
  std::optional<std::int64_t> rows{};  // … or as a number of events
};

struct ViewSpec {
  std::string name;
  std::string dataset;
  std::string version;  // "name@version" when one is declared; not part of what the view is
  std::vector<std::pair<std::string, std::string>>
      keys;  // column of the rows, column of the dataset
  std::string at;
  std::string event;
  std::string known_column;  // or
  Duration known_after{0};
  std::optional<Duration> ttl;
  std::vector<ViewValue> values;

  static ViewSpec read(SpecReader& reader);
  // A list under `key`; missing: none.
  static std::vector<ViewSpec> read_list(SpecReader& reader, std::string_view key = "views");
  Json to_json() const;  // as declared
  static Result<ViewSpec> from_json(const Json& json);
  // The columns that look_up() fills, called "view.value": all float64.
  std::vector<std::string> outputs() const;
  std::string digest() const;  // SHA-256 of the canonical JSON
  // The columns of the dataset that build() reads.
  std::vector<std::string> reads() const;
};

// What a look-up found for a row.
enum class Freshness : std::uint8_t {
  fresh,    // an event within the time to live
  expired,  // events, but all too old
  unknown,  // none of this key that was known by then
};

class View {
 public:
  // `history` has the columns of spec.reads(); rows without a key, an event time or a time of being
  // known cannot be found, and are left out. `version` says what it is a snapshot of.
  static Result<std::shared_ptr<const View>> build(const Context& ctx, const ViewSpec& spec,
                                                   const data::Batch& history,
                                                   const std::string& version);
  ~View();
  const ViewSpec& spec() const;
  const std::string& digest() const;  // of the spec: what a pipeline was fitted with must be equal
  const std::string& version() const;
  std::int64_t events() const;
  std::int64_t keys() const;
  std::optional<Time> newest_event() const;

  // out [rows, values], row-major; missing is NaN. Times of decision are in the rows' column `at`,
  // or the same for all when `now` is given. invalid_argument when the rows lack a key or the time.
  Result<void> look_up(const data::Batch& rows, std::span<double> out,
                       std::span<Freshness> freshness = {},
                       std::optional<Time> now = std::nullopt) const;

 private:
  struct Impl;
  explicit View(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};
using ViewPtr = std::shared_ptr<const View>;

// Where a pipeline finds its views by name, at each call: the snapshot that serves at that moment.
// Implementations are thread-safe.
class ViewSource {
 public:
  virtual ~ViewSource() = default;
  virtual ViewPtr find(const std::string& name) const = 0;  // null: not there
};

// The rows with the views' columns behind their own, computed on all cores: the offline join.
Result<data::TablePtr> join_views(const Context& ctx, const data::Batch& rows,
                                  std::span<const ViewPtr> views, int threads = 0);

}  // namespace slipway::features
