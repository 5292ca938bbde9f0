// Runs pipelines. Each step's result is kept under the SHA-256 of everything it follows from: the
// kind and its version, the settings, the outputs of the steps before it, and the kind's
// fingerprint. The same key is never run twice, so a run that was killed is resumed by starting it
// again.
//   auto engine = Engine::open({db, blobs, audit, clock, ids, home}, kinds);
//   auto spec = PipelineSpec::load("pipeline.yaml", kinds, {{"trials", "5"}});
//   auto report = (*engine)->run(ctx, *spec, {}, &observer);
//   if (report && report->state == RunState::refused) …       // it ran, and a gate said no
// A step is finished once its record is durable; only then do the steps that need it start. Steps
// run on a pool of threads; steps on other branches go on when one fails. Stopping ctx.stop ends
// the run as cancelled, commands included. Thread-safe; several runs, also of other processes on
// the same home, may go on at once.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"
#include "blob/store.h"
#include "db/database.h"
#include "pipeline/spec.h"
#include "pipeline/step.h"

namespace slipway::pipeline {

enum class RunState {
  running,
  succeeded,
  failed,       // a step failed
  refused,      // no step failed, but one said no
  cancelled,    // on request
  interrupted,  // the process that ran it is gone
};

enum class StepState {
  waiting,  // not begun (only while the run goes on)
  running,
  succeeded,
  cached,  // an earlier result was used
  refused,
  failed,
  skipped,  // a step it needs did not succeed
  cancelled,
  interrupted,  // not ended when the process was gone, begun or not
};

std::string_view to_string(RunState state);
std::string_view to_string(StepState state);
Result<RunState> run_state(std::string_view text);
Result<StepState> step_state(std::string_view text);

struct PlannedStep {
  enum class Decision {
    hit,    // an earlier result will be used
    run,    // it will run
    maybe,  // follows from the outputs of a step that will run
    skip,   // needs a step whose earlier result, a no, will be used
  };
  std::string name;
  std::string kind;
  std::vector<std::string> needs;
  Decision decision = Decision::run;
  std::string why;  // "config.trees: 150 -> 200; outputs of ingest changed"
};

struct StepReport {
  std::string name;
  std::string kind;
  StepState state = StepState::waiting;
  bool passed = true;
  std::string why;  // why it ran, or which run's result was used
  std::string key;  // of the cache
  Json outputs = Json::object();
  std::vector<Artifact> artifacts;
  std::string summary;
  std::string error;
  int attempts = 0;
  std::optional<Time> started;
  std::optional<Time> ended;
  Duration duration{0};       // of the last attempt; of the original one for a cached step
  std::filesystem::path log;  // empty when nothing was written
  double progress = 0;        // of a running step
  std::string progress_text;
};

struct RunReport {
  std::string id;
  std::string pipeline;
  std::filesystem::path file;
  RunState state = RunState::running;
  Json params = Json::object();
  std::string actor;
  std::string reason;  // why it was started: "by hand", "alert late_auc", …
  std::string job;     // of the server's queue that asked for it; empty: none
  Time started;
  std::optional<Time> ended;
  std::string error;              // of the first step that failed, with its name
  std::vector<StepReport> steps;  // as in the file; empty in lists of runs
};

// As the commands' --json and the server show a run, and back. Steps are left out when there are
// none.
Json to_json(const RunReport& run);
Result<RunReport> run_report_from_json(const Json& json);

// What goes on, as it goes on. Calls come from several threads, never two at once; they must not
// block.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void run_started(const RunReport& /*run*/) {}     // all steps waiting
  virtual void step_started(const StepReport& /*step*/) {}  // each attempt
  virtual void step_progress(const std::string& /*step*/, double /*fraction*/,
                             std::string_view /*what*/) {}
  virtual void step_retrying(const StepReport& /*step*/, Duration /*in*/) {}
  virtual void step_ended(const StepReport& /*step*/) {
  }  // also cached, skipped; one that ran: once it is durable
  virtual void run_ended(const RunReport& /*run*/) {}
};

struct RunOptions {
  std::string from_step;  // this step and all that need it run again, cached or not
  bool use_cache = true;  // false: everything runs again
  int max_parallel = 0;   // steps at once; 0: one per processor
  std::string reason = "by hand";
  std::string job;  // see RunReport
  std::map<std::string, std::string>
      environment;  // for commands; not part of the cache key (MLFLOW_TRACKING_URI …)
};

class Engine {
 public:
  struct Parts {  // all outlive the engine
    db::Database& db;
    blob::Store& blobs;
    audit::Log& audit;
    const Clock& clock;
    IdSource& ids;
    std::filesystem::path home;  // logs go to pipelines/<run>/, scratch to tmp/pipelines/<run>/
  };
  static Result<std::unique_ptr<Engine>> open(const Parts& parts,
                                              const StepKinds& kinds);  // kinds outlive it, too
  ~Engine();

  // What run() would do, without doing it.
  Result<std::vector<PlannedStep>> plan(const Context& ctx, const PipelineSpec& spec,
                                        const RunOptions& options = {}) const;
  // An error only when nothing could be recorded; what went wrong in steps is in the report.
  Result<RunReport> run(const Context& ctx, const PipelineSpec& spec,
                        const RunOptions& options = {}, Observer* observer = nullptr);

  // Marks runs whose process is gone as interrupted, and returns how many. run() does this first; a
  // server when it starts.
  Result<int> recover(const Context& ctx);

  struct Filter {
    std::string pipeline;  // empty: all
    std::string job;       // empty: all
    int limit = 50;
  };
  Result<std::vector<RunReport>> list(const Filter& filter) const;  // newest first, without steps
  Result<RunReport> get(std::string_view run_id) const;  // also by a prefix that names one run

 private:
  struct Impl;
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::pipeline
