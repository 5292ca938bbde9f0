// HTTP as handlers see it: a parsed request, a response, and a router whose every route names who
// may use it. No socket, no Beast: those stay in server/*.cpp.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
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
  std::string peer;     // the caller's address: "127.0.0.1"
  bool secure = false;  // came by TLS

  std::string_view header(std::string_view lower_case_name) const;  // "" when missing
  std::string_view param(std::string_view name) const;
  std::string_view query_value(std::string_view name) const;  // "" when missing
  bool has_query(std::string_view name) const;
};

// The bytes of an answer that are read while they are sent, such as a stored file's: read by one
// thread at a time, not always the same. Memory stays flat whatever the size.
class Body {
 public:
  virtual ~Body() = default;
  virtual std::uint64_t size() const = 0;
  // The next bytes, as many as fit; fewer only at the end. May block. After an error the connection
  // is cut before the last byte: the caller sees a broken answer, never a wrong one.
  virtual Result<std::size_t> read(std::span<char> into) = 0;
};

struct Response {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::vector<std::pair<std::string, std::string>> headers;
  std::shared_ptr<Body> stream{};  // not null: sent instead of `body`
};

Response json_text(int status, std::string body);
Response plain_text(int status, std::string body);

// Called exactly once, from any thread.
using Respond = std::function<void(Response)>;
// Runs on an io thread: must not block.
using AsyncHandler = std::function<void(Context, std::shared_ptr<Request>, Respond)>;
// Runs on the worker pool: may block on database and files.
using Handler = std::function<Response(const Context&, const Request&)>;
// Takes the body of one request piece by piece, in order, one call at a time, on threads that may
// block. Destroyed without finish() when the caller went away: nothing may be left of it then.
class Upload {
 public:
  virtual ~Upload() = default;
  // Nothing: more may come. A response is sent at once, and the rest of the body is not taken.
  virtual std::optional<Response> write(std::string_view bytes) = 0;
  virtual Response finish() = 0;  // the body is complete
};
// Runs on the worker pool when the header has come, before any of the body is taken (and before
// "100 Continue" is said): an Upload to take it, or the answer without it.
using UploadHandler =
    std::function<std::variant<std::unique_ptr<Upload>, Response>(const Context&, const Request&)>;
// Turns an Error into the protocol's own body; each family of routes has one.
using ErrorForm = Response (*)(const Error&);

// What a caller must be allowed to do. With authentication off (loopback only) everything is
// granted.
enum class Access { open, read, use, edit, manage };

class Guard;

class Router {
 public:
  Router();
  ~Router();
  // Whom the server asks before it calls any handler (server/guard.h). None: everybody may do
  // everything. The guard outlives the server.
  void set_guard(Guard* guard) { guard_ = guard; }
  Guard* guard() const { return guard_; }
  // pattern: "/v2/models/{model}/infer"; a last part "{path*}" takes the rest. Ambiguous or doubled
  // routes abort at start. max_body_bytes 0: the server's own limit. A larger body is refused (413)
  // before any of it is kept; one in Content-Encoding gzip may not unpack to more either.
  void add(std::string method, std::string pattern, Access access, ErrorForm errors,
           Handler handler, std::uint64_t max_body_bytes = 0);
  void add_async(std::string method, std::string pattern, Access access, ErrorForm errors,
                 AsyncHandler handler, std::uint64_t max_body_bytes = 0);
  // The body is handed on while it comes, never held whole; it may not have a Content-Encoding.
  void add_upload(std::string method, std::string pattern, Access access, ErrorForm errors,
                  UploadHandler handler, std::uint64_t max_body_bytes);

  struct Route {
    std::string method;
    std::string pattern;
    Access access;
    ErrorForm errors;
    Handler handler{};  // one of the three
    AsyncHandler async_handler{};
    UploadHandler upload_handler{};
    std::uint64_t max_body_bytes = 0;  // 0: the server's
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
  Guard* guard_ = nullptr;
};

}  // namespace slipway::server
