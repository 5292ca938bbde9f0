#include "governance/modelcard.h"

#include <gmock/gmock.h>

#include "support/support.h"

namespace slipway::governance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

registry::ModelVersion version() {
  registry::ModelVersion one;
  one.model = "late";
  one.number = 3;
  one.user = "ann";
  one.description = "Will this flight arrive late?";
  one.created = test::kNoon2013;
  one.digest = std::string(64, 'b');
  one.run_id = std::string(32, 'a');
  one.aliases = {"champion"};
  one.tags = {{"slipway.card.users", "dispatchers"},
              {"slipway.card.limitations", "- trained on one winter\n- New York only\n"},
              {"slipway.gate", "passed"}};
  one.metadata = {
      {"inputs",
       {{{"name", "carrier"}, {"type", "text"}, {"nullable", false}},
        {{"name", "wind"}, {"type", "float64"}, {"nullable", true}}}},
      {"metrics", {{"auc", 0.71}}},
      {"provenance",
       {{"dataset", "flights@3fa9"},
        {"rows", 80789},
        {"seed", 7},
        {"code_commit", "abc123"},
        {"trainer", {{"kind", "xgboost"}}},
        {"window", {{"column", "time_hour"}, {"from", "2013-01-01"}, {"until", "2013-04-01"}}}}}};
  return one;
}

ModelCardFacts full() {
  ModelCardFacts facts = facts_of(version());
  facts.statements.use_cases = "planning";
  facts.statements.ethical_considerations = "passengers may be rebooked for nothing";
  facts.statements.license = "Apache-2.0";
  facts.evaluation = {
      {"task", "binary"},
      {"rows", 1000},
      {"label_rate", 0.2},
      {"mean_score", 0.21},
      {"confidence", 0.9},
      {"threshold", 0.5},
      {"metrics", {{"auc", 0.7012}, {"log_loss", 0.5123}}},
      {"intervals", {{"auc", {0.68, 0.72}}}},
      {"naive", {{"auc", 0.5}}},
      {"champion_name", "late/2"},
      {"champion", {{"auc", 0.69}}},
      {"confusion",
       {{"true_positive", 1}, {"false_positive", 2}, {"true_negative", 3}, {"false_negative", 4}}},
      {"slices",
       {{{"column", "carrier"},
         {"value", "UA"},
         {"rows", 300},
         {"label_rate", 0.1},
         {"mean_score", 0.1},
         {"metrics", {{"auc", 0.65}}}}}}};
  facts.gate = {
      {"passed", true},
      {"reason", "both conditions hold"},
      {"clauses", {{{"text", "auc >= 0.64"}, {"ok", true}, {"reason", "0.7012 >= 0.64"}}}}};
  Tree tree{.node = {NodeType::model_version, "late/3"}};
  tree.branches.push_back({.node = {NodeType::run, std::string(32, 'a'), {{"name", "train"}}},
                           .activity = "register",
                           .at = test::kNoon2013});
  facts.lineage = tree;
  return facts;
}

TEST(ModelCard, TellsWhatIsKnown) {
  const std::string text = model_card_markdown(full());
  for (const char* part : {"# late, version 3\n",
                           "Will this flight arrive late?",
                           "| Created | 2013-04-01T12:00:00Z |",
                           "| Owner | ann |",
                           "| Aliases | champion |",
                           "| Dataset | `flights@3fa9` |",
                           "| Window | `time_hour` from 2013-01-01 until 2013-04-01 |",
                           "| `carrier` | text | no |",
                           "| `wind` | float64 | yes |",
                           "| Metric | Value | 90 % interval | Naive model | Champion (late/2) |",
                           "| auc | 0.7012 | 0.68 to 0.72 | 0.5 | 0.69 |",
                           "| log\\_loss | 0.5123 | – | – | – |",
                           "| carrier = UA | 300 | 0.1 | 0.1 | 0.65 |",
                           "1 true and 2 false positives, 3 true and 4 false negatives",
                           "**Passed:** both conditions hold.",
                           "| auc &gt;= 0.64 | yes |",
                           "- trained on one winter\n- New York only\n",
                           "| Code commit | `abc123` |",
                           "model_version late/3",
                           "└─ run aaaaaaaaaaaa train"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  EXPECT_THAT(text, Not(HasSubstr("## Gaps")));
}

TEST(ModelCard, ListsWhatNobodySaid) {
  EXPECT_TRUE(model_card_gaps(full()).empty());
  ModelCardFacts facts = full();
  facts.statements.users.clear();
  facts.evaluation = nullptr;
  EXPECT_THAT(model_card_gaps(facts),
              ElementsAre("intended users", "an evaluation", "performance by slice"));
  const std::string text = model_card_markdown(facts);
  EXPECT_THAT(text, HasSubstr("## Intended users\n\n_Not stated._"));
  EXPECT_THAT(text, HasSubstr("no separate evaluation is recorded"));
  EXPECT_THAT(text, HasSubstr("This card does not tell:\n\n- intended users\n"));
  // Of nothing at all there is still a card.
  EXPECT_THAT(model_card_markdown({}), HasSubstr("_Not measured._"));
  EXPECT_EQ(model_card_gaps({}).size(), 14U);
}

TEST(ModelCard, IsTheSameForTheSameFacts) {
  EXPECT_EQ(model_card_markdown(full()), model_card_markdown(full()));
  ModelCardFacts changed = full();
  changed.evaluation["metrics"]["auc"] = 0.7013;
  EXPECT_NE(model_card_markdown(full()), model_card_markdown(changed));
}

TEST(ModelCard, LetsNoTextBreakOutOfItsPlace) {
  ModelCardFacts facts = full();
  facts.description = "<script>alert(1)</script> | a | b |\n# heading\x1b[31m";
  facts.inputs = {{{"name", "a`|b"}, {"type", "text"}}};
  facts.lineage->node.id = "late/3\n```\n# heading";
  const std::string text = model_card_markdown(facts);
  EXPECT_THAT(text, Not(HasSubstr("<script>")));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));
  EXPECT_THAT(text, HasSubstr("| `ab` | text |"));
  EXPECT_THAT(text, Not(HasSubstr("\n# heading")));
}

TEST(ModelCard, HasTheToolkitsJsonForm) {
  const Json card = model_card_json(full());
  std::vector<std::string> keys;
  for (const auto& [key, value] : card.items()) keys.push_back(key);
  EXPECT_THAT(keys, ElementsAre("considerations", "model_details", "model_parameters",
                                "quantitative_analysis", "schema_version"));
  EXPECT_EQ(card["model_details"]["name"], "late");
  EXPECT_EQ(card["model_details"]["version"], (Json{{"name", "3"}, {"date", "2013-04-01"}}));
  EXPECT_EQ(card["model_details"]["licenses"][0]["identifier"], "Apache-2.0");
  const Json& metrics = card["quantitative_analysis"]["performance_metrics"];
  ASSERT_EQ(metrics.size(), 3U);
  EXPECT_EQ(metrics[0],
            (Json{{"type", "auc"},
                  {"value", 0.7012},
                  {"confidence_interval", {{"lower_bound", 0.68}, {"upper_bound", 0.72}}}}));
  EXPECT_EQ(metrics[2]["slice"], "carrier=UA");
  EXPECT_EQ(card["considerations"]["limitations"][1]["description"], "New York only");
  EXPECT_EQ(card["considerations"]["ethical_considerations"][0]["name"],
            "passengers may be rebooked for nothing");
  EXPECT_TRUE(model_card_json({}).contains("considerations"));
}

}  // namespace
}  // namespace slipway::governance
