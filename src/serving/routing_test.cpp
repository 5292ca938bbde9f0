// Who answers a request: shares, sticky keys, arms by name, and a log that can be queued or left
// out.
#include <gtest/gtest.h>

#include <future>

#include "base/log.h"
#include "serving/model_host.h"
#include "support/database.h"
#include "support/fake_models.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::ok;

const data::Schema kOneInput{.fields = {{.name = "x", .type = data::Type::float64}}};

class RoutingTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::off);
    db_ = std::move(
        *db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = std::move(*audit::Log::open(*db_, scratch_ / "keys", clock_));
    deployments_ = std::move(*DeploymentStore::open(*db_, *audit_, clock_));
    log_ = std::move(*PredictionLog::open(scratch_ / "predictions", {.durable = false}));
    for (int i = 1; i <= 3; ++i) {
      source_.set_bundle(std::to_string(i),
                         {kOneInput, [i](const data::Batch&, std::int64_t) { return i / 10.0; }});
    }
    source_.set_alias("m", "champion", 1, "1");
    source_.set_alias("m", "next", 2, "2");
    source_.set_alias("m", "third", 3, "3");
  }
  void TearDown() override { log::set_level(log::Level::info); }
  std::shared_ptr<const Served> serve(Deployment deployment) {
    deployment.name = "m";
    EXPECT_TRUE(ok(deployments_->put(ctx_, std::move(deployment))));
    if (host_ == nullptr)
      host_ = std::make_unique<ModelHost>(*deployments_, source_, *log_, clock_, HostOptions{});
    source_.touch();
    EXPECT_TRUE(ok(host_->refresh()));
    return host_->find("m");
  }
  Result<void> answer(const std::string& id) {
    auto inference = host_->find("m")->begin();
    inference->rows.append_real(0, 1);
    inference->ids = {id};
    inference->new_ids = false;
    inference->time = clock_.now();
    inference->started = clock_.steady();
    if (auto scored = host_->score(*inference); !scored) return scored;
    std::promise<Result<void>> promise;
    auto done = promise.get_future();
    auto taken = host_->commit(inference, [&](Result<void> r) { promise.set_value(std::move(r)); });
    return taken ? done.get() : taken;
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
};

TEST_F(RoutingTest, SharesAreAsDeclared) {
  const auto served = serve({.canaries = {{"next", 0.1}, {"third", 0.3}}});
  std::map<std::int64_t, int> answered;
  for (int i = 0; i < 20'000; ++i) ++answered[served->route("")->version.number];
  EXPECT_NEAR(answered[2], 2000, 200);
  EXPECT_NEAR(answered[3], 6000, 300);
  EXPECT_NEAR(answered[1], 12'000, 400);
}

TEST_F(RoutingTest, EqualKeysGetEqualVersionsAndKeepThemWhenTheCanaryGrows) {
  const auto before = serve({.canaries = {{"next", 0.1}}, .sticky = "x-user"});
  std::set<std::string> in_canary;
  for (int i = 0; i < 1000; ++i) {
    const std::string key = "user-" + std::to_string(i);
    const Target* target = before->route(key);
    EXPECT_EQ(target, before->route(key));
    if (target->version.number == 2) in_canary.insert(key);
  }
  EXPECT_GT(in_canary.size(), 60u);
  EXPECT_LT(in_canary.size(), 140u);
  const auto after = serve({.canaries = {{"next", 0.5}}, .sticky = "x-user"});
  for (const auto& key : in_canary) EXPECT_EQ(after->route(key)->version.number, 2);
}

TEST_F(RoutingTest, ArmsAnswerByNameAndAllVersionsByNumber) {
  const auto served = serve({.shadows = {"third"}, .canaries = {{"next", 0}}});
  EXPECT_EQ(served->arm("next")->version.number, 2);
  EXPECT_EQ(served->arm("champion")->version.number, 1);
  EXPECT_EQ(served->arm("third"), nullptr);  // a shadow answers nobody
  for (std::int64_t version = 1; version <= 3; ++version)
    EXPECT_EQ(served->find(version)->version.number, version);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(served->route("")->version.number, 1);
}

TEST_F(RoutingTest, ACanaryThatCannotAnswerLeavesItsShareToThePrimary) {
  const auto served = serve({.canaries = {{"not-there", 0.9}}});
  for (int i = 0; i < 100; ++i) EXPECT_EQ(served->route("")->version.number, 1);
  ASSERT_EQ(served->problems().size(), 1u);
  EXPECT_NE(served->problems()[0].find("its share goes to 'champion'"), std::string::npos);
}

TEST_F(RoutingTest, QueuedPredictionsAreThereSoonAndOffLeavesNone) {
  serve({.log = LogMode::queued});
  for (int i = 0; i < 100; ++i) EXPECT_TRUE(ok(answer("q" + std::to_string(i))));
  ASSERT_TRUE(ok(log_->seal()));
  EXPECT_EQ(log_->count("m"), 100);
  EXPECT_EQ(answer("q5").error().code, Code::already_exists);
  serve({.log = LogMode::off});
  EXPECT_TRUE(ok(answer("unlogged")));
  EXPECT_FALSE(log_->contains("unlogged"));
}

TEST_F(RoutingTest, AShareOfTheRequestsIsLogged) {
  serve({.log_share = 0.25});
  for (int i = 0; i < 400; ++i) EXPECT_TRUE(ok(answer("s" + std::to_string(i))));
  EXPECT_NEAR(static_cast<double>(log_->count("m")), 100, 40);
}

TEST_F(RoutingTest, OldPredictionsAreRemovedWholeSegmentsAtATime) {
  serve({});
  EXPECT_TRUE(ok(answer("old")));
  ASSERT_TRUE(ok(log_->seal()));
  clock_.advance(std::chrono::hours(48));
  EXPECT_TRUE(ok(answer("new")));
  ASSERT_TRUE(ok(log_->seal()));
  const auto removed = log_->remove_before("m", clock_.now() - std::chrono::hours(24));
  ASSERT_TRUE(ok(removed));
  EXPECT_EQ(*removed, 1);
  EXPECT_FALSE(log_->contains("old"));
  EXPECT_TRUE(log_->contains("new"));
  EXPECT_EQ(log_->stats().expired_rows, 1);
}

TEST_F(RoutingTest, TellsHowItWasDeclaredAtAMoment) {
  serve({.canaries = {{"next", 0.1}}});
  const Time then = clock_.now();
  clock_.advance(std::chrono::hours(1));
  serve({.canaries = {{"next", 0.9}}});
  EXPECT_EQ(deployments_->at("m", then)->canaries[0].weight, 0.1);
  EXPECT_EQ(deployments_->at("m", clock_.now())->canaries[0].weight, 0.9);
  EXPECT_EQ(deployments_->at("m", then - std::chrono::hours(1)).error().code, Code::not_found);
  ASSERT_TRUE(ok(deployments_->remove(ctx_, "m")));
  EXPECT_EQ(deployments_->at("m", clock_.now()).error().code, Code::not_found);
  EXPECT_EQ(deployments_->at("m", then)->canaries[0].weight, 0.1);
}

}  // namespace
}  // namespace slipway::serving
