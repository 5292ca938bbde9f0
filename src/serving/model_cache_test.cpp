#include "serving/model_cache.h"

#include <gtest/gtest.h>

#include <thread>

#include "base/log.h"
#include "support/fake_models.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::ok;

const data::Schema kOneNumber{.fields = {{.name = "x", .type = data::Type::float64}}};

class ModelCacheTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::off);
    for (int i = 0; i < 500; ++i) {
      source_.set_bundle("m" + std::to_string(i),
                         {kOneNumber, [i](const data::Batch& batch, std::int64_t row) {
                            return batch.columns[0].real(row) + i;
                          }});
    }
  }
  void TearDown() override { log::set_level(log::Level::info); }
  // Every model weighs 100 bytes.
  ModelCacheOptions budget(std::int64_t models, const std::filesystem::path& outlines = {}) {
    return {.budget_bytes = models * 100, .outlines = outlines, .memory_in_use = [this] {
              return std::int64_t{source_.alive()} * 100;
            }};
  }
  std::unique_ptr<const Scorer> load(const ModelCache& cache, int i) {
    auto scorer = cache.load("m" + std::to_string(i));
    EXPECT_TRUE(ok(scorer));
    return scorer ? std::move(*scorer) : nullptr;
  }
  static double score(const Scorer& scorer, double x) {
    data::BatchBuilder rows(scorer.inputs());
    rows.append_real(0, x);
    double score = 0;
    EXPECT_TRUE(ok(scorer.score(*rows.batch(), std::span(&score, 1))));
    return score;
  }

  test::Scratch scratch_;
  test::FakeSource source_;
};

TEST_F(ModelCacheTest, KeepsFiveHundredWithinTheBudgetAndAnswersAll) {
  const ModelCache cache(source_, budget(10));
  std::vector<std::unique_ptr<const Scorer>> all;
  for (int i = 0; i < 500; ++i) {
    all.push_back(load(cache, i));
    EXPECT_LE(source_.alive(), 11);
  }
  for (int i = 0; i < 500; ++i) EXPECT_EQ(score(*all[i], 0.5), i + 0.5);
  EXPECT_LE(source_.alive(), 10);
  const auto figures = cache.figures();
  EXPECT_EQ(figures.models.size(), 500u);
  EXPECT_LE(figures.loaded_bytes, 1000);
  EXPECT_GE(figures.evictions, 980);
}

TEST_F(ModelCacheTest, LetsGoOfWhatWasAskedLeastRecently) {
  const ModelCache cache(source_, budget(3));
  std::vector<std::unique_ptr<const Scorer>> all;
  for (int i = 0; i < 3; ++i) all.push_back(load(cache, i));
  score(*all[0], 1);
  all.push_back(load(cache, 3));
  EXPECT_FALSE(all[0]->blocks());
  EXPECT_TRUE(all[1]->blocks());  // the longest unused
  EXPECT_FALSE(all[2]->blocks());
}

TEST_F(ModelCacheTest, PinnedModelsStay) {
  const ModelCache cache(source_, budget(2));
  cache.keep({"m0"});
  std::vector<std::unique_ptr<const Scorer>> all;
  for (int i = 0; i < 10; ++i) all.push_back(load(cache, i));
  EXPECT_FALSE(all[0]->blocks());
  EXPECT_TRUE(all[1]->blocks());
}

TEST_F(ModelCacheTest, StartsWithoutLoadingWhatItKnows) {
  {
    const ModelCache cache(source_, budget(10, scratch_ / "cache"));
    for (int i = 0; i < 20; ++i) load(cache, i);
  }
  const int before = source_.loads();
  const ModelCache cache(source_, budget(10, scratch_ / "cache"));
  std::vector<std::unique_ptr<const Scorer>> all;
  for (int i = 0; i < 20; ++i) all.push_back(load(cache, i));
  EXPECT_EQ(source_.loads(), before);
  EXPECT_EQ(all[7]->inputs(), kOneNumber);
  EXPECT_TRUE(all[7]->blocks());
  EXPECT_EQ(score(*all[7], 1), 8);
  EXPECT_FALSE(all[7]->blocks());
}

TEST_F(ModelCacheTest, NoRequestFailsWhileModelsComeAndGo) {
  const ModelCache cache(source_, budget(2));
  std::vector<std::unique_ptr<const Scorer>> all;
  for (int i = 0; i < 8; ++i) all.push_back(load(cache, i));
  std::vector<std::jthread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int n = 0; n < 400; ++n) {
        const int i = (n * 7 + t * 3) % 8;
        EXPECT_EQ(score(*all[static_cast<std::size_t>(i)], n), n + i);
      }
    });
  }
  threads.clear();
  EXPECT_LE(source_.alive(), 2);
}

TEST_F(ModelCacheTest, TellsWhatCannotBeLoaded) {
  const ModelCache cache(source_, budget(2));
  EXPECT_EQ(cache.load("broken").error().code, Code::data_loss);
  EXPECT_EQ(cache.figures().load_failures, 1);
}

TEST_F(ModelCacheTest, WithoutABudgetModelsAreThemselves) {
  const ModelCache cache(source_, {});
  const auto scorer = load(cache, 1);
  EXPECT_NE(dynamic_cast<const test::FakeScorer*>(scorer.get()), nullptr);
}

}  // namespace
}  // namespace slipway::serving
