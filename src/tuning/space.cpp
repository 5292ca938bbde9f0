#include "tuning/space.h"

namespace slipway::tuning {

namespace {

// Integers are reals in [low - 1/2, high + 1/2], so that each has a cell of its own width.
std::pair<double, double> ends(const Parameter& parameter) {
  double low = parameter.low;
  double high = parameter.high;
  if (parameter.kind == Parameter::Kind::integer) {
    low -= 0.5;
    high += 0.5;
  }
  return parameter.log ? std::pair{std::log(low), std::log(high)} : std::pair{low, high};
}

double value_at(const Parameter& parameter, double coordinate) {
  const auto [low, high] = ends(parameter);
  double value = low + coordinate * (high - low);
  if (parameter.log) value = std::exp(value);
  if (parameter.kind == Parameter::Kind::integer) value = std::round(value);
  return std::clamp(value, parameter.low, parameter.high);
}

double coordinate_of(const Parameter& parameter, double value) {
  const auto [low, high] = ends(parameter);
  if (high <= low) return 0.5;  // a range of one number
  return std::clamp(((parameter.log ? std::log(value) : value) - low) / (high - low), 0.0, 1.0);
}

// What is wrong with a parameter, and at which of its keys.
std::optional<std::pair<std::string, std::string>> fault_of(const Parameter& parameter) {
  const auto fault = [](std::string key, std::string message) {
    return std::optional(std::pair{std::move(key), std::move(message)});
  };
  if (parameter.kind == Parameter::Kind::choice) {
    if (parameter.choices.empty())
      return fault("choices", "there are no choices; list at least one");
    for (std::size_t i = 0; i < parameter.choices.size(); ++i) {
      const auto begin = parameter.choices.begin();
      const auto here = begin + static_cast<std::ptrdiff_t>(i);
      if (here->is_structured())
        return fault("choices", "a choice is a text, number or boolean, not " + here->dump());
      if (std::find(begin, here, *here) != here)
        return fault("choices", here->dump() + " stands there twice");
    }
    return std::nullopt;
  }
  // Beyond 2^53 a double no longer tells neighbouring integers apart.
  const double limit = parameter.kind == Parameter::Kind::integer ? 9e15 : 1e300;
  for (const auto& [key, value] :
       {std::pair{"low", parameter.low}, std::pair{"high", parameter.high}}) {
    if (!(std::abs(value) <= limit)) return fault(key, fmt::format("{} is out of range", value));
    if (parameter.kind == Parameter::Kind::integer && value != std::floor(value)) {
      return fault(key, fmt::format("{} is not a whole number", value));
    }
  }
  if (parameter.low > parameter.high) {
    return fault("low", fmt::format("low {} is above high {}", parameter.low, parameter.high));
  }
  if (parameter.log && parameter.low <= 0) {
    return fault("low", fmt::format("low {} has no logarithm; with log: true it must be above 0",
                                    parameter.low));
  }
  return std::nullopt;
}

}  // namespace

Result<Space> Space::of(std::vector<Parameter> parameters) {
  if (parameters.empty())
    return invalid_argument("the search space has no parameters; declare at least one");
  std::set<std::string> names;
  for (const auto& parameter : parameters) {
    if (!names.insert(parameter.name).second) {
      return invalid_argument("the search space has two parameters '" + parameter.name + "'");
    }
    if (const auto fault = fault_of(parameter)) {
      return invalid_argument("parameter '" + parameter.name + "': " + fault->second);
    }
  }
  Space space;
  space.parameters_ = std::move(parameters);
  space.sort();
  return space;
}

// By name: the order in which coordinates are drawn must survive JSON, whose objects are sorted.
void Space::sort() {
  std::sort(parameters_.begin(), parameters_.end(),
            [](const Parameter& a, const Parameter& b) { return a.name < b.name; });
}

Space Space::read(SpecReader& reader, std::string_view key) {
  Space space;
  const bool declared = reader.has(key);
  for (auto& [name, one] : reader.entries(key)) {
    Parameter parameter{.name = name};
    const bool lists = one.has("choices");
    const std::string type = one.one_of("type", {"float", "int", "choice"}, lists ? "choice" : "");
    if (type == "choice") {
      parameter.kind = Parameter::Kind::choice;
      const Json choices = one.json("choices");
      if (choices.is_array()) {
        parameter.choices.assign(choices.begin(), choices.end());
      } else {
        one.problem("choices", "expected a list of choices");
        continue;
      }
    } else if (type.empty()) {
      if (!one.has("type"))
        one.problem("", "parameter '" + name + "' has no type: float, int or choice");
      continue;
    } else {
      parameter.kind = type == "int" ? Parameter::Kind::integer : Parameter::Kind::real;
      const bool complete = one.has("low") && one.has("high");
      parameter.low = one.number("low");
      parameter.high = one.number("high");
      parameter.log = one.boolean("log", false);
      if (!complete) continue;  // noted by number()
    }
    if (const auto fault = fault_of(parameter)) one.problem(fault->first, fault->second);
    one.close();
    space.parameters_.push_back(std::move(parameter));
  }
  space.sort();
  if (!declared || reader.json(key).empty()) {
    reader.problem(declared ? key : "", "the search space '" + std::string(key) +
                                            "' has no parameters; declare at least one, as in "
                                            "max_depth: {type: int, low: 3, high: 10}");
  }
  return space;
}

Json Space::to_json() const {
  Json json = Json::object();
  for (const auto& parameter : parameters_) {
    Json& one = json[parameter.name];
    if (parameter.kind == Parameter::Kind::choice) {
      one = {{"type", "choice"}, {"choices", parameter.choices}};
    } else if (parameter.kind == Parameter::Kind::integer) {
      one = {{"type", "int"},
             {"low", static_cast<std::int64_t>(parameter.low)},
             {"high", static_cast<std::int64_t>(parameter.high)},
             {"log", parameter.log}};
    } else {
      one = {{"type", "float"},
             {"low", parameter.low},
             {"high", parameter.high},
             {"log", parameter.log}};
    }
  }
  return json;
}

Result<Space> Space::from_json(const Json& json) {
  const SpecDocument document = SpecDocument::from_json({{"space", json}}, "search space");
  SpecReader reader(document);
  Space space = read(reader, "space");
  if (auto sound = reader.finish(); !sound) return sound.error();
  return space;
}

Json Space::params_at(std::span<const double> point) const {
  Json params = Json::object();
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& parameter = parameters_[i];
    switch (parameter.kind) {
      case Parameter::Kind::choice:
        params[parameter.name] = parameter.choices[static_cast<std::size_t>(point[i])];
        break;
      case Parameter::Kind::integer:
        params[parameter.name] = static_cast<std::int64_t>(value_at(parameter, point[i]));
        break;
      case Parameter::Kind::real:
        params[parameter.name] = value_at(parameter, point[i]);
        break;
    }
  }
  return params;
}

Result<std::vector<double>> Space::point_of(const Json& params) const {
  std::vector<double> point;
  for (const auto& parameter : parameters_) {
    if (!params.is_object() || !params.contains(parameter.name)) {
      return invalid_argument("the parameters lack '" + parameter.name + "'");
    }
    const Json& value = params[parameter.name];
    if (parameter.kind == Parameter::Kind::choice) {
      const auto found = std::find(parameter.choices.begin(), parameter.choices.end(), value);
      if (found == parameter.choices.end()) {
        return invalid_argument("'" + parameter.name + "' is " + value.dump() +
                                ", which is not among its choices");
      }
      point.push_back(static_cast<double>(found - parameter.choices.begin()));
      continue;
    }
    if (!value.is_number() || value.get<double>() < parameter.low ||
        value.get<double>() > parameter.high) {
      return invalid_argument(fmt::format("'{}' is {}; wanted is a number from {} to {}",
                                          parameter.name, value.dump(), parameter.low,
                                          parameter.high));
    }
    point.push_back(coordinate_of(parameter, value.get<double>()));
  }
  return point;
}

void Space::snap(std::span<double> point) const {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    if (parameters_[i].kind == Parameter::Kind::integer) {
      point[i] = coordinate_of(parameters_[i], value_at(parameters_[i], point[i]));
    }
  }
}

}  // namespace slipway::tuning
