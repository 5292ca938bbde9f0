#include "db/backup.h"

#include <fstream>

#include "base/file.h"
#include "db/postgres_internal.h"
#include "db/postgres_tools_internal.h"
#include "db/sqlite_internal.h"

namespace slipway::db {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSqliteHeader{"SQLite format 3\0", 16};  // sqlite.org/fileformat2.html
constexpr std::string_view kDumpHeader = "PGDMP";  // src/bin/pg_dump/pg_backup_archiver.h

Result<std::string> first_bytes(const fs::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) return not_found("the copy '" + file.string() + "' cannot be read");
  std::string bytes(16, '\0');
  stream.read(bytes.data(), 16);
  bytes.resize(static_cast<std::size_t>(stream.gcount()));
  return bytes;
}

Result<void> check_sqlite(const Database& db) {
  auto findings = db.check();
  if (!findings) return findings.error();
  if (!findings->empty()) return data_loss("'" + db.name() + "' is damaged: " + findings->front());
  return {};
}

// A database whose log is folded into it and which nobody else has open, or unavailable.
Result<void> close_for_all(const fs::path& database) {
  auto session = SqliteSession::open(database.string(), false,
                                     {.lock_wait = std::chrono::milliseconds(2'000)});
  if (!session) return session.error();
  auto alone = (*session)->run_script("PRAGMA journal_mode=DELETE");
  if (alone) return {};
  if (alone.error().code != Code::unavailable) return alone;
  return unavailable("another process has '" + database.string() +
                     "' open: stop what runs on this home first");
}

}  // namespace

Result<BackupFacts> inspect_backup(const fs::path& copy) {
  const auto header = first_bytes(copy);
  if (!header) return header.error();
  std::error_code problem;
  BackupFacts facts;
  facts.bytes = static_cast<std::int64_t>(fs::file_size(copy, problem));
  if (header->starts_with(kDumpHeader)) {
    facts.backend = Backend::postgres;
    if (auto whole = verify_dump(copy); !whole) return whole.error();
    return facts;
  }
  if (*header != kSqliteHeader) {
    return invalid_argument("'" + copy.string() +
                            "' is no copy of a database: `slipway db backup` makes one");
  }
  auto db = Database::open(copy, {.readers = 1, .read_only = true});
  if (!db) return db.error();
  if (auto sound = check_sqlite(**db); !sound) return sound.error();
  auto schema = schema_versions(**db);
  if (!schema || schema->empty()) {
    return failed_precondition("'" + copy.string() + "' is a SQLite database, but not slipway's");
  }
  facts.schema = *std::move(schema);
  return facts;
}

Result<fs::path> restore_sqlite(const fs::path& copy, const fs::path& database,
                                const std::string& aside) {
  std::error_code problem;
  const fs::path incoming = database.string() + ".restoring";
  fs::remove(incoming, problem);
  if (!fs::copy_file(copy, incoming, problem))
    return errno_error(problem.value(), "cannot copy the backup to", incoming);
  fs::permissions(incoming, fs::perms(0600), problem);
  if (auto synced = fsync_path(incoming); !synced) return synced.error();
  // What was written is what counts, not what was read from.
  if (auto facts = inspect_backup(incoming); !facts) return facts.error();
  fs::path kept;
  if (fs::exists(database, problem)) {
    // A damaged file cannot be closed in order; it is kept as it is, with its log.
    auto closed = close_for_all(database);
    if (!closed && closed.error().code == Code::unavailable) return closed.error();
    kept = database.string() + aside;
    if (fs::exists(kept, problem))
      return already_exists("'" + kept.string() + "' is there already: move it away");
    for (const char* suffix : {"-wal", "-shm"}) {
      if (!fs::exists(database.string() + suffix, problem)) continue;
      if (auto moved = rename_durable(database.string() + suffix, kept.string() + suffix); !moved)
        return moved.error();
    }
    // A second name first, so that the database's own name is never without a file.
    fs::create_hard_link(database, kept, problem);
    if (problem) return errno_error(problem.value(), "cannot keep the old database as", kept);
  }
  for (const char* suffix : {"-wal", "-shm"}) fs::remove(incoming.string() + suffix, problem);
  if (auto placed = rename_durable(incoming, database); !placed) return placed.error();
  return kept;
}

Result<std::string> restore_postgres(const fs::path& dump, const std::string& text,
                                     const std::string& aside) {
  const auto url = parse_postgres_url(text);
  if (!url) return url.error();
  SharedCatalog catalog;
  std::string schema;
  {
    auto session = PostgresSession::open(*url, {}, true, catalog);
    if (!session) return session.error();
    const auto others = (*session)->ask(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND "
        "application_name LIKE 'slipway%' AND pid <> pg_backend_pid()");
    if (!others) return others.error();
    if (*others != "0") {
      return unavailable("another slipway is connected to '" + url->without_password +
                         "': stop it first");
    }
    auto current = (*session)->ask("SELECT coalesce(current_schema(), '')");
    if (!current) return current.error();
    if (current->empty())
      return failed_precondition("'" + url->without_password + "' names no schema that exists");
    schema = *std::move(current);
  }
  const std::string kept = schema + aside;
  auto folder = TempDir::create(fs::temp_directory_path(), "slipway-restore");
  if (!folder) return folder.error();
  const fs::path script = folder->path() / "restore.sql";
  auto written = run_tool("pg_restore",
                          {"--no-owner", "--no-privileges", "--schema=" + schema,
                           "--file=" + script.string(), dump.string()},
                          "");
  if (!written) return written.error();
  auto restored =
      run_tool("psql",
               {"--no-psqlrc", "--quiet", "--single-transaction", "--set=ON_ERROR_STOP=1",
                "--dbname=" + url->without_password,
                "--command=ALTER SCHEMA " + quote_name(schema) + " RENAME TO " + quote_name(kept),
                "--command=CREATE SCHEMA " + quote_name(schema), "--file=" + script.string()},
               url->password);
  if (!restored) return restored.error();
  return kept;
}

}  // namespace slipway::db
