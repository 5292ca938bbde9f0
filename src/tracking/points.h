// Metric points for those who read whole stores, such as an export: on a snapshot of their own, and
// piece by piece, so that memory stays flat whatever a history holds.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "base/result.h"
#include "tracking/types.h"

namespace slipway::db {
class Connection;
}

namespace slipway::tracking {

// The points of one metric of the run with this key of its row (runs.seq), by time, then step, in
// pieces of at most `piece`. An error of `take` ends the walk and is returned.
Result<void> walk_points(db::Connection& connection, std::int64_t run, const std::string& key,
                         std::size_t piece,
                         const std::function<Result<void>(std::span<const Metric>)>& take);

}  // namespace slipway::tracking
