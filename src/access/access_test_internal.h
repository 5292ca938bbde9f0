// For the tests of this folder: a directory in a scratch home, with a clock that stands still,
// predictable ids, and passwords that cost next to nothing.
#pragma once
#include <gtest/gtest.h>

#include "access/directory.h"
#include "support/database.h"
#include "support/opened.h"
#include "support/support.h"

namespace slipway::access {

inline constexpr HashCost kCheap{.passes = 1, .memory_bytes = 8192};
inline constexpr const char* kGood = "a long enough secret";

class AccessTest : public testing::Test {
 protected:
  void SetUp() override {
    db_ = test::opened(
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = test::opened(audit::Log::open(*db_, scratch_ / "keys", clock_));
    directory_ = open();
    ctx_.principal.name = "root";
  }
  std::unique_ptr<Directory> open() {
    auto directory = Directory::open(*db_, *audit_, clock_, ids_, kCheap);
    EXPECT_TRUE(test::ok(directory));
    return directory ? *std::move(directory) : nullptr;
  }
  void add(const std::string& name, bool admin = false) {
    auto added = directory_->add_user(ctx_, {.name = name, .password = kGood, .admin = admin});
    ASSERT_TRUE(test::ok(added));
  }
  void grant(const std::string& user, const std::string& resource, Level level) {
    auto on = Resource::parse(resource);
    ASSERT_TRUE(test::ok(on));
    ASSERT_TRUE(test::ok(directory_->grant(ctx_, {.user = user}, *on, level)));
  }
  Identity identity(const std::string& name, Scope scope = {}) const {
    const auto snapshot = directory_->snapshot();
    const User* user = snapshot->user_named(name);
    EXPECT_NE(user, nullptr) << name;
    return user == nullptr ? Identity{} : Identity{user->id, user->name, std::move(scope), "t1"};
  }
  std::vector<std::string> actions() const {
    auto entries = audit_->list({.after = 0});  // without the first, which names the log's key
    EXPECT_TRUE(test::ok(entries));
    std::vector<std::string> all;
    if (entries) {
      for (const auto& entry : *entries) all.push_back(entry.event.action);
    }
    return all;
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Context ctx_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<Directory> directory_;
};

}  // namespace slipway::access
