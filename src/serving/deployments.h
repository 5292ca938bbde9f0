// Deployments: the names callers use in /v2/models/{name}, each bound to aliases of a registered
// model. What a deployment serves is decided by where the aliases point, so moving an alias is
// deploying.
//   deployments.put(ctx, {.name = "flights", .model = "flights", .shadows = {"challenger"}});
// Every change enters the audit log in the same transaction. Thread-safe; calls block on the
// database.
#pragma once
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "db/database.h"

namespace slipway::serving {

// Where a prediction's time comes from: the server's clock, or the request (header x-slipway-time),
// for replays.
enum class ClockSource { wall, request };
// What happens to a shadow's share of work when shadows do not keep up: it is dropped and counted,
// or done before the caller gets the answer.
enum class ShadowMode { best_effort, complete };

// When a caller gets its answer: when the log has it on the disk (nothing acknowledged is ever
// lost), when it waits in memory to be written (a crash loses what waits, a power cut the last
// second), or without a log.
enum class LogMode { durable, queued, off };

std::string_view to_string(ClockSource source);  // "wall"
std::string_view to_string(ShadowMode mode);     // "best_effort"
std::string_view to_string(LogMode mode);        // "durable"

// A version that answers a share of the requests, beside the deployment's own.
struct Canary {
  std::string alias;
  double weight = 0;  // share of all requests, 0 to 1
  bool operator==(const Canary&) const = default;
};

struct Deployment {
  std::string name;                  // letters, digits, '_', '-', '.'; at most 100
  std::string model;                 // registered model; empty: the same as name
  std::string alias = "champion";    // the version that answers
  std::vector<std::string> shadows;  // aliases whose versions answer unseen
  ShadowMode shadow_mode = ShadowMode::best_effort;
  ClockSource clock = ClockSource::wall;
  double threshold = 0.5;        // label 1 from this probability on
  std::vector<Canary> canaries;  // weights sum to 1 at most; the rest is the alias's
  // Header whose value decides who answers: the same value gets the same version for as long as
  // the weights stay (A/B). Empty: every request by itself.
  std::string sticky;
  LogMode log = LogMode::durable;
  double log_share = 1;              // of the requests, by the hash of their id
  std::vector<std::string> mask;     // inputs that are not kept in the log
  std::vector<std::string> encrypt;  // inputs that are kept under the subject's key
  std::string subject;               // the input that says whose row it is
  Duration keep{0};                  // how long predictions stay in the log; 0: for ever
  bool pinned = false;               // stays in memory, whatever the budget
  Time created;                      // set by the store
  Time updated;

  bool sensitive() const { return !mask.empty() || !encrypt.empty(); }
  Result<void> validate() const;
  // All but name, model and times, out of a declaration.
  static void read_options(SpecReader& reader, Deployment& into);
  Json to_json() const;  // times as RFC 3339
  static Result<Deployment> from_json(const Json& json);
};

class DeploymentStore {
 public:
  static Result<std::unique_ptr<DeploymentStore>> open(db::Database& db, audit::Log& audit,
                                                       const Clock& clock);

  Result<Deployment> create(const Context& ctx, Deployment deployment);  // already_exists
  Result<Deployment> update(const Context& ctx,
                            Deployment deployment);  // not_found; a change to nothing is no change
  Result<Deployment> put(const Context& ctx, Deployment deployment);  // create or update
  Result<Deployment> get(std::string_view name) const;                // not_found names what exists
  Result<std::vector<Deployment>> list() const;                       // by name
  // As it was declared at a moment, by the audit log: not_found when there was none.
  Result<Deployment> at(std::string_view name, Time time) const;
  Result<void> remove(const Context& ctx, std::string_view name);  // its logged predictions stay

 private:
  DeploymentStore(db::Database& db, audit::Log& audit, const Clock& clock)
      : db_(db), audit_(audit), clock_(clock) {}
  db::Database& db_;
  audit::Log& audit_;
  const Clock& clock_;
};

}  // namespace slipway::serving
