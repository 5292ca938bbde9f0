// Deployments and their rollouts, changed over HTTP; predictions answered again; subjects erased.
//   PATCH  /api/v1/deployments/{name}           a declaration, merged into what is there (RFC
//   7396);
//                                               made when there is none
//   DELETE /api/v1/deployments/{name}           its logged predictions stay
//   GET    /api/v1/deployments/{name}/at        ?time=…: how it was declared, and which versions
//                                               its aliases meant then
//   POST   /api/v1/deployments/{name}/rollouts  a serving::RolloutSpec: starts one
//   GET    /api/v1/deployments/{name}/rollouts  newest first
//   POST   /api/v1/deployments/{name}/rollouts/{action}   pause, resume, promote, abort
//   POST   /api/v1/predictions/{id}/replay      the same version on the same inputs
//   POST   /api/v1/subjects/erase               {"subject": "…"}: destroys their key
// Errors are {"error": {"code", "message"}}.
#pragma once
#include "registry/registry.h"
#include "server/http.h"
#include "serving/rerun.h"
#include "serving/rollout.h"

namespace slipway::api {

struct DeploymentParts {  // all outlive the server
  serving::DeploymentStore& deployments;
  serving::Rollouts& rollouts;
  const registry::Registry& registry;
  const serving::PredictionLog& predictions;
  const serving::ModelSource& source;
  serving::SubjectKeys& keys;
};

void add_deployment_routes(server::Router& router, const DeploymentParts& parts);

// What served then: the declaration, and where its aliases pointed.
Result<Json> served_at(const serving::DeploymentStore& deployments,
                       const registry::Registry& registry, const std::string& name, Time time);
// A declaration with changes in it, as a PATCH has them; made when there is none.
Result<serving::Deployment> patch_deployment(const Context& ctx,
                                             serving::DeploymentStore& deployments,
                                             const std::string& name, const Json& changes);

}  // namespace slipway::api
