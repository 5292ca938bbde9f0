// All routes of a server on one home, and what they need, in one list: for `slipway up`, and for
// the test that walks them.
//   Routes routes(home, host, catch_up);      // all outlive it
//   HttpServer::start(options, routes.router(), …)
#pragma once
#include <functional>

#include "api/imports_api.h"
#include "api/metrics_api.h"
#include "api/signed_links.h"
#include "blob/multipart.h"
#include "cli/home.h"
#include "governance/collector.h"
#include "server/http.h"
#include "serving/model_host.h"

namespace slipway::cli {

class Routes {
 public:
  // What has to have happened before a question about monitoring is answered.
  using CatchUp = std::function<Result<void>(const Context&)>;
  // All outlive this.
  Routes(Home& home, serving::ModelHost& host, const serving::ModelSource& source,
         CatchUp catch_up);

  server::Router& router() { return router_; }
  // What /metrics shows; more may be added until the server starts.
  api::Metrics& metrics() { return metrics_; }
  // Whose jobs a worker has to take.
  api::Imports& imports() { return imports_; }

 private:
  blob::Multipart multipart_;
  const api::SignedLinks links_;
  governance::Collector collector_;
  api::Imports imports_;
  api::Metrics metrics_;
  server::Router router_;
};

}  // namespace slipway::cli
