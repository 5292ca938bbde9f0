// One run of a pipeline: a scheduler on the calling thread, and a pool of threads that run steps.
// The scheduler alone owns the state of the steps; a worker gets a copy of one step's report and
// sends it back as an event once its record is durable.
#pragma once
#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <vector>

#include "base/file.h"
#include "base/parallel.h"
#include "pipeline/digests_internal.h"
#include "pipeline/engine.h"
#include "pipeline/planner_internal.h"

namespace slipway::pipeline {

class Execution {
 public:
  Execution(const Engine::Parts& parts, const StepKinds& kinds, const Context& ctx,
            const PipelineSpec& spec, const RunOptions& options, Observer* observer);
  Result<RunReport> run();

 private:
  struct Node {
    std::size_t open_needs = 0;
    std::vector<std::size_t> dependents;
    std::optional<Decision> decision;
  };
  struct Ended {
    std::size_t index;
    StepReport report;
    bool retry = false;
    bool unrecorded = false;
  };

  // scheduler
  Result<void> begin(const std::string& spec_digest);
  void connect();
  void advance(Planner& planner, WorkerPool& pool);
  void consider(std::size_t index, Planner& planner, WorkerPool& pool);
  void dispatch(std::size_t index, Planner& planner, WorkerPool& pool);
  void settle(std::size_t index);
  void skip_dependents(std::size_t index);
  void cancel_waiting();
  void wait();
  void handle(Ended ended);
  void note(std::size_t index);  // its record goes with the next flush
  void flush();
  Result<RunReport> end();

  // workers
  void execute(std::size_t index, StepReport report, const Decision& decision, std::uint64_t seed);
  Result<StepResult> attempt(std::size_t index, StepReport& report, const Decision& decision,
                             std::uint64_t seed);
  void record_start(std::size_t index, const StepReport& report);
  void record_end(std::size_t index, StepReport report, const Decision& decision);
  void free_slot();
  void send(Ended ended);

  template <class F>
  void observe(F&& tell) {
    const std::scoped_lock lock(observer_mutex_);
    if (observer_ != nullptr) tell(*observer_);
  }
  std::string object_of(const StepReport& step) const;

  const Engine::Parts parts_;
  const StepKinds& kinds_;
  const Context& ctx_;
  const PipelineSpec& spec_;
  const RunOptions& options_;
  std::mutex observer_mutex_;
  Observer* observer_;

  RunReport run_;
  std::filesystem::path log_folder_;
  std::filesystem::path scratch_;
  std::optional<FileLock> alive_;  // held while the run goes on: how others see that it does
  StoredDigests files_;
  Json params_;

  std::vector<Node> nodes_;
  std::set<std::size_t> ready_;  // in the order of the file
  std::vector<std::pair<SteadyTime, std::size_t>> retries_;
  std::vector<std::size_t> noted_;
  std::size_t unsettled_ = 0;
  int running_ = 0;
  int max_running_ = 1;
  bool cancelled_ = false;

  std::mutex mutex_;
  std::condition_variable changed_;
  int freed_ = 0;  // under mutex_: attempts that are over, their records perhaps not yet durable
  std::deque<Ended> ended_;            // under mutex_
  bool stop_seen_ = false;             // under mutex_
  std::optional<Error> record_error_;  // under mutex_: what a flush could not write
};

}  // namespace slipway::pipeline
