// Watches deployments: evaluates each window of traffic twice (when it is over, and when its labels
// have arrived), keeps the reports, and runs the alert rules: pending -> firing -> resolved.
//   monitor->configure(ctx, spec);                   // durable; a server finds it again after a
//   restart monitor->step(ctx, clock.now());                 // from a timer: evaluates what is
//   due, tells the sink monitor->deliver(ctx, clock.now());              // from another: sends
//   what webhooks are owed
// A report, the rules' states, their audit entries and the messages owed share one transaction, so
// a window counts once per phase whatever dies when. Windows are taken in the order in which they
// fall due, so the story of alerts does not depend on how often step() is called. The sink and
// webhooks are told at least once; an alert's id tells repeats apart. Thread-safe; step() and
// deliver() each run one at a time. Calls block: make them from the worker pool.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "db/database.h"
#include "monitoring/reference.h"
#include "monitoring/spec.h"
#include "monitoring/window.h"

namespace slipway::monitoring {

// What was asked and answered; see serving::PredictionLog. Implemented over it by PredictionTraffic
// (traffic.h).
class Traffic {
 public:
  virtual ~Traffic() = default;
  // Primary or shadow rows with from <= time < to, with the log's columns; nullptr when the
  // deployment logged nothing.
  virtual Result<data::TablePtr> read(const std::string& deployment, Time from, Time to,
                                      bool shadow) = 0;
  // Time of the first and of the last primary row; nothing when there is none.
  virtual Result<std::optional<Time>> first(const std::string& deployment) = 0;
  virtual std::optional<Time> watermark(const std::string& deployment) = 0;
};

// The truth that came back, by prediction id; nothing for those that did not (yet).
class LabelSource {
 public:
  virtual ~LabelSource() = default;
  virtual Result<std::vector<std::optional<double>>> labels(const std::string& deployment,
                                                            std::span<const std::string> ids) = 0;
};

// The reference of a deployment's model version; nullptr when its bundle has none.
class References {
 public:
  virtual ~References() = default;
  virtual Result<std::shared_ptr<const Reference>> find(const std::string& deployment,
                                                        std::int64_t version) = 0;
};

struct Alert {
  std::string id;
  std::string deployment, rule, severity, expression;
  bool firing = true;
  std::int64_t version = 0;  // that answered in the window that made it fire
  Window window;             // that made it fire
  Time fired_at{};           // by the caller's clock
  std::optional<Window> resolved_window;
  std::optional<Time> resolved_at;
  std::string resolution;  // why it ended
  int repeats = 0;         // times it was told again while firing
  std::vector<evaluation::Expression::Clause>
      clauses;  // of the window that made it fire; names are not kept
  Json to_json() const;
};

// Who acts on alerts inside this program. An error makes the monitor tell it again later.
class AlertSink {
 public:
  virtual ~AlertSink() = default;
  virtual Result<void> fired(const Context& ctx, const Alert& alert) = 0;  // again with repeats > 0
  virtual Result<void> resolved(const Context& ctx, const Alert& alert) = 0;
};

// Sends a JSON text to a URL; an error makes the monitor try again later. HttpWebhooks (webhooks.h)
// does it by HTTP.
class Webhooks {
 public:
  virtual ~Webhooks() = default;
  // `delivery` is the same for each attempt of one message.
  virtual Result<void> post(const Context& ctx, const std::string& url, const std::string& delivery,
                            const std::string& body) = 0;
};

// One sample for Prometheus; the server renders them.
struct MetricSample {
  std::string name;  // slipway_monitoring_…
  std::string help;
  std::vector<std::pair<std::string, std::string>> labels;
  double value = 0;
};

struct StepResult {
  int evaluated = 0;  // windows, counted per phase
  int fired = 0, resolved = 0;
  int delivered = 0;  // messages to the sink (step) or to webhooks (deliver)
  bool more = false;  // work is left: step again at once
};

struct MonitorParts {
  db::Database& db;
  audit::Log& audit;
  IdSource& ids;
  Traffic& traffic;
  LabelSource& labels;
  References& references;
  AlertSink& sink;
  Webhooks& webhooks;
};

class Monitor {
 public:
  // All parts outlive the monitor.
  static Result<std::unique_ptr<Monitor>> open(const MonitorParts& parts);
  ~Monitor();

  // Adds or replaces the monitor of spec.deployment. Alerts of rules that are gone end. Audited as
  // monitor.configure when anything changed.
  Result<void> configure(const Context& ctx, const MonitorSpec& spec, Time now);
  Result<std::vector<MonitorSpec>> specs() const;
  Result<MonitorSpec> spec(const std::string& deployment) const;  // not_found

  Result<StepResult> step(const Context& ctx, Time now);
  Result<StepResult> deliver(const Context& ctx, Time now);

  // Whether every window that can be evaluated with traffic up to `time` has been, in each phase
  // that is due, and the sink knows of every alert. True for a deployment that is not monitored.
  Result<bool> settled(const std::string& deployment, Time time, Time now) const;

  struct WindowFilter {
    std::optional<Time> from, to;  // of the window's start
    int limit = 1000;
    bool newest_first = false;
  };
  // Reports as WindowReport::to_json() gives them, each in its latest phase.
  Result<std::vector<Json>> windows(const std::string& deployment,
                                    const WindowFilter& filter) const;
  struct AlertFilter {
    std::string deployment;  // empty: all
    bool only_firing = false;
    int limit = 1000;  // newest first
  };
  Result<std::vector<Alert>> alerts(const AlertFilter& filter) const;
  Result<Alert> alert(const std::string& id) const;  // not_found

  // Gauges of the latest window of each deployment and the state of each rule.
  Result<std::vector<MetricSample>> metrics() const;

 private:
  struct Impl;
  explicit Monitor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::monitoring
