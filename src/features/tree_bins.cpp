// Bins as the leaves of a regression tree on one column: best split first, as scikit-learn's trees
// with max_leaf_nodes grow. Splitting by variance is splitting by Gini's impurity when the target
// is 0 and 1.
#include <cmath>
#include <numeric>
#include <queue>

#include "features/stage_internal.h"

namespace slipway::features {
namespace {

struct Leaf {
  std::size_t begin = 0;  // rows in the order of their values
  std::size_t end = 0;
  std::size_t cut = 0;  // the first row of the right part
  double gain = 0;
  // The best first; of equal ones the leftmost.
  bool operator<(const Leaf& other) const {
    return gain != other.gain ? gain < other.gain : begin > other.begin;
  }
};

class TreeGrower {
 public:
  TreeGrower(std::span<const double> values, std::span<const double> target) {
    std::vector<std::pair<double, double>> rows;
    for (std::size_t row = 0; row < values.size(); ++row) {
      if (!std::isnan(values[row])) rows.emplace_back(values[row], target[row]);
    }
    std::stable_sort(rows.begin(), rows.end(),
                     [](const auto& a, const auto& b) { return a.first < b.first; });
    double mean = 0;  // subtracted, so that sums of squares keep their digits
    for (const auto& row : rows) mean += row.second;
    mean /= static_cast<double>(std::max<std::size_t>(1, rows.size()));
    sums_.push_back(0);
    for (const auto& [value, label] : rows) {
      values_.push_back(value);
      sums_.push_back(sums_.back() + (label - mean));
    }
  }

  std::vector<double> grow(std::size_t leaves, std::size_t least) const {
    std::vector<double> edges;
    std::priority_queue<Leaf> queue;
    queue.push(best_cut(0, values_.size(), least));
    while (!queue.empty() && edges.size() + 1 < leaves) {
      const Leaf leaf = queue.top();
      queue.pop();
      if (!(leaf.gain > 0)) break;
      const double below = values_[leaf.cut - 1];
      const double above = values_[leaf.cut];
      const double middle = below / 2 + above / 2;
      edges.push_back(middle > below ? middle : above);
      queue.push(best_cut(leaf.begin, leaf.cut, least));
      queue.push(best_cut(leaf.cut, leaf.end, least));
    }
    std::sort(edges.begin(), edges.end());
    return edges;
  }

 private:
  Leaf best_cut(std::size_t begin, std::size_t end, std::size_t least) const {
    Leaf leaf{begin, end, begin, 0};
    const auto share = [&](std::size_t from, std::size_t to) {
      const double sum = sums_[to] - sums_[from];
      return sum * sum / static_cast<double>(to - from);
    };
    if (end - begin < 2 * least || end - begin < 2) return leaf;
    const double whole = share(begin, end);
    for (std::size_t cut = begin + least; cut + least <= end; ++cut) {
      if (values_[cut - 1] == values_[cut]) continue;
      const double gain = share(begin, cut) + share(cut, end) - whole;
      if (gain > leaf.gain + 1e-12 * std::abs(leaf.gain)) {
        leaf.gain = gain;
        leaf.cut = cut;
      }
    }
    return leaf;
  }

  std::vector<double> values_;  // ascending
  std::vector<double> sums_;    // of the target before each row
};

}  // namespace

std::vector<double> tree_edges(std::span<const double> values, std::span<const double> target,
                               std::size_t leaves, std::size_t least) {
  return TreeGrower(values, target).grow(leaves, least);
}

}  // namespace slipway::features
