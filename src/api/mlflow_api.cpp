#include "api/mlflow_api.h"

#include "api/mlflow_internal.h"
#include "api/status_map.h"

namespace slipway::api {
namespace {

using mlflow::Call;
using mlflow::Params;
using mlflow::Services;
using server::Request;
using server::Response;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Response answer(Services& services, Call call, const Context& ctx, const Request& request) {
  auto params = Params::read(request);
  if (!params) return mlflow_error(params.error());
  const auto result = call(services, ctx, *params);
  if (!result) return mlflow_error(result.error());
  return server::json_text(200, dump(*result));
}

}  // namespace

server::Response mlflow_error(const Error& error) {
  const auto& status = status_of(error.code);
  return server::json_text(status.mlflow_http,
                           dump({{"error_code", status.mlflow}, {"message", error.message}}));
}

void add_mlflow_routes(server::Router& router, tracking::Tracking& tracking,
                       registry::Registry& registry, blob::Store& store) {
  const auto services = std::make_shared<Services>(Services{tracking, registry, store});
  for (const std::string_view prefix : {"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"}) {
    for (const auto endpoints : {mlflow::experiment_endpoints(), mlflow::run_endpoints(),
                                 mlflow::logged_model_endpoints(), mlflow::registry_endpoints()}) {
      for (const auto& endpoint : endpoints) {
        router.add(std::string(endpoint.method), std::string(prefix) + std::string(endpoint.path),
                   endpoint.access, mlflow_error,
                   [services, call = endpoint.call](const Context& ctx, const Request& request) {
                     return answer(*services, call, ctx, request);
                   });
      }
    }
  }
  mlflow::add_artifact_routes(router, services);
  router.add("GET", "/version", server::Access::open, mlflow_error,
             [](const Context&, const Request&) {
               return server::plain_text(200, std::string(kMlflowVersion));
             });
}

}  // namespace slipway::api
