// Models that only Python can run, each in a worker process. The worker is started when the model
// is loaded; when it dies or is killed, a thread starts it again, later and later while it keeps
// dying; until it is there, requests are refused at once.
#include <thread>

#include "base/file.h"
#include "base/guarded.h"
#include "base/log.h"
#include "models/pyfunc_worker.h"
#include "models/servable_internal.h"
#include "models/worker_process_internal.h"

namespace slipway::models {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kFirstPause{200};
constexpr milliseconds kLongestPause{30'000};
constexpr std::size_t kWorkerRowsPerCall = 65'536;

void append_raw(std::string& out, const void* values, std::size_t bytes) {
  out.append(static_cast<const char*>(values), bytes);
}

// One column as the protocol has it, and how it is described.
Json pack_column(const data::Field& field, const data::ColumnView& column, std::string& payload) {
  const std::size_t before = payload.size();
  std::string_view type;
  bool gaps = false;
  for (std::int64_t row = 0; row < column.rows && column.validity != nullptr; ++row)
    gaps |= column.is_null(row);
  if (column.type == data::Type::text) {
    type = "text";
    Json texts = Json::array();
    for (std::int64_t row = 0; row < column.rows; ++row)
      texts.push_back(column.is_null(row) ? Json() : Json(std::string(column.text(row))));
    payload += texts.dump(-1, ' ', false, Json::error_handler_t::replace);
  } else if (column.type == data::Type::boolean && !gaps) {
    type = "boolean";
    for (std::int64_t row = 0; row < column.rows; ++row)
      payload.push_back(column.boolean(row) ? '\1' : '\0');
  } else if ((column.type == data::Type::int64 && !gaps) || column.type == data::Type::timestamp) {
    type = column.type == data::Type::int64 ? "int64" : "timestamp";
    for (std::int64_t row = 0; row < column.rows; ++row) {
      // pandas' missing time is the smallest number.
      const std::int64_t value =
          column.is_null(row) ? std::numeric_limits<std::int64_t>::min() : column.integer(row);
      append_raw(payload, &value, sizeof(value));
    }
  } else {
    type = "float64";  // whole numbers with gaps, too: as pandas has them
    for (std::int64_t row = 0; row < column.rows; ++row) {
      const double value = column.number(row);
      append_raw(payload, &value, sizeof(value));
    }
  }
  return {{"name", field.name}, {"type", type}, {"bytes", payload.size() - before}};
}

class WorkerModel final : public Servable {
 public:
  WorkerModel(std::filesystem::path folder, data::Schema inputs, WorkerOptions options,
              Json description, WorkerProcess worker)
      : folder_(std::move(folder)),
        inputs_(std::move(inputs)),
        options_(std::move(options)),
        description_(std::move(description)) {
    worker_.with([&](auto& mine) { mine = std::move(worker); });
    keeper_ = std::jthread([this](const std::stop_token& stop) { keep(stop); });
  }

  static Result<WorkerProcess> start_loaded(const std::filesystem::path& folder,
                                            const WorkerOptions& options) {
    auto worker = WorkerProcess::start(options, kPyfuncWorker);
    if (!worker) return worker;
    auto loaded = worker->ask({{"op", "load"}, {"folder", folder.string()}}, {},
                              milliseconds(options.load_timeout_ms));
    if (!loaded) return loaded.error();
    return worker;
  }

  // How many numbers a row gives, told by a row of zeros, or of what the model's example says.
  Result<void> learn_width(const data::Batch& example) {
    std::size_t width = 0;
    auto answer = call(example, {}, width);
    if (!answer) return answer;
    width_ = width;
    return {};
  }

  const data::Schema& inputs() const override { return inputs_; }
  bool is_classifier() const override { return false; }
  std::size_t width() const override { return width_; }
  bool blocks() const override { return true; }
  Json describe() const override { return description_; }

  Result<void> predict(const data::Batch& batch, std::span<double> out, int) const override {
    const auto rows = static_cast<std::size_t>(batch.rows);
    if (out.size() != rows * width_)
      return invalid_argument(
          fmt::format("room for {} numbers, wanted {}", out.size(), rows * width_));
    for (std::size_t begin = 0; begin < rows; begin += kWorkerRowsPerCall) {
      const std::size_t count = std::min(kWorkerRowsPerCall, rows - begin);
      std::size_t width = width_;
      auto done =
          call(batch.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(count)),
               out.subspan(begin * width_, count * width_), width);
      if (!done) return done;
    }
    return {};
  }

 private:
  // An empty `out`: only the width is asked for.
  Result<void> call(const data::Batch& batch, std::span<double> out, std::size_t& width) const {
    std::string payload;
    Json columns = Json::array();
    for (const data::Field& field : inputs_.fields) {
      const auto at = batch.schema->find(field.name);
      if (!at) return at.error();
      columns.push_back(pack_column(field, batch.columns[*at], payload));
    }
    const Json head = {{"op", "predict"}, {"rows", batch.rows}, {"columns", std::move(columns)}};
    return worker_.with([&](std::optional<WorkerProcess>& worker) -> Result<void> {
      if (!worker || !worker->alive())
        return unavailable("the model's worker ended and is being started again; try later");
      auto answer = worker->ask(head, payload, milliseconds(options_.call_timeout_ms));
      if (!worker->alive()) wake_.notify_all();
      if (!answer) return answer.error();
      const auto rows = answer->head.value("rows", std::int64_t{-1});
      const auto got = answer->head.value("width", std::int64_t{-1});
      const std::size_t numbers = answer->payload.size() / sizeof(double);
      if (rows != batch.rows || got < 1 ||
          static_cast<std::uint64_t>(got) * static_cast<std::uint64_t>(rows) != numbers) {
        return failed_precondition("the model's worker answered with another number of rows");
      }
      if (out.empty()) {
        width = static_cast<std::size_t>(got);
        return {};
      }
      if (numbers != out.size()) {
        return failed_precondition(
            fmt::format("the model gave {} numbers a row, and {} before", got, width_));
      }
      std::memcpy(out.data(), answer->payload.data(), numbers * sizeof(double));
      return {};
    });
  }

  void keep(const std::stop_token& stop) {
    using SteadyClock = std::chrono::steady_clock;
    milliseconds pause = kFirstPause;
    auto started = SteadyClock::now();
    std::mutex mutex;
    while (!stop.stop_requested()) {
      std::unique_lock lock(mutex);
      wake_.wait_for(lock, stop, kFirstPause, [] { return false; });
      if (stop.stop_requested()) return;
      const bool alive = worker_.with([](auto& worker) { return worker && worker->alive(); });
      if (alive) {
        if (SteadyClock::now() - started > kLongestPause) pause = kFirstPause;
        continue;
      }
      wake_.wait_for(lock, stop, pause, [] { return false; });
      if (stop.stop_requested()) return;
      auto fresh = start_loaded(folder_, options_);
      started = SteadyClock::now();
      log::warn(
          "a model's worker was started again",
          {{"folder", folder_.string()}, {"error", fresh ? std::string() : fresh.error().message}});
      pause = std::min(pause * 2, kLongestPause);
      if (fresh) worker_.with([&](auto& worker) { worker = std::move(*fresh); });
    }
  }

  std::filesystem::path folder_;
  data::Schema inputs_;
  WorkerOptions options_;
  Json description_;
  std::size_t width_ = 1;
  mutable Guarded<std::optional<WorkerProcess>> worker_;
  mutable std::condition_variable_any wake_;
  std::jthread keeper_;  // last: it stops before the rest goes
};

// One row that every model should take: zeros, empty texts.
Result<data::BatchBuilder> zero_row(const data::Schema& schema) {
  data::BatchBuilder builder(schema);
  for (std::size_t k = 0; k < schema.fields.size(); ++k) {
    switch (schema.fields[k].type) {
      case data::Type::boolean:
        builder.append_boolean(k, false);
        break;
      case data::Type::int64:
      case data::Type::timestamp:
        builder.append_integer(k, 0);
        break;
      case data::Type::float64:
        builder.append_real(k, 0);
        break;
      case data::Type::text:
        builder.append_text(k, "");
        break;
    }
  }
  return builder;
}

// The first row of input_example.json where there is one ({"columns": […], "data": [[…]]}).
Result<data::BatchBuilder> example_row(const MlflowFolder& mlflow, const data::Schema& schema) {
  const auto text = read_file(mlflow.folder / "input_example.json");
  if (!text) return zero_row(schema);
  const auto json = parse_json(*text, "input_example.json");
  if (!json || !json->is_object() || !json->contains("columns") || !json->contains("data"))
    return zero_row(schema);
  const Json& names = (*json)["columns"];
  const Json& rows = (*json)["data"];
  if (!names.is_array() || !rows.is_array() || rows.empty() || !rows[0].is_array() ||
      rows[0].size() != names.size()) {
    return zero_row(schema);
  }
  data::BatchBuilder builder(schema);
  for (std::size_t k = 0; k < schema.fields.size(); ++k) {
    const auto at = std::find(names.begin(), names.end(), Json(schema.fields[k].name));
    if (at == names.end()) return zero_row(schema);
    const Json& value = rows[0][static_cast<std::size_t>(at - names.begin())];
    if (auto done = builder.append_json(k, value); !done) return zero_row(schema);
  }
  return builder;
}

}  // namespace

Result<ServablePtr> load_worker(const MlflowFolder& mlflow, const RuntimeOptions& options) {
  const WorkerOptions& workers = options.workers;
  if (workers.python.empty()) {
    return failed_precondition(
        "this model runs in Python only, and no environment for such models is set up: start the "
        "server with --model-python VENV/bin/python");
  }
  if (auto valid = workers.validate(); !valid) return valid.error();
  if (mlflow.inputs.empty()) {
    return failed_precondition(
        "this model runs in Python and has no signature with columns, so its inputs are unknown; "
        "log it with a signature or an input example");
  }
  const auto digest = environment_digest(workers.python);
  if (!digest) return digest.error();
  if (!workers.environment.empty() && workers.environment != *digest) {
    return failed_precondition(
        fmt::format("the environment of '{}' has the digest {}, and {} was declared: what is "
                    "installed there has changed",
                    workers.python.string(), *digest, workers.environment));
  }
  if (const auto wanted = read_file(mlflow.folder / "requirements.txt")) {
    if (auto same = check_requirements(workers.python, *wanted); !same) return same.error();
  }
  auto worker = WorkerModel::start_loaded(mlflow.folder, workers);
  if (!worker) return worker.error();
  data::Schema schema{mlflow.inputs};
  auto example = example_row(mlflow, schema);
  if (!example) return example.error();
  Json description = mlflow.describe("pyfunc");
  description["environment"] = *digest;
  auto model = std::make_unique<WorkerModel>(mlflow.folder, std::move(schema), workers,
                                             std::move(description), std::move(*worker));
  const auto batch = example->batch();
  if (!batch) return batch.error();
  if (auto learned = model->learn_width(*batch); !learned) return learned.error();
  return model;
}

}  // namespace slipway::models
