// A gate: the declared condition under which a model version may become champion.
//   auto gate = Gate::parse("auc >= 0.64 and ece <= 0.05 and log_loss <= champion.log_loss");
//   const Decision decision = gate->decide(evaluation.values(), !evaluation.champion_name.empty());
// A clause that reads the champion passes while there is no champion; a clause that reads a value
// that is undefined for another reason does not. The Decision says why, clause by clause, and is
// stored as it is. Thread-safe.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "evaluation/expression.h"

namespace slipway::evaluation {

struct Decision {
  struct Clause {
    std::string text;                   // as written
    std::optional<double> left, right;  // the values compared, where known
    bool ok = false;
    std::string reason;  // "0.6312 >= 0.64 does not hold", "no champion yet"
  };
  bool passed = false;
  std::string reason;  // one sentence
  std::vector<Clause> clauses;
  Json to_json() const;
  static Result<Decision> from_json(const Json& json);
  std::string render_text() const;  // one line a clause
};

class Gate {
 public:
  // Names are checked against what an Evaluation offers; errors tell the column and the nearest
  // name.
  static Result<Gate> parse(std::string_view text);
  // The same from a declaration; problems are noted at the key, and the result is then empty.
  static std::optional<Gate> read(SpecReader& reader, std::string_view key);
  const std::string& text() const { return condition_.text(); }
  // Whether the gate reads anything of the champion.
  bool needs_champion() const;
  Decision decide(const std::map<std::string, double>& values, bool has_champion) const;

 private:
  explicit Gate(Expression condition) : condition_(std::move(condition)) {}
  Expression condition_;
};

}  // namespace slipway::evaluation
