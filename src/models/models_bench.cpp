// One row and many rows through 200 trees of depth 6: our walk beside the XGBoost library's own
// prediction.
#include <benchmark/benchmark.h>

#include <cstdlib>

#include "base/file.h"
#include "models/model.h"
#include "models/servable.h"
#include "models/train_fixture_internal.h"

namespace slipway::models {
namespace {

// From bench/models.py: MLflow folders "xgboost" and "onnx" and rows of floats; else random data.
std::filesystem::path bench_folder() {
  const char* folder = std::getenv("SLIPWAY_BENCH_FOLDER");
  return folder == nullptr ? std::filesystem::path() : std::filesystem::path(folder);
}

constexpr std::size_t kRandomCols = 37;

const std::string& model_bytes() {
  static const std::string bytes =
      bench_folder().empty()
          ? train_model(random_data(1, 60'000, kRandomCols, true),
                        {{"objective", "binary:logistic"}, {"max_depth", "6"}, {"eta", "0.1"}}, 200)
          : *read_file(bench_folder() / "xgboost" / "model.ubj");
  return bytes;
}

// At least 2,048 rows of the model's width.
const std::vector<float>& bench_rows() {
  static const std::vector<float> rows = [] {
    if (bench_folder().empty()) return random_data(2, 4096, kRandomCols, true).values;
    const std::string bytes = *read_file(bench_folder() / "rows.f32");
    std::vector<float> values(bytes.size() / sizeof(float));
    std::memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
  }();
  return rows;
}

// Other rows at every call: a single row would keep its ways through the trees in the cache.
template <class Predict>
void over_rows(benchmark::State& state, std::size_t cols, const Predict& predict) {
  const auto count = static_cast<std::size_t>(state.range(0));
  const std::size_t all = bench_rows().size() / cols;
  std::size_t begin = 0;
  for (auto _ : state) {
    predict(std::span(bench_rows()).subspan(begin * cols, count * cols), count);
    begin = begin + 2 * count <= all ? begin + count : 0;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void walk(benchmark::State& state) {
  const auto model = load_xgboost(model_bytes());
  std::vector<double> out(static_cast<std::size_t>(state.range(0)));
  over_rows(state, (*model)->features(), [&](std::span<const float> rows, std::size_t count) {
    (void)(*model)->predict(rows, count, out);
    benchmark::DoNotOptimize(out.data());
  });
}
BENCHMARK(walk)->Arg(1)->Arg(8)->Arg(32)->Arg(1024);

void library(benchmark::State& state) {
  const std::size_t cols = (*load_xgboost(model_bytes()))->features();
  BoosterHandle booster = nullptr;
  XGBoosterCreate(nullptr, 0, &booster);
  XGBoosterSetParam(booster, "nthread", "1");
  XGBoosterLoadModelFromBuffer(booster, model_bytes().data(), model_bytes().size());
  const char* config =
      R"({"type":0,"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":false,"missing":NaN,"cache_id":0})";
  over_rows(state, cols, [&](std::span<const float> rows, std::size_t count) {
    const std::string values =
        fmt::format(R"({{"data":[{},true],"shape":[{},{}],"typestr":"<f4","version":3}})",
                    reinterpret_cast<std::uintptr_t>(rows.data()), count, cols);
    const bst_ulong* shape = nullptr;
    bst_ulong dimensions = 0;
    const float* scores = nullptr;
    XGBoosterPredictFromDense(booster, values.c_str(), config, nullptr, &shape, &dimensions,
                              &scores);
    benchmark::DoNotOptimize(scores);
  });
  XGBoosterFree(booster);
}
BENCHMARK(library)->Arg(1)->Arg(32)->Arg(1024);

// ONNX Runtime as slipway runs it: columns into its tensor included.
void onnx(benchmark::State& state) {
  if (bench_folder().empty() || !std::filesystem::exists(bench_folder() / "onnx")) {
    state.SkipWithError("only with a model from bench/models.py");
    return;
  }
  const auto model = load_servable(bench_folder() / "onnx");
  if (!model) {
    state.SkipWithError(model.error().message.c_str());
    return;
  }
  const std::size_t cols = (*model)->inputs().fields.size();
  std::vector<double> out(static_cast<std::size_t>(state.range(0)));
  data::BatchBuilder builder((*model)->inputs());
  over_rows(state, cols, [&](std::span<const float> rows, std::size_t count) {
    builder.clear();
    for (std::size_t i = 0; i < rows.size(); ++i) builder.append_real(i % cols, rows[i]);
    (void)(*model)->predict(*builder.batch(), std::span(out).first(count));
    benchmark::DoNotOptimize(out.data());
  });
}
BENCHMARK(onnx)->Arg(1)->Arg(32)->Arg(1024);

void load(benchmark::State& state) {
  for (auto _ : state) {
    auto model = load_xgboost(model_bytes());
    benchmark::DoNotOptimize(model);
  }
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slipway::models
