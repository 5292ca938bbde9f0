// SIGHUP as the wish to read files anew. Made before any other thread, so that all inherit the mask
// and none is ended by the signal; stops with the object.
//   HangupWatch hangup;
//   … hangup.on_signal([&] { reload(); });
#pragma once
#include <functional>
#include <thread>

#include "base/guarded.h"

namespace slipway::cli {

class HangupWatch {
 public:
  HangupWatch();
  ~HangupWatch();
  // Called on the watch's thread, for signals from now on; an empty function: none.
  void on_signal(std::function<void()> action);

 private:
  Guarded<std::function<void()>> action_;
  std::jthread thread_;
};

}  // namespace slipway::cli
