// Pipeline runs as processes of their own, so that training shares no memory and no fate with
// serving.
#pragma once
#include <filesystem>

#include "base/context.h"
#include "base/json.h"
#include "jobs/queue.h"

namespace slipway::cli {

// Runs `slipway run` for a job {"file", "params", "reason", "actor"?, "from"?, "use_cache"?} and
// waits. Output goes to
// log_folder/<job>.log. Its commands find the server at MLFLOW_TRACKING_URI, with the token, when
// there is one, in MLFLOW_TRACKING_TOKEN. A gate that refuses is a result, not an error.
Result<Json> run_pipeline_job(const Context& ctx, const jobs::Job& job,
                              const std::filesystem::path& home, const std::string& server_url,
                              const std::string& token);

}  // namespace slipway::cli
