// The one table that says what an Error is in each protocol slipway speaks, and as an exit code of
// the commands. Pure; any thread.
#pragma once
#include <span>
#include <string_view>

#include "base/result.h"

namespace slipway::api {

struct Status {
  Code code;
  int http;
  int grpc;                    // google.rpc.Code
  std::string_view grpc_name;  // "NOT_FOUND"
  std::string_view mlflow;     // MLflow's error_code: "RESOURCE_DOES_NOT_EXIST"
  int mlflow_http;
  int exit;  // of a command; 0 is success, 7 is "it ran, and the answer is no"
};

inline constexpr int kExitAnswerIsNo = 7;

const Status& status_of(Code code);
std::span<const Status> all_statuses();

}  // namespace slipway::api
