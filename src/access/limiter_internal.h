// Slows down whoever guesses passwords: some failures are free, then one try is given back every
// now and then. Per user and address, so that nobody locks out somebody at another address, and
// per address, so that one address cannot try many names. Pure but for its clock; bounded: when it
// is full, those who have not failed for longest are forgotten. Thread-safe.
#pragma once
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/clock.h"

namespace slipway::access {

struct LimiterOptions {
  int free_failures = 8;               // of one user at one address
  std::chrono::seconds give_back{20};  // one more try
  int free_failures_of_address = 60;
  std::chrono::seconds give_back_to_address{2};
  std::size_t most = 10'000;  // users and addresses remembered
};

class Limiter {
 public:
  Limiter(const Clock& clock, LimiterOptions options) : clock_(clock), options_(options) {}
  // How long to wait before the next try; zero: go ahead.
  std::chrono::seconds wait(const std::string& user, const std::string& address);
  // True when this failure used up the last free one: worth an entry in the audit log.
  bool failed(const std::string& user, const std::string& address);
  void succeeded(const std::string& user, const std::string& address);

 private:
  struct Count {
    double failures = 0;  // shrinks with time
    SteadyTime at;
  };
  Count& now_of(const std::string& key, std::chrono::seconds give_back);
  void make_room();

  const Clock& clock_;
  const LimiterOptions options_;
  std::mutex mutex_;
  std::unordered_map<std::string, Count> counts_;
};

}  // namespace slipway::access
