// Trees as files give them, checked and laid out flat, and the walks over them.
// Value is the type in which the library that made the trees compares and sums: float for XGBoost,
// double for LightGBM. A sum starts from what the caller puts there and takes one leaf per tree, in
// the order in which trees were added: the order of both libraries, so that sums have their bits.
//   Forest<float> forest(features, outputs, CategoriesGo::right);
//   for (…) if (auto added = forest.add(tree); !added) return added;
// After the last add() a forest is immutable and thread-safe.
#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "models/forest_wide_internal.h"

namespace slipway::models {

// A node of a tree in a file. Both children -1: a leaf.
struct SavedNode {
  std::int64_t left = -1;
  std::int64_t right = -1;
  std::int64_t feature = 0;
  double value = 0;  // threshold: smaller goes left, and NaN sends all that is there left; of a
                     // leaf, its weight
  double cover = 0;  // what passed through in training; only contributions() looks at it
  bool missing_left = false;
  bool zero_is_missing = false;
  std::int32_t categories = -1;  // index into SavedTree::categories; -1: a threshold
};

struct SavedTree {
  std::vector<SavedNode> nodes;                        // the first is the root
  std::vector<std::vector<std::uint32_t>> categories;  // sets as bits, category 0 lowest
  std::uint32_t output = 0;                            // to which the leaves are added
};

// Where a category goes that is in a split's set; all others go the other way.
enum class CategoriesGo { left, right };

template <class Value>
class Forest {
 public:
  static constexpr std::size_t kBlock = 64;  // rows that share a tree while it is in the cache
  static constexpr std::size_t kMostDepthExplained = 256;

  Forest(std::size_t features, std::size_t outputs, CategoriesGo categories)
      : features_(features), outputs_(outputs), categories_go_(categories) {}

  // data_loss: children that are no nodes of their own (cycles, two parents, outside), features or
  // outputs that there are not, leaves that are not finite.
  Result<void> add(const SavedTree& tree);
  void shrink();

  std::size_t features() const { return features_; }
  std::size_t outputs() const { return outputs_; }
  std::size_t trees() const { return trees_.size(); }
  std::size_t width() const { return features_ + derived_.size() + 1; }  // of a loaded row

  // A row of features into width() values, the last always missing.
  template <class Input>
  void load(const Input* row, Value* into) const;
  // Adds the leaves of `count` <= kBlock loaded rows to sums [outputs, kBlock].
  void sum(const Value* rows, std::size_t count, Value* sums) const;
  // SHAP values of one loaded row, added to out [outputs, features + 1]; the last of each output is
  // what is expected of it without knowing the row. S. Lundberg, G. Erion, S. Lee, "Consistent
  // individualized feature attribution for tree ensembles" (2018), algorithm 2.
  Result<void> contributions(const Value* row, std::span<double> out) const;

 private:
  // Children stand side by side. A leaf looks at a column that is always missing and leads to
  // itself, so that trees of different shapes are walked in step, without a branch.
  struct Node {
    Value value;            // threshold, weight of a leaf, or the number of a set of categories
    std::uint32_t feature;  // a column of a loaded row, with the flags below
    std::uint32_t left;     // the right child is left + 1
  };
  struct Tree {
    std::uint32_t root;
    std::uint32_t depth;
    std::uint32_t output;
    bool has_categories;
    std::uint32_t wide = kNotWide;  // its number in wide_
  };
  static constexpr std::uint32_t kNotWide = 0xffff'ffff;
  struct CategorySet {
    std::uint32_t begin;
    std::uint32_t words;
  };
  struct Path;

  std::uint32_t next(std::uint32_t at, const Value* row) const;
  std::uint32_t next_by_category(const Node& node, const Value* row) const;
  std::uint32_t leaf(const Tree& tree, const Value* row) const;
  void add_rows(const Tree& tree, const Value* rows, Value* sums) const;
  template <bool kOneOutput>
  void add_one(const Value* row, Value* sums) const;
  Result<std::uint32_t> column(const SavedNode& node);
  std::uint32_t end_of(const Tree& tree) const;
  void widen(Tree& tree);
  void explain(const Tree& tree, std::uint32_t at, const Value* row, const Path& above,
               std::span<double> out, double zero, double one, std::uint32_t feature) const;
  std::uint32_t feature_of(std::uint32_t column) const {
    return column < features_ ? column : derived_[column - features_ - 1];
  }

  std::size_t features_;
  std::size_t outputs_;
  CategoriesGo categories_go_;
  std::vector<std::uint32_t> derived_;  // features whose zeros are missing, as columns of their own
  std::vector<Node> nodes_;
  std::vector<double> covers_;  // of nodes_
  std::vector<Tree> trees_;
  std::vector<CategorySet> sets_;
  std::vector<std::uint32_t> words_;
  bool any_categories_ = false;
  WideTrees wide_;         // Forest<float>, where the processor can
  bool use_wide_ = false;  // and it is worth bringing rows into columns
};

extern template class Forest<float>;
extern template class Forest<double>;

}  // namespace slipway::models
