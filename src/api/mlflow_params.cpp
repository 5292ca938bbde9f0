#include <charconv>
#include <cmath>
#include <limits>

#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

// The whole text as a number, or nothing.
template <class T>
std::optional<T> parse_whole(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<std::int64_t> as_integer(const Json& value) {
  if (value.is_number_unsigned()) {
    const auto number = value.get<std::uint64_t>();
    if (number > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      return std::nullopt;
    }
    return static_cast<std::int64_t>(number);
  }
  if (value.is_number_integer()) return value.get<std::int64_t>();
  if (value.is_number_float()) {  // 3.0, as some JSON writers put whole numbers
    const double number = value.get<double>();
    constexpr double kExact = 9'007'199'254'740'992;  // 2^53
    if (std::trunc(number) == number && std::abs(number) <= kExact) {
      return static_cast<std::int64_t>(number);
    }
    return std::nullopt;
  }
  if (value.is_string()) return parse_whole<std::int64_t>(value.get_ref<const std::string&>());
  return std::nullopt;
}

std::optional<double> as_number(const Json& value) {
  if (value.is_number()) return value.get<double>();
  if (!value.is_string()) return std::nullopt;
  const auto& text = value.get_ref<const std::string&>();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return std::numeric_limits<double>::infinity();
  if (text == "-Infinity") return -std::numeric_limits<double>::infinity();
  const auto number = parse_whole<double>(text);
  return number && std::isfinite(*number) ? number : std::nullopt;
}

}  // namespace

Result<Params> Params::read(const server::Request& request) {
  Json value = Json::object();
  if (request.method == "GET") {
    for (const auto& [name, text] : request.query) {
      if (!value.contains(name)) {
        value[name] = text;
      } else if (value[name].is_array()) {
        value[name].push_back(text);
      } else {
        value[name] = Json::array({value[name], text});
      }
    }
  } else if (!request.body.empty()) {
    auto parsed = parse_json(request.body, "request body");
    if (!parsed) return parsed.error();
    if (!parsed->is_object()) {
      return invalid_argument(
          fmt::format("the request body must be a JSON object, not {}", parsed->type_name()));
    }
    value = *std::move(parsed);
  }
  for (const auto& [name, text] : request.params) value[name] = text;
  return Params(std::move(value), "", std::make_shared<std::optional<Error>>());
}

const Json* Params::find(std::string_view name) const {
  const auto at = value_.find(name);
  return at == value_.end() || at->is_null() ? nullptr : &*at;
}

void Params::invalid(std::string_view name, const Json& value, std::string_view wanted) {
  std::string seen = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (seen.size() > 200) seen = seen.substr(0, 200) + "…";
  fail(invalid_argument(fmt::format("Invalid value {} for parameter '{}{}' supplied: {} is wanted",
                                    seen, place_, name, wanted)));
}

void Params::missing(std::string_view name) {
  fail(invalid_argument(fmt::format("Missing value for required parameter '{}{}'", place_, name)));
}

std::optional<std::string> Params::maybe_text(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) return value->get<std::string>();
  invalid(name, *value, "a text");
  return std::nullopt;
}

std::string Params::text_or_empty(std::string_view name) {
  return maybe_text(name).value_or(std::string());
}

std::string Params::text(std::string_view name) {
  auto value = text_or_empty(name);
  if (value.empty()) missing(name);
  return value;
}

std::optional<std::int64_t> Params::maybe_integer(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) return std::nullopt;
  const auto number = as_integer(*value);
  if (!number) invalid(name, *value, "a whole number");
  return number;
}

std::int64_t Params::integer(std::string_view name, std::int64_t missing) {
  return maybe_integer(name).value_or(missing);
}

std::int64_t Params::integer(std::string_view name) {
  if (find(name) == nullptr) missing(name);
  return integer(name, 0);
}

double Params::number(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) {
    missing(name);
    return 0;
  }
  const auto number = as_number(*value);
  if (!number) invalid(name, *value, "a number");
  return number.value_or(0);
}

bool Params::flag(std::string_view name, bool missing) {
  const Json* value = find(name);
  if (value == nullptr) return missing;
  if (value->is_boolean()) return value->get<bool>();
  if (*value == "true" || *value == "True") return true;
  if (*value == "false" || *value == "False") return false;
  invalid(name, *value, "true or false");
  return missing;
}

std::vector<std::string> Params::texts(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  if (value->is_string()) return {value->get<std::string>()};
  std::vector<std::string> texts;
  if (!value->is_array()) {
    invalid(name, *value, "a list of texts");
    return texts;
  }
  for (const auto& item : *value) {
    if (item.is_string()) {
      texts.push_back(item.get<std::string>());
    } else {
      invalid(name, *value, "a list of texts");
    }
  }
  return texts;
}

std::vector<Params> Params::objects(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) return {};
  std::vector<Params> objects;
  if (!value->is_array()) {
    invalid(name, *value, "a list of objects");
    return objects;
  }
  for (std::size_t i = 0; i < value->size(); ++i) {
    if (!(*value)[i].is_object()) {
      invalid(name, *value, "a list of objects");
      return {};
    }
    objects.push_back(Params((*value)[i], fmt::format("{}{}[{}].", place_, name, i), problem_));
  }
  return objects;
}

Params Params::object(std::string_view name) {
  const Json* value = find(name);
  if (value == nullptr) {
    missing(name);
  } else if (!value->is_object()) {
    invalid(name, *value, "an object");
  } else {
    return Params(*value, fmt::format("{}{}.", place_, name), problem_);
  }
  return Params(Json::object(), fmt::format("{}{}.", place_, name), problem_);
}

std::map<std::string, std::string> Params::text_map(std::string_view name) {
  std::map<std::string, std::string> map;
  const Json* value = find(name);
  if (value == nullptr) return map;
  if (!value->is_object()) {
    invalid(name, *value, "an object");
    return map;
  }
  for (const auto& [key, text] : value->items()) {
    if (text.is_string()) {
      map[key] = text.get<std::string>();
    } else {
      invalid(std::string(name) + "." + key, text, "a text");
    }
  }
  return map;
}

tracking::RunId Params::run_id() {
  auto old_name = text_or_empty("run_uuid");
  return {find("run_id") == nullptr && !old_name.empty() ? std::move(old_name) : text("run_id")};
}

tracking::ExperimentId Params::experiment_id(std::string_view name) {
  const auto value = text(name);
  if (value.empty()) return {};
  const auto id = tracking::ExperimentId::parse(value);
  if (id) return *id;
  fail(id.error());
  return {};
}

tracking::View Params::view(std::string_view name) {
  const auto value = maybe_text(name);
  if (!value || *value == "ACTIVE_ONLY") return tracking::View::active_only;
  if (*value == "DELETED_ONLY") return tracking::View::deleted_only;
  if (*value == "ALL") return tracking::View::all;
  invalid(name, *value, "ACTIVE_ONLY, DELETED_ONLY or ALL");
  return tracking::View::active_only;
}

tracking::Tags Params::tags() {
  tracking::Tags tags;
  for (auto& tag : objects("tags")) {
    auto key = tag.text("key");
    tags[std::move(key)] = tag.text_or_empty("value");
  }
  return tags;
}

std::int64_t Params::version() {
  const Json* value = find("version");
  if (value == nullptr) {
    missing("version");
    return 0;
  }
  const auto number = as_integer(*value);
  if (!number || *number < 1) {
    invalid("version", *value, "the number of a model version");
    return 0;
  }
  return *number;
}

}  // namespace slipway::api::mlflow
