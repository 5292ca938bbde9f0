// Named crash points. In builds with SLIPWAY_FAULT_POINTS, the environment variable
//   SLIPWAY_FAULT=<point>[:hit][:kill|eio|enospc|sleep]
// makes the hit-th passage of a point kill the process (-9), fail with an error, or sleep for ten
// seconds. A build without them refuses to start when the variable is set
// (fault::check_environment).
#pragma once
#include <string_view>

#include "base/result.h"

namespace slipway::fault {

// Nothing, or the injected error.
Result<void> point(std::string_view name);
// failed_precondition when SLIPWAY_FAULT is set and this build has no fault points, or it is
// malformed.
Result<void> check_environment();

}  // namespace slipway::fault
