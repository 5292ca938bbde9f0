#include <iostream>
#include <mutex>

#include "cli/command_internal.h"

namespace slipway::cli {
namespace {

std::string shown(pipeline::StepState state) {
  const std::string text(pipeline::to_string(state));
  if (state == pipeline::StepState::failed || state == pipeline::StepState::refused)
    return red(text);
  if (state == pipeline::StepState::succeeded || state == pipeline::StepState::cached)
    return green(text);
  return dim(text);
}

// One line a step; on a terminal the running steps' progress stands in a last line that is written
// over.
class Progress final : public pipeline::Observer {
 public:
  explicit Progress(bool quiet) : quiet_(quiet) {}
  void run_started(const pipeline::RunReport& run) override {
    if (!quiet_)
      std::cout << "run " << run.id.substr(0, 12) << " of pipeline " << run.pipeline << "\n";
  }
  void step_progress(const std::string& step, double fraction, std::string_view what) override {
    if (quiet_ || !colours()) return;
    std::cout << "\r\033[K" << dim(fmt::format("  {} {:3.0f} %  {}", step, fraction * 100, what))
              << std::flush;
  }
  void step_retrying(const pipeline::StepReport& step, Duration in) override {
    if (!quiet_)
      std::cout << fmt::format("  {} is tried again in {}: {}\n", step.name, format_duration(in),
                               step.error);
  }
  void step_ended(const pipeline::StepReport& step) override {
    if (quiet_) return;
    if (colours()) std::cout << "\r\033[K";
    std::cout << fmt::format(
        "  {:<12} {:<10} {:>9}  {}\n", step.name, shown(step.state),
        step.state == pipeline::StepState::cached ? "" : format_duration(step.duration),
        step.error.empty() ? step.summary : step.error);
    if (step.state != pipeline::StepState::succeeded && !step.why.empty())
      std::cout << dim("               " + step.why) << "\n";
    std::cout << std::flush;
  }

 private:
  bool quiet_;
};

Json to_json(const pipeline::RunReport& run) {
  Json json = {
      {"id", run.id},         {"pipeline", run.pipeline}, {"state", pipeline::to_string(run.state)},
      {"params", run.params}, {"reason", run.reason},     {"started", format_time(run.started)},
      {"error", run.error},   {"steps", Json::array()}};
  if (run.ended) json["ended"] = format_time(*run.ended);
  for (const pipeline::StepReport& step : run.steps) {
    json["steps"].push_back({{"name", step.name},
                             {"kind", step.kind},
                             {"state", pipeline::to_string(step.state)},
                             {"passed", step.passed},
                             {"why", step.why},
                             {"outputs", step.outputs},
                             {"summary", step.summary},
                             {"error", step.error},
                             {"seconds", static_cast<double>(step.duration.count()) / 1e6},
                             {"log", step.log.string()}});
  }
  return json;
}

struct RunFlags {
  std::string file, from, reason = "by hand", actor, server;
  std::vector<std::string> params;
  bool dry_run = false, no_cache = false;
  int parallel = 0;
};

Result<std::map<std::string, std::string>> overrides_of(const std::vector<std::string>& params) {
  std::map<std::string, std::string> overrides;
  for (const std::string& param : params) {
    const auto equals = param.find('=');
    if (equals == std::string::npos || equals == 0)
      return invalid_argument("--param '" + param + "' has no value: write --param name=value");
    overrides[param.substr(0, equals)] = param.substr(equals + 1);
  }
  return overrides;
}

int show_plan(const Globals& globals, const std::vector<pipeline::PlannedStep>& plan) {
  static const std::map<pipeline::PlannedStep::Decision, std::string> kWords = {
      {pipeline::PlannedStep::Decision::hit, "cached"},
      {pipeline::PlannedStep::Decision::run, "run"},
      {pipeline::PlannedStep::Decision::maybe, "maybe"},
      {pipeline::PlannedStep::Decision::skip, "skip"}};
  Json all = Json::array();
  TextTable table({"STEP", "KIND", "WOULD", "WHY"});
  for (const pipeline::PlannedStep& step : plan) {
    table.add({step.name, step.kind, kWords.at(step.decision), step.why});
    all.push_back({{"name", step.name},
                   {"kind", step.kind},
                   {"needs", step.needs},
                   {"decision", kWords.at(step.decision)},
                   {"why", step.why}});
  }
  return print(globals, table, all);
}

int run_pipeline(const Globals& globals, const RunFlags& flags) {
  return with_home(globals, {}, [&](Home& home) {
    const Context ctx = interruptible_context(flags.actor);
    auto overrides = overrides_of(flags.params);
    if (!overrides) return fail(overrides.error());
    auto spec = pipeline::PipelineSpec::load(flags.file, home.kinds(), *overrides);
    if (!spec) return fail(spec.error());
    pipeline::RunOptions options{.from_step = flags.from,
                                 .use_cache = !flags.no_cache,
                                 .max_parallel = flags.parallel,
                                 .reason = flags.reason};
    if (!flags.server.empty()) options.environment["MLFLOW_TRACKING_URI"] = flags.server;
    if (flags.dry_run) {
      auto plan = home.engine().plan(ctx, *spec, options);
      if (!plan) return fail(plan.error());
      return show_plan(globals, *plan);
    }
    Progress progress(globals.json);
    auto report = home.engine().run(ctx, *spec, options, &progress);
    if (auto signed_head = home.audit().checkpoint(); !signed_head)
      return fail(signed_head.error());
    if (!report) return fail(report.error());
    if (globals.json) {
      std::cout << to_json(*report).dump(2) << "\n";
    } else {
      std::cout << fmt::format(
          "{} in {}\n", pipeline::to_string(report->state),
          format_duration(report->ended.value_or(report->started) - report->started));
    }
    switch (report->state) {
      case pipeline::RunState::succeeded:
        return 0;
      case pipeline::RunState::refused:
        return kExitNo;
      case pipeline::RunState::cancelled:
        return 130;
      default:
        if (!report->error.empty()) std::cerr << "error: " << report->error << "\n";
        return 1;
    }
  });
}

}  // namespace

void add_run(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<RunFlags>();
  CLI::App* run = app.add_subcommand(
      "run",
      "Run a pipeline: steps whose inputs, settings and code are as before are not run again");
  run->add_option("pipeline", flags->file, "The pipeline's YAML file")->required();
  run->add_option("--param", flags->params, "name=value for one of the pipeline's params");
  run->add_option("--from", flags->from, "Run this step and all that need it again");
  run->add_option("--parallel", flags->parallel, "Steps at once (default: one per processor)");
  run->add_option("--server", flags->server,
                  "A tracking server for the commands of the pipeline (MLFLOW_TRACKING_URI)");
  run->add_option("--reason", flags->reason, "Why it runs; kept with the run")
      ->capture_default_str();
  run->add_option("--actor", flags->actor, "Who runs it, for the audit log (default: $USER)");
  run->add_flag("--dry-run", flags->dry_run, "Show what would run, and why");
  run->add_flag("--no-cache", flags->no_cache, "Run every step");
  run->add_flag("--json", globals.json, "Print the report as JSON");
  run->footer("Example: slipway run examples/flights/pipeline.yaml --param trials=5");
  run->callback([flags, &globals] { globals.exit_code = run_pipeline(globals, *flags); });

  CLI::App* list = app.add_subcommand("pipelines", "Runs of pipelines");
  list->require_subcommand(1);
  CLI::App* ls = list->add_subcommand("ls", "List them, newest first");
  ls->add_flag("--json", globals.json, "Print JSON");
  ls->footer("Example: slipway pipelines ls");
  ls->callback([&globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto runs = home.engine().list({});
      if (!runs) return fail(runs.error());
      TextTable table({"RUN", "PIPELINE", "STATE", "STARTED", "REASON"});
      Json all = Json::array();
      for (const pipeline::RunReport& report : *runs) {
        table.add({report.id.substr(0, 12), report.pipeline,
                   std::string(pipeline::to_string(report.state)),
                   format_time(report.started).substr(0, 19), report.reason});
        all.push_back(to_json(report));
      }
      return print(globals, table, all);
    });
  });
  auto id = std::make_shared<std::string>();
  CLI::App* show = list->add_subcommand("show", "One run with its steps");
  show->add_option("run", *id, "Its id, or the beginning of it")->required();
  show->footer("Example: slipway pipelines show 3fa94c");
  show->callback([id, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto report = home.engine().get(*id);
      if (!report) return fail(report.error());
      std::cout << to_json(*report).dump(2) << "\n";
      return 0;
    });
  });
}

}  // namespace slipway::cli
