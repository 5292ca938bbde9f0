// One row and many rows through 200 trees of depth 6: our walk beside the XGBoost library's own
// prediction.
#include <benchmark/benchmark.h>

#include "models/certificate_internal.h"
#include "models/model.h"
#include "models/train_fixture_internal.h"

namespace slipway::models {
namespace {

constexpr std::size_t kCols = 37;

const std::string& model_bytes() {
  static const std::string bytes =
      train_model(random_data(1, 60'000, kCols, true),
                  {{"objective", "binary:logistic"}, {"max_depth", "6"}, {"eta", "0.1"}}, 200);
  return bytes;
}

void walk(benchmark::State& state) {
  const auto model = load_xgboost(model_bytes());
  const auto rows = static_cast<std::size_t>(state.range(0));
  const RandomData data = random_data(2, std::max<std::size_t>(rows, 1024), kCols, true);
  std::vector<double> out(rows);
  std::size_t begin = 0;
  for (auto _ : state) {
    (void)(*model)->predict(std::span(data.values).subspan(begin * kCols, rows * kCols), rows, out);
    benchmark::DoNotOptimize(out.data());
    begin = begin + 2 * rows <= data.rows ? begin + rows : 0;
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(walk)->Arg(1)->Arg(8)->Arg(32)->Arg(1024);

void library(benchmark::State& state) {
  BoosterHandle booster = nullptr;
  XGBoosterCreate(nullptr, 0, &booster);
  XGBoosterSetParam(booster, "nthread", "1");
  XGBoosterLoadModelFromBuffer(booster, model_bytes().data(), model_bytes().size());
  const auto rows = static_cast<std::size_t>(state.range(0));
  const RandomData data = random_data(2, rows, kCols, true);
  const std::string values =
      fmt::format(R"({{"data":[{},true],"shape":[{},{}],"typestr":"<f4","version":3}})",
                  reinterpret_cast<std::uintptr_t>(data.values.data()), rows, kCols);
  const char* config =
      R"({"type":0,"training":false,"iteration_begin":0,"iteration_end":0,"strict_shape":false,"missing":NaN,"cache_id":0})";
  const bst_ulong* shape = nullptr;
  bst_ulong dimensions = 0;
  const float* scores = nullptr;
  for (auto _ : state) {
    XGBoosterPredictFromDense(booster, values.c_str(), config, nullptr, &shape, &dimensions,
                              &scores);
    benchmark::DoNotOptimize(scores);
  }
  XGBoosterFree(booster);
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(library)->Arg(1)->Arg(32)->Arg(1024);

void load(benchmark::State& state) {
  for (auto _ : state) {
    auto model = load_xgboost(model_bytes());
    benchmark::DoNotOptimize(model);
  }
}
BENCHMARK(load)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace slipway::models
