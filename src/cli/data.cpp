// `data`: profiles and validation of files, and the dataset versions of a home.
#include <iostream>

#include "cli/command_internal.h"
#include "data/engine.h"
#include "data/profile.h"
#include "data/validation.h"

namespace slipway::cli {
namespace {

struct DataFlags {
  std::string file, expectations, reference_time, name;
  std::vector<std::string> nulls;
};

Result<std::unique_ptr<data::Engine>> engine_over(const DataFlags& flags) {
  auto source = data::Source::of_file(flags.file);
  if (!source) return source.error();
  source->null_values = flags.nulls;
  auto engine = data::Engine::open({.memory_limit_mb = 1024});
  if (!engine) return engine.error();
  if (auto added = (*engine)->add_source("data", *source); !added) return added.error();
  return engine;
}

int profile(const Globals& globals, const DataFlags& flags) {
  auto engine = engine_over(flags);
  if (!engine) return fail(engine.error());
  auto table = (*engine)->query(interruptible_context(), "SELECT * FROM data");
  if (!table) return fail(table.error());
  auto columns = data::Columns::from_table(*table);
  if (!columns) return fail(columns.error());
  auto profiled = data::Profile::of(columns->batch(), {});
  if (!profiled) return fail(profiled.error());
  std::cout << (globals.json ? profiled->to_json().dump(2) + "\n" : data::render_text(*profiled));
  return 0;
}

int validate(const Globals& globals, const DataFlags& flags) {
  auto document = SpecDocument::load(flags.expectations);
  if (!document) return fail(document.error());
  SpecReader reader(*document);
  const auto expectations = data::read_expectations(reader, "expectations");
  if (auto sound = reader.finish(); !sound) return fail(sound.error());
  auto engine = engine_over(flags);
  if (!engine) return fail(engine.error());
  data::ValidationOptions options;
  if (!flags.reference_time.empty()) {
    auto time = parse_time(flags.reference_time);
    if (!time) return fail(time.error());
    options.reference_time = *time;
  }
  auto validation =
      data::validate(interruptible_context(), **engine, "data", expectations, options);
  if (!validation) return fail(validation.error());
  std::cout << (globals.json ? validation->report.to_json().dump(2) + "\n"
                             : data::render_text(validation->report));
  return validation->report.ok() ? 0 : kExitNo;
}

int list_datasets(const Globals& globals, Home& home, const std::string& name) {
  auto versions = name.empty() ? home.datasets().list() : home.datasets().versions(name);
  if (!versions) return fail(versions.error());
  TextTable table({"DATASET", "VERSION", "ROWS", "COLUMNS", "BYTES", "CREATED", "BY"});
  Json all = Json::array();
  for (const data::DatasetVersion& version : *versions) {
    table.add({version.ref.name, version.ref.version.substr(0, 12), std::to_string(version.rows),
               std::to_string(version.columns), std::to_string(version.bytes),
               format_time(version.created).substr(0, 19), version.created_by});
    all.push_back({{"name", version.ref.name},
                   {"version", version.ref.version},
                   {"rows", version.rows},
                   {"columns", version.columns},
                   {"bytes", version.bytes}});
  }
  return print(globals, table, all);
}

}  // namespace

void add_data(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<DataFlags>();
  CLI::App* data = noun(app, "data", "Look at data: profile, validate, dataset versions");
  CLI::App* profiled = data->add_subcommand(
      "profile", "What the columns of a file look like, and what is suspicious about them");
  profiled->add_option("file", flags->file, "CSV, Parquet or JSONL (.gz too), or a glob")
      ->required();
  profiled->add_option("--null", flags->nulls, "A text that stands for no value, such as NA");
  profiled->add_flag("--json", globals.json, "Print JSON");
  profiled->footer("Example: slipway data profile flights.csv --null NA");
  profiled->callback([flags, &globals] { globals.exit_code = profile(globals, *flags); });

  CLI::App* checked = data->add_subcommand(
      "validate", "Check a file against expectations (exit code 7: it does not hold them)");
  checked->add_option("file", flags->file, "CSV, Parquet or JSONL (.gz too), or a glob")
      ->required();
  checked
      ->add_option("--expectations", flags->expectations,
                   "YAML file with a list under `expectations`")
      ->required();
  checked->add_option("--null", flags->nulls, "A text that stands for no value, such as NA");
  checked->add_option("--reference-time", flags->reference_time,
                      "What freshness is measured against");
  checked->add_flag("--json", globals.json, "Print JSON");
  checked->footer(
      "Example: slipway data validate flights.csv --null NA --expectations "
      "examples/flights/expectations.yaml");
  checked->callback([flags, &globals] { globals.exit_code = validate(globals, *flags); });

  CLI::App* ls =
      data->add_subcommand("ls", "Dataset versions: the newest of each name, or all of one");
  ls->add_option("dataset", flags->name, "Its name");
  ls->add_flag("--json", globals.json, "Print JSON");
  ls->footer("Example: slipway data ls flights");
  ls->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false}, [&](Home& home) {
      return list_datasets(globals, home, flags->name);
    });
  });
}

}  // namespace slipway::cli
