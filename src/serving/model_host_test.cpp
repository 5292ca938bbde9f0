#include "serving/model_host.h"

#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "base/log.h"
#include "support/database.h"
#include "support/fake_models.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::ok;

const data::Schema kTemp{.fields = {{.name = "temp", .type = data::Type::float64}}};

test::FakeScorer::Rule times(double factor) {
  return [factor](const data::Batch& batch, std::int64_t row) {
    return batch.columns[0].real(row) * factor;
  };
}

class ModelHostTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::off);
    db_ = std::move(
        *db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = std::move(*audit::Log::open(*db_, scratch_ / "keys", clock_));
    deployments_ = std::move(*DeploymentStore::open(*db_, *audit_, clock_));
    log_ = std::move(*PredictionLog::open(scratch_ / "predictions", {.durable = false}));
    source_.set_bundle("one", {kTemp, times(0.01)});
    source_.set_bundle("two", {kTemp, times(0.02)});
    source_.set_alias("flights", "champion", 1, "one");
  }
  void TearDown() override { log::set_level(log::Level::info); }

  void start(Deployment deployment = {.name = "flights"}, HostOptions options = {}) {
    ASSERT_TRUE(ok(deployments_->put(ctx_, std::move(deployment))));
    host_ = std::make_unique<ModelHost>(*deployments_, source_, *log_, clock_, options);
    ASSERT_TRUE(ok(host_->refresh()));
  }
  std::int64_t version() {
    const auto served = host_->find("flights");
    return served == nullptr || served->primary() == nullptr ? 0
                                                             : served->primary()->version.number;
  }
  std::shared_ptr<Inference> inference(double temp) {
    auto one = host_->find("flights")->begin();
    one->rows.append_real(0, temp);
    for (std::size_t i = 1; i < one->served->columns().fields.size(); ++i) one->rows.append_null(i);
    one->ids = {"p" + std::to_string(next_id_++)};
    one->time = clock_.now();
    one->started = clock_.steady();
    return one;
  }
  // Scores, commits and waits for the log.
  Result<double> answer(const std::shared_ptr<Inference>& one) {
    if (auto scored = host_->score(*one); !scored) return scored.error();
    std::promise<Result<void>> logged;
    auto done = logged.get_future();
    if (auto taken =
            host_->commit(one, [&](Result<void> result) { logged.set_value(std::move(result)); });
        !taken)
      return taken.error();
    if (auto result = done.get(); !result) return result.error();
    return one->scores[0];
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  Context ctx_{clock_};
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<DeploymentStore> deployments_;
  std::unique_ptr<PredictionLog> log_;
  test::FakeSource source_;
  std::unique_ptr<ModelHost> host_;
  int next_id_ = 0;
};

TEST_F(ModelHostTest, AnswersAndLogs) {
  start();
  const auto score = answer(inference(50));
  ASSERT_TRUE(ok(score));
  EXPECT_EQ(*score, 0.5);
  const auto logged = log_->find("p0");
  ASSERT_TRUE(ok(logged));
  EXPECT_EQ(logged->version, 1);
  EXPECT_EQ(logged->alias, "champion");
  EXPECT_EQ(logged->score, 0.5);
  EXPECT_EQ(logged->inputs, (Json{{"temp", 50.0}}));
  EXPECT_EQ(host_->version_stats().front().stats->requests.load(), 1);
  EXPECT_TRUE(host_->ready());
  EXPECT_EQ(host_->find("trains"), nullptr);
}

TEST_F(ModelHostTest, FollowsTheAliasWhileOldRequestsFinishOnTheOldModel) {
  start();
  auto old = inference(50);
  source_.set_alias("flights", "champion", 2, "two");
  ASSERT_TRUE(ok(host_->refresh()));
  EXPECT_EQ(version(), 2);
  EXPECT_EQ(source_.alive(), 2);
  EXPECT_EQ(*answer(inference(10)), 0.2);
  EXPECT_EQ(*answer(old), 0.5);
  EXPECT_EQ(log_->find("p0")->version, 1);
  old.reset();
  log_.reset();  // lets go of what it was given
  EXPECT_EQ(source_.alive(), 1);
  host_.reset();
  EXPECT_EQ(source_.alive(), 0);
}

TEST_F(ModelHostTest, AModelThatCannotBeLoadedChangesNothing) {
  start();
  source_.set_alias("flights", "champion", 3, "broken");
  ASSERT_TRUE(ok(host_->refresh()));
  EXPECT_EQ(version(), 1);
  ASSERT_EQ(host_->find("flights")->problems().size(), 1u);
  EXPECT_NE(host_->find("flights")->problems()[0].find("version 1 goes on answering"),
            std::string::npos);
  const int loads = source_.loads();
  source_.touch();
  ASSERT_TRUE(ok(host_->refresh()));
  EXPECT_EQ(source_.loads(), loads);  // not tried at each change
  source_.set_bundle("broken", {kTemp, times(0.03)});
  clock_.advance(std::chrono::seconds(31));
  ASSERT_TRUE(ok(host_->refresh()));
  EXPECT_EQ(version(), 3);
  EXPECT_TRUE(host_->find("flights")->problems().empty());
}

TEST_F(ModelHostTest, WaitsForAnAliasThatDoesNotExistYet) {
  start({.name = "flights", .model = "trains"});
  EXPECT_EQ(version(), 0);
  EXPECT_FALSE(host_->ready());
  EXPECT_FALSE(host_->find("flights")->problems().empty());
  source_.set_alias("trains", "champion", 7, "two");
  ASSERT_TRUE(ok(host_->refresh()));
  EXPECT_EQ(version(), 7);
  EXPECT_TRUE(host_->ready());
}

TEST_F(ModelHostTest, ShadowsAnswerUnseenUnderTheSameId) {
  source_.set_alias("flights", "challenger", 2, "two");
  start({.name = "flights",
         .shadows = {"challenger", "not-there-yet"},
         .shadow_mode = ShadowMode::complete},
        {.shadow_queue = 2});
  EXPECT_TRUE(host_->find("flights")->problems().empty());
  for (int i = 0; i < 50; ++i) EXPECT_EQ(*answer(inference(i)), i * 0.01);
  host_->finish_shadows();
  ASSERT_TRUE(ok(log_->seal()));
  EXPECT_EQ(log_->count("flights", Role::primary), 50);
  EXPECT_EQ(log_->count("flights", Role::shadow), 50);
  const auto table = log_->read("flights", clock_.now(), clock_.now() + Duration(1),
                                {.columns = {"id", "version", "score"}, .role = Role::shadow});
  ASSERT_TRUE(ok(table));
  const auto rows = data::Columns::from_table(*table);
  for (std::int64_t row = 0; row < 50; ++row) {
    const int number = std::stoi(std::string(rows->batch().columns[0].text(row).substr(1)));
    EXPECT_EQ(rows->batch().columns[1].integer(row), 2);
    EXPECT_EQ(rows->batch().columns[2].real(row), number * 0.02);
  }
}

TEST_F(ModelHostTest, ShadowsThatDoNotKeepUpAreDroppedAndCounted) {
  std::promise<void> gate;
  const auto opened = gate.get_future().share();
  source_.set_bundle("slow", {kTemp, [opened](const data::Batch&, std::int64_t) {
                                opened.wait();
                                return 0.5;
                              }});
  source_.set_alias("flights", "challenger", 2, "slow");
  start({.name = "flights", .shadows = {"challenger"}}, {.shadow_queue = 3});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(ok(answer(inference(i))));  // none of them waits
  EXPECT_EQ(host_->deployment_stats().front().stats->shadows_dropped.load(), 7);
  gate.set_value();
  host_->finish_shadows();
  EXPECT_EQ(host_->version_stats().back().stats->requests.load(), 3);
}

TEST_F(ModelHostTest, AShadowMayWantColumnsOfItsOwn) {
  const data::Schema wider{.fields = {{.name = "wind", .type = data::Type::float64},
                                      {.name = "temp", .type = data::Type::float64}}};
  source_.set_bundle("wider", {wider, [](const data::Batch& batch, std::int64_t) {
                                 return batch.columns.size() / 10.0;
                               }});
  source_.set_alias("flights", "challenger", 2, "wider");
  const data::Schema other{.fields = {{.name = "temp", .type = data::Type::text}}};
  source_.set_bundle("other", {other, times(1)});
  source_.set_alias("flights", "recent", 3, "other");
  start({.name = "flights", .shadows = {"challenger", "recent"}});
  const auto served = host_->find("flights");
  EXPECT_EQ(served->columns().names(), (std::vector<std::string>{"temp", "wind"}));
  EXPECT_EQ(served->required(*served->primary()), (std::vector<std::size_t>{0}));
  EXPECT_EQ(served->required(*served->find(2)), (std::vector<std::size_t>{1, 0}));
  ASSERT_EQ(served->problems().size(), 1u);
  EXPECT_NE(served->problems()[0].find("version 3"), std::string::npos);
  EXPECT_EQ(*answer(inference(50)), 0.5);
}

TEST_F(ModelHostTest, TheSameBytesAreLoadedOnce) {
  source_.set_alias("flights", "baseline", 5, "one");
  start({.name = "flights", .shadows = {"baseline"}});
  EXPECT_EQ(source_.alive(), 1);
  EXPECT_EQ(source_.loads(), 1);
  source_.touch();
  const auto before = host_->find("flights");
  ASSERT_TRUE(ok(host_->refresh()));
  EXPECT_EQ(host_->find("flights"), before);
}

TEST_F(ModelHostTest, NoticesByItself) {
  start({.name = "flights"}, {.poll_every = std::chrono::milliseconds(1)});
  host_->start();
  source_.set_alias("flights", "champion", 2, "two");
  while (version() != 2) std::this_thread::yield();
  ASSERT_TRUE(ok(deployments_->remove(ctx_, "flights")));
  source_.touch();  // the fake counts apart from the database
  while (host_->find("flights") != nullptr) std::this_thread::yield();
}

}  // namespace
}  // namespace slipway::serving
