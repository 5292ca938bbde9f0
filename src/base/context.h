// What travels with each piece of work: who asked, for how long, and whether it is still wanted.
// A cheap value, passed first. Loops call check() once per batch and return its error.
#pragma once
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "base/clock.h"
#include "base/result.h"

namespace slipway {

struct Principal {
  std::string name = "local";  // who acts: enters the audit log
};

class Context {
 public:
  Context() = default;
  explicit Context(const Clock& clock) : clock_(&clock) {}

  // error cancelled or deadline_exceeded, else nothing
  Result<void> check() const;
  bool cancelled() const { return stop.stop_requested(); }

  std::string request_id;
  Principal principal;
  std::optional<SteadyTime> deadline;  // needs the clock
  std::stop_token stop;

 private:
  const Clock* clock_ = nullptr;
};

}  // namespace slipway
