// What was deleted long enough ago to go for good: runs, logged models and experiments whose
// deletion is older than their retention. An experiment's tag `slipway.retention` ("90d", "12h",
// "forever") overrides the general figure for all that is in it.
//   auto expired = find_expired(db, {.now_ms = now, .keep_deleted = 30d});
//   db.write([&](db::Transaction& tx) { return purge_run(tx, expired->runs.front()); });
// Purging frees rows only; the blobs of the artifacts go with the next sweep (blob/sweep.h). What
// was restored meanwhile is left alone. Calls block on the database.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "tracking/types.h"

namespace slipway::db {
class Database;
class Transaction;
}  // namespace slipway::db

namespace slipway::tracking {

inline constexpr std::string_view kRetentionTag = "slipway.retention";

struct RetentionRule {
  std::int64_t now_ms = 0;
  Duration keep_deleted = std::chrono::days{30};  // where no tag says otherwise
  std::vector<ExperimentId> only;                 // empty: all experiments
};

struct ExpiredRun {
  std::string id;
  ExperimentId experiment;
  std::int64_t deleted_ms = 0;
  std::string artifact_uri;
};
struct ExpiredModel {
  std::string id;
  ExperimentId experiment;
  std::int64_t deleted_ms = 0;
  std::string artifact_uri;
};
struct ExpiredExperiment {
  ExperimentId id;
  std::string name;
  std::int64_t deleted_ms = 0;
};

struct Expired {
  std::vector<ExpiredRun> runs;
  std::vector<ExpiredModel> models;
  std::vector<ExpiredExperiment> experiments;  // go when nothing is in them any more
  std::vector<std::string> notes;              // tags that could not be read: kept, and said
};
Result<Expired> find_expired(const db::Database& db, const RetentionRule& rule);

// False when it was restored, or is gone already: nothing was changed.
Result<bool> purge_run(db::Transaction& tx, const ExpiredRun& run);
Result<bool> purge_model(db::Transaction& tx, const ExpiredModel& model);
// Also false while runs or logged models are in it.
Result<bool> purge_experiment(db::Transaction& tx, const ExpiredExperiment& experiment);

// "7/<run>/artifacts/": every file below it belongs to the run or model. Empty when the files are
// not held here.
std::string artifact_prefix(std::string_view artifact_uri);

}  // namespace slipway::tracking
