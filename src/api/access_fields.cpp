// Finding what a request names, wherever its handler might look for it.
#include "api/access_rules_internal.h"
#include "api/json_cursor_internal.h"

namespace slipway::api {
namespace {

constexpr int kMaxDepth = 64;
constexpr std::size_t kMostValues = 10'000;

using Fields = std::vector<std::string_view>;  // "a.b": what is left of each

class Finder {
 public:
  explicit Finder(std::string_view body) : json_(body, kMaxDepth) {}

  Result<std::vector<std::string>> find(const Fields& fields) {
    if (json_.kind() != JsonCursor::Kind::object)
      return invalid_argument("the request body must be a JSON object");
    if (auto walked = object(fields); !walked) return walked.error();
    if (!json_.finish()) return json_.error().at("request body");
    return std::move(values_);
  }

 private:
  Result<void> object(const Fields& fields) {
    std::set<std::string, std::less<>> seen;
    if (!json_.begin_object()) return json_.error().at("request body");
    for (std::string_view key; json_.next_key(key);) {
      Fields below;
      bool here = false;
      for (const std::string_view field : fields) {
        if (!field.starts_with(key)) continue;
        here |= field.size() == key.size();
        if (field.size() > key.size() && field[key.size()] == '.')
          below.push_back(field.substr(key.size() + 1));
      }
      if ((here || !below.empty()) && !seen.emplace(key).second)
        return invalid_argument(fmt::format("the request body names '{}' twice", key));
      auto read = here || !below.empty() ? value(here, below) : skip();
      if (!read) return read;
    }
    if (!json_.ok()) return json_.error().at("request body");
    return {};
  }

  Result<void> value(bool here, const Fields& below) {
    switch (json_.kind()) {
      case JsonCursor::Kind::object:
        return below.empty() ? skip() : object(below);
      case JsonCursor::Kind::array:
        json_.begin_array();
        while (json_.next_item()) {
          if (auto read = value(here, below); !read) return read;
        }
        break;
      case JsonCursor::Kind::string: {
        std::string_view text;
        if (json_.read_string(text) && here) add(std::string(text));
        break;
      }
      case JsonCursor::Kind::number: {
        const std::string_view text = json_.take();
        if (here) add(std::string(text));
        break;
      }
      default:
        return skip();
    }
    if (!json_.ok()) return json_.error().at("request body");
    if (values_.size() > kMostValues)
      return invalid_argument(
          fmt::format("the request names more than {} things at once", kMostValues));
    return {};
  }

  Result<void> skip() {
    if (!json_.skip()) return json_.error().at("request body");
    return {};
  }

  void add(std::string text) { values_.push_back(std::move(text)); }

  JsonCursor json_;
  std::vector<std::string> values_;
};

// Most large bodies do not name what is optional: one look tells. Letters of a key may be escaped.
bool may_name(std::string_view body, const Fields& fields) {
  if (body.find('\\') != std::string_view::npos) return true;
  return std::ranges::any_of(fields, [&](std::string_view field) {
    return body.find(field.substr(field.rfind('.') + 1)) != std::string_view::npos;
  });
}

}  // namespace

Result<std::vector<std::string>> named_values(const server::Request& request,
                                              std::span<const std::string_view> fields) {
  Fields wanted;
  for (const std::string_view field : fields) {
    if (!field.empty()) wanted.push_back(field);
  }
  std::vector<std::string> values;
  constexpr std::string_view kHeader = "header:";
  std::erase_if(wanted, [&](std::string_view field) {
    if (!field.starts_with(kHeader)) return false;
    const auto value = request.header(field.substr(kHeader.size()));
    if (!value.empty()) values.emplace_back(value);
    return true;
  });
  if (wanted.empty()) return values;
  // As a part of the path the field decides alone: handlers let it win over all others.
  for (const auto& [name, value] : request.params) {
    if (std::ranges::find(wanted, name) != wanted.end()) values.push_back(value);
  }
  if (!values.empty()) return values;
  for (const auto& [name, value] : request.query) {
    if (std::ranges::find(wanted, name) != wanted.end()) values.push_back(value);
  }
  if (!may_name(request.body, wanted)) return values;
  auto in_body = Finder(request.body).find(wanted);
  if (!in_body) return in_body.error();
  values.insert(values.end(), std::make_move_iterator(in_body->begin()),
                std::make_move_iterator(in_body->end()));
  return values;
}

}  // namespace slipway::api
