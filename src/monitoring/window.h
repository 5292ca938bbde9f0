// One window of one deployment's traffic, evaluated: a pure function from what was logged, what
// came back as labels and what the version's training data looked like, to a report. Thread-safe.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "monitoring/drift.h"
#include "monitoring/reference.h"
#include "monitoring/spec.h"

namespace slipway::monitoring {

// [start, end)
struct Window {
  Time start, end;
  bool operator==(const Window&) const = default;
};

// The window of this length that holds a time. Aligned to Monday 1970-01-05 00:00 UTC.
Window window_at(Time time, Duration length);

// How one version did on the rows whose labels have arrived.
struct Performance {
  std::string alias;
  std::int64_t version = 0;
  std::int64_t rows = 0, labelled = 0;
  double label_rate = 0,
         mean_score = 0;  // of the labelled rows; of a regression: means. NaN without any
  std::map<std::string, double> metrics;
  std::map<std::string, std::string> undefined;  // metric -> why
  double coverage() const {
    return rows == 0 ? 0 : static_cast<double>(labelled) / static_cast<double>(rows);
  }
  Json to_json() const;
};

struct WindowReport {
  std::string deployment;
  std::int64_t version = 0;  // that answered most of the rows
  Window window;
  Phase phase = Phase::traffic;  // labels: the performance is final
  std::int64_t rows = 0;
  double request_rate = 0;  // rows a second
  double latency_p50_ms = 0, latency_p99_ms = 0;
  std::map<std::int64_t, std::int64_t> rows_by_version;
  std::optional<double> mean_score;
  std::int64_t missing_scores = 0;   // rows whose score is null
  std::vector<ColumnDrift> columns;  // empty without a reference
  std::optional<ColumnDrift> score;
  std::optional<double> weighted_drift;
  Performance performance;           // of the primary answers
  std::vector<Performance> shadows;  // per alias and version
  std::map<std::string, double> reference_metrics;
  bool enough_rows = false;        // rows >= min_rows
  std::vector<std::string> notes;  // what could not be evaluated, and why

  // What rules read, by name; values that decide nothing (too few rows or labels) are left out.
  std::map<std::string, double> values(const MonitorSpec& spec) const;
  Json to_json(const MonitorSpec& spec) const;  // with "values"
};

struct WindowInput {
  Window window;
  Phase phase = Phase::traffic;
  data::TablePtr primary;  // columns id, time, version, alias, latency_us, score and the inputs
  data::TablePtr shadow;   // columns id, version, alias, score; may be nullptr
  std::span<const std::optional<double>> labels;  // one per primary row
  const Reference* reference = nullptr;  // of the version that answered most; may be nullptr
};

Result<WindowReport> evaluate_window(const MonitorSpec& spec, const WindowInput& input);

// The version that answered most of a table's rows, the newer of equals; 0 without rows.
Result<std::int64_t> main_version(const data::TablePtr& primary);

}  // namespace slipway::monitoring
