#include "governance/collector.h"

#include <map>
#include <unordered_map>

#include "base/file.h"
#include "governance/queries.h"
#include "tracing/tracing.h"
#include "tracking/retention.h"

namespace slipway::governance {
namespace {

constexpr std::size_t kMostExamples = 100;

// What versions in the registry are made from: it stays, whatever was deleted.
class Holders {
 public:
  static Result<Holders> read(const db::Database& db) {
    return db.read([](db::Connection& c) -> Result<Holders> {
      Holders holders;
      auto rows = c.query(sql::version_origins);
      if (!rows) return rows.error();
      while (rows->next()) {
        const std::string name = fmt::format("{}/{}", rows->view(0), rows->integer(1));
        for (int column : {2, 3}) {
          if (std::string id = rows->text(column); !id.empty()) holders.by_id_[id] = name;
        }
        // Sources name runs and logged models in their paths: runs:/<id>/…, models:/<id>, and
        // mlflow-artifacts:/7/<id>/artifacts/….
        std::string_view rest = rows->view(4);
        while (!rest.empty()) {
          const std::size_t slash = std::min(rest.find('/'), rest.size());
          if (slash >= 32) holders.by_id_.try_emplace(std::string(rest.substr(0, slash)), name);
          rest.remove_prefix(std::min(rest.size(), slash + 1));
        }
      }
      if (auto status = rows->status(); !status) return status.error();
      return holders;
    });
  }
  // "late/3"; null when nothing holds it.
  const std::string* find(const std::string& id) const {
    const auto at = by_id_.find(id);
    return at == by_id_.end() ? nullptr : &at->second;
  }

 private:
  std::unordered_map<std::string, std::string> by_id_;
};

// Whether a path lies below one of the roots that (would) go.
class GonePrefixes {
 public:
  void add(std::string prefix) {
    if (!prefix.empty()) prefixes_.insert(std::move(prefix));
  }
  bool covers(std::string_view path) const {
    const auto after = prefixes_.upper_bound(path);
    return after != prefixes_.begin() && path.starts_with(*std::prev(after));
  }

 private:
  std::set<std::string, std::less<>> prefixes_;
};

struct ExperimentName {
  tracking::ExperimentId id;
  std::string name;
};

Result<std::vector<ExperimentName>> read_experiments(const db::Database& db) {
  return db.read([](db::Connection& c) -> Result<std::vector<ExperimentName>> {
    std::vector<ExperimentName> all;
    auto rows = c.query(sql::experiment_names);
    if (!rows) return rows.error();
    while (rows->next()) all.push_back({tracking::ExperimentId{rows->integer(0)}, rows->text(1)});
    if (auto status = rows->status(); !status) return status.error();
    return all;
  });
}

// The numbers of one collection, experiment by experiment.
class Tally {
 public:
  explicit Tally(std::span<const ExperimentName> experiments) {
    for (const auto& [id, name] : experiments) names_[id] = name;
  }
  CollectedExperiment& of(tracking::ExperimentId id) {
    auto [at, is_new] = rows_.try_emplace(id);
    if (is_new) at->second = {.id = id.text(), .name = names_[id]};
    return at->second;
  }
  std::vector<CollectedExperiment> rows() const {
    std::vector<CollectedExperiment> all;
    for (const auto& [id, row] : rows_) all.push_back(row);
    return all;
  }

 private:
  std::map<tracking::ExperimentId, std::string> names_;
  std::map<tracking::ExperimentId, CollectedExperiment> rows_;
};

// Purges one thing with its audit entry, or only says that it would.
template <class Purge>
Result<bool> purge_one(const Collector::Parts& parts, const Context& ctx, bool dry_run,
                       const std::string& action, const std::string& object,
                       std::int64_t deleted_ms, const Purge& purge) {
  if (auto wanted = ctx.check(); !wanted) return wanted.error();
  if (dry_run) return true;
  return parts.db.write([&](db::Transaction& tx) -> Result<bool> {
    auto gone = purge(tx);
    if (!gone || !*gone) return gone;
    auto entry =
        parts.audit.append(tx, {.actor = ctx.principal.name,
                                .action = action,
                                .object = object,
                                .details = {{"deleted", format_time(from_millis(deleted_ms))}}});
    if (!entry) return entry.error();
    return true;
  });
}

Json amount(const blob::Amount& amount) {
  return {{"count", amount.count}, {"bytes", amount.bytes}};
}

}  // namespace

Result<CollectReport> Collector::collect(const Context& ctx, const CollectOptions& options) {
  auto alone =
      FileLock::acquire(parts_.blobs.root() / "gc.lock", "garbage collection of the store");
  if (!alone) return alone.error();
  CollectReport report;
  report.dry_run = options.dry_run;

  auto experiments = read_experiments(parts_.db);
  if (!experiments) return experiments.error();
  tracking::RetentionRule rule{.now_ms = to_millis(parts_.clock.now()),
                               .keep_deleted = options.keep_deleted};
  for (const std::string& wanted : options.experiments) {
    const auto at = std::ranges::find_if(*experiments, [&](const ExperimentName& one) {
      return one.name == wanted || one.id.text() == wanted;
    });
    if (at == experiments->end())
      return not_found(fmt::format("there is no experiment '{}'", wanted));
    rule.only.push_back(at->id);
  }
  auto expired = tracking::find_expired(parts_.db, rule);
  if (!expired) return expired.error();
  report.notes = expired->notes;
  auto holders = Holders::read(parts_.db);
  if (!holders) return holders.error();

  Tally tally(*experiments);
  GonePrefixes gone;
  std::map<tracking::ExperimentId, std::int64_t> staying;  // held: their experiments stay
  const auto is_held = [&](const char* what, const std::string& id, tracking::ExperimentId in) {
    const std::string* version = holders->find(id);
    if (version == nullptr) return false;
    ++report.held;
    ++staying[in];
    if (report.held_examples.size() < kMostExamples)
      report.held_examples.push_back(fmt::format("{} {} ({})", what, id, *version));
    return true;
  };
  for (const tracking::ExpiredRun& run : expired->runs) {
    if (is_held("run", run.id, run.experiment)) continue;
    auto done =
        purge_one(parts_, ctx, options.dry_run, "run.purge", "runs/" + run.id, run.deleted_ms,
                  [&](db::Transaction& tx) { return tracking::purge_run(tx, run); });
    if (!done) return done.error();
    if (!*done) continue;
    ++tally.of(run.experiment).runs;
    gone.add(tracking::artifact_prefix(run.artifact_uri));
  }
  for (const tracking::ExpiredModel& model : expired->models) {
    if (is_held("logged model", model.id, model.experiment)) continue;
    auto done = purge_one(parts_, ctx, options.dry_run, "logged_model.purge",
                          "logged-models/" + model.id, model.deleted_ms,
                          [&](db::Transaction& tx) { return tracking::purge_model(tx, model); });
    if (!done) return done.error();
    if (!*done) continue;
    ++tally.of(model.experiment).logged_models;
    gone.add(tracking::artifact_prefix(model.artifact_uri));
  }
  for (const tracking::ExpiredExperiment& experiment : expired->experiments) {
    // A dry run cannot ask the database whether the experiment would be empty by now.
    if (options.dry_run) {
      auto left = parts_.db.read([&](db::Connection& c) -> Result<std::int64_t> {
        auto rows = c.query(sql::experiment_content, experiment.id.value);
        if (!rows) return rows.error();
        const std::int64_t count = rows->next() ? rows->integer(0) : 0;
        if (auto status = rows->status(); !status) return status.error();
        return count;
      });
      if (!left) return left.error();
      const CollectedExperiment& counted = tally.of(experiment.id);
      if (*left > counted.runs + counted.logged_models) continue;
    }
    auto done = purge_one(parts_, ctx, options.dry_run, "experiment.purge",
                          "experiments/" + experiment.id.text(), experiment.deleted_ms,
                          [&](db::Transaction& tx) -> Result<bool> {
                            auto went = tracking::purge_experiment(tx, experiment);
                            if (!went || !*went) return went;
                            if (auto traces = tracing::purge(tx, experiment.id); !traces)
                              return traces.error();
                            return true;
                          });
    if (!done) return done.error();
    if (!*done) continue;
    tally.of(experiment.id).gone = true;
    gone.add(experiment.id.text() + "/");
  }
  report.purged = tally.rows();
  std::erase_if(report.purged, [](const CollectedExperiment& row) {
    return !row.gone && row.runs == 0 && row.logged_models == 0;
  });

  auto live = blob::mark(
      ctx, parts_.db, parts_.blobs, roots_,
      options.dry_run ? blob::LeaveOut([&](std::string_view path) { return gone.covers(path); })
                      : blob::LeaveOut());
  if (!live) return live.error();
  report.kinds = live->kinds();
  report.damaged_manifests = live->damaged_manifests;
  const bool blind = !live->damaged_manifests.empty();
  if (blind) {
    report.notes.push_back(fmt::format(
        "{} manifests of folders or datasets are damaged, so what they name is not known: no blob "
        "is removed until they are restored from a backup, or what names them is deleted",
        live->damaged_manifests.size()));
  }
  auto swept = blob::sweep(
      ctx, parts_.blobs, *live,
      {.put_before = parts_.clock.now() - options.grace, .dry_run = options.dry_run || blind});
  if (!swept) return swept.error();
  report.blobs = std::move(*swept);
  if (blind) report.blobs.garbage = {};
  if (options.dry_run) return report;
  auto entry = parts_.audit.record({.actor = ctx.principal.name,
                                    .action = "gc.finish",
                                    .object = "blobs",
                                    .details = {{"blobs", report.blobs.garbage.count},
                                                {"bytes", report.blobs.garbage.bytes},
                                                {"missing", report.blobs.missing}}});
  if (!entry) return entry.error();
  return report;
}

Json CollectReport::to_json() const {
  Json purges = Json::array();
  for (const CollectedExperiment& row : purged) {
    purges.push_back({{"experiment_id", row.id},
                      {"experiment", row.name},
                      {"experiment_gone", row.gone},
                      {"runs", row.runs},
                      {"logged_models", row.logged_models}});
  }
  std::map<std::string, blob::Amount> by_kind;
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    by_kind[kinds[i]].count += blobs.kept[i].count;
    by_kind[kinds[i]].bytes += blobs.kept[i].bytes;
  }
  Json kept = Json::object();
  for (const auto& [kind, sum] : by_kind) kept[kind] = amount(sum);
  return {{"dry_run", dry_run},
          {"purged", purges},
          {"held", {{"count", held}, {"examples", held_examples}}},
          {"blobs",
           {{"kept", kept},
            {"garbage", amount(blobs.garbage)},
            {"garbage_digests", blobs.garbage_digests},
            {"young", amount(blobs.young)},
            {"failed", amount(blobs.failed)},
            {"problems", blobs.problems},
            {"missing", blobs.missing},
            {"missing_digests", blobs.missing_digests},
            {"damaged_manifests", damaged_manifests}}},
          {"notes", notes}};
}

}  // namespace slipway::governance
