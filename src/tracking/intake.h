// Writing what another store decided: ids, times, states and deletions are kept as they are, where
// Tracking would make its own. For imports (transfer/). Everything may be done again: what is there
// already is brought to what is given, never doubled.
//   Intake intake(db);
//   auto id = intake.put_experiment(experiment, {});
//   intake.open_run(run);                   // there, active, with its params
//   tracking.log_batch(run.id, …);          // metric points, at most Limits a call
//   intake.close_run(run, deleted_ms);      // tags, status, times, deletion
// Thread-safe. Calls block on the database.
#pragma once
#include <optional>

#include "base/result.h"
#include "tracking/tracking.h"
#include "tracking/types.h"

namespace slipway::tracking {

class Intake {
 public:
  explicit Intake(db::Database& db, Limits limits = {})  // outlives the intake
      : db_(db), limits_(limits) {}

  // The experiment of that name. A new one gets the given id when it is free and the database
  // counts ids itself only from the greatest (SQLite). `whole`: also its times and deletion become
  // those given, else an experiment that was there only gains tags.
  Result<ExperimentId> put_experiment(const Experiment& experiment,
                                      std::optional<std::int64_t> deleted_ms, bool whole);

  // run.experiment is the target's. Its artifact_uri becomes mlflow-artifacts:/<experiment>/<run>/…
  Result<void> open_run(const Run& run);
  Result<void> close_run(const Run& run, std::optional<std::int64_t> deleted_ms);

  // Without metrics: Tracking::log_model_metrics.
  Result<void> put_logged_model(const LoggedModel& model, std::optional<std::int64_t> deleted_ms);

 private:
  db::Database& db_;
  Limits limits_;
};

std::string run_artifact_uri(ExperimentId experiment, const std::string& run);
std::string model_artifact_uri(ExperimentId experiment, const std::string& model);

}  // namespace slipway::tracking
