// Imports that the server runs itself, as jobs; the command is `slipway import mlflow --server`.
//   POST /api/v1/imports        {"source", "experiments"?, "artifact_root"?, "with_artifacts"?,
//   "again"?,
//                               "threads"?}: 202 {"job"}
//   GET  /api/v1/imports/{job}  {"state", "progress", "report"?, "error"}
//   POST /api/v1/jobs/{job}/cancel   stops it; the next import of that source goes on from there
// Paths and addresses in it are the server's: an import reads what the server's user may read, so
// both need `manage`. Credentials for the source come from the server's environment, never from a
// request.
#pragma once
#include <map>
#include <string>

#include "base/guarded.h"
#include "jobs/queue.h"
#include "server/http.h"
#include "transfer/mlflow_import.h"

namespace slipway::api {

// Lives as long as the server; thread-safe.
class Imports {
 public:
  static constexpr const char* kJob = "import.mlflow";
  struct Credentials {
    std::string user;
    std::string password;
    std::string token;
  };
  Imports(jobs::Queue& queue, const transfer::ImportParts& parts, Credentials credentials)
      : queue_(queue), parts_(parts), credentials_(std::move(credentials)) {}

  void add_routes(server::Router& router);
  // For the worker that takes jobs of this kind.
  Result<Json> work(const Context& ctx, const jobs::Job& job);

 private:
  server::Response post(const Context& ctx, const server::Request& request);
  server::Response get(const server::Request& request) const;

  jobs::Queue& queue_;
  transfer::ImportParts parts_;
  Credentials credentials_;
  Guarded<std::map<std::string, transfer::ImportProgress>> progress_;  // of jobs under way
};

}  // namespace slipway::api
