// What differs between two sets of rows: columns, rows by key, distributions.
//   auto compared = compare(ctx, engine, {"a", files_a}, {"b", files_b}, {.key = {"flight_id"}});
// Rows are joined by SQL, which spills; distributions are counted in one pass over each side's
// files. Thread-safe: functions of their arguments.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/json.h"
#include "data/engine.h"

namespace slipway::data {

struct ComparedSide {
  std::string relation;                      // of the engine
  std::vector<std::filesystem::path> files;  // the Parquet files behind it
};

struct CompareOptions {
  std::vector<std::string> key;  // empty: rows are not matched
  std::size_t examples = 5;      // of changed values, in all
  double alpha = 0.01;           // of all tests together (Benjamini-Hochberg)
  double least_effect = 0.02;    // smaller changes of a distribution do not count
  int threads = 0;
};

struct ColumnChange {
  std::string name;
  std::optional<Type> before, after;  // absent: the column is not on that side
  std::int64_t changed = 0;           // matched rows whose value differs
  // Distribution: Kolmogorov and Smirnov's distance of numbers, total variation of categories.
  double effect = 0, psi = 0, p = 1;
  double nulls_before = 0, nulls_after = 0, nulls_p = 1;  // shares
  bool shifted = false;                                   // significant, and large enough
  bool nulls_shifted = false;
};

struct ChangedValue {
  std::vector<Json> key;
  std::string column;
  Json before, after;
};

struct Comparison {
  std::int64_t rows_before = 0, rows_after = 0;
  std::vector<ColumnChange> columns;
  bool matched = false;  // by key:
  std::int64_t only_before = 0, only_after = 0, changed = 0;
  std::vector<ChangedValue> examples;

  bool same() const;  // nothing at all differs, as far as was looked
  Json to_json() const;
};

// invalid_argument: a key column is missing, or the key is not unique on a side.
Result<Comparison> compare(const Context& ctx, Engine& engine, const ComparedSide& before,
                           const ComparedSide& after, const CompareOptions& options);
std::string render_text(const Comparison& comparison);
std::string render_html(const Comparison& comparison, const std::string& title);

}  // namespace slipway::data
