// `data`: the dataset versions of a home; data_quality.cpp adds profiles, validation and
// comparison.
#include <iostream>

#include "cli/data_internal.h"
#include "data/engine.h"

namespace slipway::cli {
namespace {

struct DataFlags {
  std::string name, other, place, table;
  std::vector<std::string> files, nulls;
  std::size_t keep = 0;
  bool dry_run = false;
};

std::string megabytes(std::int64_t bytes) {
  return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6);
}

std::string short_name(const data::DatasetRef& ref) {
  return ref.name + "@" + ref.version.substr(0, 12);
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

// Any source as a dataset version. Parquet is taken as it is; the rest is brought to it first.
int add_version(const Globals& globals, Home& home, const DataFlags& flags) {
  const Context ctx = interruptible_context();
  std::vector<std::filesystem::path> files;
  Json provenance = {{"command", "data add"}};
  auto work = TempDir::create(home.folder() / "tmp", "add");
  if (!work) return fail(work.error());
  for (const auto& path : flags.files) {
    auto source = data::Source::of_file(path);
    if (!source) return fail(source.error());
    source->null_values = flags.nulls;
    source->table = flags.table;
    auto engine = data::Engine::open({.memory_limit_mb = 1024, .temp_dir = work->path()});
    if (!engine) return fail(engine.error());
    auto facts = (*engine)->facts(ctx, *source);
    if (!facts) return fail(facts.error());
    for (const auto& fact : *facts) {
      Json json = fact.to_json();
      json["path"] = std::filesystem::path(fact.path).filename().string();
      provenance["files"].push_back(json);
    }
    const bool as_it_is =
        source->kind == data::Source::Kind::parquet && data::is_local_files(*source);
    if (as_it_is) {
      for (const auto& fact : *facts) files.emplace_back(fact.path);
      continue;
    }
    if (auto added = (*engine)->add_source(ctx, "data", *source); !added)
      return fail(added.error());
    const auto file = work->path() / fmt::format("{}.parquet", files.size());
    if (auto rows = (*engine)->write_parquet(ctx, "SELECT * FROM data", file); !rows)
      return fail(rows.error());
    files.push_back(file);
  }
  auto before = home.datasets().resolve(flags.name);
  auto ref =
      home.datasets().commit(ctx, {.name = flags.name, .files = files, .provenance = provenance});
  if (!ref) return fail(ref.error());
  auto version = home.datasets().find(*ref);
  if (!version) return fail(version.error());
  std::int64_t stored = version->bytes;
  if (before) {
    auto diff = home.datasets().diff(*before, *ref);
    if (!diff) return fail(diff.error());
    stored = diff->added_bytes;
  }
  if (globals.json) {
    std::cout << Json{{"dataset", ref->text()},
                      {"rows", version->rows},
                      {"bytes", version->bytes},
                      {"new_bytes", stored}}
                     .dump(2)
              << "\n";
  } else {
    std::cout << fmt::format("{}: {} rows, {}, of which {} are new\n", ref->text(), version->rows,
                             megabytes(version->bytes), megabytes(stored));
  }
  return 0;
}

int show_version(const Globals& globals, Home& home, const std::string& name) {
  auto ref = home.datasets().resolve(name);
  if (!ref) return fail(ref.error());
  auto manifest = home.datasets().manifest(*ref);
  if (!manifest) return fail(manifest.error());
  auto version = home.datasets().find(*ref);
  if (!version) return fail(version.error());
  if (globals.json) {
    Json json = manifest->to_json();
    json["version"] = ref->version;
    std::cout << json.dump(2) << "\n";
    return 0;
  }
  std::cout << fmt::format("{}\n{} rows, {} columns, {} in {} files; made {} by {}\n", ref->text(),
                           manifest->rows, manifest->schema.fields.size(),
                           megabytes(version->bytes), manifest->files.size(),
                           format_time(version->created), version->created_by);
  TextTable columns({"COLUMN", "TYPE"});
  for (const auto& field : manifest->schema.fields)
    columns.add({field.name, std::string(to_string(field.type))});
  columns.print();
  Json made_of = manifest->provenance;
  std::cout << "made of " << made_of.dump(2) << "\n";
  return 0;
}

// Each version with what changed since the one before.
int log_versions(const Globals& globals, Home& home, const std::string& name) {
  auto versions = home.datasets().versions(name);
  if (!versions) return fail(versions.error());
  if (versions->empty()) {
    auto ref = home.datasets().resolve(name);  // names the nearest
    return fail(ref ? internal("no versions") : ref.error());
  }
  TextTable table({"VERSION", "CREATED", "BY", "ROWS", "MORE ROWS", "NEW BYTES", "CHANGED"});
  Json all = Json::array();
  for (std::size_t i = 0; i < versions->size(); ++i) {
    const auto& version = (*versions)[i];
    Json entry = {{"version", version.ref.version},
                  {"created", format_time(version.created)},
                  {"by", version.created_by},
                  {"rows", version.rows}};
    std::string more = "-", fresh = std::to_string(version.bytes), changed = "first version";
    if (i + 1 < versions->size()) {
      auto diff = home.datasets().diff((*versions)[i + 1].ref, version.ref);
      if (!diff) return fail(diff.error());
      more = fmt::format("{:+}", diff->rows_after - diff->rows_before);
      fresh = std::to_string(diff->added_bytes);
      changed = diff->columns.empty() ? "" : fmt::format("{} columns", diff->columns.size());
      for (const auto& pointer : diff->provenance)
        changed += (changed.empty() ? "" : ", ") + pointer.substr(1);
      entry["since"] = diff->to_json();
    }
    table.add({version.ref.version.substr(0, 12), format_time(version.created).substr(0, 19),
               version.created_by, std::to_string(version.rows), more, fresh, changed});
    all.push_back(std::move(entry));
  }
  return print(globals, table, all);
}

int compare_versions(const Globals& globals, Home& home, const DataFlags& flags) {
  auto before = home.datasets().resolve(flags.name);
  if (!before) return fail(before.error());
  auto after = home.datasets().resolve(flags.other);
  if (!after) return fail(after.error());
  auto diff = home.datasets().diff(*before, *after);
  if (!diff) return fail(diff.error());
  if (globals.json) {
    std::cout << diff->to_json().dump(2) << "\n";
    return 0;
  }
  std::cout << fmt::format("{} -> {}: {} -> {} rows\n", short_name(*before), short_name(*after),
                           diff->rows_before, diff->rows_after);
  TextTable files({"FILES", "NUMBER", "BYTES"});
  files.add({"in both", std::to_string(diff->shared_files), std::to_string(diff->shared_bytes)});
  files.add({"removed", std::to_string(diff->removed_files), std::to_string(diff->removed_bytes)});
  files.add({"added", std::to_string(diff->added_files), std::to_string(diff->added_bytes)});
  files.print();
  const auto shown = [](const std::optional<data::Type>& type) {
    return type ? std::string(to_string(*type)) : "not there";
  };
  for (const auto& column : diff->columns)
    std::cout << fmt::format("column {}: {} -> {}\n", column.name, shown(column.before),
                             shown(column.after));
  for (const auto& pointer : diff->provenance) std::cout << "made otherwise: " << pointer << "\n";
  return 0;
}

int check_out(Home& home, const DataFlags& flags) {
  auto ref = home.datasets().resolve(flags.name);
  if (!ref) return fail(ref.error());
  auto done = home.datasets().checkout(interruptible_context(), *ref, flags.place);
  if (!done) return fail(done.error());
  std::cout << short_name(*ref) << " is in " << flags.place << "\n";
  return 0;
}

int show_moved(const Globals& globals, const data::Transferred& moved, const char* verb) {
  if (globals.json) {
    std::cout << Json{{"dataset", moved.ref.text()},
                      {"files", moved.files},
                      {"moved_files", moved.moved_files},
                      {"bytes", moved.bytes},
                      {"moved_bytes", moved.moved_bytes}}
                     .dump(2)
              << "\n";
    return 0;
  }
  std::cout << fmt::format("{}\n{}: {} of {} files, {} of {}\n", moved.ref.text(), verb,
                           moved.moved_files, moved.files, megabytes(moved.moved_bytes),
                           megabytes(moved.bytes));
  return 0;
}

int push(const Globals& globals, Home& home, const DataFlags& flags) {
  auto ref = home.datasets().resolve(flags.name);
  if (!ref) return fail(ref.error());
  auto moved = home.datasets().push(interruptible_context(), *ref, flags.place);
  return moved ? show_moved(globals, *moved, "pushed") : fail(moved.error());
}

int pull(const Globals& globals, Home& home, const DataFlags& flags) {
  auto moved = home.datasets().pull(interruptible_context(), flags.name, flags.place);
  return moved ? show_moved(globals, *moved, "pulled") : fail(moved.error());
}

// Whether a registered model came from this version: then it has to stay, or nobody could say any
// more what the model was trained on.
bool leads_to_model(const governance::Tree& tree) {
  return tree.node.type == governance::NodeType::model_version ||
         std::any_of(tree.branches.begin(), tree.branches.end(), leads_to_model);
}

Result<bool> is_needed(Home& home, const data::DatasetRef& ref) {
  auto views = home.views().list();
  if (!views) return views.error();
  for (const features::ViewRecord& view : *views) {
    if (view.version == ref.text()) return true;  // features are looked up in it
  }
  auto tree = home.lineage().trace({governance::NodeType::dataset, ref.text()},
                                   governance::Direction::downstream);
  if (tree) return leads_to_model(*tree);
  if (tree.error().code == Code::not_found) return false;
  return tree.error();
}

int forget(const Globals& globals, Home& home, const DataFlags& flags) {
  const Context ctx = interruptible_context();
  auto names = home.datasets().list();
  if (!names) return fail(names.error());
  TextTable table({flags.dry_run ? "WOULD GO" : "GONE", "ROWS", "CREATED"});
  Json gone = Json::array();
  std::int64_t needed = 0;
  for (const auto& newest : *names) {
    if (!flags.name.empty() && newest.ref.name != flags.name) continue;
    auto versions = home.datasets().versions(newest.ref.name);
    if (!versions) return fail(versions.error());
    for (std::size_t i = flags.keep; i < versions->size(); ++i) {
      const auto& version = (*versions)[i];
      auto stays = is_needed(home, version.ref);
      if (!stays) return fail(stays.error());
      if (*stays) {
        ++needed;
        continue;
      }
      if (!flags.dry_run) {
        if (auto removed = home.datasets().remove(ctx, version.ref); !removed)
          return fail(removed.error());
      }
      table.add({short_name(version.ref), std::to_string(version.rows),
                 format_time(version.created).substr(0, 19)});
      gone.push_back(version.ref.text());
    }
  }
  const int code = print(globals, table, {{"gone", gone}, {"needed", needed}});
  if (globals.json) return code;
  if (needed > 0)
    std::cout << needed
              << " older versions stay: registered models were trained on them, or views look up "
                 "in them\n";
  std::cout << "their bytes go with `slipway gc`, unless other versions share them\n";
  return code;
}

}  // namespace

void add_data(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<DataFlags>();
  CLI::App* data =
      noun(app, "data", "Look at data: profile, infer, validate, compare, dataset versions");
  add_data_quality(*data, globals);
  add_data_query(*data, globals);

  const auto command = [&, data](const char* name, const char* about, const char* example) {
    CLI::App* one = data->add_subcommand(name, about);
    one->add_flag("--json", globals.json, "Print JSON");
    one->footer(std::string("Example: ") + example);
    return one;
  };
  const auto calls = [flags, &globals](CLI::App* one, bool create, auto&& body) {
    one->callback([flags, &globals, create, body] {
      globals.exit_code = with_home(globals, {.create = create}, body);
    });
  };
  const char* version_help = "name, or name@ and some characters of the version";

  CLI::App* ls = command("ls", "Dataset versions: the newest of each name, or all of one",
                         "slipway data ls flights");
  ls->add_option("dataset", flags->name, "Its name");
  calls(ls, false, [=, &globals](Home& home) { return list_datasets(globals, home, flags->name); });

  CLI::App* added = command(
      "add", "Files as a new version of a dataset; row groups that are there are not stored again",
      "slipway data add flights flights.parquet");
  added->add_option("dataset", flags->name, "Its name")->required();
  added->add_option("files", flags->files, "Parquet, CSV, JSON, Arrow, Excel, …, or a URL")
      ->required();
  added->add_option("--null", flags->nulls, "A text that stands for no value, such as NA");
  added->add_option("--table", flags->table, "Of a database; of Excel: the sheet");
  calls(added, true, [=, &globals](Home& home) { return add_version(globals, home, *flags); });

  CLI::App* shown = command("show", "What a version is made of: columns, files, sources, SQL",
                            "slipway data show flights@3fa9");
  shown->add_option("version", flags->name, version_help)->required();
  calls(shown, false,
        [=, &globals](Home& home) { return show_version(globals, home, flags->name); });

  CLI::App* logged = command("log", "The versions of a dataset, each with what changed",
                             "slipway data log flights");
  logged->add_option("dataset", flags->name, "Its name")->required();
  calls(logged, false,
        [=, &globals](Home& home) { return log_versions(globals, home, flags->name); });

  CLI::App* changes = command("changes", "Two versions: columns, rows, files and bytes they share",
                              "slipway data changes flights@3fa9 flights");
  changes->add_option("before", flags->name, version_help)->required();
  changes->add_option("after", flags->other, version_help)->required();
  calls(changes, false,
        [=, &globals](Home& home) { return compare_versions(globals, home, *flags); });

  CLI::App* out = command("checkout", "A version's Parquet files in a new folder",
                          "slipway data checkout flights@3fa9 flights-in-march");
  out->add_option("version", flags->name, version_help)->required();
  out->add_option("folder", flags->place, "A folder that is not there yet")->required();
  calls(out, false, [=](Home& home) { return check_out(home, *flags); });

  CLI::App* pushed = command("push", "A version to a folder or s3:// place that others pull from",
                             "slipway data push flights s3://shared/datasets");
  pushed->add_option("version", flags->name, version_help)->required();
  pushed->add_option("place", flags->place, "A folder, or s3://bucket/prefix")->required();
  calls(pushed, false, [=, &globals](Home& home) { return push(globals, home, *flags); });

  CLI::App* pulled = command("pull", "A version from a place, by its whole digest",
                             "slipway data pull flights@<64 characters> s3://shared/datasets");
  pulled->add_option("version", flags->name, "name@digest or the digest, as push printed it")
      ->required();
  pulled->add_option("place", flags->place, "A folder, or s3://bucket/prefix")->required();
  calls(pulled, true, [=, &globals](Home& home) { return pull(globals, home, *flags); });

  CLI::App* old = command(
      "gc", "Forget all but the newest versions; those that registered models came from stay",
      "slipway data gc --keep 10 --dry-run");
  old->add_option("dataset", flags->name, "Only this one");
  old->add_option("--keep", flags->keep, "How many versions of each name stay")->required();
  old->add_flag("--dry-run", flags->dry_run, "Say what would go");
  calls(old, false, [=, &globals](Home& home) { return forget(globals, home, *flags); });
}

}  // namespace slipway::cli
