// What an import reads from: a running MLflow server, or the database and files of one. Both give
// the same values in the same order.
// Thread-safe: runs are read by several threads at once.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "blob/store.h"
#include "registry/types.h"
#include "tracking/types.h"
#include "transfer/mlflow_import.h"

namespace slipway::transfer {

// What one run, model … consists of, by the names of the final table.
using Counts = std::map<std::string, std::int64_t>;
inline constexpr const char* kExperiments = "experiments";
inline constexpr const char* kRuns = "runs";
inline constexpr const char* kParams = "params";
inline constexpr const char* kTags = "run tags";
inline constexpr const char* kMetrics = "metrics";
inline constexpr const char* kPoints = "metric points";
inline constexpr const char* kDatasets = "dataset inputs";
inline constexpr const char* kLoggedModels = "logged models";
inline constexpr const char* kModels = "registered models";
inline constexpr const char* kVersions = "model versions";
inline constexpr const char* kAliases = "aliases";
inline constexpr const char* kFiles = "artifact files";
inline constexpr const char* kBytes = "artifact bytes";

struct SourceExperiment {
  tracking::Experiment experiment;
  std::optional<std::int64_t> deleted_ms;
};
struct SourceRun {
  tracking::Run run;
  std::optional<std::int64_t> deleted_ms;
};
struct SourceModel {
  tracking::LoggedModel model;
  std::optional<std::int64_t> deleted_ms;
};

// Whose files: a run's or a logged model's.
struct Owner {
  enum class Kind { run, model } kind = Kind::run;
  std::string id;
  std::string artifact_uri;  // there
};
struct SourceFile {
  std::string path;  // below the owner's root
  std::int64_t size = -1;
};

class MlflowSource {
 public:
  virtual ~MlflowSource() = default;

  virtual Result<std::vector<SourceExperiment>> experiments(const Context& ctx) = 0;
  // How many runs, params, tags, metrics and metric points these experiments have, counted apart
  // from reading them; nothing when that cannot be asked.
  virtual Result<std::optional<Counts>> totals(
      const Context& ctx, std::span<const tracking::ExperimentId> experiments) = 0;
  // By pages, deleted ones too. The first page is "".
  virtual Result<tracking::Page<SourceRun>> runs(const Context& ctx, tracking::ExperimentId id,
                                                 const std::string& page) = 0;
  using TakePoints = std::function<Result<void>(std::span<const tracking::Metric>)>;
  // Every point of the run, in pieces of at most `most`.
  virtual Result<void> history(const Context& ctx, const tracking::Run& run, std::size_t most,
                               const TakePoints& take) = 0;
  virtual Result<std::vector<SourceModel>> logged_models(const Context& ctx,
                                                         tracking::ExperimentId id) = 0;
  virtual Result<std::vector<registry::RegisteredModel>> models(const Context& ctx) = 0;
  virtual Result<std::vector<registry::ModelVersion>> versions(const Context& ctx,
                                                               const std::string& model) = 0;

  // unimplemented when the files are in a place that cannot be reached through this source.
  virtual Result<std::vector<SourceFile>> files(const Context& ctx, const Owner& owner) = 0;
  virtual Result<blob::Ref> fetch(const Context& ctx, const Owner& owner, const SourceFile& file,
                                  blob::Store& store) = 0;
  // What stays behind, for the report: "12 traces".
  virtual Result<std::vector<std::string>> left_behind(const Context& ctx) = 0;
};

Result<std::unique_ptr<MlflowSource>> open_rest_source(const ImportOptions& options,
                                                       const Clock& clock);
Result<std::unique_ptr<MlflowSource>> open_sql_source(const ImportOptions& options);

}  // namespace slipway::transfer
