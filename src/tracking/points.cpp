#include "tracking/points.h"

#include "tracking/metric_store_internal.h"

namespace slipway::tracking {

Result<void> walk_points(db::Connection& connection, std::int64_t run, const std::string& key,
                         std::size_t piece,
                         const std::function<Result<void>(std::span<const Metric>)>& take) {
  std::vector<Metric> metrics;
  for (std::int64_t offset = 0;; offset += static_cast<std::int64_t>(piece)) {
    const auto points = read_points(connection, run, key, offset, static_cast<std::int64_t>(piece));
    if (!points) return points.error();
    metrics.clear();
    for (const Point& point : *points) {
      metrics.push_back({.key = key,
                         .value = point.value,
                         .timestamp_ms = point.timestamp_ms,
                         .step = point.step});
    }
    if (!metrics.empty()) {
      if (auto taken = take(metrics); !taken) return taken;
    }
    if (metrics.size() < piece) return {};
  }
}

}  // namespace slipway::tracking
