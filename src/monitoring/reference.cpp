#include "monitoring/reference.h"

namespace slipway::monitoring {

namespace {

constexpr std::size_t kBins = 50;
constexpr std::size_t kCategories = 500;

std::map<std::string, double> numbers(const Json& json, std::string_view key) {
  std::map<std::string, double> values;
  const auto found = json.find(key);
  if (found == json.end() || !found->is_object()) return values;
  for (const auto& [name, value] : found->items()) {
    if (value.is_number()) values.emplace(name, value.get<double>());
  }
  return values;
}

}  // namespace

Result<Reference> Reference::build(const data::Batch& inputs, std::span<const double> scores) {
  const data::ProfileOptions options{.bins = kBins, .categories = kCategories};
  auto profile = data::Profile::of(inputs, options);
  if (!profile) return profile.error();
  Reference reference;
  reference.profile = std::move(*profile);
  if (scores.empty()) return reference;
  if (std::ssize(scores) != inputs.rows) {
    return invalid_argument(
        fmt::format("there are {} scores beside {} rows", scores.size(), inputs.rows));
  }
  const data::Schema schema{{{"score", data::Type::float64, true}}};
  const data::Batch batch{
      &schema,
      {{.type = data::Type::float64, .rows = std::ssize(scores), .values = scores.data()}},
      std::ssize(scores)};
  auto of_scores = data::Profile::of(batch, options);
  if (!of_scores) return of_scores.error();
  reference.score = std::move(of_scores->columns.at(0));
  return reference;
}

Json Reference::to_json() const {
  Json json = profile.to_json();
  if (score) json["score"] = score->to_json();
  json["metrics"] = Json::object();
  for (const auto& [name, value] : metrics) json["metrics"][name] = json_number(value);
  json["importance"] = Json::object();
  for (const auto& [name, value] : importance) json["importance"][name] = json_number(value);
  return json;
}

Result<Reference> Reference::from_json(const Json& json) {
  auto profile = data::Profile::from_json(json);
  if (!profile) return profile.error();
  Reference reference;
  reference.profile = std::move(*profile);
  if (const auto score = json.find("score"); score != json.end() && score->is_object()) {
    auto column = data::ColumnProfile::from_json(*score);
    if (!column) return column.error();
    reference.score = std::move(*column);
  }
  reference.metrics = numbers(json, "metrics");
  reference.importance = numbers(json, "importance");
  return reference;
}

}  // namespace slipway::monitoring
