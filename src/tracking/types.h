// What tracking stores, in MLflow's terms. Values do not change after construction.
// Times are milliseconds since 1970: callers send them, and any 64-bit number is kept as sent.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::tracking {

// MLflow's experiment ids are whole numbers written as text.
struct ExperimentId {
  std::int64_t value = 0;
  static Result<ExperimentId> parse(std::string_view text);
  std::string text() const { return std::to_string(value); }
  auto operator<=>(const ExperimentId&) const = default;
};
inline constexpr ExperimentId kDefaultExperiment{0};

struct RunId {
  std::string value;  // 32 hexadecimal characters
  auto operator<=>(const RunId&) const = default;
};

enum class View { active_only, deleted_only, all };
enum class RunStatus { running, scheduled, finished, failed, killed };
std::string_view to_string(RunStatus status);  // "RUNNING"
Result<RunStatus> parse_run_status(std::string_view text);
inline bool is_final(RunStatus status) {
  return status != RunStatus::running && status != RunStatus::scheduled;
}

using Tags = std::map<std::string, std::string>;
inline constexpr std::string_view kRunNameTag = "mlflow.runName";
inline constexpr std::string_view kParentRunTag = "mlflow.parentRunId";
inline constexpr std::string_view kUserTag = "mlflow.user";
inline constexpr std::string_view kLoggedModelsTag = "mlflow.log-model.history";
inline constexpr std::string_view kDataContextTag = "mlflow.data.context";

struct Experiment {
  ExperimentId id;
  std::string name;
  std::string artifact_location;  // "mlflow-artifacts:/7"
  std::int64_t created_ms = 0;
  std::int64_t updated_ms = 0;
  bool deleted = false;
  Tags tags;
};

struct Metric {
  std::string key;
  double value = 0;  // NaN is kept; ±infinity is kept as ±the greatest double, as MLflow does
  std::int64_t timestamp_ms = 0;
  std::int64_t step = 0;
};

struct Param {
  std::string key;
  std::string value;
};

// A dataset a run read. `source`, `schema` and `profile` are the caller's own JSON texts.
struct DatasetInput {
  std::string name;
  std::string digest;
  std::string source_type;
  std::string source;
  std::string schema;
  std::string profile;
  Tags tags;  // "mlflow.data.context" says what for: "training", "validation"
};

struct ModelLink {
  std::string model_id;
  std::int64_t step = 0;
};

struct Run {
  RunId id;
  ExperimentId experiment;
  std::string name;
  std::string user;
  RunStatus status = RunStatus::running;
  std::int64_t start_ms = 0;
  std::optional<std::int64_t> end_ms;
  bool deleted = false;
  std::string artifact_uri;     // "mlflow-artifacts:/7/<run>/artifacts"
  std::vector<Metric> metrics;  // the latest point of each key, by key
  std::vector<Param> params;    // by key
  Tags tags;
  std::vector<DatasetInput> datasets;
  std::vector<ModelLink> model_inputs;
  std::vector<ModelLink> model_outputs;

  const Metric* metric(std::string_view key) const;      // null when there is none
  const std::string* param(std::string_view key) const;  // null when there is none
};

enum class ModelStatus { pending, ready, failed };

// A metric point of a run that says which logged model reached it, and on which dataset.
struct ModelMetric {
  std::string model_id;
  std::string run_id;
  Metric metric;
  std::string dataset_name;  // empty: none
  std::string dataset_digest;
};

// A model as MLflow 3 logs it: made by a run, with files of its own. The registry's versions may
// name one.
struct LoggedModel {
  std::string id;  // "m-…"
  ExperimentId experiment;
  std::string name;
  std::string type;
  std::string run_id;
  ModelStatus status = ModelStatus::pending;
  std::string artifact_uri;  // "mlflow-artifacts:/7/models/m-…/artifacts"
  std::int64_t created_ms = 0;
  std::int64_t updated_ms = 0;
  bool deleted = false;
  std::vector<Param> params;         // by key
  std::vector<ModelMetric> metrics;  // newest first, at most Limits::model_metrics
  Tags tags;
};

// A file or folder of a run. Paths are relative to the run's artifact root.
struct Artifact {
  std::string path;
  bool is_folder = false;
  std::string sha256;  // of a file: its blob
  std::int64_t size = 0;
};

// One page of a list; next_page is empty on the last.
template <class T>
struct Page {
  std::vector<T> items;
  std::string next_page;
};

}  // namespace slipway::tracking
