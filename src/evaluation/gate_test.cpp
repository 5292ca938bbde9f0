#include "evaluation/gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::evaluation {
namespace {

using test::ok;
using ::testing::HasSubstr;

TEST(Gate, DecidesClauseByClause) {
  const auto gate = Gate::parse("auc >= 0.64 and ece <= 0.05 and log_loss <= champion.log_loss");
  ASSERT_TRUE(ok(gate));
  EXPECT_TRUE(gate->needs_champion());
  const auto passed = gate->decide(
      {{"auc", 0.7}, {"ece", 0.02}, {"log_loss", 0.4}, {"champion.log_loss", 0.41}}, true);
  EXPECT_TRUE(passed.passed);
  EXPECT_EQ(passed.reason, "all 3 clauses hold");
  const auto refused = gate->decide(
      {{"auc", 0.63}, {"ece", 0.02}, {"log_loss", 0.4}, {"champion.log_loss", 0.41}}, true);
  EXPECT_FALSE(refused.passed);
  EXPECT_EQ(refused.reason, "refused: auc >= 0.64 (0.63 < 0.64)");
  EXPECT_FALSE(refused.clauses[0].ok);
  EXPECT_TRUE(refused.clauses[2].ok);
  EXPECT_EQ(refused.clauses[2].right, 0.41);
}

TEST(Gate, PassesChampionClausesWhileThereIsNone) {
  const auto gate =
      Gate::parse("auc >= 0.64 and improvement.auc.low > 0 and log_loss <= champion.log_loss");
  ASSERT_TRUE(ok(gate));
  const auto decision = gate->decide({{"auc", 0.7}, {"log_loss", 0.4}}, false);
  EXPECT_TRUE(decision.passed);
  EXPECT_EQ(decision.clauses[1].reason, "no champion yet");
  EXPECT_EQ(decision.clauses[2].reason, "no champion yet");
  // With a champion, a missing value of it is a reason to refuse.
  EXPECT_FALSE(gate->decide({{"auc", 0.7}, {"log_loss", 0.4}}, true).passed);
}

TEST(Gate, RefusesWhatIsUndefined) {
  const auto gate = Gate::parse("auc >= 0.64");
  ASSERT_TRUE(ok(gate));
  const auto decision = gate->decide({{"log_loss", 0.4}}, false);
  EXPECT_FALSE(decision.passed);
  EXPECT_EQ(decision.clauses[0].reason, "auc is undefined on these rows");
}

TEST(Gate, ReadsSlices) {
  const auto gate = Gate::parse("worst.carrier.auc >= 0.6 and slices.carrier.`9E`.auc > 0.5");
  ASSERT_TRUE(ok(gate));
  EXPECT_TRUE(
      gate->decide({{"worst.carrier.auc", 0.6}, {"slices.carrier.9E.auc", 0.6}}, false).passed);
}

TEST(Gate, NamesTheNearestValueForAWrongOne) {
  EXPECT_THAT(test::message_of(Gate::parse("auk >= 0.64")), HasSubstr("did you mean 'auc'?"));
  EXPECT_THAT(test::message_of(Gate::parse("log_loss <= champion.logloss")),
              HasSubstr("did you mean 'champion.log_loss'?"));
}

TEST(Gate, TellsThePlaceInTheDeclaration) {
  const auto document =
      SpecDocument::parse("name: x\ngate: auc >= 0.64 adn ece < 1\n", "pipeline.yaml");
  ASSERT_TRUE(ok(document));
  SpecReader reader(*document);
  static_cast<void>(reader.text("name"));
  EXPECT_FALSE(Gate::read(reader, "gate").has_value());
  const auto problems = reader.finish();
  EXPECT_THAT(test::message_of(problems), HasSubstr("pipeline.yaml:2:"));
  EXPECT_THAT(test::message_of(problems), HasSubstr("column 13"));
}

TEST(Decision, SurvivesJson) {
  const auto decision =
      Gate::parse("auc >= 0.64 and ece < champion.ece")->decide({{"auc", 0.5}}, false);
  const auto back = Decision::from_json(decision.to_json());
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(back->to_json(), decision.to_json());
  EXPECT_THAT(decision.render_text(), HasSubstr("NO   auc >= 0.64  (0.5 < 0.64)"));
  EXPECT_FALSE(ok(Decision::from_json(Json::array())));
}

}  // namespace
}  // namespace slipway::evaluation
