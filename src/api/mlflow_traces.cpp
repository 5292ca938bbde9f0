// MLflow 3's traces (mlflow/protos/service.proto, assessments.proto), and OTLP over HTTP
// (https://opentelemetry.io/docs/specs/otlp/#otlphttp) for their spans. Times are protobuf's JSON:
// "2026-11-24T09:30:00.250Z", "0.012s".
#include <charconv>

#include "api/mlflow_internal.h"
#include "tracing/otlp_json.h"
#include "tracing/tracing.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using tracing::TraceInfo;

std::string duration_text(std::int64_t milliseconds) {
  return fmt::format("{}.{:03}s", milliseconds / 1000, milliseconds % 1000);
}

// "0.012s" in milliseconds.
Result<std::int64_t> read_duration(std::string_view text) {
  double seconds = 0;
  const char* end = text.data() + text.size();
  const auto [read, problem] = std::from_chars(text.data(), end, seconds);
  if (problem != std::errc{} || read + 1 != end || *read != 's' || !(std::abs(seconds) < 1e12)) {
    return invalid_argument(
        fmt::format("execution_duration '{}' is no duration such as \"1.5s\"", text.substr(0, 40)));
  }
  return static_cast<std::int64_t>(std::llround(seconds * 1000));
}

Json to_json(const TraceInfo& info) {
  Json assessments = Json::array();
  for (const auto& assessment : info.assessments) assessments.push_back(assessment.json);
  Json json = {{"trace_id", info.id},
               {"trace_location",
                {{"type", "MLFLOW_EXPERIMENT"},
                 {"mlflow_experiment", {{"experiment_id", info.experiment.text()}}}}},
               {"request_time", format_time(from_millis(info.start_ms))},
               {"state", info.state},
               {"trace_metadata", info.metadata},
               {"tags", info.tags},
               {"assessments", std::move(assessments)}};
  if (info.duration_ms) json["execution_duration"] = duration_text(*info.duration_ms);
  if (!info.client_request_id.empty()) json["client_request_id"] = info.client_request_id;
  if (!info.request_preview.empty()) json["request_preview"] = info.request_preview;
  if (!info.response_preview.empty()) json["response_preview"] = info.response_preview;
  return json;
}

Json to_json(const tracing::Trace& trace) {
  return {{"trace_info", to_json(trace.info)}, {"spans", trace.spans}};
}

tracking::ExperimentId read_location(Params& params) {
  auto location = params.object("trace_location");
  auto experiment = location.object("mlflow_experiment");
  return experiment.experiment_id();
}

TraceInfo read_info(Params& params) {
  static constexpr std::string_view kStates[] = {"STATE_UNSPECIFIED", "OK", "ERROR", "IN_PROGRESS"};
  TraceInfo info;
  info.id = params.text("trace_id");
  info.experiment = read_location(params);
  info.client_request_id = params.text_or_empty("client_request_id");
  info.request_preview = params.text_or_empty("request_preview");
  info.response_preview = params.text_or_empty("response_preview");
  info.metadata = params.text_map("trace_metadata");
  info.tags = params.text_map("tags");
  if (const auto time = parse_time(params.text("request_time"))) {
    info.start_ms = to_millis(*time);
  } else {
    params.fail(time.error().at("request_time"));
  }
  if (const auto text = params.text_or_empty("execution_duration"); !text.empty()) {
    const auto duration = read_duration(text);
    if (duration) info.duration_ms = *duration;
    if (!duration) params.fail(duration.error());
  }
  if (const auto state = params.text_or_empty("state"); !state.empty()) {
    if (std::ranges::find(kStates, state) == std::end(kStates)) {
      params.fail(invalid_argument("a trace has no state '" + state.substr(0, 40) + "'"));
    }
    info.state = state;
  }
  for (const auto& assessment : params.objects("assessments")) {
    info.assessments.push_back({assessment.json().value("assessment_id", ""), assessment.json()});
  }
  return info;
}

// The experiment must be there, and may be written to.
Result<tracking::Experiment> find_active(Services& services, tracking::ExperimentId id) {
  auto experiment = services.tracking.experiment(id);
  if (experiment && experiment->deleted) {
    return failed_precondition(fmt::format("experiment {} is deleted: restore it first", id.value));
  }
  return experiment;
}

Result<Json> start(Services& services, const Context&, Params& params) {
  auto trace = params.object("trace");
  auto part = trace.object("trace_info");
  const auto info = read_info(part);
  if (params.problem()) return *params.problem();
  const auto experiment = find_active(services, info.experiment);
  if (!experiment) return experiment.error();
  const auto kept = services.traces->put(
      info, fmt::format("{}/traces/{}/artifacts", experiment->artifact_location, info.id));
  if (!kept) return kept.error();
  return Json{{"trace", {{"trace_info", to_json(*kept)}}}};
}

Result<Json> get_info(Services& services, const Context&, Params& params) {
  const auto id = params.text("trace_id");
  if (params.problem()) return *params.problem();
  const auto info = services.traces->info(id);
  if (!info) return info.error();
  return Json{{"trace", {{"trace_info", to_json(*info)}}}};
}

Result<Json> get(Services& services, const Context&, Params& params) {
  const auto id = params.text("trace_id");
  const auto partial = params.text_or_empty("allow_partial") == "true";
  if (params.problem()) return *params.problem();
  const auto trace = services.traces->trace(id, partial);
  if (!trace) return trace.error();
  return Json{{"trace", to_json(*trace)}};
}

// Those of other experiments than asked for are left out.
bool wanted(const TraceInfo& info, const std::vector<std::string>& experiments) {
  return experiments.empty() ||
         std::ranges::find(experiments, info.experiment.text()) != experiments.end();
}

Result<Json> batch_get(Services& services, const Context&, Params& params) {
  const auto ids = params.texts("trace_ids");
  const auto experiments = params.texts("experiment_ids");
  if (params.problem()) return *params.problem();
  const auto found = services.traces->traces(ids);
  if (!found) return found.error();
  Json traces = Json::array();
  for (const auto& trace : *found) {
    if (wanted(trace.info, experiments)) traces.push_back(to_json(trace));
  }
  return Json{{"traces", std::move(traces)}};
}

Result<Json> batch_get_infos(Services& services, const Context&, Params& params) {
  const auto ids = params.texts("trace_ids");
  const auto experiments = params.texts("experiment_ids");
  if (params.problem()) return *params.problem();
  const auto found = services.traces->infos(ids);
  if (!found) return found.error();
  Json infos = Json::array();
  for (const auto& info : *found) {
    if (wanted(info, experiments)) infos.push_back(to_json(info));
  }
  return Json{{"trace_infos", std::move(infos)}};
}

Result<Json> search(Services& services, const Context&, Params& params) {
  tracing::Search search;
  for (auto& location : params.objects("locations")) {
    auto experiment = location.object("mlflow_experiment");
    const auto id = tracking::ExperimentId::parse(experiment.text("experiment_id"));
    if (id) search.experiments.push_back(*id);  // an unknown one has no traces
  }
  search.filter = params.text_or_empty("filter");
  search.order_by = params.texts("order_by");
  search.max_results = params.integer("max_results", search.max_results);
  search.page = params.text_or_empty("page_token");
  if (params.problem()) return *params.problem();
  const auto page = services.traces->search(search);
  if (!page) return page.error();
  Json traces = Json::array();
  for (const auto& info : page->items) traces.push_back(to_json(info));
  return with_page({{"traces", std::move(traces)}}, page->next_page);
}

Result<Json> remove(Services& services, const Context&, Params& params) {
  tracing::Deletion deletion{.experiment = params.experiment_id(),
                             .ids = params.texts("request_ids"),
                             .until_ms = params.maybe_integer("max_timestamp_millis"),
                             .most = params.maybe_integer("max_traces")};
  if (params.problem()) return *params.problem();
  const auto removed = services.traces->remove(deletion);
  if (!removed) return removed.error();
  return Json{{"traces_deleted", *removed}};
}

Result<Json> set_tag(Services& services, const Context&, Params& params) {
  const auto id = params.text("trace_id");
  const auto key = params.text("key");
  const auto value = params.text_or_empty("value");
  if (params.problem()) return *params.problem();
  return empty_or(services.traces->set_tag(id, key, value));
}

Result<Json> delete_tag(Services& services, const Context&, Params& params) {
  const auto id = params.text("trace_id");
  const auto key = params.text("key");
  if (params.problem()) return *params.problem();
  return empty_or(services.traces->delete_tag(id, key));
}

Result<Json> link_to_run(Services& services, const Context&, Params& params) {
  const auto ids = params.texts("trace_ids");
  const auto run_id = params.run_id();
  if (params.problem()) return *params.problem();
  if (const auto run = services.tracking.run(run_id); !run) return run.error();
  return empty_or(services.traces->link_to_run(ids, run_id.value));
}

Result<Json> link_prompts(Services& services, const Context&, Params& params) {
  const auto id = params.text("trace_id");
  std::vector<tracing::PromptVersion> prompts;
  for (auto& prompt : params.objects("prompt_versions")) {
    prompts.push_back({.name = prompt.text("name"), .version = prompt.text("version")});
  }
  if (params.problem()) return *params.problem();
  return empty_or(services.traces->link_prompts(id, prompts));
}

Result<Json> assessment_answer(const Result<tracing::Assessment>& assessment) {
  if (!assessment) return assessment.error();
  return Json{{"assessment", assessment->json}};
}

Result<Json> create_assessment(Services& services, const Context&, Params& params) {
  const auto id = params.text("trace_id");
  const auto assessment = params.object("assessment");
  if (params.problem()) return *params.problem();
  return assessment_answer(services.traces->create_assessment(id, assessment.json()));
}

Result<Json> get_assessment(Services& services, const Context&, Params& params) {
  const auto trace = params.text("trace_id");
  const auto id = params.text("assessment_id");
  if (params.problem()) return *params.problem();
  return assessment_answer(services.traces->assessment(trace, id));
}

// A FieldMask's JSON is one text of names in camel case: "assessmentName,rationale".
std::vector<std::string> read_mask(std::string_view text) {
  std::vector<std::string> fields;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    std::string name;
    for (const char c : text.substr(begin, end - begin)) {
      if (c >= 'A' && c <= 'Z') name += '_';
      name += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    fields.push_back(std::move(name));
    begin = end + 1;
  }
  return fields;
}

Result<Json> update_assessment(Services& services, const Context&, Params& params) {
  const auto trace = params.text("trace_id");
  const auto id = params.text("assessment_id");
  const auto assessment = params.object("assessment");
  const auto fields = read_mask(params.text_or_empty("update_mask"));
  if (params.problem()) return *params.problem();
  return assessment_answer(
      services.traces->update_assessment(trace, id, assessment.json(), fields));
}

Result<Json> delete_assessment(Services& services, const Context&, Params& params) {
  const auto trace = params.text("trace_id");
  const auto id = params.text("assessment_id");
  if (params.problem()) return *params.problem();
  return empty_or(services.traces->delete_assessment(trace, id));
}

// POST /v1/traces. Errors are MLflow's, which an OpenTelemetry exporter logs as they are.
server::Response take_otlp(Services& services, const server::Request& request) {
  const auto type = request.header("content-type");
  const bool is_json = type.starts_with("application/json");
  if (!is_json && !type.starts_with("application/x-protobuf")) {
    return mlflow_error(invalid_argument(fmt::format(
        "the content-type has to be application/x-protobuf or application/json, found '{}'",
        type.substr(0, 60))));
  }
  const auto id = tracking::ExperimentId::parse(request.header("x-mlflow-experiment-id"));
  if (!id) return mlflow_error(id.error().at("header x-mlflow-experiment-id"));
  const auto experiment = find_active(services, *id);
  if (!experiment) return mlflow_error(experiment.error());
  std::string from_json;
  if (is_json) {
    auto message = tracing::otlp_from_json(request.body);
    if (!message) return mlflow_error(message.error());
    from_json = *std::move(message);
  }
  const auto spans = tracing::read_otlp(is_json ? std::string_view(from_json) : request.body);
  if (!spans) return mlflow_error(spans.error());
  const auto logged =
      services.traces->log_spans(*id, *spans, std::string(request.header("x-mlflow-run-id")));
  if (!logged) return mlflow_error(logged.error());
  // An ExportTraceServiceResponse in which everything went well is empty.
  if (is_json) return server::json_text(200, "{}");
  return {.status = 200, .content_type = "application/x-protobuf"};
}

constexpr Endpoint kEndpoints[] = {
    {"POST", "traces", Access::edit, start},
    {"POST", "traces/search", Access::read, search},
    {"GET", "traces/get", Access::read, get},
    {"GET", "traces/batchGet", Access::read, batch_get},
    {"POST", "traces/batchGetInfos", Access::read, batch_get_infos},
    {"POST", "traces/delete-traces", Access::manage, remove},
    {"POST", "traces/link-to-run", Access::edit, link_to_run},
    {"POST", "traces/link-prompts", Access::edit, link_prompts},
    {"GET", "traces/{trace_id}", Access::read, get_info},
    {"PATCH", "traces/{trace_id}/tags", Access::edit, set_tag},
    {"DELETE", "traces/{trace_id}/tags", Access::edit, delete_tag},
    {"POST", "traces/{trace_id}/assessments", Access::edit, create_assessment},
    {"GET", "traces/{trace_id}/assessments/{assessment_id}", Access::read, get_assessment},
    {"PATCH", "traces/{trace_id}/assessments/{assessment_id}", Access::edit, update_assessment},
    {"DELETE", "traces/{trace_id}/assessments/{assessment_id}", Access::edit, delete_assessment},
};

}  // namespace

void add_trace_routes(server::Router& router, const std::shared_ptr<Services>& services) {
  // The client uses both versions of the interface, tags in 2.0 and the rest in 3.0.
  for (const std::string_view prefix :
       {"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/", "/api/3.0/mlflow/", "/ajax-api/3.0/mlflow/"}) {
    for (const auto& endpoint : kEndpoints) {
      router.add(std::string(endpoint.method), std::string(prefix) + std::string(endpoint.path),
                 endpoint.access, mlflow_error,
                 [services, &endpoint](const Context& ctx, const server::Request& request) {
                   return answer(*services, endpoint, ctx, request);
                 });
    }
  }
  router.add("POST", "/v1/traces", Access::edit, mlflow_error,
             [services](const Context&, const server::Request& request) {
               return take_otlp(*services, request);
             });
}

}  // namespace slipway::api::mlflow
