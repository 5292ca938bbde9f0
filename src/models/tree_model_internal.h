// A forest as a model: base values in front, the objective's link behind.
#pragma once
#include <memory>
#include <string>

#include "models/forest_internal.h"
#include "models/model.h"

namespace slipway::models {

// From sums to scores, as the libraries compute them.
enum class LinkKind {
  identity,
  sigmoid,        // 1 / (1 + exp(-scale * x)), each output for itself
  exponential,    // exp(x)
  softmax,        // shares of all outputs
  largest,        // the number of the largest output
  hinge,          // 1 above zero, else 0
  signed_square,  // sign(x) * x * x
  log1p_exp,      // log(1 + exp(x))
};

struct TreeModelTraits {
  std::string kind;  // "xgboost"
  std::string file;  // "model.ubj"
  LinkKind link = LinkKind::identity;
  double scale = 1;                        // of a sigmoid
  double divide_by = 1;                    // sums are averages of so many trees
  bool classifier = false;                 // scores are probabilities of classes
  std::vector<std::string> feature_names;  // empty: the file has none
};

// base: per output, where the sums start.
template <class Value>
ModelPtr make_tree_model(Forest<Value> forest, std::vector<Value> base, TreeModelTraits traits);

extern template ModelPtr make_tree_model(Forest<float>, std::vector<float>, TreeModelTraits);
extern template ModelPtr make_tree_model(Forest<double>, std::vector<double>, TreeModelTraits);

}  // namespace slipway::models
