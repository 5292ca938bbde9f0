// Infer requests and answers as protobuf messages. No calls here.
#pragma once
#include "api/inference_internal.h"
#include "open_inference.pb.h"

namespace slipway::api {

// Fills inference.rows from raw or typed contents; inference.target is set.
Result<InferRequest> read_message(const inference::ModelInferRequest& message,
                                  serving::Inference& inference);
// raw: outputs as little-endian bytes, as the request's inputs came, else in typed fields.
void write_message(const InferRequest& request, const serving::Inference& inference, bool raw,
                   inference::ModelInferResponse& message);

}  // namespace slipway::api
