#include "tracking/intake.h"

#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

// The first column of the first row, when there is one.
template <class... Args>
Result<std::optional<std::int64_t>> find_number(db::Connection& c, std::string_view statement,
                                                const Args&... args) {
  auto rows = c.query(statement, args...);
  if (!rows) return rows.error();
  std::optional<std::int64_t> number;
  if (rows->next()) number = rows->integer(0);
  if (auto status = rows->status(); !status) return status.error();
  return number;
}

}  // namespace

std::string run_artifact_uri(ExperimentId experiment, const std::string& run) {
  return fmt::format("mlflow-artifacts:/{}/{}/artifacts", experiment.value, run);
}

std::string model_artifact_uri(ExperimentId experiment, const std::string& model) {
  return fmt::format("mlflow-artifacts:/{}/models/{}/artifacts", experiment.value, model);
}

Result<ExperimentId> Intake::put_experiment(const Experiment& experiment,
                                            std::optional<std::int64_t> deleted_ms, bool whole) {
  if (experiment.name.empty()) return invalid_argument("an experiment has no name");
  const bool keeps_ids = db_.backend() == db::Backend::sqlite;
  return db_.write([&](db::Transaction& tx) -> Result<ExperimentId> {
    auto id = find_number(tx, sql::find_experiment_by_name, experiment.name);
    if (!id) return id.error();
    bool is_new = false;
    if (!*id) {
      is_new = true;
      auto taken = find_number(tx, sql::find_experiment, experiment.id.value);
      if (!taken) return taken.error();
      const std::string location = fmt::format("mlflow-artifacts:/{}", experiment.id.value);
      auto inserted =
          keeps_ids && !*taken
              ? tx.run(sql::intake_experiment, experiment.id.value, experiment.name, location,
                       experiment.created_ms, experiment.updated_ms)
              : tx.run(sql::insert_experiment, experiment.name, "", experiment.created_ms);
      if (!inserted) return inserted.error();
      *id = tx.last_row_id();
      auto placed =
          tx.run(sql::set_artifact_location, **id, fmt::format("mlflow-artifacts:/{}", **id));
      if (!placed) return placed.error();
    }
    for (const auto& [key, value] : experiment.tags) {
      auto set = tx.run(sql::upsert_experiment_tag, **id, key,
                        cut(value, limits_.experiment_tag_characters));
      if (!set) return set.error();
    }
    if (is_new || whole) {
      auto timed = tx.run(sql::intake_experiment_times, **id, experiment.created_ms,
                          experiment.updated_ms, deleted_ms);
      if (!timed) return timed.error();
    }
    return ExperimentId{**id};
  });
}

Result<void> Intake::open_run(const Run& run) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    auto found = find_run(tx, run.id);
    if (found) {
      if (found->experiment != run.experiment) {
        return failed_precondition(
            fmt::format("run {} is in experiment {} already, and should go to experiment {}",
                        run.id.value, found->experiment.value, run.experiment.value));
      }
      return tx.run(sql::set_run_deleted, found->seq, nullptr);
    }
    if (found.error().code != Code::not_found) return found.error();
    return tx.run(sql::insert_run, run.id.value, run.experiment.value, run.name, run.user,
                  to_string(RunStatus::running), run.start_ms,
                  run_artifact_uri(run.experiment, run.id.value));
  });
}

Result<void> Intake::close_run(const Run& run, std::optional<std::int64_t> deleted_ms) {
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = find_run(tx, run.id);
    if (!row) return row.error();
    if (auto dropped = tx.run(sql::drop_run_tags, row->seq); !dropped) return dropped;
    for (const auto& [key, value] : run.tags) {
      if (auto set = write_tag(tx, limits_, row->seq, key, value); !set) return set;
    }
    return tx.run(sql::intake_run, row->seq, run.name, run.user, to_string(run.status),
                  run.start_ms, run.end_ms, deleted_ms);
  });
}

Result<void> Intake::put_logged_model(const LoggedModel& model,
                                      std::optional<std::int64_t> deleted_ms) {
  if (model.id.empty()) return invalid_argument("a logged model has no id");
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    auto seq = find_number(tx, sql::find_logged_model, model.id);
    if (!seq) return seq.error();
    if (!*seq) {
      auto inserted =
          tx.run(sql::insert_logged_model, model.id, model.experiment.value, model.name, model.type,
                 model.run_id, model_artifact_uri(model.experiment, model.id), model.created_ms);
      if (!inserted) return inserted;
      *seq = tx.last_row_id();
    }
    for (const auto& [key, value] : model.params) {
      if (auto put = tx.run(sql::insert_logged_model_param, **seq, key, value); !put) return put;
    }
    if (auto dropped = tx.run(sql::drop_logged_model_tags, **seq); !dropped) return dropped;
    for (const auto& [key, value] : model.tags) {
      if (auto put = tx.run(sql::upsert_logged_model_tag, **seq, key, value); !put) return put;
    }
    return tx.run(sql::intake_logged_model, **seq, stored(model.status), model.created_ms,
                  model.updated_ms, deleted_ms);
  });
}

}  // namespace slipway::tracking
