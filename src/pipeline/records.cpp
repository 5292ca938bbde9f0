#include "pipeline/records_internal.h"

#include "pipeline/queries.h"

namespace slipway::pipeline {
namespace {

constexpr std::pair<RunState, std::string_view> kRunStates[] = {
    {RunState::running, "running"},     {RunState::succeeded, "succeeded"},
    {RunState::failed, "failed"},       {RunState::refused, "refused"},
    {RunState::cancelled, "cancelled"}, {RunState::interrupted, "interrupted"}};

constexpr std::pair<StepState, std::string_view> kStepStates[] = {
    {StepState::waiting, "waiting"},        {StepState::running, "running"},
    {StepState::succeeded, "succeeded"},    {StepState::cached, "cached"},
    {StepState::refused, "refused"},        {StepState::failed, "failed"},
    {StepState::skipped, "skipped"},        {StepState::cancelled, "cancelled"},
    {StepState::interrupted, "interrupted"}};

template <class State, std::size_t N>
std::string_view name_of(const std::pair<State, std::string_view> (&names)[N], State state) {
  for (const auto& [candidate, name] : names) {
    if (candidate == state) return name;
  }
  return "";
}

template <class State, std::size_t N>
Result<State> state_named(const std::pair<State, std::string_view> (&names)[N],
                          std::string_view text) {
  for (const auto& [state, name] : names) {
    if (name == text) return state;
  }
  return data_loss(fmt::format("'{}' is no state of a run or a step", text));
}

}  // namespace

std::string_view to_string(RunState state) { return name_of(kRunStates, state); }
std::string_view to_string(StepState state) { return name_of(kStepStates, state); }
Result<RunState> run_state(std::string_view text) { return state_named(kRunStates, text); }
Result<StepState> step_state(std::string_view text) { return state_named(kStepStates, text); }

namespace records {
namespace {

std::string artifacts_text(const std::vector<Artifact>& artifacts) {
  Json list = Json::array();
  for (const auto& artifact : artifacts) {
    list.push_back({{"name", artifact.name},
                    {"sha256", artifact.sha256},
                    {"size", artifact.size},
                    {"folder", artifact.folder}});
  }
  return canonical(list);
}

Result<std::vector<Artifact>> parse_artifacts(std::string_view text) {
  const auto list = parse_json(text, "artifacts of a step");
  if (!list) return list.error();
  std::vector<Artifact> artifacts;
  try {
    for (const auto& item : *list) {
      artifacts.push_back({item.at("name"), item.at("sha256"), item.at("size"), item.at("folder")});
    }
  } catch (const Json::exception& exception) {
    return data_loss(std::string("artifacts of a step are damaged: ") + exception.what());
  }
  return artifacts;
}

std::optional<std::int64_t> micros(const std::optional<Time>& time) {
  return time ? std::optional<std::int64_t>(to_micros(*time)) : std::nullopt;
}

std::optional<Time> maybe_time(const db::Rows& rows, int column) {
  const auto value = rows.maybe_integer(column);
  return value ? std::optional<Time>(from_micros(*value)) : std::nullopt;
}

// step, key, inputs, outputs, artifacts, passed, summary, run_id, created_at, duration
Result<StepRecord> read_result(const db::Rows& rows) {
  StepRecord record;
  record.key = rows.text(1);
  auto inputs = parse_json(rows.view(2), "inputs of a step");
  if (!inputs) return inputs.error();
  record.inputs = std::move(*inputs);
  auto outputs = parse_json(rows.view(3), "outputs of a step");
  if (!outputs) return outputs.error();
  record.outputs = std::move(*outputs);
  auto artifacts = parse_artifacts(rows.view(4));
  if (!artifacts) return artifacts.error();
  record.artifacts = std::move(*artifacts);
  record.passed = rows.integer(5) != 0;
  record.summary = rows.text(6);
  record.run_id = rows.text(7);
  record.created = from_micros(rows.integer(8));
  record.duration = Duration{rows.integer(9)};
  return record;
}

Result<RunReport> read_run(const db::Rows& rows) {
  RunReport run;
  run.id = rows.text(0);
  run.pipeline = rows.text(1);
  run.file = rows.text(2);
  const auto state = run_state(rows.view(3));
  if (!state) return state.error();
  run.state = *state;
  auto params = parse_json(rows.view(4), "parameters of run " + run.id);
  if (!params) return params.error();
  run.params = std::move(*params);
  run.actor = rows.text(5);
  run.reason = rows.text(6);
  run.started = from_micros(rows.integer(7));
  run.ended = maybe_time(rows, 8);
  run.error = rows.text(9);
  run.job = rows.text(10);
  return run;
}

Result<StepReport> read_step(const db::Rows& rows) {
  StepReport step;
  step.name = rows.text(0);
  step.kind = rows.text(1);
  const auto state = step_state(rows.view(2));
  if (!state) return state.error();
  step.state = *state;
  step.passed = rows.integer(3) != 0;
  step.why = rows.text(4);
  step.key = rows.text(5);
  auto outputs = parse_json(rows.view(6), "outputs of step " + step.name);
  if (!outputs) return outputs.error();
  step.outputs = std::move(*outputs);
  auto artifacts = parse_artifacts(rows.view(7));
  if (!artifacts) return artifacts.error();
  step.artifacts = std::move(*artifacts);
  step.summary = rows.text(8);
  step.error = rows.text(9);
  step.attempts = static_cast<int>(rows.integer(10));
  step.started = maybe_time(rows, 11);
  step.ended = maybe_time(rows, 12);
  step.duration = Duration{rows.integer(13)};
  step.log = rows.text(14);
  step.progress = rows.real(15);
  step.progress_text = rows.text(16);
  return step;
}

// Every row of a query through `read`.
template <class T>
Result<std::vector<T>> read_all(Result<db::Rows> rows, Result<T> (*read)(const db::Rows&)) {
  if (!rows) return rows.error();
  std::vector<T> items;
  while (rows->next()) {
    auto item = read(*rows);
    if (!item) return item.error();
    items.push_back(std::move(*item));
  }
  if (const auto status = rows->status(); !status) return status.error();
  return items;
}

}  // namespace

Result<void> insert_run(db::Transaction& tx, const RunReport& run, std::string_view spec_digest) {
  auto inserted = tx.run(sql::insert_run, run.id, run.pipeline, run.file.string(), spec_digest,
                         canonical(run.params), to_string(run.state), run.actor, run.reason,
                         to_micros(run.started), run.job);
  if (!inserted) return inserted;
  for (std::size_t i = 0; i < run.steps.size(); ++i) {
    const auto step = tx.run(sql::insert_step, run.id, i, run.steps[i].name, run.steps[i].kind);
    if (!step) return step;
  }
  return {};
}

Result<void> end_run(db::Transaction& tx, const RunReport& run) {
  return tx.run(sql::end_run, run.id, to_string(run.state), micros(run.ended), run.error);
}

Result<void> update_step(db::Transaction& tx, std::string_view run_id, std::size_t position,
                         const StepReport& step) {
  return tx.run(sql::update_step, run_id, position, to_string(step.state), step.passed, step.why,
                step.key, canonical(step.outputs), artifacts_text(step.artifacts), step.summary,
                step.error, step.attempts, micros(step.started), micros(step.ended),
                step.duration.count(), step.log.string());
}

Result<void> put_result(db::Transaction& tx, const StepRecord& record) {
  return tx.run(sql::put_result, record.key, canonical(record.inputs), canonical(record.outputs),
                artifacts_text(record.artifacts), record.passed, record.summary, record.run_id,
                to_micros(record.created), record.duration.count());
}

Result<void> put_last(db::Transaction& tx, std::string_view pipeline, std::string_view step,
                      std::string_view key) {
  return tx.run(sql::put_last, pipeline, step, key);
}

Result<std::map<std::string, StepRecord>> last_results(db::Connection& connection,
                                                       std::string_view pipeline) {
  auto rows = connection.query(sql::last_results, pipeline);
  if (!rows) return rows.error();
  std::map<std::string, StepRecord> results;
  while (rows->next()) {
    auto record = read_result(*rows);
    if (!record) return record.error();
    results[rows->text(0)] = std::move(*record);
  }
  if (const auto status = rows->status(); !status) return status.error();
  return results;
}

Result<std::optional<StepRecord>> find_result(db::Connection& connection, std::string_view key) {
  auto found = read_all<StepRecord>(connection.query(sql::find_result, key), read_result);
  if (!found) return found.error();
  if (found->empty()) return std::optional<StepRecord>();
  return std::optional<StepRecord>(std::move(found->front()));
}

Result<std::vector<RunningRun>> running_runs(db::Connection& connection) {
  return read_all<RunningRun>(connection.query(sql::running_runs),
                              [](const db::Rows& rows) -> Result<RunningRun> {
                                return RunningRun{rows.text(0), rows.text(1)};
                              });
}

Result<bool> interrupt_run(db::Transaction& tx, std::string_view run_id, Time now,
                           std::string_view error) {
  if (const auto ran = tx.run(sql::interrupt_run, run_id, to_micros(now), error); !ran)
    return ran.error();
  if (tx.changes() == 0) return false;
  if (const auto ran = tx.run(sql::interrupt_steps, run_id, to_micros(now)); !ran)
    return ran.error();
  return true;
}

Result<std::vector<RunReport>> list_runs(db::Connection& connection, const Engine::Filter& filter) {
  return read_all<RunReport>(
      connection.query(sql::list_runs, filter.pipeline, filter.limit, filter.job), read_run);
}

Result<RunReport> get_run(db::Connection& connection, std::string_view id) {
  auto found = read_all<RunReport>(connection.query(sql::find_runs, id), read_run);
  if (!found) return found.error();
  if (id.empty() || found->empty())
    return not_found(fmt::format("pipeline run '{}' does not exist", id));
  if (found->size() > 1 && found->front().id != id) {
    return invalid_argument(
        fmt::format("'{}' begins more than one pipeline run's id: give more of it", id));
  }
  auto run = std::move(found->front());
  auto steps = read_all<StepReport>(connection.query(sql::list_steps, run.id), read_step);
  if (!steps) return steps.error();
  run.steps = std::move(*steps);
  return run;
}

}  // namespace records
}  // namespace slipway::pipeline
