// `predictions`: the prediction log as a table, by SQL, one by one, and without a subject.
#include <iostream>

#include "cli/command_internal.h"
#include "cli/predictions_internal.h"
#include "data/cell_json.h"
#include "data/engine.h"
#include "serving/model_source.h"
#include "serving/rerun.h"

namespace slipway::cli {
namespace {

struct PredictionFlags {
  std::string deployment, id, subject, from, until;
  std::string sql = "SELECT * FROM predictions ORDER BY time DESC LIMIT 20";
};

int print_rows(const Globals& globals, const data::TablePtr& table) {
  auto columns = data::Columns::from_table(table);
  if (!columns) return fail(columns.error());
  const data::Batch batch = columns->batch();
  TextTable text(columns->schema().names());
  Json all = Json::array();
  for (std::int64_t row = 0; row < batch.rows; ++row) {
    std::vector<std::string> cells;
    Json json = Json::object();
    for (std::size_t i = 0; i < batch.columns.size(); ++i) {
      Json value = data::cell_json(batch.columns[i], row);
      cells.push_back(value.is_null()     ? "-"
                      : value.is_string() ? value.get<std::string>()
                                          : value.dump());
      json[batch.schema->fields[i].name] = std::move(value);
    }
    text.add(std::move(cells));
    all.push_back(std::move(json));
  }
  return print(globals, text, all);
}

Result<Time> time_or(const std::string& text, Time otherwise, const char* flag) {
  if (text.empty()) return otherwise;
  auto time = parse_time(text);
  if (!time) return time.error().at(flag);
  return time;
}

int query_predictions(const Globals& globals, Home& home, const PredictionFlags& flags) {
  auto from = time_or(flags.from, Time::min(), "--from");
  if (!from) return fail(from.error());
  auto until = time_or(flags.until, Time::max(), "--until");
  if (!until) return fail(until.error());
  auto table = home.predictions().read(flags.deployment, *from, *until, {.traces = true});
  if (!table) return fail(table.error());
  auto engine = data::Engine::open({.temp_dir = home.folder() / "tmp"});
  if (!engine) return fail(engine.error());
  if (auto added = (*engine)->add_table("predictions", *table); !added) return fail(added.error());
  auto rows = (*engine)->query(interruptible_context(), flags.sql);
  if (!rows) return fail(rows.error());
  return print_rows(globals, *rows);
}

int show_prediction(Home& home, const PredictionFlags& flags) {
  auto found = home.predictions().find(flags.id);
  if (!found) return fail(found.error());
  std::cout << Json{{"id", found->id},
                    {"deployment", found->deployment},
                    {"time", format_time(found->time)},
                    {"version", found->version},
                    {"alias", found->alias},
                    {"latency_us", found->latency_us},
                    {"score", found->score ? json_number(*found->score) : Json(nullptr)},
                    {"outputs", found->outputs},
                    {"caller", found->caller},
                    {"trace", found->trace},
                    {"inputs_hash", found->inputs_hash},
                    {"inputs", found->inputs}}
                   .dump(2)
            << "\n";
  return 0;
}

}  // namespace

int replay_prediction(Home& home, const std::string& id) {
  const serving::RegistrySource source(home.db(), home.registry(), home.blobs(),
                                       home.folder() / "cache");
  auto again = serving::rerun(
      {home.predictions(), home.deployments(), home.registry(), source, home.subject_keys()}, id);
  if (!again) return fail(again.error());
  std::cout << again->to_json().dump(2) << "\n";
  return again->same ? 0 : kExitNo;
}

void add_predictions(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<PredictionFlags>();
  CLI::App* predictions =
      noun(app, "predictions", "What was asked and answered: the prediction log");
  CLI::App* sql = predictions->add_subcommand(
      "query", "A deployment's predictions by SQL, as the table `predictions`");
  sql->add_option("deployment", flags->deployment, "Its name")->required();
  sql->add_option("sql", flags->sql, "One SELECT")->capture_default_str();
  sql->add_option("--from", flags->from, "From this time");
  sql->add_option("--until", flags->until, "Until before this time");
  sql->add_flag("--json", globals.json, "Print JSON");
  sql->footer(
      "Example: slipway predictions query late \"SELECT version, count(*) AS rows, avg(score) AS "
      "score FROM predictions WHERE role = 'primary' GROUP BY version\"");
  sql->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      return query_predictions(globals, home, *flags);
    });
  });
  CLI::App* one = predictions->add_subcommand("show", "One prediction, with its inputs");
  one->add_option("id", flags->id, "Its id")->required();
  one->footer("Example: slipway predictions show UA1545-2013-01-01");
  one->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false},
                                  [&](Home& home) { return show_prediction(home, *flags); });
  });
  CLI::App* erase = predictions->add_subcommand(
      "erase", "Destroy a subject's key: what is logged encrypted about them is lost for ever");
  erase
      ->add_option("subject", flags->subject,
                   "The value of the deployments' subject input, as JSON: 41, or \"alice\"")
      ->required();
  erase->footer("Example: slipway predictions erase '\"alice\"'");
  erase->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      auto value = parse_json(flags->subject, "the subject");
      auto erased = home.subject_keys().erase(interruptible_context(),
                                              value ? value->dump() : Json(flags->subject).dump());
      return erased ? 0 : fail(erased.error());
    });
  });
}

}  // namespace slipway::cli
