// `slipway run --server`: the server runs the pipeline, this program tells how it goes.
#include <iostream>
#include <set>

#include "cli/progress_internal.h"
#include "cli/remote_internal.h"

namespace slipway::cli {
namespace {

constexpr std::chrono::milliseconds kRunPollEvery{200};

bool open_state(pipeline::StepState state) {
  return state == pipeline::StepState::waiting || state == pipeline::StepState::running;
}

class Follower {
 public:
  Follower(const Globals& globals, const Context& ctx, RemoteServer& server)
      : ctx_(ctx), server_(server), progress_(globals.json) {}

  Result<pipeline::RunReport> run(const RemoteRun& run) {
    auto job = start(run);
    if (!job) return job.error();
    bool cancelled = false;
    while (true) {
      auto state = server_.ask("GET", "/api/v1/jobs/" + *job);
      if (!state) return state.error();
      auto report = look(*job);
      if (!report) return report.error();
      const std::string word = state->value("state", "");
      const bool ended = word == "succeeded" || word == "failed" || word == "cancelled";
      if (ended && *report && (*report)->state != pipeline::RunState::running) return **report;
      if (ended) return ended_without_a_run(*state);
      if (ctx_.cancelled() && !cancelled) {
        cancelled = true;
        if (auto told = server_.cancel(*job); !told) return told.error();
      }
      std::this_thread::sleep_for(kRunPollEvery);
    }
  }

 private:
  Result<std::string> start(const RemoteRun& run) {
    const Json body = {{"file", run.file},
                       {"params", run.params},
                       {"reason", run.reason},
                       {"from", run.from},
                       {"use_cache", run.use_cache}};
    auto begun = server_.ask("POST", "/api/v1/pipelines/runs", body.dump());
    if (!begun) return begun.error();
    return begun->value("job", "");
  }

  // The newest run of the job, told on the way; nothing before it has begun.
  Result<std::optional<pipeline::RunReport>> look(const std::string& job) {
    auto list = server_.ask("GET", "/api/v1/pipelines/runs?limit=1&job=" + job);
    if (!list) return list.error();
    const Json runs = list->value("runs", Json::array());
    if (runs.empty()) return std::optional<pipeline::RunReport>();
    auto json = server_.ask("GET", "/api/v1/pipelines/runs/" + runs[0].value("id", ""));
    if (!json) return json.error();
    auto report = pipeline::run_report_from_json(*json);
    if (!report) return report.error();
    tell(*report);
    return std::optional(std::move(*report));
  }

  void tell(const pipeline::RunReport& report) {
    if (report.id != told_run_) {
      told_run_ = report.id;
      told_.clear();
      progress_.run_started(report);
    }
    for (const pipeline::StepReport& step : report.steps) {
      if (!open_state(step.state) && told_.insert(step.name).second) progress_.step_ended(step);
    }
    for (const pipeline::StepReport& step : report.steps) {
      if (step.state == pipeline::StepState::running)
        progress_.step_progress(step.name, step.progress, step.progress_text);
    }
  }

  // A pipeline file that cannot be read ends its job before there is a run.
  static Error ended_without_a_run(const Json& job) {
    if (job.value("state", "") == "cancelled") return {Code::cancelled, "the job was cancelled"};
    return failed_precondition(job.value("error", "the job ended, and made no run"));
  }

  const Context& ctx_;
  RemoteServer& server_;
  Progress progress_;
  std::string told_run_;
  std::set<std::string> told_;
};

}  // namespace

int run_on_server(const Globals& globals, const Context& ctx, const RemoteRun& run) {
  auto server = RemoteServer::at(run.server, "run it");
  if (!server) return fail(server.error());
  auto report = Follower(globals, ctx, **server).run(run);
  if (!report) return fail(report.error());
  return show_outcome(globals, *report);
}

}  // namespace slipway::cli
