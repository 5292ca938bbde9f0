#include "api/deployments_api.h"

#include "api/slipway_api.h"

namespace slipway::api {
namespace {

using server::Access;
using server::Request;
using server::Response;

Result<Json> object_in(const Request& request) {
  auto body = parse_json(request.body.empty() ? "{}" : request.body, "the body");
  if (!body) return body.error();
  if (!body->is_object()) return invalid_argument("the body has to be a JSON object");
  return *body;
}

Response changed(const DeploymentParts& parts, const Context& ctx, const Request& request) {
  auto body = object_in(request);
  if (!body) return slipway_error(body.error());
  const std::string name(request.param("name"));
  // Whoever deploys a model shows what it says.
  std::string model = name;
  if (auto before = parts.deployments.get(name)) model = before->model;
  if (body->contains("model") && (*body)["model"].is_string())
    model = (*body)["model"].get<std::string>();
  if (!sees(ctx.principal, "model", model))
    return slipway_error(not_found("model '" + model + "' does not exist"));
  auto deployment = patch_deployment(ctx, parts.deployments, name, *body);
  if (!deployment) return slipway_error(deployment.error());
  return answer(200, deployment->to_json());
}

Response removed(const DeploymentParts& parts, const Context& ctx, const Request& request) {
  if (auto done = parts.deployments.remove(ctx, request.param("name")); !done)
    return slipway_error(done.error());
  return answer(200, Json::object());
}

Response deployment_at(const DeploymentParts& parts, const Request& request) {
  const auto time = parse_time(request.query_value("time"));
  if (!time) return slipway_error(time.error().at("time"));
  auto served =
      served_at(parts.deployments, parts.registry, std::string(request.param("name")), *time);
  if (!served) return slipway_error(served.error());
  return answer(200, *served);
}

Response start_rollout(const DeploymentParts& parts, const Context& ctx, const Request& request) {
  auto body = object_in(request);
  if (!body) return slipway_error(body.error());
  const auto document = SpecDocument::from_json(std::move(*body), "rollout");
  SpecReader reader(document);
  const auto spec = serving::RolloutSpec::read(reader);
  if (auto sound = reader.finish(); !sound) return slipway_error(sound.error());
  auto rollout = parts.rollouts.start(ctx, std::string(request.param("name")), spec);
  if (!rollout) return slipway_error(rollout.error());
  return answer(200, rollout->to_json());
}

Response list_rollouts(const DeploymentParts& parts, const Request& request) {
  auto rollouts = parts.rollouts.list(std::string(request.param("name")));
  if (!rollouts) return slipway_error(rollouts.error());
  Json all = Json::array();
  for (const serving::Rollout& rollout : *rollouts) all.push_back(rollout.to_json());
  return answer(200, {{"rollouts", all}});
}

Response move_rollout(const DeploymentParts& parts, const Context& ctx, const Request& request) {
  const std::string name(request.param("name"));
  const std::string_view action = request.param("action");
  Result<serving::Rollout> rollout = not_found(
      "a rollout can be told to pause, resume, promote or "
      "abort; '" +
      std::string(action.substr(0, 40)) + "' is none of these");
  if (action == "pause") rollout = parts.rollouts.pause(ctx, name);
  if (action == "resume") rollout = parts.rollouts.resume(ctx, name);
  if (action == "promote") rollout = parts.rollouts.promote(ctx, name);
  if (action == "abort") rollout = parts.rollouts.abort(ctx, name);
  if (!rollout) return slipway_error(rollout.error());
  return answer(200, rollout->to_json());
}

Response replay_prediction(const DeploymentParts& parts, const Request& request) {
  auto again = serving::rerun(
      {parts.predictions, parts.deployments, parts.registry, parts.source, parts.keys},
      request.param("id"));
  if (!again) return slipway_error(again.error());
  return answer(200, again->to_json());
}

Response erase_subject(const DeploymentParts& parts, const Context& ctx, const Request& request) {
  auto body = object_in(request);
  if (!body) return slipway_error(body.error());
  if (!body->contains("subject"))
    return slipway_error(invalid_argument(R"(the body has to be {"subject": the input's value})"));
  if (auto done = parts.keys.erase(ctx, (*body)["subject"].dump()); !done)
    return slipway_error(done.error());
  return answer(200, Json::object());
}

}  // namespace

Result<Json> served_at(const serving::DeploymentStore& deployments,
                       const registry::Registry& registry, const std::string& name, Time time) {
  auto deployment = deployments.at(name, time);
  if (!deployment) return deployment.error();
  auto moves = registry.aliases_at(deployment->model, time);
  if (!moves) return moves.error();
  const auto version_of = [&](const std::string& alias) -> Json {
    for (const registry::AliasMove& move : *moves) {
      if (move.alias == alias && move.to) return *move.to;
    }
    return nullptr;
  };
  Json arms = Json::array();
  double rest = 1;
  for (const serving::Canary& canary : deployment->canaries) {
    arms.push_back({{"alias", canary.alias},
                    {"version", version_of(canary.alias)},
                    {"weight", canary.weight}});
    rest -= canary.weight;
  }
  Json shadows = Json::array();
  for (const std::string& shadow : deployment->shadows)
    shadows.push_back({{"alias", shadow}, {"version", version_of(shadow)}});
  return Json{{"deployment", name},
              {"time", format_time(time)},
              {"declared", format_time(deployment->updated)},
              {"model", deployment->model},
              {"alias", deployment->alias},
              {"version", version_of(deployment->alias)},
              {"weight", std::max(0.0, rest)},
              {"canaries", arms},
              {"shadows", shadows}};
}

Result<serving::Deployment> patch_deployment(const Context& ctx,
                                             serving::DeploymentStore& deployments,
                                             const std::string& name, const Json& changes) {
  auto before = deployments.get(name);
  if (!before && before.error().code != Code::not_found) return before;
  Json json = before ? before->to_json() : Json::object();
  json.merge_patch(changes);
  json["name"] = name;
  auto deployment = serving::Deployment::from_json(json);
  if (!deployment) return deployment;
  return deployments.put(ctx, std::move(*deployment));
}

void add_deployment_routes(server::Router& router, const DeploymentParts& parts) {
  const auto add = [&](const char* method, const char* pattern, Access access,
                       server::Handler handler) {
    router.add(method, pattern, access, slipway_error, std::move(handler));
  };
  add("PATCH", "/api/v1/deployments/{name}", Access::manage,
      [parts](const Context& c, const Request& r) { return changed(parts, c, r); });
  add("DELETE", "/api/v1/deployments/{name}", Access::manage,
      [parts](const Context& c, const Request& r) { return removed(parts, c, r); });
  add("GET", "/api/v1/deployments/{name}/at", Access::read,
      [parts](const Context&, const Request& r) { return deployment_at(parts, r); });
  add("GET", "/api/v1/deployments/{name}/rollouts", Access::read,
      [parts](const Context&, const Request& r) { return list_rollouts(parts, r); });
  add("POST", "/api/v1/deployments/{name}/rollouts", Access::manage,
      [parts](const Context& c, const Request& r) { return start_rollout(parts, c, r); });
  add("POST", "/api/v1/deployments/{name}/rollouts/{action}", Access::manage,
      [parts](const Context& c, const Request& r) { return move_rollout(parts, c, r); });
  add("POST", "/api/v1/predictions/{id}/replay", Access::manage,
      [parts](const Context&, const Request& r) { return replay_prediction(parts, r); });
  add("POST", "/api/v1/subjects/erase", Access::manage,
      [parts](const Context& c, const Request& r) { return erase_subject(parts, c, r); });
}

}  // namespace slipway::api
