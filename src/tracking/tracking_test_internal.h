// A tracking store of its own for each test: scratch database, a clock that stands still,
// predictable ids.
#pragma once
#include <gtest/gtest.h>

#include "db/database.h"
#include "support/database.h"
#include "support/opened.h"
#include "support/support.h"
#include "tracking/tracking.h"

namespace slipway::tracking {

class TrackingTest : public testing::Test {
 protected:
  void SetUp() override {
    db_ = test::opened(
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    reopen();
  }
  void reopen() {
    tracking_.reset();
    tracking_ = test::opened(Tracking::open(*db_, clock_, ids_));
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
