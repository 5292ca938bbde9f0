// HTTP as handlers see it: a parsed request, a response, and a router whose every route names who
// may use it. No socket, no Beast: those stay in server/*.cpp.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/context.h"
#include "base/result.h"

namespace slipway::server {

struct Request {
  std::string method;  // "GET"
  std::string target;  // as sent
  std::string path;  // decoded once, normalised; refused before any handler when it holds "..", NUL
                     // or a backslash
  std::vector<std::pair<std::string, std::string>> query;    // decoded
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case
  std::vector<std::pair<std::string, std::string>>
      params;  // from the route's {name} parts, decoded
  std::string body;

  std::string_view header(std::string_view lower_case_name) const;  // "" when missing
  std::string_view param(std::string_view name) const;
  std::string_view query_value(std::string_view name) const;  // "" when missing
  bool has_query(std::string_view name) const;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
};

Response json_text(int status, std::string body);
Response plain_text(int status, std::string body);

// Called exactly once, from any thread.
using Respond = std::function<void(Response)>;
// Runs on an io thread: must not block.
using AsyncHandler = std::function<void(Context, std::shared_ptr<Request>, Respond)>;
// Runs on the worker pool: may block on database and files.
using Handler = std::function<Response(const Context&, const Request&)>;
// Turns an Error into the protocol's own body; each family of routes has one.
using ErrorForm = Response (*)(const Error&);

// What a caller must be allowed to do. With authentication off (loopback only) everything is
// granted.
enum class Access { open, read, use, edit, manage };

class Router {
 public:
  Router();
  ~Router();
  // pattern: "/v2/models/{model}/infer"; a last part "{path*}" takes the rest. Ambiguous or doubled
  // routes abort at start.
  void add(std::string method, std::string pattern, Access access, ErrorForm errors,
           Handler handler);
  void add_async(std::string method, std::string pattern, Access access, ErrorForm errors,
                 AsyncHandler handler);

  struct Route {
    std::string method;
    std::string pattern;
    Access access;
    ErrorForm errors;
    Handler handler;  // one of the two
    AsyncHandler async_handler;
  };
  struct Match {
    const Route* route = nullptr;  // null: none
    std::vector<std::pair<std::string, std::string>> params;
    std::vector<std::string> allowed;  // methods the path has, when only the method is wrong (405)
  };
  Match match(std::string_view method, std::string_view path) const;
  // How errors look under this path, decoded or not, even where no route is; null when nothing near
  // has a say.
  ErrorForm errors_for(std::string_view path) const;
  std::vector<const Route*> routes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::server
