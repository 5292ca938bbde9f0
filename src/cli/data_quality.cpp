// `data profile | infer | validate | diff`: what data looks like, whether it is what was expected,
// and what changed. Data is a file, a glob, or a dataset of the home: flights, flights@3fa9.
#include <iostream>

#include "base/file.h"
#include "cli/command_internal.h"
#include "data/comparison.h"
#include "data/infer.h"
#include "data/profile.h"
#include "data/validation.h"

namespace slipway::cli {
namespace {

struct QualityFlags {
  std::string data, other;
  std::string expectations, reference_time, target, out, html, report, clean, quarantine;
  std::string sketch;
  std::vector<std::string> nulls, with, history, key, sketches;
  std::int64_t memory_mb = 1024;
};

bool is_dataset_name(const std::string& text) {
  std::error_code ignored;
  return text != "-" && text.find_first_of("*?[/.") == std::string::npos &&
         !std::filesystem::exists(text, ignored);
}

Result<data::Source> source_of_dataset(const Globals& globals, const std::string& name,
                                       std::vector<data::EarlierVersion>* earlier) {
  auto home =
      Home::open(globals.home,
                 {.create = false, .database = globals.database, .artifacts = globals.artifacts});
  if (!home) return home.error();
  auto& datasets = (*home)->datasets();
  auto ref = datasets.resolve(name);
  if (!ref) return ref.error();
  auto files = datasets.files(*ref);
  if (!files) return files.error();
  data::Source source;
  source.kind = data::Source::Kind::parquet;
  for (const auto& file : *files) source.paths.push_back(file.string());
  if (earlier == nullptr) return source;
  auto versions = datasets.versions(ref->name);  // newest first
  if (!versions) return versions.error();
  bool older = false;
  for (const auto& version : *versions) {
    if (older) {
      auto manifest = datasets.manifest(version.ref);
      if (!manifest) return manifest.error();
      earlier->insert(earlier->begin(), {manifest->validation, manifest->profile});
    }
    older = older || version.ref == *ref;
  }
  return source;
}

// What a command reads: Parquet files, and an engine with relations over them. Texts are brought to
// Parquet first: they are read more than once. Without SQL there is no engine, which takes memory.
class Workbench {
 public:
  static Result<Workbench> open(const Globals& globals, const QualityFlags& flags,
                                const Context& ctx) {
    auto scratch = TempDir::create(std::filesystem::temp_directory_path(), "slipway-data-");
    if (!scratch) return scratch.error();
    return Workbench(globals, flags, ctx, std::move(*scratch));
  }

  // Only the files.
  Result<void> add_files(const std::string& relation, const std::string& name,
                         std::vector<data::EarlierVersion>* earlier = nullptr) {
    auto source = is_dataset_name(name) ? source_of_dataset(globals_, name, earlier)
                                        : data::Source::of_file(name);
    if (!source) return source.error();
    if (source->kind == data::Source::Kind::csv) source->null_values = flags_.nulls;
    if (source->kind != data::Source::Kind::parquet) {
      if (auto started = start_engine(); !started) return started;
      const auto text = "slipway text " + relation;
      if (auto added = engine_->add_source(text, *source); !added) return added;
      const auto file = scratch_.path() / (std::to_string(files_.size()) + ".parquet");
      auto written = engine_->write_parquet(ctx_, "SELECT * FROM " + data::quote_name(text), file);
      if (!written) return written.error();
      source = data::Source::of_file(file);
      if (!source) return source.error();
    }
    auto files = data::expand(*source);
    if (!files) return files.error();
    files_[relation] = std::move(*files);
    return {};
  }

  // The files, and a relation over them.
  Result<void> add(const std::string& relation, const std::string& name,
                   std::vector<data::EarlierVersion>* earlier = nullptr) {
    if (auto added = add_files(relation, name, earlier); !added) return added;
    if (auto started = start_engine(); !started) return started;
    data::Source source;
    source.kind = data::Source::Kind::parquet;
    for (const auto& file : files_[relation]) source.paths.push_back(file.string());
    return engine_->add_source(relation, source);
  }

  data::Engine& engine() { return *engine_; }  // after add()
  const std::vector<std::filesystem::path>& files(const std::string& relation) {
    return files_[relation];
  }

 private:
  Workbench(const Globals& globals, const QualityFlags& flags, const Context& ctx, TempDir scratch)
      : globals_(globals), flags_(flags), ctx_(ctx), scratch_(std::move(scratch)) {}

  Result<void> start_engine() {
    if (engine_ != nullptr) return {};
    auto engine =
        data::Engine::open({.memory_limit_mb = flags_.memory_mb, .temp_dir = scratch_.path()});
    if (!engine) return engine.error();
    engine_ = std::move(*engine);
    return {};
  }

  const Globals& globals_;
  const QualityFlags& flags_;
  const Context& ctx_;
  TempDir scratch_;  // outlives the engine, which spills there
  std::unique_ptr<data::Engine> engine_;
  std::map<std::string, std::vector<std::filesystem::path>> files_;
};

Result<void> write_if_asked(const std::string& path, const std::string& text) {
  if (path.empty()) return {};
  return write_file_atomic(path, text);
}

data::ProfileOptions full_profile(const QualityFlags& flags) {
  return {.top = 30, .histogram = 24, .sample = 32'768, .target = flags.target};
}

int print_profile(const Globals& globals, const QualityFlags& flags, const data::Profile& profile,
                  const std::string& title) {
  for (const auto& [path, text] : {std::pair{flags.html, data::render_html(profile, title)},
                                   std::pair{flags.report, profile.to_json().dump(2) + "\n"}}) {
    if (auto written = write_if_asked(path, text); !written) return fail(written.error());
  }
  std::cout << (globals.json ? profile.to_json().dump(2) + "\n" : data::render_text(profile));
  return 0;
}

int profile_data(const Globals& globals, const QualityFlags& flags) {
  const auto ctx = interruptible_context();
  auto bench = Workbench::open(globals, flags, ctx);
  if (!bench) return fail(bench.error());
  if (auto added = bench->add_files("data", flags.data); !added) return fail(added.error());
  auto profiler = data::Profiler::of_files(ctx, bench->files("data"), full_profile(flags));
  if (!profiler) return fail(profiler.error());
  if (!flags.sketch.empty()) {
    if (auto written = write_file_atomic(flags.sketch, profiler->save()); !written)
      return fail(written.error());
  }
  return print_profile(globals, flags, profiler->finish(), "Profile of " + flags.data);
}

int merge_sketches(const Globals& globals, const QualityFlags& flags) {
  std::optional<data::Profiler> merged;
  for (const auto& path : flags.sketches) {
    auto bytes = read_file(path);
    if (!bytes) return fail(bytes.error());
    auto sketch = data::Profiler::load(*bytes);
    if (!sketch) return fail(sketch.error().at(path));
    if (!merged) {
      merged = std::move(*sketch);
    } else if (auto joined = merged->merge(*sketch); !joined) {
      return fail(joined.error().at(path));
    }
  }
  if (!flags.sketch.empty()) {
    if (auto written = write_file_atomic(flags.sketch, merged->save()); !written)
      return fail(written.error());
  }
  return print_profile(globals, flags, merged->finish(),
                       fmt::format("Profile of {} parts", flags.sketches.size()));
}

int infer_data(const Globals& globals, const QualityFlags& flags) {
  const auto ctx = interruptible_context();
  auto bench = Workbench::open(globals, flags, ctx);
  if (!bench) return fail(bench.error());
  if (auto added = bench->add("data", flags.data); !added) return fail(added.error());
  auto profile = data::Profile::of_files(ctx, bench->files("data"), full_profile(flags));
  if (!profile) return fail(profile.error());
  auto rules = data::infer_rules(ctx, bench->engine(), "data", *profile);
  if (!rules) return fail(rules.error());
  if (flags.out.empty()) {
    std::cout << *rules;
    return 0;
  }
  if (std::filesystem::exists(flags.out))
    return fail(Error{Code::already_exists,
                      "'" + flags.out +
                          "' is there already and may have been edited: remove it, or "
                          "write to another file"});
  if (auto written = write_file_atomic(flags.out, *rules); !written) return fail(written.error());
  std::cout << "wrote " << flags.out << "\n";
  return 0;
}

// name=FILE
Result<std::pair<std::string, std::string>> named_data(const std::string& text) {
  const auto at = text.find('=');
  if (at == std::string::npos || at == 0 || at + 1 == text.size())
    return invalid_argument("--with takes NAME=DATA, such as planes=planes.csv, got '" + text +
                            "'");
  return std::pair(text.substr(0, at), text.substr(at + 1));
}

Result<void> write_rows(const Context& ctx, data::Engine& engine, const std::string& sql,
                        const std::string& file) {
  if (file.empty() || sql.empty()) return {};
  auto written = engine.write_parquet(ctx, sql, file);
  if (!written) return written.error();
  return {};
}

int validate_data(const Globals& globals, const QualityFlags& flags) {
  const auto ctx = interruptible_context();
  auto document = SpecDocument::load(flags.expectations);
  if (!document) return fail(document.error());
  SpecReader reader(*document);
  const auto expectations = data::read_expectations(reader, "expectations");
  if (auto sound = reader.finish(); !sound) return fail(sound.error());
  data::ValidationOptions options;
  if (!flags.reference_time.empty()) {
    auto time = parse_time(flags.reference_time);
    if (!time) return fail(time.error());
    options.reference_time = *time;
  }
  std::vector<data::EarlierVersion> earlier;
  for (const auto& path : flags.history) {
    auto text = read_file(path);
    if (!text) return fail(text.error());
    auto json = parse_json(*text, path);
    if (!json) return fail(json.error());
    earlier.push_back({std::move(*json), nullptr});
  }
  auto bench = Workbench::open(globals, flags, ctx);
  if (!bench) return fail(bench.error());
  std::vector<data::EarlierVersion> versions;
  if (auto added = bench->add("data", flags.data, &versions); !added) return fail(added.error());
  earlier.insert(earlier.begin(), versions.begin(), versions.end());
  options.history = data::history_of(expectations, earlier);
  for (const auto& text : flags.with) {
    auto named = named_data(text);
    if (!named) return fail(named.error());
    if (named->first == "data") return fail(invalid_argument("'data' is the checked data's name"));
    if (auto added = bench->add(named->first, named->second); !added) return fail(added.error());
  }
  auto validation = data::validate(ctx, bench->engine(), "data", expectations, options);
  if (!validation) return fail(validation.error());
  const auto& report = validation->report;
  for (const auto& [path, text] :
       {std::pair{flags.html, data::render_html(report, "Validation of " + flags.data)},
        std::pair{flags.report, report.to_json().dump(2) + "\n"}}) {
    if (auto written = write_if_asked(path, text); !written) return fail(written.error());
  }
  if (auto written = write_rows(ctx, bench->engine(), validation->clean_sql, flags.clean); !written)
    return fail(written.error());
  if (!flags.quarantine.empty() && validation->quarantine_sql.empty())
    return fail(invalid_argument("no rule sets rows aside: write on_fail: quarantine"));
  if (auto written = write_rows(ctx, bench->engine(), validation->quarantine_sql, flags.quarantine);
      !written)
    return fail(written.error());
  std::cout << (globals.json ? report.to_json().dump(2) + "\n" : data::render_text(report));
  return report.ok() ? 0 : kExitNo;
}

int diff_data(const Globals& globals, const QualityFlags& flags) {
  const auto ctx = interruptible_context();
  auto bench = Workbench::open(globals, flags, ctx);
  if (!bench) return fail(bench.error());
  if (auto added = bench->add("before", flags.data); !added) return fail(added.error());
  if (auto added = bench->add("after", flags.other); !added) return fail(added.error());
  auto compared = data::compare(ctx, bench->engine(), {"before", bench->files("before")},
                                {"after", bench->files("after")}, {.key = flags.key});
  if (!compared) return fail(compared.error());
  auto written =
      write_if_asked(flags.html, data::render_html(*compared, flags.data + " → " + flags.other));
  if (!written) return fail(written.error());
  std::cout << (globals.json ? compared->to_json().dump(2) + "\n" : data::render_text(*compared));
  return compared->same() ? 0 : kExitNo;
}

constexpr const char* kDataHelp =
    "CSV, Parquet or JSONL (.gz too), a glob, or a dataset: NAME, NAME@VERSION";

void add_common(CLI::App& command, QualityFlags& flags, Globals& globals) {
  command.add_option("data", flags.data, kDataHelp)->required();
  command.add_option("--null", flags.nulls, "A text that stands for no value, such as NA")
      ->allow_extra_args(false);
  command.add_option("--memory", flags.memory_mb, "MiB that SQL may use before it spills to disk")
      ->capture_default_str();
  command.add_flag("--json", globals.json, "Print JSON");
}

}  // namespace

void add_data_quality(CLI::App& data, Globals& globals) {
  auto flags = std::make_shared<QualityFlags>();
  CLI::App* profiled = data.add_subcommand(
      "profile", "What the columns look like, how they hang together, and what is suspicious");
  add_common(*profiled, *flags, globals);
  profiled->add_option("--target", flags->target,
                       "The column to predict: others that tell it alone are noted");
  profiled->add_option("--html", flags->html, "Write a page that needs nothing else");
  profiled->add_option("--report", flags->report, "Write the JSON to a file");
  profiled->add_option("--sketch", flags->sketch, "Write the mergeable state, for data merge");
  profiled->footer("Example: slipway data profile flights.csv --null NA --html profile.html");
  profiled->callback([flags, &globals] { globals.exit_code = profile_data(globals, *flags); });

  CLI::App* merged = data.add_subcommand(
      "merge", "One profile out of the sketches of parts (data profile --sketch), made anywhere");
  merged->add_option("sketches", flags->sketches, "The files, in order")->required();
  merged->add_option("--sketch", flags->sketch, "Write the merged state");
  merged->add_option("--html", flags->html, "Write a page that needs nothing else");
  merged->add_option("--report", flags->report, "Write the JSON to a file");
  merged->add_flag("--json", globals.json, "Print JSON");
  merged->footer("Example: slipway data merge january.sketch february.sketch --html profile.html");
  merged->callback([flags, &globals] { globals.exit_code = merge_sketches(globals, *flags); });

  CLI::App* inferred = data.add_subcommand(
      "infer", "Write rules that the data holds, as a YAML file to edit and to validate with");
  add_common(*inferred, *flags, globals);
  inferred->add_option("--out", flags->out, "The file; default: standard output");
  inferred->footer("Example: slipway data infer flights.csv --null NA --out expectations.yaml");
  inferred->callback([flags, &globals] { globals.exit_code = infer_data(globals, *flags); });

  CLI::App* checked = data.add_subcommand(
      "validate", "Check data against expectations (exit code 7: it does not hold them)");
  add_common(*checked, *flags, globals);
  checked
      ->add_option("--expectations", flags->expectations,
                   "YAML file with a list under `expectations`")
      ->required();
  checked
      ->add_option("--with", flags->with,
                   "NAME=DATA: other rows that rules refer to (exists_in, drift, same_as)")
      ->allow_extra_args(false);
  checked->add_option("--reference-time", flags->reference_time,
                      "What freshness is measured against");
  checked
      ->add_option("--history", flags->history,
                   "Earlier reports (JSON), oldest first: `learn` takes its bands from them. Of a "
                   "dataset, its earlier versions' reports come first")
      ->allow_extra_args(false);
  checked->add_option("--html", flags->html, "Write a page that needs nothing else");
  checked->add_option("--report", flags->report, "Write the JSON to a file");
  checked->add_option("--clean", flags->clean, "Write the rows that were not set aside (Parquet)");
  checked->add_option("--quarantine", flags->quarantine,
                      "Write the rows set aside, with their reasons (Parquet)");
  checked->footer(
      "Example: slipway data validate flights.csv --null NA --expectations expectations.yaml "
      "--html "
      "report.html");
  checked->callback([flags, &globals] { globals.exit_code = validate_data(globals, *flags); });

  CLI::App* compared = data.add_subcommand(
      "diff", "What changed between two sets of rows (exit code 7: something did)");
  add_common(*compared, *flags, globals);
  compared->add_option("other", flags->other, "The later rows, likewise")->required();
  compared->add_option("--key", flags->key, "Columns that identify a row, to match rows by")
      ->delimiter(',')
      ->allow_extra_args(false);
  compared->add_option("--html", flags->html, "Write a page that needs nothing else");
  compared->footer("Example: slipway data diff flights@3fa9 flights --key flight_id");
  compared->callback([flags, &globals] { globals.exit_code = diff_data(globals, *flags); });
}

}  // namespace slipway::cli
