// Views of a key's past from training to a served single row, by the real steps and stores.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/engine.h"
#include "serving/model_source.h"
#include "support/steps_home.h"

namespace slipway::steps {
namespace {

using pipeline::RunState;
using test::ok;
using test::StepsHome;

void write_past(const StepsHome& home, int events, int delay) {
  std::ofstream history(home.folder / "history.csv", std::ios::app);
  if (delay == 0) history << "airline,landed,told,delay\n";
  for (int i = 0; i < events; ++i) {
    const int minute = i * 7919 % 1440;
    const int told = minute + i % 40;
    history << fmt::format("C{},2013-02-{:02} {:02}:{:02}:00,2013-02-{:02} {:02}:{:02}:00,{}\n",
                           i % 5, 1 + delay, minute / 60, minute % 60, 1 + delay + told / 1440,
                           told / 60 % 24, told % 60, delay * 100 + i * 31 % 67);
  }
}

void write_decisions(const StepsHome& home) {
  std::ofstream rows(home.folder / "rows.csv");
  rows << "carrier,decision,x,late\n";
  for (int i = 0; i < 500; ++i) {
    const int minute = i * 1440 / 500;
    rows << fmt::format("C{},2013-02-01 {:02}:{:02}:30,{},{}\n", i % 6, minute / 60, minute % 60,
                        i * 37 % 101, i * 37 % 101 + i % 6 * 10 > 80 ? 1 : 0);
  }
}

const char* const kPipeline = R"(name: past
seed: 7
steps:
  history:
    ingest:
      sources: {history: {path: history.csv, types: {landed: timestamp, told: timestamp, delay: float64, airline: text}}}
      sql: SELECT * FROM history
      dataset: history
  rows:
    ingest:
      sources: {rows: {path: rows.csv, types: {decision: timestamp, x: float64, carrier: text, late: int64}}}
      sql: SELECT * FROM rows
      dataset: rows
  train:
    train:
      dataset: ${steps.rows.dataset}
      window: {column: decision}
      target: late
      views:
        - name: past
          dataset: ${steps.history.dataset}
          by: {carrier: airline}
          at: decision
          event: landed
          known: told
          ttl: 3h
          values: {last: {of: delay}, mean: {of: delay, stat: mean, within: 1h}, count: {stat: count, within: 1h}}
      features:
        - {columns: "past.*", apply: [impute: {strategy: median, indicator: true}]}
        - {columns: x, apply: [standardize]}
        - {select: {by: importance, above: -1}}
      trainer: {algorithm: xgboost, rounds: 20, max_depth: 3}
      model: past
  register:
    register: {model: past, bundle: "${steps.train.bundle}", run_id: "${steps.train.run_id}", alias: champion}
)";

TEST(Views, ServeASingleRowWithThePastItsModelWasTrainedOn) {
  StepsHome home;
  ASSERT_TRUE(ok(home.opened));
  write_past(home, 400, 0);
  write_decisions(home);
  const auto run = home.run(kPipeline);
  ASSERT_TRUE(ok(run));
  ASSERT_EQ(run->state, RunState::succeeded) << run->error;
  const auto record = home.views->find("past");
  ASSERT_TRUE(ok(record));
  EXPECT_EQ(record->version, home.datasets->resolve("history")->text());

  // As a server does it: the bundle of the alias, and the views in memory.
  serving::RegistrySource source(*home.db, *home.registry, *home.blobs, home.scratch / "cache");
  source.serve_mlflow(*home.tracking, {.views = home.live_views});
  const auto version = source.resolve("past", "champion");
  ASSERT_TRUE(ok(version));
  ASSERT_TRUE(ok(home.live_views->refresh({})));
  const auto scorer = source.load(version->digest);
  ASSERT_TRUE(ok(scorer));
  EXPECT_EQ((*scorer)->inputs().names(), (std::vector<std::string>{"carrier", "decision", "x"}));

  const auto ref = home.datasets->resolve("rows");
  const auto columns = data::Columns::from_table(*home.datasets->load({}, *ref));
  const data::Batch batch = columns->batch();
  std::vector<double> whole(static_cast<std::size_t>(batch.rows));
  ASSERT_TRUE(ok((*scorer)->score(batch, whole)));
  for (std::int64_t row = 0; row < batch.rows; ++row) {
    std::vector<double> one(1);
    ASSERT_TRUE(ok((*scorer)->score(batch.slice(row, 1), one)));
    ASSERT_EQ(one[0], whole[static_cast<std::size_t>(row)]) << "row " << row;
  }

  // A history that has grown by later events: a new snapshot, the same answers for the past, and
  // the certificate, which looks up again, still holds.
  write_past(home, 400, 1);
  const auto grown =
      home.run(std::string(kPipeline).substr(0, std::string_view(kPipeline).find("  rows:")));
  ASSERT_TRUE(ok(grown));
  ASSERT_TRUE(ok(home.views->materialise({}, record->spec)));
  EXPECT_TRUE(*home.live_views->refresh({}));
  EXPECT_EQ(home.live_views->find("past")->events(), 800);
  std::vector<double> again(whole.size());
  ASSERT_TRUE(ok((*scorer)->score(batch, again)));
  EXPECT_EQ(again, whole);
  ASSERT_TRUE(ok(source.load(version->digest)));

  // Without its view the model cannot be served, and says so.
  ASSERT_TRUE(ok(home.views->drop({}, "past")));
  ASSERT_TRUE(ok(home.live_views->refresh({})));
  EXPECT_THAT(test::message_of(source.load(version->digest)),
              ::testing::HasSubstr("not materialised here"));
}

}  // namespace
}  // namespace slipway::steps
