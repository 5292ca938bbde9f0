// The tree-structured Parzen estimator over a space's coordinates.
#pragma once
#include <span>
#include <vector>

#include "base/rng.h"
#include "tuning/space.h"

namespace slipway::tuning {

// `good` and `bad` are points of trials, oldest first. Draws candidates from the density of the
// good ones and returns the one with the highest ratio of the density of the good to that of the
// bad.
std::vector<double> tpe_suggest(const Space& space,
                                const std::vector<const std::vector<double>*>& good,
                                const std::vector<const std::vector<double>*>& bad, Rng& rng);

}  // namespace slipway::tuning
