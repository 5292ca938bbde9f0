#include "pipeline/engine.h"

#include "base/log.h"
#include "pipeline/execution_internal.h"
#include "pipeline/migrations.h"
#include "pipeline/planner_internal.h"
#include "pipeline/records_internal.h"

namespace slipway::pipeline {

struct Engine::Impl {
  Parts parts;
  const StepKinds& kinds;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::open(const Parts& parts, const StepKinds& kinds) {
  if (const auto migrated = parts.db.migrate("pipeline", kMigrations); !migrated)
    return migrated.error();
  return std::unique_ptr<Engine>(new Engine(std::make_unique<Impl>(parts, kinds)));
}

Result<std::vector<PlannedStep>> Engine::plan(const Context& ctx, const PipelineSpec& spec,
                                              const RunOptions& options) const {
  StoredDigests files(impl_->parts.db, impl_->parts.clock);
  const auto planner =
      Planner::open(ctx, spec, impl_->kinds, options, impl_->parts.db, impl_->parts.blobs, files);
  if (!planner) return planner.error();

  std::map<std::string, Json>
      outputs;  // of the steps whose earlier result will be used and says yes
  std::map<std::string, PlannedStep> plans;
  for (const std::size_t index : spec.order) {
    const StepSpec& step = spec.steps[index];
    PlannedStep planned{.name = step.name, .kind = step.kind, .needs = step.needs, .why = ""};
    std::string stopped_by;
    std::string open_need;
    for (const auto& need : step.needs) {
      const auto decision = plans.at(need).decision;
      if (decision == PlannedStep::Decision::skip ||
          (decision == PlannedStep::Decision::hit && !outputs.contains(need))) {
        stopped_by = need;
      } else if (decision != PlannedStep::Decision::hit && open_need.empty()) {
        open_need = need;
      }
    }
    if (!stopped_by.empty()) {
      planned.decision = PlannedStep::Decision::skip;
      planned.why = fmt::format("needs '{}', which says no", stopped_by);
    } else if (!open_need.empty()) {
      const auto forced = planner->forced(step);
      planned.decision = forced ? PlannedStep::Decision::run : PlannedStep::Decision::maybe;
      planned.why = forced.value_or(fmt::format("follows from the outputs of '{}'", open_need));
    } else {
      auto decision = planner->decide(step, outputs);
      if (!decision) return decision.error();
      planned.decision = decision->hit ? PlannedStep::Decision::hit : PlannedStep::Decision::run;
      planned.why = decision->why;
      if (decision->hit && decision->hit->passed) outputs[step.name] = decision->hit->outputs;
    }
    plans[step.name] = std::move(planned);
  }
  files.save();
  std::vector<PlannedStep> result;
  for (const auto& step : spec.steps) result.push_back(std::move(plans.at(step.name)));
  return result;
}

Result<RunReport> Engine::run(const Context& ctx, const PipelineSpec& spec,
                              const RunOptions& options, Observer* observer) {
  if (const auto recovered = recover(ctx); !recovered) return recovered.error();
  Execution execution(impl_->parts, impl_->kinds, ctx, spec, options, observer);
  return execution.run();
}

Result<int> Engine::recover(const Context& ctx) {
  const Parts& parts = impl_->parts;
  const auto running =
      parts.db.read([](db::Connection& connection) { return records::running_runs(connection); });
  if (!running) return running.error();
  int interrupted = 0;
  for (const auto& run : *running) {
    const auto folder = parts.home / "pipelines" / run.id;
    if (const auto made = make_dirs(folder); !made) return made.error();
    const auto dead = FileLock::acquire(folder / "lock", "run " + run.id);
    if (!dead) continue;  // its process holds the lock
    const std::string error = "the process that ran it ended before the run did";
    const auto marked = parts.db.write([&](db::Transaction& tx) -> Result<bool> {
      auto changed = records::interrupt_run(tx, run.id, parts.clock.now(), error);
      if (!changed || !*changed) return changed;
      const auto entry =
          parts.audit.append(tx, {.actor = ctx.principal.name,
                                  .action = "pipeline.end",
                                  .object = "pipelines/" + run.pipeline + "/" + run.id,
                                  .digest = "",
                                  .details = {{"state", "interrupted"}, {"error", error}}});
      if (!entry) return entry.error();
      return true;
    });
    if (!marked) return marked.error();
    if (!*marked) continue;
    ++interrupted;
    log::warn("run interrupted", {{"pipeline", run.pipeline}, {"run", run.id}});
    std::error_code ignored;
    std::filesystem::remove_all(parts.home / "tmp" / "pipelines" / run.id, ignored);
    std::filesystem::remove(folder / "lock", ignored);
  }
  return interrupted;
}

Result<std::vector<RunReport>> Engine::list(const Filter& filter) const {
  return impl_->parts.db.read(
      [&](db::Connection& connection) { return records::list_runs(connection, filter); });
}

Result<RunReport> Engine::get(std::string_view run_id) const {
  return impl_->parts.db.read(
      [&](db::Connection& connection) { return records::get_run(connection, run_id); });
}

}  // namespace slipway::pipeline
