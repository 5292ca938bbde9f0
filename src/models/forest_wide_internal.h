// Trees of at most 64 leaves over 64 rows at once, for processors with AVX-512: every split of a
// tree is compared for all rows (no branch, no gather), the masks choose among bytes that number
// the leaves, from the bottom up, and one table look-up turns numbers into weights. The same
// comparisons and the same additions in the same order as the walk: the same bits.
//   if (WideTrees::supported()) wide.add(splits, leaves);
//   wide.load(rows, width, count, columns);  wide.sum(tree, columns, sums);
// Immutable after the last add(); thread-safe.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace slipway::models {

class WideTrees {
 public:
  static constexpr std::size_t kRows = 64;
  static constexpr std::size_t kMostLeaves = 64;
  static constexpr std::size_t kFewestRows = 20;  // below, walking row by row is quicker

  // Children below kMostLeaves are leaves, others the split kMostLeaves lower.
  struct Split {
    float threshold;       // finite: smaller goes left
    std::uint32_t column;  // of load()'s columns
    std::uint8_t left;
    std::uint8_t right;
  };

  static bool supported();  // by this processor

  // Splits so that children stand behind their parents. Gives the tree's number.
  std::uint32_t add(std::span<const Split> splits, std::span<const float> leaves);
  void shrink();
  std::size_t splits() const { return splits_.size(); }

  // Columns of `features`: 2 * features, each of kRows. A missing value is the least in the first
  // half and the greatest in the second, so that splits choose by the column where it goes.
  static void load(const float* rows, std::size_t width, std::size_t features, std::size_t count,
                   std::vector<float>& columns);
  // Adds a tree's leaves to sums [kRows].
  void sum(std::uint32_t tree, const float* columns, float* sums) const;

 private:
  struct Tree {
    std::uint32_t first;
    std::uint32_t count;
  };
  std::vector<Tree> trees_;
  std::vector<Split> splits_;
  std::vector<float> leaves_;  // kMostLeaves a tree
};

}  // namespace slipway::models
