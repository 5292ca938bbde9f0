#include "base/context.h"

namespace slipway {

Result<void> Context::check() const {
  if (stop.stop_requested()) return slipway::cancelled("the work was cancelled");
  if (deadline && clock_ != nullptr && clock_->steady() >= *deadline) {
    return deadline_exceeded("the deadline passed before the work was done");
  }
  return {};
}

}  // namespace slipway
