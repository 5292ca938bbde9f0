// What a model version's training data looked like, and how the version did on its evaluation: the
// yardstick of every window. Written into the bundle (reference_profile.json) when the model is
// trained, read back when it is watched.
//   auto reference = Reference::build(training_batch, scores);
//   reference->metrics = evaluation.values();  reference->importance = {{"hour", 0.3}, …};
// A value; thread-safe.
#pragma once
#include <map>
#include <optional>
#include <span>
#include <string>

#include "base/json.h"
#include "base/result.h"
#include "data/profile.h"
#include "data/table.h"

namespace slipway::monitoring {

struct Reference {
  data::Profile profile;                     // of the raw input columns
  std::optional<data::ColumnProfile> score;  // of the model's own scores
  std::map<std::string, double> metrics;     // "auc", "log_loss", …: read by rules as reference.auc
  std::map<std::string, double>
      importance;  // input column -> weight >= 0, any scale; empty: unknown

  // More bins than a profile for the eye has, so that the distance between distributions is sharp;
  // scores may be empty.
  static Result<Reference> build(const data::Batch& inputs, std::span<const double> scores);
  // A profile's JSON with the other members beside its own keys. A plain profile is a Reference
  // without them.
  Json to_json() const;
  static Result<Reference> from_json(const Json& json);
};

}  // namespace slipway::monitoring
