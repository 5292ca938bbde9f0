// The database of an MLflow SQL store, read directly, with the folders its artifacts are in.
// Tables: mlflow/store/tracking/dbmodels/models.py and mlflow/store/model_registry/dbmodels/
// models.py of release 3.17; what 2.x lacks (logged models, workspaces, times of deletion) is taken
// as empty.
#include <limits>

#include "base/file.h"
#include "db/database.h"
#include "transfer/mlflow_source_internal.h"

namespace slipway::transfer {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kRunsPerPage = 200;

constexpr std::size_t kMostInList = 200;

// Runs a statement that has one "{in}" for each of the texts, many at a time: a plain list, for
// MLflow's database has none of our functions.
template <class Take>
Result<void> each_of(db::Connection& c, std::string_view sql, std::span<const std::string> texts,
                     Take&& take) {
  while (!texts.empty()) {
    const auto some = texts.first(std::min(texts.size(), kMostInList));
    texts = texts.subspan(some.size());
    std::string list = "(?";
    for (std::size_t i = 1; i < some.size(); ++i) list += ",?";
    std::string statement(sql);
    statement.replace(statement.find("{in}"), 4, list + ")");
    std::vector<db::Value> values;
    for (const std::string& text : some) values.push_back(db::bind(text));
    auto rows = c.query_values(statement, values);
    if (!rows) return rows.error();
    while (rows->next()) take(*rows);
    if (auto status = rows->status(); !status) return status;
  }
  return {};
}

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    unsigned value = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        std::from_chars(text.data() + i + 1, text.data() + i + 3, value, 16).ptr ==
            text.data() + i + 3) {
      out += static_cast<char>(value);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

double value_of(double stored, bool is_nan) {
  return is_nan ? std::numeric_limits<double>::quiet_NaN() : stored;
}

class SqlSource final : public MlflowSource {
 public:
  SqlSource(std::unique_ptr<db::Database> database, fs::path artifacts)
      : db_(std::move(database)), artifacts_(std::move(artifacts)) {}

  // Which of the newer tables and columns there are; data_loss when this is no MLflow database.
  Result<void> examine() {
    return db_->read([&](db::Connection& c) -> Result<void> {
      if (!has(c, "SELECT run_uuid FROM runs LIMIT 1")) {
        return failed_precondition(
            fmt::format("'{}' is not the database of an MLflow server (it has no table 'runs' with "
                        "a column 'run_uuid')",
                        db_->name()));
      }
      has_deleted_time_ = has(c, "SELECT deleted_time FROM runs LIMIT 1");
      has_run_name_ = has(c, "SELECT name FROM runs LIMIT 1");
      has_experiment_times_ = has(c, "SELECT creation_time FROM experiments LIMIT 1");
      has_datasets_ = has(c, "SELECT dataset_uuid FROM datasets LIMIT 1");
      has_input_steps_ = has_datasets_ && has(c, "SELECT step FROM inputs LIMIT 1");
      has_logged_models_ = has(c, "SELECT model_id FROM logged_models LIMIT 1");
      has_aliases_ = has(c, "SELECT alias FROM registered_model_aliases LIMIT 1");
      has_workspaces_ = has(c, "SELECT workspace FROM experiments LIMIT 1");
      has_traces_ = has(c, "SELECT request_id FROM trace_info LIMIT 1");
      return {};
    });
  }

  Result<std::vector<SourceExperiment>> experiments(const Context&) override {
    return db_->read([&](db::Connection& c) -> Result<std::vector<SourceExperiment>> {
      std::vector<SourceExperiment> read;
      auto rows = c.query(fmt::format(
          "SELECT experiment_id, name, artifact_location, lifecycle_stage, {} FROM experiments {} "
          "ORDER BY experiment_id",
          has_experiment_times_ ? "creation_time, last_update_time" : "NULL, NULL",
          workspace("WHERE")));
      if (!rows) return rows.error();
      while (rows->next()) {
        SourceExperiment one{.experiment = {.id = tracking::ExperimentId{rows->integer(0)},
                                            .name = rows->text(1),
                                            .artifact_location = rows->text(2),
                                            .created_ms = rows->maybe_integer(4).value_or(0),
                                            .updated_ms = rows->maybe_integer(5).value_or(0),
                                            .deleted = rows->view(3) == "deleted"}};
        if (one.experiment.deleted) one.deleted_ms = one.experiment.updated_ms;
        read.push_back(std::move(one));
      }
      if (auto status = rows->status(); !status) return status.error();
      auto tags = c.query("SELECT experiment_id, key, value FROM experiment_tags");
      if (!tags) return tags.error();
      std::map<std::int64_t, std::map<std::string, std::string>> by_id;
      while (tags->next()) by_id[tags->integer(0)][tags->text(1)] = tags->text(2);
      if (auto status = tags->status(); !status) return status.error();
      for (SourceExperiment& one : read) one.experiment.tags = by_id[one.experiment.id.value];
      return read;
    });
  }

  Result<std::optional<Counts>> totals(
      const Context&, std::span<const tracking::ExperimentId> experiments) override {
    std::string list;  // numbers only
    for (const auto& id : experiments) list += (list.empty() ? "" : ",") + id.text();
    return db_->read([&](db::Connection& c) -> Result<std::optional<Counts>> {
      Counts counts;
      const auto count = [&](const char* kind, const std::string& from) -> Result<void> {
        counts[kind] = 0;
        if (list.empty()) return {};
        auto rows = c.query(
            fmt::format("SELECT count(*) FROM {} WHERE r.experiment_id IN ({})", from, list));
        if (!rows) return rows.error();
        if (rows->next()) counts[kind] = rows->integer(0);
        return rows->status();
      };
      for (const auto& [kind, table] : {std::pair{kParams, "params"},
                                        {kTags, "tags"},
                                        {kMetrics, "latest_metrics"},
                                        {kPoints, "metrics"}}) {
        auto done = count(kind, fmt::format("{} x JOIN runs r ON r.run_uuid = x.run_uuid", table));
        if (!done) return done.error();
      }
      auto done = count(kRuns, "runs r");
      if (!done) return done.error();
      return std::optional(std::move(counts));
    });
  }

  Result<tracking::Page<SourceRun>> runs(const Context&, tracking::ExperimentId id,
                                         const std::string& page) override {
    return db_->read([&](db::Connection& c) -> Result<tracking::Page<SourceRun>> {
      tracking::Page<SourceRun> read;
      auto rows = c.query(
          fmt::format("SELECT run_uuid, {}, user_id, status, start_time, end_time, "
                      "lifecycle_stage, artifact_uri, {} FROM runs WHERE experiment_id = ? AND "
                      "run_uuid > ? ORDER BY run_uuid LIMIT {}",
                      has_run_name_ ? "name" : "NULL", has_deleted_time_ ? "deleted_time" : "NULL",
                      kRunsPerPage),
          id.value, page);
      if (!rows) return rows.error();
      std::vector<std::string> ids;
      while (rows->next()) {
        SourceRun one;
        one.run.id = {rows->text(0)};
        one.run.experiment = id;
        one.run.name = rows->text(1);
        one.run.user = rows->text(2);
        one.run.status =
            tracking::parse_run_status(rows->view(3)).value_or(tracking::RunStatus::running);
        one.run.start_ms = rows->integer(4);
        one.run.end_ms = rows->maybe_integer(5);
        one.run.deleted = rows->view(6) == "deleted";
        one.run.artifact_uri = rows->text(7);
        if (one.run.deleted)
          one.deleted_ms = rows->maybe_integer(8).value_or(one.run.end_ms.value_or(0));
        ids.push_back(one.run.id.value);
        read.items.push_back(std::move(one));
      }
      if (auto status = rows->status(); !status) return status.error();
      if (auto filled = fill(c, ids, read.items); !filled) return filled.error();
      if (read.items.size() == kRunsPerPage) read.next_page = ids.back();
      return read;
    });
  }

  Result<void> history(const Context& ctx, const tracking::Run& run, std::size_t most,
                       const TakePoints& take) override {
    return db_->read([&](db::Connection& c) -> Result<void> {
      auto rows = c.query(
          "SELECT key, value, CASE WHEN is_nan THEN 1 ELSE 0 END, timestamp, step FROM metrics "
          "WHERE run_uuid = ? ORDER BY key, timestamp, step",
          run.id.value);
      if (!rows) return rows.error();
      std::vector<tracking::Metric> points;
      while (rows->next()) {
        points.push_back({.key = rows->text(0),
                          .value = value_of(rows->real(1), rows->integer(2) != 0),
                          .timestamp_ms = rows->integer(3),
                          .step = rows->integer(4)});
        if (points.size() < most) continue;
        if (auto wanted = ctx.check(); !wanted) return wanted;
        if (auto taken = take(points); !taken) return taken;
        points.clear();
      }
      if (auto status = rows->status(); !status) return status;
      return points.empty() ? Result<void>() : take(points);
    });
  }

  Result<std::vector<SourceModel>> logged_models(const Context&,
                                                 tracking::ExperimentId id) override {
    if (!has_logged_models_) return std::vector<SourceModel>();
    return db_->read([&](db::Connection& c) { return read_models(c, id); });
  }

  Result<std::vector<registry::RegisteredModel>> models(const Context&) override {
    return db_->read([&](db::Connection& c) -> Result<std::vector<registry::RegisteredModel>> {
      std::map<std::string, registry::RegisteredModel> read;
      auto rows = c.query(fmt::format(
          "SELECT name, description, creation_time, last_updated_time FROM registered_models {}",
          workspace("WHERE")));
      if (!rows) return rows.error();
      while (rows->next()) {
        read[rows->text(0)] = {.name = rows->text(0),
                               .description = rows->text(1),
                               .created = from_millis(rows->integer(2)),
                               .updated = from_millis(rows->integer(3))};
      }
      if (auto status = rows->status(); !status) return status.error();
      auto tags = c.query(
          fmt::format("SELECT name, key, value FROM registered_model_tags {}", workspace("WHERE")));
      if (!tags) return tags.error();
      while (tags->next()) read[tags->text(0)].tags[tags->text(1)] = tags->text(2);
      if (auto status = tags->status(); !status) return status.error();
      if (has_aliases_) {
        auto aliases = c.query(fmt::format(
            "SELECT name, alias, version FROM registered_model_aliases {}", workspace("WHERE")));
        if (!aliases) return aliases.error();
        while (aliases->next())
          read[aliases->text(0)].aliases[aliases->text(1)] = aliases->integer(2);
        if (auto status = aliases->status(); !status) return status.error();
      }
      std::vector<registry::RegisteredModel> models;
      for (auto& [name, model] : read) models.push_back(std::move(model));
      return models;
    });
  }

  Result<std::vector<registry::ModelVersion>> versions(const Context&,
                                                       const std::string& model) override {
    return db_->read([&](db::Connection& c) -> Result<std::vector<registry::ModelVersion>> {
      std::map<std::int64_t, registry::ModelVersion> read;
      auto rows = c.query(
          fmt::format(
              "SELECT version, source, run_id, description, status, current_stage, "
              "user_id, creation_time, last_updated_time, run_link FROM model_versions WHERE "
              "name = ? {}",
              workspace("AND")),
          model);
      if (!rows) return rows.error();
      while (rows->next()) {
        if (rows->view(5) == "Deleted_Internal") continue;  // how MLflow marks deleted versions
        registry::ModelVersion version{.model = model,
                                       .number = rows->integer(0),
                                       .source = rows->text(1),
                                       .run_id = rows->text(2),
                                       .description = rows->text(3),
                                       .status = rows->text(4),
                                       .stage = rows->text(5),
                                       .user = rows->text(6),
                                       .run_link = rows->text(9),
                                       .created = from_millis(rows->integer(7)),
                                       .updated = from_millis(rows->integer(8))};
        constexpr std::string_view kOfModel = "models:/m-";
        if (version.source.starts_with(kOfModel))
          version.model_id = version.source.substr(kOfModel.size() - 2);
        const std::int64_t number = version.number;
        read.insert_or_assign(number, std::move(version));
      }
      if (auto status = rows->status(); !status) return status.error();
      auto tags = c.query(
          fmt::format("SELECT version, key, value FROM model_version_tags WHERE name = ? {}",
                      workspace("AND")),
          model);
      if (!tags) return tags.error();
      while (tags->next()) {
        const auto version = read.find(tags->integer(0));
        if (version != read.end()) version->second.tags[tags->text(1)] = tags->text(2);
      }
      if (auto status = tags->status(); !status) return status.error();
      std::vector<registry::ModelVersion> versions;
      for (auto& [number, version] : read) versions.push_back(std::move(version));
      return versions;
    });
  }

  Result<std::vector<SourceFile>> files(const Context& ctx, const Owner& owner) override {
    auto root = folder_of(owner.artifact_uri);
    if (!root) return root.error();
    std::vector<SourceFile> found;
    std::error_code failed;
    if (!fs::exists(*root, failed)) return found;
    // Symbolic links are not followed: what they lead to is no part of the run.
    for (fs::recursive_directory_iterator it(*root, failed), end; !failed && it != end;
         it.increment(failed)) {
      if (auto wanted = ctx.check(); !wanted) return wanted.error();
      if (it->symlink_status(failed).type() != fs::file_type::regular) continue;
      found.push_back({it->path().lexically_relative(*root).generic_string(),
                       static_cast<std::int64_t>(it->file_size(failed))});
    }
    if (failed) return errno_error(failed.value(), "cannot list", *root);
    return found;
  }

  Result<blob::Ref> fetch(const Context& ctx, const Owner& owner, const SourceFile& file,
                          blob::Store& store) override {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    auto root = folder_of(owner.artifact_uri);
    if (!root) return root.error();
    return store.put_file(*root / file.path);
  }

  Result<std::vector<std::string>> left_behind(const Context&) override {
    std::vector<std::string> notes = {
        "users and permissions, webhooks, evaluation datasets and scorers are not brought over"};
    if (!has_traces_) return notes;
    return db_->read([&](db::Connection& c) -> Result<std::vector<std::string>> {
      auto rows = c.query("SELECT count(*) FROM trace_info");
      if (!rows) return rows.error();
      if (rows->next() && rows->integer(0) > 0)
        notes.push_back(fmt::format("{} traces are not brought over", rows->integer(0)));
      if (auto status = rows->status(); !status) return status.error();
      return notes;
    });
  }

 private:
  static bool has(db::Connection& c, std::string_view sql) {
    auto rows = c.query(sql);
    if (!rows) return false;
    while (rows->next()) {
    }
    return rows->status().has_value();
  }

  // Only the workspace that clients see which name none.
  std::string workspace(std::string_view before) const {
    return has_workspaces_ ? fmt::format("{} workspace = 'default'", before) : std::string();
  }

  Result<void> fill(db::Connection& c, std::span<const std::string> ids,
                    std::span<SourceRun> runs) const {
    if (ids.empty()) return {};
    std::map<std::string, tracking::Run*, std::less<>> by_id;
    for (SourceRun& one : runs) by_id[one.run.id.value] = &one.run;
    const auto each = [&](std::string_view sql, auto&& take) -> Result<void> {
      return each_of(c, sql, ids, [&](const db::Rows& row) {
        if (const auto run = by_id.find(row.view(0)); run != by_id.end()) take(*run->second, row);
      });
    };
    auto read = each(
        "SELECT run_uuid, key, value FROM params WHERE run_uuid IN {in} ORDER BY run_uuid, key",
        [](tracking::Run& run, const db::Rows& row) {
          run.params.push_back({row.text(1), row.text(2)});
        });
    if (!read) return read;
    read =
        each("SELECT run_uuid, key, value FROM tags WHERE run_uuid IN {in}",
             [](tracking::Run& run, const db::Rows& row) { run.tags[row.text(1)] = row.text(2); });
    if (!read) return read;
    read = each(
        "SELECT run_uuid, key, value, CASE WHEN is_nan THEN 1 ELSE 0 END, timestamp, step FROM "
        "latest_metrics WHERE run_uuid IN {in} ORDER BY run_uuid, key",
        [](tracking::Run& run, const db::Rows& row) {
          run.metrics.push_back({.key = row.text(1),
                                 .value = value_of(row.real(2), row.integer(3) != 0),
                                 .timestamp_ms = row.integer(4),
                                 .step = row.integer(5)});
        });
    if (!read || !has_datasets_) return read;
    std::map<std::string, std::pair<tracking::Run*, std::size_t>, std::less<>> inputs;
    read = each(
        "SELECT i.destination_id, i.input_uuid, d.name, d.digest, d.dataset_source_type, "
        "d.dataset_source, d.dataset_schema, d.dataset_profile FROM inputs i JOIN datasets d ON "
        "d.dataset_uuid = i.source_id WHERE i.source_type = 'DATASET' AND i.destination_type = "
        "'RUN' AND i.destination_id IN {in}",
        [&](tracking::Run& run, const db::Rows& row) {
          inputs[row.text(1)] = {&run, run.datasets.size()};
          run.datasets.push_back({.name = row.text(2),
                                  .digest = row.text(3),
                                  .source_type = row.text(4),
                                  .source = row.text(5),
                                  .schema = row.text(6),
                                  .profile = row.text(7)});
        });
    if (!read) return read;
    std::vector<std::string> input_ids;
    for (const auto& [id, place] : inputs) input_ids.push_back(id);
    read = each_of(c, "SELECT input_uuid, name, value FROM input_tags WHERE input_uuid IN {in}",
                   input_ids, [&](const db::Rows& row) {
                     const auto& [run, at] = inputs.find(row.view(0))->second;
                     run->datasets[at].tags[row.text(1)] = row.text(2);
                   });
    if (!read) return read;
    if (!has_input_steps_) return {};
    return each(
        "SELECT source_id, destination_id, destination_type, step FROM inputs WHERE "
        "destination_type IN ('MODEL_INPUT', 'MODEL_OUTPUT') AND source_id IN {in} ORDER BY "
        "destination_id",
        [](tracking::Run& run, const db::Rows& row) {
          auto& links = row.view(2) == "MODEL_INPUT" ? run.model_inputs : run.model_outputs;
          links.push_back({row.text(1), row.integer(3)});
        });
  }

  Result<std::vector<SourceModel>> read_models(db::Connection& c, tracking::ExperimentId id) const {
    std::vector<SourceModel> read;
    std::map<std::string, std::size_t, std::less<>> by_id;
    auto rows = c.query(
        "SELECT model_id, name, artifact_location, creation_timestamp_ms, "
        "last_updated_timestamp_ms, status, lifecycle_stage, model_type, source_run_id FROM "
        "logged_models WHERE experiment_id = ? ORDER BY model_id",
        id.value);
    if (!rows) return rows.error();
    while (rows->next()) {
      const std::int64_t status = rows->integer(5);  // mlflow/entities/logged_model_status.py
      SourceModel one{.model = {.id = rows->text(0),
                                .experiment = id,
                                .name = rows->text(1),
                                .type = rows->text(7),
                                .run_id = rows->text(8),
                                .status = status == 2   ? tracking::ModelStatus::ready
                                          : status == 3 ? tracking::ModelStatus::failed
                                                        : tracking::ModelStatus::pending,
                                .artifact_uri = rows->text(2),
                                .created_ms = rows->integer(3),
                                .updated_ms = rows->integer(4),
                                .deleted = rows->view(6) == "deleted"}};
      if (one.model.deleted) one.deleted_ms = one.model.updated_ms;
      by_id[one.model.id] = read.size();
      read.push_back(std::move(one));
    }
    if (auto status = rows->status(); !status) return status.error();
    const auto each = [&](std::string_view sql, auto&& take) -> Result<void> {
      auto found = c.query(sql, id.value);
      if (!found) return found.error();
      while (found->next()) {
        const auto at = by_id.find(found->view(0));
        if (at != by_id.end()) take(read[at->second].model, *found);
      }
      return found->status();
    };
    auto done = each(
        "SELECT model_id, param_key, param_value FROM logged_model_params WHERE experiment_id = ?",
        [](tracking::LoggedModel& model, const db::Rows& row) {
          model.params.push_back({row.text(1), row.text(2)});
        });
    if (!done) return done.error();
    done =
        each("SELECT model_id, tag_key, tag_value FROM logged_model_tags WHERE experiment_id = ?",
             [](tracking::LoggedModel& model, const db::Rows& row) {
               model.tags[row.text(1)] = row.text(2);
             });
    if (!done) return done.error();
    done = each(
        "SELECT model_id, metric_name, metric_value, metric_timestamp_ms, metric_step, run_id, "
        "dataset_name, dataset_digest FROM logged_model_metrics WHERE experiment_id = ?",
        [](tracking::LoggedModel& model, const db::Rows& row) {
          model.metrics.push_back({.model_id = model.id,
                                   .run_id = row.text(5),
                                   .metric = {.key = row.text(1),
                                              .value = row.real(2),
                                              .timestamp_ms = row.integer(3),
                                              .step = row.integer(4)},
                                   .dataset_name = row.text(6),
                                   .dataset_digest = row.text(7)});
        });
    if (!done) return done.error();
    return read;
  }

  // The folder on this machine that holds what the URI names.
  Result<fs::path> folder_of(std::string_view uri) const {
    constexpr std::string_view kProxy = "mlflow-artifacts:";
    constexpr std::string_view kFile = "file:";
    if (uri.starts_with(kProxy)) {
      if (artifacts_.empty()) {
        return unimplemented(fmt::format(
            "'{}' is in the artifact folder of the server: name it with --artifact-root "
            "(what `mlflow server` was given as --artifacts-destination)",
            uri));
      }
      uri.remove_prefix(kProxy.size());
      if (uri.starts_with("//")) uri.remove_prefix(std::min(uri.size(), uri.find('/', 2)));
      while (uri.starts_with('/')) uri.remove_prefix(1);
      if (auto checked = blob::check_relative_path(uri); !checked) return checked.error();
      return artifacts_ / uri;
    }
    if (uri.starts_with(kFile)) {
      uri.remove_prefix(kFile.size());
      if (uri.starts_with("//")) uri.remove_prefix(std::min(uri.size(), uri.find('/', 2)));
      return fs::path(percent_decoded(uri));
    }
    if (uri.find("://") != std::string_view::npos) {
      return unimplemented(fmt::format(
          "'{}' is not on this machine: import from the running MLflow server, which can read it",
          uri));
    }
    return fs::path(uri);
  }

  std::unique_ptr<db::Database> db_;
  fs::path artifacts_;
  bool has_deleted_time_ = false;
  bool has_run_name_ = false;
  bool has_experiment_times_ = false;
  bool has_datasets_ = false;
  bool has_input_steps_ = false;
  bool has_logged_models_ = false;
  bool has_aliases_ = false;
  bool has_workspaces_ = false;
  bool has_traces_ = false;
};

}  // namespace

Result<std::unique_ptr<MlflowSource>> open_sql_source(const ImportOptions& options) {
  constexpr std::string_view kSqlite = "sqlite:///";
  fs::path where = options.source;
  fs::path artifacts = options.artifacts;
  if (options.source.starts_with(kSqlite)) {
    where = options.source.substr(kSqlite.size());  // "sqlite:////absolute", "sqlite:///relative"
    std::error_code problem;
    if (!fs::is_regular_file(where, problem)) {
      return not_found(fmt::format("there is no database file '{}' (from '{}')", where.string(),
                                   options.source));
    }
    // Where `mlflow server` puts artifacts when it is told nothing.
    const fs::path beside = where.parent_path() / "mlartifacts";
    if (artifacts.empty() && fs::is_directory(beside, problem)) artifacts = beside;
  }
  auto database =
      db::Database::open(where, {.readers = std::max(2, options.threads + 1), .read_only = true});
  if (!database) return database.error();
  auto source = std::make_unique<SqlSource>(std::move(*database), std::move(artifacts));
  if (auto examined = source->examine(); !examined) return examined.error();
  return std::unique_ptr<MlflowSource>(std::move(source));
}

}  // namespace slipway::transfer
