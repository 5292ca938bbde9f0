// One logged prediction, answered again: `slipway replay ID`.
#pragma once
#include <string>

#include "cli/home.h"

namespace slipway::cli {

// Prints what came out; exit code 7 when it is not the same, with the reason.
int replay_prediction(Home& home, const std::string& id);

}  // namespace slipway::cli
