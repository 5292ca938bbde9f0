#include "access/limiter_internal.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace slipway::access {
namespace {

// A name cannot hold a blank, so keys of both kinds never meet.
std::string pair_key(const std::string& user, const std::string& address) {
  return user + " " + address;
}

std::chrono::seconds until_free(double failures, int free, std::chrono::seconds give_back) {
  if (failures < free) return std::chrono::seconds(0);
  const double tries = failures - free + 1;
  return std::max(std::chrono::seconds(1), std::chrono::seconds(static_cast<std::int64_t>(std::ceil(
                                               tries * static_cast<double>(give_back.count())))));
}

}  // namespace

Limiter::Count& Limiter::now_of(const std::string& key, std::chrono::seconds give_back) {
  const SteadyTime now = clock_.steady();
  auto [at, is_new] = counts_.try_emplace(key, Count{0, now});
  Count& count = at->second;
  const double passed = std::chrono::duration<double>(now - count.at).count();
  count.failures = std::max(0.0, count.failures - passed / static_cast<double>(give_back.count()));
  count.at = now;
  return count;
}

std::chrono::seconds Limiter::wait(const std::string& user, const std::string& address) {
  const std::scoped_lock lock(mutex_);
  std::chrono::seconds longest{0};
  if (counts_.contains(pair_key(user, address))) {
    longest = until_free(now_of(pair_key(user, address), options_.give_back).failures,
                         options_.free_failures, options_.give_back);
  }
  if (counts_.contains(address)) {
    longest = std::max(
        longest, until_free(now_of(address, options_.give_back_to_address).failures,
                            options_.free_failures_of_address, options_.give_back_to_address));
  }
  return longest;
}

bool Limiter::failed(const std::string& user, const std::string& address) {
  const std::scoped_lock lock(mutex_);
  make_room();
  const auto add = [](Count& count, int free) {
    const bool was_free = count.failures < free;
    count.failures += 1;
    return was_free && count.failures >= free;
  };
  const bool pair_full =
      add(now_of(pair_key(user, address), options_.give_back), options_.free_failures);
  const bool address_full =
      add(now_of(address, options_.give_back_to_address), options_.free_failures_of_address);
  return pair_full || address_full;
}

void Limiter::succeeded(const std::string& user, const std::string& address) {
  const std::scoped_lock lock(mutex_);
  counts_.erase(pair_key(user, address));
}

void Limiter::make_room() {
  if (counts_.size() + 2 <= options_.most) return;
  std::vector<SteadyTime> times;
  times.reserve(counts_.size());
  for (const auto& [key, count] : counts_) times.push_back(count.at);
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::ranges::nth_element(times, middle);
  const SteadyTime limit = *middle;
  std::erase_if(counts_, [&](const auto& entry) { return entry.second.at <= limit; });
}

}  // namespace slipway::access
