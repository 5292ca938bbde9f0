// Declared steps over the rows of a relation: what most pipelines do between reading and writing,
// without SQL of one's own. Each is one key with its settings; they run in order.
//   steps:
//     - rename: {dep_time: departed}
//     - cast: {seats: int64}                       # try_cast: what does not fit becomes null
//     - filter: arr_delay IS NOT NULL
//     - derive: {late: arr_delay > 15}
//     - select: [id, at]                           # or drop: [...]
//     - join: {with: planes, on: tailnum, how: left, expect: one, columns: [seats]}
//     - asof_join: {with: weather, by: origin, at: decision, event: observed, known: 1h, ttl: 6h}
//     - window: {by: carrier, order: at, range: 7d, derive: {delay_7d: avg(dep_delay)}}
//     - deduplicate: {by: [id], keep: last, order: at}
//     - split: {by: time, on: at, parts: [{name: train, until: 2013-03-11}, {name: test}]}
//     - sample: {share: 0.1, by: [id], seed: 1}
// Expressions are DuckDB's. Each step becomes a view, so nothing is computed before the rows are
// read, and an error names the step's place in the file. Chance comes from a hash of keys and seed:
// the same row falls into the same part in every run. A value type.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/spec.h"
#include "data/engine.h"

namespace slipway::data {

class RecipeStep;

class Recipe {
 public:
  Recipe();
  ~Recipe();
  Recipe(Recipe&&) noexcept;
  Recipe& operator=(Recipe&&) noexcept;

  // The list under `key`; a missing one is empty. Problems are left in the reader.
  static Recipe read(SpecReader& reader, std::string_view key);
  bool empty() const { return steps_.empty(); }
  // The name of the relation with the last step's rows; `from` itself when there is no step. Checks
  // that have to look at rows (expect: one, keep: error) run at once.
  Result<std::string> apply(const Context& ctx, Engine& engine, const std::string& from) const;

 private:
  std::vector<std::shared_ptr<const RecipeStep>> steps_;
};

// One row of each key: the first or the last by `order` (a column; empty: as they come), or an
// error when there are more.
struct Deduplication {
  std::vector<std::string> keys;
  std::string keep = "last";
  std::string order;

  static Deduplication read(SpecReader& reader);
  std::string sql(const std::string& relation) const;
  // invalid_argument naming a key that stands twice, when keep is error.
  Result<void> check(const Context& ctx, Engine& engine, const std::string& relation) const;
};

}  // namespace slipway::data
