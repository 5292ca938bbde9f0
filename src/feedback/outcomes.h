// Which predictions of a deployment turned out wrong, as far as labels have come: what a rollout is
// judged by. Blocks on the prediction log and the database.
#pragma once
#include <string>
#include <vector>

#include "feedback/labels.h"
#include "serving/deployments.h"
#include "serving/prediction_log.h"
#include "serving/rollout.h"

namespace slipway::feedback {

// Labelled primary predictions from a time on. A classifier is wrong (1) when its label at the
// deployment's threshold is; else the badness is the distance to the label, 1 at most.
Result<std::vector<serving::Outcome>> outcomes_of(const serving::PredictionLog& log,
                                                  const LabelStore& labels,
                                                  const serving::Deployment& deployment, Time from);

}  // namespace slipway::feedback
