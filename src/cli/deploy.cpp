// `deploy`, `deployments at|rm`, `rollout …`: who answers which share of a deployment's requests.
// They change the home's database; a server on it follows within a moment.
#include <iostream>

#include "api/deployments_api.h"
#include "cli/command_internal.h"

namespace slipway::cli {
namespace {

struct DeployFlags {
  std::string name, model, alias, shadow_mode, clock, sticky, log, subject, keep, time;
  std::vector<std::string> canaries, shadows, mask, encrypt;
  double threshold = 0.5, log_share = 1;
  bool pinned = false;
};

struct RolloutFlags {
  std::string name, min_time = "10m";
  serving::RolloutSpec spec;
  double slow_ms = 0;
  bool no_labels = false;
};

// "next=0.05"
Result<Json> canary_of(const std::string& text) {
  const auto equals = text.rfind('=');
  double weight = 0;
  const char* end = text.data() + text.size();
  const char* begin = equals == std::string::npos ? end : text.data() + equals + 1;
  const auto [stop, problem] = std::from_chars(begin, end, weight);
  if (equals == std::string::npos || problem != std::errc{} || stop != end) {
    return invalid_argument("--canary is '" + text +
                            "', wanted ALIAS=SHARE, for example next=0.05");
  }
  return Json{{"alias", text.substr(0, equals)}, {"weight", weight}};
}

Result<Json> changes_of(const CLI::App& command, const DeployFlags& flags) {
  Json changes = Json::object();
  const auto given = [&](const char* option) { return command.count(option) > 0; };
  const auto text = [&](const char* option, const char* key, const std::string& value) {
    if (given(option)) changes[key] = value;
  };
  text("--model", "model", flags.model);
  text("--alias", "alias", flags.alias);
  text("--shadow-mode", "shadow_mode", flags.shadow_mode);
  text("--clock", "clock", flags.clock);
  text("--sticky", "sticky", flags.sticky);
  text("--log", "log", flags.log);
  text("--subject", "subject", flags.subject);
  text("--keep", "keep", flags.keep);
  if (given("--threshold")) changes["threshold"] = flags.threshold;
  if (given("--log-share")) changes["log_share"] = flags.log_share;
  if (given("--pinned")) changes["pinned"] = flags.pinned;
  const auto list = [&](const char* option, const char* key,
                        const std::vector<std::string>& values) {
    if (!given(option)) return;
    changes[key] = Json::array();
    for (const std::string& value : values) {
      if (!value.empty() && value != "none") changes[key].push_back(value);
    }
  };
  list("--shadow", "shadows", flags.shadows);
  list("--mask", "mask", flags.mask);
  list("--encrypt", "encrypt", flags.encrypt);
  if (given("--canary")) {
    changes["canaries"] = Json::array();
    for (const std::string& canary : flags.canaries) {
      if (canary == "none") continue;
      auto read = canary_of(canary);
      if (!read) return read.error();
      changes["canaries"].push_back(std::move(*read));
    }
  }
  return changes;
}

int deploy(Home& home, const CLI::App& command, const DeployFlags& flags) {
  auto changes = changes_of(command, flags);
  if (!changes) return fail(changes.error());
  auto deployment =
      api::patch_deployment(interruptible_context(), home.deployments(), flags.name, *changes);
  if (!deployment) return fail(deployment.error());
  std::cout << deployment->to_json().dump(2) << "\n";
  return 0;
}

int show_rollout(const Globals& globals, const Result<serving::Rollout>& rollout) {
  if (!rollout) return fail(rollout.error());
  if (globals.json) {
    std::cout << rollout->to_json().dump(2) << "\n";
    return 0;
  }
  std::cout << fmt::format(
      "{}: version {} against {}, {}{}: {}\n", rollout->deployment, rollout->candidate_version,
      rollout->control_version, to_string(rollout->state),
      rollout->open() ? fmt::format(" with {:g}% of the requests", rollout->weight() * 100) : "",
      rollout->reason);
  return 0;
}

int list_rollouts(const Globals& globals, Home& home, const std::string& name) {
  auto rollouts = home.rollouts().list(name);
  if (!rollouts) return fail(rollouts.error());
  TextTable table({"STARTED", "CANDIDATE", "AGAINST", "STATE", "SHARE", "REQUESTS", "FAILED",
                   "LABELS", "REASON"});
  Json all = Json::array();
  for (const serving::Rollout& rollout : *rollouts) {
    table.add(
        {format_time(rollout.started).substr(0, 19), std::to_string(rollout.candidate_version),
         std::to_string(rollout.control_version), std::string(to_string(rollout.state)),
         rollout.open() ? fmt::format("{:g}%", rollout.weight() * 100) : "",
         std::to_string(rollout.candidate.requests), std::to_string(rollout.candidate.failures),
         std::to_string(rollout.labelled), rollout.reason});
    all.push_back(rollout.to_json());
  }
  return print(globals, table, all);
}

void add_rollout(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<RolloutFlags>();
  CLI::App* rollout = noun(
      app, "rollout", "A candidate that gets a growing share, and loses it when it does worse");
  const auto verb = [&](const char* name, const char* about, const std::string& example,
                        std::function<int(Home&)> body) {
    CLI::App* command = rollout->add_subcommand(name, about);
    command->add_option("deployment", flags->name, "Its name")->required();
    command->add_flag("--json", globals.json, "Print JSON");
    command->footer("Example: slipway rollout " + example);
    command->callback([&globals, body = std::move(body)] {
      globals.exit_code = with_home(globals, {.create = false}, body);
    });
    return command;
  };
  CLI::App* start =
      verb("start", "Start one", "start late --candidate challenger --stages 0.01 0.1 0.5",
           [&globals, flags](Home& home) {
             auto min_time = parse_duration(flags->min_time);
             if (!min_time) return fail(min_time.error().at("--min-time"));
             flags->spec.min_time = *min_time;
             flags->spec.slow_us = static_cast<std::int64_t>(flags->slow_ms * 1000);
             flags->spec.labels = !flags->no_labels;
             return show_rollout(
                 globals, home.rollouts().start(interruptible_context(), flags->name, flags->spec));
           });
  start->add_option("--candidate", flags->spec.candidate, "Alias of the version that is tried")
      ->required();
  start
      ->add_option("--stages", flags->spec.stages,
                   "Shares of the requests, growing; after the last one it is promoted")
      ->capture_default_str();
  start->add_option("--min-requests", flags->spec.min_requests, "Of the candidate, in each stage")
      ->capture_default_str();
  start->add_option("--min-time", flags->min_time, "In each stage")->capture_default_str();
  start
      ->add_option("--alpha", flags->spec.alpha,
                   "Chance of a rollback although it is no worse, over the whole rollout")
      ->capture_default_str();
  start
      ->add_option("--tolerance", flags->spec.tolerance,
                   "Worse is: bad events more than so many times as often")
      ->capture_default_str();
  start->add_option("--slow-ms", flags->slow_ms, "Answers slower than this are bad events");
  start->add_flag("--no-labels", flags->no_labels, "Do not judge by labels");
  verb("ls", "List them, newest first, with what they saw", "ls late",
       [&globals, flags](Home& home) { return list_rollouts(globals, home, flags->name); });
  verb("pause", "Stay at this share; it still loses it when it does worse", "pause late",
       [&globals, flags](Home& home) {
         return show_rollout(globals, home.rollouts().pause(interruptible_context(), flags->name));
       });
  verb("resume", "Go on", "resume late", [&globals, flags](Home& home) {
    return show_rollout(globals, home.rollouts().resume(interruptible_context(), flags->name));
  });
  verb("promote", "Make the candidate what the deployment's alias means, now", "promote late",
       [&globals, flags](Home& home) {
         return show_rollout(globals,
                             home.rollouts().promote(interruptible_context(), flags->name));
       });
  verb("abort", "Take its share away, now", "abort late", [&globals, flags](Home& home) {
    return show_rollout(globals, home.rollouts().abort(interruptible_context(), flags->name));
  });
}

}  // namespace

void add_deploy(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<DeployFlags>();
  CLI::App* command = app.add_subcommand(
      "deploy", "Serve a registered model under a name, or change how it is served");
  command->add_option("deployment", flags->name, "Its name")->required();
  command->add_option("--model", flags->model, "Registered model (default: of the same name)");
  command->add_option("--alias", flags->alias, "The version that answers (default: champion)");
  command->add_option("--canary", flags->canaries,
                      "ALIAS=SHARE: a version that answers a share of the requests; 'none' for "
                      "no more");
  command->add_option("--sticky", flags->sticky,
                      "Header whose value decides who answers, so that equal values get the same "
                      "version (A/B)");
  command->add_option("--shadow", flags->shadows,
                      "Alias of a version that answers unseen; 'none' for no more");
  command->add_option("--shadow-mode", flags->shadow_mode, "best_effort or complete");
  command->add_option("--clock", flags->clock, "wall, or request for replays");
  command->add_option("--threshold", flags->threshold, "Label 1 from this probability on");
  command->add_option("--log", flags->log,
                      "durable: logged before the answer; queued: soon after it; off");
  command->add_option("--log-share", flags->log_share, "Share of the requests that is logged");
  command->add_option("--mask", flags->mask, "Input that is not kept in the log");
  command->add_option("--encrypt", flags->encrypt,
                      "Input that is kept under its subject's key, which can be erased");
  command->add_option("--subject", flags->subject, "Input that says who the subject is");
  command->add_option("--keep", flags->keep, "How long predictions stay in the log: 180d");
  command->add_flag("--pinned,!--not-pinned", flags->pinned,
                    "Keep its model in memory, whatever the budget");
  command->footer(
      "Example: slipway deploy late --canary challenger=0.05 --sticky x-user-id\nWhat is not named "
      "stays as it is. Every change is an entry of the audit log.");
  command->callback([flags, command, &globals] {
    globals.exit_code = with_home(globals, {.create = false},
                                  [&](Home& home) { return deploy(home, *command, *flags); });
  });

  CLI::App* deployments = app.get_subcommand("deployments");
  CLI::App* at = deployments->add_subcommand("at", "What a deployment served then");
  at->add_option("deployment", flags->name, "Its name")->required();
  at->add_option("time", flags->time, "RFC 3339, or a date; without a zone, UTC")->required();
  at->footer("Example: slipway deployments at late 2026-03-01T12:00:00Z");
  at->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      const auto time = parse_time(flags->time);
      if (!time) return fail(time.error());
      auto served = api::served_at(home.deployments(), home.registry(), flags->name, *time);
      if (!served) return fail(served.error());
      std::cout << served->dump(2) << "\n";
      return 0;
    });
  });
  CLI::App* rm =
      deployments->add_subcommand("rm", "Serve it no longer; its logged predictions stay");
  rm->add_option("deployment", flags->name, "Its name")->required();
  rm->footer("Example: slipway deployments rm late");
  rm->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto removed = home.deployments().remove(interruptible_context(), flags->name);
      return removed ? 0 : fail(removed.error());
    });
  });
  add_rollout(app, globals);
}

}  // namespace slipway::cli
