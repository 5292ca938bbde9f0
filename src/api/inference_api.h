// The Open Inference Protocol v2 over REST (https://github.com/kserve/open-inference-protocol),
// with Triton's extensions binary_tensor_data, statistics and parameters. Inputs are the raw
// columns of the model's signature, one tensor each of shape [n] or [n, 1]; outputs are
// `probability` and `label` (or `prediction` of a regression). Every answer's rows are in the
// prediction log, durably, before the caller has it, under the ids in parameters.prediction_ids:
// the request's id where it gave one ("<id>:<row>" of several rows), else new ones.
//   Router router;
//   add_inference_routes(router, host, clock, ids, {});   // host, clock and ids outlive the server
// Requests are answered on the io thread they came in on: parsing, features and trees of one row
// take microseconds. Bodies over options.large_body go to a thread of their own instead.
#pragma once
#include <chrono>
#include <cstddef>
#include <string>

#include "base/clock.h"
#include "base/ids.h"
#include "server/http.h"
#include "serving/model_host.h"

namespace slipway::api {

struct InferenceOptions {
  std::string server_version = "0.1.0";
  std::size_t large_body = 256 * 1024;
  // Requests in front of the threads for large bodies and for models that wait for a process of
  // their own; more are refused: 503 with Retry-After, RESOURCE_EXHAUSTED.
  std::size_t max_waiting = 256;
  // Of those that wait for one version, so many are scored in one call. With a delay, the first
  // waits that long for others.
  std::size_t max_batch = 64;
  std::chrono::microseconds batch_delay{0};
};

void add_inference_routes(server::Router& router, serving::ModelHost& host, const Clock& clock,
                          IdSource& ids, InferenceOptions options);

server::Response inference_error(const Error& error);  // {"error": message}

}  // namespace slipway::api
