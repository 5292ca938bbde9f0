// The one way out: every HTTP request this program makes (webhooks, downloads, other servers) goes
// through here, so that one policy decides where it may go. Only http and https; no redirects
// unless asked for, and each hop is checked anew; proxies of the environment are ignored;
// certificates are verified. An answer with any status is a value; only a request that got no whole
// answer is an error.
//   HttpClient http(EgressPolicy::parse({"hooks.example.org"}).value(), clock);
//   auto answer = http.send(ctx, {.method = "POST", .url = "https://hooks.example.org/alerts",
//   .body = text}); if (answer && answer->status / 100 == 2) …
// Thread-safe; calls block until the answer is there, the time is over, or the context is cancelled
// (at once). Connections are kept and used again.
#pragma once
#include <chrono>
#include <cstddef>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/result.h"
#include "net/egress.h"

namespace slipway::net {

using Headers = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method = "GET";
  std::string url;
  Headers headers;
  std::string body;
  std::chrono::milliseconds timeout{
      30'000};  // for everything; the context's deadline may be nearer
  std::size_t max_response_bytes = std::size_t{16} << 20;
  int max_redirects = 0;  // followed for GET and HEAD only
  // Takes the body of a 2xx answer piece by piece, instead of HttpResponse::body and without its
  // limit. Its error ends the request and is returned.
  std::function<Result<void>(std::string_view)> sink{};
  // Not 0: deadline_exceeded when no byte came or went for so long. For bodies whose size says
  // nothing about how long they may take: give `timeout` hours then.
  std::chrono::seconds stall{0};
};

struct HttpResponse {
  int status = 0;
  Headers headers;  // names in lower case
  std::string body;
  std::string_view header(
      std::string_view lower_case_name) const;  // the first one; "" when missing
};

struct HttpOptions {
  std::filesystem::path ca_file;  // trusted certificates (PEM); empty: the system's
  std::chrono::milliseconds connect_timeout{10'000};
  std::size_t max_idle = 16;  // handles kept, each with its connections
  std::string user_agent = "slipway";
};

class HttpClient {
 public:
  HttpClient(EgressPolicy policy, const Clock& clock,
             HttpOptions options = {});  // the clock outlives the client
  ~HttpClient();

  // Errors: invalid_argument (URL, method, header), permission_denied (policy), deadline_exceeded,
  // cancelled, resource_exhausted (answer larger than allowed), unavailable (no connection, broken
  // off, certificate not trusted). Messages hold scheme, host and path, never the query, headers or
  // body.
  Result<HttpResponse> send(const Context& ctx, const HttpRequest& request) const;

  // What send() would refuse about this URL before it looks its host up.
  Result<void> check(const std::string& url) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::net
