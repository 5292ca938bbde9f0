#include "pipeline/params_internal.h"

#include <cstdlib>

#include "pipeline/references_internal.h"

namespace slipway::pipeline {
namespace {

constexpr std::pair<ParamType, std::string_view> kTypes[] = {
    {ParamType::text, "text"},     {ParamType::integer, "integer"},
    {ParamType::number, "number"}, {ParamType::boolean, "boolean"},
    {ParamType::time, "time"},     {ParamType::duration, "duration"},
    {ParamType::list, "list"},     {ParamType::mapping, "mapping"}};

std::optional<ParamType> type_named(std::string_view name) {
  for (const auto& [type, text] : kTypes) {
    if (text == name) return type;
  }
  return std::nullopt;
}

std::vector<std::string> type_names() {
  std::vector<std::string> names;
  for (const auto& [type, text] : kTypes) names.emplace_back(text);
  return names;
}

ParamType type_of(const Json& value) {
  if (value.is_boolean()) return ParamType::boolean;
  if (value.is_number_integer()) return ParamType::integer;
  if (value.is_number()) return ParamType::number;
  if (value.is_array()) return ParamType::list;
  if (value.is_object()) return ParamType::mapping;
  return ParamType::text;
}

template <class Number>
Result<Json> parse_number(const std::string& text, std::string_view wanted) {
  Number number{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{} || end != text.data() + text.size()) {
    return invalid_argument(fmt::format("'{}' is no {}", text, wanted));
  }
  return Json(number);
}

// A value written as text, on the command line say.
Result<Json> read_text(ParamType type, const std::string& text) {
  switch (type) {
    case ParamType::integer:
      return parse_number<std::int64_t>(text, "integer");
    case ParamType::number:
      return parse_number<double>(text, "number");
    case ParamType::boolean:
      if (text == "true" || text == "yes") return Json(true);
      if (text == "false" || text == "no") return Json(false);
      return invalid_argument(fmt::format("'{}' is no boolean: write true or false", text));
    case ParamType::time:
      if (const auto time = parse_time(text); !time) return time.error();
      return Json(text);
    case ParamType::duration:
      if (const auto duration = parse_duration(text); !duration) return duration.error();
      return Json(text);
    case ParamType::list: {
      if (text.starts_with("[")) return parse_json(text, "the list");
      Json list = Json::array();
      std::istringstream items(text);
      for (std::string item; std::getline(items, item, ',');) list.push_back(item);
      return list;
    }
    case ParamType::mapping: {
      auto value = parse_json(text, "the mapping");
      if (value && !value->is_object()) {
        return invalid_argument(fmt::format("'{}' is no JSON object", text));
      }
      return value;
    }
    case ParamType::text:
      break;
  }
  return Json(text);
}

// A default, as the file has it.
Result<Json> read_value(ParamType type, const Json& value) {
  const bool fits = type == type_of(value) || (type == ParamType::number && value.is_number()) ||
                    (type == ParamType::text && value.is_primitive() && !value.is_null());
  if (type == ParamType::text && fits && !value.is_string()) return Json(value.dump());
  if (fits) return value;
  if (value.is_string() && (type == ParamType::time || type == ParamType::duration)) {
    return read_text(type, value.get<std::string>());
  }
  return invalid_argument(fmt::format("the default {} is no {}", value.dump(), to_string(type)));
}

bool is_declaration(const Json& value) {
  static const std::set<std::string> kKeys = {"type", "default", "help", "choices"};
  if (!value.is_object() || !(value.contains("type") || value.contains("default"))) return false;
  for (const auto& [key, item] : value.items()) {
    if (!kKeys.contains(key)) return false;
  }
  return true;
}

Result<Json> environment_value(const Reference& reference) {
  if (reference.root != Reference::Root::env) {
    return invalid_argument(
        fmt::format("'{}' cannot stand in a parameter: only ${{env.NAME}} can", reference.text));
  }
  const char* value =
      std::getenv(reference.name.c_str());  // NOLINT(concurrency-mt-unsafe): nobody sets it
  if (value == nullptr) {
    return failed_precondition(
        fmt::format("the environment variable {} is not set", reference.name));
  }
  return Json(std::string(value));
}

}  // namespace

std::string_view to_string(ParamType type) {
  for (const auto& [candidate, text] : kTypes) {
    if (candidate == type) return text;
  }
  return "text";
}

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  if (const auto near = nearest(word, candidates))
    return fmt::format("; did you mean '{}'?", *near);
  if (candidates.empty()) return "; there are none";
  return fmt::format("; there are: {}", fmt::join(candidates, ", "));
}

std::pair<int, int> position(const SpecDocument& document, const std::string& pointer) {
  const std::string place = document.place(pointer);  // "name:12:5"
  const auto column = place.rfind(':');
  const auto line = column == std::string::npos ? column : place.rfind(':', column - 1);
  if (line == std::string::npos) return {0, 0};
  return {std::atoi(place.c_str() + line + 1), std::atoi(place.c_str() + column + 1)};
}

std::vector<Param> read_params(const SpecDocument& document,
                               const std::map<std::string, std::string>& overrides,
                               const NoteProblem& problem) {
  std::vector<Param> params;
  const auto section = document.root().find("params");
  if (section != document.root().end() && !section->is_null() && !section->is_object()) {
    problem("/params", invalid_argument("params must be a mapping of names to defaults"));
    return params;
  }
  const Json declared =
      section == document.root().end() || section->is_null() ? Json::object() : *section;

  for (const auto& [name, written] : declared.items()) {
    const std::string pointer = json_pointer("/params", name);
    const Lookup lookup = [](const Reference& reference,
                             const std::string&) -> Result<std::optional<Json>> {
      auto value = environment_value(reference);
      if (!value) return value.error();
      return std::optional<Json>(std::move(*value));
    };
    // An override makes what the default refers to unimportant.
    const auto override_text = overrides.find(name);
    const bool given = override_text != overrides.end();
    const Json value = replace_references(written, pointer, Escapes::resolve, lookup,
                                          [&](const std::string& where, const Error& error) {
                                            if (!given) problem(where, error);
                                          });

    Param param;
    param.name = name;
    param.type = type_of(value);
    param.value = value;
    param.given = given;
    Json choices;
    if (is_declaration(value)) {
      param.value = value.value("default", Json());
      param.type = type_of(param.value);
      if (value.contains("help") && value["help"].is_string()) param.help = value["help"];
      choices = value.value("choices", Json());
      if (value.contains("type")) {
        const std::string type =
            value["type"].is_string() ? value["type"].get<std::string>() : value["type"].dump();
        const auto known = type_named(type);
        if (!known) {
          problem(pointer + "/type", invalid_argument(fmt::format("unknown type '{}'{}", type,
                                                                  suggestion(type, type_names()))));
          continue;
        }
        param.type = *known;
      }
    }

    if (given) {
      auto read = read_text(param.type, override_text->second);
      if (!read) {
        problem(pointer, read.error().at(fmt::format("parameter '{}' as given", name)));
        continue;
      }
      param.value = std::move(*read);
    } else if (param.value.is_null()) {
      problem(pointer,
              invalid_argument(fmt::format(
                  "parameter '{}' has no default: give it with --param {}=VALUE", name, name)));
      continue;
    } else {
      auto read = read_value(param.type, param.value);
      if (!read) {
        problem(pointer, read.error().at(fmt::format("parameter '{}'", name)));
        continue;
      }
      param.value = std::move(*read);
    }
    if (choices.is_array() &&
        std::find(choices.begin(), choices.end(), param.value) == choices.end()) {
      problem(pointer, invalid_argument(fmt::format("parameter '{}' is {}; it can be one of {}",
                                                    name, param.value.dump(), choices.dump())));
      continue;
    }
    params.push_back(std::move(param));
  }

  std::vector<std::string> names;
  for (const auto& [name, written] : declared.items()) names.push_back(name);
  for (const auto& [name, text] : overrides) {
    if (declared.contains(name)) continue;
    problem("", invalid_argument(
                    fmt::format("unknown parameter '{}'{}", name, suggestion(name, names))));
  }
  std::stable_sort(params.begin(), params.end(), [&](const Param& a, const Param& b) {
    return position(document, json_pointer("/params", a.name)) <
           position(document, json_pointer("/params", b.name));
  });
  return params;
}

}  // namespace slipway::pipeline
