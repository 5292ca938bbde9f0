// Small expressions over named numbers, as people write them in gates and alert rules:
//   auc >= 0.64 and log_loss <= champion.log_loss
//   abs(mean_score - label_rate) > 0.05
// Numbers, names with dots (a part may stand in backticks: drift.`dep delay`.psi), + - * /,
// comparisons, and / or / not, parentheses, abs(x), min(a, b, …), max(a, b, …). An Expression is
// typed when it is parsed (numbers are not truth values), never changes, and evaluates by Kleene's
// three-valued logic: what reads a value that is not there is unknown, unless the rest decides
// ("false and unknown" is false).
//   auto rule = Expression::parse_condition("auc < reference.auc - 0.05");
//   auto verdict = rule->test([&](std::string_view name) { return values.find(name); });   //
//   optional<bool>
// Thread-safe: const after parsing. Any text is safe to parse: length and depth are capped.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::evaluation {

// The names an expression may read.
struct Vocabulary {
  std::vector<std::string> names;
  std::vector<std::string> prefixes;  // "drift.": any name that begins so
  bool has(std::string_view name) const;
};

// The value of a name, or nothing when it is not known (yet).
using Lookup = std::function<std::optional<double>(std::string_view name)>;

class Expression {
 public:
  static constexpr std::size_t kMaxLength = 4096;
  static constexpr int kMaxDepth = 64;

  // An expression that is true or false. invalid_argument tells the column (from 1), what was found
  // and what was expected.
  static Result<Expression> parse_condition(std::string_view text);
  // An expression that is a number.
  static Result<Expression> parse_number(std::string_view text);

  const std::string& text() const { return text_; }
  // Every name it reads, once, in order of appearance.
  const std::vector<std::string>& names() const { return names_; }
  // invalid_argument for the first name outside the vocabulary, with its column and the nearest
  // known name.
  Result<void> check_names(const Vocabulary& vocabulary) const;

  std::optional<bool> test(const Lookup& lookup) const;  // of a condition
  std::optional<double> number(
      const Lookup& lookup) const;  // of a number; nothing also when it is not finite (x / 0)

  // One operand of the "and"s at the top of a condition; the whole condition when there are none.
  struct Clause {
    std::string text;
    std::vector<std::string> names;
    std::optional<bool> holds;
    std::optional<double> left, right;  // both sides, when the clause is one comparison
  };
  std::vector<Clause> clauses(const Lookup& lookup) const;

 private:
  friend class ExpressionParser;
  struct Node;
  static Result<Expression> parse(std::string_view text, bool condition);
  std::string text_;
  std::vector<std::string> names_;
  std::vector<std::size_t> name_columns_;
  std::shared_ptr<const Node> root_;
};

}  // namespace slipway::evaluation
