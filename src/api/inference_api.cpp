#include "api/inference_api.h"

#include "api/inference_core_internal.h"
#include "api/status_map.h"
#include "base/json.h"

namespace slipway::api {
namespace {

using server::Request;
using server::Respond;
using server::Response;
using serving::Served;

// What the routes share; they keep it alive.
using Core = InferenceCore;

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
    request_.reset();  // before the answer: the connection may use the object again
    respond_(outcome ? std::move(response_) : inference_error(outcome.error()));
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
                  {"extensions", {"binary_tensor_data", "statistics", "parameters"}}}
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
}

}  // namespace slipway::api
