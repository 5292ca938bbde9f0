// What MLflow's protocol does not ask of the registry: what served at a time, and the outbox of its
// webhooks.
//   GET  /api/v1/models/{name}/at?time=…   which version each alias pointed at then, since when, by
//                                          whom and why
//   GET  /api/v1/webhooks/deliveries       ?webhook=…&state=pending|delivered|dead&limit=…
//   POST /api/v1/webhooks/{webhook}/replay {"from_event": 17} or {"only_dead": true}
// Errors are {"error": {"code", "message"}}.
#pragma once
#include "base/json.h"
#include "registry/registry.h"
#include "server/http.h"
#include "webhooks/webhooks.h"

namespace slipway::api {

// Both outlive the server.
void add_registry_routes(server::Router& router, registry::Registry& registry,
                         webhooks::Webhooks& webhooks);

// The forms in which this interface, and the commands' --json, show them.
Json to_json(const registry::AliasMove& move);
Json to_json(const webhooks::Delivery& delivery);
// invalid_argument for none of pending, delivered and dead; "": any.
Result<std::optional<webhooks::DeliveryState>> parse_delivery_state(std::string_view text);

}  // namespace slipway::api
