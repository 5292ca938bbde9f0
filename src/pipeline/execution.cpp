#include "pipeline/execution_internal.h"

#include "base/hash.h"
#include "base/log.h"

namespace slipway::pipeline {
namespace {

bool went_well(const StepReport& step) {
  return (step.state == StepState::succeeded || step.state == StepState::cached) && step.passed;
}

bool said_no(const StepReport& step) {
  return step.state == StepState::refused || (step.state == StepState::cached && !step.passed);
}

std::string_view verb(const StepReport& step) {
  if (said_no(step)) return "said no";
  switch (step.state) {
    case StepState::failed:
      return "failed";
    case StepState::cancelled:
      return "was cancelled";
    default:
      return "was skipped";
  }
}

}  // namespace

Execution::Execution(const Engine::Parts& parts, const StepKinds& kinds, const Context& ctx,
                     const PipelineSpec& spec, const RunOptions& options, Observer* observer)
    : parts_(parts),
      kinds_(kinds),
      ctx_(ctx),
      spec_(spec),
      options_(options),
      observer_(observer),
      files_(parts.db, parts.clock),
      params_(spec.param_values()),
      max_running_(options.max_parallel > 0 ? options.max_parallel : default_threads()) {}

std::string Execution::object_of(const StepReport& step) const {
  return fmt::format("pipelines/{}/{}/{}", run_.pipeline, run_.id, step.name);
}

Result<RunReport> Execution::run() {
  auto planner = Planner::open(ctx_, spec_, kinds_, options_, parts_.db, parts_.blobs, files_);
  if (!planner) return planner.error();
  connect();
  if (const auto begun = begin(spec_.digest); !begun) return begun.error();
  observe([&](Observer& observer) { observer.run_started(run_); });

  const std::stop_callback wake(ctx_.stop, [this] {
    const std::scoped_lock lock(mutex_);
    stop_seen_ = true;
    changed_.notify_all();
  });
  {
    WorkerPool pool(std::min<int>(max_running_, static_cast<int>(nodes_.size())));
    while (true) {
      advance(*planner, pool);
      if (unsettled_ == 0) break;
      wait();
    }
  }
  files_.save();
  return end();
}

void Execution::connect() {
  std::map<std::string_view, std::size_t> index;
  nodes_.resize(spec_.steps.size());
  run_.steps.resize(spec_.steps.size());
  for (std::size_t i = 0; i < spec_.steps.size(); ++i) index[spec_.steps[i].name] = i;
  for (std::size_t i = 0; i < spec_.steps.size(); ++i) {
    run_.steps[i].name = spec_.steps[i].name;
    run_.steps[i].kind = spec_.steps[i].kind;
    nodes_[i].open_needs = spec_.steps[i].needs.size();
    for (const auto& need : spec_.steps[i].needs) nodes_[index[need]].dependents.push_back(i);
    if (nodes_[i].open_needs == 0) ready_.insert(i);
  }
  unsettled_ = nodes_.size();
}

Result<void> Execution::begin(const std::string& spec_digest) {
  run_.id = parts_.ids.next();
  run_.pipeline = spec_.name;
  run_.file = spec_.file;
  run_.params = params_;
  run_.actor = ctx_.principal.name;
  run_.reason = options_.reason;
  run_.job = options_.job;
  run_.started = parts_.clock.now();
  log_folder_ = parts_.home / "pipelines" / run_.id;
  scratch_ = parts_.home / "tmp" / "pipelines" / run_.id;
  if (const auto made = make_dirs(log_folder_); !made) return made.error();
  auto lock = FileLock::acquire(log_folder_ / "lock", "run " + run_.id);
  if (!lock) return lock.error();
  alive_.emplace(std::move(*lock));
  return parts_.db.write([&](db::Transaction& tx) -> Result<void> {
    if (const auto inserted = records::insert_run(tx, run_, spec_digest); !inserted)
      return inserted;
    const auto entry =
        parts_.audit.append(tx, {.actor = run_.actor,
                                 .action = "pipeline.start",
                                 .object = "pipelines/" + run_.pipeline + "/" + run_.id,
                                 .digest = spec_digest,
                                 .details = {{"params", run_.params}, {"reason", run_.reason}}});
    if (!entry) return entry.error();
    return {};
  });
}

void Execution::advance(Planner& planner, WorkerPool& pool) {
  if (ctx_.cancelled() && !cancelled_) cancel_waiting();
  while (!ready_.empty() && running_ < max_running_) {
    const std::size_t next = *ready_.begin();
    ready_.erase(ready_.begin());
    consider(next, planner, pool);
  }
  for (auto due = retries_.begin(); due != retries_.end();) {
    if (running_ >= max_running_ || due->first > parts_.clock.steady()) {
      ++due;
      continue;
    }
    const std::size_t index = due->second;
    due = retries_.erase(due);
    dispatch(index, planner, pool);
  }
  flush();
}

void Execution::consider(std::size_t index, Planner& planner, WorkerPool& pool) {
  const StepSpec& step = spec_.steps[index];
  StepReport& report = run_.steps[index];
  std::map<std::string, Json> outputs;
  for (const auto& done : run_.steps) {
    if (std::binary_search(step.needs.begin(), step.needs.end(), done.name))
      outputs[done.name] = done.outputs;
  }
  auto decision = planner.decide(step, outputs);
  if (!decision) {
    report.state = StepState::failed;
    report.error = decision.error().message;
    note(index);
    settle(index);
    return;
  }
  report.why = decision->why;
  report.key = decision->key;
  nodes_[index].decision = std::move(*decision);
  const auto& hit = nodes_[index].decision->hit;
  if (!hit) {
    dispatch(index, planner, pool);
    return;
  }
  report.state = StepState::cached;
  report.outputs = hit->outputs;
  report.artifacts = hit->artifacts;
  report.passed = hit->passed;
  report.summary = hit->summary;
  report.duration = hit->duration;
  note(index);
  settle(index);
}

void Execution::dispatch(std::size_t index, Planner& planner, WorkerPool& pool) {
  ++running_;
  StepReport& report = run_.steps[index];
  report.state = StepState::running;
  ++report.attempts;
  pool.post([this, index, report, seed = planner.seed_of(spec_.steps[index])] {
    execute(index, report, *nodes_[index].decision, seed);
  });
}

void Execution::settle(std::size_t index) {
  --unsettled_;
  observe([&](Observer& observer) { observer.step_ended(run_.steps[index]); });
  if (!went_well(run_.steps[index])) {
    skip_dependents(index);
    return;
  }
  for (const std::size_t dependent : nodes_[index].dependents) {
    if (--nodes_[dependent].open_needs == 0 && run_.steps[dependent].state == StepState::waiting) {
      ready_.insert(dependent);
    }
  }
}

void Execution::skip_dependents(std::size_t index) {
  for (const std::size_t dependent : nodes_[index].dependents) {
    StepReport& report = run_.steps[dependent];
    if (report.state != StepState::waiting) continue;
    report.state = StepState::skipped;
    report.why =
        fmt::format("needs '{}', which {}", run_.steps[index].name, verb(run_.steps[index]));
    note(dependent);
    settle(dependent);
  }
}

void Execution::cancel_waiting() {
  cancelled_ = true;
  ready_.clear();
  std::set<std::size_t> waiting;
  for (const auto& [when, index] : retries_) waiting.insert(index);
  retries_.clear();
  for (std::size_t i = 0; i < nodes_.size(); ++i) {
    if (run_.steps[i].state == StepState::waiting) waiting.insert(i);
  }
  for (const std::size_t index : waiting) run_.steps[index].state = StepState::cancelled;
  for (const std::size_t index : waiting) {
    note(index);
    settle(index);
  }
}

void Execution::wait() {
  std::unique_lock lock(mutex_);
  const auto something = [this] { return !ended_.empty() || (stop_seen_ && !cancelled_); };
  if (retries_.empty() || running_ >= max_running_) {
    changed_.wait(lock, something);
  } else {
    const auto next = std::min_element(retries_.begin(), retries_.end())->first;
    changed_.wait_for(lock, next - parts_.clock.steady(), something);
  }
  running_ -= std::exchange(freed_, 0);
  auto ended = std::exchange(ended_, {});
  lock.unlock();
  for (auto& one : ended) handle(std::move(one));
}

void Execution::handle(Ended ended) {
  if (ctx_.cancelled() && !cancelled_) cancel_waiting();  // rather cancelled than skipped
  const StepSpec& step = spec_.steps[ended.index];
  run_.steps[ended.index] = std::move(ended.report);
  if (ended.retry && !cancelled_) {
    retries_.emplace_back(parts_.clock.steady() + step.retry_delay, ended.index);
    observe([&](Observer& observer) {
      observer.step_retrying(run_.steps[ended.index], step.retry_delay);
    });
    return;
  }
  if (ended.retry) {  // the run was stopped meanwhile
    run_.steps[ended.index].state = StepState::cancelled;
    note(ended.index);
  }
  if (ended.unrecorded)
    note(ended.index);  // as failed; a smaller write than the one that did not go through
  settle(ended.index);
}

void Execution::note(std::size_t index) { noted_.push_back(index); }

void Execution::flush() {
  if (noted_.empty()) return;
  std::vector<std::pair<std::size_t, StepReport>> rows;
  for (const std::size_t index : noted_) rows.emplace_back(index, run_.steps[index]);
  noted_.clear();
  parts_.db.write_async(
      [this, rows = std::move(rows)](db::Transaction& tx) -> Result<void> {
        for (const auto& [index, report] : rows) {
          if (const auto updated = records::update_step(tx, run_.id, index, report); !updated)
            return updated;
          if (report.state != StepState::cached) continue;
          if (const auto put = records::put_last(tx, run_.pipeline, report.name, report.key); !put)
            return put;
        }
        return {};
      },
      [this](const Result<void>& written) {
        if (written) return;
        const std::scoped_lock lock(mutex_);
        if (!record_error_) record_error_ = written.error();
      });
}

Result<RunReport> Execution::end() {
  std::map<std::string, int> counts;
  bool failed = false;
  bool refused = false;
  bool cancelled = false;
  for (const auto& step : run_.steps) {
    ++counts[std::string(to_string(step.state))];
    failed = failed || step.state == StepState::failed;
    cancelled = cancelled || step.state == StepState::cancelled;
    refused = refused || said_no(step);
    if (step.state == StepState::failed && run_.error.empty()) {
      run_.error = fmt::format("step '{}': {}", step.name, step.error);
    }
  }
  run_.state = cancelled ? RunState::cancelled
               : failed  ? RunState::failed
               : refused ? RunState::refused
                         : RunState::succeeded;
  run_.ended = parts_.clock.now();
  const auto written = parts_.db.write([&](db::Transaction& tx) -> Result<void> {
    if (const auto updated = records::end_run(tx, run_); !updated) return updated;
    const auto entry = parts_.audit.append(
        tx,
        {.actor = run_.actor,
         .action = "pipeline.end",
         .object = "pipelines/" + run_.pipeline + "/" + run_.id,
         .digest = spec_.digest,
         .details = {{"state", to_string(run_.state)}, {"steps", counts}, {"error", run_.error}}});
    if (!entry) return entry.error();
    return {};
  });
  // The write above came after all others in the one queue, so nothing of ours is under way any
  // more.
  std::error_code ignored;
  std::filesystem::remove_all(scratch_, ignored);
  alive_.reset();
  std::filesystem::remove(log_folder_ / "lock", ignored);
  std::filesystem::remove(log_folder_, ignored);  // only when there are no logs in it
  if (!written) return written.error();
  {
    const std::scoped_lock lock(mutex_);
    if (record_error_) return record_error_->at("the run's steps could not be recorded");
  }
  observe([&](Observer& observer) { observer.run_ended(run_); });
  return std::move(run_);
}

}  // namespace slipway::pipeline
