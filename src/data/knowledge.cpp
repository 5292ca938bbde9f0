#include "data/knowledge.h"

namespace slipway::data {

namespace {

constexpr std::string_view kWithLabel = "label";

std::string words(const std::optional<Duration>& offset) {
  if (!offset) return "with the label";
  if (offset->count() == 0) return "at the event time";
  return fmt::format("{} {} the event time", format_duration(std::chrono::abs(*offset)),
                     offset->count() < 0 ? "before" : "after");
}

}  // namespace

Result<Duration> parse_offset(std::string_view text) {
  const bool before = text.starts_with('-');
  const auto rest = text.starts_with('-') || text.starts_with('+') ? text.substr(1) : text;
  if (rest == "0") return Duration{0};
  const auto size = parse_duration(rest);
  if (!size || rest.starts_with('-') || rest.starts_with('+')) {
    return invalid_argument(fmt::format("'{}' is not an offset such as -1h, +30m or 0m", text));
  }
  return before ? -*size : *size;
}

Knowledge Knowledge::read(SpecReader& reader, std::string_view key) {
  Knowledge knowledge;
  if (!reader.has(key)) return knowledge;
  auto object = reader.object(key);
  const auto offset = [](SpecReader& from, const std::string& name) -> Duration {
    const auto parsed = parse_offset(from.text(name));
    if (parsed) return *parsed;
    from.problem(name, parsed.error().message);
    return {};
  };
  knowledge.decision = offset(object, "decision");
  if (object.has("default")) knowledge.otherwise = offset(object, "default");
  if (object.has("columns")) {
    auto columns = object.object("columns");
    for (const auto& column : columns.keys()) {
      if (columns.text(column) == kWithLabel) {
        knowledge.known[column] = std::nullopt;
      } else {
        knowledge.known[column] = offset(columns, column);
      }
    }
  }
  object.close();
  return knowledge;
}

Result<void> Knowledge::check_schema(const Schema& schema) const {
  for (const auto& [column, offset] : known) {
    if (const auto found = schema.find(column); !found) return found.error().at("known");
  }
  return {};
}

Result<void> Knowledge::check_features(const std::vector<std::string>& columns) const {
  std::vector<std::string> late;
  for (const auto& column : columns) {
    const auto declared = known.find(column);
    const auto offset = declared != known.end() ? declared->second : otherwise.value_or(decision);
    if (offset && *offset <= decision) continue;
    late.push_back(fmt::format("'{}' becomes known {}", column, words(offset)));
  }
  if (late.empty()) return {};
  return invalid_argument(
      fmt::format("leakage: column {}, but the prediction is made {}; leave {} out of the features",
                  fmt::join(late, ", column "), words(decision), late.size() == 1 ? "it" : "them"));
}

Json Knowledge::to_json() const {
  const auto text = [](const std::optional<Duration>& offset) -> Json {
    return offset ? Json(offset->count()) : Json(kWithLabel);
  };
  Json json = {{"decision_us", decision.count()}, {"columns_us", Json::object()}};
  if (otherwise) json["default_us"] = otherwise->count();
  for (const auto& [column, offset] : known) json["columns_us"][column] = text(offset);
  return json;
}

}  // namespace slipway::data
