#include "tracking/retention.h"

#include <optional>
#include <unordered_map>

#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

constexpr std::int64_t kForever = -1;

// How long each experiment with a tag of its own keeps what was deleted, in milliseconds.
using Retentions = std::unordered_map<std::int64_t, std::int64_t>;

Result<Retentions> read_retentions(db::Connection& c, std::vector<std::string>& notes) {
  Retentions retentions;
  auto rows = c.query(sql::retention_tags, kRetentionTag);
  if (!rows) return rows.error();
  while (rows->next()) {
    const std::string text = rows->text(1);
    std::int64_t keep_ms = kForever;
    if (text != "forever") {
      const auto duration = parse_duration(text);
      if (duration) {
        keep_ms = std::chrono::duration_cast<std::chrono::milliseconds>(*duration).count();
      } else {
        notes.push_back(fmt::format(
            "experiment {}: tag {} is '{}', wanted a duration such as '90d', or 'forever'; "
            "nothing of it is purged",
            rows->integer(0), kRetentionTag, cut(text, 100)));
      }
    }
    retentions[rows->integer(0)] = keep_ms;
  }
  if (auto status = rows->status(); !status) return status.error();
  return retentions;
}

Result<void> delete_artifacts(db::Transaction& tx, const std::string& prefix) {
  if (prefix.empty()) return {};
  std::string end = prefix;
  end.back() = '0';  // the character after '/'
  return tx.run(sql::delete_artifacts_below, prefix, end);
}

// The row's key, when it is still deleted.
Result<std::optional<std::int64_t>> still_deleted(db::Transaction& tx, std::string_view statement,
                                                  const std::string& id) {
  auto rows = tx.query(statement, id);
  if (!rows) return rows.error();
  std::optional<std::int64_t> seq;
  if (rows->next()) seq = rows->integer(0);
  if (auto status = rows->status(); !status) return status.error();
  return seq;
}

}  // namespace

Result<Expired> find_expired(const db::Database& db, const RetentionRule& rule) {
  const std::int64_t general =
      std::chrono::duration_cast<std::chrono::milliseconds>(rule.keep_deleted).count();
  return db.read([&](db::Connection& c) -> Result<Expired> {
    Expired expired;
    const auto retentions = read_retentions(c, expired.notes);
    if (!retentions) return retentions.error();
    const auto is_due = [&](std::int64_t experiment, std::int64_t deleted_ms) {
      if (!rule.only.empty() &&
          std::ranges::find(rule.only, ExperimentId{experiment}) == rule.only.end())
        return false;
      const auto own = retentions->find(experiment);
      const std::int64_t keep_ms = own == retentions->end() ? general : own->second;
      return keep_ms != kForever && deleted_ms <= rule.now_ms - keep_ms;
    };
    const auto each = [&](std::string_view statement, auto&& take) -> Result<void> {
      auto rows = c.query(statement);
      if (!rows) return rows.error();
      while (rows->next()) {
        if (is_due(rows->integer(1), rows->integer(2))) take(*rows);
      }
      return rows->status();
    };
    auto read = each(sql::deleted_runs, [&](const db::Rows& row) {
      expired.runs.push_back(
          {row.text(0), ExperimentId{row.integer(1)}, row.integer(2), row.text(3)});
    });
    if (!read) return read.error();
    read = each(sql::deleted_logged_models, [&](const db::Rows& row) {
      expired.models.push_back(
          {row.text(0), ExperimentId{row.integer(1)}, row.integer(2), row.text(3)});
    });
    if (!read) return read.error();
    read = each(sql::deleted_experiments, [&](const db::Rows& row) {
      expired.experiments.push_back({ExperimentId{row.integer(1)}, row.text(0), row.integer(2)});
    });
    if (!read) return read.error();
    return expired;
  });
}

Result<bool> purge_run(db::Transaction& tx, const ExpiredRun& run) {
  const auto seq = still_deleted(tx, sql::run_still_deleted, run.id);
  if (!seq) return seq.error();
  if (!*seq) return false;
  if (auto gone = delete_artifacts(tx, artifact_prefix(run.artifact_uri)); !gone)
    return gone.error();
  if (auto gone = tx.run(sql::purge_run, **seq); !gone) return gone.error();
  return true;
}

Result<bool> purge_model(db::Transaction& tx, const ExpiredModel& model) {
  const auto seq = still_deleted(tx, sql::logged_model_still_deleted, model.id);
  if (!seq) return seq.error();
  if (!*seq) return false;
  if (auto gone = delete_artifacts(tx, artifact_prefix(model.artifact_uri)); !gone)
    return gone.error();
  if (auto gone = tx.run(sql::purge_logged_model, **seq); !gone) return gone.error();
  return true;
}

Result<bool> purge_experiment(db::Transaction& tx, const ExpiredExperiment& experiment) {
  // Others refer to what is in it, so it goes last, and only when it is empty.
  if (auto gone = tx.run(sql::purge_experiment, experiment.id.value); !gone) return gone.error();
  if (tx.changes() == 0) return false;
  if (auto gone = delete_artifacts(tx, experiment.id.text() + "/"); !gone) return gone.error();
  return true;
}

std::string artifact_prefix(std::string_view artifact_uri) {
  const auto root = artifact_root(artifact_uri);
  return root && !root->empty() ? *root + "/" : std::string();
}

}  // namespace slipway::tracking
