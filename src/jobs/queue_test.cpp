#include "jobs/queue.h"

#include <gtest/gtest.h>

#include "jobs/worker.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::jobs {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;
using test::failed_with;
using test::ok;

class QueueTest : public testing::Test {
 protected:
  void SetUp() override {
    auto db = db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false});
    ASSERT_TRUE(ok(db));
    db_ = std::move(*db);
    auto queue = Queue::open(*db_, clock_, ids_);
    ASSERT_TRUE(ok(queue));
    queue_ = std::move(*queue);
  }
  std::string enqueue(NewJob job = {.kind = "retrain"}) {
    const auto enqueued = queue_->enqueue(job);
    EXPECT_TRUE(ok(enqueued));
    return enqueued->id;
  }
  std::optional<Lease> lease(std::string_view worker = "w") {
    auto leased = queue_->lease(worker, {"retrain"}, seconds{30});
    EXPECT_TRUE(ok(leased));
    return leased ? *leased : std::nullopt;
  }
  JobState state(const std::string& id) { return queue_->get(id)->state; }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<Queue> queue_;
};

TEST_F(QueueTest, GivesTheOldestDueJobOfAWantedKindOnce) {
  enqueue({.kind = "other"});
  enqueue({.kind = "retrain", .run_at = test::kNoon2013 + minutes{5}});
  const auto first = enqueue({.kind = "retrain", .payload = {{"x", 1}}});
  const auto leased = lease();
  ASSERT_TRUE(leased);
  EXPECT_EQ(leased->job.id, first);
  EXPECT_EQ(leased->job.payload, (Json{{"x", 1}}));
  EXPECT_EQ(leased->job.attempts, 1);
  EXPECT_FALSE(lease());
  clock_.advance(minutes{5});
  EXPECT_TRUE(lease());
}

TEST_F(QueueTest, MakesOneJobForOneIdempotencyKeyEvenAfterItEnded) {
  const NewJob job{.kind = "retrain", .idempotency_key = "alert/17"};
  const auto made = queue_->enqueue(job);
  ASSERT_TRUE(ok(made));
  EXPECT_TRUE(made->created);
  ASSERT_TRUE(ok(queue_->complete(*lease(), {{"run", "r"}})));
  const auto again = queue_->enqueue(job);
  ASSERT_TRUE(ok(again));
  EXPECT_FALSE(again->created);
  EXPECT_EQ(again->id, made->id);
  EXPECT_FALSE(lease());
}

TEST_F(QueueTest, LeavesNoJobWhenTheCallersTransactionFails) {
  const auto written = db_->write([&](db::Transaction& tx) -> Result<void> {
    const auto made = queue_->enqueue(tx, {.kind = "retrain", .idempotency_key = "k"});
    EXPECT_TRUE(ok(made));
    return unavailable("the trigger could not be stored");
  });
  EXPECT_TRUE(failed_with(written, Code::unavailable));
  EXPECT_TRUE(queue_->list({})->empty());
}

TEST_F(QueueTest, TakesBackALeaseThatRanOutAndIgnoresItsLateWorker) {
  const auto id = enqueue();
  const auto slow = lease("slow");
  ASSERT_TRUE(slow);
  clock_.advance(seconds{29});
  EXPECT_FALSE(lease("fast"));
  clock_.advance(seconds{1});
  const auto fast = lease("fast");
  ASSERT_TRUE(fast);
  EXPECT_GT(fast->fence, slow->fence);
  EXPECT_EQ(fast->job.attempts, 2);
  EXPECT_TRUE(failed_with(queue_->heartbeat(*slow, seconds{30}), Code::failed_precondition));
  EXPECT_TRUE(failed_with(queue_->complete(*slow, {}), Code::failed_precondition));
  EXPECT_TRUE(failed_with(queue_->fail(*slow, "late"), Code::failed_precondition));
  EXPECT_TRUE(ok(queue_->complete(*fast, {{"by", "fast"}})));
  EXPECT_EQ(queue_->get(id)->result, (Json{{"by", "fast"}}));
}

TEST_F(QueueTest, KeepsALeaseThatIsRenewed) {
  enqueue();
  const auto held = lease();
  for (int i = 0; i < 5; ++i) {
    clock_.advance(seconds{20});
    const auto wanted = queue_->heartbeat(*held, seconds{30});
    ASSERT_TRUE(ok(wanted));
    EXPECT_TRUE(*wanted);
    EXPECT_FALSE(lease("other"));
  }
}

TEST_F(QueueTest, RetriesWithGrowingDelaysUntilNoAttemptIsLeft) {
  const auto id = enqueue({.kind = "retrain", .max_attempts = 3, .retry_delay = seconds{10}});
  for (const auto delay : {seconds{10}, seconds{20}}) {
    ASSERT_TRUE(ok(queue_->fail(*lease(), "no data")));
    EXPECT_EQ(state(id), JobState::queued);
    clock_.advance(delay - seconds{1});
    EXPECT_FALSE(lease());
    clock_.advance(seconds{1});
  }
  ASSERT_TRUE(ok(queue_->fail(*lease(), "still no data")));
  EXPECT_EQ(state(id), JobState::failed);
  EXPECT_EQ(queue_->get(id)->error, "still no data");
}

TEST_F(QueueTest, FailsAJobWhoseWorkersKeepDying) {
  const auto id = enqueue({.kind = "retrain", .max_attempts = 2});
  for (int i = 0; i < 2; ++i) {
    ASSERT_TRUE(lease());
    clock_.advance(minutes{1});
  }
  EXPECT_FALSE(lease());
  EXPECT_EQ(state(id), JobState::failed);
  EXPECT_NE(queue_->get(id)->error.find("no attempt is left"), std::string::npos);
}

TEST_F(QueueTest, EndsAFinalFailureAtOnceAndDoesNotCountAReleasedAttempt) {
  const auto id = enqueue({.kind = "retrain", .max_attempts = 1});
  ASSERT_TRUE(ok(queue_->release(*lease())));
  EXPECT_EQ(state(id), JobState::queued);
  ASSERT_TRUE(ok(queue_->fail(*lease(), "bad spec", true)));
  EXPECT_EQ(state(id), JobState::failed);
}

TEST_F(QueueTest, CancelsQueuedJobsAtOnceAndRunningOnesByTheirHeartbeat) {
  const auto queued = enqueue({.kind = "retrain", .run_at = test::kNoon2013 + minutes{5}});
  const auto running = enqueue();
  const auto held = lease();
  ASSERT_TRUE(ok(queue_->cancel(queued)));
  EXPECT_EQ(state(queued), JobState::cancelled);
  ASSERT_TRUE(ok(queue_->cancel(running)));
  EXPECT_EQ(state(running), JobState::leased);
  const auto wanted = queue_->heartbeat(*held, seconds{30});
  ASSERT_TRUE(ok(wanted));
  EXPECT_FALSE(*wanted);
  ASSERT_TRUE(ok(queue_->end_cancelled(*held)));
  EXPECT_EQ(state(running), JobState::cancelled);
  EXPECT_TRUE(failed_with(queue_->cancel(running), Code::failed_precondition));
  EXPECT_TRUE(failed_with(queue_->cancel("nothing"), Code::not_found));
}

TEST_F(QueueTest, ListsNewestFirstByKindAndState) {
  enqueue({.kind = "a"});
  clock_.advance(seconds{1});
  enqueue({.kind = "b"});
  clock_.advance(seconds{1});
  enqueue({.kind = "a"});
  const auto all = queue_->list({});
  ASSERT_TRUE(ok(all));
  ASSERT_EQ(all->size(), 3u);
  EXPECT_GT(all->at(0).created, all->at(2).created);
  EXPECT_EQ(queue_->list({.kind = "a"})->size(), 2u);
  EXPECT_TRUE(queue_->list({.state = JobState::failed})->empty());
  EXPECT_EQ(queue_->list({.limit = 1})->size(), 1u);
}

TEST_F(QueueTest, WorkerReportsWhatItsHandlerReturns) {
  Worker worker(*queue_, clock_, {.name = "test"});
  Result<Json> answer = Json{{"run", "1"}};
  worker.handle("retrain", [&](const Context&, const Job&) { return answer; });
  const std::vector<std::tuple<std::string, Result<Json>, JobState>> rows = {
      {"a result", Json{{"run", "1"}}, JobState::succeeded},
      {"an error that may heal", unavailable("busy"), JobState::queued},
      {"an error that cannot heal", invalid_argument("bad"), JobState::failed}};
  for (const auto& [name, result, want] : rows) {
    SCOPED_TRACE(name);
    answer = result;
    const auto id = enqueue();
    const auto worked = worker.step();
    ASSERT_TRUE(ok(worked));
    EXPECT_TRUE(*worked);
    EXPECT_EQ(state(id), want);
  }
  const auto idle = worker.step();
  ASSERT_TRUE(ok(idle));
  EXPECT_FALSE(*idle);
}

TEST_F(QueueTest, StoppedWorkerGivesItsJobBack) {
  const SystemClock clock;
  Worker worker(*queue_, clock, {.name = "test", .poll_every = std::chrono::milliseconds{1}});
  std::promise<void> begun;
  worker.handle("retrain", [&](const Context& ctx, const Job&) -> Result<Json> {
    begun.set_value();
    while (ctx.check()) std::this_thread::yield();
    return cancelled("stopped");
  });
  const auto id = enqueue();
  worker.start();
  begun.get_future().wait();
  worker.stop();
  EXPECT_EQ(state(id), JobState::queued);
  EXPECT_EQ(queue_->get(id)->attempts, 0);
}

}  // namespace
}  // namespace slipway::jobs
