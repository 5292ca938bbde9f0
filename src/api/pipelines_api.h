// Pipeline runs over the network: a request makes a job, the job's worker runs the pipeline on the
// server's home, and the run can be followed and cancelled.
//   POST /api/v1/pipelines/runs               {"file", "params"?, "reason"?, "from"?,
//   "use_cache"?}:
//                                             202 {"job"}; file is a path on the server's machine
//   GET  /api/v1/pipelines/runs               ?pipeline=…&job=…&limit=…, newest first
//   GET  /api/v1/pipelines/runs/{id}          one with its steps and their progress
//   GET  /api/v1/jobs/{id}
//   POST /api/v1/jobs/{id}/cancel             a running job stops a moment later
// A pipeline may run any program as the server's user: starting one needs `manage`.
#pragma once
#include "jobs/queue.h"
#include "pipeline/engine.h"
#include "server/http.h"

namespace slipway::api {

struct PipelineParts {  // all outlive the server
  jobs::Queue& queue;
  const pipeline::Engine& engine;
};

void add_pipeline_routes(server::Router& router, const PipelineParts& parts);

}  // namespace slipway::api
