// MLflow's REST interface (https://mlflow.org/docs/latest/rest-api.html), as its own 3.x client
// speaks it: experiments, runs, metrics, the model registry and the artifact proxy, under both
// /api/2.0/ and /ajax-api/2.0/. Where MLflow's server lets wrong input pass or answers with a stack
// trace, this one says what is wrong; its client sees no difference otherwise. Errors are
// {"error_code", "message"}.
//   Router router;
//   add_mlflow_routes(router, tracking, registry, store);   // all outlive the server
// Handlers block on the database: they are plain Handlers, run on the worker pool.
#pragma once
#include <string_view>

#include "server/http.h"

namespace slipway::tracking {
class Tracking;
}
namespace slipway::registry {
class Registry;
}
namespace slipway::blob {
class Multipart;
class Store;
}  // namespace slipway::blob
namespace slipway::webhooks {
class Webhooks;
}
namespace slipway::tracing {
class Traces;
}

namespace slipway::api {

class SignedLinks;

// The release of MLflow whose protocol this is: what GET /version answers, by which clients choose
// paths.
inline constexpr std::string_view kMlflowVersion = "3.17.2";

// What not every program that speaks the protocol has; calls to what is missing are not routes.
struct MlflowExtras {
  webhooks::Webhooks* webhooks = nullptr;
  tracing::Traces* traces = nullptr;
  // Uploads in parts and downloads by link need both.
  blob::Multipart* multipart = nullptr;
  const SignedLinks* links = nullptr;
};

void add_mlflow_routes(server::Router& router, tracking::Tracking& tracking,
                       registry::Registry& registry, blob::Store& store,
                       const MlflowExtras& extras = {});

server::Response mlflow_error(const Error& error);

}  // namespace slipway::api
