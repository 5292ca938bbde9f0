#include "models/forest_wide_internal.h"

#include <cmath>
#include <limits>

#if defined(__x86_64__)
#include <immintrin.h>
#define SLIPWAY_WIDE __attribute__((target("avx512f,avx512bw")))
#endif

namespace slipway::models {

std::uint32_t WideTrees::add(std::span<const Split> splits, std::span<const float> leaves) {
  const auto number = static_cast<std::uint32_t>(trees_.size());
  trees_.push_back(
      {static_cast<std::uint32_t>(splits_.size()), static_cast<std::uint32_t>(splits.size())});
  splits_.insert(splits_.end(), splits.begin(), splits.end());
  leaves_.insert(leaves_.end(), leaves.begin(), leaves.end());
  leaves_.resize(trees_.size() * kMostLeaves);
  return number;
}

void WideTrees::shrink() {
  trees_.shrink_to_fit();
  splits_.shrink_to_fit();
  leaves_.shrink_to_fit();
}

void WideTrees::load(const float* rows, std::size_t width, std::size_t features, std::size_t count,
                     std::vector<float>& columns) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  if (columns.size() < 2 * features * kRows) columns.resize(2 * features * kRows);
  for (std::size_t k = 0; k < features; ++k) {
    float* low = columns.data() + k * kRows;
    float* high = columns.data() + (features + k) * kRows;
    for (std::size_t row = 0; row < count; ++row) {
      const float x = rows[row * width + k];
      low[row] = std::isnan(x) ? -kInfinity : x;
      high[row] = std::isnan(x) ? kInfinity : x;
    }
    std::fill(low + count, low + kRows, 0.0F);
    std::fill(high + count, high + kRows, 0.0F);
  }
}

#if defined(__x86_64__)

bool WideTrees::supported() {
  return __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0;
}

namespace {

// Numbers of leaves, each kRows times, and behind them room for what splits choose.
struct alignas(64) LeafNumbers {
  std::uint8_t bytes[2 * WideTrees::kMostLeaves][WideTrees::kRows];
  LeafNumbers() {
    for (std::size_t leaf = 0; leaf < WideTrees::kMostLeaves; ++leaf)
      std::fill_n(bytes[leaf], WideTrees::kRows, static_cast<std::uint8_t>(leaf));
  }
};

}  // namespace

SLIPWAY_WIDE void WideTrees::sum(std::uint32_t tree, const float* columns, float* sums) const {
  thread_local LeafNumbers numbers;
  const Tree& at = trees_[tree];
  const Split* splits = splits_.data() + at.first;
  for (std::uint32_t i = at.count; i-- > 0;) {
    const Split& split = splits[i];
    const float* x = columns + split.column * kRows;
    const __m512 threshold = _mm512_set1_ps(split.threshold);
    const auto right = [&](std::size_t from) SLIPWAY_WIDE {
      return static_cast<std::uint64_t>(
          _mm512_cmp_ps_mask(_mm512_loadu_ps(x + from), threshold, _CMP_GE_OQ));
    };
    const std::uint64_t mask = right(0) | right(16) << 16 | right(32) << 32 | right(48) << 48;
    const __m512i chosen =
        _mm512_mask_blend_epi8(mask, _mm512_load_si512(numbers.bytes[split.left]),
                               _mm512_load_si512(numbers.bytes[split.right]));
    _mm512_store_si512(numbers.bytes[kMostLeaves + i], chosen);
  }
  const std::uint8_t* leaf = numbers.bytes[at.count == 0 ? 0 : kMostLeaves];
  const float* weights = leaves_.data() + tree * kMostLeaves;
  const __m512 first = _mm512_loadu_ps(weights);
  const __m512 second = _mm512_loadu_ps(weights + 16);
  const __m512 third = _mm512_loadu_ps(weights + 32);
  const __m512 fourth = _mm512_loadu_ps(weights + 48);
  const __m512i upper_half = _mm512_set1_epi32(32);
  for (std::size_t from = 0; from < kRows; from += 16) {
    const __m512i index = _mm512_maskz_cvtepu8_epi32(
        0xffff, _mm_load_si128(reinterpret_cast<const __m128i*>(leaf + from)));
    const __m512 low = _mm512_permutex2var_ps(first, index, second);
    const __m512 high = _mm512_permutex2var_ps(third, index, fourth);
    const __m512 weight =
        _mm512_mask_blend_ps(_mm512_test_epi32_mask(index, upper_half), low, high);
    _mm512_storeu_ps(sums + from, _mm512_add_ps(_mm512_loadu_ps(sums + from), weight));
  }
}

#else

bool WideTrees::supported() { return false; }
void WideTrees::sum(std::uint32_t, const float*, float*) const {}

#endif

}  // namespace slipway::models
