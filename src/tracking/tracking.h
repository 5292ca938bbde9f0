// Experiments and their runs, with params, metrics, tags, dataset inputs and artifacts, in MLflow's
// terms. A param never changes once set; a metric point, once logged, stays; what is deleted can be
// restored.
//   auto experiment = tracking.ensure_experiment("flights");
//   auto run = tracking.create_run(ctx, {.experiment = experiment->id, .name = "train"});
//   auto logged = tracking.log_metric(run->id, {.key = "auc", .value = 0.71, .timestamp_ms = now,
//   .step = 3}); auto ended = tracking.end_run(run->id, RunStatus::finished);
// Thread-safe. Calls block on the database: make them from the worker pool. A call that fails has
// changed nothing.
#pragma once
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"
#include "tracking/types.h"

namespace slipway::db {
class Database;
}
namespace slipway::blob {
class Store;
struct Ref;
}  // namespace slipway::blob

namespace slipway::tracking {

// What one call may carry; MLflow's own figures.
struct Limits {
  std::size_t batch_metrics = 1000;
  std::size_t batch_params = 100;
  std::size_t batch_tags = 100;
  std::size_t batch_total = 1000;
  std::size_t batch_datasets = 1000;
  std::size_t key_characters = 250;
  std::size_t param_characters = 6000;  // longer values are cut, as MLflow does
  std::size_t tag_characters = 8000;    // likewise
  std::size_t experiment_name_characters = 500;
  std::size_t experiment_tag_characters = 20'000;
  std::int64_t model_metrics = 1000;  // points that come with a logged model
  std::int64_t page = 50'000;
};

struct RunSpec {
  ExperimentId experiment = kDefaultExperiment;
  std::string name;                      // empty: a name is made from the id ("brave-gull-417")
  std::string user;                      // empty: who asks
  std::optional<std::int64_t> start_ms;  // none: now
  Tags tags;                             // kParentRunTag makes it a child
};

struct RunUpdate {
  std::optional<RunStatus> status;
  std::optional<std::int64_t> end_ms;
  std::optional<std::string> name;
};

struct Batch {
  std::vector<Metric> metrics;
  std::vector<Param> params;
  std::vector<Param> tags;
  std::vector<ModelMetric> model_metrics;  // those of `metrics` that name a logged model
};

struct ExperimentSearch {
  std::string filter;  // name, creation_time, last_update_time, tags.<key>
  std::vector<std::string> order_by;
  View view = View::active_only;
  std::int64_t max_results = 1000;
  std::string page;
  std::optional<std::vector<std::string>> only;  // ids a caller may see; none: all
};

// filter: comparisons joined by AND, over metrics.<key>, params.<key>, tags.<key>,
// attributes.<name>, datasets.<name>; see tracking/filter.h for the grammar.
struct RunSearch {
  std::vector<ExperimentId> experiments;
  std::string filter;
  std::vector<std::string> order_by;  // "metrics.auc DESC"; ties: newest first, then by id
  View view = View::active_only;
  std::int64_t max_results = 1000;
  std::string page;
};

struct StepRange {
  std::int64_t first = std::numeric_limits<std::int64_t>::min();
  std::int64_t last = std::numeric_limits<std::int64_t>::max();
};

struct DatasetSummary {
  ExperimentId experiment;
  std::string name;
  std::string digest;
  std::string context;  // "training"; empty when none was said
};

struct LoggedModelSpec {
  ExperimentId experiment = kDefaultExperiment;
  std::string name;  // empty: made from the id
  std::string type;
  std::string run_id;
  std::vector<Param> params;
  Tags tags;
};

struct LoggedModelSearch {
  struct Dataset {
    std::string name;
    std::string digest;  // empty: any
  };
  struct Order {
    std::string field;  // an attribute, or metrics.<key>: its newest point
    bool descending = false;
    Dataset dataset;  // of the metric; no name: any
  };
  std::vector<ExperimentId> experiments;
  std::string filter;  // name, model_id, model_type, status, source_run_id, creation_timestamp,
                       // last_updated_timestamp, metrics.<key>, params.<key>, tags.<key>
  // Metrics in the filter are those on one of these; without any, models need a metric on one.
  std::vector<Dataset> datasets;
  std::vector<Order> order_by;  // ties: newest first. Models without the value come last
  std::int64_t max_results = 100;
  std::string page;
};

class Tracking {
 public:
  // All three outlive the tracking store. Makes the experiment "Default" (id 0) in a new database.
  static Result<std::unique_ptr<Tracking>> open(db::Database& db, const Clock& clock, IdSource& ids,
                                                Limits limits = {});

  // An empty artifact_location means below mlflow-artifacts:/.
  Result<Experiment> create_experiment(const std::string& name, const Tags& tags = {},
                                       const std::string& artifact_location = {});
  Result<Experiment> ensure_experiment(const std::string& name);  // found, or created
  Result<Experiment> experiment(ExperimentId id) const;
  Result<Experiment> experiment_by_name(const std::string& name) const;
  Result<Page<Experiment>> search_experiments(const ExperimentSearch& search) const;
  Result<void> rename_experiment(ExperimentId id, const std::string& name);
  Result<void> delete_experiment(ExperimentId id);   // with its runs
  Result<void> restore_experiment(ExperimentId id);  // with the runs that were deleted with it
  Result<void> set_experiment_tag(ExperimentId id, const std::string& key,
                                  const std::string& value);
  Result<void> delete_experiment_tag(ExperimentId id, const std::string& key);

  Result<Run> create_run(const Context& ctx, const RunSpec& spec);
  Result<Run> run(const RunId& id) const;
  Result<Run> update_run(const RunId& id, const RunUpdate& update);
  Result<Run> end_run(const RunId& id, RunStatus status);  // at the clock's time
  Result<void> delete_run(const RunId& id);
  Result<void> restore_run(const RunId& id);
  Result<Page<Run>> search_runs(const RunSearch& search) const;

  Result<void> log_metric(const RunId& id, const Metric& metric);
  // failed_precondition when the param has another value.
  Result<void> log_param(const RunId& id, const std::string& key, const std::string& value);
  Result<void> set_tag(const RunId& id, const std::string& key, const std::string& value);
  Result<void> delete_tag(const RunId& id, const std::string& key);
  Result<void> log_batch(const RunId& id, const Batch& batch);  // all or nothing
  // The same without waiting: done is called once, when the batch is durable or was refused; on
  // this thread or the database's writer, so it must not block.
  void log_batch_async(RunId id, Batch batch, std::function<void(Result<void>)> done);
  Result<void> log_inputs(const RunId& id, std::span<const DatasetInput> datasets,
                          std::span<const ModelLink> models = {});
  Result<void> log_outputs(const RunId& id, std::span<const ModelLink> models);
  // Appends to the JSON list in the tag mlflow.log-model.history, where MLflow 2 clients look for a
  // run's models.
  Result<void> record_model(const RunId& id, const Json& description);
  // By time, then step. max_results 0: all points.
  Result<Page<Metric>> metric_history(const RunId& id, const std::string& key,
                                      std::int64_t max_results = 0,
                                      const std::string& page = {}) const;

  // At most `most` points (at least 1) of those with a step in the range, by step and time, for
  // drawing a curve: as many stretches of equally many points, the first of each, and the very
  // last point, as MLflow does. A run that does not exist has none.
  Result<std::vector<Metric>> sample_history(const RunId& id, const std::string& key,
                                             std::int64_t most, const StepRange& range = {}) const;
  // The different datasets the experiments' runs read, newest experiment first; at most `most`.
  Result<std::vector<DatasetSummary>> search_datasets(std::span<const ExperimentId> experiments,
                                                      std::int64_t most = 1000) const;

  // Logged models: pending when created, then finalized once, ready or failed.
  Result<LoggedModel> create_logged_model(const LoggedModelSpec& spec);
  Result<LoggedModel> logged_model(const std::string& id, bool also_deleted = false) const;
  Result<LoggedModel> finalize_logged_model(const std::string& id, ModelStatus status);
  Result<void> delete_logged_model(const std::string& id);
  Result<LoggedModel> set_logged_model_tags(const std::string& id, const Tags& tags);
  Result<void> delete_logged_model_tag(const std::string& id, const std::string& key);
  Result<void> log_logged_model_params(const std::string& id, std::span<const Param> params);
  // Beside log_metric or log_batch, which keep the same points for the run. All or nothing;
  // repeated points change nothing.
  Result<void> log_model_metrics(const RunId& run, std::span<const ModelMetric> metrics);
  Result<Page<LoggedModel>> search_logged_models(const LoggedModelSearch& search) const;

  // Artifacts of runs whose artifact_uri is below mlflow-artifacts:/. The bytes are in a
  // blob::Store already.
  Result<void> log_artifact(const RunId& id, const std::string& path, const blob::Ref& blob);
  // Every file of a stored tree (blob::Store::put_tree), below folder.
  Result<void> log_artifact_tree(const RunId& id, const std::string& folder,
                                 const blob::Store& store, const std::string& tree_sha256);
  Result<std::vector<Artifact>> list_artifacts(const RunId& id, const std::string& folder) const;
  Result<Artifact> artifact(const RunId& id, const std::string& path) const;

  // The same tree of files by whole path ("7/<run>/artifacts/model/MLmodel"), as MLflow's artifact
  // proxy names them.
  Result<void> put_file(const std::string& path, const blob::Ref& blob);
  Result<Artifact> file(const std::string& path) const;
  // The direct children of a folder, by name; empty when there is none. Their paths are whole, too.
  Result<std::vector<Artifact>> list_files(const std::string& folder) const;
  Result<void> delete_files(const std::string& path);  // a file, or a folder with all below it

  ~Tracking();

 private:
  struct Impl;
  explicit Tracking(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The one check of artifact paths from outside: relative, "/" between non-empty parts, no "." or
// ".." part, no NUL or other control character, no backslash, no part that is still percent-encoded
// to hide one of these. The path as it is, or invalid_argument.
Result<std::string> check_artifact_path(std::string_view path);
// "7/<run>/artifacts" for "mlflow-artifacts:/7/<run>/artifacts"; failed_precondition for other
// schemes, whose files slipway does not hold.
Result<std::string> artifact_root(std::string_view uri);

}  // namespace slipway::tracking
