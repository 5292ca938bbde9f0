#include "base/file.h"
#include "cli/progress_internal.h"

namespace slipway::cli {
namespace {

constexpr std::chrono::milliseconds kLookEvery{200};

struct RunFlags {
  std::string file, from, reason = "by hand", actor, server, tracking_uri, job;
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

// The program that did this job for a server that was killed may still be at it: what it finishes
// is in the cache for the one that waits.
Result<FileLock> alone_on_job(const Context& ctx, const Home& home, const std::string& job) {
  const auto file = home.folder() / "jobs" / (job + ".lock");
  if (auto made = make_dirs(file.parent_path()); !made) return made.error();
  while (true) {
    auto lock = FileLock::acquire(file, "job " + job);
    if (lock || lock.error().code != Code::failed_precondition) return lock;
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    std::this_thread::sleep_for(kLookEvery);
  }
}

int run_here(const Globals& globals, const Context& ctx, const RunFlags& flags,
             const std::map<std::string, std::string>& overrides) {
  return with_home(globals, {}, [&](Home& home) {
    std::optional<FileLock> alone;
    if (!flags.job.empty()) {
      auto lock = alone_on_job(ctx, home, flags.job);
      if (!lock) return fail(lock.error());
      alone.emplace(std::move(*lock));
    }
    auto spec = pipeline::PipelineSpec::load(flags.file, home.kinds(), overrides);
    if (!spec) return fail(spec.error());
    pipeline::RunOptions options{.from_step = flags.from,
                                 .use_cache = !flags.no_cache,
                                 .max_parallel = flags.parallel,
                                 .reason = flags.reason,
                                 .job = flags.job};
    if (!flags.tracking_uri.empty())
      options.environment["MLFLOW_TRACKING_URI"] = flags.tracking_uri;
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
    return show_outcome(globals, *report);
  });
}

int run_pipeline(const Globals& globals, const RunFlags& flags) {
  const Context ctx = interruptible_context(flags.actor);
  auto overrides = overrides_of(flags.params);
  if (!overrides) return fail(overrides.error());
  if (flags.server.empty()) return run_here(globals, ctx, flags, *overrides);
  if (flags.dry_run)
    return fail(invalid_argument("--dry-run looks at a home: use it with --home, not --server"));
  std::error_code problem;
  return run_on_server(globals, ctx,
                       {.server = flags.server,
                        .file = std::filesystem::absolute(flags.file, problem).string(),
                        .params = std::move(*overrides),
                        .reason = flags.reason,
                        .from = flags.from,
                        .use_cache = !flags.no_cache});
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
  CLI::Option* parallel =
      run->add_option("--parallel", flags->parallel, "Steps at once (default: one per processor)");
  run->add_option("--server", flags->server,
                  "Have the server at this URL run it, on its own home, and follow it; the server "
                  "reads the file by the same path. Its token is in SLIPWAY_TOKEN")
      ->excludes(parallel);
  run->add_option("--tracking-uri", flags->tracking_uri,
                  "The tracking server for the commands of the pipeline (MLFLOW_TRACKING_URI)");
  run->add_option("--reason", flags->reason, "Why it runs; kept with the run")
      ->capture_default_str();
  run->add_option("--actor", flags->actor, "Who runs it, for the audit log (default: $USER)");
  run->add_option("--job", flags->job, "The job of a server that this run does")->group("");
  run->add_flag("--dry-run", flags->dry_run, "Show what would run, and why");
  run->add_flag("--no-cache", flags->no_cache, "Run every step");
  run->add_flag("--json", globals.json, "Print the report as JSON");
  run->footer(
      "Example: slipway run examples/flights/pipeline.yaml --param trials=5\n"
      "         slipway run --server http://127.0.0.1:5000 examples/flights/pipeline.yaml");
  run->callback([flags, &globals] { globals.exit_code = run_pipeline(globals, *flags); });
}

}  // namespace slipway::cli
