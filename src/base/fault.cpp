#include "base/fault.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <string>
#include <thread>

namespace slipway::fault {
namespace {

struct Plan {
  std::string point;
  int hit = 1;
  std::string effect = "kill";
};

// "<point>[:hit][:effect]"; an empty point means no plan.
Result<Plan> read_plan() {
  const char* text =
      std::getenv("SLIPWAY_FAULT");  // NOLINT(concurrency-mt-unsafe): read before threads start
  Plan plan;
  if (text == nullptr || *text == '\0') return plan;
  std::string rest = text;
  for (int part = 0; !rest.empty(); ++part) {
    const std::size_t colon = rest.find(':');
    const std::string word = rest.substr(0, colon);
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
    if (part == 0) {
      plan.point = word;
    } else if (!word.empty() && word.find_first_not_of("0123456789") == std::string::npos &&
               word.size() < 7) {
      plan.hit = std::atoi(word.c_str());
    } else if (word == "kill" || word == "eio" || word == "enospc" || word == "sleep") {
      plan.effect = word;
    } else {
      return failed_precondition("SLIPWAY_FAULT='" + std::string(text) +
                                 "' is malformed; write <point>[:hit][:kill|eio|enospc|sleep]");
    }
  }
  return plan;
}

}  // namespace

#ifdef SLIPWAY_FAULT_POINTS
Result<void> point(std::string_view name) {
  static const Plan plan = [] {
    auto read = read_plan();
    return read ? *read : Plan{};
  }();
  if (plan.point.empty() || plan.point != name) return {};
  static std::atomic<int> passages{0};
  if (++passages != plan.hit) return {};
  if (plan.effect == "kill") ::kill(::getpid(), SIGKILL);
  if (plan.effect == "eio") return internal("input/output error (injected at " + plan.point + ")");
  if (plan.effect == "enospc")
    return storage_full("no space left on device (injected at " + plan.point + ")");
  std::this_thread::sleep_for(std::chrono::seconds(10));
  return {};
}

Result<void> check_environment() {
  auto plan = read_plan();
  if (!plan) return plan.error();
  return {};
}
#else
Result<void> point(std::string_view) { return {}; }

Result<void> check_environment() {
  auto plan = read_plan();
  if (!plan) return plan.error();
  if (!plan->point.empty()) {
    return failed_precondition(
        "SLIPWAY_FAULT is set, but this build has no fault points; unset it, or build the debug "
        "preset");
  }
  return {};
}
#endif

}  // namespace slipway::fault
