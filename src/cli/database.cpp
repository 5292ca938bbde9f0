// `slipway db …`: is the database sound, copies of it, putting one back, bringing it up to date.
#include <iostream>
#include <map>

#include "base/file.h"
#include "blob/sweep.h"
#include "cli/artifacts_internal.h"
#include "cli/collection_internal.h"
#include "cli/command_internal.h"
#include "cli/place_internal.h"
#include "cli/schema_internal.h"
#include "db/backup.h"

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kShownBlobs = 10;  // missing ones that are named

struct Opened {
  fs::path home;
  Place place;
  std::unique_ptr<db::Database> db;
};

Result<Opened> open_database(const Globals& globals, bool read_only) {
  std::error_code problem;
  Opened opened{.home = fs::absolute(globals.home, problem), .place = {}, .db = {}};
  auto place = find_place(opened.home, globals.database);
  if (!place) return place.error();
  opened.place = *std::move(place);
  if (!opened.place.known) {
    return not_found("there is no slipway home at '" + globals.home + "': name it with --home");
  }
  auto db = db::Database::open(opened.place.file_or_url, {.read_only = read_only});
  if (!db) return db.error();
  opened.db = *std::move(db);
  return opened;
}

// A server has the home while it runs, and starts none while this is held.
Result<FileLock> hold_home(const fs::path& home) {
  auto lock = FileLock::acquire(home / "server.lock", "the home '" + home.string() + "'");
  if (!lock) return lock.error().at("stop the server first");
  return lock;
}

// check

struct Blobs {
  std::size_t referenced = 0;
  std::map<std::string, std::size_t> missing;  // by what names them
  std::vector<std::string> examples;
};

Result<Blobs> find_missing_blobs(const Context& ctx, const Globals& globals, const Opened& opened) {
  auto store = open_artifacts(opened.home, globals.artifacts);
  if (!store) return store.error();
  const auto live = blob::mark(ctx, *opened.db, **store, blob_roots(), {});
  if (!live) return live.error();
  Blobs blobs;
  for (const auto& entry : live->entries()) {
    if (!entry.certain) continue;
    ++blobs.referenced;
    const std::string hex = to_hex(entry.digest);
    if ((*store)->has(hex)) continue;
    ++blobs.missing[live->kinds()[entry.kind]];
    if (blobs.examples.size() < kShownBlobs) blobs.examples.push_back(hex);
  }
  return blobs;
}

int check(const Globals& globals) {
  const Context ctx = interruptible_context();
  const auto opened = open_database(globals, true);
  if (!opened) return fail(opened.error());
  const auto findings = opened->db->check();
  if (!findings) return fail(findings.error());
  const auto versions = schema_versions(*opened->db);
  if (!versions) return fail(versions.error());
  const auto plan = plan_migrations(*opened->db, all_schemas());
  // The tables that name blobs are only known where the schema is.
  const bool readable = plan && plan->pending.empty();
  Blobs blobs;
  if (readable) {
    auto found = find_missing_blobs(ctx, globals, *opened);
    if (!found) return fail(found.error());
    blobs = *std::move(found);
  }
  std::size_t missing = 0;
  for (const auto& [kind, count] : blobs.missing) missing += count;
  const bool sound = findings->empty() && missing == 0 && plan.has_value();

  if (globals.json) {
    Json json{{"sound", sound},
              {"database", opened->db->name()},
              {"findings", *findings},
              {"schema", Json::array()},
              {"pending", Json::array()},
              {"blobs",
               {{"checked", readable},
                {"referenced", blobs.referenced},
                {"missing", missing},
                {"missing_by_kind", blobs.missing},
                {"examples", blobs.examples}}}};
    for (const auto& version : *versions)
      json["schema"].push_back({{"module", version.module}, {"version", version.version}});
    if (plan) {
      for (const auto& pending : plan->pending)
        json["pending"].push_back({{"module", pending.module}, {"version", pending.version}});
    } else {
      json["refused"] = plan.error().message;
    }
    std::cout << json.dump(2) << "\n";
    return sound ? 0 : kExitNo;
  }
  std::cout << opened->db->name() << "\n";
  const auto line = [](bool good, std::string_view what, const std::string& text) {
    std::cout << fmt::format("{}  {:<10} {}\n", good ? green("ok") : red("!!"), what, text);
  };
  line(findings->empty(), "integrity",
       findings->empty() ? "every table can be read, and every reference leads somewhere"
                         : fmt::format("{} findings", findings->size()));
  for (const auto& finding : *findings) std::cout << "      " << finding << "\n";
  if (!plan) {
    line(false, "schema", plan.error().message);
  } else if (plan->pending.empty()) {
    line(true, "schema", fmt::format("{} modules, up to date", versions->size()));
  } else {
    line(true, "schema",
         fmt::format("{} migrations pending: `slipway up` or `slipway db migrate` runs them",
                     plan->pending.size()));
  }
  if (readable) {
    line(missing == 0, "blobs",
         fmt::format("{} named by the database, {} missing", blobs.referenced, missing));
    for (const auto& [kind, count] : blobs.missing)
      std::cout << fmt::format("      {} of {}\n", count, kind);
    for (const auto& hex : blobs.examples) std::cout << "      " << hex << "\n";
  } else {
    std::cout << dim("--  blobs      not looked for before the schema is up to date") << "\n";
  }
  return sound ? 0 : kExitNo;
}

// backup

int backup(const Globals& globals, const std::string& where) {
  const auto opened = open_database(globals, true);
  if (!opened) return fail(opened.error());
  std::error_code problem;
  fs::path target = where;
  if (where.ends_with('/') || fs::is_directory(target, problem)) {
    target /= fmt::format("slipway-{}.{}", name_of_time(SystemClock().now()),
                          opened->db->backend() == db::Backend::sqlite ? "db" : "dump");
  }
  if (auto copied = opened->db->backup_to(target); !copied) return fail(copied.error());
  const auto facts = db::inspect_backup(target);
  if (!facts) return fail(facts.error());
  if (globals.json) {
    std::cout << Json{{"file", target.string()}, {"bytes", facts->bytes}}.dump(2) << "\n";
  } else {
    std::cout << fmt::format("{} ({} bytes), read back and found sound\n", target.string(),
                             facts->bytes);
  }
  return 0;
}

// restore

Result<std::string> put_back(const Globals& globals, const fs::path& copy) {
  std::error_code problem;
  const fs::path home = fs::absolute(globals.home, problem);
  const auto place = find_place(home, globals.database);
  if (!place) return place.error();
  if (auto made = make_dirs(home); !made) return made.error();
  const auto held = hold_home(home);
  if (!held) return held.error();
  const auto facts = db::inspect_backup(copy);
  if (!facts) return facts.error();
  const bool is_sqlite = facts->backend == db::Backend::sqlite;
  if (is_sqlite != place->url.empty()) {
    return failed_precondition(fmt::format("'{}' is a copy of a {} database, and this home has {}",
                                           copy.string(), is_sqlite ? "SQLite" : "PostgreSQL",
                                           is_sqlite ? "PostgreSQL" : "SQLite"));
  }
  const std::string aside =
      (is_sqlite ? ".before-" : "_before_") + name_of_time(SystemClock().now());
  if (!is_sqlite) {
    auto kept = db::restore_postgres(copy, place->file_or_url.string(), aside);
    if (!kept) return kept.error();
    if (auto noted = remember_place(home, *place); !noted) return noted.error();
    return kept->empty() ? std::string() : "schema " + *kept;
  }
  // A copy from a newer program is of no use to this one.
  {
    auto db = db::Database::open(copy, {.readers = 1, .read_only = true});
    if (!db) return db.error();
    if (auto plan = plan_migrations(**db, all_schemas()); !plan) return plan.error();
  }
  auto kept = db::restore_sqlite(copy, place->file_or_url, aside);
  if (!kept) return kept.error();
  return kept->string();
}

int restore(const Globals& globals, const std::string& copy) {
  const auto kept = put_back(globals, copy);
  if (!kept) return fail(kept.error());
  if (globals.json) {
    std::cout << Json{{"restored", copy}, {"kept", *kept}}.dump(2) << "\n";
    return 0;
  }
  std::cout << "restored " << copy << "\n";
  if (!kept->empty()) std::cout << "what was there is kept as " << *kept << "\n";
  std::cout
      << "`slipway db check` looks for artifacts that are missing; `slipway audit verify` says "
         "whether the audit log is older than its signed head\n";
  return 0;
}

// migrate

struct MigrateFlags {
  bool dry_run = false;
  bool no_backup = false;
};

int migrate(const Globals& globals, const MigrateFlags& flags) {
  const auto opened = open_database(globals, flags.dry_run);
  if (!opened) return fail(opened.error());
  const auto plan = plan_migrations(*opened->db, all_schemas());
  if (!plan) return fail(plan.error());
  TextTable table({"MODULE", "VERSION", "NAME"});
  Json json = Json::array();
  for (const auto& pending : plan->pending) {
    table.add({pending.module, std::to_string(pending.version), pending.name});
    json.push_back(
        {{"module", pending.module}, {"version", pending.version}, {"name", pending.name}});
  }
  std::string copy;
  if (!flags.dry_run && !plan->pending.empty()) {
    const auto held = hold_home(opened->home);
    if (!held) return fail(held.error());
    if (!flags.no_backup && !plan->fresh) {
      const auto kept = keep_backup(*opened->db, opened->home, "before-migration", SystemClock());
      if (!kept) return fail(kept.error());
      copy = kept->string();
    }
    if (auto migrated = migrate_all(*opened->db, all_schemas()); !migrated)
      return fail(migrated.error());
  }
  if (globals.json) {
    std::cout << Json{{"dry_run", flags.dry_run}, {"migrations", json}, {"backup", copy}}.dump(2)
              << "\n";
    return 0;
  }
  if (plan->pending.empty()) {
    std::cout << "up to date\n";
    return 0;
  }
  table.print();
  std::cout << (flags.dry_run ? "would be run, in one transaction\n" : "done\n");
  if (!copy.empty()) std::cout << "the database as it was: " << copy << "\n";
  return 0;
}

}  // namespace

void add_database(CLI::App& app, Globals& globals) {
  CLI::App* db = noun(app, "db", "Check, copy, restore and bring up to date the database");

  CLI::App* check_command = db->add_subcommand(
      "check",
      "Read the whole database: integrity, references, schema, artifacts that are missing");
  check_command->add_flag("--json", globals.json, "Print JSON");
  check_command->footer(
      "May run beside a server. Ends with 7 when something is wrong.\nExample: slipway db check "
      "--home /srv/slipway");
  check_command->callback([&globals] { globals.exit_code = check(globals); });

  auto where = std::make_shared<std::string>();
  CLI::App* backup_command = db->add_subcommand(
      "backup", "Copy the database while everything goes on, and verify the copy");
  backup_command
      ->add_option("target", *where, "A new file, or a folder for a file named by the time")
      ->required();
  backup_command->add_flag("--json", globals.json, "Print JSON");
  backup_command->footer(
      "The copy is of the database alone: copy <home>/keys and <home>/blobs after it. Of "
      "PostgreSQL "
      "it is a dump by pg_dump.\nExamples: slipway db backup /backups/\n          slipway db "
      "backup "
      "before-the-move.db --json");
  backup_command->callback([where, &globals] { globals.exit_code = backup(globals, *where); });

  auto copy = std::make_shared<std::string>();
  CLI::App* restore_command = db->add_subcommand(
      "restore", "Put a copy in the place of the database; the server is stopped");
  restore_command->add_option("file", *copy, "What `slipway db backup` made")->required();
  restore_command->add_flag("--json", globals.json, "Print JSON");
  restore_command->footer(
      "The copy is verified first, and what was there is kept beside it.\nExample: slipway db "
      "restore "
      "/backups/slipway-20261124-101500.db");
  restore_command->callback([copy, &globals] { globals.exit_code = restore(globals, *copy); });

  auto flags = std::make_shared<MigrateFlags>();
  CLI::App* migrate_command =
      db->add_subcommand("migrate", "Bring the schema up to date, all of it or nothing");
  migrate_command->add_flag("--dry-run", flags->dry_run, "Only say what would be run");
  migrate_command->add_flag("--no-backup", flags->no_backup,
                            "Keep no copy in <home>/backups beforehand");
  migrate_command->add_flag("--json", globals.json, "Print JSON");
  migrate_command->footer(
      "`slipway up` does the same when it starts.\nExamples: slipway db migrate --dry-run\n"
      "          slipway db migrate --home /srv/slipway");
  migrate_command->callback([flags, &globals] { globals.exit_code = migrate(globals, *flags); });
}

}  // namespace slipway::cli
