// The format: XGBoost's doc/model.schema and src/tree/io_utils.h (3.x). The order of float
// operations is that of its CPU predictor: base margin first, then one leaf per tree, in the order
// of the trees.
#include <cmath>
#include <limits>

#include "models/model.h"
#include "models/tree_file_internal.h"

namespace slipway::models {
namespace {

constexpr std::uint32_t kMissingGoesLeft = 0x8000'0000;
constexpr std::size_t kLanes = 8;  // walks under way at once: they hide each other's memory latency
constexpr std::size_t kBlock = 32;  // rows that share a tree while it is in the first-level cache

// Children stand side by side. A leaf looks at a feature that is always missing and leads to
// itself, so that trees of different shapes are walked in step, without a branch.
struct Node {
  float value;            // threshold: smaller goes left; of a leaf, its weight
  std::uint32_t feature;  // with kMissingGoesLeft
  std::uint32_t left;     // the right child is left + 1
};

struct Tree {
  std::uint32_t root;
  std::uint32_t depth;
};

enum class Link { identity, logit };

float to_margin(Link link, float base_score) {
  return link == Link::logit ? -std::log(1.0F / base_score - 1.0F) : base_score;
}

float to_score(Link link, float margin) {
  if (link == Link::identity) return margin;
  return 1.0F / (std::exp(std::min(-margin, 88.7F)) + 1.0F);  // the limit keeps exp finite
}

class XgboostModel final : public Model {
 public:
  XgboostModel(std::vector<Node> nodes, std::vector<Tree> trees, std::size_t features, Link link,
               bool classifier, float base_score)
      : nodes_(std::move(nodes)),
        trees_(std::move(trees)),
        features_(features),
        link_(link),
        classifier_(classifier),
        base_margin_(to_margin(link, base_score)) {}

  std::string_view kind() const override { return "xgboost"; }
  std::string_view file() const override { return "model.ubj"; }
  bool is_classifier() const override { return classifier_; }
  std::size_t features() const override { return features_; }

 private:
  void score(std::span<const float> matrix, std::size_t rows,
             std::span<double> out) const override {
    // Rows with one more column, the feature of leaves: always missing.
    thread_local std::vector<float> scratch;
    const std::size_t width = features_ + 1;
    if (scratch.size() < width * kBlock) scratch.resize(width * kBlock);
    for (std::size_t begin = 0; begin < rows; begin += kBlock) {
      const std::size_t count = std::min(kBlock, rows - begin);
      for (std::size_t i = 0; i < count; ++i) {
        std::copy_n(matrix.data() + (begin + i) * features_, features_, scratch.data() + i * width);
        scratch[i * width + features_] = std::numeric_limits<float>::quiet_NaN();
      }
      std::array<float, kBlock> margins;
      std::fill_n(margins.begin(), count, base_margin_);
      const std::size_t in_step = count / kLanes * kLanes;
      for (const Tree& tree : trees_) {
        for (std::size_t i = 0; i < in_step; i += kLanes) {
          add_rows(tree, scratch.data() + i * width, width, margins.data() + i);
        }
      }
      for (std::size_t i = in_step; i < count; ++i)
        margins[i] = one_row(scratch.data() + i * width);
      for (std::size_t i = 0; i < count; ++i) out[begin + i] = to_score(link_, margins[i]);
    }
  }

  std::uint32_t next(std::uint32_t at, const float* row) const {
    const Node& node = nodes_[at];
    const float x = row[node.feature & ~kMissingGoesLeft];
    const bool right = (x >= node.value) | ((x != x) & (node.feature < kMissingGoesLeft));
    return node.left + static_cast<std::uint32_t>(right);
  }

  // One tree, kLanes rows in step.
  void add_rows(const Tree& tree, const float* rows, std::size_t width, float* margins) const {
    std::array<std::uint32_t, kLanes> at;
    at.fill(tree.root);
    for (std::uint32_t level = 0; level < tree.depth; ++level) {
#pragma GCC unroll 8
      for (std::size_t lane = 0; lane < kLanes; ++lane)
        at[lane] = next(at[lane], rows + lane * width);
    }
    for (std::size_t lane = 0; lane < kLanes; ++lane) margins[lane] += nodes_[at[lane]].value;
  }

  // One row, kLanes trees in step.
  float one_row(const float* row) const {
    float margin = base_margin_;
    for (std::size_t begin = 0; begin < trees_.size(); begin += kLanes) {
      const std::size_t count = std::min(kLanes, trees_.size() - begin);
      std::array<std::uint32_t, kLanes> at;
      std::uint32_t depth = 0;
      for (std::size_t lane = 0; lane < kLanes; ++lane) {
        const Tree& tree = trees_[begin + std::min(lane, count - 1)];
        at[lane] = tree.root;
        depth = std::max(depth, tree.depth);
      }
      for (std::uint32_t level = 0; level < depth; ++level) {
        for (std::size_t lane = 0; lane < kLanes; ++lane) at[lane] = next(at[lane], row);
      }
      for (std::size_t lane = 0; lane < count; ++lane) margin += nodes_[at[lane]].value;
    }
    return margin;
  }

  std::vector<Node> nodes_;
  std::vector<Tree> trees_;
  std::size_t features_;
  Link link_;
  bool classifier_;
  float base_margin_;
};

// XGBoost writes most parameters as text: "3", "[2.38E-1]".
double parameter(const Json& json) {
  if (json.is_number()) return json.get<double>();
  std::string text = json.get<std::string>();
  if (text.size() > 2 && text.front() == '[' && text.back() == ']')
    text = text.substr(1, text.size() - 2);
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (text.empty() || end != text.c_str() + text.size())
    throw std::invalid_argument("'" + text + "' is no number");
  return value;
}

// A tree as the file has it: parallel arrays over its nodes.
struct SavedTree {
  std::vector<std::int64_t> left;
  std::vector<std::int64_t> right;
  std::vector<std::int64_t> feature;
  std::vector<double> value;
  std::vector<std::int64_t> missing_left;
};

std::vector<std::int64_t> integers(const Json& tree, const char* key) {
  std::vector<std::int64_t> out;
  out.reserve(tree.at(key).size());
  for (const Json& value : tree.at(key)) {
    out.push_back(value.is_boolean() ? static_cast<std::int64_t>(value.get<bool>())
                                     : value.get<std::int64_t>());
  }
  return out;
}

Result<SavedTree> read_tree(const Json& json) {
  SavedTree tree;
  tree.left = integers(json, "left_children");
  tree.right = integers(json, "right_children");
  tree.feature = integers(json, "split_indices");
  tree.missing_left = integers(json, "default_left");
  for (const Json& value : json.at("split_conditions")) tree.value.push_back(value.get<double>());
  const std::size_t nodes = tree.left.size();
  if (nodes == 0 || tree.right.size() != nodes || tree.feature.size() != nodes ||
      tree.missing_left.size() != nodes || tree.value.size() != nodes) {
    return data_loss("its arrays differ in length");
  }
  if (json.contains("split_type")) {
    for (const std::int64_t type : integers(json, "split_type")) {
      if (type != 0) {
        return unimplemented(
            "it splits on categories, which are not run here; encode them in the feature pipeline "
            "(onehot or target_encode)");
      }
    }
  }
  const Json& parameters = json.at("tree_param");
  if (parameters.contains("size_leaf_vector") && parameter(parameters.at("size_leaf_vector")) > 1) {
    return unimplemented("its leaves hold several outputs, and one is run here");
  }
  return tree;
}

// Appends a tree in breadth-first order, each node's children side by side. Every node is visited
// at most once, or the file's tree is none.
Result<Tree> flatten(const SavedTree& saved, std::size_t features, std::vector<Node>& nodes) {
  const auto count = static_cast<std::int64_t>(saved.left.size());
  std::vector<bool> seen(saved.left.size(), false);
  const auto root = static_cast<std::uint32_t>(nodes.size());
  std::vector<std::int64_t> order = {0};  // saved numbers, in the order of the flat ones
  seen[0] = true;
  std::uint32_t depth = 0;
  std::size_t level_end = 1;
  for (std::size_t i = 0; i < order.size(); ++i) {
    if (i == level_end) {
      ++depth;
      level_end = order.size();
    }
    const auto from = static_cast<std::size_t>(order[i]);
    const std::int64_t left = saved.left[from];
    const std::int64_t right = saved.right[from];
    Node node{};
    node.value = static_cast<float>(saved.value[from]);
    if (left == -1) {
      if (!std::isfinite(node.value))
        return data_loss("leaf " + std::to_string(from) + " has no finite weight");
      node.feature = static_cast<std::uint32_t>(features) | kMissingGoesLeft;
      node.left = root + static_cast<std::uint32_t>(i);
      nodes.push_back(node);
      continue;
    }
    for (const std::int64_t child : {left, right}) {
      if (child < 0 || child >= count || seen[static_cast<std::size_t>(child)]) {
        return data_loss("node " + std::to_string(from) + " leads to " + std::to_string(child) +
                         ", which is no node of its own");
      }
      seen[static_cast<std::size_t>(child)] = true;
    }
    const std::int64_t feature = saved.feature[from];
    if (feature < 0 || static_cast<std::size_t>(feature) >= features) {
      return data_loss("node " + std::to_string(from) + " splits on feature " +
                       std::to_string(feature) + " of " + std::to_string(features));
    }
    if (std::isnan(node.value))
      return data_loss("node " + std::to_string(from) + " has no threshold");
    node.feature = static_cast<std::uint32_t>(feature) |
                   (saved.missing_left[from] != 0 ? kMissingGoesLeft : 0);
    node.left = root + static_cast<std::uint32_t>(order.size());
    nodes.push_back(node);
    order.push_back(left);
    order.push_back(right);
  }
  return Tree{root, depth};
}

struct Objective {
  std::string_view name;
  Link link;
  bool classifier;
};
constexpr Objective kObjectives[] = {{"binary:logistic", Link::logit, true},
                                     {"reg:logistic", Link::logit, false},
                                     {"reg:squarederror", Link::identity, false},
                                     {"reg:absoluteerror", Link::identity, false}};

Result<ModelPtr> from_tree(const Json& file) {
  const Json& learner = file.at("learner");
  const Json& booster = learner.at("gradient_booster");
  if (const auto name = booster.at("name").get<std::string>(); name != "gbtree") {
    return unimplemented("the booster is '" + name + "'; gbtree is run here");
  }
  const auto objective_name = learner.at("objective").at("name").get<std::string>();
  const auto* objective =
      std::find_if(std::begin(kObjectives), std::end(kObjectives),
                   [&](const Objective& each) { return each.name == objective_name; });
  if (objective == std::end(kObjectives)) {
    std::string known;
    for (const Objective& each : kObjectives)
      known += (known.empty() ? "" : ", ") + std::string(each.name);
    return unimplemented("the objective is '" + objective_name + "'; those run here are " + known);
  }
  const Json& parameters = learner.at("learner_model_param");
  if (parameters.contains("num_class") && parameter(parameters.at("num_class")) > 1) {
    return unimplemented("the model has " + parameters.at("num_class").get<std::string>() +
                         " classes; two are run here");
  }
  if (parameters.contains("num_target") && parameter(parameters.at("num_target")) > 1) {
    return unimplemented("the model has several targets; one is run here");
  }
  const double features = parameter(parameters.at("num_feature"));
  if (!(features >= 1 && features < 1e8))
    return data_loss("the model has " + std::to_string(features) + " features");
  const auto base_score = static_cast<float>(parameter(parameters.at("base_score")));
  const bool share = base_score > 0 && base_score < 1;
  if (!std::isfinite(base_score) || (objective->link == Link::logit && !share)) {
    return data_loss("the base score " + std::to_string(base_score) + " is out of range");
  }
  std::vector<Node> nodes;
  std::vector<Tree> trees;
  for (const Json& json : booster.at("model").at("trees")) {
    const std::string place = "tree " + std::to_string(trees.size());
    const auto saved = read_tree(json);
    if (!saved) return saved.error().at(place);
    const auto tree = flatten(*saved, static_cast<std::size_t>(features), nodes);
    if (!tree) return tree.error().at(place);
    trees.push_back(*tree);
  }
  nodes.shrink_to_fit();
  return std::make_unique<XgboostModel>(std::move(nodes), std::move(trees),
                                        static_cast<std::size_t>(features), objective->link,
                                        objective->classifier, base_score);
}

}  // namespace

Result<ModelPtr> load_xgboost(std::string_view bytes) {
  constexpr std::string_view kWhat = "XGBoost model";
  const auto file = read_json_or_ubjson(bytes);
  if (!file) return file.error().at(kWhat);
  try {
    auto model = from_tree(*file);
    if (!model) return model.error().at(kWhat);
    return model;
  } catch (const std::exception& e) {
    return data_loss(e.what()).at(kWhat);
  }
}

}  // namespace slipway::models
