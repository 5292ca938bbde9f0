// For the tests of this folder: a log in a scratch home, and a hand that changes the database
// behind its back.
#pragma once
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <string>

#include "audit/audit.h"
#include "db/database.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::audit {

struct TestHome {
  TestHome() { open(); }

  void open() {
    auto database =
        db::Database::open(test::database_at(scratch / "slipway.db"), {.durable = false});
    ASSERT_TRUE(test::ok(database));
    db = std::move(*database);
    auto opened = Log::open(*db, keys(), clock);
    ASSERT_TRUE(test::ok(opened));
    log = std::move(*opened);
  }

  void close() {
    log.reset();
    db.reset();
  }

  std::filesystem::path keys() const { return scratch / "keys"; }

  static Event event(std::int64_t number) {
    return {"ann",
            "alias.set",
            "models/flights@champion",
            std::string(64, 'd'),
            {{"version", number}, {"why", "gate"}}};
  }

  void append(int count) {
    for (int i = 0; i < count; ++i) {
      clock.advance(std::chrono::seconds(1));
      ASSERT_TRUE(test::ok(log->record(event(++appended))));
    }
  }

  void sign() { ASSERT_TRUE(test::ok(log->checkpoint())); }

  // Past the triggers that guard against accidents.
  void tamper(std::string_view sql) {
    auto done = db->write([&](db::Transaction& tx) -> Result<void> {
      for (const std::string_view statement :
           {std::string_view("DROP TRIGGER IF EXISTS audit_entries_no_update"),
            std::string_view("DROP TRIGGER IF EXISTS audit_entries_no_delete"), sql}) {
        if (auto ran = tx.run(statement); !ran) return ran;
      }
      return {};
    });
    ASSERT_TRUE(test::ok(done));
  }

  Verification verify(const VerifyOptions& options = {}) const {
    auto verification = log->verify(options);
    EXPECT_TRUE(test::ok(verification));
    return verification ? *verification : Verification{};
  }

  test::Scratch scratch;
  ManualClock clock{test::kNoon2013};
  std::int64_t appended = 0;
  std::unique_ptr<db::Database> db;
  std::unique_ptr<Log> log;
};

}  // namespace slipway::audit
