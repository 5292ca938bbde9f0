#include "api/registry_api.h"

#include <charconv>

#include "api/slipway_api.h"

namespace slipway::api {
namespace {

using server::Access;
using server::Request;
using server::Response;

constexpr std::int64_t kMostDeliveries = 10'000;

Response models_at(const registry::Registry& registry, const Request& request) {
  const auto time = parse_time(request.query_value("time"));
  if (!time) return slipway_error(time.error().at("time"));
  const std::string name(request.param("name"));
  const auto moves = registry.aliases_at(name, *time);
  if (!moves) return slipway_error(moves.error());
  Json aliases = Json::array();
  for (const auto& move : *moves) aliases.push_back(to_json(move));
  return answer(200, {{"model", name}, {"time", format_time(*time)}, {"aliases", aliases}});
}

Response list_deliveries(const webhooks::Webhooks& webhooks, const Request& request) {
  const auto state = parse_delivery_state(request.query_value("state"));
  if (!state) return slipway_error(state.error());
  std::int64_t limit = 100;
  const auto text = request.query_value("limit");
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), limit);
  if (!text.empty() && (problem != std::errc{} || end != text.data() + text.size())) {
    return slipway_error(invalid_argument("'limit' has to be a whole number"));
  }
  const auto found = webhooks.deliveries(
      {.webhook = std::string(request.query_value("webhook")),
       .state = *state,
       .limit = static_cast<int>(std::clamp<std::int64_t>(limit, 1, kMostDeliveries))});
  if (!found) return slipway_error(found.error());
  Json all = Json::array();
  for (const auto& delivery : *found) all.push_back(to_json(delivery));
  return answer(200, {{"deliveries", all}});
}

Response replay(webhooks::Webhooks& webhooks, const Context& ctx, const Request& request) {
  const auto body = parse_json(request.body.empty() ? "{}" : request.body, "the body");
  if (!body) return slipway_error(body.error());
  webhooks::Replay replay{.webhook = std::string(request.param("webhook"))};
  const bool numbered = body->is_object() && body->contains("from_event");
  const bool dead = body->is_object() && body->contains("only_dead");
  if (!body->is_object() || (numbered && !(*body)["from_event"].is_number_integer()) ||
      (dead && !(*body)["only_dead"].is_boolean()) || (!numbered && !dead)) {
    return slipway_error(
        invalid_argument(R"(the body has to be {"from_event": 17} or {"only_dead": true})"));
  }
  if (numbered) replay.from_event = (*body)["from_event"].get<std::int64_t>();
  if (dead) replay.only_dead = (*body)["only_dead"].get<bool>();
  const auto owed = webhooks.replay(ctx, replay);
  if (!owed) return slipway_error(owed.error());
  return answer(200, {{"messages", *owed}});
}

}  // namespace

Json to_json(const registry::AliasMove& move) {
  Json json = {{"alias", move.alias},
               {"since", format_time(move.at)},
               {"actor", move.actor},
               {"reason", move.reason}};
  json["version"] = move.to ? Json(*move.to) : Json(nullptr);
  json["previous_version"] = move.from ? Json(*move.from) : Json(nullptr);
  return json;
}

Json to_json(const webhooks::Delivery& delivery) {
  Json json = {{"id", delivery.id},
               {"event", delivery.event},
               {"name", delivery.event_name},
               {"webhook", delivery.webhook},
               {"state", webhooks::to_string(delivery.state)},
               {"attempts", delivery.attempts},
               {"time", format_time(delivery.at)},
               {"last_error", delivery.last_error}};
  if (delivery.state == webhooks::DeliveryState::pending) {
    json["next_attempt"] = format_time(delivery.next_attempt);
  }
  return json;
}

Result<std::optional<webhooks::DeliveryState>> parse_delivery_state(std::string_view text) {
  using webhooks::DeliveryState;
  if (text.empty()) return std::optional<DeliveryState>();
  for (const auto state : {DeliveryState::pending, DeliveryState::delivered, DeliveryState::dead}) {
    if (text == to_string(state)) return std::optional(state);
  }
  return invalid_argument(fmt::format(
      "a delivery is pending, delivered or dead; '{}' is none of these", text.substr(0, 40)));
}

void add_registry_routes(server::Router& router, registry::Registry& registry,
                         webhooks::Webhooks& webhooks) {
  router.add("GET", "/api/v1/models/{name}/at", Access::read, slipway_error,
             [&registry](const Context&, const Request& r) { return models_at(registry, r); });
  router.add(
      "GET", "/api/v1/webhooks/deliveries", Access::manage, slipway_error,
      [&webhooks](const Context&, const Request& r) { return list_deliveries(webhooks, r); });
  router.add(
      "POST", "/api/v1/webhooks/{webhook}/replay", Access::manage, slipway_error,
      [&webhooks](const Context& ctx, const Request& r) { return replay(webhooks, ctx, r); });
}

}  // namespace slipway::api
