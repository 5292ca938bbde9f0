// Who may use a route. The server asks the router's guard between finding a request's route and
// calling its handler, for every route, so that no handler is reached around it. api has the one
// that knows users and grants; without a guard everybody may do everything.
#pragma once
#include <optional>

#include "server/http.h"

namespace slipway::server {

class Guard {
 public:
  struct Verdict {
    Principal principal;              // who asks: handed to the handler in its Context
    std::optional<Response> refusal;  // the answer instead of the handler's
  };
  virtual ~Guard() = default;
  // On an io thread, when the header has come and before any of the body is kept: the answer to
  // callers who need not send one. Must not block; nothing: go on.
  virtual std::optional<Response> refuse_early(const Router::Route& /*route*/,
                                               const Request& /*request*/) {
    return std::nullopt;
  }
  // On an io thread, must not block: nothing when more than memory is needed to decide. Then
  // decide() is asked on the worker pool.
  virtual std::optional<Verdict> decide_at_once(const Router::Route& route,
                                                const Request& request) = 0;
  // On the worker pool: may wait for the database and for a password's hash.
  virtual Verdict decide(const Context& ctx, const Router::Route& route,
                         const Request& request) = 0;
  // On the worker pool, after a plain handler and before its answer is sent. An error is answered
  // instead.
  virtual Result<void> answered(const Context& ctx, const Router::Route& route,
                                const Request& request, const Response& response) = 0;
};

}  // namespace slipway::server
