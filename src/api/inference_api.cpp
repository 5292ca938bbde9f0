#include "api/inference_api.h"

#include <fmt/ranges.h>

#include "api/inference_internal.h"
#include "api/status_map.h"
#include "base/json.h"
#include "base/parallel.h"
#include "base/spec.h"

namespace slipway::api {
namespace {

using server::Request;
using server::Respond;
using server::Response;
using serving::Served;
using serving::Target;

// What the routes share; they keep it alive.
struct Shared {
  Shared(serving::ModelHost& models, const Clock& time, IdSource& id_source,
         InferenceOptions settings)
      : host(models), clock(time), ids(id_source), options(std::move(settings)), large(1) {}
  serving::ModelHost& host;
  const Clock& clock;
  IdSource& ids;
  const InferenceOptions options;
  WorkerPool large;  // for bodies that would hold up an io thread
};

struct Addressed {
  std::shared_ptr<const Served> served;
  const Target* target = nullptr;
};

Error unknown_model(const serving::ModelHost& host, const Principal& asks, std::string_view name) {
  std::vector<std::string> names;
  for (const auto& served : host.all()) {
    if (sees(asks, "deployment", served->deployment().name))
      names.push_back(served->deployment().name);
  }
  if (names.empty())
    return not_found(fmt::format("no model '{}' is deployed, nor is any other", name));
  if (const auto near = nearest(name, names))
    return not_found(fmt::format("no model '{}' is deployed; did you mean '{}'?", name, *near));
  return not_found(
      fmt::format("no model '{}' is deployed; there is {}", name, fmt::join(names, ", ")));
}

// The deployment and version a path names; not_found, or unavailable when nothing is loaded yet.
Result<Addressed> address(const serving::ModelHost& host, const Principal& asks,
                          const Request& request) {
  const std::string_view name = request.param("model");
  auto served = host.find(name);
  if (served == nullptr) return unknown_model(host, asks, name);
  const std::string_view version = request.param("version");
  if (version.empty()) {
    if (served->primary() == nullptr) {
      return unavailable(fmt::format("model '{}' has no version that answers: {}", name,
                                     fmt::join(served->problems(), "; ")));
    }
    const Target* primary = served->primary();
    return Addressed{.served = std::move(served), .target = primary};
  }
  std::int64_t number = 0;
  const auto [end, error] =
      std::from_chars(version.data(), version.data() + version.size(), number);
  const bool is_number = error == std::errc() && end == version.data() + version.size();
  if (const Target* target = is_number ? served->find(number) : nullptr)
    return Addressed{.served = std::move(served), .target = target};
  std::vector<std::int64_t> loaded;
  if (served->primary() != nullptr) loaded.push_back(served->primary()->version.number);
  for (const auto& shadow : served->shadows()) loaded.push_back(shadow.version.number);
  return not_found(fmt::format("version '{}' of model '{}' is not loaded; loaded: {}", version,
                               name, fmt::join(loaded, ", ")));
}

void count_error(const Served& served, Code code) {
  served.stats().errors[static_cast<std::size_t>(code)].fetch_add(1, std::memory_order_relaxed);
}

Result<Time> time_of(const Shared& shared, const Served& served, const Request& request) {
  const std::string_view header = request.header("x-slipway-time");
  const std::string& name = served.deployment().name;
  if (served.deployment().clock == serving::ClockSource::wall) {
    if (!header.empty()) {
      return invalid_argument(
          fmt::format("the header x-slipway-time is only for deployments with 'clock: request'; "
                      "'{}' goes by the server's clock",
                      name));
    }
    return shared.clock.now();
  }
  if (header.empty()) {
    return invalid_argument(fmt::format(
        "deployment '{}' takes its time from the request: send the header x-slipway-time, "
        "for example 2013-04-01T05:00:00Z",
        name));
  }
  auto time = parse_time(header);
  if (!time) return time.error().at("header x-slipway-time");
  return *time;
}

void name_predictions(Shared& shared, const InferRequest& request, serving::Inference& inference) {
  inference.new_ids = request.id.empty();
  std::string base = request.id.empty() ? shared.ids.next() : request.id;
  if (request.rows == 1) {
    inference.ids.push_back(std::move(base));
    return;
  }
  for (std::int64_t row = 0; row < request.rows; ++row)
    inference.ids.push_back(fmt::format("{}:{}", base, row));
}

// Everything up to the log; the answer to send once the predictions are durable.
Result<Response> compute(Shared& shared, const Request& request, serving::Inference& inference) {
  auto time = time_of(shared, *inference.served, request);
  if (!time) return time.error();
  inference.time = *time;
  auto parsed = parse_infer(request, inference);
  if (!parsed) return parsed.error();
  name_predictions(shared, *parsed, inference);
  if (auto scored = shared.host.score(inference); !scored) return scored.error();
  return render_infer(*parsed, inference);
}

void infer(Shared& shared, const Addressed& addressed, SteadyTime started, const Request& request,
           const Respond& respond) {
  const std::shared_ptr<const Served>& served = addressed.served;
  served->stats().in_flight.fetch_add(1, std::memory_order_relaxed);
  const auto answer = [served, respond](const Result<void>& outcome, Response response) {
    served->stats().in_flight.fetch_sub(1, std::memory_order_relaxed);
    if (outcome) return respond(std::move(response));
    count_error(*served, outcome.error().code);
    respond(inference_error(outcome.error()));
  };
  auto inference = served->begin();
  inference->target = addressed.target;
  inference->started = started;
  auto response = compute(shared, request, *inference);
  if (!response) return answer(response.error(), {});
  auto committed = shared.host.commit(
      inference, [answer, ready = std::move(*response)](const Result<void>& logged) mutable {
        answer(logged, std::move(ready));
      });
  if (!committed) answer(committed, {});
}

server::AsyncHandler infer_handler(const std::shared_ptr<Shared>& shared) {
  return [shared](const Context& ctx, const std::shared_ptr<Request>& request,
                  const Respond& respond) {
    const SteadyTime started = shared->clock.steady();
    auto addressed = address(shared->host, ctx.principal, *request);
    if (!addressed) return respond(inference_error(addressed.error()));
    if (request->body.size() <= shared->options.large_body && !addressed->target->scorer->blocks())
      return infer(*shared, *addressed, started, *request, respond);
    // A plain pointer: the pool is part of Shared and ends with it.
    shared->large.post([state = shared.get(), addressed = std::move(*addressed), started, request,
                        respond] { infer(*state, addressed, started, *request, respond); });
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
  for (const auto& shadow : served.shadows())
    versions.push_back(std::to_string(shadow.version.number));
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
  return server::json_text(
      status_of(error.code).http,
      Json{{"error", error.message}}.dump(-1, ' ', false, Json::error_handler_t::replace));
}

void add_inference_routes(server::Router& router, serving::ModelHost& host, const Clock& clock,
                          IdSource& ids, InferenceOptions options) {
  const auto shared = std::make_shared<Shared>(host, clock, ids, std::move(options));
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
  const auto readiness = [](const Shared& state) {
    const bool ready = state.host.ready();
    return server::json_text(ready ? 200 : 503, ready ? R"({"ready":true})" : R"({"ready":false})");
  };
  open("/health", [](const Shared&) { return server::json_text(200, R"({"status":"ok"})"); });
  open("/v2/health/live", [](const Shared&) { return server::json_text(200, R"({"live":true})"); });
  open("/v2/health/ready", readiness);
  open("/v2", [](const Shared& state) {
    return server::json_text(
        200, Json{{"name", "slipway"},
                  {"version", state.options.server_version},
                  {"extensions", {"binary_tensor_data", "statistics", "parameters"}}}
                 .dump());
  });
  get("/v2/models/stats", [](const Shared& state, const Principal& asks, const Request&) {
    return server::json_text(200, statistics(state.host, asks, {}, {}).dump());
  });
  for (const std::string path : {"/v2/models/{model}", "/v2/models/{model}/versions/{version}"}) {
    get(path, [](const Shared& state, const Principal& asks, const Request& request) {
      auto addressed = address(state.host, asks, request);
      if (!addressed) return inference_error(addressed.error());
      return server::json_text(200, metadata(*addressed).dump());
    });
    get(path + "/ready", [](const Shared& state, const Principal& asks, const Request& request) {
      auto addressed = address(state.host, asks, request);
      if (!addressed) return inference_error(addressed.error());
      return server::json_text(200, Json{{"name", request.param("model")}, {"ready", true}}.dump());
    });
    get(path + "/stats", [](const Shared& state, const Principal& asks, const Request& request) {
      if (state.host.find(request.param("model")) == nullptr)
        return inference_error(unknown_model(state.host, asks, request.param("model")));
      return server::json_text(
          200,
          statistics(state.host, asks, request.param("model"), request.param("version")).dump());
    });
    router.add_async("POST", path + "/infer", server::Access::use, &inference_error,
                     infer_handler(shared));
  }
}

}  // namespace slipway::api
