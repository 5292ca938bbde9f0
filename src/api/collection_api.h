// Garbage collection over slipway's own REST interface; the command is `slipway gc`.
//   POST /api/v1/gc   {"dry_run"?, "older_than"?: "30d", "grace"?: "24h", "experiments"?: [names]}:
//                     200 with what went, or would: see governance::CollectReport::to_json
// It removes for good, so it needs `manage`; a dry run too, for it shows all there is.
#pragma once
#include "governance/collector.h"
#include "server/http.h"

namespace slipway::api {

void add_collection_routes(server::Router& router, governance::Collector& collector);

}  // namespace slipway::api
