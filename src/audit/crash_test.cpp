// kill -9 at every named point of appending and signing.
#include <gtest/gtest.h>

#include "audit/audit.h"
#include "db/database.h"
#include "support/crash.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::audit {
namespace {

namespace fs = std::filesystem;
using test::ok;

constexpr int kEntries = 8;

void append_and_sign(const fs::path& home) {
  const SystemClock clock;
  const auto db = db::Database::open(test::database_at(home / "slipway.db"), {});
  ASSERT_TRUE(ok(db));
  const auto log = Log::open(**db, home / "keys", clock);
  ASSERT_TRUE(ok(log));
  for (int i = 0; i < kEntries; ++i) {
    const auto entry =
        (*log)->record({"ann", "run.create", "runs/" + std::to_string(i), "", Json::object()});
    ASSERT_TRUE(ok(entry));
    test::note(home, entry->leaf);
    if (i % 2 == 1) ASSERT_TRUE(ok((*log)->checkpoint()));
  }
}

TEST(AuditCrash, KeepsEveryAcknowledgedEntryAndASoundLog) {
  if (!test::crash_home().empty()) return append_and_sign(test::crash_home());
  if (!test::kHasFaultPoints) GTEST_SKIP() << "needs fault points: the debug, asan or tsan preset";
  int kills = 0;
  for (const std::string point : {"audit.before_append", "audit.after_append",
                                  "audit.mid_checkpoint", "file.tmp_full", "file.after_rename"}) {
    for (int hit = 1; hit <= 4; ++hit) {
      SCOPED_TRACE(point + " " + std::to_string(hit));
      const test::Scratch scratch;
      const int status = test::run_with_fault("AuditCrash.KeepsEveryAcknowledgedEntryAndASoundLog",
                                              point + ":" + std::to_string(hit), scratch.path());
      ASSERT_TRUE(test::killed(status)) << status;
      ++kills;
      const SystemClock clock;
      const auto db = db::Database::open(test::database_at(scratch / "slipway.db"), {});
      ASSERT_TRUE(ok(db));
      const auto log = Log::open(**db, scratch / "keys", clock);
      ASSERT_TRUE(ok(log));
      EXPECT_TRUE(ok((*log)->status()));
      const auto verification = (*log)->verify();
      ASSERT_TRUE(ok(verification));
      EXPECT_TRUE(verification->ok) << verification->reason;
      const auto entries = (*log)->list({.action_prefix = "run."});
      ASSERT_TRUE(ok(entries));
      const auto acknowledged = test::notes(scratch.path());
      ASSERT_GE(entries->size(), acknowledged.size());
      for (std::size_t i = 0; i < acknowledged.size(); ++i)
        EXPECT_EQ((*entries)[i].leaf, acknowledged[i]);
      // And it goes on.
      EXPECT_TRUE(ok((*log)->record({"ann", "run.create", "runs/more", "", Json::object()})));
      EXPECT_TRUE(ok((*log)->checkpoint()));
      EXPECT_TRUE((*log)->verify()->ok);
    }
  }
  std::printf("audit writes killed: %d, violations: 0 when this test passes\n", kills);
}

}  // namespace
}  // namespace slipway::audit
