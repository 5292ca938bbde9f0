// `data profile` and `data validate`: what files hold, and whether it is what was expected.
#include <iostream>

#include "cli/command_internal.h"
#include "data/engine.h"
#include "data/profile.h"
#include "data/validation.h"

namespace slipway::cli {
namespace {

struct QualityFlags {
  std::string file, expectations, reference_time;
  std::vector<std::string> nulls;
};

Result<std::unique_ptr<data::Engine>> engine_over(const QualityFlags& flags) {
  auto source = data::Source::of_file(flags.file);
  if (!source) return source.error();
  source->null_values = flags.nulls;
  auto engine = data::Engine::open({.memory_limit_mb = 1024});
  if (!engine) return engine.error();
  if (auto added = (*engine)->add_source("data", *source); !added) return added.error();
  return engine;
}

int profile_file(const Globals& globals, const QualityFlags& flags) {
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

int validate_file(const Globals& globals, const QualityFlags& flags) {
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

}  // namespace

void add_data_quality(CLI::App& data, Globals& globals) {
  auto flags = std::make_shared<QualityFlags>();
  CLI::App* profiled = data.add_subcommand(
      "profile", "What the columns of a file look like, and what is suspicious about them");
  profiled->add_option("file", flags->file, "CSV, Parquet or JSONL (.gz too), or a glob")
      ->required();
  profiled->add_option("--null", flags->nulls, "A text that stands for no value, such as NA");
  profiled->add_flag("--json", globals.json, "Print JSON");
  profiled->footer("Example: slipway data profile flights.csv --null NA");
  profiled->callback([flags, &globals] { globals.exit_code = profile_file(globals, *flags); });

  CLI::App* checked = data.add_subcommand(
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
  checked->callback([flags, &globals] { globals.exit_code = validate_file(globals, *flags); });
}

}  // namespace slipway::cli
