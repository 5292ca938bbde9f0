// One logged prediction, answered again by the version that answered it: the same inputs have to
// give the same score, bit for bit. Where that cannot be, it says why.
#pragma once
#include <optional>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "registry/registry.h"
#include "serving/deployments.h"
#include "serving/model_source.h"
#include "serving/prediction_log.h"
#include "serving/subject_keys.h"

namespace slipway::serving {

struct Rerun {
  Prediction logged;  // inputs opened where they were sealed
  std::string model;
  std::string digest;           // of the bundle that answered again
  std::optional<double> score;  // nothing: it could not be computed, or is missing
  bool same = false;            // to the bit; both missing is the same
  std::string reason;           // why not
  Json to_json() const;
};

struct RerunParts {  // outlive the call
  const PredictionLog& predictions;
  const DeploymentStore& deployments;
  const registry::Registry& registry;
  const ModelSource& source;
  const SubjectKeys& keys;
};

// not_found: no such prediction. That it cannot be run again, or gives another score, is a value.
Result<Rerun> rerun(const RerunParts& parts, std::string_view id);

}  // namespace slipway::serving
