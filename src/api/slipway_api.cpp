#include "api/slipway_api.h"

#include "api/status_map.h"
#include "base/json.h"

namespace slipway::api {
namespace {

using server::Access;
using server::Request;
using server::Response;

Result<std::int64_t> number_of(const Request& request, std::string_view name,
                               std::int64_t otherwise) {
  const std::string text(request.query_value(name));
  if (text.empty()) return otherwise;
  std::int64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size())
    return invalid_argument("'" + std::string(name) + "' has to be a whole number, found '" + text +
                            "'");
  return value;
}

constexpr std::size_t kMaxLabels = 10'000;

Result<std::vector<feedback::Label>> read_labels(const Request& request, Time now) {
  auto body = parse_json(request.body, "the body");
  if (!body) return body.error();
  if (!body->is_object() || !body->contains("labels") || !(*body)["labels"].is_array()) {
    return invalid_argument(
        R"(the body has to be {"labels": [{"prediction_id": "…", "label": 1, "time": "2013-04-01T12:00:00Z"}]})");
  }
  const Json& list = (*body)["labels"];
  if (list.size() > kMaxLabels)
    return invalid_argument("one request carries at most " + std::to_string(kMaxLabels) +
                            " labels, this has " + std::to_string(list.size()));
  std::vector<feedback::Label> labels;
  labels.reserve(list.size());
  for (const Json& item : list) {
    const std::string which = "label " + std::to_string(labels.size() + 1);
    if (!item.is_object() || !item.contains("prediction_id") || !item["prediction_id"].is_string())
      return invalid_argument(which + " has no text 'prediction_id'");
    if (!item.contains("label") || !(item["label"].is_number() || item["label"].is_boolean()))
      return invalid_argument(which + " has no number 'label'");
    const double value = item["label"].is_boolean() ? (item["label"].get<bool>() ? 1 : 0)
                                                    : item["label"].get<double>();
    feedback::Label label{item["prediction_id"].get<std::string>(), value, now};
    if (item.contains("time")) {
      auto time = item["time"].is_string()
                      ? parse_time(item["time"].get<std::string>())
                      : Result<Time>(invalid_argument("'time' has to be a text"));
      if (!time) return time.error().at(which);
      label.time = *time;
    }
    labels.push_back(std::move(label));
  }
  return labels;
}

Response post_labels(const SlipwayParts& parts, const Request& request) {
  const std::string name(request.param("name"));
  if (auto known = parts.deployments.get(name); !known) return slipway_error(known.error());
  auto labels = read_labels(request, parts.clock.now());
  if (!labels) return slipway_error(labels.error());
  std::int64_t unknown = 0;
  for (const feedback::Label& label : *labels)
    unknown += parts.predictions.contains(label.prediction_id) ? 0 : 1;
  if (auto added = parts.labels.add(name, *labels); !added) return slipway_error(added.error());
  return answer(200, {{"accepted", labels->size()}, {"unknown_predictions", unknown}});
}

Response get_deployments(const SlipwayParts& parts, const Context& ctx) {
  auto list = parts.deployments.list();
  if (!list) return slipway_error(list.error());
  Json all = Json::array();
  for (const serving::Deployment& deployment : *list) {
    if (sees(ctx.principal, "deployment", deployment.name)) all.push_back(deployment.to_json());
  }
  return answer(200, {{"deployments", all}});
}

Response get_deployment(const SlipwayParts& parts, const Request& request) {
  auto deployment = parts.deployments.get(request.param("name"));
  if (!deployment) return slipway_error(deployment.error());
  Json json = deployment->to_json();
  json["predictions"] = parts.predictions.count(deployment->name);
  if (const auto watermark = parts.predictions.watermark(deployment->name))
    json["watermark"] = format_time(*watermark);
  auto trials = parts.loop.trials(deployment->name);
  if (!trials) return slipway_error(trials.error());
  json["challengers"] = Json::array();
  for (const feedback::Trial& trial : *trials) json["challengers"].push_back(to_json(trial));
  return answer(200, json);
}

Response get_prediction(const SlipwayParts& parts, const Request& request) {
  auto found = parts.predictions.find(request.param("id"));
  if (!found) return slipway_error(found.error());
  return answer(200, {{"id", found->id},
                      {"deployment", found->deployment},
                      {"time", format_time(found->time)},
                      {"version", found->version},
                      {"alias", found->alias},
                      {"latency_us", found->latency_us},
                      {"score", found->score ? json_number(*found->score) : Json(nullptr)},
                      {"inputs", found->inputs}});
}

Response get_windows(const SlipwayParts& parts, const Request& request) {
  auto limit = number_of(request, "limit", 1000);
  if (!limit) return slipway_error(limit.error());
  auto windows = parts.monitor.windows(std::string(request.param("name")),
                                       {.limit = static_cast<int>(*limit)});
  if (!windows) return slipway_error(windows.error());
  return answer(200, {{"windows", *windows}});
}

Response get_settled(const SlipwayParts& parts, const Context& ctx, const Request& request) {
  const std::string name(request.param("name"));
  auto time = parse_time(request.query_value("time"));
  if (!time) return slipway_error(time.error().at("time"));
  if (auto done = parts.catch_up(ctx); !done) return slipway_error(done.error());
  auto watched = parts.monitor.settled(name, *time, parts.clock.now());
  if (!watched) return slipway_error(watched.error());
  auto looped = parts.loop.settled(name, *time);
  if (!looped) return slipway_error(looped.error());
  return answer(
      200, {{"settled", *watched && *looped}, {"monitoring", *watched}, {"feedback", *looped}});
}

Response get_alerts(const SlipwayParts& parts, const Context& ctx, const Request& request) {
  auto limit = number_of(request, "limit", 1000);
  if (!limit) return slipway_error(limit.error());
  auto alerts = parts.monitor.alerts({.deployment = std::string(request.query_value("deployment")),
                                      .only_firing = request.query_value("firing") == "true",
                                      .limit = static_cast<int>(*limit)});
  if (!alerts) return slipway_error(alerts.error());
  Json all = Json::array();
  for (const monitoring::Alert& alert : *alerts) {
    if (sees(ctx.principal, "deployment", alert.deployment)) all.push_back(alert.to_json());
  }
  return answer(200, {{"alerts", all}});
}

Response get_audit(const SlipwayParts& parts, const Request& request) {
  auto after = number_of(request, "after", -1);
  if (!after) return slipway_error(after.error());
  auto limit = number_of(request, "limit", 100);
  if (!limit) return slipway_error(limit.error());
  auto entries =
      parts.audit.list({.action_prefix = std::string(request.query_value("action")),
                        .object_prefix = std::string(request.query_value("object")),
                        .after = *after,
                        .limit = static_cast<int>(std::clamp<std::int64_t>(*limit, 1, 10'000))});
  if (!entries) return slipway_error(entries.error());
  Json all = Json::array();
  for (const audit::Entry& entry : *entries) all.push_back(to_json(entry));
  return answer(200, {{"entries", all}});
}

}  // namespace

Response answer(int status, const Json& body) {
  return server::json_text(status, body.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Response slipway_error(const Error& error) {
  return answer(status_of(error.code).http,
                {{"error", {{"code", to_string(error.code)}, {"message", error.message}}}});
}

Json to_json(const audit::Entry& entry) {
  return {{"sequence", entry.sequence},     {"time", format_time(entry.time)},
          {"actor", entry.event.actor},     {"action", entry.event.action},
          {"object", entry.event.object},   {"digest", entry.event.digest},
          {"details", entry.event.details}, {"leaf", entry.leaf}};
}

Json to_json(const feedback::Trial& trial) {
  return {{"alias", trial.alias},
          {"version", trial.version},
          {"champion", trial.champion},
          {"state", trial.state},
          {"started", format_time(trial.started)},
          {"decision", trial.decision}};
}

void add_slipway_routes(server::Router& router, const SlipwayParts& parts) {
  const auto add = [&](const char* method, const char* pattern, Access access,
                       server::Handler handler) {
    router.add(method, pattern, access, slipway_error, std::move(handler));
  };
  add("POST", "/api/v1/deployments/{name}/labels", Access::use,
      [parts](const Context&, const Request& r) { return post_labels(parts, r); });
  add("GET", "/api/v1/deployments", Access::read,
      [parts](const Context& c, const Request&) { return get_deployments(parts, c); });
  add("GET", "/api/v1/deployments/{name}", Access::read,
      [parts](const Context&, const Request& r) { return get_deployment(parts, r); });
  add("GET", "/api/v1/deployments/{name}/windows", Access::read,
      [parts](const Context&, const Request& r) { return get_windows(parts, r); });
  add("GET", "/api/v1/deployments/{name}/settled", Access::read,
      [parts](const Context& c, const Request& r) { return get_settled(parts, c, r); });
  add("GET", "/api/v1/predictions/{id}", Access::read,
      [parts](const Context&, const Request& r) { return get_prediction(parts, r); });
  add("GET", "/api/v1/alerts", Access::read,
      [parts](const Context& c, const Request& r) { return get_alerts(parts, c, r); });
  add("GET", "/api/v1/audit", Access::manage,
      [parts](const Context&, const Request& r) { return get_audit(parts, r); });
}

}  // namespace slipway::api
