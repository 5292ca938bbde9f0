// Expectations as SQL. Private to this folder.
#pragma once
#include <string>
#include <utility>
#include <vector>

#include "data/validation.h"

namespace slipway::data {

// What marks where a figure's FILTER (…) goes.
inline constexpr std::string_view kFilterMark = "{filter}";

// An expectation as SQL over the rows of one relation.
struct CompiledRule {
  std::string looked_at = "true";  // condition: the row counts for this check
  std::string bad;                 // condition: and is not as expected. Empty: no check of rows
  std::string figure;              // an aggregate; kFilterMark stands where looked_at belongs
  std::string query;               // a statement of its own that gives the figure
  std::string keys;                // unique: the key's columns, quoted and comma-separated
  // Columns that the conditions refer to and that are computed below them.
  std::vector<std::pair<std::string, std::string>> added;
  bool numbers_rows = false;  // an added column refers to the number of the row
  // The conditions and the figure depend on this one column's values only, whatever their order.
  bool of_values = false;
};

class RuleCompiler {
 public:
  // `from` is a quoted relation or a SELECT in brackets. All outlive the compiler.
  RuleCompiler(const Context& ctx, Engine& engine, std::string from, Schema schema,
               const ValidationOptions& options);

  Result<CompiledRule> compile(const Expectation& rule);
  const std::string& from() const { return from_; }
  const Schema& schema() const { return schema_; }
  Type type_of(const std::string& column) const {
    return schema_.fields[*schema_.index(column)].type;
  }
  // A declared value as SQL that compares with the column.
  Result<std::string> literal(const Json& value, const std::string& column) const;
  // {rows} replaced by the relation.
  std::string with_rows(const std::string& query) const;
  // The relation must exist; its schema.
  Result<Schema> other(const std::string& relation) const;
  // A name for a small table in the engine, of its own for each relation, rule and purpose.
  std::string table_name(const Expectation& rule, std::string_view what) const;

 private:
  Result<void> bind(const std::string& expression, std::string_view key);
  Result<CompiledRule> compile_check(const Expectation& rule);
  Result<CompiledRule> compile_rows(const Expectation& rule);
  Result<CompiledRule> compile_figure(const Expectation& rule);
  Result<CompiledRule> compile_range(const Expectation& rule) const;
  Result<CompiledRule> compile_outliers(const Expectation& rule) const;
  Result<CompiledRule> compile_set(const Expectation& rule) const;
  Result<CompiledRule> compile_patterns(const Expectation& rule);
  Result<CompiledRule> compile_order(const Expectation& rule) const;
  Result<CompiledRule> compile_row_sum(const Expectation& rule) const;
  Result<CompiledRule> compile_exists(const Expectation& rule) const;
  Result<CompiledRule> compile_json_schema(const Expectation& rule);
  Result<CompiledRule> compile_association(const Expectation& rule) const;
  Result<void> want_text(const std::string& column) const;
  Result<void> want_number(const std::string& column) const;

  const Context& ctx_;
  Engine& engine_;
  std::string from_;
  Schema schema_;
  const ValidationOptions& options_;
};

// Of JSON texts, which do not fit a JSON Schema (draft 7). invalid_argument: the schema itself is
// none. (json_schema.cpp)
Result<std::vector<std::size_t>> not_of_schema(const Json& schema,
                                               const std::vector<std::string>& texts);

// A value of a column as JSON, times as texts.
Json json_of(const ColumnView& view, std::int64_t row);
Result<Columns> fetch_columns(const Context& ctx, Engine& engine, const std::string& sql);

// From here: judging. (validation_judge.cpp)

void judge_rows(const Expectation& rule, RuleResult& result);
bool takes_time_figure(Check check);  // whose figure of a timestamp column is a time
// `figure` is NaN when there was no row to compute it from.
void judge_figure(const Expectation& rule, Type type, double figure,
                  const ValidationOptions& options, RuleResult& result);
void judge_schema(const Expectation& rule, const Schema& schema, RuleResult& result);
void judge_columns(const Expectation& rule, const Schema& schema, RuleResult& result);
// The values seen, of distinct_values all of them, of most_common the most frequent (ties:
// several).
void judge_values(const Expectation& rule, const std::vector<Json>& seen, RuleResult& result);
std::string wanted_text(const Expectation& rule);

// A column against another relation's. (validation_drift.cpp)
Result<void> judge_drift(const Context& ctx, Engine& engine, const RuleCompiler& compiler,
                         const Expectation& rule, RuleResult& result);

}  // namespace slipway::data
