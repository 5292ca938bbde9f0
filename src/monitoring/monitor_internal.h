#pragma once
#include <mutex>

#include "monitoring/monitor.h"
#include "monitoring/rules_internal.h"

namespace slipway::monitoring {

struct Monitor::Impl {
  explicit Impl(const MonitorParts& given) : parts(given) {}

  // The next evaluation that is due with traffic up to `until`, the earliest first.
  struct Due {
    Window window;
    Phase phase = Phase::traffic;
  };
  Result<std::optional<Due>> next_due(const MonitorSpec& spec, Time until) const;
  // How far the deployment's time has come; nothing before its first row.
  std::optional<Time> watermark(const MonitorSpec& spec, Time now) const;

  Result<void> evaluate(const Context& ctx, const MonitorSpec& spec, const Due& due, Time now,
                        StepResult& result);
  Result<void> tell_sink(const Context& ctx, Time now, StepResult& result);

  MonitorParts parts;
  std::mutex stepping;
  std::mutex delivering;
};

// Who acts, in audit entries of what the monitor does by itself.
inline constexpr std::string_view kActor = "slipway";

// not_found when there is none.
Result<Alert> load_alert(db::Connection& connection, const std::string& id);
// The columns of get_alert and list_alerts.
Alert read_alert_row(const db::Rows& row);

}  // namespace slipway::monitoring
