// MLflow's search language: the text of a filter or of an order_by entry becomes comparisons; what
// a name means is decided by whoever searches (runs here, model versions in the registry).
//
//   filter     := [comparison ("AND" comparison)*]
//   comparison := name op literal | name ("IN" | "NOT IN") "(" string ("," string)* ")" | name "IS"
//   ["NOT"] "NULL" op         := "=" | "!=" | ">" | ">=" | "<" | "<=" | "LIKE" | "ILIKE" name :=
//   [scope "."] key; the key bare, or within `…` or "…" literal    := number | '…' | "…"; a doubled
//   quote within quotes stands for one order      := name ["ASC" | "DESC"]
// Reference: https://mlflow.org/docs/latest/search-runs. Stricter than MLflow's own parser, which
// accepts a leading or trailing AND, and comparisons without one between them.
#pragma once
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/result.h"
#include "db/database.h"

namespace slipway::tracking {

enum class Op { eq, ne, gt, ge, lt, le, like, ilike, in, not_in, is_null, is_not_null };
std::string_view to_string(Op op);  // "!="

struct Name {
  std::string scope;  // "metrics" as written, lower case; empty when there is none
  std::string key;
  std::string text() const { return scope.empty() ? key : scope + "." + key; }
};

struct Comparison {
  Name name;
  Op op = Op::eq;
  // nothing (IS NULL), a number, a text, or a list of texts (IN)
  std::variant<std::monostate, double, std::string, std::vector<std::string>> value;
  std::size_t place = 0;  // of the name in the text, from 1, for messages
};

struct Order {
  Name name;
  bool descending = false;
};

// Errors name the place: "filter, character 14: expected a comparison after AND".
Result<std::vector<Comparison>> parse_filter(std::string_view text);
Result<Order> parse_order(std::string_view text);

// SQL text that grows together with its parameters, and owns their bytes.
class SqlText {
 public:
  SqlText() = default;
  SqlText(SqlText&&) = default;  // a copy's parameters would point into the original
  SqlText& operator=(SqlText&&) = default;
  SqlText& add(std::string_view sql) {
    text_ += sql;
    return *this;
  }
  SqlText& bind(std::string_view value);
  SqlText& bind(double value);
  SqlText& bind(std::int64_t value);
  // "<column> <op> ?" for a text or number column. SQLite's LIKE ignores case, so LIKE becomes
  // GLOB. invalid_argument when the comparison's value does not fit: `what` names the thing
  // compared.
  Result<void> compare_text(std::string_view column, const Comparison& comparison);
  Result<void> compare_number(std::string_view column, const Comparison& comparison);
  Result<db::Rows> run(db::Connection& connection) const;

 private:
  std::string text_;
  std::deque<std::string> owned_;  // addresses stay
  std::vector<db::Value> values_;
};

// Page tokens say where the next page starts and which search they belong to, so that one used with
// another search is refused instead of giving wrong rows.
std::string make_page_token(std::int64_t offset, std::string_view search);
Result<std::int64_t> read_page_token(std::string_view token, std::string_view search);  // "": 0
Result<void> check_page_size(std::int64_t max_results, std::int64_t most);

}  // namespace slipway::tracking
