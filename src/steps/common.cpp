#include <sys/wait.h>

#include "base/file.h"
#include "data/profile.h"
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

void flatten(const Json& value, const std::string& prefix, std::vector<tracking::Param>& into) {
  if (value.is_object()) {
    for (const auto& [key, child] : value.items())
      flatten(child, prefix.empty() ? key : prefix + "." + key, into);
    return;
  }
  into.push_back({prefix, value.is_string() ? value.get<std::string>() : value.dump()});
}

// What a program prints on its standard output; empty when it fails.
std::string output_of(const std::string& command) {
  std::FILE* pipe =
      ::popen(command.c_str(), "r");  // NOLINT(cert-env33-c): the path in it is quoted
  if (pipe == nullptr) return "";
  std::string text;
  char buffer[256];
  while (std::fgets(buffer, sizeof buffer, pipe) != nullptr) text += buffer;
  const int status = ::pclose(pipe);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) return "";
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string shell_quoted(const std::string& text) {
  std::string quoted = "'";
  for (const char c : text) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace

RowsSpec RowsSpec::read(SpecReader& reader) {
  RowsSpec spec;
  spec.dataset = reader.text("dataset");
  spec.where = reader.text("where", "");
  if (reader.has("window")) {
    SpecReader window = reader.object("window");
    spec.time_column = window.text("column");
    spec.from = window.text("from", "");
    spec.until = window.text("until", "");
    for (const char* key : {"from", "until"}) {
      const std::string text = window.text(key, "");
      if (text.empty() || text.find("${") != std::string::npos) continue;
      if (auto time = parse_time(text); !time) window.problem(key, time.error().message);
    }
    window.close();
  } else {
    reader.json("window");
  }
  return spec;
}

std::string RowsSpec::sql(const std::string& relation) const {
  std::string conditions;
  const auto add = [&](const std::string& condition) {
    conditions += (conditions.empty() ? " WHERE " : " AND ") + condition;
  };
  const auto moment = [](const std::string& text) {
    auto time = parse_time(text);
    std::string shown = time ? format_time(*time) : text;
    if (!shown.empty() && shown.back() == 'Z') shown.pop_back();
    return "TIMESTAMP " + data::quote_text(shown);
  };
  if (!from.empty()) add(data::quote_name(time_column) + " >= " + moment(from));
  if (!until.empty()) add(data::quote_name(time_column) + " < " + moment(until));
  if (!where.empty()) add("(" + where + ")");
  std::string sql = "SELECT * FROM " + data::quote_name(relation) + conditions;
  if (!time_column.empty()) sql += " ORDER BY " + data::quote_name(time_column);
  return sql;
}

Result<std::unique_ptr<data::Engine>> open_engine(const std::filesystem::path& work_dir,
                                                  std::int64_t memory_limit_mb) {
  return data::Engine::open({.memory_limit_mb = memory_limit_mb, .temp_dir = work_dir});
}

Result<void> add_dataset(data::Engine& engine, const Services& services, const std::string& name,
                         const data::DatasetRef& ref) {
  auto files = services.datasets.files(ref);
  if (!files) return files.error();
  data::Source source;
  source.kind = data::Source::Kind::parquet;
  for (const auto& file : *files) source.paths.push_back(file.string());
  return engine.add_source(name, source);
}

Result<data::TablePtr> load_rows(const Context& ctx, const Services& services, const RowsSpec& spec,
                                 const std::filesystem::path& work_dir) {
  auto ref = services.datasets.resolve(spec.dataset);
  if (!ref) return ref.error();
  auto engine = open_engine(work_dir);
  if (!engine) return engine.error();
  if (auto added = add_dataset(**engine, services, "dataset", *ref); !added) return added.error();
  auto table = (*engine)->query(ctx, spec.sql("dataset"));
  if (!table) return table.error().at("rows of " + ref->name);
  auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  if (columns->rows() == 0) {
    return failed_precondition("the dataset '" + ref->name + "' has no rows" +
                               (spec.from.empty() ? "" : " from " + spec.from) +
                               (spec.until.empty() ? "" : " until " + spec.until) +
                               (spec.where.empty() ? "" : " where " + spec.where) +
                               ": check the window");
  }
  return table;
}

Result<std::vector<double>> numbers_of(const data::Batch& batch, const std::string& column) {
  auto index = batch.schema->find(column);
  if (!index) return index.error();
  const data::ColumnView& view = batch.columns[*index];
  if (view.type == data::Type::text) {
    return invalid_argument("the column '" + column +
                            "' is text, and a number is needed: cast it in the SQL before");
  }
  std::vector<double> values(static_cast<std::size_t>(view.rows));
  for (std::int64_t row = 0; row < view.rows; ++row) {
    const double value = view.number(row);
    if (!std::isfinite(value)) {
      return invalid_argument("the column '" + column + "' has no number in row " +
                              std::to_string(row + 1) + ": filter such rows out before");
    }
    values[static_cast<std::size_t>(row)] = value;
  }
  return values;
}

Result<data::Batch> select(const data::Batch& batch, const data::Schema& wanted,
                           data::Schema& schema) {
  data::Batch chosen;
  schema.fields.clear();
  for (const data::Field& field : wanted.fields) {
    auto index = batch.schema->find(field.name);
    if (!index) return index.error();
    schema.fields.push_back(batch.schema->fields[*index]);
    chosen.columns.push_back(batch.columns[*index]);
  }
  chosen.schema = &schema;
  chosen.rows = batch.rows;
  return chosen;
}

Result<models::Bundle> open_bundle(const Services& services, const std::string& digest,
                                   const std::filesystem::path& work_dir) {
  const auto folder = work_dir / ("bundle-" + digest.substr(0, 16));
  std::error_code problem;
  if (!std::filesystem::exists(folder, problem)) {
    if (auto out = services.blobs.get_tree(digest, folder); !out)
      return out.error().at("bundle " + digest.substr(0, 12));
  }
  if (auto fresh = services.live_views->refresh({}); !fresh) return fresh.error();
  return models::Bundle::load(folder, services.live_views);
}

std::string code_commit(const std::filesystem::path& folder) {
  const std::string git = "git -C " + shell_quoted(folder.string());
  const std::string commit = output_of(git + " rev-parse HEAD 2>/dev/null");
  if (commit.empty()) return "";
  return output_of(git + " status --porcelain 2>/dev/null").empty() ? commit : commit + "+changes";
}

namespace {

// Fewer rows are profiled in memory, where the counts of bins are exact.
constexpr std::int64_t kProfiledAtOnce = 1'000'000;

Result<data::Profile> profile_at_once(const Context& ctx,
                                      const std::vector<std::filesystem::path>& files) {
  auto table = data::read_parquet(ctx, files);
  if (!table) return table.error();
  auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  return data::Profile::of(columns->batch(), {});
}

Result<data::Profile> profile_by_parts(const Context& ctx,
                                       const std::vector<std::filesystem::path>& files) {
  std::optional<data::Profiler> profiler;
  auto walked = data::walk_parquet(ctx, files, [&](const data::TablePtr& table) -> Result<void> {
    auto columns = data::Columns::from_table(table);
    if (!columns) return columns.error();
    if (!profiler) profiler.emplace(columns->schema(), data::ProfileOptions{});
    return profiler->add(columns->batch());
  });
  if (!walked) return walked.error();
  if (!profiler) return internal("a dataset without files was profiled");
  return profiler->finish();
}

}  // namespace

Result<Committed> commit_sql(const Context& ctx, const pipeline::StepCall& call,
                             const Services& services, data::Engine& engine,
                             const NewDataset& dataset) {
  const auto file = call.work_dir / "rows.parquet";
  call.progress(0.2, "running the SQL");
  auto rows = engine.write_parquet(ctx, dataset.sql, file);
  if (!rows) return rows.error();
  NewDataset written = dataset;
  written.files = {file};
  return commit_rows(ctx, call, services, written);
}

Result<Committed> commit_rows(const Context& ctx, const pipeline::StepCall& call,
                              const Services& services, const NewDataset& dataset) {
  call.progress(0.6, "profiling");
  std::vector<std::filesystem::path> files;
  if (dataset.base) {
    auto held = services.datasets.files(*dataset.base);
    if (!held) return held.error();
    files = std::move(*held);
  }
  files.insert(files.end(), dataset.files.begin(), dataset.files.end());
  auto rows = data::parquet_rows(files);
  if (!rows) return rows.error();
  auto profile =
      *rows > kProfiledAtOnce ? profile_by_parts(ctx, files) : profile_at_once(ctx, files);
  if (!profile) return profile.error();
  call.progress(0.9, "committing");
  auto ref = services.datasets.commit(ctx, {.name = dataset.name,
                                            .files = dataset.files,
                                            .base = dataset.base,
                                            .provenance = dataset.provenance,
                                            .profile = profile->to_json(),
                                            .validation = dataset.validation});
  if (!ref) return ref.error();
  for (const data::ColumnProfile& column : profile->columns) {
    for (const std::string& note : column.notes)
      call.log.line("note: " + column.name + ": " + note);
  }
  return Committed{*ref, *rows, static_cast<std::int64_t>(profile->columns.size())};
}

Result<TrackedRun> TrackedRun::start(const Context& ctx, const Services& services,
                                     const pipeline::StepCall& call, const std::string& name,
                                     const std::string& parent) {
  auto experiment = services.tracking.ensure_experiment(call.pipeline);
  if (!experiment) return experiment.error();
  tracking::RunSpec spec{.experiment = experiment->id, .name = name, .user = ctx.principal.name};
  spec.tags["slipway.pipeline_run"] = call.run_id;
  spec.tags["slipway.step"] = call.config.step();
  if (!parent.empty()) spec.tags[std::string(tracking::kParentRunTag)] = parent;
  auto run = services.tracking.create_run(ctx, spec);
  if (!run) return run.error();
  return TrackedRun(services.tracking, services.clock, std::move(*run));
}

TrackedRun::TrackedRun(TrackedRun&& other) noexcept
    : tracking_(other.tracking_),
      clock_(other.clock_),
      run_(std::move(other.run_)),
      open_(std::exchange(other.open_, false)) {}

TrackedRun::~TrackedRun() {
  if (open_) (void)tracking_->end_run(run_.id, tracking::RunStatus::failed);
}

Result<void> TrackedRun::params(const Json& values) {
  tracking::Batch batch;
  flatten(values, "", batch.params);
  for (std::size_t begin = 0; begin < batch.params.size(); begin += 100) {
    tracking::Batch part;
    const std::size_t end = std::min(batch.params.size(), begin + 100);
    part.params.assign(batch.params.begin() + static_cast<std::ptrdiff_t>(begin),
                       batch.params.begin() + static_cast<std::ptrdiff_t>(end));
    if (auto logged = tracking_->log_batch(run_.id, part); !logged) return logged;
  }
  return {};
}

Result<void> TrackedRun::metrics(const std::map<std::string, double>& values) {
  tracking::Batch batch;
  const std::int64_t now = to_millis(clock_->now());
  for (const auto& [key, value] : values) batch.metrics.push_back({key, value, now, 0});
  return tracking_->log_batch(run_.id, batch);
}

Result<void> TrackedRun::curve(const std::string& key,
                               std::span<const std::pair<std::int64_t, double>> points) {
  const std::size_t most = tracking::Limits{}.batch_metrics;
  const std::int64_t now = to_millis(clock_->now());
  for (std::size_t begin = 0; begin < points.size(); begin += most) {
    tracking::Batch batch;
    for (const auto& [step, value] : points.subspan(begin, std::min(most, points.size() - begin))) {
      batch.metrics.push_back({key, value, now, step});
    }
    if (auto logged = tracking_->log_batch(run_.id, batch); !logged) return logged;
  }
  return {};
}

Result<void> TrackedRun::used_dataset(const Services& services, const data::DatasetRef& ref,
                                      const std::string& context) {
  auto manifest = services.datasets.manifest(ref);
  if (!manifest) return manifest.error();
  tracking::DatasetInput input;
  input.name = ref.name;
  input.digest = ref.version.substr(0, 36);
  input.source_type = "slipway";
  input.source = Json{{"dataset", ref.text()}}.dump();
  input.schema = manifest->schema.to_json().dump();
  input.profile = Json{{"num_rows", manifest->rows}}.dump();
  input.tags[std::string(tracking::kDataContextTag)] = context;
  return tracking_->log_inputs(run_.id, std::array{input});
}

Result<void> TrackedRun::finish() {
  open_ = false;
  auto ended = tracking_->end_run(run_.id, tracking::RunStatus::finished);
  if (!ended) return ended.error();
  return {};
}

}  // namespace slipway::steps
