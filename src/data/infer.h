// Expectations out of what the data looks like, as a YAML file to edit. Every rule in it holds on
// the data it came from: candidates that do not are left out.
//   auto rules = infer_rules(ctx, engine, "flights", *profile);
// Thread-safe: functions of their arguments.
#pragma once
#include <string>

#include "base/context.h"
#include "data/engine.h"
#include "data/profile.h"

namespace slipway::data {

// `profile` is one of the relation's rows.
Result<std::string> infer_rules(const Context& ctx, Engine& engine, const std::string& relation,
                                const Profile& profile);

}  // namespace slipway::data
