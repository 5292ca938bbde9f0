// What the files of the tracking store share: its parts, the checks of names and values, and
// reading whole rows.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/database.h"
#include "tracking/filter.h"
#include "tracking/tracking.h"

namespace slipway::tracking {

struct Tracking::Impl {
  db::Database& db;
  const Clock& clock;
  IdSource& ids;
  Limits limits;

  std::int64_t now_ms() const { return to_millis(clock.now()); }
};

// Keys of params, metrics and tags: at most `most` characters out of letters, digits, "_-./: " that
// read as a relative path in normal form.
Result<void> check_key(std::string_view what, std::string_view key, std::size_t most);
std::size_t characters(std::string_view utf8);
// The first `most` characters, never half of one.
std::string cut(std::string_view utf8, std::size_t most);
// "[1,2,3]" for json_each(?)
std::string json_list(std::span<const std::int64_t> numbers);

// "brave-gull-417": a name people can say, from the id alone, so that the same ids give the same
// names.
std::string name_from_id(const std::string& id);

struct RunRow {
  std::int64_t seq = 0;
  ExperimentId experiment;
  bool deleted = false;
  std::string artifact_uri;
};
Result<RunRow> find_run(db::Connection& connection, const RunId& id);
Result<RunRow> find_active_run(db::Connection& connection, const RunId& id);
// In the order of the numbers; all of them exist.
Result<std::vector<Run>> load_runs(db::Connection& connection, std::span<const std::int64_t> seqs);

Result<Experiment> load_experiment(db::Connection& connection, ExperimentId id);
// Values as stored and back: infinities become the greatest double, NaN becomes (0, true).
double storable(double value);
inline double from_storage(double value, bool is_nan) {
  return is_nan ? std::numeric_limits<double>::quiet_NaN() : value;
}

// The points as those of the logged models they name. The run is active.
Result<void> write_model_metrics(db::Transaction& tx, const Limits& limits, const RunId& run,
                                 std::span<const ModelMetric> metrics);
Result<void> write_tag(db::Transaction& tx, const Limits& limits, std::int64_t seq,
                       const std::string& key, const std::string& value);

// As a status of a logged model stands in the database.
std::string_view stored(ModelStatus status);

}  // namespace slipway::tracking
