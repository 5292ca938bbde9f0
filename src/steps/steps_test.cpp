// The step kinds in one small pipeline after the other, run by the real engine on real stores.
#include "steps/steps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/steps_home.h"

namespace slipway::steps {
namespace {

using pipeline::RunReport;
using pipeline::RunState;
using pipeline::StepState;
using test::ok;
using test::step_named;
using test::StepsHome;
using ::testing::HasSubstr;

// 600 rows of January and February; late follows from x, with noise from the row's number.
void write_rows(const StepsHome& home) {
  std::ofstream rows(home.folder / "rows.csv");
  rows << "id,day,x,kind,late\n";
  for (int i = 0; i < 600; ++i) {
    const int x = i * 37 % 101;
    const int late = (x + i * 13 % 40 > 70) ? 1 : 0;
    const int day = i * 59 / 600;  // of the year
    rows << fmt::format("r{},2013-{:02}-{:02},{},{},{}\n", i, day < 31 ? 1 : 2,
                        day < 31 ? day + 1 : day - 30, x, "abc"[i % 3], late);
  }
}

const std::string kIngest = R"(name: small
seed: 7
steps:
  ingest:
    ingest:
      sources: {rows: {path: rows.csv, types: {day: timestamp}}}
      sql: SELECT * FROM rows
      dataset: rows
)";

const std::string kTrain = R"(  train:
    train:
      dataset: ${steps.ingest.dataset}
      window: {column: day, until: "2013-02-15"}
      target: late
      features:
        - {columns: [x], apply: [passthrough]}
        - {columns: [kind], apply: [onehot: {}]}
      trainer: {algorithm: xgboost, rounds: 20, max_depth: 3}
      model: small
  evaluate:
    evaluate:
      bundle: ${steps.train.bundle}
      run_id: ${steps.train.run_id}
      dataset: ${steps.ingest.dataset}
      window: {column: day, from: "2013-02-15"}
      target: late
)";

std::string registering(const std::string& gate) {
  return R"(  register:
    register:
      model: small
      bundle: ${steps.train.bundle}
      run_id: ${steps.train.run_id}
      evaluation: ${steps.evaluate.evaluation}
      gate: )" +
         gate + "\n      alias: champion\n";
}

const std::string kDeploy = R"(  deploy:
    deploy: {name: small, model: "${steps.register.model}", alias: champion}
)";

std::unique_ptr<StepsHome> home_with_rows() {
  auto home = std::make_unique<StepsHome>();
  EXPECT_TRUE(ok(home->opened));
  write_rows(*home);
  return home;
}

TEST(Steps, TakeRawRowsToADeployment) {
  const auto home = home_with_rows();
  const auto run = home->run(kIngest + kTrain + registering("auc >= 0.6") + kDeploy);
  ASSERT_TRUE(ok(run));
  ASSERT_EQ(run->state, RunState::succeeded) << run->error;

  const auto dataset = home->datasets->resolve("rows");
  ASSERT_TRUE(ok(dataset));
  EXPECT_EQ(home->datasets->manifest(*dataset)->rows, 600);
  const auto champion = home->registry->find_by_alias("small", "champion");
  ASSERT_TRUE(ok(champion));
  EXPECT_EQ(champion->digest, step_named(*run, "train").outputs["bundle"].get<std::string>());
  EXPECT_EQ(champion->tags.at("slipway.gate"), "passed");
  const auto deployment = home->deployments->get("small");
  ASSERT_TRUE(ok(deployment));
  EXPECT_EQ(deployment->alias, "champion");
  // The thread from the version back to the file.
  const auto tree = home->lineage->trace({governance::NodeType::model_version, "small/1"},
                                         governance::Direction::upstream);
  ASSERT_TRUE(ok(tree));
  EXPECT_THAT(governance::render_text(*tree), HasSubstr("rows.csv"));
  // Every arrow is in the audit log.
  const auto entries = home->audit->list({.limit = 1000});
  ASSERT_TRUE(ok(entries));
  std::set<std::string> actions;
  for (const audit::Entry& entry : *entries) actions.insert(entry.event.action);
  for (const char* action : {"dataset.commit", "version.create", "alias.set", "pipeline.end"})
    EXPECT_THAT(actions, ::testing::Contains(action));
}

TEST(Steps, RegisterTheSameWorkOnce) {
  const auto home = home_with_rows();
  const std::string text = kIngest + kTrain + registering("auc >= 0.6");
  const auto first = home->run(text);
  ASSERT_TRUE(ok(first));
  // As after a kill between the version and the record of the step.
  const auto again = home->run(text, {.from_step = "register"});
  ASSERT_TRUE(ok(again));
  EXPECT_EQ(step_named(*again, "register").state, StepState::succeeded);
  EXPECT_EQ(step_named(*again, "register").outputs["version"], 1);
  EXPECT_EQ(home->registry->versions("small")->size(), 1U);
}

TEST(Steps, RegisterAnewWhatWasDeleted) {
  const auto home = home_with_rows();
  const std::string text = kIngest + kTrain + registering("auc >= 2");  // no alias keeps it
  ASSERT_TRUE(ok(home->run(text)));
  Context ctx;
  ASSERT_TRUE(ok(home->registry->delete_version(ctx, "small", 1)));
  const auto again = home->run(text);
  ASSERT_TRUE(ok(again));
  EXPECT_THAT(step_named(*again, "register").why, HasSubstr("was deleted"));
  EXPECT_EQ(step_named(*again, "train").state, StepState::cached);
  EXPECT_EQ(step_named(*again, "register").outputs["version"], 2);
}

TEST(Steps, KeepWhyAGateSaidNo) {
  const auto home = home_with_rows();
  const auto run = home->run(kIngest + kTrain + registering("auc >= 0.9999") + kDeploy);
  ASSERT_TRUE(ok(run));
  EXPECT_EQ(run->state, RunState::refused);
  EXPECT_EQ(step_named(*run, "register").state, StepState::refused);
  EXPECT_EQ(step_named(*run, "deploy").state, StepState::skipped);
  EXPECT_FALSE(home->registry->find_by_alias("small", "champion"));
  const auto gates = home->registry->gates("small", 1);
  ASSERT_TRUE(ok(gates));
  ASSERT_EQ(gates->size(), 1U);
  EXPECT_FALSE(gates->front().passed);
  EXPECT_THAT(gates->front().decision.value("reason", ""), HasSubstr("auc"));
}

TEST(Steps, MakeTheSameBytesFromTheSameSeed) {
  std::set<std::string> bundles;
  for (int i = 0; i < 2; ++i) {
    const auto home = home_with_rows();
    const auto run = home->run(kIngest + kTrain);
    ASSERT_TRUE(ok(run));
    ASSERT_EQ(run->state, RunState::succeeded) << run->error;
    const std::string digest = step_named(*run, "train").outputs["bundle"];
    const auto files = home->blobs->tree(digest);
    ASSERT_TRUE(ok(files));
    for (const auto& file : *files) {
      if (file.path == "model.ubj") bundles.insert(file.sha256);
    }
  }
  EXPECT_EQ(bundles.size(), 1U);
}

TEST(Steps, SetBadRowsAside) {
  const auto home = home_with_rows();
  const auto run = home->run(kIngest + R"(  check:
    validate:
      dataset: ${steps.ingest.dataset}
      as: clean
      expectations:
        - {check: range, column: x, min: 0, max: 90, on_fail: quarantine}
)");
  ASSERT_TRUE(ok(run));
  ASSERT_EQ(run->state, RunState::succeeded) << run->error;
  int bad = 0;
  for (int i = 0; i < 600; ++i) bad += i * 37 % 101 > 90 ? 1 : 0;
  EXPECT_EQ(home->datasets->manifest(*home->datasets->resolve("clean"))->rows, 600 - bad);
}

TEST(Steps, StopBeforeBadData) {
  const auto home = home_with_rows();
  const auto run = home->run(kIngest + R"(  check:
    validate:
      dataset: ${steps.ingest.dataset}
      expectations: [{check: row_count, min: 1000}]
  after: {command: 'true', needs: [check]}
)");
  ASSERT_TRUE(ok(run));
  EXPECT_EQ(run->state, RunState::refused);
  EXPECT_EQ(step_named(*run, "after").state, StepState::skipped);
}

TEST(Steps, RefuseAFeatureFromTheFuture) {
  const auto home = home_with_rows();
  std::string text = kIngest + kTrain;
  const std::string target = "      target: late\n      features";
  text.replace(
      text.find(target), target.size(),
      "      target: late\n      known: {decision: -1h, columns: {x: 0m}}\n      features");
  const auto run = home->run(text);
  const std::string said = run ? run->error : run.error().message;
  EXPECT_THAT(said, HasSubstr("x"));
  EXPECT_THAT(said, HasSubstr("known"));
}

TEST(Steps, RunOnlyWhatANewFileTouches) {
  const auto home = home_with_rows();
  const std::string text =
      kIngest + R"(  other: {command: 'echo 1 > $SLIPWAY_OUTPUT_OUT', outputs: [out]}
)";
  ASSERT_TRUE(ok(home->run(text)));
  std::ofstream(home->folder / "rows.csv", std::ios::app) << "r600,2013-03-01,5,a,0\n";
  const auto again = home->run(text);
  ASSERT_TRUE(ok(again));
  EXPECT_EQ(step_named(*again, "ingest").state, StepState::succeeded);
  EXPECT_EQ(step_named(*again, "other").state, StepState::cached);
  EXPECT_EQ(home->datasets->manifest(*home->datasets->resolve("rows"))->rows, 601);
}

}  // namespace
}  // namespace slipway::steps
