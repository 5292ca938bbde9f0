// MLflow's scoring protocol (https://mlflow.org/docs/latest/ml/deployment/deploy-model-locally):
// POST /invocations with dataframe_split, dataframe_records, instances, inputs or CSV, and GET
// /ping. Answers {"predictions": [...]}: what the model gives for each row.
// One server answers for many deployments: /invocations is for the only one there is, and
// /endpoints/{name}/invocations names it.
#pragma once
#include <memory>

#include "api/inference_core_internal.h"
#include "server/http.h"

namespace slipway::api {

void add_invocation_routes(server::Router& router, const std::shared_ptr<InferenceCore>& core);
server::Response invocation_error(const Error& error);  // {"error_code", "message"}

// A body as rows; inference.target is set. content_type as the header says; empty: JSON.
Result<InferRequest> read_invocation(std::string_view body, std::string_view content_type,
                                     serving::Inference& inference);

}  // namespace slipway::api
