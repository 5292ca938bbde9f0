// Dynamic batching: requests for one version that wait anyway are scored in one call of its model,
// and each gets its own rows' answer. A model that costs much a call (a Python process, say)
// answers many callers for the price of one.
//   if (auto scored = score_together(host, members); …) each member is as after ModelHost::score
// Any thread; blocks as long as the model does.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "serving/model_host.h"
#include "serving/served.h"

namespace slipway::serving {

// Whether two requests may be scored in one call: the same version of the same deployment, and the
// same wishes.
bool batchable(const Inference& a, const Inference& b);

// The outcome of each member, in order. All are batchable with one another. When the batch fails,
// each is tried by itself: what is wrong with one is not the others' affair.
std::vector<Result<void>> score_together(const ModelHost& host,
                                         std::span<Inference* const> members);

}  // namespace slipway::serving
