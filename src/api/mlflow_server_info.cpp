// What MLflow's client and pages ask a server about itself before they choose a way
// (mlflow/utils/server_info.py). Answers are kept for a minute by the client, errors are not.
#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {

void add_server_info_routes(server::Router& router) {
  // Files are sent in one stream unless the caller's environment asks for parts: through this
  // server, parts are no faster, and their links have to lead back to it under the right name.
  const Json info = {{"store_type", "SqlStore"},
                     {"workspaces_enabled", false},
                     {"trace_archival_enabled", false},
                     {"multipart_uploads_enabled", false},
                     {"multipart_downloads_enabled", false},
                     {"presigned_upload_run_id_supported", false},
                     {"presigned_upload_model_id_supported", false},
                     {"features_enabled", {{"gateway", false}}}};
  for (const std::string_view prefix : {"/api/3.0/mlflow/", "/ajax-api/3.0/mlflow/"}) {
    router.add("GET", std::string(prefix) + "server-info", server::Access::open, mlflow_error,
               [text = info.dump()](const Context&, const server::Request&) {
                 return server::json_text(200, text);
               });
  }
}

}  // namespace slipway::api::mlflow
