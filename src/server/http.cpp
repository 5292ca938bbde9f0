#include "server/http.h"

#include <cstdio>
#include <cstdlib>

namespace slipway::server {
namespace {

std::string_view find(const std::vector<std::pair<std::string, std::string>>& pairs,
                      std::string_view name) {
  for (const auto& [key, value] : pairs) {
    if (key == name) return value;
  }
  return {};
}

std::string_view next_segment(std::string_view& rest) {
  while (rest.starts_with('/')) rest.remove_prefix(1);
  const std::string_view segment = rest.substr(0, rest.find('/'));
  rest.remove_prefix(segment.size());
  return segment;
}

[[noreturn]] void refuse_route(const std::string& method, const std::string& pattern,
                               std::string_view why) {
  fmt::print(stderr, "slipway: the route {} {} {}\n", method, pattern, why);
  std::abort();
}

}  // namespace

std::string_view Request::header(std::string_view name) const { return find(headers, name); }
std::string_view Request::param(std::string_view name) const { return find(params, name); }
std::string_view Request::query_value(std::string_view name) const { return find(query, name); }
bool Request::has_query(std::string_view name) const {
  return std::ranges::any_of(query, [&](const auto& pair) { return pair.first == name; });
}

Response json_text(int status, std::string body) {
  return {.status = status, .body = std::move(body)};
}
Response plain_text(int status, std::string body) {
  return {.status = status, .content_type = "text/plain; charset=utf-8", .body = std::move(body)};
}

// A tree of path segments. At each node a literal wins over {name}, and {name} over {path*}.
struct Router::Impl {
  struct Entry {
    Route route;
    std::vector<std::string> names;  // of its {name} parts, in order
  };
  struct Node {
    std::map<std::string, std::unique_ptr<Node>, std::less<>> literals;
    std::unique_ptr<Node> parameter;
    std::vector<const Entry*> here;
    std::vector<const Entry*> rest;  // {path*}
    ErrorForm errors = nullptr;      // of the first route at or below
  };
  struct Search {
    std::string_view method;
    std::vector<std::string_view> values{};
    std::vector<std::string> allowed{};
    const Entry* found = nullptr;
  };

  Node root;
  std::vector<std::unique_ptr<Entry>> entries;

  static bool choose(const std::vector<const Entry*>& candidates, Search& search) {
    const Entry* get = nullptr;
    for (const Entry* entry : candidates) {
      if (entry->route.method == search.method) {
        search.found = entry;
        return true;
      }
      if (entry->route.method == "GET") get = entry;
    }
    if (search.method == "HEAD" && get != nullptr) {
      search.found = get;
      return true;
    }
    for (const Entry* entry : candidates) search.allowed.push_back(entry->route.method);
    return false;
  }

  static bool walk(const Node& node, std::string_view rest, Search& search) {
    const std::string_view whole = rest.starts_with('/') ? rest.substr(1) : rest;
    const std::string_view segment = next_segment(rest);
    if (segment.empty()) {
      if (choose(node.here, search)) return true;
    } else {
      if (const auto literal = node.literals.find(segment);
          literal != node.literals.end() && walk(*literal->second, rest, search)) {
        return true;
      }
      if (node.parameter != nullptr) {
        search.values.push_back(segment);
        if (walk(*node.parameter, rest, search)) return true;
        search.values.pop_back();
      }
    }
    if (node.rest.empty()) return false;
    search.values.push_back(whole);
    if (choose(node.rest, search)) return true;
    search.values.pop_back();
    return false;
  }

  void add(Route route) {
    auto entry = std::make_unique<Entry>(Entry{.route = std::move(route), .names = {}});
    const std::string& method = entry->route.method;
    const std::string& pattern = entry->route.pattern;
    if (!pattern.starts_with('/')) refuse_route(method, pattern, "does not begin with '/'");
    Node* node = &root;
    std::vector<const Entry*>* place = nullptr;
    std::string_view rest = pattern;
    for (std::string_view part = next_segment(rest); !part.empty(); part = next_segment(rest)) {
      if (place != nullptr) refuse_route(method, pattern, "has something behind its {path*}");
      if (part.starts_with('{') && part.ends_with("*}")) {
        entry->names.emplace_back(part.substr(1, part.size() - 3));
        place = &node->rest;
      } else if (part.starts_with('{') && part.ends_with('}')) {
        entry->names.emplace_back(part.substr(1, part.size() - 2));
        if (node->parameter == nullptr) node->parameter = std::make_unique<Node>();
        node = node->parameter.get();
        if (node->errors == nullptr) node->errors = entry->route.errors;
      } else {
        auto& child = node->literals[std::string(part)];
        if (child == nullptr) child = std::make_unique<Node>();
        node = child.get();
        if (node->errors == nullptr) node->errors = entry->route.errors;
      }
    }
    if (place == nullptr) place = &node->here;
    for (const Entry* other : *place) {
      if (other->route.method == method) refuse_route(method, pattern, "is there twice");
    }
    place->push_back(entry.get());
    entries.push_back(std::move(entry));
  }
};

Router::Router() : impl_(std::make_unique<Impl>()) {}
Router::~Router() = default;

void Router::add(std::string method, std::string pattern, Access access, ErrorForm errors,
                 Handler handler, std::uint64_t max_body_bytes) {
  impl_->add({.method = std::move(method),
              .pattern = std::move(pattern),
              .access = access,
              .errors = errors,
              .handler = std::move(handler),
              .max_body_bytes = max_body_bytes});
}

void Router::add_async(std::string method, std::string pattern, Access access, ErrorForm errors,
                       AsyncHandler handler, std::uint64_t max_body_bytes) {
  impl_->add({.method = std::move(method),
              .pattern = std::move(pattern),
              .access = access,
              .errors = errors,
              .async_handler = std::move(handler),
              .max_body_bytes = max_body_bytes});
}

void Router::add_upload(std::string method, std::string pattern, Access access, ErrorForm errors,
                        UploadHandler handler, std::uint64_t max_body_bytes) {
  impl_->add({.method = std::move(method),
              .pattern = std::move(pattern),
              .access = access,
              .errors = errors,
              .upload_handler = std::move(handler),
              .max_body_bytes = max_body_bytes});
}

Router::Match Router::match(std::string_view method, std::string_view path) const {
  Impl::Search search{.method = method};
  Match match;
  if (Impl::walk(impl_->root, path, search)) {
    match.route = &search.found->route;
    match.params.reserve(search.values.size());
    for (std::size_t i = 0; i < search.values.size(); ++i) {
      match.params.emplace_back(search.found->names[i], std::string(search.values[i]));
    }
    return match;
  }
  std::ranges::sort(search.allowed);
  const auto doubled = std::ranges::unique(search.allowed);
  search.allowed.erase(doubled.begin(), doubled.end());
  match.allowed = std::move(search.allowed);
  return match;
}

ErrorForm Router::errors_for(std::string_view path) const {
  const Impl::Node* node = &impl_->root;
  for (std::string_view part = next_segment(path); !part.empty(); part = next_segment(path)) {
    const auto literal = node->literals.find(part);
    const Impl::Node* next =
        literal != node->literals.end() ? literal->second.get() : node->parameter.get();
    if (next == nullptr) break;
    node = next;
  }
  return node->errors;
}

std::vector<const Router::Route*> Router::routes() const {
  std::vector<const Route*> all;
  for (const auto& entry : impl_->entries) all.push_back(&entry->route);
  return all;
}

}  // namespace slipway::server
