// The links: XGBoost's src/objective/*.cu and src/common/math.h (3.x); LightGBM's
// src/objective/*.hpp and include/LightGBM/utils/common.h (4.x). Float or double as there, so that
// scores have the library's bits.
#include "models/tree_model_internal.h"

#include <cmath>
#include <mutex>

namespace slipway::models {
namespace {

float link_sigmoid(float x, double /*scale*/) {
  return 1.0F / (std::exp(std::min(-x, 88.7F)) + 1.0F);  // the limit keeps exp finite
}
double link_sigmoid(double x, double scale) { return 1.0 / (1.0 + std::exp(-scale * x)); }

template <class Value>
void link_softmax(std::span<Value> x) {
  Value most = x[0];
  for (const Value each : x) most = std::max(most, each);
  double total = 0;
  for (Value& each : x) {
    each = std::exp(each - most);
    total += each;
  }
  for (Value& each : x) each /= static_cast<Value>(total);
}

template <class Value>
class TreeModel final : public Model {
 public:
  TreeModel(Forest<Value> forest, std::vector<Value> base, TreeModelTraits traits)
      : forest_(std::move(forest)), base_(std::move(base)), traits_(std::move(traits)) {}

  std::string_view kind() const override { return traits_.kind; }
  std::string_view file() const override { return traits_.file; }
  bool is_classifier() const override { return traits_.classifier; }
  std::size_t features() const override { return forest_.features(); }
  std::size_t outputs() const override {
    return traits_.link == LinkKind::largest ? 1 : forest_.outputs();
  }
  std::span<const std::string> feature_names() const override { return traits_.feature_names; }
  std::size_t explained() const override { return forest_.outputs(); }

 private:
  void score(std::span<const float> matrix, std::size_t rows,
             std::span<double> out) const override {
    score_any(matrix.data(), rows, out);
  }
  void score_wide(std::span<const double> matrix, std::size_t rows,
                  std::span<double> out) const override {
    score_any(matrix.data(), rows, out);
  }

  template <class Input>
  void score_any(const Input* matrix, std::size_t rows, std::span<double> out) const {
    constexpr std::size_t kBlock = Forest<Value>::kBlock;
    const std::size_t width = forest_.width();
    const std::size_t sums_count = forest_.outputs() * kBlock;
    thread_local std::vector<Value> scratch;
    if (scratch.size() < width * kBlock + sums_count) scratch.resize(width * kBlock + sums_count);
    Value* const loaded = scratch.data();
    Value* const sums = loaded + width * kBlock;
    for (std::size_t begin = 0; begin < rows; begin += kBlock) {
      const std::size_t count = std::min(kBlock, rows - begin);
      for (std::size_t i = 0; i < count; ++i)
        forest_.load(matrix + (begin + i) * forest_.features(), loaded + i * width);
      for (std::size_t k = 0; k < forest_.outputs(); ++k)
        std::fill_n(sums + k * kBlock, count, base_[k]);
      forest_.sum(loaded, count, sums);
      finish(sums, count, out.data() + begin * outputs());
    }
  }

  void finish(Value* sums, std::size_t count, double* out) const {
    constexpr std::size_t kBlock = Forest<Value>::kBlock;
    const std::size_t outputs = forest_.outputs();
    if (outputs == 1 && traits_.link != LinkKind::softmax && traits_.link != LinkKind::largest) {
      for (std::size_t i = 0; i < count; ++i) out[i] = link(averaged(sums[i]));
      return;
    }
    thread_local std::vector<Value> row;
    row.resize(outputs);
    for (std::size_t i = 0; i < count; ++i) {
      for (std::size_t k = 0; k < outputs; ++k) row[k] = averaged(sums[k * kBlock + i]);
      if (traits_.link == LinkKind::largest) {
        out[i] = static_cast<double>(std::max_element(row.begin(), row.end()) - row.begin());
        continue;
      }
      if (traits_.link == LinkKind::softmax) {
        link_softmax(std::span<Value>(row));
      } else {
        for (Value& x : row) x = link(x);
      }
      for (std::size_t k = 0; k < outputs; ++k) out[i * outputs + k] = row[k];
    }
  }

  Value averaged(Value sum) const {
    return traits_.divide_by == 1 ? sum : sum / static_cast<Value>(traits_.divide_by);
  }

  Value link(Value x) const {
    switch (traits_.link) {
      case LinkKind::sigmoid:
        return link_sigmoid(x, traits_.scale);
      case LinkKind::exponential:
        return std::exp(x);
      case LinkKind::hinge:
        return x > 0 ? Value{1} : Value{0};
      case LinkKind::signed_square:
        return x < 0 ? -x * x : x * x;
      case LinkKind::log1p_exp:
        return std::log1p(std::exp(x));
      case LinkKind::identity:
      case LinkKind::softmax:
      case LinkKind::largest:
        break;
    }
    return x;
  }

  Result<void> explain(std::span<const double> matrix, std::size_t rows,
                       std::span<double> out) const override {
    const std::size_t row_size = forest_.outputs() * (forest_.features() + 1);
    std::vector<Value> loaded(forest_.width());
    for (std::size_t i = 0; i < rows; ++i) {
      forest_.load(matrix.data() + i * forest_.features(), loaded.data());
      const auto into = out.subspan(i * row_size, row_size);
      std::fill(into.begin(), into.end(), 0.0);
      if (auto done = forest_.contributions(loaded.data(), into); !done) return done;
      if (traits_.divide_by != 1) {
        for (double& each : into) each /= traits_.divide_by;
      }
      for (std::size_t k = 0; k < forest_.outputs(); ++k)
        into[k * (forest_.features() + 1) + forest_.features()] += base_[k];
    }
    return {};
  }

  Forest<Value> forest_;
  std::vector<Value> base_;
  TreeModelTraits traits_;
};

}  // namespace

template <class Value>
ModelPtr make_tree_model(Forest<Value> forest, std::vector<Value> base, TreeModelTraits traits) {
  forest.shrink();
  return std::make_unique<TreeModel<Value>>(std::move(forest), std::move(base), std::move(traits));
}

template ModelPtr make_tree_model(Forest<float>, std::vector<float>, TreeModelTraits);
template ModelPtr make_tree_model(Forest<double>, std::vector<double>, TreeModelTraits);

}  // namespace slipway::models
