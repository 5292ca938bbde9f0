// MLflow's interface for users and grants, as the clients of its "basic-auth" app speak it
// (mlflow.server.auth.client.AuthServiceClient of 3.17, and the per-resource permissions of clients
// before 3.14): https://mlflow.org/docs/latest/self-hosting/security/basic-http-auth.
// READ, USE, EDIT and MANAGE are slipway's levels; NO_PERMISSIONS is the lack of a grant. Who may
// call what is the guard's business (api/access_rules.cpp). There only with authentication on.
#pragma once
#include "access/authenticator.h"
#include "access/directory.h"
#include "server/http.h"

namespace slipway::api {

void add_mlflow_user_routes(server::Router& router, access::Directory& directory,
                            access::Authenticator& authenticator);

}  // namespace slipway::api
