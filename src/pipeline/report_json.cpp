// Runs as JSON: what `slipway run --json` prints, the server answers, and `slipway run --server`
// reads.
#include "pipeline/engine.h"

namespace slipway::pipeline {
namespace {

Json to_json(const StepReport& step) {
  Json json = {{"name", step.name},
               {"kind", step.kind},
               {"state", to_string(step.state)},
               {"passed", step.passed},
               {"why", step.why},
               {"outputs", step.outputs},
               {"summary", step.summary},
               {"error", step.error},
               {"attempts", step.attempts},
               {"seconds", static_cast<double>(step.duration.count()) / 1e6},
               {"log", step.log.string()}};
  if (step.state == StepState::running) {
    json["progress"] = step.progress;
    json["progress_text"] = step.progress_text;
  }
  return json;
}

Result<StepReport> step_from_json(const Json& json) {
  StepReport step;
  auto state = step_state(json.at("state").get<std::string>());
  if (!state) return state.error();
  step.name = json.at("name");
  step.kind = json.at("kind");
  step.state = *state;
  step.passed = json.at("passed");
  step.why = json.at("why");
  step.outputs = json.at("outputs");
  step.summary = json.at("summary");
  step.error = json.at("error");
  step.attempts = json.at("attempts");
  step.duration = Duration(static_cast<std::int64_t>(json.at("seconds").get<double>() * 1e6));
  step.log = json.at("log").get<std::string>();
  step.progress = json.value("progress", 0.0);
  step.progress_text = json.value("progress_text", "");
  return step;
}

}  // namespace

Json to_json(const RunReport& run) {
  Json json = {{"id", run.id},
               {"pipeline", run.pipeline},
               {"file", run.file.string()},
               {"state", to_string(run.state)},
               {"params", run.params},
               {"actor", run.actor},
               {"reason", run.reason},
               {"started", format_time(run.started)},
               {"error", run.error}};
  if (!run.job.empty()) json["job"] = run.job;
  if (run.ended) json["ended"] = format_time(*run.ended);
  for (const StepReport& step : run.steps) json["steps"].push_back(to_json(step));
  return json;
}

Result<RunReport> run_report_from_json(const Json& json) {
  RunReport run;
  try {
    auto state = run_state(json.at("state").get<std::string>());
    if (!state) return state.error();
    auto started = parse_time(json.at("started").get<std::string>());
    if (!started) return started.error();
    run.id = json.at("id");
    run.pipeline = json.at("pipeline");
    run.file = json.at("file").get<std::string>();
    run.state = *state;
    run.params = json.at("params");
    run.actor = json.at("actor");
    run.reason = json.at("reason");
    run.job = json.value("job", "");
    run.started = *started;
    run.error = json.at("error");
    if (json.contains("ended")) {
      auto ended = parse_time(json["ended"].get<std::string>());
      if (!ended) return ended.error();
      run.ended = *ended;
    }
    for (const Json& item : json.value("steps", Json::array())) {
      auto step = step_from_json(item);
      if (!step) return step.error();
      run.steps.push_back(std::move(*step));
    }
  } catch (const Json::exception& problem) {
    return invalid_argument(std::string("this is no report of a pipeline run: ") + problem.what());
  }
  return run;
}

}  // namespace slipway::pipeline
