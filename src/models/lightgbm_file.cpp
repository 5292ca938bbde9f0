// The format: LightGBM's src/io/tree.cpp (Tree::ToString) and src/boosting/gbdt_model_text.cpp
// (4.x): lines of key=value, a header, and a block per tree that begins with Tree=N. Leaves are
// children below zero: ~leaf. How missing values go: include/LightGBM/tree.h.
#include <cmath>
#include <limits>
#include <map>

#include "models/model.h"
#include "models/tree_model_internal.h"

namespace slipway::models {
namespace {

constexpr std::size_t kMostLightgbmOutputs = 65'536;
constexpr int kCategoricalBit = 1;
constexpr int kDefaultLeftBit = 2;

using Section = std::map<std::string_view, std::string_view, std::less<>>;

// Throws what load_lightgbm turns into data_loss.
std::string_view text_of(const Section& section, std::string_view key) {
  const auto found = section.find(key);
  if (found == section.end()) throw std::invalid_argument("it has no " + std::string(key));
  return found->second;
}

template <class T>
T lightgbm_number(std::string_view text) {
  T value{};
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc{} || end != text.data() + text.size())
    throw std::invalid_argument("'" + std::string(text.substr(0, 40)) + "' is no number");
  return value;
}

std::vector<std::string_view> words_of(std::string_view text) {
  std::vector<std::string_view> words;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(' '), text.size());
    if (end > 0) words.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return words;
}

template <class T>
std::vector<T> lightgbm_list(const Section& section, std::string_view key, std::size_t wanted) {
  std::vector<T> list;
  for (const std::string_view word : words_of(text_of(section, key)))
    list.push_back(lightgbm_number<T>(word));
  if (list.size() != wanted) {
    throw std::invalid_argument(
        fmt::format("{} has {} values, wanted {}", key, list.size(), wanted));
  }
  return list;
}

// Left when x <= threshold is left when x < the next number above it.
double above(double threshold) {
  const double infinity = std::numeric_limits<double>::infinity();
  return threshold == infinity ? std::numeric_limits<double>::quiet_NaN()
                               : std::nextafter(threshold, infinity);
}

struct CategoryBits {
  std::vector<std::uint32_t> boundaries;
  std::vector<std::uint32_t> words;
};

void set_categories(const CategoryBits& bits, double number, SavedNode& node, SavedTree& tree) {
  // Its threshold is the number of its set.
  if (!(number >= 0) || number + 1 >= static_cast<double>(bits.boundaries.size()))
    throw std::invalid_argument("a split has no set of categories");
  const auto set = static_cast<std::size_t>(number);
  const std::uint32_t begin = bits.boundaries[set];
  const std::uint32_t end = bits.boundaries[set + 1];
  if (begin > end || end > bits.words.size())
    throw std::invalid_argument("its sets of categories point outside");
  node.categories = static_cast<std::int32_t>(tree.categories.size());
  node.missing_left = false;  // what is no category goes right
  tree.categories.emplace_back(bits.words.begin() + begin, bits.words.begin() + end);
}

void set_missing(int type, bool default_left, double threshold, SavedNode& node) {
  enum { none, zero, nan };
  if (type == nan) {
    node.missing_left = default_left;
  } else if (type == zero) {
    node.missing_left = default_left;
    node.zero_is_missing = true;
  } else if (type == none) {
    node.missing_left = 0 <= threshold;  // a missing value counts as zero
  } else {
    throw std::invalid_argument("a split has an unknown kind of missing values");
  }
}

SavedTree read_lightgbm_tree(const Section& section) {
  const auto leaves = lightgbm_number<std::int64_t>(text_of(section, "num_leaves"));
  const std::string_view values = text_of(section, "leaf_value");
  if (leaves < 1 || leaves > static_cast<std::int64_t>(values.size()) + 1)
    throw std::invalid_argument(fmt::format("it has {} leaves", leaves));
  if (const auto linear = section.find("is_linear");
      linear != section.end() && linear->second != "0") {
    throw std::domain_error("its leaves are linear models (linear_tree), which are not run here");
  }
  const auto leaf_count = static_cast<std::size_t>(leaves);
  const std::size_t splits = leaf_count - 1;
  SavedTree tree;
  tree.nodes.resize(splits + leaf_count);  // splits first, so that the root is the first
  const auto weights = lightgbm_list<double>(section, "leaf_value", leaf_count);
  for (std::size_t i = 0; i < leaf_count; ++i) tree.nodes[splits + i].value = weights[i];
  if (splits == 0) return tree;

  const auto left = lightgbm_list<std::int64_t>(section, "left_child", splits);
  const auto right = lightgbm_list<std::int64_t>(section, "right_child", splits);
  const auto feature = lightgbm_list<std::int64_t>(section, "split_feature", splits);
  const auto threshold = lightgbm_list<double>(section, "threshold", splits);
  const auto decision = lightgbm_list<int>(section, "decision_type", splits);
  CategoryBits bits;
  if (const auto count = lightgbm_number<std::int64_t>(text_of(section, "num_cat")); count > 0) {
    if (count > leaves) throw std::invalid_argument("it has more sets of categories than splits");
    bits.boundaries = lightgbm_list<std::uint32_t>(section, "cat_boundaries",
                                                   static_cast<std::size_t>(count) + 1);
    bits.words = lightgbm_list<std::uint32_t>(section, "cat_threshold", bits.boundaries.back());
  }
  std::size_t words = 0;
  for (std::size_t i = 0; i < splits; ++i) {
    SavedNode& node = tree.nodes[i];
    const auto child = [&](std::int64_t saved) {
      return saved >= 0 ? (saved < static_cast<std::int64_t>(splits) ? saved : -2)
                        : static_cast<std::int64_t>(splits) + ~saved;
    };
    node.left = child(left[i]);
    node.right = child(right[i]);
    node.feature = feature[i];
    if ((decision[i] & kCategoricalBit) != 0) {
      set_categories(bits, threshold[i], node, tree);
      words += tree.categories.back().size();
      if (words > 2 * bits.words.size() + 64)
        throw std::invalid_argument("its splits share sets of categories");
      continue;
    }
    if (std::isnan(threshold[i]))
      throw std::invalid_argument(fmt::format("node {} has no threshold", i));
    node.value = above(threshold[i]);
    set_missing((decision[i] >> 2) & 3, (decision[i] & kDefaultLeftBit) != 0, threshold[i], node);
  }
  if (section.contains("leaf_count") && section.contains("internal_count")) {
    const auto leaf_covers = lightgbm_list<double>(section, "leaf_count", leaf_count);
    const auto covers = lightgbm_list<double>(section, "internal_count", splits);
    for (std::size_t i = 0; i < splits; ++i) tree.nodes[i].cover = covers[i];
    for (std::size_t i = 0; i < leaf_count; ++i) tree.nodes[splits + i].cover = leaf_covers[i];
  }
  return tree;
}

struct LightgbmObjective {
  std::string_view name;
  LinkKind link;
  bool classifier;
};
constexpr LightgbmObjective kLightgbmObjectives[] = {
    {"regression", LinkKind::identity, false},
    {"regression_l1", LinkKind::identity, false},
    {"huber", LinkKind::identity, false},
    {"fair", LinkKind::identity, false},
    {"quantile", LinkKind::identity, false},
    {"mape", LinkKind::identity, false},
    {"poisson", LinkKind::exponential, false},
    {"gamma", LinkKind::exponential, false},
    {"tweedie", LinkKind::exponential, false},
    {"binary", LinkKind::sigmoid, true},
    {"multiclass", LinkKind::softmax, true},
    {"multiclassova", LinkKind::sigmoid, true},
    {"cross_entropy", LinkKind::sigmoid, false},
    {"cross_entropy_lambda", LinkKind::log1p_exp, false},
    {"lambdarank", LinkKind::identity, false},
    {"rank_xendcg", LinkKind::identity, false},
    {"custom", LinkKind::identity, false},
};

// "binary sigmoid:1", "multiclass num_class:3", "regression sqrt". throws domain_error for unknown.
void set_objective(std::string_view text, TreeModelTraits& traits) {
  const auto words = words_of(text);
  if (words.empty()) return;
  const auto* found =
      std::find_if(std::begin(kLightgbmObjectives), std::end(kLightgbmObjectives),
                   [&](const LightgbmObjective& each) { return each.name == words[0]; });
  if (found == std::end(kLightgbmObjectives))
    throw std::domain_error("the objective '" + std::string(words[0]) + "' is not run here");
  traits.link = found->link;
  traits.classifier = found->classifier;
  for (const std::string_view word : words) {
    if (word.starts_with("sigmoid:")) traits.scale = lightgbm_number<double>(word.substr(8));
    if (word == "sqrt") traits.link = LinkKind::signed_square;
  }
}

struct LightgbmFile {
  Section header;
  std::vector<Section> trees;
  bool averaged = false;
};

LightgbmFile split_sections(std::string_view bytes) {
  if (!bytes.starts_with("tree\n") && !bytes.starts_with("tree\r\n"))
    throw std::invalid_argument("it does not begin with 'tree', as LightGBM's text files do");
  LightgbmFile file;
  Section* section = &file.header;
  while (!bytes.empty()) {
    const std::size_t end = std::min(bytes.find('\n'), bytes.size());
    std::string_view line = bytes.substr(0, end);
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line == "end of trees") return file;
    if (line == "average_output") file.averaged = true;
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) continue;
    if (line.starts_with("Tree=")) {
      if (lightgbm_number<std::size_t>(line.substr(5)) != file.trees.size())
        throw std::invalid_argument("its trees are out of order at '" + std::string(line) + "'");
      section = &file.trees.emplace_back();
      continue;
    }
    section->insert_or_assign(line.substr(0, equals), line.substr(equals + 1));
  }
  throw std::invalid_argument("it is cut off: no line 'end of trees'");
}

Result<ModelPtr> from_lightgbm(std::string_view bytes) {
  const LightgbmFile file = split_sections(bytes);
  const auto outputs = lightgbm_number<std::size_t>(text_of(file.header, "num_tree_per_iteration"));
  const auto last_feature = lightgbm_number<std::size_t>(text_of(file.header, "max_feature_idx"));
  if (outputs < 1 || outputs > kMostLightgbmOutputs)
    return data_loss(fmt::format("the model has {} outputs", outputs));
  if (last_feature >= 1'000'000)
    return data_loss(fmt::format("the model has {} features", last_feature));
  if (const auto sizes = file.header.find("tree_sizes");
      sizes != file.header.end() && words_of(sizes->second).size() != file.trees.size()) {
    return data_loss(fmt::format("it is cut: the header announces {} trees, {} are there",
                                 words_of(sizes->second).size(), file.trees.size()));
  }
  if (file.trees.size() % outputs != 0) return data_loss("its last round of trees is incomplete");
  TreeModelTraits traits{.kind = "lightgbm", .file = "model.lgb"};
  if (const auto objective = file.header.find("objective"); objective != file.header.end())
    set_objective(objective->second, traits);
  if (file.averaged && !file.trees.empty())
    traits.divide_by = static_cast<double>(file.trees.size() / outputs);
  if (const auto names = file.header.find("feature_names"); names != file.header.end()) {
    for (const std::string_view name : words_of(names->second))
      traits.feature_names.emplace_back(name);
    if (traits.feature_names.size() != last_feature + 1)
      return data_loss(
          fmt::format("it names {} features of {}", traits.feature_names.size(), last_feature + 1));
  }
  Forest<double> forest(last_feature + 1, outputs, CategoriesGo::left);
  for (std::size_t i = 0; i < file.trees.size(); ++i) {
    const std::string place = "tree " + std::to_string(i);
    try {
      SavedTree tree = read_lightgbm_tree(file.trees[i]);
      tree.output = static_cast<std::uint32_t>(i % outputs);
      if (auto added = forest.add(tree); !added) return added.error().at(place);
    } catch (const std::invalid_argument& e) {
      return data_loss(e.what()).at(place);
    }
  }
  return make_tree_model(std::move(forest), std::vector<double>(outputs, 0.0), std::move(traits));
}

}  // namespace

Result<ModelPtr> load_lightgbm(std::string_view bytes) {
  constexpr std::string_view kWhat = "LightGBM model";
  try {
    auto model = from_lightgbm(bytes);
    if (!model) return model.error().at(kWhat);
    return model;
  } catch (const std::domain_error& e) {
    return unimplemented(e.what()).at(kWhat);
  } catch (const std::exception& e) {
    return data_loss(e.what()).at(kWhat);
  }
}

}  // namespace slipway::models
