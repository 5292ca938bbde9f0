// The life of an alert as a pure function: where a rule stands, what a window said, what follows.
#pragma once
#include <optional>
#include <string>

#include "monitoring/spec.h"

namespace slipway::monitoring {

struct RuleState {
  int streak = 0;                       // windows in a row that said yes
  std::optional<std::string> alert_id;  // set: firing
  int since_told = 0;                   // windows since the alert was told last
};

enum class Move { none, fire, repeat, resolve };

// Changes the state and says what to do; the caller sets alert_id on fire. No verdict (a value was
// not there) changes nothing: a window that cannot be judged neither fires nor resolves.
inline Move advance(const AlertRule& rule, std::optional<bool> verdict, RuleState& state) {
  if (!verdict) return Move::none;
  if (!*verdict) {
    state.streak = 0;
    state.since_told = 0;
    if (!state.alert_id) return Move::none;
    state.alert_id.reset();
    return Move::resolve;
  }
  ++state.streak;
  if (state.alert_id) {
    ++state.since_told;
    if (rule.repeat_windows == 0 || state.since_told < rule.repeat_windows) return Move::none;
    state.since_told = 0;
    return Move::repeat;
  }
  return state.streak >= rule.for_windows ? Move::fire : Move::none;
}

}  // namespace slipway::monitoring
