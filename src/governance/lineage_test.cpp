#include "governance/lineage.h"

#include <gtest/gtest.h>

#include "support/database.h"
#include "support/support.h"

namespace slipway::governance {
namespace {

using test::failed_with;
using test::ok;

struct LineageTest : ::testing::Test {
  test::Scratch scratch;
  ManualClock clock{test::kNoon2013};
  std::unique_ptr<db::Database> db =
      std::move(*db::Database::open(test::database_at(scratch / "test.db"), {}));
  std::unique_ptr<Lineage> lineage = std::move(*Lineage::open(*db, clock));
  Node file{NodeType::file, "aa11", {{"path", "flights.csv"}, {"size", 12}}};
  Node dataset{NodeType::dataset, "flights@0123456789abcdef"};
  Node run{NodeType::run, "00ff", {{"name", "train"}}};
  Node version{NodeType::model_version, "late/1"};
  Node deployment{NodeType::deployment, "late"};

  void chain() {
    ASSERT_TRUE(ok(lineage->record({}, {file, dataset, "ingest"})));
    ASSERT_TRUE(ok(lineage->record({}, {dataset, run, "train"})));
    ASSERT_TRUE(ok(lineage->record({}, {run, version, "register"})));
    ASSERT_TRUE(ok(lineage->record({}, {version, deployment, "deploy"})));
  }
};

TEST_F(LineageTest, TracesADeploymentBackToRawFiles) {
  chain();
  auto tree = lineage->trace(deployment, Direction::upstream);
  ASSERT_TRUE(ok(tree));
  const Tree* at = &*tree;
  for (const NodeType type : {NodeType::deployment, NodeType::model_version, NodeType::run,
                              NodeType::dataset, NodeType::file}) {
    EXPECT_EQ(at->node.type, type);
    if (type != NodeType::file) {
      ASSERT_EQ(at->branches.size(), 1u);
      at = &at->branches[0];
    }
  }
  EXPECT_EQ(at->node.facts["path"], "flights.csv");
  const std::string text = render_text(*tree);
  EXPECT_NE(text.find("file flights.csv"), std::string::npos) << text;
}

TEST_F(LineageTest, TracesAFileForwardToDeployments) {
  chain();
  auto tree = lineage->trace(file, Direction::downstream);
  ASSERT_TRUE(ok(tree));
  EXPECT_EQ(tree->branches.at(0).branches.at(0).branches.at(0).branches.at(0).node.id, "late");
}

TEST_F(LineageTest, RecordingAgainChangesNothingAndKeepsFacts) {
  chain();
  Node bare = run;
  bare.facts = Json::object();
  ASSERT_TRUE(ok(lineage->record({}, {dataset, bare, "train"})));
  auto tree = lineage->trace(run, Direction::upstream);
  ASSERT_TRUE(ok(tree));
  EXPECT_EQ(tree->branches.size(), 1u);
  EXPECT_EQ(tree->node.facts["name"], "train");
}

TEST_F(LineageTest, EndsWhereFeedbackClosesTheCircle) {
  chain();
  ASSERT_TRUE(ok(lineage->record({}, {deployment, dataset, "collect"})));
  auto tree = lineage->trace(version, Direction::upstream);
  ASSERT_TRUE(ok(tree));
  EXPECT_NE(render_text(*tree).find("shown above"), std::string::npos);
}

TEST_F(LineageTest, KnowsEveryKindOfNode) {
  const Node pipeline{NodeType::pipeline_run, "p1"};
  const Node commit{NodeType::commit, "abc123"};
  ASSERT_TRUE(ok(lineage->record({}, {commit, pipeline, "run"})));
  ASSERT_TRUE(ok(lineage->record({}, {pipeline, run, "train"})));
  auto tree = lineage->trace(run, Direction::upstream);
  ASSERT_TRUE(ok(tree));
  EXPECT_EQ(tree->to_json()["branches"][0]["branches"][0]["type"], "commit");
  for (const NodeType type :
       {NodeType::file, NodeType::dataset, NodeType::run, NodeType::model_version,
        NodeType::deployment, NodeType::pipeline_run, NodeType::commit}) {
    const auto parsed = parse_node_type(to_string(type));
    ASSERT_TRUE(ok(parsed));
    EXPECT_EQ(*parsed, type);
  }
  EXPECT_NE(test::message_of(parse_node_type("comit")).find("'commit'"), std::string::npos);
}

TEST_F(LineageTest, IsLostWithTheTransactionItWasRecordedIn) {
  const auto failed = db->write([&](db::Transaction& tx) -> Result<void> {
    if (auto noted = lineage->record(tx, {}, {dataset, run, "train"}); !noted) return noted;
    return failed_precondition("the change was refused");
  });
  EXPECT_TRUE(failed_with(failed, Code::failed_precondition));
  EXPECT_TRUE(failed_with(lineage->trace(run, Direction::upstream), Code::not_found));
}

TEST_F(LineageTest, LetsNoNameSteerTheTerminal) {
  file.facts["path"] = "a\x1b[2J\nb.csv";
  chain();
  const std::string text = render_text(*lineage->trace(dataset, Direction::upstream));
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
}

TEST_F(LineageTest, TakesTheSameEdgesFromManyThreads) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 10; ++i) EXPECT_TRUE(ok(lineage->record({}, {dataset, run, "train"})));
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(lineage->trace(run, Direction::upstream)->branches.size(), 1u);
}

TEST_F(LineageTest, SaysWhatItDoesNotKnow) {
  EXPECT_TRUE(failed_with(lineage->trace(version, Direction::upstream), Code::not_found));
}

}  // namespace
}  // namespace slipway::governance
