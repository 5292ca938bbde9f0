// The feature pipeline's speed. Three ways to run it:
//   features_bench                      Google Benchmark: one row of 37 columns, fit and transform
//   of many features_bench --flights FOLDER     one JSON line on the flights data, for
//   bench/features.py
#include <benchmark/benchmark.h>

#include <ctime>
#include <iostream>

#include "base/parallel.h"
#include "base/rng.h"
#include "data/engine.h"
#include "features/pipeline.h"
#include "support/every_transform.h"
#include "support/odd_rows.h"

namespace slipway::features {
namespace {

using data::Type;

// As the flights example: 27 columns known an hour before departure and 10 lagged late shares.
data::Schema wide_schema() {
  data::Schema schema;
  for (int i = 0; i < 22; ++i)
    schema.fields.push_back({"real" + std::to_string(i), Type::float64, true});
  for (int i = 0; i < 8; ++i)
    schema.fields.push_back({"int" + std::to_string(i), Type::int64, true});
  for (const char* name : {"carrier", "origin", "dest", "tailnum", "type"}) {
    schema.fields.push_back({name, Type::text, true});
  }
  schema.fields.push_back({"holiday", Type::boolean, true});
  schema.fields.push_back({"time_hour", Type::timestamp, true});
  return schema;
}

const char* const kWideSpec = R"([
  {"columns": "real*", "apply": [{"impute": "median"}, "standardize"]},
  {"columns": "int*", "apply": [{"impute": "median"}, "standardize"]},
  {"columns": ["carrier", "origin", "type"], "apply": ["onehot"]},
  {"columns": ["dest", "tailnum"], "apply": ["target_encode"]},
  {"columns": "holiday", "apply": ["passthrough"]},
  {"columns": "time_hour", "apply": [{"datetime": {"parts": ["hour", "dow", "month"], "cyclical": ["hour", "dow", "month"]}}]}
])";

struct Wide {
  data::BatchBuilder rows{wide_schema()};
  std::vector<double> target;
  PipelineSpec spec;
};

Wide make_wide(std::size_t count) {
  Wide wide;
  Rng rng(1);
  for (std::size_t row = 0; row < count; ++row) {
    for (std::size_t c = 0; c < 22; ++c) {
      if (rng.below(20) == 0) {
        wide.rows.append_null(c);
      } else {
        wide.rows.append_real(c, rng.normal() * 10);
      }
    }
    for (std::size_t c = 22; c < 30; ++c)
      wide.rows.append_integer(c, static_cast<std::int64_t>(rng.below(2400)));
    const std::size_t categories[] = {16, 3, 105, 4000, 4};
    for (std::size_t c = 0; c < 5; ++c)
      wide.rows.append_text(30 + c, "N" + std::to_string(10'000 + rng.below(categories[c])));
    wide.rows.append_boolean(35, rng.below(2) == 1);
    wide.rows.append_integer(
        36, 1'356'998'400'000'000 + static_cast<std::int64_t>(rng.below(8760)) * 3'600'000'000);
    wide.target.push_back(rng.below(4) == 0 ? 1 : 0);
  }
  auto spec = PipelineSpec::from_json(*parse_json(kWideSpec));
  wide.spec = std::move(*spec);
  return wide;
}

void one_row(benchmark::State& state) {
  const Wide wide = make_wide(20'000);
  const data::Batch batch = *wide.rows.batch();
  const auto pipeline = Pipeline::fit({}, wide.spec, batch, wide.target);
  std::vector<data::Batch> requests;
  for (std::int64_t row = 0; row < 1000; ++row) requests.push_back(batch.slice(row, 1));
  std::vector<float> out(pipeline->outputs().size());
  std::size_t next = 0;
  for (auto _ : state) {
    (void)pipeline->transform(requests[next++ % requests.size()], out);
    benchmark::DoNotOptimize(out.data());
  }
}
BENCHMARK(one_row);

void transform_many(benchmark::State& state) {
  const Wide wide = make_wide(100'000);
  const data::Batch batch = *wide.rows.batch();
  const auto pipeline = Pipeline::fit({}, wide.spec, batch, wide.target);
  std::vector<float> out(100'000 * pipeline->outputs().size());
  for (auto _ : state) {
    (void)pipeline->transform(batch, out, static_cast<int>(state.range(0)));
    benchmark::DoNotOptimize(out.data());
  }
  state.SetItemsProcessed(state.iterations() * 100'000);
}
BENCHMARK(transform_many)->Arg(1)->Arg(2)->Unit(benchmark::kMillisecond)->UseRealTime();

void fit_many(benchmark::State& state) {
  const Wide wide = make_wide(327'346);
  const data::Batch batch = *wide.rows.batch();
  for (auto _ : state) {
    auto pipeline = Pipeline::fit({}, wide.spec, batch, wide.target);
    benchmark::DoNotOptimize(pipeline);
  }
}
BENCHMARK(fit_many)->Unit(benchmark::kMillisecond)->UseRealTime();

// What bench/features.py declares with scikit-learn too, in the same order of outputs.
const char* const kFlightsSpec = R"([
  {"columns": ["sched_dep_time", "sched_arr_time", "flight", "distance", "hour", "minute", "day", "month"],
   "apply": [{"impute": "median"}, "standardize"]},
  {"columns": ["origin", "carrier"], "apply": ["onehot"]},
  {"columns": "month", "suffix": "_of_year", "apply": ["onehot"]},
  {"columns": "distance", "suffix": "_binned", "apply": [{"bucketize": 10}, "onehot"]},
  {"columns": "time_hour", "apply": [{"datetime": {"parts": ["hour", "dow", "doy"], "cyclical": ["hour", "dow"]}}]},
  {"columns": ["dest", "tailnum"], "apply": [{"target_encode": {"smoothing": 20, "folds": 5}}]},
  {"columns": "tailnum", "suffix": "_hashed", "apply": [{"hash": 50}]}
])";

Result<Json> measure_flights(const std::string& folder) {
  auto engine = data::Engine::open({.memory_limit_mb = 1024});
  if (!engine) return engine.error();
  auto source = data::Source::of_file(folder + "/flights.csv");
  if (!source) return source.error();
  source->null_values = {"NA"};
  if (const auto added = (*engine)->add_source("flights", *source); !added) return added.error();
  const auto table = (*engine)->query({}, "SELECT * FROM flights WHERE arr_delay IS NOT NULL");
  if (!table) return table.error();
  const auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  const data::Batch batch = columns->batch();
  std::vector<double> target(static_cast<std::size_t>(batch.rows));
  const auto delay = columns->column("arr_delay");
  if (!delay) return delay.error();
  for (std::int64_t row = 0; row < batch.rows; ++row)
    target[static_cast<std::size_t>(row)] = delay->number(row) > 15 ? 1 : 0;
  const auto spec = PipelineSpec::from_json(*parse_json(kFlightsSpec));
  if (!spec) return spec.error();

  // The best of five, in wall-clock and in processor seconds.
  const auto seconds = [](auto&& body) {
    Json best = {{"wall_s", std::numeric_limits<double>::max()},
                 {"cpu_s", std::numeric_limits<double>::max()}};
    for (int i = 0; i < 5; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const std::clock_t cpu = std::clock();
      body();
      const double wall =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      const double spent = static_cast<double>(std::clock() - cpu) / CLOCKS_PER_SEC;
      best["wall_s"] = std::min(best["wall_s"].get<double>(), wall);
      best["cpu_s"] = std::min(best["cpu_s"].get<double>(), spent);
    }
    return best;
  };
  std::optional<Result<Fitted>> fitted;
  const Json fit_transform = seconds([&] {
    fitted.reset();
    fitted = Pipeline::fit_transform({}, *spec, batch, target, {.seed = 1});
  });
  if (!*fitted) return fitted->error();
  const Pipeline& pipeline = (*fitted)->pipeline;
  std::vector<float>& out = (*fitted)->matrix;
  const Json transform = seconds([&] { (void)pipeline.transform(batch, out); });

  std::vector<double> micros;
  std::vector<float> one(pipeline.outputs().size());
  for (std::int64_t i = 0; i < 20'000; ++i) {
    const data::Batch request = batch.slice(i * 16 % batch.rows, 1);
    const auto start = std::chrono::steady_clock::now();
    (void)pipeline.transform(request, one);
    micros.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - start)
            .count());
  }
  std::size_t different = 0;  // bits of a row alone, and of the same row in the batch
  for (std::int64_t row = 0; row < batch.rows; ++row) {
    (void)pipeline.transform(batch.slice(row, 1), one);
    different += std::memcmp(one.data(), out.data() + static_cast<std::size_t>(row) * one.size(),
                             one.size() * sizeof(float)) == 0
                     ? 0
                     : 1;
  }
  std::sort(micros.begin(), micros.end());
  Json sample = Json::array();
  for (std::size_t row = 0; row < 300; ++row) {
    Json values = Json::array();
    for (std::size_t c = 0; c < one.size(); ++c)
      values.push_back(json_number(out[row * 1000 * one.size() + c]));
    sample.push_back(std::move(values));
  }
  return Json{{"rows", batch.rows},
              {"outputs", pipeline.outputs().size()},
              {"threads", default_threads()},
              {"fit_transform_s", fit_transform["wall_s"]},
              {"fit_transform_cpu_s", fit_transform["cpu_s"]},
              {"transform_s", transform["wall_s"]},
              {"transform_cpu_s", transform["cpu_s"]},
              {"row_p50_us", micros[micros.size() / 2]},
              {"row_p99_us", micros[micros.size() * 99 / 100]},
              {"rows_with_other_bits_alone", different},
              {"sample_every", 1000},
              {"sample", std::move(sample)}};
}

// The property the whole module is built for, over as many odd rows as asked: the same bits by
// batch, by row, in any batch size and on any number of threads.
Result<Json> check_rows(std::size_t rows) {
  constexpr std::size_t kTrain = 20'000;
  constexpr std::size_t kAtOnce = 50'000;
  data::BatchBuilder train(test::odd_schema());
  Rng rng(21);
  test::append_odd_rows(train, rng, kTrain, /*wild=*/false);
  std::vector<double> target;
  for (std::size_t i = 0; i < kTrain; ++i) target.push_back(rng.uniform() < 0.3 ? 1 : 0);
  const auto spec = PipelineSpec::from_json(*parse_json(test::kEveryTransform));
  if (!spec) return spec.error();
  const auto pipeline = Pipeline::fit({}, *spec, *train.batch(), target);
  if (!pipeline) return pipeline.error();
  const std::size_t cols = pipeline->outputs().size();
  std::vector<float> whole(kAtOnce * cols);
  std::vector<float> other(kAtOnce * cols);
  data::BatchBuilder odd(test::odd_schema());
  std::size_t checked = 0;
  std::size_t different = 0;
  std::size_t infinite = 0;
  while (checked < rows) {
    const std::size_t count = std::min(kAtOnce, rows - checked);
    odd.clear();
    test::append_odd_rows(odd, rng, count);
    const data::Batch batch = *odd.batch();
    const std::span all(whole.data(), count * cols);
    if (const auto done = pipeline->transform(batch, all, 1); !done) return done.error();
    for (const float value : all) infinite += std::isinf(value) ? 1 : 0;
    const auto compare = [&](std::size_t begin, std::size_t size) {
      different += std::memcmp(other.data() + begin * cols, whole.data() + begin * cols,
                               size * cols * sizeof(float)) == 0
                       ? 0
                       : size;
    };
    for (const int threads : {2, 5}) {
      if (const auto done =
              pipeline->transform(batch, std::span(other.data(), count * cols), threads);
          !done)
        return done.error();
      compare(0, count);
    }
    for (const bool single : {true, false}) {
      for (std::size_t begin = 0; begin < count;) {
        const std::size_t size =
            single ? 1 : std::min<std::size_t>(1 + rng.below(900), count - begin);
        const auto done = pipeline->transform(
            batch.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(size)),
            std::span(other.data() + begin * cols, size * cols), 1);
        if (!done) return done.error();
        compare(begin, size);
        begin += size;
      }
    }
    checked += count;
  }
  return Json{
      {"rows", checked}, {"outputs", cols}, {"different", different}, {"infinite", infinite}};
}

}  // namespace
}  // namespace slipway::features

int main(int argc, char** argv) {
  const std::string_view how = argc == 3 ? argv[1] : "";
  if (how == "--flights" || how == "--rows") {
    const auto measured = how == "--flights"
                              ? slipway::features::measure_flights(argv[2])
                              : slipway::features::check_rows(std::strtoull(argv[2], nullptr, 10));
    if (!measured) {
      std::cerr << measured.error().message << "\n";
      return 1;
    }
    std::cout << measured->dump() << "\n";
    return 0;
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
