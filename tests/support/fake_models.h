// Models that need no training: a ModelSource whose aliases, versions and bundles a test sets as it
// likes.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "base/guarded.h"
#include "serving/model_source.h"

namespace slipway::test {

// Scores each row by a function of the batch.
class FakeScorer final : public serving::Scorer {
 public:
  using Rule = std::function<double(const data::Batch& batch, std::int64_t row)>;
  FakeScorer(data::Schema inputs, Rule rule, std::atomic<int>& alive, bool classifier = true)
      : inputs_(std::move(inputs)), rule_(std::move(rule)), alive_(alive), classifier_(classifier) {
    ++alive_;
  }
  ~FakeScorer() override { --alive_; }
  FakeScorer(const FakeScorer&) = delete;
  FakeScorer& operator=(const FakeScorer&) = delete;

  const data::Schema& inputs() const override { return inputs_; }
  Result<void> score(const data::Batch& batch, std::span<double> scores) const override {
    for (std::int64_t row = 0; row < batch.rows; ++row)
      scores[static_cast<std::size_t>(row)] = rule_(batch, row);
    return {};
  }
  bool is_classifier() const override { return classifier_; }
  Json describe() const override { return {{"name", "fake"}}; }

 private:
  data::Schema inputs_;
  Rule rule_;
  std::atomic<int>& alive_;
  bool classifier_;
};

class FakeSource final : public serving::ModelSource {
 public:
  struct Bundle {
    data::Schema inputs;
    FakeScorer::Rule rule;
    bool classifier = true;
  };
  void set_bundle(const std::string& digest, Bundle bundle) {
    state_.with([&](State& state) {
      state.bundles[digest] = std::move(bundle);
      ++state.counter;
    });
  }
  void set_alias(const std::string& model, const std::string& alias, std::int64_t number,
                 const std::string& digest) {
    state_.with([&](State& state) {
      state.aliases[model + "@" + alias] = {.number = number, .digest = digest};
      ++state.counter;
    });
  }
  void touch() {
    state_.with([](State& state) { ++state.counter; });
  }
  int alive() const { return alive_; }  // scorers in memory
  int loads() const { return loads_; }  // asked for

  Result<std::int64_t> change_counter() const override {
    return state_.with([](const State& state) { return state.counter; });
  }
  Result<serving::VersionRef> resolve(const std::string& model,
                                      const std::string& alias) const override {
    return state_.with([&](const State& state) -> Result<serving::VersionRef> {
      const auto found = state.aliases.find(model + "@" + alias);
      if (found == state.aliases.end())
        return not_found("alias '" + alias + "' of model '" + model + "' does not exist");
      return found->second;
    });
  }
  Result<std::unique_ptr<const serving::Scorer>> load(const std::string& digest) const override {
    ++loads_;
    return state_.with([&](const State& state) -> Result<std::unique_ptr<const serving::Scorer>> {
      const auto found = state.bundles.find(digest);
      if (found == state.bundles.end()) return data_loss("the bundle '" + digest + "' is broken");
      const Bundle& bundle = found->second;
      return std::unique_ptr<const serving::Scorer>(
          std::make_unique<FakeScorer>(bundle.inputs, bundle.rule, alive_, bundle.classifier));
    });
  }

 private:
  struct State {
    std::map<std::string, serving::VersionRef> aliases;
    std::map<std::string, Bundle> bundles;
    std::int64_t counter = 1;
  };
  Guarded<State> state_;
  mutable std::atomic<int> alive_{0};
  mutable std::atomic<int> loads_{0};
};

}  // namespace slipway::test
