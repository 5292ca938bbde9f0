// slipway's own REST interface, for what no protocol of the field covers: labels, windows, alerts,
// audit; pipeline runs are in api/pipelines_api.h.
//   POST /api/v1/deployments/{name}/labels    {"labels": [{"prediction_id", "label", "time"?}]}
//   GET  /api/v1/deployments[/{name}]         what is deployed
//   GET  /api/v1/deployments/{name}/windows   monitoring reports, oldest first
//   GET  /api/v1/deployments/{name}/settled?time=…   whether monitoring and feedback have caught up
//   with the traffic GET  /api/v1/predictions/{id}           one logged prediction with its inputs
//   GET  /api/v1/alerts                       ?deployment=…&firing=true
//   GET  /api/v1/audit                        ?after=…&limit=…
// Errors are {"error": {"code", "message"}}.
#pragma once
#include <functional>

#include "audit/audit.h"
#include "feedback/labels.h"
#include "feedback/loop.h"
#include "monitoring/monitor.h"
#include "server/http.h"
#include "serving/deployments.h"
#include "serving/prediction_log.h"

namespace slipway::api {

struct SlipwayParts {  // all outlive the server
  const Clock& clock;
  audit::Log& audit;
  serving::DeploymentStore& deployments;
  const serving::PredictionLog& predictions;
  monitoring::Monitor& monitor;
  feedback::LabelStore& labels;
  feedback::Loop& loop;
  std::function<Result<void>(const Context&)>
      catch_up;  // one round of monitoring, feedback and loading of models
};

void add_slipway_routes(server::Router& router, const SlipwayParts& parts);

server::Response slipway_error(const Error& error);
server::Response answer(int status, const Json& body);

// The forms in which this interface, and the commands' --json, show them.
Json to_json(const audit::Entry& entry);
Json to_json(const feedback::Trial& trial);

}  // namespace slipway::api
