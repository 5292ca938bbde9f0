#include "evaluation/expression.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "support/support.h"

namespace slipway::evaluation {
namespace {

using test::ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::map<std::string, double, std::less<>> kValues = {{"auc", 0.7},
                                                            {"ece", 0.03},
                                                            {"champion.log_loss", 0.5},
                                                            {"log_loss", 0.45},
                                                            {"drift.dep delay.psi", 0.3},
                                                            {"zero", 0}};

std::optional<double> look(std::string_view name) {
  const auto found = kValues.find(name);
  return found == kValues.end() ? std::nullopt : std::optional(found->second);
}

TEST(Expression, EvaluatesConditions) {
  const std::vector<std::tuple<std::string, std::optional<bool>>> rows = {
      {"auc >= 0.64 and ece <= 0.05 and log_loss <= champion.log_loss", true},
      {"auc > 0.7", false},
      {"not auc > 0.7", true},
      {"not (auc > 0.6 or ece > 1)", false},
      {"abs(log_loss - champion.log_loss) > 0.04", true},
      {"max(auc, 0.9, ece) == 0.9", true},
      {"min(auc, 0.9) == auc", true},
      {"-auc < -0.6", true},
      {"- -auc == auc", true},
      {"1 + 2 * 3 == 7", true},
      {"(1 + 2) * 3 == 9", true},
      {"8 / 4 / 2 == 1", true},
      {"5 - 3 - 1 == 1", true},
      {"1e-2 < ece and .5 < auc", true},
      {"drift.`dep delay`.psi > 0.2", true},
      {"log_loss > 1.1 * champion.log_loss", false},
      // Kleene: unknown unless the rest decides.
      {"missing > 1", std::nullopt},
      {"missing > 1 and auc > 0.9", false},
      {"missing > 1 and auc > 0.6", std::nullopt},
      {"missing > 1 or auc > 0.6", true},
      {"not missing > 1", std::nullopt},
      {"1 / zero > 0", std::nullopt},
      {"0 / zero == 0", std::nullopt},
  };
  for (const auto& [text, want] : rows) {
    SCOPED_TRACE(text);
    const auto expression = Expression::parse_condition(text);
    ASSERT_TRUE(ok(expression)) << ok(expression);
    EXPECT_EQ(expression->test(look), want);
  }
}

TEST(Expression, EvaluatesNumbers) {
  const auto expression = Expression::parse_number("2 * (auc - 0.2) / max(zero, 2)");
  ASSERT_TRUE(ok(expression));
  EXPECT_NEAR(expression->number(look).value_or(0), 0.5, 1e-12);
  EXPECT_THAT(expression->names(), ElementsAre("auc", "zero"));
}

TEST(Expression, SaysWhereAndWhatIsWrong) {
  const std::vector<std::tuple<std::string, std::string, std::string>> rows = {
      {"", "column 1", "found the end"},
      {"auc >", "column 6", "expected a number, a name or '('"},
      {"auc >= 0.64 adn ece < 1", "column 13", "did you mean 'and'?"},
      {"auc = 0.5", "column 5", "'=='"},
      {"auc >= 0.5 && ece < 1", "column 12", "'and'"},
      {"0 < auc < 1", "column 9", "do not chain"},
      {"auc", "column 1", "a condition is wanted"},
      {"auc > 1 and ece", "column 13", "a condition is wanted"},
      {"(auc > 1) + 2 > 3", "column 1", "a number is wanted"},
      {"not auc", "column 5", "a condition is wanted"},
      {"(auc > 1", "column 9", "expected ')'"},
      {"sqrt(auc) > 1", "column 1", "unknown function 'sqrt'"},
      {"abs(auc, 1) > 1", "column 1", "takes one number, found 2"},
      {"max(auc) > 1", "column 1", "two numbers or more"},
      {"champion. > 1", "column 10", "ends in a dot"},
      {"`auc > 1", "column 1", "never closed"},
      {"2auc > 1", "column 1", "run into each other"},
      {"1e999 > 1", "column 1", "out of range"},
      {"auc > 1 #", "column 9", "unexpected character '#'"},
      {"auc \xc3\xa4", "column 5", "0xc3"},
  };
  for (const auto& [text, place, what] : rows) {
    SCOPED_TRACE(text);
    const auto expression = Expression::parse_condition(text);
    ASSERT_TRUE(test::failed_with(expression, Code::invalid_argument));
    EXPECT_THAT(expression.error().message, HasSubstr(place + " of"));
    EXPECT_THAT(expression.error().message, HasSubstr(what));
  }
}

TEST(Expression, ChecksNamesAgainstAVocabulary) {
  const Vocabulary known{.names = {"auc", "log_loss", "champion.log_loss"}, .prefixes = {"drift."}};
  EXPECT_TRUE(
      ok(Expression::parse_condition("auc > 0 and drift.temp.psi > 1")->check_names(known)));
  const auto wrong = Expression::parse_condition("auc > 0 and log_los < 1")->check_names(known);
  EXPECT_THAT(test::message_of(wrong), HasSubstr("column 13"));
  EXPECT_THAT(test::message_of(wrong), HasSubstr("did you mean 'log_loss'?"));
  EXPECT_FALSE(Expression::parse_condition("drift. > 1").has_value());
}

TEST(Expression, GivesTheClausesOfAConjunction) {
  const auto expression =
      Expression::parse_condition("auc >= 0.64 and (ece <= 0.01 or missing > 1)");
  ASSERT_TRUE(ok(expression));
  const auto clauses = expression->clauses(look);
  ASSERT_EQ(clauses.size(), 2U);
  EXPECT_EQ(clauses[0].text, "auc >= 0.64");
  EXPECT_EQ(clauses[0].holds, true);
  EXPECT_EQ(clauses[0].left, 0.7);
  EXPECT_EQ(clauses[0].right, 0.64);
  EXPECT_EQ(clauses[1].text, "(ece <= 0.01 or missing > 1)");
  EXPECT_EQ(clauses[1].holds, std::nullopt);
  EXPECT_THAT(clauses[1].names, ElementsAre("ece", "missing"));
}

TEST(Expression, CapsDepthAndLength) {
  const auto nested = [](std::string_view open, std::size_t times, const std::string& inner,
                         std::string_view close) {
    std::string text;
    for (std::size_t i = 0; i < times; ++i) text += open;
    text += inner;
    for (std::size_t i = 0; i < times; ++i) text += close;
    return text;
  };
  EXPECT_TRUE(ok(Expression::parse_condition(nested("(", 60, "auc > 1", ")"))));
  for (const auto& text :
       {nested("(", 200, "auc > 1", ")"), nested("not ", 200, "auc > 1", ""),
        nested("-", 200, "auc", "") + " > 1", nested("abs(", 200, "auc", ")") + " > 1"}) {
    EXPECT_THAT(test::message_of(Expression::parse_condition(text)), HasSubstr("deep"));
  }
  EXPECT_THAT(test::message_of(Expression::parse_condition(std::string(5000, ' '))),
              HasSubstr("5000 characters"));
  // A chain is as long as the text allows and leans left: no recursion limit is met.
  EXPECT_TRUE(ok(Expression::parse_condition("0" + nested("+1", 1500, "", "") + " > 1")));
}

TEST(Expression, NeverCrashesOnAnyText) {
  const std::uint64_t seed = 42;
  SCOPED_TRACE("seed " + std::to_string(seed));
  const std::vector<std::string> pieces = {
      "auc", "ece", "and", "or",  "not",  "(",   ")", "<",   "<=",  "==", "+",
      "-",   "*",   "/",   "1",   "0.5",  ".",   "`", "abs", ",",   " ",  "1e",
      "=",   "&",   "\n",  "min", "\xff", "x.y", "e", "!=",  "0x1", "..", "1e400"};
  Rng rng(seed);
  int parsed = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string text;
    for (std::uint64_t i = rng.below(14); i > 0; --i) {
      text += pieces[rng.below(pieces.size())];
      if (rng.below(2) == 0) text += ' ';
    }
    if (const auto expression = Expression::parse_condition(text)) {
      ++parsed;
      EXPECT_EQ(expression->text(), text);
      EXPECT_FALSE(expression->clauses(look).empty());
      // What was read once reads the same when a clause is read again.
      for (const auto& clause : expression->clauses(look)) {
        const auto again = Expression::parse_condition(clause.text);
        ASSERT_TRUE(ok(again)) << clause.text;
        EXPECT_EQ(again->test(look), clause.holds);
      }
    }
  }
  EXPECT_GT(parsed, 50);
}

}  // namespace
}  // namespace slipway::evaluation
