#include "base/ids.h"

#include <fmt/format.h>
#include <pthread.h>
#include <sys/random.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <random>
#include <span>
#include <string_view>
#include <utility>

namespace slipway {

namespace {

using IdWords = std::array<std::uint64_t, 2>;

void fill_from_system(std::span<std::byte> into) {
  if (getrandom(into.data(), into.size(), 0) == static_cast<ssize_t>(into.size())) return;
  std::random_device device;  // the same source through another door
  for (std::byte& one : into) one = static_cast<std::byte>(device());
}

// How many forks this process comes from: a child must not use up what its parent has drawn.
std::atomic<std::uint32_t> forks{0};
const int counts_forks =
    pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); });

// Each thread takes the system's randomness for many ids at once: every request needs one or two,
// and a system call for each would cost more than reading a small request.
IdWords random_words() {
  constexpr std::size_t kAtOnce = 64;
  thread_local std::array<IdWords, kAtOnce> words;
  thread_local std::size_t used = kAtOnce;
  thread_local std::uint32_t drawn_after = 0;
  const std::uint32_t now = forks.load(std::memory_order_relaxed);
  if (used == kAtOnce || drawn_after != now) {
    fill_from_system(std::as_writable_bytes(std::span(words)));
    used = 0;
    drawn_after = now;
  }
  return std::exchange(words[used++], {});
}

}  // namespace

std::string RandomIds::next() {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string id;
  id.reserve(32);
  for (const std::uint64_t word : random_words()) {
    for (int shift = 60; shift >= 0; shift -= 4) id.push_back(kDigits[(word >> shift) & 0xF]);
  }
  return id;
}

std::string SequentialIds::next() { return fmt::format("{:032x}", ++counter_); }

}  // namespace slipway
