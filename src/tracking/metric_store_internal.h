// Where a run's metric points are kept: a log that takes what comes, and chunks into which the log
// is packed (sql/0004_metric_chunks.sql). Writing looks nothing up but the run's last log row and
// the latest values, so that it costs the same however much is stored; points that were there
// already are left out when histories are read.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/database.h"
#include "tracking/metric_codec_internal.h"
#include "tracking/types.h"

namespace slipway::tracking {

// Points and the latest value of each metric. The keys have been checked.
Result<void> write_metrics(db::Transaction& tx, std::int64_t run, std::span<const Metric> metrics);

// The points of one metric from the offset-th on, in order, at most `limit` of them (negative:
// all).
Result<std::vector<Point>> read_points(db::Connection& connection, std::int64_t run,
                                       std::string_view key, std::int64_t offset = 0,
                                       std::int64_t limit = -1);

// At most `most` of the points, see Tracking::sample_history. Sorts them by step.
std::vector<Point> sample_points(std::vector<Point> points, std::size_t most);

}  // namespace slipway::tracking
