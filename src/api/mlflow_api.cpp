#include "api/mlflow_api.h"

#include "api/mlflow_internal.h"
#include "api/status_map.h"

namespace slipway::api {
namespace {

using mlflow::Endpoint;
using mlflow::Params;
using mlflow::Services;
using server::Request;

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

server::Response mlflow_error(const Error& error) {
  const auto& status = status_of(error.code);
  return server::json_text(status.mlflow_http,
                           dump({{"error_code", status.mlflow}, {"message", error.message}}));
}

server::Response mlflow::answer(Services& services, const Endpoint& endpoint, const Context& ctx,
                                const Request& request) {
  auto params = Params::read(request);
  if (!params) return mlflow_error(params.error());
  if (endpoint.text != nullptr) {
    auto text = endpoint.text(services, ctx, *params);
    return text ? server::json_text(200, *std::move(text)) : mlflow_error(text.error());
  }
  const auto result = endpoint.call(services, ctx, *params);
  if (!result) return mlflow_error(result.error());
  return server::json_text(200, dump(*result));
}

void add_mlflow_routes(server::Router& router, tracking::Tracking& tracking,
                       registry::Registry& registry, blob::Store& store,
                       const MlflowExtras& extras) {
  const auto services = std::make_shared<Services>(
      Services{tracking, registry, store, extras.webhooks, extras.traces});
  std::vector<std::span<const mlflow::Endpoint>> families = {
      mlflow::experiment_endpoints(), mlflow::run_endpoints(), mlflow::history_endpoints(),
      mlflow::logged_model_endpoints(), mlflow::registry_endpoints()};
  if (extras.webhooks != nullptr) families.push_back(mlflow::webhook_endpoints());
  for (const std::string_view prefix : {"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"}) {
    for (const auto endpoints : families) {
      for (const auto& endpoint : endpoints) {
        router.add(std::string(endpoint.method), std::string(prefix) + std::string(endpoint.path),
                   endpoint.access, mlflow_error,
                   [services, &endpoint](const Context& ctx, const Request& request) {
                     return mlflow::answer(*services, endpoint, ctx, request);
                   });
      }
    }
  }
  if (extras.traces != nullptr) mlflow::add_trace_routes(router, services);
  mlflow::add_logging_routes(router, services);
  mlflow::add_artifact_routes(router, services, extras);
  mlflow::add_server_info_routes(router);
  router.add("GET", "/version", server::Access::open, mlflow_error,
             [](const Context&, const Request&) {
               return server::plain_text(200, std::string(kMlflowVersion));
             });
}

}  // namespace slipway::api
