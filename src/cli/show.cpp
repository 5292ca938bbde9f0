// `ls` and `show` of runs, models, deployments and alerts.
#include <iostream>

#include "api/registry_api.h"
#include "api/slipway_api.h"
#include "cli/command_internal.h"

namespace slipway::cli {
namespace {

std::string short_time(Time time) { return format_time(time).substr(0, 19); }

Json to_json(const tracking::Run& run) {
  Json json = {{"run_id", run.id.value},
               {"name", run.name},
               {"experiment_id", run.experiment.text()},
               {"status", tracking::to_string(run.status)},
               {"start", format_time(from_millis(run.start_ms))},
               {"params", Json::object()},
               {"metrics", Json::object()},
               {"tags", run.tags}};
  for (const tracking::Param& param : run.params) json["params"][param.key] = param.value;
  for (const tracking::Metric& metric : run.metrics)
    json["metrics"][metric.key] = json_number(metric.value);
  return json;
}

int list_runs(const Globals& globals, Home& home, const std::string& experiment,
              const std::string& filter, int limit) {
  tracking::RunSearch search{.filter = filter, .max_results = limit};
  auto experiments = home.tracking().search_experiments({});
  if (!experiments) return fail(experiments.error());
  std::map<std::string, std::string> names;
  for (const tracking::Experiment& known : experiments->items) {
    names[known.id.text()] = known.name;
    if (experiment.empty() || known.name == experiment) search.experiments.push_back(known.id);
  }
  if (search.experiments.empty())
    return fail(not_found("there is no experiment '" + experiment + "'"));
  auto runs = home.tracking().search_runs(search);
  if (!runs) return fail(runs.error());
  TextTable table({"RUN", "EXPERIMENT", "NAME", "STATUS", "STARTED", "METRICS"});
  Json all = Json::array();
  for (const tracking::Run& run : runs->items) {
    std::string metrics;
    for (const tracking::Metric& metric : run.metrics) {
      if (metrics.size() < 60)
        metrics += fmt::format("{}{}={:.4g}", metrics.empty() ? "" : " ", metric.key, metric.value);
    }
    table.add({run.id.value.substr(0, 12), names[run.experiment.text()], run.name,
               std::string(tracking::to_string(run.status)), short_time(from_millis(run.start_ms)),
               metrics});
    all.push_back(to_json(run));
  }
  return print(globals, table, all);
}

Json to_json(const registry::ModelVersion& version) {
  return {{"model", version.model},
          {"version", version.number},
          {"run_id", version.run_id},
          {"bundle", version.digest},
          {"source", version.source},
          {"aliases", version.aliases},
          {"created", format_time(version.created)},
          {"tags", version.tags},
          {"metadata", version.metadata}};
}

int show_aliases_at(const Globals& globals, Home& home, const std::string& model,
                    const std::string& text) {
  const auto time = parse_time(text);
  if (!time) return fail(time.error());
  const auto moves = home.registry().aliases_at(model, *time);
  if (!moves) return fail(moves.error());
  TextTable table({"ALIAS", "VERSION", "SINCE", "BY", "REASON"});
  Json all = Json::array();
  for (const auto& move : *moves) {
    table.add({move.alias, std::to_string(move.to.value_or(0)), short_time(move.at), move.actor,
               move.reason});
    all.push_back(api::to_json(move));
  }
  return print(globals, table, all);
}

int list_models(const Globals& globals, Home& home) {
  auto models = home.registry().search_models({});
  if (!models) return fail(models.error());
  TextTable table({"MODEL", "VERSIONS", "ALIASES", "UPDATED"});
  Json all = Json::array();
  for (const registry::RegisteredModel& model : models->items) {
    auto versions = home.registry().versions(model.name);
    if (!versions) return fail(versions.error());
    std::string aliases;
    for (const auto& [alias, number] : model.aliases)
      aliases += fmt::format("{}{}={}", aliases.empty() ? "" : " ", alias, number);
    table.add({model.name, std::to_string(versions->size()), aliases, short_time(model.updated)});
    all.push_back(
        {{"name", model.name}, {"versions", versions->size()}, {"aliases", model.aliases}});
  }
  return print(globals, table, all);
}

int show_model(const Globals& globals, Home& home, const std::string& name) {
  auto versions = home.registry().versions(name);
  if (!versions) return fail(versions.error());
  auto model = home.registry().model(name);
  if (!model) return fail(model.error());
  TextTable table({"VERSION", "ALIASES", "CREATED", "BUNDLE", "METRICS", "DECISIONS"});
  Json all = Json::array();
  for (const registry::ModelVersion& version : *versions) {
    auto gates = home.registry().gates(name, version.number);
    if (!gates) return fail(gates.error());
    std::string metrics;
    for (const char* key : {"auc", "log_loss", "rmse"}) {
      const Json values = version.metadata.value("metrics", Json::object());
      if (values.contains(key))
        metrics +=
            fmt::format("{}{}={:.4f}", metrics.empty() ? "" : " ", key, values[key].get<double>());
    }
    std::string aliases;
    for (const std::string& alias : version.aliases)
      aliases += (aliases.empty() ? "" : " ") + alias;
    Json json = to_json(version);
    json["decisions"] = Json::array();
    std::string reasons;
    for (const registry::GateDecision& gate : *gates) {
      reasons += (reasons.empty() ? "" : "; ") + std::string(gate.passed ? "yes: " : "no: ") +
                 gate.decision.value("reason", "");
      json["decisions"].push_back({{"passed", gate.passed},
                                   {"at", format_time(gate.at)},
                                   {"actor", gate.actor},
                                   {"decision", gate.decision}});
    }
    table.add({std::to_string(version.number), aliases, short_time(version.created),
               version.digest.substr(0, 12), metrics, reasons});
    all.push_back(std::move(json));
  }
  return print(globals, table, all);
}

int list_deployments(const Globals& globals, Home& home) {
  auto deployments = home.deployments().list();
  if (!deployments) return fail(deployments.error());
  TextTable table({"DEPLOYMENT", "MODEL", "ALIAS", "SHADOWS", "CLOCK", "PREDICTIONS"});
  Json all = Json::array();
  for (const serving::Deployment& deployment : *deployments) {
    std::string shadows;
    for (const std::string& shadow : deployment.shadows)
      shadows += (shadows.empty() ? "" : " ") + shadow;
    const auto predictions = home.predictions().count(deployment.name);
    table.add({deployment.name, deployment.model, deployment.alias, shadows,
               std::string(to_string(deployment.clock)), std::to_string(predictions)});
    Json json = deployment.to_json();
    json["predictions"] = predictions;
    all.push_back(std::move(json));
  }
  return print(globals, table, all);
}

int show_deployment(Home& home, const std::string& name) {
  auto deployment = home.deployments().get(name);
  if (!deployment) return fail(deployment.error());
  Json json = deployment->to_json();
  json["predictions"] = home.predictions().count(name);
  auto trials = home.loop().trials(name);
  if (!trials) return fail(trials.error());
  json["challengers"] = Json::array();
  for (const feedback::Trial& trial : *trials) json["challengers"].push_back(api::to_json(trial));
  auto history = home.registry().alias_history(deployment->model.empty() ? name : deployment->model,
                                               deployment->alias);
  if (!history) return fail(history.error());
  json["versions_served"] = Json::array();
  for (const registry::AliasMove& move : *history) {
    json["versions_served"].push_back({{"at", format_time(move.at)},
                                       {"version", move.to ? Json(*move.to) : Json(nullptr)},
                                       {"by", move.actor},
                                       {"reason", move.reason}});
  }
  std::cout << json.dump(2) << "\n";
  return 0;
}

int list_alerts(const Globals& globals, Home& home, bool firing) {
  auto alerts = home.monitor().alerts({.only_firing = firing});
  if (!alerts) return fail(alerts.error());
  TextTable table(
      {"ALERT", "DEPLOYMENT", "RULE", "SEVERITY", "STATE", "WINDOW", "VERSION", "CONDITION"});
  Json all = Json::array();
  for (const monitoring::Alert& alert : *alerts) {
    table.add({alert.id.substr(0, 12), alert.deployment, alert.rule, alert.severity,
               alert.firing ? red("firing") : green("resolved"),
               format_time(alert.window.start).substr(0, 10), std::to_string(alert.version),
               alert.expression});
    all.push_back(alert.to_json());
  }
  return print(globals, table, all);
}

// A leaf command on an existing home.
CLI::App* leaf(CLI::App* parent, Globals& globals, const char* name, const char* about,
               const std::string& example, std::function<int(Home&)> body) {
  CLI::App* command = parent->add_subcommand(name, about);
  command->add_flag("--json", globals.json, "Print JSON");
  command->footer("Example: slipway " + example);
  command->callback([&globals, body = std::move(body)] {
    globals.exit_code = with_home(globals, {.create = false}, body);
  });
  return command;
}

}  // namespace

void add_show(CLI::App& app, Globals& globals) {
  struct Flags {
    std::string name, experiment, filter, time;
    int limit = 50;
    bool firing = false;
  };
  auto flags = std::make_shared<Flags>();

  CLI::App* runs = noun(app, "runs", "Tracked runs");
  CLI::App* ls =
      leaf(runs, globals, "ls", "List them, newest first",
           "runs ls --filter \"metrics.test_auc > 0.7\"", [flags, &globals](Home& home) {
             return list_runs(globals, home, flags->experiment, flags->filter, flags->limit);
           });
  ls->add_option("--experiment", flags->experiment, "Of this experiment only");
  ls->add_option("--filter", flags->filter,
                 "MLflow's filter: metrics.auc > 0.7 and params.max_depth = '6'");
  ls->add_option("--limit", flags->limit, "At most so many")->capture_default_str();
  leaf(runs, globals, "show", "One run", "runs show 3fa94c0d5a1b4d2f8e7c6b5a49382716",
       [flags](Home& home) {
         auto run = home.tracking().run({flags->name});
         if (!run) return fail(run.error());
         std::cout << to_json(*run).dump(2) << "\n";
         return 0;
       })
      ->add_option("run", flags->name, "Its id")
      ->required();

  CLI::App* models = noun(app, "models", "Registered models and their versions");
  leaf(models, globals, "ls", "List them", "models ls",
       [&globals](Home& home) { return list_models(globals, home); });
  leaf(models, globals, "show", "One model's versions, with what gates and comparisons said",
       "models show late",
       [flags, &globals](Home& home) { return show_model(globals, home, flags->name); })
      ->add_option("model", flags->name, "Its name")
      ->required();
  leaf(models, globals, "card", "A version's model card, as Markdown, with what is still unsaid",
       "models card late@champion",
       [flags, &globals](Home& home) { return show_card(globals, home, flags->name); })
      ->add_option("model", flags->name,
                   "MODEL (its champion, else its newest version), MODEL/VERSION or MODEL@ALIAS")
      ->required();

  CLI::App* at = leaf(models, globals, "at", "Which versions a model's aliases pointed at then",
                      "models at late 2026-03-01T12:00:00Z", [flags, &globals](Home& home) {
                        return show_aliases_at(globals, home, flags->name, flags->time);
                      });
  at->add_option("model", flags->name, "Its name")->required();
  at->add_option("time", flags->time, "RFC 3339, or a date; without a zone, UTC")->required();

  CLI::App* deployments = noun(app, "deployments", "What is served");
  leaf(deployments, globals, "ls", "List them", "deployments ls",
       [&globals](Home& home) { return list_deployments(globals, home); });
  leaf(deployments, globals, "show", "One deployment, its challengers, and every version it served",
       "deployments show late", [flags](Home& home) { return show_deployment(home, flags->name); })
      ->add_option("deployment", flags->name, "Its name")
      ->required();

  CLI::App* alerts = noun(app, "alerts", "Alerts of the monitors");
  leaf(alerts, globals, "ls", "List them, newest first", "alerts ls --firing",
       [flags, &globals](Home& home) { return list_alerts(globals, home, flags->firing); })
      ->add_flag("--firing", flags->firing, "Only those that fire now");
  leaf(alerts, globals, "show", "One alert, with the figures that made it fire", "alerts show 8c1d",
       [flags](Home& home) {
         auto alert = home.monitor().alert(flags->name);
         if (!alert) return fail(alert.error());
         std::cout << alert->to_json().dump(2) << "\n";
         return 0;
       })
      ->add_option("alert", flags->name, "Its id")
      ->required();
}

}  // namespace slipway::cli
