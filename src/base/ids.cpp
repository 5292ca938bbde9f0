#include "base/ids.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <random>

namespace slipway {

std::string RandomIds::next() {
  std::uint64_t words[2];
  if (getrandom(words, sizeof words, 0) != static_cast<ssize_t>(sizeof words)) {
    std::random_device device;  // the same source through another door
    for (auto& word : words) word = (static_cast<std::uint64_t>(device()) << 32) | device();
  }
  return fmt::format("{:016x}{:016x}", words[0], words[1]);
}

std::string SequentialIds::next() { return fmt::format("{:032x}", ++counter_); }

}  // namespace slipway
