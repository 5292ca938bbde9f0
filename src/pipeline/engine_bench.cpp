// A graph of 200 steps, 10 wide and 20 deep, that do nothing: what the engine itself costs.
#include <benchmark/benchmark.h>

#include "support/pipeline_home.h"

namespace slipway::pipeline {
namespace {

constexpr int kWide = 10;
constexpr int kDeep = 20;

std::string graph(std::string_view step) {
  std::string text = "name: noop\nsteps:\n";
  for (int level = 0; level < kDeep; ++level) {
    for (int i = 0; i < kWide; ++i) {
      text += fmt::format("  s{}_{}: {{{}, needs: [", level, i, step);
      for (int need = 0; level > 0 && need < kWide; ++need)
        text += fmt::format("{}s{}_{}", need > 0 ? ", " : "", level - 1, need);
      text += "]}\n";
    }
  }
  return text;
}

// Full runs in fresh homes, durable as in production.
void full(benchmark::State& state, std::string_view step) {
  const SystemClock clock;
  const std::string text = graph(step);
  for (auto _ : state) {
    state.PauseTiming();
    const test::Scratch scratch;
    test::PipelineHome home(scratch.path(), clock, true);
    state.ResumeTiming();
    const auto spec = home.parse(text);
    const auto report = home.engine->run(Context(clock), *spec);
    if (!report || report->state != RunState::succeeded) state.SkipWithError("the run failed");
    state.PauseTiming();
    home.engine.reset();
    state.ResumeTiming();
  }
  state.SetItemsProcessed(state.iterations() * kWide * kDeep);
}

void cached(benchmark::State& state, std::string_view step) {
  const SystemClock clock;
  const std::string text = graph(step);
  const test::Scratch scratch;
  test::PipelineHome home(scratch.path(), clock, true);
  (void)home.engine->run(Context(clock), *home.parse(text));
  for (auto _ : state) {
    const auto spec = home.parse(text);
    const auto report = home.engine->run(Context(clock), *spec);
    if (!report || report->state != RunState::succeeded) state.SkipWithError("the run failed");
  }
  state.SetItemsProcessed(state.iterations() * kWide * kDeep);
}

BENCHMARK_CAPTURE(full, in_process, "probe: {}")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->Iterations(5);
BENCHMARK_CAPTURE(full, command, "command: \"true\"")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime()
    ->Iterations(5);
BENCHMARK_CAPTURE(cached, in_process, "probe: {}")->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(cached, command, "command: \"true\"")
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace slipway::pipeline
