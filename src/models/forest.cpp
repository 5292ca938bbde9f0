#include "models/forest_internal.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace slipway::models {
namespace {

constexpr std::uint32_t kMissingGoesLeft = 0x8000'0000;
constexpr std::uint32_t kIsCategorical = 0x4000'0000;
constexpr std::uint32_t kColumnBits = 0x3fff'ffff;
constexpr std::size_t kForestLanes = 8;  // walks under way: they hide each other's memory latency
constexpr std::size_t kMostNodes = 0x7fff'ffff;
constexpr std::uint32_t kLevelsBetweenLooks = 4;
constexpr double kLightgbmZero = 1e-35F;  // LightGBM's kZeroThreshold: what is nearer is zero

}  // namespace

// The always-missing column stands after the features, and derived columns after it.
template <class Value>
template <class Input>
void Forest<Value>::load(const Input* row, Value* into) const {
  if constexpr (std::is_same_v<Value, double>) {
    for (std::size_t k = 0; k < features_; ++k) {
      const double x = row[k];
      into[k] = std::abs(x) <= kLightgbmZero ? 0 : x;
    }
  } else {
    for (std::size_t k = 0; k < features_; ++k) into[k] = static_cast<Value>(row[k]);
  }
  into[features_] = std::numeric_limits<Value>::quiet_NaN();
  for (std::size_t k = 0; k < derived_.size(); ++k) {
    const Value x = into[derived_[k]];
    into[features_ + 1 + k] = x == 0 ? std::numeric_limits<Value>::quiet_NaN() : x;
  }
}

template <class Value>
std::uint32_t Forest<Value>::next(std::uint32_t at, const Value* row) const {
  const Node& node = nodes_[at];
  const Value x = row[node.feature & kColumnBits];
  const bool right = (x >= node.value) | ((x != x) & (node.feature < kMissingGoesLeft));
  return node.left + static_cast<std::uint32_t>(right);
}

template <class Value>
std::uint32_t Forest<Value>::next_by_category(const Node& node, const Value* row) const {
  const Value x = row[node.feature & kColumnBits];
  if (std::isnan(x)) return node.left + (node.feature < kMissingGoesLeft ? 1 : 0);
  const CategorySet set = sets_[static_cast<std::size_t>(node.value)];
  // XGBoost takes no category below zero, LightGBM cuts off the fraction first.
  const Value least = categories_go_ == CategoriesGo::right ? 0 : -1;
  const bool counts = categories_go_ == CategoriesGo::right ? x >= least : x > least;
  bool in_set = false;
  if (counts && x < static_cast<Value>(set.words) * 32) {
    const auto category = static_cast<std::uint32_t>(static_cast<std::int64_t>(x));
    in_set = ((words_[set.begin + category / 32] >> (category % 32)) & 1) != 0;
  }
  const bool right = in_set == (categories_go_ == CategoriesGo::right);
  return node.left + static_cast<std::uint32_t>(right);
}

template <class Value>
std::uint32_t Forest<Value>::leaf(const Tree& tree, const Value* row) const {
  std::uint32_t at = tree.root;
  for (std::uint32_t level = 0; level < tree.depth; ++level) {
    const Node& node = nodes_[at];
    if (node.left == at) break;
    at = (node.feature & kIsCategorical) != 0 ? next_by_category(node, row) : next(at, row);
  }
  return at;
}

// One tree, kForestLanes rows in step.
template <class Value>
void Forest<Value>::add_rows(const Tree& tree, const Value* rows, Value* sums) const {
  const std::size_t row_width = width();
  std::array<std::uint32_t, kForestLanes> at;
  at.fill(tree.root);
  for (std::uint32_t level = 0; level < tree.depth;) {
    const std::uint32_t look = std::min(tree.depth, level + 2 * kLevelsBetweenLooks);
    for (; level < look; ++level) {
#pragma GCC unroll 8
      for (std::size_t lane = 0; lane < kForestLanes; ++lane)
        at[lane] = next(at[lane], rows + lane * row_width);
    }
    if (level == tree.depth) break;
    // Lopsided trees: mostly all rows have arrived long before the deepest leaf.
    bool under_way = false;
    for (std::size_t lane = 0; lane < kForestLanes; ++lane)
      under_way |= nodes_[at[lane]].left != at[lane];
    if (!under_way) break;
  }
  for (std::size_t lane = 0; lane < kForestLanes; ++lane) sums[lane] += nodes_[at[lane]].value;
}

// One row, kForestLanes trees in step.
template <class Value>
template <bool kOneOutput>
void Forest<Value>::add_one(const Value* row, Value* sums) const {
  Value only = sums[0];
  const auto add_leaf = [&](const Tree& tree, std::uint32_t at) {
    if constexpr (kOneOutput) {
      only += nodes_[at].value;
    } else {
      sums[tree.output * kBlock] += nodes_[at].value;
    }
  };
  for (std::size_t begin = 0; begin < trees_.size(); begin += kForestLanes) {
    const std::size_t count = std::min(kForestLanes, trees_.size() - begin);
    std::array<std::uint32_t, kForestLanes> at;
    std::uint32_t depth = 0;
    bool categories = false;
    for (std::size_t lane = 0; lane < kForestLanes; ++lane) {
      const Tree& tree = trees_[begin + std::min(lane, count - 1)];
      at[lane] = tree.root;
      depth = std::max(depth, tree.depth);
      categories |= tree.has_categories;
    }
    if (categories) {
      for (std::size_t lane = 0; lane < count; ++lane) at[lane] = leaf(trees_[begin + lane], row);
    } else {
      for (std::uint32_t level = 0; level < depth;) {
        const std::uint32_t look = std::min(depth, level + 2 * kLevelsBetweenLooks);
        for (; level < look; ++level) {
          for (std::size_t lane = 0; lane < kForestLanes; ++lane) at[lane] = next(at[lane], row);
        }
        if (level == depth) break;
        bool under_way = false;
        for (std::size_t lane = 0; lane < kForestLanes; ++lane)
          under_way |= nodes_[at[lane]].left != at[lane];
        if (!under_way) break;
      }
    }
    for (std::size_t lane = 0; lane < count; ++lane) add_leaf(trees_[begin + lane], at[lane]);
  }
  if constexpr (kOneOutput) sums[0] = only;
}

template <class Value>
void Forest<Value>::sum(const Value* rows, std::size_t count, Value* sums) const {
  const std::size_t row_width = width();
  std::size_t in_step = count / kForestLanes * kForestLanes;
  const float* columns = nullptr;
  if constexpr (std::is_same_v<Value, float>) {
    if (use_wide_ && count >= WideTrees::kFewestRows) {
      thread_local std::vector<float> loaded;
      WideTrees::load(rows, row_width, features_, count, loaded);
      columns = loaded.data();
      in_step = count;  // trees that are not wide take the rest row by row
    }
  }
  if (in_step > 0) {
    for (const Tree& tree : trees_) {
      Value* into = sums + tree.output * kBlock;
      if constexpr (std::is_same_v<Value, float>) {
        if (columns != nullptr && tree.wide != kNotWide) {
          wide_.sum(tree.wide, columns, into);
          continue;
        }
      }
      if (any_categories_ && tree.has_categories) {
        for (std::size_t i = 0; i < in_step; ++i)
          into[i] += nodes_[leaf(tree, rows + i * row_width)].value;
        continue;
      }
      std::size_t i = 0;
      for (; i + kForestLanes <= in_step; i += kForestLanes)
        add_rows(tree, rows + i * row_width, into + i);
      for (; i < in_step; ++i) into[i] += nodes_[leaf(tree, rows + i * row_width)].value;
    }
  }
  for (std::size_t i = in_step; i < count; ++i) {
    if (outputs_ == 1) {
      add_one<true>(rows + i * row_width, sums + i);
    } else {
      add_one<false>(rows + i * row_width, sums + i);
    }
  }
}

// ---- from a file's tree

template <class Value>
Result<std::uint32_t> Forest<Value>::column(const SavedNode& node) {
  if (node.feature < 0 || static_cast<std::size_t>(node.feature) >= features_) {
    return data_loss("splits on feature " + std::to_string(node.feature) + " of " +
                     std::to_string(features_));
  }
  const auto feature = static_cast<std::uint32_t>(node.feature);
  if (!node.zero_is_missing) return feature;
  auto found = std::find(derived_.begin(), derived_.end(), feature);
  if (found == derived_.end()) found = derived_.insert(derived_.end(), feature);
  return static_cast<std::uint32_t>(features_ + 1 +
                                    static_cast<std::size_t>(found - derived_.begin()));
}

// Breadth-first, each node's children side by side. Every node is visited at most once, or the
// file's tree is none.
template <class Value>
Result<void> Forest<Value>::add(const SavedTree& saved) {
  const auto count = static_cast<std::int64_t>(saved.nodes.size());
  if (count == 0) return data_loss("it has no nodes");
  if (saved.output >= outputs_) {
    return data_loss("it adds to output " + std::to_string(saved.output) + " of " +
                     std::to_string(outputs_));
  }
  if (nodes_.size() + saved.nodes.size() > kMostNodes)
    return data_loss("the trees have more than " + std::to_string(kMostNodes) + " nodes");
  std::vector<bool> seen(saved.nodes.size(), false);
  const auto root = static_cast<std::uint32_t>(nodes_.size());
  std::vector<std::int64_t> order = {0};  // saved numbers, in the order of the flat ones
  seen[0] = true;
  std::uint32_t depth = 0;
  bool has_categories = false;
  std::size_t level_end = 1;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == level_end) {
      ++depth;
      level_end = order.size();
    }
    const auto from = static_cast<std::size_t>(order[i]);
    const SavedNode& node = saved.nodes[from];
    const std::string place = "node " + std::to_string(from);
    Node flat{};
    flat.value = static_cast<Value>(node.value);
    covers_.push_back(node.cover);
    if (node.left == -1 && node.right == -1) {
      if (!std::isfinite(flat.value))
        return data_loss("leaf " + std::to_string(from) + " has no finite weight");
      flat.feature = static_cast<std::uint32_t>(features_) | kMissingGoesLeft;
      flat.left = root + static_cast<std::uint32_t>(i);
      nodes_.push_back(flat);
      continue;
    }
    for (const std::int64_t child : {node.left, node.right}) {
      if (child < 0 || child >= count || seen[static_cast<std::size_t>(child)]) {
        return data_loss(place + " leads to " + std::to_string(child) +
                         ", which is no node of its own");
      }
      seen[static_cast<std::size_t>(child)] = true;
    }
    const auto looks_at = column(node);
    if (!looks_at) return data_loss(place + " " + looks_at.error().message);
    flat.feature = *looks_at | (node.missing_left ? kMissingGoesLeft : 0);
    if (node.categories >= 0) {
      if (static_cast<std::size_t>(node.categories) >= saved.categories.size())
        return data_loss(place + " splits on categories that are not there");
      const auto& bits = saved.categories[static_cast<std::size_t>(node.categories)];
      flat.feature |= kIsCategorical;
      flat.value = static_cast<Value>(sets_.size());
      // Numbers of sets are kept as floats: past 2^24 they would not be exact.
      if (static_cast<std::size_t>(flat.value) != sets_.size() || sets_.size() >= (1U << 24))
        return data_loss("the trees have too many splits on categories");
      sets_.push_back(
          {static_cast<std::uint32_t>(words_.size()), static_cast<std::uint32_t>(bits.size())});
      words_.insert(words_.end(), bits.begin(), bits.end());
      has_categories = true;
    }
    flat.left = root + static_cast<std::uint32_t>(order.size());
    nodes_.push_back(flat);
    order.push_back(node.left);
    order.push_back(node.right);
  }
  trees_.push_back(
      {.root = root, .depth = depth, .output = saved.output, .has_categories = has_categories});
  any_categories_ |= has_categories;
  return {};
}

template <class Value>
std::uint32_t Forest<Value>::end_of(const Tree& tree) const {
  return &tree == &trees_.back() ? static_cast<std::uint32_t>(nodes_.size()) : (&tree + 1)->root;
}

template <class Value>
void Forest<Value>::widen(Tree& tree) {
  if (tree.has_categories) return;
  const std::uint32_t end = end_of(tree);
  std::vector<WideTrees::Split> splits;
  std::vector<float> leaves;
  std::vector<std::size_t> numbers(end - tree.root);  // of each node among its kind
  for (std::uint32_t at = tree.root; at < end; ++at) {
    const Node& node = nodes_[at];
    if (node.left == at) {
      numbers[at - tree.root] = leaves.size();
      leaves.push_back(static_cast<float>(node.value));
    } else {
      // Missing values stand as infinities there, which a threshold must not reach.
      if (!std::isfinite(node.value)) return;
      numbers[at - tree.root] = splits.size() + WideTrees::kMostLeaves;
      splits.push_back({});
    }
    if (leaves.size() > WideTrees::kMostLeaves) return;
    if (splits.size() >= WideTrees::kMostLeaves) return;
  }
  for (std::uint32_t at = tree.root; at < end; ++at) {
    const Node& node = nodes_[at];
    if (node.left == at) continue;
    const auto child = [&](std::uint32_t which) {
      return static_cast<std::uint8_t>(numbers[node.left + which - tree.root]);
    };
    const std::uint32_t feature = node.feature & kColumnBits;
    const bool missing_left = node.feature >= kMissingGoesLeft;
    splits[numbers[at - tree.root] - WideTrees::kMostLeaves] = {
        .threshold = static_cast<float>(node.value),
        .column = missing_left ? feature : feature + static_cast<std::uint32_t>(features_),
        .left = child(0),
        .right = child(1)};
  }
  tree.wide = wide_.add(splits, leaves);
}

template <class Value>
void Forest<Value>::shrink() {
  if (std::is_same_v<Value, float> && WideTrees::supported()) {
    for (Tree& tree : trees_) widen(tree);
    use_wide_ = wide_.splits() > 4 * features_;
    if (!use_wide_) wide_ = {};
    wide_.shrink();
  }
  nodes_.shrink_to_fit();
  covers_.shrink_to_fit();
  trees_.shrink_to_fit();
  sets_.shrink_to_fit();
  words_.shrink_to_fit();
}

// ---- contributions

// The features on the way from the root, each once, with the share of ways that pass when it is
// unknown (zero) and known (one), and the weights of the subsets.
template <class Value>
struct Forest<Value>::Path {
  struct Element {
    std::uint32_t feature;
    double zero;
    double one;
    double weight;
  };
  std::vector<Element> elements;

  void extend(double zero, double one, std::uint32_t feature) {
    const std::size_t length = elements.size();
    elements.push_back({feature, zero, one, length == 0 ? 1.0 : 0.0});
    const auto all = static_cast<double>(length + 1);
    for (std::size_t i = length; i-- > 0;) {
      elements[i + 1].weight += one * elements[i].weight * static_cast<double>(i + 1) / all;
      elements[i].weight = zero * elements[i].weight * static_cast<double>(length - i) / all;
    }
  }

  void unwind(std::size_t at) {
    const std::size_t last = elements.size() - 1;
    const double one = elements[at].one;
    const double zero = elements[at].zero;
    const auto all = static_cast<double>(last + 1);
    double carried = elements[last].weight;
    for (std::size_t i = last; i-- > 0;) {
      if (one != 0) {
        const double kept = elements[i].weight;
        elements[i].weight = carried * all / (static_cast<double>(i + 1) * one);
        carried = kept - elements[i].weight * zero * static_cast<double>(last - i) / all;
      } else {
        elements[i].weight = elements[i].weight * all / (zero * static_cast<double>(last - i));
      }
    }
    for (std::size_t i = at; i < last; ++i) {
      elements[i].feature = elements[i + 1].feature;
      elements[i].zero = elements[i + 1].zero;
      elements[i].one = elements[i + 1].one;
    }
    elements.pop_back();
  }

  // The sum of the weights that would be there after unwind(at).
  double unwound_sum(std::size_t at) const {
    const std::size_t last = elements.size() - 1;
    const double one = elements[at].one;
    const double zero = elements[at].zero;
    const auto all = static_cast<double>(last + 1);
    double carried = elements[last].weight;
    double total = 0;
    for (std::size_t i = last; i-- > 0;) {
      if (one != 0) {
        const double part = carried * all / (static_cast<double>(i + 1) * one);
        total += part;
        carried = elements[i].weight - part * zero * (static_cast<double>(last - i) / all);
      } else if (zero != 0) {
        total += elements[i].weight / zero / (static_cast<double>(last - i) / all);
      }
    }
    return total;
  }
};

template <class Value>
void Forest<Value>::explain(const Tree& tree, std::uint32_t at, const Value* row, const Path& above,
                            std::span<double> out, double zero, double one,
                            std::uint32_t feature) const {
  Path path = above;
  path.extend(zero, one, feature);
  const Node& node = nodes_[at];
  if (node.left == at) {
    const std::size_t base = tree.output * (features_ + 1);
    for (std::size_t i = 1; i < path.elements.size(); ++i) {
      const auto& element = path.elements[i];
      out[base + element.feature] +=
          path.unwound_sum(i) * (element.one - element.zero) * static_cast<double>(node.value);
    }
    return;
  }
  const std::uint32_t hot =
      (node.feature & kIsCategorical) != 0 ? next_by_category(node, row) : next(at, row);
  const std::uint32_t cold = hot == node.left ? node.left + 1 : node.left;
  const double all = covers_[at];
  const double hot_zero = covers_[hot] / all;
  const double cold_zero = covers_[cold] / all;
  double incoming_zero = 1;
  double incoming_one = 1;
  const std::uint32_t split = feature_of(node.feature & kColumnBits);
  for (std::size_t i = 1; i < path.elements.size(); ++i) {
    if (path.elements[i].feature != split) continue;
    incoming_zero = path.elements[i].zero;
    incoming_one = path.elements[i].one;
    path.unwind(i);
    break;
  }
  explain(tree, hot, row, path, out, hot_zero * incoming_zero, incoming_one, split);
  explain(tree, cold, row, path, out, cold_zero * incoming_zero, 0, split);
}

template <class Value>
Result<void> Forest<Value>::contributions(const Value* row, std::span<double> out) const {
  for (const Tree& tree : trees_) {
    if (tree.depth > kMostDepthExplained) {
      return unimplemented("a tree is " + std::to_string(tree.depth) +
                           " deep; contributions are computed to a depth of " +
                           std::to_string(kMostDepthExplained));
    }
    // What the tree gives when nothing is known: its leaves by their share of the training rows.
    const std::uint32_t end = end_of(tree);
    double expected = 0;
    for (std::uint32_t at = tree.root; at < end; ++at) {
      if (nodes_[at].left == at && end - tree.root > 1)
        expected += covers_[at] / covers_[tree.root] * static_cast<double>(nodes_[at].value);
      if (nodes_[at].left != at && !(covers_[at] > 0)) {
        return failed_precondition(
            "the model file does not say how many training rows passed each split, which "
            "contributions need");
      }
    }
    if (end - tree.root == 1) expected = static_cast<double>(nodes_[tree.root].value);
    out[tree.output * (features_ + 1) + features_] += expected;
    if (tree.depth > 0) explain(tree, tree.root, row, {}, out, 1, 1, 0);
  }
  return {};
}

template class Forest<float>;
template class Forest<double>;
template void Forest<float>::load<float>(const float*, float*) const;
template void Forest<float>::load<double>(const double*, float*) const;
template void Forest<double>::load<float>(const float*, double*) const;
template void Forest<double>::load<double>(const double*, double*) const;

}  // namespace slipway::models
