#include <arpa/inet.h>

#include <array>

#include "base/utf8.h"
#include "server/target_internal.h"

namespace slipway::server {
namespace {

int hex(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool decode(std::string_view text, bool plus_is_space, std::string& out) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%') {
      if (i + 2 >= text.size()) return false;
      const int high = hex(text[i + 1]);
      const int low = hex(text[i + 2]);
      if (high < 0 || low < 0) return false;
      out.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    } else {
      out.push_back(plus_is_space && text[i] == '+' ? ' ' : text[i]);
    }
  }
  return true;
}

bool has_control(std::string_view text) {
  return std::ranges::any_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7F; });
}

Error bad_path(std::string_view why) {
  return invalid_argument(fmt::format("the path of the request {}", why));
}

Result<std::string> decode_path(std::string_view raw) {
  std::string path;
  path.reserve(raw.size());
  std::string segment;
  for (std::size_t begin = 0; begin < raw.size();) {
    const std::size_t end = std::min(raw.find('/', begin), raw.size());
    if (end > begin) {
      segment.clear();
      if (!decode(raw.substr(begin, end - begin), false, segment)) {
        return bad_path("has a '%' that two hexadecimal digits do not follow");
      }
      if (segment == "." || segment == "..")
        return bad_path("has a segment '.' or '..'; name the place directly");
      if (segment.find('/') != std::string::npos)
        return bad_path("has an encoded slash ('%2F'), which no name may have");
      if (segment.find('\\') != std::string::npos)
        return bad_path("has a backslash, which no name may have");
      if (has_control(segment)) return bad_path("has a control character");
      if (!is_utf8(segment)) return bad_path("is not UTF-8");
      path.push_back('/');
      path += segment;
    }
    begin = end + 1;
  }
  if (path.empty()) path = "/";
  return path;
}

std::string lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

bool same_text(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, [](char x, char y) {
    const auto low = [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    };
    return low(x) == low(y);
  });
}

std::string_view without_port(std::string_view authority) {
  if (authority.starts_with('[')) {
    const std::size_t close = authority.find(']');
    return close == std::string_view::npos ? authority : authority.substr(0, close + 1);
  }
  return authority.substr(0, authority.find(':'));
}

// "192.0.2.7" or "[2001:db8::7]".
bool is_address(std::string_view name) {
  const std::string text(name);
  in6_addr parsed{};
  if (text.size() > 2 && text.front() == '[' && text.back() == ']')
    return ::inet_pton(AF_INET6, text.substr(1, text.size() - 2).c_str(), &parsed) == 1;
  return ::inet_pton(AF_INET, text.c_str(), &parsed) == 1;
}

}  // namespace

std::string_view raw_path(std::string_view target) {
  target = target.substr(0, target.find_first_of("?#"));
  if (const std::size_t scheme = target.find("://");
      scheme != std::string_view::npos && !target.starts_with('/')) {
    const std::size_t path = target.find('/', scheme + 3);
    return path == std::string_view::npos ? std::string_view("/") : target.substr(path);
  }
  return target;
}

Result<Target> parse_target(std::string_view target) {
  const std::string_view raw = raw_path(target);
  if (!raw.starts_with('/')) return bad_path("does not begin with '/'");
  auto path = decode_path(raw);
  if (!path) return path.error();
  Target parsed{.path = std::move(*path), .query = {}};

  const std::size_t mark = target.find('?');
  std::string_view query =
      mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  query = query.substr(0, query.find('#'));
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    if (pair.empty()) continue;
    const std::size_t equals = pair.find('=');
    std::string name;
    std::string value;
    if (!decode(pair.substr(0, equals), true, name) ||
        (equals != std::string_view::npos && !decode(pair.substr(equals + 1), true, value))) {
      return invalid_argument(
          "the query of the request has a '%' that two hexadecimal digits do not follow");
    }
    if (!is_utf8(name) || !is_utf8(value) || name.find('\0') != std::string::npos ||
        value.find('\0') != std::string::npos) {
      return invalid_argument("the query of the request is not UTF-8 text");
    }
    parsed.query.emplace_back(std::move(name), std::move(value));
  }
  return parsed;
}

HostRules::HostRules(const std::vector<std::string>& more_names, bool any_address)
    : names_{"localhost", "127.0.0.1", "[::1]"}, any_address_(any_address) {
  for (const auto& name : more_names) names_.push_back(lower(name));
}

bool HostRules::host_allowed(std::string_view host) const {
  const std::string_view name = without_port(host);
  if (any_address_ && is_address(name)) return true;
  return std::ranges::any_of(names_,
                             [&](const std::string& allowed) { return same_text(name, allowed); });
}

bool HostRules::origin_allowed(std::string_view origin, std::string_view host) const {
  const std::size_t scheme = origin.find("://");
  if (scheme == std::string_view::npos) return false;  // "null" too
  const std::string_view authority = origin.substr(scheme + 3);
  return host_allowed(authority) && same_text(authority, host);
}

}  // namespace slipway::server
