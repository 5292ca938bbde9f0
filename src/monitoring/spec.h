// How a deployment is watched, as declared:
//   deployment: flights
//   window: 7d              # length; windows are aligned to Mondays 00:00 UTC
//   label_wait: 1d          # after a window's end, until its labels count as complete
//   min_rows: 200           # of a window (and labels, for quality): fewer decide nothing
//   clock: request          # time runs as the requests say | wall
//   drift: {alpha: 0.01, psi_threshold: 0.2}
//   alerts:
//     - {name: decay, when: auc < reference.auc - 0.05, for: 2, severity: critical}
//   webhooks: [https://hooks.example.org/slipway]
// A value; thread-safe.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "evaluation/expression.h"
#include "monitoring/drift.h"

namespace slipway::monitoring {

// When a rule is asked: as soon as a window is over, or once its labels have arrived.
enum class Phase { traffic, labels };
std::string_view to_string(Phase phase);

struct AlertRule {
  std::string name;
  evaluation::Expression when;
  int for_windows = 1;               // so many windows in a row must say yes before the alert fires
  std::string severity = "warning";  // info | warning | critical
  int repeat_windows = 0;            // while firing, tell again after so many windows; 0: never

  // labels when the condition reads anything that needs labels.
  Phase phase() const;
};

struct MonitorSpec {
  std::string deployment;
  bool regression = false;  // task: binary | regression
  Duration window = std::chrono::days(7);
  Duration label_wait = std::chrono::days(1);
  std::int64_t min_rows = 200;
  double threshold = 0.5;  // of accuracy, precision, recall, f1
  bool request_clock = false;
  DriftOptions drift;
  std::vector<AlertRule> alerts;
  std::vector<std::string> webhooks;  // URLs that are told when an alert fires and resolves

  // Problems are noted in the reader. `deployment`, when given, is the default of that key.
  static MonitorSpec read(SpecReader& reader, std::string deployment = "");
  Json to_json() const;  // as read() takes it
  static Result<MonitorSpec> from_json(const Json& json);
};

// What rules may read: the values of a WindowReport, and of its reference and the window before it.
const evaluation::Vocabulary& rule_vocabulary();

}  // namespace slipway::monitoring
