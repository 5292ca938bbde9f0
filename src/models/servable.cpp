#include "models/servable.h"

#include <limits>
#include <mutex>

#include "base/file.h"
#include "base/parallel.h"
#include "models/bundle.h"
#include "models/servable_internal.h"

namespace slipway::models {
namespace {

class BundleServable final : public Servable {
 public:
  explicit BundleServable(Bundle bundle) : bundle_(std::move(bundle)) {}
  const data::Schema& inputs() const override { return bundle_.inputs(); }
  bool is_classifier() const override { return bundle_.is_classifier(); }
  std::size_t width() const override { return bundle_.model().outputs(); }
  Result<void> predict(const data::Batch& batch, std::span<double> out,
                       int threads) const override {
    return bundle_.predict(batch, out, threads);
  }
  std::vector<std::string> explained() const override {
    if (bundle_.model().explained() == 0) return {};
    return bundle_.pipeline().outputs();
  }
  Result<void> contributions(const data::Batch& batch, std::span<double> out) const override {
    const auto rows = static_cast<std::size_t>(batch.rows);
    std::vector<float> matrix(rows * bundle_.pipeline().outputs().size());
    if (auto done = bundle_.pipeline().transform(batch, matrix, 1); !done) return done;
    const std::vector<double> wide(matrix.begin(), matrix.end());
    return bundle_.model().contributions(wide, rows, out);
  }
  Json describe() const override { return bundle_.metadata(); }

 private:
  Bundle bundle_;
};

class TableModel final : public Servable {
 public:
  TableModel(data::Schema inputs, ModelPtr model, Json description)
      : inputs_(std::move(inputs)),
        model_(std::move(model)),
        description_(std::move(description)) {}
  const data::Schema& inputs() const override { return inputs_; }
  bool is_classifier() const override { return model_->is_classifier(); }
  std::size_t width() const override { return model_->outputs(); }
  Result<void> predict(const data::Batch& batch, std::span<double> out,
                       int threads) const override {
    const auto rows = static_cast<std::size_t>(batch.rows);
    if (out.size() != rows * width())
      return invalid_argument(
          fmt::format("room for {} numbers, wanted {}", out.size(), rows * width()));
    const auto some = [&](std::size_t begin, std::size_t end) -> Result<void> {
      thread_local std::vector<double> matrix;
      matrix.resize((end - begin) * inputs_.fields.size());
      const data::Batch slice =
          batch.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end - begin));
      if (auto done = numbers_of(inputs_, slice, matrix); !done) return done;
      return model_->predict(std::span<const double>(matrix), end - begin,
                             out.subspan(begin * width(), (end - begin) * width()));
    };
    if (rows <= Bundle::kRowsPerTask || threads == 1) {
      for (std::size_t begin = 0; begin < rows; begin += Bundle::kRowsPerTask) {
        if (auto done = some(begin, std::min(rows, begin + Bundle::kRowsPerTask)); !done)
          return done;
      }
      return {};
    }
    std::mutex mutex;
    Result<void> outcome;
    parallel_for(
        rows, Bundle::kRowsPerTask,
        [&](std::size_t begin, std::size_t end) {
          if (auto done = some(begin, end); !done) {
            const std::scoped_lock lock(mutex);
            outcome = std::move(done);
          }
        },
        threads);
    return outcome;
  }
  std::vector<std::string> explained() const override {
    return model_->explained() == 0 ? std::vector<std::string>() : inputs_.names();
  }
  Result<void> contributions(const data::Batch& batch, std::span<double> out) const override {
    const auto rows = static_cast<std::size_t>(batch.rows);
    std::vector<double> matrix(rows * inputs_.fields.size());
    if (auto done = numbers_of(inputs_, batch, matrix); !done) return done;
    return model_->contributions(matrix, rows, out);
  }
  Json describe() const override { return description_; }

 private:
  data::Schema inputs_;
  ModelPtr model_;
  Json description_;
};

}  // namespace

Result<void> Servable::contributions(const data::Batch&, std::span<double>) const {
  return invalid_argument("this model cannot tell what its features contribute: trees can");
}

Result<void> WorkerOptions::validate() const {
  if (memory_mb < 64 || load_timeout_ms < 1 || call_timeout_ms < 1)
    return invalid_argument("a worker needs at least 64 MiB and 1 ms");
  return {};
}

ServablePtr make_table_model(data::Schema inputs, ModelPtr model, Json description) {
  return std::make_unique<TableModel>(std::move(inputs), std::move(model), std::move(description));
}

Result<void> numbers_of(const data::Schema& schema, const data::Batch& batch,
                        std::span<double> out) {
  const std::size_t width = schema.fields.size();
  for (std::size_t k = 0; k < width; ++k) {
    // Mostly the columns are those of the schema, in its order.
    std::size_t at = k;
    if (k >= batch.columns.size() || batch.schema->fields[k].name != schema.fields[k].name) {
      const auto found = batch.schema->find(schema.fields[k].name);
      if (!found) return found.error();
      at = *found;
    }
    const data::ColumnView& column = batch.columns[at];
    if (column.type == data::Type::text) {
      return invalid_argument("column '" + schema.fields[k].name +
                              "' holds text, and the model takes numbers");
    }
    double* into = out.data() + k;
    if (column.type == data::Type::float64 && column.validity == nullptr) {
      for (std::int64_t row = 0; row < batch.rows; ++row, into += width) *into = column.real(row);
    } else {
      for (std::int64_t row = 0; row < batch.rows; ++row, into += width) *into = column.number(row);
    }
  }
  return {};
}

Result<ServablePtr> load_servable(const std::filesystem::path& folder,
                                  const RuntimeOptions& options) {
  std::error_code ignored;
  if (std::filesystem::exists(folder / "graph.json", ignored)) return load_graph(folder, options);
  const auto text = read_file(folder / "MLmodel");
  if (!text) return text.error();
  const auto document = SpecDocument::parse(*text, "MLmodel");
  if (!document) return data_loss(document.error().message).at(folder.string());
  const Json& root = document->root();
  if (root.is_object() && root.contains("flavors") && root["flavors"].is_object() &&
      root["flavors"].contains("slipway")) {
    auto bundle = Bundle::load(folder, options.views);
    if (!bundle) return bundle.error();
    return std::make_unique<BundleServable>(std::move(*bundle));
  }
  return load_mlflow(folder, options);
}

}  // namespace slipway::models
