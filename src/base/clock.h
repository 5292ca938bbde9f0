// Time as the product sees it: microseconds since 1970-01-01 UTC. Only this folder asks the machine
// for it; everything else takes a Clock, so that tests own time.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway {

using Time = std::chrono::sys_time<std::chrono::microseconds>;
using Duration = std::chrono::microseconds;
using SteadyTime = std::chrono::steady_clock::time_point;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Time now() const = 0;           // wall clock
  virtual SteadyTime steady() const = 0;  // for durations, deadlines and leases: never jumps
};

class SystemClock final : public Clock {
 public:
  Time now() const override;
  SteadyTime steady() const override;
};

// A clock that stands still until it is told. Thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Time start) : micros_(start.time_since_epoch().count()) {}
  Time now() const override { return Time{Duration{micros_.load()}}; }
  SteadyTime steady() const override {
    return SteadyTime{std::chrono::microseconds{micros_.load()}};
  }
  void advance(Duration by) { micros_ += by.count(); }
  void set(Time to) { micros_ = to.time_since_epoch().count(); }

 private:
  std::atomic<std::int64_t> micros_;
};

inline std::int64_t to_micros(Time time) { return time.time_since_epoch().count(); }
inline std::int64_t to_millis(Time time) { return time.time_since_epoch().count() / 1000; }
inline Time from_micros(std::int64_t micros) { return Time{Duration{micros}}; }
inline Time from_millis(std::int64_t millis) { return Time{Duration{millis * 1000}}; }

// "2013-04-01T05:00:00Z", with ".123456" when there is a fraction.
std::string format_time(Time time);
// RFC 3339 and the common SQL form: "2013-04-01", "2013-04-01 05:00",
// "2013-04-01T05:00:00.5+02:00". No zone: UTC.
Result<Time> parse_time(std::string_view text);
// "500ms", "90s", "15m", "6h", "7d", "2w"; compound "1d12h".
Result<Duration> parse_duration(std::string_view text);
std::string format_duration(Duration duration);  // "1.5 s", "320 ms", "2 min 5 s", "7 d"

}  // namespace slipway
