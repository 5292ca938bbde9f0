#include "evaluation/gate.h"

#include "evaluation/metrics.h"

namespace slipway::evaluation {

namespace {

Vocabulary vocabulary() {
  Vocabulary known;
  known.names = {"rows", "label_rate", "mean_score"};
  std::vector<std::string> metrics;
  for (const Metric metric : kBinaryMetrics) metrics.emplace_back(to_string(metric));
  for (const Metric metric : kRegressionMetrics) metrics.emplace_back(to_string(metric));
  for (const auto& name : metrics) {
    for (const std::string& form :
         {name, name + ".low", name + ".high", "naive." + name, "champion." + name,
          "improvement." + name, "improvement." + name + ".low", "improvement." + name + ".high",
          "improvement." + name + ".p_better"}) {
      known.names.push_back(form);
    }
  }
  known.prefixes = {"slices.", "worst."};
  return known;
}

bool reads_champion(std::string_view name) {
  return name.starts_with("champion.") || name.starts_with("improvement.");
}

// Six digits tell values of a clause apart without noise.
std::string shown(double value) { return fmt::format("{:.6g}", value); }

// "0.6312 < 0.64": the values with the relation that holds between them.
std::string relation(double left, double right) {
  const std::string_view sign = left < right ? "<" : left > right ? ">" : "==";
  return shown(left) + " " + std::string(sign) + " " + shown(right);
}

Decision::Clause judge(const Expression::Clause& clause, const Lookup& lookup, bool has_champion) {
  Decision::Clause judged{.text = clause.text, .left = clause.left, .right = clause.right};
  if (clause.holds) {
    judged.ok = *clause.holds;
    judged.reason = clause.left && clause.right
                        ? relation(*clause.left, *clause.right)
                        : std::string(judged.ok ? "holds" : "does not hold");
    return judged;
  }
  std::vector<std::string> missing;
  bool only_champion = true;
  for (const auto& name : clause.names) {
    if (lookup(name)) continue;
    missing.push_back(name);
    only_champion = only_champion && reads_champion(name);
  }
  if (missing.empty()) {
    judged.reason = "the arithmetic has no finite result";
  } else if (only_champion && !has_champion) {
    judged.ok = true;
    judged.reason = "no champion yet";
  } else {
    judged.reason = fmt::format("{} {} undefined on these rows", fmt::join(missing, ", "),
                                missing.size() == 1 ? "is" : "are");
  }
  return judged;
}

}  // namespace

Result<Gate> Gate::parse(std::string_view text) {
  auto condition = Expression::parse_condition(text);
  if (!condition) return condition.error();
  if (auto known = condition->check_names(vocabulary()); !known) return known.error();
  return Gate(std::move(*condition));
}

std::optional<Gate> Gate::read(SpecReader& reader, std::string_view key) {
  const std::string text = reader.text(key);
  if (text.empty()) return std::nullopt;  // noted by the reader when it is missing
  auto gate = parse(text);
  if (!gate) {
    reader.problem(key, gate.error().message);
    return std::nullopt;
  }
  return std::move(*gate);
}

bool Gate::needs_champion() const {
  return std::any_of(condition_.names().begin(), condition_.names().end(), reads_champion);
}

Decision Gate::decide(const std::map<std::string, double>& values, bool has_champion) const {
  const Lookup lookup = [&](std::string_view name) -> std::optional<double> {
    if (!has_champion && reads_champion(name)) return std::nullopt;
    const auto found = values.find(std::string(name));
    return found == values.end() ? std::nullopt : std::optional(found->second);
  };
  Decision decision;
  decision.passed = true;
  std::vector<std::string> failed;
  for (const auto& clause : condition_.clauses(lookup)) {
    auto judged = judge(clause, lookup, has_champion);
    if (!judged.ok) failed.push_back(judged.text + " (" + judged.reason + ")");
    decision.passed = decision.passed && judged.ok;
    decision.clauses.push_back(std::move(judged));
  }
  decision.reason = failed.empty() ? fmt::format("all {} clauses hold", decision.clauses.size())
                                   : fmt::format("refused: {}", fmt::join(failed, "; "));
  if (failed.empty() && decision.clauses.size() == 1) decision.reason = "the clause holds";
  return decision;
}

Json Decision::to_json() const {
  Json json = {{"passed", passed}, {"reason", reason}, {"clauses", Json::array()}};
  for (const auto& clause : clauses) {
    json["clauses"].push_back({{"text", clause.text},
                               {"left", clause.left ? json_number(*clause.left) : Json()},
                               {"right", clause.right ? json_number(*clause.right) : Json()},
                               {"ok", clause.ok},
                               {"reason", clause.reason}});
  }
  return json;
}

Result<Decision> Decision::from_json(const Json& json) {
  try {
    Decision decision;
    decision.passed = json.at("passed").get<bool>();
    decision.reason = json.at("reason").get<std::string>();
    const auto maybe = [](const Json& value) {
      return value.is_null() ? std::nullopt : std::optional(value.get<double>());
    };
    for (const auto& clause : json.at("clauses")) {
      decision.clauses.push_back({clause.at("text").get<std::string>(), maybe(clause.at("left")),
                                  maybe(clause.at("right")), clause.at("ok").get<bool>(),
                                  clause.at("reason").get<std::string>()});
    }
    return decision;
  } catch (const Json::exception& failure) {
    return invalid_argument(std::string("this is not a gate decision: ") + failure.what());
  }
}

std::string Decision::render_text() const {
  std::string text = passed ? "gate passed\n" : "gate refused\n";
  for (const auto& clause : clauses) {
    text += fmt::format("  {}  {}  ({})\n", clause.ok ? "yes" : "NO ", clause.text, clause.reason);
  }
  return text;
}

}  // namespace slipway::evaluation
