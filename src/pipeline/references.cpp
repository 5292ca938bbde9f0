#include "pipeline/references_internal.h"

namespace slipway::pipeline {
namespace {

Error reference_error(std::string_view text) {
  return invalid_argument(
      fmt::format("'{}' is no reference: write ${{params.NAME}}, ${{steps.STEP.OUTPUT}} or "
                  "${{env.NAME}}; for a "
                  "literal (a shell variable, say) write ${}",
                  text, text));
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == separator) {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

Result<Reference> parse_reference(std::string_view text) {  // "${...}"
  auto parts = split(text.substr(2, text.size() - 3), '.');
  if (parts.size() < 2 ||
      std::any_of(parts.begin(), parts.end(), [](const auto& part) { return part.empty(); })) {
    return reference_error(text);
  }
  Reference reference;
  reference.text = text;
  if (parts[0] == "params") {
    reference.root = Reference::Root::params;
  } else if (parts[0] == "steps") {
    reference.root = Reference::Root::steps;
    if (parts.size() < 3) {
      return invalid_argument(
          fmt::format("'{}' names no output: write ${{steps.{}.OUTPUT}}, or put the step under "
                      "`needs` to only wait for it",
                      text, parts[1]));
    }
  } else if (parts[0] == "env" && parts.size() == 2) {
    reference.root = Reference::Root::env;
  } else {
    return reference_error(text);
  }
  reference.name = std::move(parts[1]);
  reference.path.assign(std::make_move_iterator(parts.begin() + 2),
                        std::make_move_iterator(parts.end()));
  return reference;
}

std::string escape_text(std::string_view text) {
  std::string escaped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '$' && i + 1 < text.size() && text[i + 1] == '{') escaped += '$';
    escaped += text[i];
  }
  return escaped;
}

Json escape(const Json& value) {
  if (value.is_string()) return escape_text(value.get_ref<const std::string&>());
  if (!value.is_structured()) return value;
  Json escaped = value;
  for (auto& item : escaped) item = escape(item);
  return escaped;
}

std::string written_out(const Json& value) {
  return value.is_string() ? value.get<std::string>() : canonical(value);
}

struct Replacer {
  Escapes escapes;
  const Lookup& lookup;
  const std::function<void(const std::string&, const Error&)>& problem;

  Json text(const std::string& text, const std::string& pointer) const {
    std::string result;
    std::size_t at = 0;
    while (true) {
      const auto open = text.find("${", at);
      if (open == std::string::npos) break;
      result.append(text, at, open - at);
      if (open > at && text[open - 1] == '$') {  // "$${": the dollar before it is already copied
        result += escapes == Escapes::keep ? "${" : "{";
        at = open + 2;
        continue;
      }
      const auto close = text.find('}', open);
      if (close == std::string::npos) {
        problem(pointer, invalid_argument("'${' without its '}'; for a literal write '$${'"));
        return text;
      }
      const auto written = std::string_view(text).substr(open, close + 1 - open);
      at = close + 1;
      const auto reference = parse_reference(written);
      if (!reference) {
        problem(pointer, reference.error());
        continue;
      }
      auto found = lookup(*reference, pointer);
      if (!found) {
        problem(pointer, found.error());
      } else if (!*found) {
        result += written;
      } else if (open == 0 && at == text.size()) {
        return escapes == Escapes::keep ? escape(**found) : std::move(**found);
      } else {
        const std::string value = written_out(**found);
        result += escapes == Escapes::keep ? escape_text(value) : value;
      }
    }
    result.append(text, at, std::string::npos);
    return result;
  }

  Json any(const Json& value, const std::string& pointer) const {
    if (value.is_string()) return text(value.get_ref<const std::string&>(), pointer);
    if (value.is_object()) {
      Json result = Json::object();
      for (const auto& [key, item] : value.items())
        result[key] = any(item, json_pointer(pointer, key));
      return result;
    }
    if (value.is_array()) {
      Json result = Json::array();
      for (std::size_t i = 0; i < value.size(); ++i) {
        result.push_back(any(value[i], json_pointer(pointer, std::to_string(i))));
      }
      return result;
    }
    return value;
  }
};

}  // namespace

Json replace_references(const Json& value, const std::string& pointer, Escapes escapes,
                        const Lookup& lookup,
                        const std::function<void(const std::string&, const Error&)>& problem) {
  return Replacer{escapes, lookup, problem}.any(value, pointer);
}

const Json* follow_path(const Json& value, const std::vector<std::string>& path, std::size_t from) {
  if (from == path.size()) return &value;
  if (value.is_array()) {
    std::size_t index = 0;
    const auto& digits = path[from];
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
    if (error != std::errc{} || end != digits.data() + digits.size() || index >= value.size()) {
      return nullptr;
    }
    return follow_path(value[index], path, from + 1);
  }
  if (!value.is_object()) return nullptr;
  std::string key;
  for (std::size_t to = from; to < path.size(); ++to) {
    key += (to == from ? "" : ".") + path[to];
    const auto item = value.find(key);
    if (item == value.end()) continue;
    if (const Json* found = follow_path(*item, path, to + 1)) return found;
  }
  return nullptr;
}

std::string json_pointer(const std::string& parent, std::string_view key) {
  std::string pointer = parent + "/";
  for (const char c : key) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer += c;
    }
  }
  return pointer;
}

}  // namespace slipway::pipeline
