// How long appending and verifying take as the log grows. The bar: one million entries verified in
// 10 s.
#include <benchmark/benchmark.h>

#include "audit/audit.h"
#include "db/database.h"
#include "support/support.h"

namespace slipway::audit {
namespace {

struct BenchLog {
  explicit BenchLog(std::int64_t entries)
      : db(std::move(*db::Database::open(scratch / "slipway.db", {.durable = false}))),
        log(std::move(*Log::open(*db, scratch / "keys", clock))) {
    append(entries);
    (void)log->checkpoint();
  }

  void append(std::int64_t count) {
    constexpr std::int64_t kBatch = 5000;
    for (std::int64_t done = 0; done < count; done += kBatch) {
      auto written = db->write([&](db::Transaction& tx) -> Result<void> {
        for (std::int64_t i = done; i < std::min(count, done + kBatch); ++i) {
          auto entry = log->append(tx, {"ann",
                                        "alias.set",
                                        "models/flights@champion",
                                        std::string(64, 'd'),
                                        {{"version", i}}});
          if (!entry) return entry.error();
        }
        return {};
      });
      if (!written) std::abort();
    }
  }

  test::Scratch scratch;
  ManualClock clock{test::kNoon2013};
  std::unique_ptr<db::Database> db;
  std::unique_ptr<Log> log;
};

void BM_Append(benchmark::State& state) {
  BenchLog bench(0);
  for (auto _ : state) bench.append(1000);
  state.SetItemsProcessed(state.iterations() * 1000);
}
BENCHMARK(BM_Append)->Unit(benchmark::kMillisecond)->UseRealTime();

void BM_Verify(benchmark::State& state) {
  const BenchLog bench(state.range(0));
  for (auto _ : state) {
    const auto verification = bench.log->verify();
    if (!verification || !verification->ok) state.SkipWithError("the log does not verify");
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_Verify)->Arg(10'000)->Arg(1'000'000)->Unit(benchmark::kMillisecond)->Iterations(1);

void BM_InclusionProof(benchmark::State& state) {
  const BenchLog bench(state.range(0));
  for (auto _ : state)
    benchmark::DoNotOptimize(bench.log->inclusion_proof(state.range(0) / 3, state.range(0)));
}
BENCHMARK(BM_InclusionProof)->Arg(10'000);

}  // namespace
}  // namespace slipway::audit
