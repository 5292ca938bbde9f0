// Seeded randomness with the same draws on every platform (the standard distributions differ
// between libraries). xoshiro256**: D. Blackman, S. Vigna, "Scrambled linear pseudorandom number
// generators" (2018); seeded by splitmix64.
//   Rng rng(seed); Rng trial = rng.child("trial", 7);   // independent of how much rng was used
// Not thread-safe: give each thread a child.
#pragma once
#include <array>
#include <cstdint>
#include <string_view>

namespace slipway {

class Rng {
 public:
  using result_type = std::uint64_t;
  explicit Rng(std::uint64_t seed);
  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return ~result_type{0}; }
  result_type operator()();

  double uniform();                          // [0, 1)
  double uniform(double low, double high);   // [low, high)
  std::uint64_t below(std::uint64_t bound);  // [0, bound), unbiased; bound > 0
  double normal();                           // mean 0, standard deviation 1
  // A generator of its own, fixed by this one's seed, a name and a number.
  Rng child(std::string_view name, std::uint64_t index = 0) const;
  std::uint64_t seed() const { return seed_; }

  // Fisher-Yates, in place.
  template <class Range>
  void shuffle(Range& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[below(i)]);
  }

 private:
  std::uint64_t seed_;
  std::array<std::uint64_t, 4> state_{};
};

}  // namespace slipway
