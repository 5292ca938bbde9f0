// The part of an execution that happens on worker threads: one attempt of one step, and its durable
// record.
#include "base/fault.h"
#include "base/hash.h"
#include "base/log.h"
#include "pipeline/execution_internal.h"
#include "pipeline/queries.h"
#include "pipeline/step_log_internal.h"

namespace slipway::pipeline {
namespace {

constexpr Duration kProgressEvery =
    std::chrono::seconds{1};  // between stored progress reports of a step

bool heals_by_itself(Code code) {
  return code != Code::cancelled && code != Code::invalid_argument;
}

}  // namespace

void Execution::execute(std::size_t index, StepReport report, const Decision& decision,
                        std::uint64_t seed) {
  const StepSpec& step = spec_.steps[index];
  report.started = parts_.clock.now();
  report.error.clear();
  record_start(index, report);
  observe([&](Observer& observer) { observer.step_started(report); });

  const auto begun = parts_.clock.steady();
  auto result = attempt(index, report, decision, seed);
  report.duration = std::chrono::duration_cast<Duration>(parts_.clock.steady() - begun);
  report.ended = parts_.clock.now();
  free_slot();
  if (result) {
    report.state = result->passed ? StepState::succeeded : StepState::refused;
    report.passed = result->passed;
    report.outputs = std::move(result->outputs);
    report.artifacts = std::move(result->artifacts);
    report.summary = std::move(result->summary);
  } else {
    report.state = ctx_.cancelled() ? StepState::cancelled : StepState::failed;
    report.error =
        result.error().code == Code::deadline_exceeded && step.timeout
            ? fmt::format("it took longer than its timeout of {}", format_duration(*step.timeout))
            : result.error().message;
    if (report.state == StepState::failed && report.attempts <= step.retries &&
        heals_by_itself(result.error().code)) {
      send({.index = index, .report = std::move(report), .retry = true});
      return;
    }
  }
  record_end(index, std::move(report), decision);
}

Result<StepResult> Execution::attempt(std::size_t index, StepReport& report,
                                      const Decision& decision, std::uint64_t seed) {
  const StepSpec& step = spec_.steps[index];
  const StepKind& kind = *kinds_.find(step.kind);
  if (const auto point = fault::point("step.claimed"); !point) return point.error();

  std::filesystem::path work_dir;
  std::error_code error;
  if (kind.uses_work_dir(decision.config.json())) {
    work_dir = scratch_ / fmt::format("{}-{}", step.name, report.attempts);
    std::filesystem::create_directories(work_dir, error);
    if (error) return errno_error(error.value(), "cannot make the work folder", work_dir);
  }

  FileLog log(log_folder_ / (step.name + ".log"));
  if (report.attempts > 1) log.line(fmt::format("--- attempt {} ---", report.attempts));

  Context ctx(parts_.clock);
  ctx.request_id = run_.id;
  ctx.principal = ctx_.principal;
  ctx.stop = ctx_.stop;
  ctx.deadline = ctx_.deadline;
  if (step.timeout) {
    const SteadyTime deadline = parts_.clock.steady() + *step.timeout;
    ctx.deadline = ctx.deadline ? std::min(*ctx.deadline, deadline) : deadline;
  }

  std::optional<SteadyTime> stored;  // when progress was last stored; on the thread that reports it
  std::mutex progress_mutex;
  const auto progress = [&](double fraction, std::string_view what) {
    observe([&](Observer& observer) { observer.step_progress(step.name, fraction, what); });
    const std::scoped_lock lock(progress_mutex);
    const auto now = parts_.clock.steady();
    if (stored && now - *stored < kProgressEvery) return;
    stored = now;
    parts_.db.write_async(
        [id = run_.id, index, fraction, text = std::string(what)](db::Transaction& tx) {
          return tx.run(sql::update_progress, id, index, fraction, text);
        },
        [](const Result<void>&) {});  // a missed one is followed by the next
  };

  const StepCall call{StepInputs{decision.config, params_, decision.upstream, seed, files_},
                      run_.id,
                      run_.pipeline,
                      report.key,
                      report.attempts,
                      work_dir,
                      options_.environment,
                      log,
                      progress};
  const auto guarded = [&]() -> Result<StepResult> {
    if (const auto point = fault::point("step.exec_started"); !point) return point.error();
    try {
      auto done = kind.run(ctx, call);
      if (const auto point = fault::point("step.output_written"); done && !point)
        return point.error();
      return done;
    } catch (const std::exception& exception) {
      return internal(fmt::format("step kind '{}' threw: {}", step.kind, exception.what()));
    }
  };
  auto result = guarded();
  if (!result) log.line("error: " + result.error().message);
  if (log.used()) report.log = log.file();
  if (!work_dir.empty())
    std::filesystem::remove_all(work_dir, error);  // what stays goes with the run's folder
  return result;
}

void Execution::record_start(std::size_t index, const StepReport& report) {
  parts_.db.write_async(
      [this, index, report](db::Transaction& tx) {
        return records::update_step(tx, run_.id, index, report);
      },
      [this](const Result<void>& written) {
        if (!written)
          log::warn("start of a step not recorded",
                    {{"run", run_.id}, {"error", written.error().message}});
      });
}

void Execution::record_end(std::size_t index, StepReport report, const Decision& decision) {
  const auto shared = std::make_shared<StepReport>(std::move(report));
  const bool has_result =
      shared->state == StepState::succeeded || shared->state == StepState::refused;
  const bool keep = has_result && spec_.steps[index].cache;
  parts_.db.write_async(
      [this, index, shared, has_result, keep, &decision](db::Transaction& tx) -> Result<void> {
        if (const auto updated = records::update_step(tx, run_.id, index, *shared); !updated)
          return updated;
        if (keep) {
          auto put = records::put_result(tx, {.key = shared->key,
                                              .inputs = decision.inputs,
                                              .outputs = shared->outputs,
                                              .artifacts = shared->artifacts,
                                              .passed = shared->passed,
                                              .summary = shared->summary,
                                              .run_id = run_.id,
                                              .created = *shared->ended,
                                              .duration = shared->duration});
          if (!put) return put;
          const auto last = records::put_last(tx, run_.pipeline, shared->name, shared->key);
          if (!last) return last;
        }
        const auto entry = parts_.audit.append(
            tx, {.actor = run_.actor,
                 .action = "step.end",
                 .object = object_of(*shared),
                 .digest = has_result ? sha256_hex(canonical(shared->outputs)) : "",
                 .details = {{"kind", shared->kind},
                             {"state", to_string(shared->state)},
                             {"key", shared->key},
                             {"attempts", shared->attempts}}});
        if (!entry) return entry.error();
        return fault::point("step.before_commit");
      },
      [this, index, shared](const Result<void>& written) {
        if (written) {
          if (const auto point = fault::point("step.after_commit_before_event"); !point) {
            log::warn("fault injected after a commit", {{"error", point.error().message}});
          }
        } else {
          shared->state = StepState::failed;
          shared->error = "its result could not be recorded: " + written.error().message;
        }
        send({.index = index, .report = std::move(*shared), .unrecorded = !written});
      });
}

// Another step may begin while this one's record is on its way to the disk: the records of many
// share one commit.
void Execution::free_slot() {
  const std::scoped_lock lock(mutex_);
  ++freed_;
  changed_.notify_all();
}

void Execution::send(Ended ended) {
  const std::scoped_lock lock(mutex_);
  ended_.push_back(std::move(ended));
  changed_.notify_all();
}

}  // namespace slipway::pipeline
