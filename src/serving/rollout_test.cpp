#include "serving/rollout.h"

#include <gtest/gtest.h>

#include "base/log.h"
#include "base/rng.h"
#include "registry/registry.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::ok;

struct Rates {
  double errors = 0.01;
  double slow = 0.05;
  double wrong = 0.2;
};

// A whole rollout over simulated traffic: a look after every 200 requests. The state it ends in.
Rollout simulate(const RolloutSpec& spec, const Rates& control, const Rates& candidate,
                 std::uint64_t seed) {
  Rng rng(seed);
  Time now = test::kNoon2013;
  Rollout rollout{
      .id = "r", .started = now, .spec = spec, .control_version = 1, .candidate_version = 2};
  rollout.stage_began = {now};
  std::vector<Outcome> outcomes;
  for (int look = 0; look < 400 && rollout.state == RolloutState::running; ++look) {
    RolloutObservation seen;
    for (int i = 0; i < 200; ++i) {
      const bool is_candidate = rng.uniform() < rollout.weight();
      const Rates& rates = is_candidate ? candidate : control;
      ArmCounts& counts = is_candidate ? seen.candidate : seen.control;
      if (rng.uniform() < rates.errors) {
        ++counts.failures;
        continue;
      }
      ++counts.requests;
      counts.slow += rng.uniform() < rates.slow ? 1 : 0;
      outcomes.push_back({.time = now,
                          .version = is_candidate ? 2 : 1,
                          .badness = rng.uniform() < rates.wrong ? 1.0 : 0.0});
    }
    if (look % 10 == 9) seen.outcomes = outcomes;
    now += std::chrono::seconds(1);
    rollout = advance(std::move(rollout), seen, now);
  }
  return rollout;
}

RolloutSpec quick(double tolerance) {
  return {.stages = {0.05, 0.2, 0.5},
          .min_requests = 300,
          .min_time = std::chrono::seconds(5),
          .alpha = 0.05,
          .tolerance = tolerance,
          .slow_us = 10'000};
}

TEST(Rollout, AThousandOfEqualVersionsStayWithinTheStatedFalseAlarms) {
  int rolled_back = 0;
  for (std::uint64_t seed = 1; seed <= 1000; ++seed) {
    // Tolerance 1: equal versions are the edge of the hypothesis, where alarms are most frequent.
    const Rollout ended = simulate(quick(1.0), {}, {}, seed);
    if (ended.state == RolloutState::rolling_back) {
      ++rolled_back;
    } else {
      EXPECT_EQ(ended.state, RolloutState::promoting) << "seed " << seed;
    }
  }
  RecordProperty("false_alarms_of_1000", rolled_back);
  EXPECT_LE(rolled_back, 50);  // alpha 0.05
}

TEST(Rollout, AWorseVersionIsRolledBackWhateverIsWorseAboutIt) {
  const std::vector<std::tuple<const char*, Rates>> rows = {
      {"five times the errors", {.errors = 0.05}},
      {"three times as often slow", {.slow = 0.15}},
      {"wrong half as often again", {.wrong = 0.30}},
  };
  for (const auto& [name, candidate] : rows) {
    int caught = 0;
    std::int64_t requests = 0;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
      RolloutSpec spec = quick(1.1);
      spec.min_requests = 2000;
      const Rollout ended = simulate(spec, {}, candidate, seed);
      caught += ended.state == RolloutState::rolling_back ? 1 : 0;
      requests += ended.candidate.requests;
    }
    EXPECT_GE(caught, 95) << name;
    RecordProperty(std::string("candidate_requests_until_caught: ") + name,
                   static_cast<int>(requests / 100));
  }
}

TEST(Rollout, AVersionThatAlwaysFailsIsStoppedAfterAFewRequests) {
  const Rollout ended =
      simulate({.stages = {0.01}, .slow_us = 0, .labels = false}, {.errors = 0}, {.errors = 1}, 3);
  EXPECT_EQ(ended.state, RolloutState::rolling_back);
  EXPECT_LE(ended.candidate.failures, 10);
  EXPECT_NE(ended.reason.find("fails more often"), std::string::npos);
}

TEST(Rollout, StagesNeedTheirRequestsAndTheirTime) {
  const Time start = test::kNoon2013;
  Rollout rollout{
      .started = start,
      .spec = {.stages = {0.1, 0.5}, .min_requests = 10, .min_time = std::chrono::seconds(60)}};
  rollout.stage_began = {start};
  const auto with = [&](std::int64_t requests, int second) {
    rollout = advance(std::move(rollout), {.candidate = {.requests = requests}},
                      start + std::chrono::seconds(second));
  };
  with(9, 70);
  EXPECT_EQ(rollout.stage, 0u);
  with(1, 71);
  EXPECT_EQ(rollout.stage, 1u);
  with(100, 72);
  EXPECT_EQ(rollout.state, RolloutState::running);  // in time, the stage began at 71
  rollout.state = RolloutState::paused;
  with(1, 200);
  EXPECT_EQ(rollout.state, RolloutState::paused);
  rollout.state = RolloutState::running;
  with(0, 201);
  EXPECT_EQ(rollout.state, RolloutState::promoting);
}

TEST(Evidence, IsTheSameInOneOrInMany) {
  Evidence one;
  Evidence many;
  one.add_many(3, 5, 0.1);
  for (int i = 0; i < 3; ++i) many.add(true, 1, 0.1);
  for (int i = 0; i < 5; ++i) many.add(false, 1, 0.1);
  many.add(true, 0, 0.1);  // nothing happened
  EXPECT_NEAR(one.log_value(), many.log_value(), 1e-12);
  const auto back = Evidence::from_json(one.to_json());
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(back->log_value(), one.log_value());
  EXPECT_FALSE(Evidence::from_json(Json{1, 2}));
  EXPECT_NEAR(null_share(0.1, 1.0), 0.1, 1e-15);
}

class RolloutsTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::off);
    db_ = std::move(
        *db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = std::move(*audit::Log::open(*db_, scratch_ / "keys", clock_));
    registry_ = std::move(*registry::Registry::open(*db_, *audit_, clock_));
    deployments_ = std::move(*DeploymentStore::open(*db_, *audit_, clock_));
    ASSERT_TRUE(ok(registry_->create_model(ctx_, "flights")));
    for (int i = 0; i < 2; ++i)
      ASSERT_TRUE(ok(registry_->create_version(ctx_, "flights", {.source = "runs:/x/model"})));
    ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 1)));
    ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "candidate", 2)));
    ASSERT_TRUE(ok(deployments_->put(ctx_, {.name = "flights"})));
    open();
  }
  void TearDown() override { log::set_level(log::Level::info); }
  void open() {
    rollouts_ =
        std::move(*Rollouts::open({*db_, *audit_, *deployments_, *registry_, clock_, ids_}));
  }
  void serve(std::int64_t good, std::int64_t bad) {
    candidate_.requests += good;
    candidate_.failures += bad;
    control_.requests += good * 10;
    clock_.advance(std::chrono::minutes(1));
    ASSERT_TRUE(ok(rollouts_->step(ctx_,
                                   [&](const std::string&, std::int64_t version, std::int64_t) {
                                     return version == 2 ? candidate_ : control_;
                                   },
                                   {})));
  }
  double weight() {
    const auto deployment = deployments_->get("flights");
    return deployment->canaries.empty() ? 0 : deployment->canaries[0].weight;
  }
  std::int64_t champion() { return registry_->find_by_alias("flights", "champion")->number; }
  Rollout newest() { return rollouts_->list("flights")->front(); }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Context ctx_{clock_};
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<DeploymentStore> deployments_;
  std::unique_ptr<Rollouts> rollouts_;
  ArmCounts control_;
  ArmCounts candidate_;
  const RolloutSpec spec_{.stages = {0.01, 0.5},
                          .min_requests = 100,
                          .min_time = std::chrono::seconds(30),
                          .labels = false};
};

TEST_F(RolloutsTest, GoesThroughItsStagesAndMovesTheAlias) {
  ASSERT_TRUE(ok(rollouts_->start(ctx_, "flights", spec_)));
  EXPECT_EQ(weight(), 0.01);
  EXPECT_EQ(rollouts_->start(ctx_, "flights", spec_).error().code, Code::already_exists);
  serve(0, 0);  // the first look is where counting begins
  serve(100, 0);
  EXPECT_EQ(weight(), 0.5);
  open();  // a restart: counters begin anew
  control_ = candidate_ = {};
  serve(0, 0);
  EXPECT_EQ(weight(), 0.5);
  EXPECT_EQ(newest().candidate.requests, 100);
  serve(100, 0);
  EXPECT_EQ(newest().state, RolloutState::promoted);
  EXPECT_EQ(champion(), 2);
  EXPECT_EQ(weight(), 0);
  const auto entries = audit_->list({.action_prefix = "rollout."});
  ASSERT_TRUE(ok(entries));
  std::string actions;
  for (const auto& entry : *entries) actions += entry.event.action + " ";
  EXPECT_EQ(actions, "rollout.start rollout.advance rollout.promote rollout.end ");
}

TEST_F(RolloutsTest, TakesItsShareAwayFromWhatFails) {
  ASSERT_TRUE(ok(rollouts_->start(ctx_, "flights", spec_)));
  serve(0, 0);
  serve(10, 5);
  EXPECT_EQ(newest().state, RolloutState::rolled_back);
  EXPECT_EQ(weight(), 0);
  EXPECT_EQ(champion(), 1);
}

TEST_F(RolloutsTest, CanBePausedResumedPromotedAndAbortedByHand) {
  ASSERT_TRUE(ok(rollouts_->start(ctx_, "flights", spec_)));
  serve(0, 0);
  ASSERT_TRUE(ok(rollouts_->pause(ctx_, "flights")));
  serve(500, 0);
  EXPECT_EQ(weight(), 0.01);
  ASSERT_TRUE(ok(rollouts_->resume(ctx_, "flights")));
  ASSERT_TRUE(ok(rollouts_->abort(ctx_, "flights")));
  EXPECT_EQ(newest().state, RolloutState::aborted);
  EXPECT_EQ(rollouts_->pause(ctx_, "flights").error().code, Code::failed_precondition);
  clock_.advance(std::chrono::seconds(1));
  ASSERT_TRUE(ok(rollouts_->start(ctx_, "flights", spec_)));
  ASSERT_TRUE(ok(rollouts_->promote(ctx_, "flights")));
  EXPECT_EQ(champion(), 2);
}

TEST_F(RolloutsTest, EndsWhenWhatItComparesIsGone) {
  ASSERT_TRUE(ok(rollouts_->start(ctx_, "flights", spec_)));
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 2)));
  serve(0, 0);
  EXPECT_EQ(newest().state, RolloutState::rolled_back);
  EXPECT_EQ(weight(), 0);
  EXPECT_EQ(rollouts_->start(ctx_, "flights", spec_).error().code, Code::failed_precondition);
}

TEST(RolloutSpec, SaysWhatIsWrong) {
  const std::vector<std::pair<const char*, RolloutSpec>> rows = {
      {"stages", {.stages = {}}},        {"grow", {.stages = {0.5, 0.1}}},
      {"below 1", {.stages = {0.5, 1}}}, {"alpha", {.alpha = 0}},
      {"tolerance", {.tolerance = 0.5}}, {"candidate", {.candidate = ""}},
  };
  for (const auto& [word, spec] : rows) {
    const auto checked = spec.validate();
    ASSERT_FALSE(checked) << word;
    EXPECT_NE(checked.error().message.find(word), std::string::npos) << checked.error().message;
  }
  EXPECT_TRUE(ok(RolloutSpec{}.validate()));
}

}  // namespace
}  // namespace slipway::serving
