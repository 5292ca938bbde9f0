// The request target as handlers may see it: path and query decoded once, refused where two readers
// could see two things.
#pragma once
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace slipway::server {

struct Target {
  std::string path;  // begins with '/', no empty segments, no trailing '/'
  std::vector<std::pair<std::string, std::string>> query;
};

// invalid_argument names what is wrong: a bad escape, a "." or ".." segment, a backslash, an
// encoded slash, a control character, text that is not UTF-8.
Result<Target> parse_target(std::string_view target);
// Path of a target, undecoded: "/a/b" of "http://host/a/b?c".
std::string_view raw_path(std::string_view target);

// Which names a browser may call this server by. A page of another site that got its name pointed
// at 127.0.0.1 (DNS rebinding) sends its own name as Host; a form of another site sends its Origin.
// An address in figures cannot be pointed elsewhere, so `any_address` allows those.
class HostRules {
 public:
  explicit HostRules(const std::vector<std::string>& more_names, bool any_address = false);
  bool host_allowed(std::string_view host) const;  // the Host header, with or without port
  bool origin_allowed(std::string_view origin,
                      std::string_view host) const;  // for requests that change something

 private:
  std::vector<std::string> names_;  // lower case
  bool any_address_;
};

}  // namespace slipway::server
