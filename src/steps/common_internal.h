// What several step kinds need: reading rows of a dataset version by window, labels as numbers,
// bundles by digest, runs.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "data/engine.h"
#include "data/table.h"
#include "models/bundle.h"
#include "steps/steps.h"

namespace slipway::steps {

// Which rows of a dataset: those of a window of time, that fulfil a condition, in the order of the
// window's column.
//   dataset: ${steps.validate.dataset}
//   window: {column: time_hour, from: 2013-01-01, until: ${params.train_end}}     # from <= time <
//   until where: "origin <> 'LGA'"
struct RowsSpec {
  std::string dataset;
  std::string time_column;
  std::string from, until;
  std::string where;
  static RowsSpec read(SpecReader& reader);
  std::string sql(const std::string& relation) const;
};

Result<std::unique_ptr<data::Engine>> open_engine(const std::filesystem::path& work_dir,
                                                  std::int64_t memory_limit_mb = 512);
// Makes `name` a relation over a dataset version's files.
Result<void> add_dataset(data::Engine& engine, const Services& services, const std::string& name,
                         const data::DatasetRef& ref);
// failed_precondition when there are no such rows.
Result<data::TablePtr> load_rows(const Context& ctx, const Services& services, const RowsSpec& spec,
                                 const std::filesystem::path& work_dir);

// A column as numbers; null and text are invalid_argument naming the column and the row.
Result<std::vector<double>> numbers_of(const data::Batch& batch, const std::string& column);
// A batch with only these columns, in this order. The schema is kept in `schema`.
Result<data::Batch> select(const data::Batch& batch, const data::Schema& wanted,
                           data::Schema& schema);

// A bundle out of the blob store, by way of a folder below work_dir.
Result<models::Bundle> open_bundle(const Services& services, const std::string& digest,
                                   const std::filesystem::path& work_dir);

// "git rev-parse HEAD" of the folder, with "+changes" when files differ; empty outside a
// repository.
std::string code_commit(const std::filesystem::path& folder);

// A new version of a dataset, made of an SQL's rows or of Parquet files.
struct NewDataset {
  std::string name;
  std::string sql;
  Json provenance;
  Json validation = Json(nullptr);
  std::vector<std::filesystem::path> files = {};        // of commit_rows
  std::optional<data::DatasetRef> base = std::nullopt;  // its rows come first
};
struct Committed {
  data::DatasetRef ref;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
};
Result<Committed> commit_sql(const Context& ctx, const pipeline::StepCall& call,
                             const Services& services, data::Engine& engine,
                             const NewDataset& dataset);
// Commits files that are written, with the profile of all rows, the base's too. Rows are read row
// group by row group: memory does not grow with them.
Result<Committed> commit_rows(const Context& ctx, const pipeline::StepCall& call,
                              const Services& services, const NewDataset& dataset);

// A run in the pipeline's experiment. Ends as failed unless finish() is called.
class TrackedRun {
 public:
  static Result<TrackedRun> start(const Context& ctx, const Services& services,
                                  const pipeline::StepCall& call, const std::string& name,
                                  const std::string& parent = {});
  TrackedRun(TrackedRun&& other) noexcept;
  TrackedRun& operator=(TrackedRun&&) = delete;
  ~TrackedRun();
  const tracking::RunId& id() const { return run_.id; }
  const tracking::Run& run() const { return run_; }
  Result<void> params(const Json& flat_or_nested);  // nested objects become "a.b"
  Result<void> metrics(const std::map<std::string, double>& values);
  // One metric at many steps, in as few transactions as MLflow's limits allow.
  Result<void> curve(const std::string& key,
                     std::span<const std::pair<std::int64_t, double>> points);
  Result<void> used_dataset(const Services& services, const data::DatasetRef& ref,
                            const std::string& context);
  Result<void> finish();

 private:
  TrackedRun(tracking::Tracking& tracking, const Clock& clock, tracking::Run run)
      : tracking_(&tracking), clock_(&clock), run_(std::move(run)) {}
  tracking::Tracking* tracking_;
  const Clock* clock_;
  tracking::Run run_;
  bool open_ = true;
};

std::unique_ptr<pipeline::StepKind> make_ingest(const Services& services);
std::unique_ptr<pipeline::StepKind> make_transform(const Services& services);
std::unique_ptr<pipeline::StepKind> make_validate(const Services& services);
std::unique_ptr<pipeline::StepKind> make_tune(const Services& services);
std::unique_ptr<pipeline::StepKind> make_train(const Services& services);
std::unique_ptr<pipeline::StepKind> make_evaluate(const Services& services);
std::unique_ptr<pipeline::StepKind> make_register(const Services& services);
std::unique_ptr<pipeline::StepKind> make_deploy(const Services& services);
std::unique_ptr<pipeline::StepKind> make_collect(const Services& services);

}  // namespace slipway::steps
