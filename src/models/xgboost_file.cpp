// The format: XGBoost's doc/model.schema and src/tree/io_utils.h (3.x). The order of float
// operations is that of its CPU predictor: base margin first, then one leaf per tree, in the order
// of the trees.
#include <cmath>
#include <limits>

#include "models/model.h"
#include "models/tree_file_internal.h"
#include "models/tree_model_internal.h"
#include "models/xgboost_library_internal.h"

namespace slipway::models {
namespace {

constexpr double kMostXgboostOutputs = 65'536;

// XGBoost writes most parameters as text: "3", "[2.38E-1]", "[0E0,1E0]".
std::vector<double> xgboost_numbers(const Json& json) {
  if (json.is_number()) return {json.get<double>()};
  std::string text = json.get<std::string>();
  if (text.size() > 2 && text.front() == '[' && text.back() == ']')
    text = text.substr(1, text.size() - 2);
  std::vector<double> numbers;
  const char* at = text.c_str();
  while (true) {
    char* end = nullptr;
    numbers.push_back(std::strtod(at, &end));
    if (end == at || (*end != ',' && *end != '\0'))
      throw std::invalid_argument("'" + text.substr(0, 80) + "' is no number");
    if (*end == '\0') return numbers;
    at = end + 1;
  }
}

double xgboost_number(const Json& object, const char* key, double missing) {
  const auto found = object.find(key);
  if (found == object.end()) return missing;
  const auto numbers = xgboost_numbers(*found);
  if (numbers.size() != 1)
    throw std::invalid_argument(std::string(key) + " is a list, wanted a number");
  return numbers[0];
}

std::vector<std::int64_t> xgboost_integers(const Json& tree, const char* key) {
  std::vector<std::int64_t> out;
  out.reserve(tree.at(key).size());
  for (const Json& value : tree.at(key)) {
    out.push_back(value.is_boolean() ? static_cast<std::int64_t>(value.get<bool>())
                                     : value.get<std::int64_t>());
  }
  return out;
}

// Sets of categories that go right: lists of numbers, one list per node in categories_nodes.
Result<void> read_categories(const Json& json, SavedTree& tree) {
  constexpr std::int64_t kMostCategory = 1 << 24;  // floats count exactly up to here
  const auto nodes = xgboost_integers(json, "categories_nodes");
  const auto begins = xgboost_integers(json, "categories_segments");
  const auto sizes = xgboost_integers(json, "categories_sizes");
  const auto categories = xgboost_integers(json, "categories");
  if (begins.size() != nodes.size() || sizes.size() != nodes.size())
    return data_loss("its lists of categories differ in length");
  std::size_t words = 0;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i] < 0 || static_cast<std::size_t>(nodes[i]) >= tree.nodes.size() || begins[i] < 0 ||
        sizes[i] < 0 || static_cast<std::size_t>(begins[i]) > categories.size() ||
        static_cast<std::size_t>(sizes[i]) >
            categories.size() - static_cast<std::size_t>(begins[i])) {
      return data_loss("its lists of categories point outside");
    }
    std::vector<std::uint32_t> bits;
    for (std::int64_t k = begins[i]; k < begins[i] + sizes[i]; ++k) {
      const std::int64_t category = categories[static_cast<std::size_t>(k)];
      if (category < 0 || category >= kMostCategory)
        return data_loss("it has the category " + std::to_string(category));
      const auto word = static_cast<std::size_t>(category) / 32;
      if (bits.size() <= word) bits.resize(word + 1);
      bits[word] |= 1U << (category % 32);
    }
    words += bits.size();
    // A hostile file must not become a thousand times its size.
    if (words > (std::size_t{1} << 26)) return data_loss("its sets of categories are too large");
    tree.nodes[static_cast<std::size_t>(nodes[i])].categories =
        static_cast<std::int32_t>(tree.categories.size());
    tree.categories.push_back(std::move(bits));
  }
  return {};
}

Result<SavedTree> read_xgboost_tree(const Json& json) {
  const auto left = xgboost_integers(json, "left_children");
  const auto right = xgboost_integers(json, "right_children");
  const auto feature = xgboost_integers(json, "split_indices");
  const auto missing_left = xgboost_integers(json, "default_left");
  const Json& value = json.at("split_conditions");
  const std::size_t count = left.size();
  if (count == 0 || right.size() != count || feature.size() != count ||
      missing_left.size() != count || value.size() != count) {
    return data_loss("its arrays differ in length");
  }
  const auto cover = json.find("sum_hessian");
  const bool has_cover = cover != json.end() && cover->size() == count;
  SavedTree tree;
  tree.nodes.resize(count);
  for (std::size_t i = 0; i < count; ++i) {
    tree.nodes[i] = {.left = left[i],
                     .right = right[i],
                     .feature = feature[i],
                     .value = static_cast<float>(value[i].get<double>()),
                     .cover = has_cover ? (*cover)[i].get<double>() : 0,
                     .missing_left = missing_left[i] != 0};
    // A left child decides: deleted and leaf nodes have none.
    if (left[i] == -1) tree.nodes[i].right = -1;
  }
  bool categorical = false;
  if (const auto types = json.find("split_type"); types != json.end()) {
    for (const std::int64_t type : xgboost_integers(json, "split_type")) categorical |= type != 0;
  }
  if (categorical) {
    if (auto read = read_categories(json, tree); !read) return read.error();
    const auto types = xgboost_integers(json, "split_type");
    if (types.size() != count) return data_loss("its arrays differ in length");
    for (std::size_t i = 0; i < count; ++i) {
      if (types[i] != 0 && left[i] != -1 && tree.nodes[i].categories < 0)
        return data_loss("node " + std::to_string(i) + " splits on categories that are not there");
      if (types[i] == 0) tree.nodes[i].categories = -1;
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (left[i] != -1 && tree.nodes[i].categories < 0 && std::isnan(tree.nodes[i].value))
      return data_loss("node " + std::to_string(i) + " has no threshold");
  }
  return tree;
}

enum class MarginOf { itself, logit, log };

struct Objective {
  std::string_view name;
  LinkKind link;
  bool classifier;
  MarginOf margin;  // of the base score
};
constexpr Objective kObjectives[] = {
    {"binary:logistic", LinkKind::sigmoid, true, MarginOf::logit},
    {"binary:logitraw", LinkKind::identity, false, MarginOf::itself},
    {"binary:hinge", LinkKind::hinge, false, MarginOf::itself},
    {"reg:logistic", LinkKind::sigmoid, false, MarginOf::logit},
    {"reg:squarederror", LinkKind::identity, false, MarginOf::itself},
    {"reg:linear", LinkKind::identity, false, MarginOf::itself},
    {"reg:squaredlogerror", LinkKind::identity, false, MarginOf::itself},
    {"reg:pseudohubererror", LinkKind::identity, false, MarginOf::itself},
    {"reg:absoluteerror", LinkKind::identity, false, MarginOf::itself},
    {"reg:quantileerror", LinkKind::identity, false, MarginOf::itself},
    {"reg:gamma", LinkKind::exponential, false, MarginOf::log},
    {"reg:tweedie", LinkKind::exponential, false, MarginOf::log},
    {"count:poisson", LinkKind::exponential, false, MarginOf::log},
    {"survival:cox", LinkKind::exponential, false, MarginOf::log},
    {"survival:aft", LinkKind::exponential, false, MarginOf::log},
    {"rank:pairwise", LinkKind::identity, false, MarginOf::itself},
    {"rank:ndcg", LinkKind::identity, false, MarginOf::itself},
    {"rank:map", LinkKind::identity, false, MarginOf::itself},
    {"multi:softprob", LinkKind::softmax, true, MarginOf::itself},
    {"multi:softmax", LinkKind::largest, false, MarginOf::itself},
};

Result<float> to_margin(MarginOf margin, double score) {
  const auto base = static_cast<float>(score);
  const bool share = base > 0 && base < 1;
  if (!std::isfinite(base) || (margin == MarginOf::logit && !share) ||
      (margin == MarginOf::log && !(base > 0))) {
    return data_loss("the base score " + std::to_string(base) + " is out of range");
  }
  if (margin == MarginOf::logit) return -std::log(1.0F / base - 1.0F);
  return margin == MarginOf::log ? std::log(base) : base;
}

// Trees that are used: all, or those up to the best round.
std::size_t trees_used(const Json& learner, const Json& model, const XgboostOptions& options) {
  const std::size_t all = model.at("trees").size();
  if (options.rounds == XgboostOptions::Rounds::all) return all;
  const auto attributes = learner.find("attributes");
  if (attributes == learner.end() || !attributes->contains("best_iteration")) return all;
  const double best = xgboost_number(*attributes, "best_iteration", -1);
  const auto ends = xgboost_integers(model, "iteration_indptr");
  if (!(best >= 0) || best + 1 >= static_cast<double>(ends.size())) return all;
  const std::int64_t end = ends[static_cast<std::size_t>(best) + 1];
  return end < 0 ? all : std::min(all, static_cast<std::size_t>(end));
}

// Linear boosters are run by the library, which believes what it reads: so it is checked here.
Result<ModelPtr> linear_model(std::string_view bytes, const Json& learner) {
  const Json& parameters = learner.at("learner_model_param");
  const double features = xgboost_number(parameters, "num_feature", 0);
  const double outputs = std::max(xgboost_number(parameters, "num_class", 0),
                                  std::max(1.0, xgboost_number(parameters, "num_target", 1)));
  const std::size_t weights = learner.at("gradient_booster").at("model").at("weights").size();
  if (!(features >= 1) || !(outputs >= 1) ||
      static_cast<double>(weights) != (features + 1) * outputs) {
    return data_loss(fmt::format("the linear model has {} weights for {} features and {} outputs",
                                 weights, features, outputs));
  }
  return load_xgboost_library(bytes, learner);
}

Result<ModelPtr> from_learner(std::string_view bytes, const Json& learner,
                              const XgboostOptions& options) {
  const Json* booster = &learner.at("gradient_booster");
  const auto booster_name = booster->at("name").get<std::string>();
  std::vector<float> weights;
  if (booster_name == "dart") {
    for (const Json& weight : booster->at("weight_drop")) weights.push_back(weight.get<float>());
    booster = &booster->at("gbtree");
  } else if (booster_name == "gblinear") {
    return linear_model(bytes, learner);
  } else if (booster_name != "gbtree") {
    return unimplemented("the booster is '" + booster_name +
                         "'; gbtree, dart and gblinear are run here");
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
  const double features = xgboost_number(parameters, "num_feature", 0);
  const double classes = std::max(1.0, xgboost_number(parameters, "num_class", 0));
  const double targets = std::max(1.0, xgboost_number(parameters, "num_target", 1));
  const double outputs = std::max(classes, targets);
  if (!(features >= 1 && features <= 1e6))
    return data_loss("the model has " + std::to_string(features) + " features");
  if (!(outputs >= 1 && outputs <= kMostXgboostOutputs))
    return data_loss("the model has " + std::to_string(outputs) + " outputs");

  const Json& model = booster->at("model");
  if (const auto cats = model.find("cats");
      cats != model.end() && cats->contains("enc") && !cats->at("enc").empty()) {
    return unimplemented(
        "it was trained on a data frame's categories, which the library numbers by itself; encode "
        "them in the feature pipeline (ordinal or onehot)");
  }
  const auto info = xgboost_integers(model, "tree_info");
  const Json& trees = model.at("trees");
  if (info.size() != trees.size() || (booster_name == "dart" && weights.size() != trees.size()))
    return data_loss("its lists of trees differ in length");
  Forest<float> forest(static_cast<std::size_t>(features), static_cast<std::size_t>(outputs),
                       CategoriesGo::right);
  const std::size_t used = trees_used(learner, model, options);
  for (std::size_t i = 0; i < used; ++i) {
    const std::string place = "tree " + std::to_string(i);
    if (xgboost_number(trees[i].at("tree_param"), "size_leaf_vector", 1) > 1) {
      return unimplemented(
                 "its leaves hold several outputs (multi_strategy multi_output_tree), and "
                 "one is run here: train with one_output_per_tree")
          .at(place);
    }
    auto tree = read_xgboost_tree(trees[i]);
    if (!tree) return tree.error().at(place);
    if (info[i] < 0) return data_loss("it adds to output " + std::to_string(info[i])).at(place);
    tree->output = static_cast<std::uint32_t>(info[i]);
    if (!weights.empty()) {
      // The library multiplies a leaf by its tree's weight, in floats, and then adds it.
      for (SavedNode& node : tree->nodes) {
        if (node.left == -1) node.value = static_cast<float>(node.value) * weights[i];
      }
    }
    if (auto added = forest.add(*tree); !added) return added.error().at(place);
  }

  const auto scores = xgboost_numbers(parameters.at("base_score"));
  if (scores.size() != 1 && static_cast<double>(scores.size()) != outputs)
    return data_loss("it has " + std::to_string(scores.size()) + " base scores");
  std::vector<float> base;
  for (std::size_t k = 0; k < static_cast<std::size_t>(outputs); ++k) {
    const auto margin = to_margin(objective->margin, scores[scores.size() == 1 ? 0 : k]);
    if (!margin) return margin.error();
    base.push_back(*margin);
  }
  TreeModelTraits traits{.kind = "xgboost",
                         .file = "model.ubj",
                         .link = objective->link,
                         .classifier = objective->classifier};
  if (const auto names = learner.find("feature_names"); names != learner.end()) {
    if (names->size() == static_cast<std::size_t>(features))
      traits.feature_names = names->get<std::vector<std::string>>();
  }
  return make_tree_model(std::move(forest), std::move(base), std::move(traits));
}

}  // namespace

Result<ModelPtr> load_xgboost(std::string_view bytes, const XgboostOptions& options) {
  constexpr std::string_view kWhat = "XGBoost model";
  const auto file = read_json_or_ubjson(bytes);
  if (!file) return file.error().at(kWhat);
  try {
    auto model = from_learner(bytes, file->at("learner"), options);
    if (!model) return model.error().at(kWhat);
    return model;
  } catch (const std::exception& e) {
    return data_loss(e.what()).at(kWhat);
  }
}

}  // namespace slipway::models
