#include <gtest/gtest.h>

#include "feedback/labels.h"
#include "feedback/loop.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::feedback {
namespace {

using test::failed_with;
using test::ok;

TEST(LabelStore, KeepsTheNewestByItsOwnTime) {
  const test::Scratch scratch;
  const ManualClock clock(test::kNoon2013);
  auto db = db::Database::open(test::database_at(scratch / "test.db"), {});
  ASSERT_TRUE(ok(db));
  auto store = LabelStore::open(**db, clock);
  ASSERT_TRUE(ok(store));
  const Time early = test::kNoon2013;
  const Time late = early + std::chrono::hours(1);
  ASSERT_TRUE(ok((*store)->add("late", std::array{Label{"a", 1, late}, Label{"b", 0, early}})));
  ASSERT_TRUE(ok((*store)->add(
      "late", std::array{Label{"a", 0, early}, Label{"b", 1, late}})));  // the first is outdated
  const std::vector<std::string> ids = {"a", "b", "c"};
  auto found = (*store)->labels("late", ids);
  ASSERT_TRUE(ok(found));
  EXPECT_EQ((*found)[0], 1.0);
  EXPECT_EQ((*found)[1], 1.0);
  EXPECT_EQ((*found)[2], std::nullopt);
  auto known_early = (*store)->find(ids, early);
  ASSERT_TRUE(ok(known_early));
  EXPECT_FALSE((*known_early)[0].has_value());
  EXPECT_EQ(*(*store)->count("late"), 2);
  EXPECT_TRUE(
      failed_with((*store)->add("late", std::array{Label{"d", 1, early}, Label{"", 1, early}}),
                  Code::invalid_argument));
  EXPECT_EQ(*(*store)->count("late"), 2);  // all or none
}

TEST(Judge, DecidesByTheIntervalAndTheTimeInShadow) {
  const PromotionSpec spec{.min_labelled = 1000};
  EXPECT_EQ(spec.looks(), 2);
  EXPECT_DOUBLE_EQ(spec.confidence_of_a_look(), 0.975);
  struct Row {
    const char* name;
    std::int64_t rows;
    double low, high;
    Duration in_shadow;
    Verdict::Kind want;
  };
  const Duration week = std::chrono::days(7);
  const std::vector<Row> rows = {
      {"clearly better", 5000, 0.01, 0.03, week, Verdict::Kind::promote},
      {"clearly worse", 5000, -0.03, -0.01, week, Verdict::Kind::refuse},
      {"undecided, time left", 5000, -0.01, 0.01, week, Verdict::Kind::wait},
      {"undecided at the end", 5000, -0.01, 0.01, 2 * week, Verdict::Kind::refuse},
      {"too few labels, time left", 10, 0.01, 0.03, week, Verdict::Kind::wait},
      {"too few labels at the end", 10, 0.01, 0.03, 2 * week, Verdict::Kind::refuse},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    const evaluation::Comparison comparison{
        .metric = evaluation::Metric::log_loss, .rows = row.rows, .low = row.low, .high = row.high};
    const Verdict verdict = judge(spec, comparison, row.in_shadow);
    EXPECT_EQ(verdict.kind, row.want) << verdict.reason;
    EXPECT_FALSE(verdict.reason.empty());
  }
}

TEST(LoopSpec, NamesWhatIsWrong) {
  auto document = SpecDocument::parse(
      "retrain:\n  - {name: c, pipeline: r.yaml}\npromotion: {metric: auk, confidence: 2}\n",
      "p.yaml");
  ASSERT_TRUE(ok(document));
  SpecReader reader(*document);
  LoopSpec::read(reader);
  const auto outcome = reader.finish();
  ASSERT_TRUE(failed_with(outcome, Code::invalid_argument));
  for (const char* part : {"would never start", "auk", "confidence"}) {
    EXPECT_NE(outcome.error().message.find(part), std::string::npos) << outcome.error().message;
  }
}

}  // namespace
}  // namespace slipway::feedback
