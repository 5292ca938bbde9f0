#include "cli/hangup.h"

#include <signal.h>

namespace slipway::cli {

HangupWatch::HangupWatch() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGHUP);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  // The watch itself takes no other signal: whoever waits for those may come later.
  sigset_t all;
  sigset_t mine;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &mine);
  thread_ = std::jthread([this, signals](const std::stop_token& stop) {
    constexpr timespec kLook{.tv_sec = 0, .tv_nsec = 200'000'000};  // for the stop
    while (!stop.stop_requested()) {
      if (sigtimedwait(&signals, nullptr, &kLook) != SIGHUP) continue;
      action_.with([](const auto& action) {
        if (action) action();
      });
    }
  });
  pthread_sigmask(SIG_SETMASK, &mine, nullptr);
}

HangupWatch::~HangupWatch() = default;

void HangupWatch::on_signal(std::function<void()> action) {
  action_.with([&](auto& current) { current = std::move(action); });
}

}  // namespace slipway::cli
