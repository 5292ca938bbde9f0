// The one place that decides who may do what: a pure function from a snapshot of users and grants
// to a yes or no, with its reason. Servers, lists and `slipway auth can-i` all ask here.
//   const auto decision = decide(*directory.snapshot(), identity, {Kind::model, "late"},
//                                Level::edit);
//   if (!decision.allowed) … decision.why …
// What is not granted is refused. Grants add up: the highest that fits counts. Thread-safe.
#pragma once
#include <memory>
#include <string>

#include "access/types.h"
#include "base/context.h"

namespace slipway::access {

struct Decision {
  bool allowed = false;
  Level level = Level::none;  // what the caller has there; none: must not even learn that it exists
  std::string why;  // "ana has edit on model/late: granted to the role 'scientists' on model/*"
};

Decision decide(const Snapshot& snapshot, const Identity& who, const Resource& resource,
                Level wanted);
// May make a new one of a kind (an experiment or a model), which is theirs then.
Decision decide_create(const Snapshot& snapshot, const Identity& who, Kind kind);

// What decide() lets the identity read, for lists.
std::shared_ptr<const Visibility> visibility_of(std::shared_ptr<const Snapshot> snapshot,
                                                Identity who);

}  // namespace slipway::access
