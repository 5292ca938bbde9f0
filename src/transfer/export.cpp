#include "transfer/export.h"

#include <limits>

#include "base/file.h"
#include "base/hash.h"
#include "db/database.h"
#include "tracking/points.h"
#include "transfer/parquet_file_internal.h"

namespace slipway::transfer {
namespace {

namespace fs = std::filesystem;
using enum ColumnType;

constexpr std::size_t kPiece = 262'144;  // metric points read at a time
constexpr std::int64_t kCheckEvery = 4096;

// One file: its columns, and the statement whose columns they are. "{in}" becomes the condition
// that keeps to the wanted experiments.
struct Table {
  std::string_view name;
  std::vector<Column> columns;
  std::string_view sql;
  bool of_experiments = true;  // false: left out when only some experiments are wanted
};

std::vector<Table> tables() {
  return {
      {"experiments",
       {{"experiment_id", text},
        {"name", text},
        {"artifact_location", text},
        {"created", millis},
        {"updated", millis},
        {"deleted", millis}},
       "SELECT CAST(r.id AS TEXT), r.name, r.artifact_location, r.created_ms, r.updated_ms, "
       "r.deleted_ms FROM (SELECT *, id AS experiment_id FROM experiments) r WHERE {in} ORDER BY "
       "r.id"},
      {"experiment_tags",
       {{"experiment_id", text}, {"key", text}, {"value", text}},
       "SELECT CAST(r.experiment_id AS TEXT), r.key, r.value FROM experiment_tags r WHERE {in} "
       "ORDER BY r.experiment_id, r.key"},
      {"runs",
       {{"run_id", text},
        {"experiment_id", text},
        {"name", text},
        {"user", text},
        {"status", text},
        {"started", millis},
        {"ended", millis},
        {"deleted", millis},
        {"artifact_uri", text}},
       "SELECT r.id, CAST(r.experiment_id AS TEXT), r.name, r.user_id, r.status, r.start_ms, "
       "r.end_ms, r.deleted_ms, r.artifact_uri FROM runs r WHERE {in} ORDER BY r.seq"},
      {"params",
       {{"run_id", text}, {"key", text}, {"value", text}},
       "SELECT r.id, x.key, x.value FROM runs r JOIN run_params x ON x.run = r.seq WHERE {in} "
       "ORDER BY r.seq, x.key"},
      {"tags",
       {{"run_id", text}, {"key", text}, {"value", text}},
       "SELECT r.id, x.key, x.value FROM runs r JOIN run_tags x ON x.run = r.seq WHERE {in} "
       "ORDER BY r.seq, x.key"},
      {"latest_metrics",
       {{"run_id", text}, {"key", text}, {"value", real}, {"time", millis}, {"step", integer}},
       "SELECT r.id, x.key, CASE WHEN x.is_nan = 1 THEN NULL ELSE x.value END, x.timestamp_ms, "
       "x.step FROM runs r JOIN run_latest_metrics x ON x.run = r.seq WHERE {in} ORDER BY r.seq, "
       "x.key"},
      {"dataset_inputs",
       {{"run_id", text},
        {"name", text},
        {"digest", text},
        {"source_type", text},
        {"source", text},
        {"schema", text},
        {"profile", text},
        {"context", text},
        {"tags", text}},
       "SELECT r.id, x.name, x.digest, x.source_type, x.source, x.schema, x.profile, x.context, "
       "x.tags FROM runs r JOIN run_inputs x ON x.run = r.seq WHERE {in} ORDER BY r.seq, x.name"},
      {"run_models",
       {{"run_id", text}, {"direction", text}, {"model_id", text}, {"step", integer}},
       "SELECT r.id, x.direction, x.model_id, x.step FROM runs r JOIN run_models x ON x.run = "
       "r.seq WHERE {in} ORDER BY r.seq, x.direction, x.model_id"},
      {"logged_models",
       {{"model_id", text},
        {"experiment_id", text},
        {"name", text},
        {"type", text},
        {"run_id", text},
        {"status", text},
        {"artifact_uri", text},
        {"created", millis},
        {"updated", millis},
        {"deleted", millis}},
       "SELECT r.id, CAST(r.experiment_id AS TEXT), r.name, r.type, r.run_id, r.status, "
       "r.artifact_uri, r.created_ms, r.updated_ms, r.deleted_ms FROM logged_models r WHERE {in} "
       "ORDER BY r.seq"},
      {"logged_model_params",
       {{"model_id", text}, {"key", text}, {"value", text}},
       "SELECT r.id, x.key, x.value FROM logged_models r JOIN logged_model_params x ON x.model = "
       "r.seq WHERE {in} ORDER BY r.seq, x.key"},
      {"logged_model_tags",
       {{"model_id", text}, {"key", text}, {"value", text}},
       "SELECT r.id, x.key, x.value FROM logged_models r JOIN logged_model_tags x ON x.model = "
       "r.seq WHERE {in} ORDER BY r.seq, x.key"},
      {"models",
       {{"name", text}, {"description", text}, {"created", micros}, {"updated", micros}},
       "SELECT m.name, m.description, m.created, m.updated FROM registered_models m ORDER BY "
       "m.name",
       false},
      {"model_tags",
       {{"model", text}, {"key", text}, {"value", text}},
       "SELECT m.name, x.key, x.value FROM registered_models m JOIN registered_model_tags x ON "
       "x.model_id = m.id ORDER BY m.name, x.key",
       false},
      {"versions",
       {{"model", text},
        {"version", integer},
        {"source", text},
        {"run_id", text},
        {"model_id", text},
        {"digest", text},
        {"description", text},
        {"status", text},
        {"stage", text},
        {"user", text},
        {"metadata", text},
        {"created", micros},
        {"updated", micros}},
       "SELECT m.name, v.number, v.source, v.run_id, v.logged_model_id, v.digest, v.description, "
       "v.status, v.stage, v.user, v.metadata, v.created, v.updated FROM registered_models m JOIN "
       "model_versions v ON v.model_id = m.id ORDER BY m.name, v.number",
       false},
      {"version_tags",
       {{"model", text}, {"version", integer}, {"key", text}, {"value", text}},
       "SELECT m.name, v.number, x.key, x.value FROM registered_models m JOIN model_versions v ON "
       "v.model_id = m.id JOIN model_version_tags x ON x.version_id = v.id ORDER BY m.name, "
       "v.number, x.key",
       false},
      {"aliases",
       {{"model", text}, {"alias", text}, {"version", integer}},
       "SELECT m.name, a.alias, a.number FROM registered_models m JOIN model_aliases a ON "
       "a.model_id = m.id ORDER BY m.name, a.alias",
       false},
      {"alias_moves",
       {{"model", text},
        {"alias", text},
        {"from_version", integer},
        {"to_version", integer},
        {"time", micros},
        {"actor", text},
        {"reason", text}},
       "SELECT m.name, h.alias, h.from_number, h.to_number, h.at, h.actor, h.reason FROM "
       "registered_models m JOIN model_alias_moves h ON h.model_id = m.id ORDER BY h.seq",
       false},
      {"audit",
       {{"sequence", integer},
        {"time", micros},
        {"actor", text},
        {"action", text},
        {"object", text},
        {"digest", text},
        {"details", text},
        {"previous", text},
        {"leaf", text}},
       "SELECT sequence, time, actor, action, object, digest, details, previous, leaf FROM "
       "audit_entries ORDER BY sequence",
       false},
  };
}

struct Wanted {
  std::string condition = "1 = 1";  // on r.experiment_id
  std::string ids;                  // JSON list, when there is a condition
};

Result<Wanted> resolve(db::Connection& c, std::span<const std::string> names) {
  Wanted wanted;
  if (names.empty()) return wanted;
  Json ids = Json::array();
  for (const std::string& name : names) {
    auto rows = c.query("SELECT id FROM experiments WHERE name = ?", name);
    if (!rows) return rows.error();
    const bool found = rows->next();
    if (auto status = rows->status(); !status) return status.error();
    if (!found) return not_found(fmt::format("there is no experiment '{}'", name));
    ids.push_back(rows->integer(0));
  }
  wanted.condition = "r.experiment_id IN (SELECT value FROM json_each(?))";
  wanted.ids = ids.dump();
  return wanted;
}

std::string with_condition(std::string_view sql, const std::string& condition) {
  std::string text(sql);
  if (const std::size_t at = text.find("{in}"); at != std::string::npos)
    text.replace(at, 4, condition);
  return text;
}

Result<db::Rows> ask(db::Connection& c, const std::string& statement, const std::string& ids) {
  const std::string sql = "-- many rows\n" + statement;  // PostgreSQL: in batches
  return ids.empty() ? c.query(sql) : c.query(sql, ids);
}

// One export on its way.
class Exporter {
 public:
  Exporter(const Context& ctx, db::Connection& c, fs::path folder, const ExportObserver& observer)
      : ctx_(ctx), c_(c), folder_(std::move(folder)), observer_(observer) {}

  Result<ExportedTable> rows(const Table& table, const Wanted& wanted) {
    auto file = open(table.name, table.columns);
    if (!file) return file.error();
    auto found = ask(c_, with_condition(table.sql, wanted.condition), wanted.ids);
    if (!found) return found.error().at(table.name);
    while (found->next()) {
      for (int i = 0; i < static_cast<int>(table.columns.size()); ++i)
        put(**file, table.columns[static_cast<std::size_t>(i)].type, *found, i);
      if (auto done = end_row(**file, table.name); !done) return done.error();
    }
    if (auto status = found->status(); !status) return status.error().at(table.name);
    return finish(**file, table.name);
  }

  // Every point of every metric. Histories are packed, so they are read through tracking.
  Result<ExportedTable> metrics(const Wanted& wanted) {
    static const std::vector<Column> kColumns = {
        {"run_id", text}, {"key", text}, {"value", real}, {"time", millis}, {"step", integer}};
    auto file = open("metrics", kColumns);
    if (!file) return file.error();
    auto keys = ask(c_,
                    "SELECT r.seq, r.id, x.key FROM runs r JOIN run_latest_metrics x ON x.run = "
                    "r.seq WHERE " +
                        wanted.condition + " ORDER BY r.seq, x.key",
                    wanted.ids);
    if (!keys) return keys.error();
    while (keys->next()) {
      const std::string run = keys->text(1);
      auto walked =
          tracking::walk_points(c_, keys->integer(0), keys->text(2), kPiece,
                                [&](std::span<const tracking::Metric> points) -> Result<void> {
                                  for (const tracking::Metric& point : points) {
                                    (*file)->text(run);
                                    (*file)->text(point.key);
                                    (*file)->real(point.value);
                                    (*file)->integer(point.timestamp_ms);
                                    (*file)->integer(point.step);
                                    if (auto done = end_row(**file, "metrics"); !done) return done;
                                  }
                                  return {};
                                });
      if (!walked) return walked.error();
    }
    if (auto status = keys->status(); !status) return status.error();
    return finish(**file, "metrics");
  }

 private:
  Result<std::unique_ptr<ParquetFile>> open(std::string_view name,
                                            std::span<const Column> columns) const {
    return ParquetFile::create(folder_ / (std::string(name) + ".parquet"), columns);
  }

  static void put(ParquetFile& file, ColumnType type, const db::Rows& row, int column) {
    if (row.is_null(column)) {
      // Databases keep no NaN: such values are read as NULL, and no number here is ever missing.
      if (type == real) return file.real(std::numeric_limits<double>::quiet_NaN());
      return file.null();
    }
    switch (type) {
      case text:
        return file.text(row.view(column));
      case real:
        return file.real(row.real(column));
      case flag:
        return file.flag(row.integer(column) != 0);
      case integer:
      case millis:
      case micros:
        return file.integer(row.integer(column));
    }
  }

  Result<void> end_row(ParquetFile& file, std::string_view name) {
    if (auto done = file.end_row(); !done) return done;
    if (file.rows() % kCheckEvery != 0) return {};
    if (auto wanted = ctx_.check(); !wanted) return wanted;
    if (observer_) observer_(std::string(name), file.rows());
    return {};
  }

  Result<ExportedTable> finish(ParquetFile& file, std::string_view name) const {
    if (auto closed = file.close(); !closed) return closed.error();
    ExportedTable table{.name = std::string(name), .file = std::string(name) + ".parquet"};
    table.rows = file.rows();
    auto sha256 = sha256_file_hex(folder_ / table.file);
    if (!sha256) return sha256.error();
    table.sha256 = *sha256;
    std::error_code failed;
    table.bytes = static_cast<std::int64_t>(fs::file_size(folder_ / table.file, failed));
    if (failed) return errno_error(failed.value(), "cannot stat", folder_ / table.file);
    return table;
  }

  const Context& ctx_;
  db::Connection& c_;
  fs::path folder_;
  const ExportObserver& observer_;
};

// What an export that was killed left beside the folder.
void remove_leftovers(const fs::path& parent, const std::string& prefix) {
  std::error_code ignored;
  std::vector<fs::path> old;
  for (fs::directory_iterator it(parent, ignored), end; !ignored && it != end;
       it.increment(ignored)) {
    if (it->path().filename().string().starts_with(prefix) && it->is_directory(ignored))
      old.push_back(it->path());
  }
  for (const fs::path& folder : old) fs::remove_all(folder, ignored);
}

}  // namespace

Json ExportReport::to_json() const {
  Json list = Json::array();
  for (const ExportedTable& table : tables) {
    list.push_back({{"name", table.name},
                    {"file", table.file},
                    {"rows", table.rows},
                    {"bytes", table.bytes},
                    {"sha256", table.sha256}});
  }
  return {{"format", "slipway-export"},
          {"version", 1},
          {"created", format_time(at)},
          {"experiments", experiments},
          {"tables", list}};
}

Result<ExportReport> export_parquet(const Context& ctx, const db::Database& db, const Clock& clock,
                                    const ExportOptions& options, const ExportObserver& observer) {
  std::error_code problem;
  fs::path folder = fs::absolute(options.folder, problem).lexically_normal();
  if (folder.filename().empty()) folder = folder.parent_path();  // "out/"
  if (fs::exists(folder, problem)) {
    return already_exists(
        fmt::format("'{}' is there already: an export makes its folder itself", folder.string()));
  }
  const fs::path parent = folder.parent_path();
  if (!fs::is_directory(parent, problem))
    return not_found(fmt::format("there is no folder '{}'", parent.string()));
  const std::string prefix = "." + folder.filename().string() + ".partial-";
  const fs::path lock_file = parent / ("." + folder.filename().string() + ".lock");
  auto alone = FileLock::acquire(lock_file, "the export '" + folder.string() + "'");
  if (!alone) return alone.error();
  remove_leftovers(parent, prefix);
  auto scratch = TempDir::create(parent, prefix);
  if (!scratch) return scratch.error();
  const fs::path work = scratch->path() / folder.filename();
  if (auto made = make_dirs(work); !made) return made.error();

  ExportReport report;
  report.at = clock.now();
  report.experiments = options.experiments;
  auto written = db.read([&](db::Connection& c) -> Result<void> {
    auto wanted = resolve(c, options.experiments);
    if (!wanted) return wanted.error();
    Exporter exporter(ctx, c, work, observer);
    for (const Table& table : tables()) {
      if (auto still = ctx.check(); !still) return still;
      if (!table.of_experiments && !options.experiments.empty()) continue;
      auto done = exporter.rows(table, *wanted);
      if (!done) return done.error();
      report.tables.push_back(*done);
    }
    auto done = exporter.metrics(*wanted);
    if (!done) return done.error();
    report.tables.push_back(*done);
    return {};
  });
  if (!written) return written.error();
  if (auto put = write_file_atomic(work / "manifest.json", report.to_json().dump(2) + "\n"); !put)
    return put.error();
  if (auto synced = fsync_path(work); !synced) return synced.error();
  if (auto shown = rename_durable(work, folder); !shown) return shown.error();
  fs::remove(lock_file, problem);
  return report;
}

}  // namespace slipway::transfer
