// Writing registered models and versions as another registry has them: numbers, times, states and
// stages are kept, where Registry would make its own. For imports (transfer/). Everything may be
// done again. Aliases are moved by Registry::set_alias, so that their history begins here.
// Thread-safe. Calls block on the database.
#pragma once
#include "base/context.h"
#include "base/result.h"
#include "registry/registry.h"

namespace slipway::registry {

class Intake {
 public:
  Intake(db::Database& db, audit::Log& audit, const Clock& clock)  // all three outlive the intake
      : db_(db), audit_(audit), clock_(clock) {}

  // True when it was new: an audit entry model.import says so.
  Result<bool> put_model(const Context& ctx, const RegisteredModel& model);
  // already_exists when the model has another version of that number, made from something else.
  Result<void> put_version(const Context& ctx, const ModelVersion& version);
  // The model's times once its versions and aliases are there.
  Result<void> settle_model(const RegisteredModel& model);

 private:
  db::Database& db_;
  audit::Log& audit_;
  const Clock& clock_;
};

}  // namespace slipway::registry
