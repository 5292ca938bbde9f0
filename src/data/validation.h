// Expectations on data, declared in a list and checked in as few passes as can be.
//   - {check: not_null, columns: [carrier, origin]}
//   - {check: unique, columns: [flight_id]}
//   - {check: range, column: distance, min: 0, max: 6000, on_fail: quarantine}
//   - {check: matches, column: tailnum, pattern: "N[0-9A-Z]+|D[0-9]+"}     # the whole value
//   - {check: compare, column: sched_arr, op: ">=", to: sched_dep}       # any SQL of the row
//   - {check: exists_in, columns: [tailnum], relation: planes}             # another relation
//   - {check: mean, column: late, learn: {last: 20, sigmas: 4}}            # a band from history
//   - {check: drift, column: distance, relation: before, measure: ks, max: 0.1}
// docs/reference/data-quality.md lists all of them with their keys.
// Common keys: name; severity: error | warn; mostly: 0..1, the share that has to pass (checks of
// rows); where: an SQL condition that selects the rows looked at; on_fail: stop | quarantine
// (checks of rows: bad rows are set aside). A null passes every check of rows but not_null. A check
// that says no is a value in the Report, not an Error. Thread-safe: functions of their arguments.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "base/spec.h"
#include "data/engine.h"

namespace slipway::data {

enum class Check {
  // of rows: bad ones are counted, shown and may be set aside
  not_null,
  is_null,
  unique,
  unique_in_row,
  equal_in_row,
  range,
  in_set,
  not_in_set,
  matches,
  not_matches,
  like,
  not_like,
  length,
  parses,
  json_schema,
  increasing,
  decreasing,
  z_score,
  iqr,
  compare,
  pair_in_set,
  row_sum,
  exists_in,
  sql,
  // figures: one number of the table
  row_count,
  column_count,
  null_share,
  min,
  max,
  mean,
  median,
  sum,
  stddev,
  quantile,
  distinct_count,
  distinct_share,
  aggregate,
  association,
  drift,
  freshness,
  // other properties of the table
  schema,
  columns,
  distinct_values,
  most_common,
  no_rows,
  same_result
};
std::string_view to_string(Check check);
bool is_row_check(Check check);

// A band for a figure, out of the same rule's figures in earlier reports: their median plus and
// minus `sigmas` robust standard deviations (1.4826 times the median absolute deviation, at least
// `slack` times the median's size, so that figures that never moved may move a little).
struct Learn {
  std::int64_t last = 20;     // reports looked at
  std::int64_t at_least = 5;  // with fewer, the rule passes and says so
  double sigmas = 4;
  double slack = 0.01;
};

struct TypeChoice {
  std::string column;
  std::vector<Type> types;  // any of them
};

struct Expectation {
  Check check = Check::not_null;
  std::string name;                  // filled in from check and columns when not declared
  std::vector<std::string> columns;  // one for most checks
  bool warn_only = false;            // severity: warn
  bool quarantine = false;           // on_fail: quarantine
  double mostly = 1.0;
  std::string where;

  std::optional<Json> min, max;  // numbers; for range, min and max also times and texts
  bool strict = false;           // the bounds themselves are out; increasing: equal is out
  std::vector<Json> values;      // sets; for pair_in_set of lists; for columns of names
  std::vector<std::string> patterns;
  bool all = false;               // of several patterns: each has to match
  bool part = false;              // matches: a part of the value is enough
  std::string op, to;             // compare
  std::string expression;         // sql, aggregate
  Duration within{};              // freshness
  std::vector<TypeChoice> types;  // schema
  bool extra = true;              // schema: other columns may be there
  std::string match;              // columns, distinct_values: equal | ordered | subset | superset
  std::string as;                 // parses: a type, or json
  std::string format;             // parses: of strptime
  Json document;                  // json_schema
  std::string relation;           // exists_in, drift, row_count: another relation of the engine
  std::vector<std::string> to_columns;  // exists_in; default: the same names
  std::vector<std::string> order_by;    // increasing, decreasing; default: the rows' order
  double probability = 0.5;             // quantile
  std::string measure;                  // drift, association
  std::optional<double> min_p;          // drift: the smallest p-value that passes
  std::string query, other;             // no_rows, same_result; {rows} stands for the checked rows
  std::optional<Learn> learn;
};

// Reads a list of them under `key`; problems are left in the reader.
std::vector<Expectation> read_expectations(SpecReader& reader, std::string_view key);

struct RuleResult {
  std::string name;
  Check check = Check::not_null;
  std::vector<std::string> columns;
  bool warn_only = false;
  bool quarantine = false;
  bool ok = false;
  bool set_aside = false;       // not ok, but its bad rows went to quarantine and that is enough
  std::int64_t rows = 0;        // looked at
  std::int64_t unexpected = 0;  // of them, not as expected (checks of rows)
  double share = 0;             // unexpected / rows
  Json observed;                // the figure of an aggregate check
  std::vector<Json> examples;   // up to Options::examples distinct bad values
  std::string message;          // what was expected and what was seen
};

struct Report {
  std::int64_t rows = 0;
  std::int64_t quarantined = 0;  // rows with at least one reason
  std::vector<RuleResult> rules;
  bool ok() const;  // no rule of severity error failed, except those that quarantine
  Json to_json() const;
};

struct ValidationOptions {
  std::size_t examples = 5;
  int threads = 0;                     // of the pass over Parquet files; 0: default_threads()
  std::optional<Time> reference_time;  // for freshness; required when there is such a check
  std::map<std::string, std::vector<double>> history;  // by rule name, oldest first: for learn
};

// What is known of an earlier version of the data: its report and its profile, as JSON; either may
// be null.
struct EarlierVersion {
  Json report;
  Json profile;
};
// For rules that learn: the figures of earlier versions (oldest first) by rule name. Out of a
// version's report when the rule stood in it, else, for a rule without `where`, out of its profile.
std::map<std::string, std::vector<double>> history_of(const std::vector<Expectation>& expectations,
                                                      const std::vector<EarlierVersion>& versions);

struct Validation {
  Report report;
  std::string clean_sql;       // the rows without reasons, for Engine::write_parquet
  std::string quarantine_sql;  // the others, with a column `quarantine_reasons`; empty when no rule
                               // quarantines
};

// Of the rows of a relation or a SELECT, which may be read several times: write it to Parquet first
// when it is costly. Of a relation over Parquet files the columns' values are counted in one pass
// of our own, and rules of one column are judged on distinct values; what is left is one SELECT.
// The engine keeps small tables that the result's SQL refers to.
Result<Validation> validate(const Context& ctx, Engine& engine, const std::string& relation,
                            const std::vector<Expectation>& expectations,
                            const ValidationOptions& options = {});

// A table for the terminal.
std::string render_text(const Report& report);
// A page that needs nothing else, of a size that does not depend on the number of rows.
std::string render_html(const Report& report, const std::string& title);

}  // namespace slipway::data
