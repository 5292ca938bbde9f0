// Expectations on data, declared in a list and checked in one pass of SQL.
//   - {check: not_null, columns: [carrier, origin]}
//   - {check: unique, columns: [flight_id]}
//   - {check: range, column: distance, min: 0, max: 6000, on_fail: quarantine}
//   - {check: in_set, column: origin, values: [EWR, JFK, LGA]}
//   - {check: matches, column: tailnum, pattern: "N[0-9A-Z]+|D[0-9]+"}            # the whole
//   value; RE2: linear time
//   - {check: schema, types: {late: int64}, extra: false}                          # extra: false
//   refuses other columns
//   - {check: compare, column: sched_arr, op: ">=", to: sched_dep}                 # `to` is any
//   SQL expression of the row
//   - {check: row_count, min: 1000}
//   - {check: null_share, column: wind_gust, max: 0.9}
//   - {check: mean | sum | stddev | distinct_count, column: distance, min: 100, max: 2000}
//   - {check: freshness, column: time_hour, within: 2d}                            # against
//   Options::reference_time
//   - {check: sql, expression: "dep_time IS NULL OR air_time > 0"}                 # true or null
//   passes
// Common keys: name; severity: error | warn; mostly: 0..1, the share that has to pass (row checks);
// where: an SQL condition that selects the rows looked at; on_fail: stop | quarantine (row checks:
// bad rows are set aside). A null passes every row check but not_null. A check that says no is a
// value in the Report, not an Error. Thread-safe: functions of their arguments.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "base/spec.h"
#include "data/engine.h"

namespace slipway::data {

enum class Check {
  not_null,
  unique,
  range,
  in_set,
  matches,
  schema,
  compare,
  row_count,
  null_share,
  mean,
  sum,
  stddev,
  distinct_count,
  freshness,
  sql
};
std::string_view to_string(Check check);

struct Expectation {
  Check check = Check::not_null;
  std::string name;                  // filled in from check and columns when not declared
  std::vector<std::string> columns;  // one for most checks
  bool warn_only = false;            // severity: warn
  bool quarantine = false;           // on_fail: quarantine
  double mostly = 1.0;
  std::string where;

  std::optional<Json> min, max;  // numbers; for range also times and texts
  bool strict = false;           // range: min and max themselves are out
  std::vector<Json> values;      // in_set
  std::string pattern;           // matches
  std::string op, to;            // compare
  std::string expression;        // sql
  Duration within{};             // freshness
  std::vector<Field> types;      // schema
  bool extra = true;             // schema: other columns may be there
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
  std::int64_t unexpected = 0;  // of them, not as expected (row checks)
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
  std::optional<Time> reference_time;  // for freshness; required when there is such a check
};

struct Validation {
  Report report;
  std::string clean_sql;       // the rows without reasons, for Engine::write_parquet
  std::string quarantine_sql;  // the others, with a column `quarantine_reasons`; empty when no rule
                               // quarantines
};

// Of the rows of a relation or a SELECT, which is read several times: write it to Parquet first
// when it is costly.
Result<Validation> validate(const Context& ctx, Engine& engine, const std::string& relation,
                            const std::vector<Expectation>& expectations,
                            const ValidationOptions& options = {});

// A table for the terminal.
std::string render_text(const Report& report);

}  // namespace slipway::data
