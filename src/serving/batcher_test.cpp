#include "serving/batcher.h"

#include <gtest/gtest.h>

#include "support/database.h"
#include "support/fake_models.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::ok;

const data::Schema kBatched{.fields = {{.name = "x", .type = data::Type::float64},
                                       {.name = "word", .type = data::Type::text}}};

// A row's score is a hundred times its x, and the length of its word.
class BatcherTest : public testing::Test {
 protected:
  void SetUp() override {
    db_ = std::move(
        *db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = std::move(*audit::Log::open(*db_, scratch_ / "keys", clock_));
    deployments_ = std::move(*DeploymentStore::open(*db_, *audit_, clock_));
    log_ = std::move(*PredictionLog::open(scratch_ / "predictions", {.durable = false}));
    source_.set_bundle("words",
                       {kBatched, [this](const data::Batch& batch, std::int64_t row) {
                          calls_ += row == 0 ? 1 : 0;
                          const double x =
                              batch.columns[0].is_null(row) ? -1 : batch.columns[0].real(row);
                          return x * 100 + static_cast<double>(batch.columns[1].text(row).size());
                        }});
    source_.set_alias("words", "champion", 1, "words");
    ASSERT_TRUE(ok(deployments_->put(Context(clock_), {.name = "words"})));
    host_ = std::make_unique<ModelHost>(*deployments_, source_, *log_, clock_, HostOptions{});
    ASSERT_TRUE(ok(host_->refresh()));
  }

  std::shared_ptr<Inference> request(
      std::initializer_list<std::pair<std::optional<double>, std::string>> rows) {
    auto inference = host_->find("words")->begin();
    inference->started = clock_.steady();
    for (const auto& [x, word] : rows) {
      if (x) {
        inference->rows.append_real(0, *x);
      } else {
        inference->rows.append_null(0);
      }
      inference->rows.append_text(1, word);
    }
    return inference;
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<DeploymentStore> deployments_;
  std::unique_ptr<PredictionLog> log_;
  test::FakeSource source_;
  std::unique_ptr<ModelHost> host_;
  int calls_ = 0;
};

TEST_F(BatcherTest, ScoresManyRequestsInOneCallAndGivesEachItsOwnRows) {
  const auto a = request({{1, "a"}, {std::nullopt, "bb"}});
  const auto b = request({{2, ""}});
  const auto c = request({{3, "ccc"}, {4, "d"}, {5, "é"}});
  const std::vector<Inference*> members = {a.get(), b.get(), c.get()};
  for (const auto& outcome : score_together(*host_, members)) ASSERT_TRUE(ok(outcome));
  EXPECT_EQ(calls_, 1);
  EXPECT_EQ(a->scores, (std::vector<double>{101, -98}));
  EXPECT_EQ(b->scores, (std::vector<double>{200}));
  EXPECT_EQ(c->scores, (std::vector<double>{303, 401, 502}));
  EXPECT_EQ(c->batch.rows, 3);  // for the log
  EXPECT_EQ(host_->version_stats().front().stats->rows.load(), 6);
}

TEST_F(BatcherTest, AloneIsAsWithout) {
  const auto a = request({{7, "x"}});
  const std::vector<Inference*> members = {a.get()};
  ASSERT_TRUE(ok(score_together(*host_, members).front()));
  EXPECT_EQ(a->scores, (std::vector<double>{701}));
}

TEST_F(BatcherTest, OneBadRequestIsNotTheOthersAffair) {
  const auto good = request({{1, "a"}});
  const auto bad = request({{2, "b"}});
  bad->rows.append_real(0, 3);  // columns of different length
  const std::vector<Inference*> members = {good.get(), bad.get()};
  const auto outcomes = score_together(*host_, members);
  EXPECT_TRUE(ok(outcomes[0]));
  EXPECT_EQ(good->scores, (std::vector<double>{101}));
  EXPECT_FALSE(outcomes[1]);
}

TEST_F(BatcherTest, OnlyWishesThatAreTheSameGoTogether) {
  const auto a = request({{1, "a"}});
  const auto b = request({{1, "a"}});
  EXPECT_TRUE(batchable(*a, *b));
  b->explain = true;
  EXPECT_FALSE(batchable(*a, *b));
}

}  // namespace
}  // namespace slipway::serving
