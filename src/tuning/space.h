// The space that a study searches: named parameters, each a range of numbers or a list of choices.
//   space:
//     learning_rate: {type: float, low: 0.01, high: 0.3, log: true}
//     max_depth: {type: int, low: 3, high: 10}
//     booster: {type: choice, choices: [gbtree, dart]}
// Within the module a point is a vector of coordinates in [0, 1) (for a choice: its index), in
// which all ranges look alike. A value; thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"

namespace slipway::tuning {

struct Parameter {
  enum class Kind { real, integer, choice };
  std::string name;
  Kind kind = Kind::real;
  double low = 0, high = 1;  // both included; whole numbers for integer
  bool log = false;          // searched by its logarithm; low > 0
  std::vector<Json> choices;
};

class Space {
 public:
  // invalid_argument for no parameters, equal names, empty or unbounded ranges, a logarithm of what
  // is not positive.
  static Result<Space> of(std::vector<Parameter> parameters);
  // From the mapping under `key`. Problems are noted in the reader at their place; finish() of the
  // reader's family tells them, and an incomplete space is returned until then.
  static Space read(SpecReader& reader, std::string_view key);
  // As read() takes it: {"learning_rate": {"type": "float", …}}.
  Json to_json() const;
  static Result<Space> from_json(const Json& json);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  std::size_t size() const { return parameters_.size(); }

  // {"learning_rate": 0.05, …} from coordinates [size()].
  Json params_at(std::span<const double> point) const;
  // Coordinates of the middle of a value's cell; invalid_argument when a parameter is missing or
  // outside.
  Result<std::vector<double>> point_of(const Json& params) const;
  // Moves coordinates to the middle of the cell of the value that they stand for (integers; choices
  // to the index).
  void snap(std::span<double> point) const;

 private:
  void sort();
  std::vector<Parameter> parameters_;  // by name
};

}  // namespace slipway::tuning
