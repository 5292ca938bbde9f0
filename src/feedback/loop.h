// The feedback loop of a deployment: what starts a retraining, and what becomes of the challenger
// it makes.
//   feedback:
//     retrain:
//       - name: challenger             # and the alias its versions get, in shadow
//         pipeline: retrain.yaml       # gets the params deployment, alias and until (the
//         deployment's time) on_alert: [decay]            # rules of the monitor schedule:
//         {monthly: {day: 1}} cooldown: 14d                # between two retrainings by alert
//         params: {months: 0}
//     promotion:
//       metric: log_loss               # on the same labelled predictions
//       min_labelled: 2000
//       look_every: 7d                 # first look after so long in shadow, then again …
//       decide_within: 14d             # … until here: not shown to be better means refused
//       label_wait: 1d                 # after that, for the labels of the last predictions
//       confidence: 0.95               # over all looks together (Bonferroni)
//       min_improvement: 0
// A trigger and its job are one transaction, so one cause makes at most one job. A decision and its
// audit entry are idempotent: killed anywhere, the next step() goes on. Thread-safe; step() runs
// one at a time. Calls block.
#pragma once
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "audit/audit.h"
#include "evaluation/compare.h"
#include "feedback/labels.h"
#include "jobs/queue.h"
#include "jobs/schedule.h"
#include "monitoring/monitor.h"
#include "registry/registry.h"
#include "serving/deployments.h"

namespace slipway::feedback {

struct RetrainSpec {
  std::string name;
  std::string pipeline;
  std::vector<std::string> on_alert;
  std::optional<jobs::Schedule> schedule;
  Duration cooldown = std::chrono::days(14);
  Json params = Json::object();
};

struct PromotionSpec {
  evaluation::Metric metric = evaluation::Metric::log_loss;
  std::int64_t min_labelled = 1000;
  Duration look_every = std::chrono::days(7);
  Duration decide_within = std::chrono::days(14);
  Duration label_wait = std::chrono::days(
      1);  // after the end of what a look covers, until its labels count as complete
  double confidence = 0.95;
  double min_improvement = 0;
  int looks() const;                    // at most so many comparisons of one challenger
  double confidence_of_a_look() const;  // 1 - (1 - confidence) / looks
};

struct LoopSpec {
  std::vector<RetrainSpec> retrain;
  PromotionSpec promotion;
  // Problems are noted in the reader.
  static LoopSpec read(SpecReader& reader);
};

// What was declared for each deployment.
class LoopStore {
 public:
  explicit LoopStore(db::Database& db)
      : db_(db) {}  // after LabelStore::open, which makes the schema
  // declared: as LoopSpec::read takes it. Relative pipeline paths start at folder.
  Result<void> put(const std::string& deployment, const Json& declared, const std::string& folder);
  struct Stored {
    std::string deployment;
    LoopSpec spec;
    std::string folder;
  };
  Result<std::vector<Stored>> list() const;

 private:
  db::Database& db_;
};

struct Trial {
  std::int64_t id = 0;
  std::string alias;
  std::int64_t version = 0;
  std::int64_t champion = 0;
  Time started, looked;
  std::string state;  // running, promoted, refused, superseded
  std::optional<Time> ended;
  Json decision;
};

struct Trigger {
  std::string entry, cause, job;
  Time due;
};

// What promotion says about a challenger, from the comparison so far. Pure.
struct Verdict {
  enum class Kind { wait, promote, refuse } kind = Kind::wait;
  std::string reason;
};
Verdict judge(const PromotionSpec& spec, const evaluation::Comparison& comparison,
              Duration in_shadow);

class Loop final : public monitoring::AlertSink {
 public:
  struct Parts {  // all outlive the loop
    db::Database& db;
    audit::Log& audit;
    jobs::Queue& queue;
    registry::Registry& registry;
    serving::DeploymentStore& deployments;
    LabelStore& labels;
    LoopStore& loops;
    monitoring::Traffic& traffic;
    const Clock& clock;
  };
  explicit Loop(const Parts& parts) : parts_(parts) {}

  Result<void> fired(const Context& ctx, const monitoring::Alert& alert) override;
  Result<void> resolved(const Context& ctx, const monitoring::Alert& alert) override;

  // Schedules and challengers, up to each deployment's time. Returns how many things were done.
  Result<int> step(const Context& ctx);
  // Nothing asked for is unfinished, and no schedule or look is due, with the deployment's time at
  // `time`.
  Result<bool> settled(const std::string& deployment, Time time) const;
  Result<std::vector<Trial>> trials(const std::string& deployment) const;
  Result<std::vector<Trigger>> triggers(const std::string& deployment) const;

  static constexpr const char* kRetrainJob = "pipeline.run";

 private:
  Result<Time> now_of(const serving::Deployment& deployment) const;
  Result<bool> trigger(const Context& ctx, const LoopStore::Stored& loop, const RetrainSpec& entry,
                       const std::string& cause, Time due);
  Result<int> follow_schedules(const Context& ctx, const LoopStore::Stored& loop, Time now);
  Result<int> follow_challengers(const Context& ctx, const LoopStore::Stored& loop,
                                 const serving::Deployment& deployment, Time now);
  Result<std::optional<evaluation::Comparison>> compare(const LoopStore::Stored& loop,
                                                        const serving::Deployment& deployment,
                                                        const Trial& trial, std::int64_t champion,
                                                        Time until) const;
  Result<void> decide(const Context& ctx, const serving::Deployment& deployment, const Trial& trial,
                      std::int64_t champion, const Verdict& verdict, const Json& decision,
                      Time now);

  Parts parts_;
  std::mutex step_mutex_;
};

}  // namespace slipway::feedback
