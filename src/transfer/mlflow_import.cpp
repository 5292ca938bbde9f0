#include "transfer/mlflow_import.h"

#include <cmath>
#include <mutex>
#include <set>
#include <unordered_map>

#include "audit/audit.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "db/database.h"
#include "registry/intake.h"
#include "registry/registry.h"
#include "tracking/intake.h"
#include "tracking/retention.h"
#include "tracking/tracking.h"
#include "transfer/mlflow_source_internal.h"
#include "transfer/queries.h"

namespace slipway::transfer {
namespace {

constexpr std::size_t kPointsPerWrite = 1000;  // tracking::Limits::batch_metrics
constexpr std::size_t kTextsPerWrite = 100;    // tracking::Limits::batch_params
constexpr std::size_t kMostProblems = 100;
constexpr std::chrono::milliseconds kTellEvery{200};

void add(Counts& sum, const Counts& more) {
  for (const auto& [kind, count] : more) sum[kind] += count;
}

Json as_json(const Counts& counts) {
  Json json = Json::object();
  for (const auto& [kind, count] : counts) json[kind] = count;
  return json;
}

Counts read_counts(std::string_view text) {
  Counts counts;
  const Json json = Json::parse(text, nullptr, false);
  if (!json.is_object()) return counts;
  for (const auto& [kind, count] : json.items()) {
    if (count.is_number_integer()) counts[kind] = count.get<std::int64_t>();
  }
  return counts;
}

Json number_text(double value) {
  return std::isfinite(value) ? Json(value) : Json(std::isnan(value) ? "NaN" : "inf");
}

// Whatever changes about a run changes this, but for points that are not the latest of their key.
std::string fingerprint(const SourceRun& source) {
  const tracking::Run& run = source.run;
  Json metrics = Json::array();
  for (const auto& m : run.metrics)
    metrics.push_back({m.key, number_text(m.value), m.timestamp_ms, m.step});
  Json params = Json::array();
  for (const auto& p : run.params) params.push_back({p.key, p.value});
  Json inputs = Json::array();
  for (const auto& d : run.datasets) inputs.push_back({d.name, d.digest, Json(d.tags)});
  for (const auto& m : run.model_inputs) inputs.push_back({m.model_id, m.step});
  for (const auto& m : run.model_outputs) inputs.push_back({m.model_id, m.step});
  return sha256_hex(canonical(Json{run.id.value, run.experiment.value, run.name, run.user,
                                   to_string(run.status), run.start_ms, run.end_ms.value_or(-1),
                                   run.deleted, Json(run.tags), metrics, params, inputs}));
}

std::string fingerprint(const SourceModel& source) {
  const tracking::LoggedModel& model = source.model;
  return sha256_hex(
      canonical(Json{model.id, model.name, model.updated_ms, model.deleted, Json(model.tags),
                     model.params.size(), model.metrics.size(), static_cast<int>(model.status)}));
}

// One import on its way: what its threads share.
class Importer {
 public:
  Importer(const ImportParts& parts, const ImportOptions& options, MlflowSource& source,
           const Context& ctx, const ImportObserver& observer)
      : parts_(parts),
        options_(options),
        source_(source),
        ctx_(ctx),
        observer_(observer),
        intake_(parts.db),
        registry_intake_(parts.db, parts.audit, parts.clock),
        pool_(std::max(1, options.threads)) {}

  Result<ImportReport> run();

 private:
  struct Item {
    std::string target;
    std::string fingerprint;
    Counts counts;
  };
  struct Place {
    std::string from;  // artifact URI there
    std::string to;    // and here
  };

  Result<std::vector<SourceExperiment>> choose();
  Result<tracking::ExperimentId> bring_experiment(const SourceExperiment& from);
  Result<void> bring_runs(tracking::ExperimentId from, tracking::ExperimentId to);
  Result<void> bring_logged_models(tracking::ExperimentId from, tracking::ExperimentId to);
  Result<void> bring_run(SourceRun source, tracking::ExperimentId to);
  Result<void> bring_logged_model(SourceModel source, tracking::ExperimentId to);
  Result<Counts> bring_files(const Owner& owner, const std::string& target_root);
  Result<void> bring_models();
  void translate(registry::ModelVersion& version) const;

  Result<std::optional<Item>> find(const char* kind, const std::string& id);
  Result<void> keep(const char* kind, const std::string& id, const Item& item);
  Result<Counts> count_run(const tracking::RunId& id);
  Result<Counts> count_files(const std::string& artifact_uri);

  void moved(const std::function<void(ImportProgress&)>& change);
  void problem(std::string what, const Error& error);
  void count_source(const Counts& counts) {
    const std::scoped_lock lock(mutex_);
    add(source_counts_, counts);
  }
  void count_target(const Counts& counts) {
    const std::scoped_lock lock(mutex_);
    add(target_counts_, counts);
  }

  const ImportParts& parts_;
  const ImportOptions& options_;
  MlflowSource& source_;
  const Context& ctx_;
  const ImportObserver& observer_;
  tracking::Intake intake_;
  registry::Intake registry_intake_;

  std::mutex mutex_;  // guards what follows
  ImportReport report_;
  ImportProgress progress_;
  SteadyTime told_{};
  Counts source_counts_;
  Counts target_counts_;
  std::unordered_map<std::string, Place> places_;  // of runs and logged models, by id
  std::optional<Error> stop_;                      // nothing more can be read or written

  WorkerPool pool_;  // last: its threads use all of the above
};

// Errors of one run or file are noted; these end the import.
bool is_fatal(const Error& error) {
  return error.code == Code::cancelled || error.code == Code::storage_full ||
         error.code == Code::unauthenticated || error.code == Code::unavailable;
}

void Importer::moved(const std::function<void(ImportProgress&)>& change) {
  const std::scoped_lock lock(mutex_);
  change(progress_);
  const SteadyTime now = parts_.clock.steady();
  if (!observer_ || now - told_ < kTellEvery) return;
  told_ = now;
  observer_(progress_);
}

void Importer::problem(std::string what, const Error& error) {
  const std::scoped_lock lock(mutex_);
  if (is_fatal(error) && !stop_) stop_ = error.at(what);
  ++report_.problem_count;
  if (report_.problems.size() < kMostProblems)
    report_.problems.push_back(std::move(what) + ": " + error.message);
}

Result<std::optional<Importer::Item>> Importer::find(const char* kind, const std::string& id) {
  return parts_.db.read([&](db::Connection& c) -> Result<std::optional<Item>> {
    auto rows = c.query(sql::find_item, options_.source, kind, id);
    if (!rows) return rows.error();
    std::optional<Item> item;
    if (rows->next()) item = Item{rows->text(0), rows->text(1), read_counts(rows->view(2))};
    if (auto status = rows->status(); !status) return status.error();
    return item;
  });
}

Result<void> Importer::keep(const char* kind, const std::string& id, const Item& item) {
  return parts_.db.write([&](db::Transaction& tx) {
    return tx.run(sql::put_item, options_.source, kind, id, item.target, item.fingerprint,
                  canonical(as_json(item.counts)));
  });
}

Result<std::vector<SourceExperiment>> Importer::choose() {
  auto all = source_.experiments(ctx_);
  if (!all || options_.experiments.empty()) return all;
  std::vector<SourceExperiment> chosen;
  for (const std::string& name : options_.experiments) {
    const auto at = std::ranges::find(
        *all, name, [](const SourceExperiment& one) { return one.experiment.name; });
    if (at == all->end()) {
      return not_found(fmt::format("there is no experiment '{}' in '{}'", name, options_.source));
    }
    chosen.push_back(*at);
  }
  return chosen;
}

Result<tracking::ExperimentId> Importer::bring_experiment(const SourceExperiment& from) {
  const std::string id = from.experiment.id.text();
  auto known = find("experiment", id);
  if (!known) return known.error();
  // One that was here before, of the same name, only gains tags and runs.
  auto to = intake_.put_experiment(from.experiment, from.deleted_ms, known->has_value());
  if (!to) return to;
  if (!*known) {
    auto kept = keep("experiment", id, {.target = to->text()});
    if (!kept) return kept.error();
  }
  count_source({{kExperiments, 1}});
  if (parts_.tracking.experiment(*to)) count_target({{kExperiments, 1}});
  return to;
}

Result<void> Importer::bring_runs(tracking::ExperimentId from, tracking::ExperimentId to) {
  std::string page;
  do {
    auto runs = source_.runs(ctx_, from, page);
    if (!runs) return runs.error();
    for (SourceRun& run : runs->items) {
      pool_.post([this, to, run = std::move(run)]() mutable {
        const std::string name = "run " + run.run.id.value;
        if (const std::scoped_lock lock(mutex_); stop_) return;
        auto done = ctx_.check();
        if (done) done = bring_run(std::move(run), to);
        if (!done) problem(name, done.error());
        moved([](ImportProgress& at) { ++at.runs; });
      });
    }
    page = runs->next_page;
    pool_.drain();  // a page at a time in memory
    if (stop_) return *stop_;
  } while (!page.empty());
  return {};
}

Result<void> Importer::bring_run(SourceRun source, tracking::ExperimentId to) {
  const std::string print = fingerprint(source);
  tracking::Run& run = source.run;
  const std::string from_uri = run.artifact_uri;
  run.experiment = to;
  run.artifact_uri = tracking::run_artifact_uri(to, run.id.value);
  {
    const std::scoped_lock lock(mutex_);
    places_[run.id.value] = {from_uri, run.artifact_uri};
  }
  auto known = find("run", run.id.value);
  if (!known) return known.error();
  const bool done_before =
      *known && !options_.again && (*known)->fingerprint == print && tracking::is_final(run.status);
  Counts counts = done_before ? (*known)->counts : Counts();
  if (!done_before) {
    counts = {{kRuns, 1},
              {kParams, std::ssize(run.params)},
              {kTags, std::ssize(run.tags)},
              {kMetrics, std::ssize(run.metrics)},
              {kPoints, 0},
              {kDatasets, std::ssize(run.datasets)}};
    if (auto opened = intake_.open_run(run); !opened) return opened;
    for (std::size_t i = 0; i < run.params.size(); i += kTextsPerWrite) {
      const auto end = run.params.begin() +
                       static_cast<std::ptrdiff_t>(std::min(run.params.size(), i + kTextsPerWrite));
      tracking::Batch batch;
      batch.params.assign(run.params.begin() + static_cast<std::ptrdiff_t>(i), end);
      if (auto logged = parts_.tracking.log_batch(run.id, batch); !logged) return logged;
    }
    auto logged = source_.history(
        ctx_, run, kPointsPerWrite, [&](std::span<const tracking::Metric> points) -> Result<void> {
          counts[kPoints] += std::ssize(points);
          tracking::Batch batch;
          batch.metrics.assign(points.begin(), points.end());
          auto written = parts_.tracking.log_batch(run.id, batch);
          moved([&](ImportProgress& at) { at.points += std::ssize(points); });
          return written;
        });
    if (!logged) return logged;
    if (!run.datasets.empty() || !run.model_inputs.empty()) {
      auto put = parts_.tracking.log_inputs(run.id, run.datasets, run.model_inputs);
      if (!put) return put;
    }
    if (!run.model_outputs.empty()) {
      if (auto put = parts_.tracking.log_outputs(run.id, run.model_outputs); !put) return put;
    }
    if (options_.with_artifacts) {
      auto files = bring_files({Owner::Kind::run, run.id.value, from_uri}, run.artifact_uri);
      if (!files) return files.error();
      add(counts, *files);
    }
    if (auto closed = intake_.close_run(run, source.deleted_ms); !closed) return closed;
    auto kept =
        keep("run", run.id.value, {.target = run.id.value, .fingerprint = print, .counts = counts});
    if (!kept) return kept;
    const std::scoped_lock lock(mutex_);
    if (!*known) ++report_.new_runs;
  }
  count_source(counts);
  auto here = count_run(run.id);
  if (!here) return here.error();
  count_target(*here);
  return {};
}

Result<void> Importer::bring_logged_models(tracking::ExperimentId from, tracking::ExperimentId to) {
  auto models = source_.logged_models(ctx_, from);
  if (!models) return models.error();
  for (SourceModel& model : *models) {
    if (auto wanted = ctx_.check(); !wanted) return wanted;
    const std::string name = "logged model " + model.model.id;
    auto done = bring_logged_model(std::move(model), to);
    if (!done) problem(name, done.error());
    if (stop_) return *stop_;
  }
  return {};
}

Result<void> Importer::bring_logged_model(SourceModel source, tracking::ExperimentId to) {
  const std::string print = fingerprint(source);
  tracking::LoggedModel& model = source.model;
  const std::string from_uri = model.artifact_uri;
  model.experiment = to;
  model.artifact_uri = tracking::model_artifact_uri(to, model.id);
  {
    const std::scoped_lock lock(mutex_);
    places_[model.id] = {from_uri, model.artifact_uri};
  }
  auto known = find("logged_model", model.id);
  if (!known) return known.error();
  const bool done_before = *known && !options_.again && (*known)->fingerprint == print &&
                           model.status != tracking::ModelStatus::pending;
  Counts counts = done_before ? (*known)->counts : Counts{{kLoggedModels, 1}};
  if (!done_before) {
    // Present while its metrics come, deleted at the end.
    if (auto put = intake_.put_logged_model(model, {}); !put) return put;
    std::map<std::string, std::vector<tracking::ModelMetric>> by_run;
    for (const tracking::ModelMetric& point : model.metrics) by_run[point.run_id].push_back(point);
    for (const auto& [run, points] : by_run) {
      auto logged = parts_.tracking.log_model_metrics(tracking::RunId{run}, points);
      if (!logged && logged.error().code != Code::failed_precondition) return logged;
    }
    if (options_.with_artifacts) {
      auto files = bring_files({Owner::Kind::model, model.id, from_uri}, model.artifact_uri);
      if (!files) return files.error();
      add(counts, *files);
    }
    if (auto put = intake_.put_logged_model(model, source.deleted_ms); !put) return put;
    auto kept = keep("logged_model", model.id,
                     {.target = model.id, .fingerprint = print, .counts = counts});
    if (!kept) return kept;
  }
  count_source(counts);
  if (parts_.tracking.logged_model(model.id, true)) count_target({{kLoggedModels, 1}});
  auto here = count_files(model.artifact_uri);
  if (!here) return here.error();
  count_target(*here);
  return {};
}

Result<Counts> Importer::bring_files(const Owner& owner, const std::string& target_root) {
  Counts counts;
  auto files = source_.files(ctx_, owner);
  if (!files) {
    if (is_fatal(files.error())) return files.error();
    problem("artifacts of " + owner.id, files.error());
    return counts;
  }
  const auto root = tracking::artifact_root(target_root);
  if (!root) return root.error();
  for (const SourceFile& file : *files) {
    ++counts[kFiles];
    counts[kBytes] += std::max<std::int64_t>(0, file.size);
    auto blob = source_.fetch(ctx_, owner, file, parts_.blobs);
    auto put = blob ? parts_.tracking.put_file(*root + "/" + file.path, *blob)
                    : Result<void>(blob.error());
    if (!put) {
      if (is_fatal(put.error())) return put.error();
      problem(fmt::format("artifact '{}' of {}", file.path, owner.id), put.error());
      continue;
    }
    if (file.size < 0) counts[kBytes] += blob->size;
    moved([&](ImportProgress& at) {
      ++at.files;
      at.bytes += blob->size;
    });
  }
  return counts;
}

// Points the version at where its files are now. What was not brought over stays where it is.
void Importer::translate(registry::ModelVersion& version) const {
  const auto moved_below = [&](const std::string& id) {
    const auto place = places_.find(id);
    if (place == places_.end() || place->second.from.empty() ||
        !version.source.starts_with(place->second.from))
      return false;
    version.source = place->second.to + version.source.substr(place->second.from.size());
    return true;
  };
  if (const auto model = places_.find(version.model_id);
      model != places_.end() && version.source.starts_with("models:/")) {
    version.storage = model->second.to;
    return;
  }
  if (moved_below(version.run_id) || moved_below(version.model_id)) return;
  // Versions made from a logged model may name its folder only.
  constexpr std::string_view kModels = "/models/";
  const std::size_t at = version.source.find(kModels);
  if (at == std::string::npos) return;
  const std::size_t begin = at + kModels.size();
  moved_below(version.source.substr(begin, version.source.find('/', begin) - begin));
}

Result<void> Importer::bring_models() {
  auto models = source_.models(ctx_);
  if (!models) return models.error();
  for (const registry::RegisteredModel& model : *models) {
    if (auto wanted = ctx_.check(); !wanted) return wanted;
    auto versions = source_.versions(ctx_, model.name);
    if (!versions) return versions.error();
    if (!options_.experiments.empty()) {
      std::erase_if(*versions,
                    [&](const auto& version) { return !places_.contains(version.run_id); });
      if (versions->empty()) continue;
    }
    count_source({{kModels, 1}, {kVersions, std::ssize(*versions)}});
    auto put = registry_intake_.put_model(ctx_, model);
    if (!put) {
      problem("model " + model.name, put.error());
      continue;
    }
    std::set<std::int64_t> numbers;
    for (registry::ModelVersion& version : *versions) {
      numbers.insert(version.number);
      translate(version);
      auto done = registry_intake_.put_version(ctx_, version);
      if (!done) problem(fmt::format("model {}/{}", model.name, version.number), done.error());
    }
    for (const auto& [alias, number] : model.aliases) {
      if (!numbers.contains(number)) continue;
      count_source({{kAliases, 1}});
      auto set = parts_.registry.set_alias(ctx_, model.name, alias, number,
                                           "imported from " + options_.source);
      if (!set) problem(fmt::format("model {}@{}", model.name, alias), set.error());
    }
    if (auto settled = registry_intake_.settle_model(model); !settled) return settled;
    auto here = parts_.registry.model(model.name);
    if (!here) return here.error();
    count_target({{kModels, 1}});
    for (const auto& [alias, number] : here->aliases) {
      const auto there = model.aliases.find(alias);
      if (there != model.aliases.end() && there->second == number) count_target({{kAliases, 1}});
    }
    auto there = parts_.registry.versions(model.name);
    if (!there) return there.error();
    for (const registry::ModelVersion& version : *there) {
      if (numbers.contains(version.number)) count_target({{kVersions, 1}});
    }
  }
  return {};
}

Result<Counts> Importer::count_run(const tracking::RunId& id) {
  auto run = parts_.tracking.run(id);
  if (!run) return run.error();
  Counts counts = {{kRuns, 1},
                   {kParams, std::ssize(run->params)},
                   {kTags, std::ssize(run->tags)},
                   {kMetrics, std::ssize(run->metrics)},
                   {kPoints, 0},
                   {kDatasets, std::ssize(run->datasets)}};
  for (const tracking::Metric& metric : run->metrics) {
    auto history = parts_.tracking.metric_history(id, metric.key);
    if (!history) return history.error();
    counts[kPoints] += std::ssize(history->items);
  }
  auto files = count_files(run->artifact_uri);
  if (!files) return files;
  add(counts, *files);
  return counts;
}

Result<Counts> Importer::count_files(const std::string& artifact_uri) {
  Counts counts;
  if (!options_.with_artifacts) return counts;
  const std::string prefix = tracking::artifact_prefix(artifact_uri);
  if (prefix.empty()) return counts;
  std::vector<std::string> folders = {prefix.substr(0, prefix.size() - 1)};
  while (!folders.empty()) {
    const std::string folder = std::move(folders.back());
    folders.pop_back();
    auto children = parts_.tracking.list_files(folder);
    if (!children) return children.error();
    for (const tracking::Artifact& child : *children) {
      if (child.is_folder) {
        folders.push_back(child.path);
      } else {
        ++counts[kFiles];
        counts[kBytes] += child.size;
      }
    }
  }
  return counts;
}

Result<ImportReport> Importer::run() {
  auto chosen = choose();
  if (!chosen) return chosen.error();
  std::vector<tracking::ExperimentId> ids;
  for (const SourceExperiment& one : *chosen) ids.push_back(one.experiment.id);
  auto totals = source_.totals(ctx_, ids);
  if (!totals) return totals.error();
  if (*totals) progress_.total_runs = (**totals)[kRuns];
  for (const SourceExperiment& one : *chosen) {
    if (auto wanted = ctx_.check(); !wanted) return wanted.error();
    moved([&](ImportProgress& at) { at.what = one.experiment.name; });
    auto to = bring_experiment(one);
    if (!to) return to.error();
    if (auto done = bring_runs(one.experiment.id, *to); !done) return done.error();
    if (auto done = bring_logged_models(one.experiment.id, *to); !done) return done.error();
  }
  if (auto done = bring_models(); !done) return done.error();
  if (*totals) {
    for (const auto& [kind, count] : **totals) source_counts_[kind] = count;
  }
  auto notes = source_.left_behind(ctx_);
  if (!notes) return notes.error();
  report_.notes = std::move(*notes);
  for (const char* kind : {kExperiments, kRuns, kParams, kTags, kMetrics, kPoints, kDatasets,
                           kLoggedModels, kModels, kVersions, kAliases, kFiles, kBytes}) {
    if (!options_.with_artifacts && (kind == kFiles || kind == kBytes)) continue;
    report_.rows.push_back({kind, source_counts_[kind], target_counts_[kind]});
  }
  auto entry = parts_.audit.record({.actor = ctx_.principal.name,
                                    .action = "import.finish",
                                    .object = "imports/" + options_.source,
                                    .details = {{"runs", source_counts_[kRuns]},
                                                {"new_runs", report_.new_runs},
                                                {"matches", report_.matches()}}});
  if (!entry) return entry.error();
  return std::move(report_);
}

}  // namespace

MlflowImport::MlflowImport(const ImportParts& parts, ImportOptions options)
    : parts_(parts), options_(std::move(options)) {
  while (options_.source.ends_with('/')) options_.source.pop_back();
}

Result<ImportReport> MlflowImport::run(const Context& ctx, const ImportObserver& observer) {
  if (auto valid = options_.validate(); !valid) return valid.error();
  auto source = options_.source.starts_with("http") ? open_rest_source(options_, parts_.clock)
                                                    : open_sql_source(options_);
  if (!source) return source.error();
  Importer importer(parts_, options_, **source, ctx, observer);
  return importer.run();
}

}  // namespace slipway::transfer
