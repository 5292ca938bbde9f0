// Staged rollouts: a candidate gets a growing share of a deployment's requests and becomes what the
// deployment's alias means, unless it is shown to do worse, when it loses its share at once. What
// it is judged by: failures, slow answers, and wrong predictions as labels arrive, each with
// evidence that may be looked at any time (serving/sequential.h); alpha holds for all of them
// together over the whole rollout.
//   rollouts->start(ctx, "flights", {.candidate = "next"});
//   rollouts->step(ctx, traffic, outcomes);           // every so often, by the server
// Everything is in the database: a restart goes on where it stood. Every change is an audit entry.
// Thread-safe; calls block on the database.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/ids.h"
#include "base/spec.h"
#include "registry/registry.h"
#include "serving/deployments.h"
#include "serving/sequential.h"
#include "serving/served.h"

namespace slipway::serving {

struct RolloutSpec {
  std::string candidate = "candidate";           // the alias that is rolled out
  std::vector<double> stages{0.01, 0.1, 0.5};    // shares, growing; after the last it is promoted
  std::int64_t min_requests = 200;               // of the candidate, in each stage
  Duration min_time = std::chrono::minutes{10};  // in each stage
  double alpha = 0.05;     // chance of a rollback although the candidate is no worse
  double tolerance = 1.1;  // "worse": bad events more than so many times as often
  // Answers slower than this are bad events; 0: latency is not looked at. Counted by the bounds of
  // the latency histogram, so the next bound below is what counts.
  std::int64_t slow_us = 0;
  bool labels = true;  // wrong predictions are bad events

  Result<void> validate() const;
  Json to_json() const;
  static RolloutSpec read(SpecReader& reader);  // finish() is the caller's
};

enum class RolloutState {
  running,
  paused,
  promoting,
  rolling_back,
  promoted,
  rolled_back,
  aborted
};
std::string_view to_string(RolloutState state);  // "rolling_back"

// What was counted of one version, since whenever.
struct ArmCounts {
  std::int64_t requests = 0;
  std::int64_t failures = 0;
  std::int64_t slow = 0;
  Json to_json() const;
};

// One labelled prediction of the deployment.
struct Outcome {
  Time time;  // of the prediction
  std::int64_t version = 0;
  double badness = 0;  // 0 right to 1 wrong
};

struct Rollout {
  std::string id;
  std::string deployment;
  RolloutState state = RolloutState::running;
  Time started;
  Time updated;
  RolloutSpec spec;
  std::int64_t control_version = 0;
  std::int64_t candidate_version = 0;
  std::size_t stage = 0;
  std::vector<Time> stage_began;    // of this and the earlier ones
  std::int64_t stage_requests = 0;  // of the candidate
  ArmCounts control;
  ArmCounts candidate;
  std::int64_t labelled = 0;
  Evidence errors;
  Evidence latency;
  Evidence quality;
  std::string reason;  // of what happened last

  bool open() const { return state < RolloutState::promoted; }
  double weight() const { return spec.stages[stage]; }
  Json to_json() const;
};

// What was seen since the last look; outcomes are all there are since the start.
struct RolloutObservation {
  ArmCounts control;
  ArmCounts candidate;
  std::optional<std::vector<Outcome>> outcomes;
};
// Takes an observation in and says what follows: the rollout with its new state (running in the
// same or the next stage, promoting, rolling_back). Pure.
Rollout advance(Rollout rollout, const RolloutObservation& seen, Time now);

class Rollouts {
 public:
  struct Parts {  // outlive this
    db::Database& db;
    audit::Log& audit;
    DeploymentStore& deployments;
    registry::Registry& registry;
    const Clock& clock;
    IdSource& ids;
  };
  static Result<std::unique_ptr<Rollouts>> open(const Parts& parts);

  // already_exists: one of this deployment is open. failed_precondition: the candidate is what
  // serves already.
  Result<Rollout> start(const Context& ctx, const std::string& deployment, RolloutSpec spec);
  // By hand; failed_precondition when none is open, or it is decided already.
  Result<Rollout> pause(const Context& ctx, const std::string& deployment);
  Result<Rollout> resume(const Context& ctx, const std::string& deployment);
  Result<Rollout> promote(const Context& ctx, const std::string& deployment);
  Result<Rollout> abort(const Context& ctx, const std::string& deployment);
  Result<std::vector<Rollout>> list(const std::string& deployment) const;  // newest first

  // Counters of a version behind a deployment that only grow, of requests assigned by chance.
  using Traffic = std::function<ArmCounts(const std::string& deployment, std::int64_t version,
                                          std::int64_t slow_us)>;
  // Labelled predictions from a time on.
  using Outcomes =
      std::function<Result<std::vector<Outcome>>(const std::string& deployment, Time from)>;
  // One round over all that are open.
  Result<void> step(const Context& ctx, const Traffic& traffic, const Outcomes& outcomes);

 private:
  explicit Rollouts(const Parts& parts) : parts_(parts) {}
  Result<Rollout> find_open(const std::string& deployment) const;
  Result<Rollout> save(const Context& ctx, Rollout rollout, const std::string& action);
  Result<Rollout> decide(const Context& ctx, const std::string& deployment, RolloutState state,
                         const std::string& reason);
  Result<Rollout> settle(const Context& ctx, Rollout rollout);
  Result<void> share(const Context& ctx, const Rollout& rollout, double weight);
  Result<void> look(const Context& ctx, Rollout rollout, const Traffic& traffic,
                    const Outcomes& outcomes);

  Parts parts_;
  std::mutex mutex_;  // one round, or one change by hand, at a time
  struct Seen {
    ArmCounts control;
    ArmCounts candidate;
    Time outcomes_at;
  };
  std::map<std::string, Seen> seen_;  // by rollout: counters as they were last
};

// The counters of a version in stats of routed requests.
ArmCounts counts_of(const VersionStats& stats, std::int64_t slow_us);

}  // namespace slipway::serving
