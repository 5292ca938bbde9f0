// A tracking store of its own for each test: scratch database, a clock that stands still,
// predictable ids.
#pragma once
#include <gtest/gtest.h>

#include "db/database.h"
#include "support/database.h"
#include "support/support.h"
#include "tracking/tracking.h"

namespace slipway::tracking {

class TrackingTest : public testing::Test {
 protected:
  void SetUp() override {
    auto database =
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false});
    ASSERT_TRUE(test::ok(database));
    db_ = *std::move(database);
    reopen();
  }
  void reopen() {
    tracking_.reset();
    auto tracking = Tracking::open(*db_, clock_, ids_);
    ASSERT_TRUE(test::ok(tracking));
    tracking_ = *std::move(tracking);
  }
  RunId new_run(const std::string& name = "", ExperimentId experiment = kDefaultExperiment) {
    auto run = tracking_->create_run(ctx_, {.experiment = experiment, .name = name});
    EXPECT_TRUE(test::ok(run));
    return run ? run->id : RunId{};
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Context ctx_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<Tracking> tracking_;
};

}  // namespace slipway::tracking
