#include "serving/deployments.h"

#include <gtest/gtest.h>

#include "support/database.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::failed_with;
using test::ok;

class DeploymentsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto db = db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false});
    ASSERT_TRUE(ok(db));
    db_ = std::move(*db);
    auto audit = audit::Log::open(*db_, scratch_ / "keys", clock_);
    ASSERT_TRUE(ok(audit));
    audit_ = std::move(*audit);
    auto store = DeploymentStore::open(*db_, *audit_, clock_);
    ASSERT_TRUE(ok(store));
    store_ = std::move(*store);
  }
  std::vector<std::string> actions() {
    std::vector<std::string> all;
    const auto entries =
        audit_->list({.action_prefix = "deployment.", .object_prefix = "", .actor = ""});
    EXPECT_TRUE(ok(entries));
    for (const auto& entry : *entries) all.push_back(entry.event.action + " " + entry.event.object);
    return all;
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  Context ctx_{clock_};
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<DeploymentStore> store_;
};

TEST_F(DeploymentsTest, AreKeptAsTheyWereDeclared) {
  const Deployment declared{.name = "flights",
                            .model = "flights-late",
                            .alias = "champion",
                            .shadows = {"challenger", "baseline"},
                            .shadow_mode = ShadowMode::complete,
                            .clock = ClockSource::request,
                            .threshold = 0.3};
  ASSERT_TRUE(ok(store_->create(ctx_, declared)));
  const auto found = store_->get("flights");
  ASSERT_TRUE(ok(found));
  EXPECT_EQ(found->model, "flights-late");
  EXPECT_EQ(found->shadows, declared.shadows);
  EXPECT_EQ(found->shadow_mode, ShadowMode::complete);
  EXPECT_EQ(found->clock, ClockSource::request);
  EXPECT_EQ(found->threshold, 0.3);
  EXPECT_EQ(found->created, test::kNoon2013);
  const auto again = Deployment::from_json(found->to_json());
  ASSERT_TRUE(ok(again));
  EXPECT_EQ(again->shadows, declared.shadows);
}

TEST_F(DeploymentsTest, ChangesAreAuditedAndNoChangeIsNone) {
  ASSERT_TRUE(ok(store_->put(ctx_, {.name = "flights"})));
  ASSERT_TRUE(ok(store_->put(ctx_, {.name = "flights"})));
  clock_.advance(std::chrono::hours(1));
  const auto changed = store_->put(ctx_, {.name = "flights", .shadows = {"challenger"}});
  ASSERT_TRUE(ok(changed));
  EXPECT_EQ(changed->created, test::kNoon2013);
  EXPECT_EQ(changed->updated, test::kNoon2013 + std::chrono::hours(1));
  ASSERT_TRUE(ok(store_->remove(ctx_, "flights")));
  EXPECT_EQ(actions(), (std::vector<std::string>{"deployment.create deployments/flights",
                                                 "deployment.update deployments/flights",
                                                 "deployment.remove deployments/flights"}));
}

TEST_F(DeploymentsTest, WhatIsNotThereIsNotFoundAndWhatIsThereExists) {
  EXPECT_TRUE(failed_with(store_->get("flights"), Code::not_found));
  EXPECT_TRUE(failed_with(store_->update(ctx_, {.name = "flights"}), Code::not_found));
  EXPECT_TRUE(failed_with(store_->remove(ctx_, "flights"), Code::not_found));
  ASSERT_TRUE(ok(store_->create(ctx_, {.name = "flights"})));
  EXPECT_TRUE(failed_with(store_->create(ctx_, {.name = "flights"}), Code::already_exists));
  EXPECT_NE(store_->get("flihgts").error().message.find("flights"), std::string::npos);
  ASSERT_TRUE(ok(store_->create(ctx_, {.name = "a"})));
  const auto all = store_->list();
  ASSERT_TRUE(ok(all));
  ASSERT_EQ(all->size(), 2u);
  EXPECT_EQ(all->front().name, "a");
}

TEST_F(DeploymentsTest, UnsoundDeclarationsAreRefused) {
  const std::vector<std::pair<std::string, Deployment>> rows = {
      {"no name", {.name = ""}},
      {"a path", {.name = "../x"}},
      {"a hidden name", {.name = ".wal"}},
      {"a space", {.name = "a b"}},
      {"an alias twice", {.name = "a", .shadows = {"x", "x"}}},
      {"the alias as shadow", {.name = "a", .alias = "x", .shadows = {"x"}}},
      {"a threshold above one", {.name = "a", .threshold = 1.5}},
      {"a threshold that is none", {.name = "a", .threshold = std::nan("")}},
  };
  for (const auto& [name, deployment] : rows)
    EXPECT_TRUE(failed_with(store_->create(ctx_, deployment), Code::invalid_argument)) << name;
  EXPECT_TRUE(failed_with(Deployment::from_json({{"name", "a"}, {"shadwos", {"x"}}}),
                          Code::invalid_argument));
  EXPECT_TRUE(failed_with(Deployment::from_json({{"name", "a"}, {"clock", "moon"}}),
                          Code::invalid_argument));
}

}  // namespace
}  // namespace slipway::serving
