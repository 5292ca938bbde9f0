// `data`: the dataset versions of a home; data_quality.cpp adds profiles, validation and
// comparison.
#include <iostream>

#include "cli/command_internal.h"

namespace slipway::cli {
namespace {

struct DataFlags {
  std::string name;
};

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
  CLI::App* data =
      noun(app, "data", "Look at data: profile, infer, validate, compare, dataset versions");
  add_data_quality(*data, globals);

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
