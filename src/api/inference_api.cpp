#include "api/inference_api.h"

#include <fmt/ranges.h>

#include "api/inference_core_internal.h"
#include "api/invocations_internal.h"
#include "api/status_map.h"
#include "base/json.h"
#include "server/encoding.h"

namespace slipway::api {
namespace {

using server::Request;
using server::Respond;
using server::Response;
using serving::Served;

using Core = InferenceCore;  // what the routes share; they keep it alive

constexpr std::size_t kPackFrom = 4096;  // smaller answers are sent sooner than packed

class RestExchange final : public Exchange {
 public:
  RestExchange(std::shared_ptr<const Request> request, Respond respond)
      : request_(std::move(request)), respond_(std::move(respond)) {}
  Result<InferRequest> read(serving::Inference& inference) override {
    return parse_infer(*request_, inference);
  }
  void write(const InferRequest& request, const serving::Inference& inference) override {
    response_ = render_infer(request, inference);
  }
  void done(const Result<void>& outcome) override {
    if (!outcome) response_ = inference_error(outcome.error());
    if (response_.body.size() >= kPackFrom &&
        server::accepts_gzip(request_->header("accept-encoding"))) {
      server::pack_body(response_);
    }
    request_.reset();  // before the answer: the connection may use the object again
    respond_(std::move(response_));
  }

 private:
  std::shared_ptr<const Request> request_;
  Respond respond_;
  Response response_;
};

server::AsyncHandler infer_handler(const std::shared_ptr<Core>& core) {
  return
      [core](const Context& ctx, const std::shared_ptr<Request>& request, const Respond& respond) {
        core->infer(ctx, request, request->body.size(),
                    std::make_shared<RestExchange>(request, respond));
      };
}

Json tensor(std::string_view name, std::string_view datatype) {
  return {{"name", name}, {"datatype", datatype}, {"shape", {-1}}};
}

Json metadata(const Addressed& addressed) {
  const Served& served = *addressed.served;
  Json versions = Json::array();
  if (served.primary() != nullptr)
    versions.push_back(std::to_string(served.primary()->version.number));
  for (const auto* others : {&served.canaries(), &served.shadows()}) {
    for (const auto& other : *others) versions.push_back(std::to_string(other.version.number));
  }
  Json inputs = Json::array();
  for (const std::size_t column : served.required(*addressed.target)) {
    const data::Field& field = served.columns().fields[column];
    inputs.push_back(tensor(field.name, datatype_of(field.type)));
    if (field.type == data::Type::timestamp) inputs.back()["parameters"] = {{"format", "RFC 3339"}};
  }
  Json outputs = Json::array();
  const serving::Scorer& scorer = *addressed.target->scorer;
  for (const Output output : outputs_of(*addressed.target)) {
    outputs.push_back(tensor(to_string(output), datatype_of(output)));
    Json& made = outputs.back();
    if (scorer.width() > 1 && output != Output::label) made["shape"].push_back(scorer.width());
    if (output != Output::contributions) continue;
    std::vector<std::string> features = scorer.explained();
    features.emplace_back("base");
    made["shape"].push_back(features.size());
    made["parameters"] = {{"features", features}, {"default", false}};
  }
  return {{"name", served.deployment().name},
          {"versions", versions},
          {"platform", "slipway"},
          {"inputs", inputs},
          {"outputs", outputs},
          {"parameters",
           {{"version", std::to_string(addressed.target->version.number)},
            {"alias", addressed.target->alias}}}};
}

std::string_view config_type(std::string_view datatype) {
  if (datatype == "BOOL") return "TYPE_BOOL";
  if (datatype == "INT64") return "TYPE_INT64";
  return datatype == "FP64" ? "TYPE_FP64" : "TYPE_STRING";
}

// Triton's model configuration, as far as it says something here.
Json configuration(const Addressed& addressed) {
  const Json about = metadata(addressed);
  const auto tensors = [&](const char* which) {
    Json list = Json::array();
    for (const Json& one : about[which]) {
      list.push_back({{"name", one["name"]},
                      {"data_type", config_type(one["datatype"].get<std::string>())},
                      {"dims", one["shape"]}});
    }
    return list;
  };
  // The rows are a dimension of the tensors, as they are in the metadata.
  return {{"name", about["name"]}, {"platform", about["platform"]}, {"backend", about["platform"]},
          {"max_batch_size", 0},   {"input", tensors("inputs")},    {"output", tensors("outputs")}};
}

Response repository_index(const Core& core, const Principal& asks, const Request& request) {
  bool only_ready = false;
  if (!request.body.empty()) {
    const auto body = parse_json(request.body, "the body");
    if (!body) return inference_error(body.error());
    if (!body->is_object() || (body->contains("ready") && !(*body)["ready"].is_boolean()))
      return inference_error(
          invalid_argument("the body has to be an object; ready: true or false"));
    only_ready = body->value("ready", false);
  }
  Json models = Json::array();
  const auto add = [&](const std::string& name, const std::string& version, bool ready,
                       const std::string& reason) {
    if (only_ready && !ready) return;
    models.push_back({{"name", name},
                      {"version", version},
                      {"state", ready ? "READY" : "UNAVAILABLE"},
                      {"reason", reason}});
  };
  for (const auto& served : core.host.all()) {
    const std::string& name = served->deployment().name;
    if (!sees(asks, "deployment", name)) continue;
    const std::string problems = fmt::format("{}", fmt::join(served->problems(), "; "));
    if (served->primary() == nullptr) {
      add(name, "", false, problems);
      continue;
    }
    add(name, std::to_string(served->primary()->version.number), true, problems);
    for (const auto* others : {&served->canaries(), &served->shadows()}) {
      for (const auto& other : *others) add(name, std::to_string(other.version.number), true, "");
    }
  }
  return server::json_text(200, models.dump());
}

// What is served follows the deployments, so that to load is to look whether they changed.
Response repository_load(Core& core, const Principal& asks, const Request& request) {
  const std::string_view name = request.param("model");
  if (!request.body.empty()) {
    const auto body = parse_json(request.body, "the body");
    if (!body) return inference_error(body.error());
    if (body->is_object() && body->contains("parameters") && !(*body)["parameters"].empty()) {
      return inference_error(invalid_argument(
          "parameters of a load (config, file:…) are not taken: a model's files and settings are "
          "those of its registered version and its deployment"));
    }
  }
  if (auto refreshed = core.host.refresh(); !refreshed) return inference_error(refreshed.error());
  const auto served = core.host.find(name);
  if (served == nullptr) return inference_error(core.unknown_model(asks, name));
  if (served->primary() == nullptr) {
    return inference_error(
        failed_precondition(fmt::format("{}", fmt::join(served->problems(), "; "))));
  }
  return server::json_text(200, "{}");
}

Response repository_unload(const Core& core, const Principal& asks, const Request& request) {
  const std::string_view name = request.param("model");
  if (core.host.find(name) == nullptr) return inference_error(core.unknown_model(asks, name));
  return inference_error(failed_precondition(fmt::format(
      "model '{0}' is deployed, and what is deployed is served: take it away with `slipway "
      "undeploy {0}` or DELETE /api/v1/deployments/{0}",
      name)));
}

Json duration(std::int64_t count, std::int64_t micros) {
  return {{"count", count}, {"ns", micros * 1000}};
}

Json statistics(const serving::ModelHost& host, const Principal& asks, std::string_view model,
                std::string_view version) {
  Json rows = Json::array();
  for (const auto& [name, number, role, stats] : host.version_stats()) {
    if (role != serving::Role::primary || (!model.empty() && name != model)) continue;
    if (!sees(asks, "deployment", name)) continue;
    if (!version.empty() && std::to_string(number) != version) continue;
    const std::int64_t requests = stats->requests.load();
    const std::int64_t micros = stats->latency_sum_us.load();
    rows.push_back({{"name", name},
                    {"version", std::to_string(number)},
                    {"last_inference", stats->last_us.load() / 1000},
                    {"inference_count", stats->rows.load()},
                    {"execution_count", requests},
                    {"inference_stats",
                     {{"success", duration(requests, micros)},
                      {"fail", duration(stats->failures.load(), 0)},
                      {"queue", duration(requests, 0)},
                      {"compute_input", duration(requests, 0)},
                      {"compute_infer", duration(requests, micros)},
                      {"compute_output", duration(requests, 0)}}},
                    {"batch_stats", Json::array()}});
  }
  return {{"model_stats", rows}};
}

}  // namespace

Response inference_error(const Error& error) {
  Response response = server::json_text(
      status_of(error.code).http,
      Json{{"error", error.message}}.dump(-1, ' ', false, Json::error_handler_t::replace));
  if (error.code == Code::resource_exhausted) response.status = 503;  // as Triton's clients expect
  if (response.status == 503) response.headers.emplace_back("Retry-After", "1");
  return response;
}

void add_inference_routes(server::Router& router, serving::ModelHost& host, const Clock& clock,
                          IdSource& ids, InferenceOptions options) {
  const auto shared = std::make_shared<Core>(host, clock, ids, std::move(options));
  // None of these blocks, so all run on the io thread.
  const auto get = [&](const std::string& pattern, auto handler) {
    router.add_async("GET", pattern, server::Access::read, &inference_error,
                     [shared, handler](const Context& ctx, const std::shared_ptr<Request>& request,
                                       const Respond& respond) {
                       respond(handler(*shared, ctx.principal, *request));
                     });
  };
  const auto open = [&](const std::string& pattern, auto handler) {
    router.add_async("GET", pattern, server::Access::open, &inference_error,
                     [shared, handler](const Context&, const std::shared_ptr<Request>&,
                                       const Respond& respond) { respond(handler(*shared)); });
  };
  const auto readiness = [](const Core& state) {
    const bool ready = state.host.ready();
    return server::json_text(ready ? 200 : 503, ready ? R"({"ready":true})" : R"({"ready":false})");
  };
  open("/health", [](const Core&) { return server::json_text(200, R"({"status":"ok"})"); });
  open("/v2/health/live", [](const Core&) { return server::json_text(200, R"({"live":true})"); });
  open("/v2/health/ready", readiness);
  open("/v2", [](const Core& state) {
    return server::json_text(
        200, Json{{"name", "slipway"},
                  {"version", state.options.server_version},
                  {"extensions",
                   {"binary_tensor_data", "statistics", "parameters", "model_configuration",
                    "model_repository", "schedule_policy"}}}
                 .dump());
  });
  get("/v2/models/stats", [](const Core& state, const Principal& asks, const Request&) {
    return server::json_text(200, statistics(state.host, asks, {}, {}).dump());
  });
  for (const std::string path : {"/v2/models/{model}", "/v2/models/{model}/versions/{version}"}) {
    get(path, [](const Core& state, const Principal& asks, const Request& request) {
      auto addressed = state.address(asks, request);
      if (!addressed) return inference_error(addressed.error());
      return server::json_text(200, metadata(*addressed).dump());
    });
    get(path + "/ready", [](const Core& state, const Principal& asks, const Request& request) {
      auto addressed = state.address(asks, request);
      if (!addressed) return inference_error(addressed.error());
      return server::json_text(200, Json{{"name", request.param("model")}, {"ready", true}}.dump());
    });
    get(path + "/config", [](const Core& state, const Principal& asks, const Request& request) {
      auto addressed = state.address(asks, request);
      if (!addressed) return inference_error(addressed.error());
      return server::json_text(200, configuration(*addressed).dump());
    });
    get(path + "/stats", [](const Core& state, const Principal& asks, const Request& request) {
      if (state.host.find(request.param("model")) == nullptr)
        return inference_error(state.unknown_model(asks, request.param("model")));
      return server::json_text(
          200,
          statistics(state.host, asks, request.param("model"), request.param("version")).dump());
    });
    router.add_async("POST", path + "/infer", server::Access::use, &inference_error,
                     infer_handler(shared));
  }
  router.add_async("POST", "/v2/repository/index", server::Access::read, &inference_error,
                   [shared](const Context& ctx, const std::shared_ptr<Request>& request,
                            const Respond& respond) {
                     respond(repository_index(*shared, ctx.principal, *request));
                   });
  router.add("POST", "/v2/repository/models/{model}/load", server::Access::use, &inference_error,
             [shared](const Context& ctx, const Request& request) {
               return repository_load(*shared, ctx.principal, request);
             });
  router.add("POST", "/v2/repository/models/{model}/unload", server::Access::manage,
             &inference_error, [shared](const Context& ctx, const Request& request) {
               return repository_unload(*shared, ctx.principal, request);
             });
  add_invocation_routes(router, shared);
}

}  // namespace slipway::api
