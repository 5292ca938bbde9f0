// Moving in from MLflow: experiments, runs with params, tags, every metric point, inputs and
// outputs, logged models, registered models with versions and aliases, and all artifacts, out of a
// running server (REST) or straight out of its database and artifact folder.
//   MlflowImport import({db, blobs, audit, tracking, registry, clock}, {.source = "http://…"});
//   auto report = import.run(ctx, [](const ImportProgress& at) { … });
//   if (report && !report->matches()) …   // counts differ: the report says where
// Ids of runs, logged models and versions are kept; of experiments where they are free (they go by
// name). What was brought over completely is noted with what it was, so an import that was cut off
// goes on, and one that is done again brings over only what is new or changed; nothing is doubled.
// The source is only read. run() blocks; it uses `threads` of its own.
// Formats: https://mlflow.org/docs/latest/rest-api.html, and the tables of MLflow's SQL store as
// of its release 3.17 (2.x has fewer of them).
#pragma once
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "net/egress.h"

namespace slipway::db {
class Database;
}
namespace slipway::blob {
class Store;
}
namespace slipway::audit {
class Log;
}
namespace slipway::tracking {
class Tracking;
}
namespace slipway::registry {
class Registry;
}

namespace slipway::transfer {

struct ImportOptions {
  std::string source;  // "http://host:5000", "sqlite:///path/mlflow.db", "postgresql://…"
  std::vector<std::string> experiments;  // names; empty: all
  std::filesystem::path artifacts;       // what mlflow-artifacts:/ means, for a database
  bool with_artifacts = true;
  bool again = false;  // also what was brought over already
  int threads = 4;
  // For a server: sent as they are, from MLflow's environment variables.
  std::string user;
  std::string password;
  std::string token;
  Result<void> validate() const;
};

struct ImportParts {  // all outlive the import
  db::Database& db;
  blob::Store& blobs;
  audit::Log& audit;
  tracking::Tracking& tracking;
  registry::Registry& registry;
  const Clock& clock;
};

struct ImportProgress {
  std::string what;  // "flights", the experiment
  std::int64_t runs = 0;
  std::int64_t total_runs = -1;  // -1: not known
  std::int64_t points = 0;
  std::int64_t files = 0;
  std::int64_t bytes = 0;
};
// Called from any of the threads, one at a time, a few times a second at most.
using ImportObserver = std::function<void(const ImportProgress&)>;

struct ImportRow {
  std::string kind;
  std::int64_t source = 0;
  std::int64_t target = 0;
};

struct ImportReport {
  std::vector<ImportRow> rows;
  std::int64_t new_runs = 0;          // the others were there already
  std::vector<std::string> problems;  // the first hundred
  std::int64_t problem_count = 0;
  std::vector<std::string> notes;  // what stays behind on purpose
  bool matches() const;  // every count is the same on both sides, and there was no problem
  Json to_json() const;
  static ImportReport from_json(const Json& json);  // what is missing is taken as empty
};

// Connections to the host of this URL and no other, wherever its name leads: for a server that
// somebody named on purpose.
Result<net::EgressPolicy> policy_for(const std::string& url);

class MlflowImport {
 public:
  MlflowImport(const ImportParts& parts, ImportOptions options);
  // Errors: what the source or the home cannot do at all. Single runs or files that cannot be
  // brought over are problems of the report.
  Result<ImportReport> run(const Context& ctx, const ImportObserver& observer);

 private:
  ImportParts parts_;
  ImportOptions options_;
};

}  // namespace slipway::transfer
