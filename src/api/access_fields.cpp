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
  // once: nothing can be named twice, so that the first is all there is.
  Finder(std::string_view body, bool once) : json_(body, kMaxDepth), once_(once) {}

  Result<std::vector<std::string>> find(const Fields& fields) {
    if (json_.kind() != JsonCursor::Kind::object)
      return invalid_argument("the request body must be a JSON object");
    if (auto walked = object(fields); !walked) return walked.error();
    if (once_ && !values_.empty()) return std::move(values_);
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
      if (once_ && !values_.empty()) return {};
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
          const bool within = json_.kind() == JsonCursor::Kind::object;
          if (auto read = value(here, below); !read) return read;
          if (once_ && within && !values_.empty()) return {};  // found, and not read to its end
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
  const bool once_;
  std::vector<std::string> values_;
};

// How often the body may name one of the fields: 0, 1, or more. Letters of a key may be escaped, so
// that a body with backslashes may hold any.
int times_named(std::string_view body, const Fields& fields) {
  if (body.find('\\') != std::string_view::npos) return 2;
  std::set<std::string_view> keys;
  for (const std::string_view field : fields) keys.insert(field.substr(field.rfind('.') + 1));
  int times = 0;
  for (const std::string_view key : keys) {
    for (auto at = body.find(key); at != std::string_view::npos && times < 2;
         at = body.find(key, at + 1))
      ++times;
  }
  return times;
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
  // Most bodies name a thing once, early on, and are long behind that; or not at all.
  const int times = times_named(request.body, wanted);
  if (times == 0) return values;
  auto in_body = Finder(request.body, times == 1).find(wanted);
  if (!in_body) return in_body.error();
  values.insert(values.end(), std::make_move_iterator(in_body->begin()),
                std::make_move_iterator(in_body->end()));
  return values;
}

}  // namespace slipway::api
