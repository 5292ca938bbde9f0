#include "api/pipelines_api.h"

#include "api/slipway_api.h"
#include "base/json.h"
#include "feedback/loop.h"

namespace slipway::api {
namespace {

using server::Access;
using server::Request;
using server::Response;

constexpr int kMaxRuns = 1000;

// The wanted key of the body when it is there; what is wrong with it otherwise.
template <class T>
Result<T> member(const Json& body, const char* key, Json::value_t type, T otherwise) {
  const auto found = body.find(key);
  if (found == body.end()) return otherwise;
  if (found->type() != type) {
    return invalid_argument(fmt::format("'{}' has to be {} {}, found {}", key,
                                        type == Json::value_t::object ? "an" : "a",
                                        Json(type).type_name(), found->type_name()));
  }
  return found->get<T>();
}

Result<Json> payload_of(const Request& request, const std::string& actor) {
  auto body = parse_json(request.body, "the body");
  if (!body) return body.error();
  if (!body->is_object() || !body->contains("file") || !(*body)["file"].is_string()) {
    return invalid_argument(
        R"(the body has to be {"file": "/srv/flights/pipeline.yaml", "params": {…}})");
  }
  const std::filesystem::path file = (*body)["file"].get<std::string>();
  std::error_code problem;
  if (!file.is_absolute() || !std::filesystem::is_regular_file(file, problem)) {
    return invalid_argument("'" + file.string() +
                            "' is not the whole path of a file on the server's machine");
  }
  auto params = member(*body, "params", Json::value_t::object, Json(Json::object()));
  if (!params) return params.error();
  auto reason = member(*body, "reason", Json::value_t::string, "by " + actor + " over the API");
  if (!reason) return reason.error();
  auto from = member(*body, "from", Json::value_t::string, std::string());
  if (!from) return from.error();
  auto use_cache = member(*body, "use_cache", Json::value_t::boolean, true);
  if (!use_cache) return use_cache.error();
  return Json{{"file", file.string()}, {"params", *params},       {"reason", *reason},
              {"from", *from},         {"use_cache", *use_cache}, {"actor", actor}};
}

Response post_run(const PipelineParts& parts, const Context& ctx, const Request& request) {
  auto payload = payload_of(request, ctx.principal.name);
  if (!payload) return slipway_error(payload.error());
  auto queued = parts.queue.enqueue(
      {.kind = feedback::Loop::kRetrainJob, .payload = std::move(*payload), .max_attempts = 1});
  if (!queued) return slipway_error(queued.error());
  return answer(202, {{"job", queued->id}});
}

Response list_runs(const PipelineParts& parts, const Request& request) {
  pipeline::Engine::Filter filter{.pipeline = std::string(request.query_value("pipeline")),
                                  .job = std::string(request.query_value("job"))};
  if (const std::string_view text = request.query_value("limit"); !text.empty()) {
    const auto [end, problem] =
        std::from_chars(text.data(), text.data() + text.size(), filter.limit);
    if (problem != std::errc{} || end != text.data() + text.size() || filter.limit < 1 ||
        filter.limit > kMaxRuns) {
      return slipway_error(invalid_argument(
          fmt::format("'limit' has to be a number from 1 to {}, found '{}'", kMaxRuns, text)));
    }
  }
  auto runs = parts.engine.list(filter);
  if (!runs) return slipway_error(runs.error());
  Json all = Json::array();
  for (const pipeline::RunReport& run : *runs) all.push_back(to_json(run));
  return answer(200, {{"runs", all}});
}

Response get_run(const PipelineParts& parts, const Request& request) {
  auto run = parts.engine.get(request.param("id"));
  if (!run) return slipway_error(run.error());
  return answer(200, to_json(*run));
}

Response get_job(const PipelineParts& parts, const Request& request) {
  auto job = parts.queue.get(request.param("id"));
  if (!job) return slipway_error(job.error());
  return answer(200, {{"id", job->id},
                      {"kind", job->kind},
                      {"state", jobs::to_string(job->state)},
                      {"attempts", job->attempts},
                      {"payload", job->payload},
                      {"result", job->result},
                      {"error", job->error}});
}

Response cancel_job(const PipelineParts& parts, const Request& request) {
  if (auto cancelled = parts.queue.cancel(request.param("id")); !cancelled)
    return slipway_error(cancelled.error());
  return get_job(parts, request);
}

}  // namespace

void add_pipeline_routes(server::Router& router, const PipelineParts& parts) {
  const auto add = [&](const char* method, const char* pattern, Access access,
                       server::Handler handler) {
    router.add(method, pattern, access, slipway_error, std::move(handler));
  };
  add("POST", "/api/v1/pipelines/runs", Access::manage,
      [parts](const Context& c, const Request& r) { return post_run(parts, c, r); });
  add("GET", "/api/v1/pipelines/runs", Access::read,
      [parts](const Context&, const Request& r) { return list_runs(parts, r); });
  add("GET", "/api/v1/pipelines/runs/{id}", Access::read,
      [parts](const Context&, const Request& r) { return get_run(parts, r); });
  add("GET", "/api/v1/jobs/{id}", Access::read,
      [parts](const Context&, const Request& r) { return get_job(parts, r); });
  add("POST", "/api/v1/jobs/{id}/cancel", Access::manage,
      [parts](const Context&, const Request& r) { return cancel_job(parts, r); });
}

}  // namespace slipway::api
