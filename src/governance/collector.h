// Garbage collection: what was deleted long enough ago goes for good, and then every blob that
// nothing names any more.
//   Collector collector({db, blobs, audit, clock}, roots);
//   auto report = collector.collect(ctx, {.dry_run = true});   // says what and how many bytes
// Runs, logged models and experiments go when their deletion is older than their retention
// (tracking/retention.h), unless a version in the registry comes from them. Each is one transaction
// with its audit entry; then blobs are marked and swept (blob/sweep.h). It may be cut off anywhere:
// the next one goes on. One at a time per store; the server and its uploads go on meanwhile.
// Thread-safe. Calls block on database and disk.
#pragma once
#include <string>
#include <vector>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "blob/roots.h"
#include "blob/store.h"
#include "blob/sweep.h"
#include "db/database.h"

namespace slipway::governance {

struct CollectOptions {
  bool dry_run = false;
  Duration keep_deleted = std::chrono::days{30};  // where no tag slipway.retention says otherwise
  // Blobs put later than this ago stay though nothing names them: they may be part of an upload
  // that is under way.
  Duration grace = std::chrono::hours{24};
  std::vector<std::string> experiments;  // names or ids; only what was deleted in these is purged
};

struct CollectedExperiment {
  std::string id;
  std::string name;
  bool gone = false;  // the experiment itself, too
  std::int64_t runs = 0;
  std::int64_t logged_models = 0;
};

struct CollectReport {
  bool dry_run = false;
  std::vector<CollectedExperiment> purged;  // or what would be, in a dry run
  std::int64_t held = 0;                    // deleted, but versions in the registry come from them
  std::vector<std::string> held_examples;   // "run … (late/3)"
  std::vector<std::string> kinds;           // what keeps blobs, in the order of blobs.kept
  blob::Swept blobs;
  std::vector<std::string> damaged_manifests;
  std::vector<std::string> notes;
  Json to_json() const;
};

class Collector {
 public:
  struct Parts {  // all outlive the collector
    db::Database& db;
    blob::Store& blobs;
    audit::Log& audit;
    const Clock& clock;
  };
  Collector(const Parts& parts, std::vector<blob::RootSource> roots)
      : parts_(parts), roots_(std::move(roots)) {}

  // failed_precondition while another collection runs; not_found for an experiment that is not
  // there.
  Result<CollectReport> collect(const Context& ctx, const CollectOptions& options);

 private:
  Parts parts_;
  std::vector<blob::RootSource> roots_;
};

}  // namespace slipway::governance
