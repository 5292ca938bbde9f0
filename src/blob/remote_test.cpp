#include "blob/remote.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>

#include "base/file.h"
#include "base/hash.h"
#include "blob/store.h"
#include "blob/sweep.h"
#include "support/support.h"

namespace slipway::blob {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::ok;
using test::Scratch;

// An object store in memory that fails when it is told to.
class FakeRemote final : public Remote {
 public:
  struct State {
    std::map<std::string, std::pair<std::string, Time>> objects;
    bool down = false;
    int puts = 0;
    int gets = 0;
  };
  explicit FakeRemote(std::shared_ptr<State> state) : state_(std::move(state)) {}

  Result<void> put(const std::string& sha256, const fs::path& file) override {
    if (state_->down) return unavailable("down");
    auto bytes = read_file(file);
    if (!bytes) return bytes.error();
    ++state_->puts;
    state_->objects[sha256] = {*bytes, SystemClock().now()};
    return {};
  }
  Result<RemoteObject> find(const std::string& sha256) override {
    if (state_->down) return unavailable("down");
    const auto at = state_->objects.find(sha256);
    if (at == state_->objects.end()) return not_found("no object " + sha256);
    return RemoteObject{sha256, std::ssize(at->second.first), at->second.second};
  }
  Result<void> get(const std::string& sha256, int fd) override {
    if (state_->down) return unavailable("down");
    const auto at = state_->objects.find(sha256);
    if (at == state_->objects.end()) return not_found("no object " + sha256);
    ++state_->gets;
    const std::string& bytes = at->second.first;
    return ::write(fd, bytes.data(), bytes.size()) == std::ssize(bytes)
               ? Result<void>()
               : Result<void>(internal("short write"));
  }
  Result<void> remove(const std::string& sha256) override {
    state_->objects.erase(sha256);
    return {};
  }
  Result<std::vector<RemoteObject>> list(const std::string& first_two) override {
    std::vector<RemoteObject> found;
    for (const auto& [sha256, object] : state_->objects) {
      if (sha256.starts_with(first_two))
        found.push_back({sha256, std::ssize(object.first), object.second});
    }
    return found;
  }
  std::string name() const override { return "fake://bucket"; }

 private:
  std::shared_ptr<State> state_;
};

struct World {
  Scratch scratch;
  std::shared_ptr<FakeRemote::State> bucket = std::make_shared<FakeRemote::State>();
  std::unique_ptr<Store> store = open();

  std::unique_ptr<Store> open(std::int64_t cache_bytes = 1'000'000'000) const {
    auto opened = Store::open(scratch / "cache", std::make_unique<FakeRemote>(bucket),
                              {.cache_bytes = cache_bytes});
    EXPECT_TRUE(ok(opened));
    return std::move(*opened);
  }
  fs::path cached(const std::string& sha256) const {
    return scratch / "cache" / sha256.substr(0, 2) / sha256;
  }
};

TEST(RemoteStore, AcknowledgesWhatTheBucketHas) {
  World world;
  const auto ref = world.store->put_bytes("kept");
  ASSERT_TRUE(ok(ref));
  EXPECT_EQ(world.bucket->objects.at(ref->sha256).first, "kept");
  ASSERT_TRUE(ok(world.store->put_bytes("kept")));
  EXPECT_EQ(world.bucket->puts, 1) << "it was there, and young";
  fs::remove_all(world.scratch / "cache");
  world.store = world.open();
  EXPECT_TRUE(world.store->has(ref->sha256));
  EXPECT_EQ(world.bucket->gets, 0) << "asking is no reason to fetch";
  EXPECT_EQ(world.store->read(ref->sha256).value_or("?"), "kept");
  EXPECT_EQ(world.store->read(ref->sha256).value_or("?"), "kept");
  EXPECT_EQ(world.bucket->gets, 1);
  EXPECT_EQ(code_of(world.store->read(std::string(64, 'a'))), "not_found");
}

TEST(RemoteStore, RefusesWhatTheBucketDoesNotTake) {
  World world;
  world.bucket->down = true;
  EXPECT_EQ(code_of(world.store->put_bytes("lost")), "unavailable");
  world.bucket->down = false;
  EXPECT_FALSE(world.store->has(sha256_hex("lost")));
  EXPECT_FALSE(fs::exists(world.cached(sha256_hex("lost"))));
}

TEST(RemoteStore, PutsAgainWhatIsOnlyInTheCache) {
  World world;
  const auto ref = world.store->put_bytes("bytes");
  ASSERT_TRUE(ok(ref));
  world.bucket->objects.clear();  // another machine collected it
  ASSERT_TRUE(ok(world.store->put_bytes("bytes")));
  EXPECT_TRUE(world.bucket->objects.contains(ref->sha256));
}

TEST(RemoteStore, MakesOldObjectsYoungWhenTheyArePutAgain) {
  World world;
  const auto ref = world.store->put_bytes("bytes");
  ASSERT_TRUE(ok(ref));
  auto& put = world.bucket->objects.at(ref->sha256).second;
  put -= std::chrono::hours{48};
  const Time old = put;
  ASSERT_TRUE(ok(world.store->put_bytes("bytes")));
  EXPECT_GT(world.bucket->objects.at(ref->sha256).second, old);
}

TEST(RemoteStore, FetchesADamagedCopyAgainAndNeverGivesDamagedObjects) {
  World world;
  const auto ref = world.store->put_bytes("right");
  ASSERT_TRUE(ok(ref));
  fs::permissions(world.cached(ref->sha256), fs::perms::owner_all);
  std::ofstream(world.cached(ref->sha256)) << "wrong";
  EXPECT_EQ(code_of(world.store->read(ref->sha256)), "data_loss");
  EXPECT_EQ(world.store->read(ref->sha256).value_or("?"), "right");
  fs::remove(world.cached(ref->sha256));
  world.bucket->objects.at(ref->sha256).first = "wrong";
  EXPECT_EQ(code_of(world.store->read(ref->sha256)), "data_loss");
  EXPECT_FALSE(fs::exists(world.cached(ref->sha256)));
  EXPECT_EQ(world.store->scrub({}).value_or({}), std::vector{ref->sha256});
}

TEST(RemoteStore, KeepsItsCacheSmallButNotWhatIsInUse) {
  World world;
  world.store = world.open(3000);
  std::vector<std::string> all;
  for (char c = 'a'; c < 'g'; ++c) {
    const auto ref = world.store->put_bytes(std::string(1000, c));
    ASSERT_TRUE(ok(ref));
    all.push_back(ref->sha256);
  }
  for (const std::string& sha256 : all) EXPECT_TRUE(fs::exists(world.cached(sha256)));
  for (const std::string& sha256 : all) {
    fs::last_write_time(world.cached(sha256),
                        fs::file_time_type::clock::now() - std::chrono::hours{1});
  }
  world.store = world.open(3000);  // a new process: it has used none of them
  ASSERT_TRUE(ok(world.store->put_bytes("new")));
  const auto left = std::ranges::count_if(
      all, [&](const std::string& sha256) { return fs::exists(world.cached(sha256)); });
  EXPECT_LE(left, 2);
  for (const std::string& sha256 : all) EXPECT_TRUE(ok(world.store->verify(sha256)));
}

TEST(RemoteStore, IsSweptInTheBucketAndInTheCache) {
  World world;
  const auto garbage = world.store->put_bytes("garbage");
  const auto kept = world.store->put_bytes("kept");
  ASSERT_TRUE(ok(garbage));
  LiveSet live;
  live.add(kept->sha256, live.kind_index("files"), true);
  live.finish();
  const Time yesterday =
      std::chrono::time_point_cast<Duration>(SystemClock().now() - std::chrono::hours{24});
  auto swept = sweep({}, *world.store, live, {.put_before = yesterday});
  ASSERT_TRUE(ok(swept));
  EXPECT_EQ(swept->young.count, 1);
  world.bucket->objects.at(garbage->sha256).second -= std::chrono::hours{48};
  swept = sweep({}, *world.store, live, {.put_before = yesterday});
  ASSERT_TRUE(ok(swept));
  EXPECT_EQ(swept->garbage.count, 1);
  EXPECT_FALSE(world.store->has(garbage->sha256));
  EXPECT_EQ(world.store->read(kept->sha256).value_or("?"), "kept");
}

TEST(OpenRemote, SaysWhatIsWrongWithAUrl) {
  for (const std::string url : {"", "s3://", "ftp://bucket", "bucket/x"})
    EXPECT_EQ(code_of(open_remote(url)), "invalid_argument") << url;
  const auto secret = open_remote("s3://key:hidden@bucket/x");
  EXPECT_EQ(code_of(secret), "invalid_argument");
  EXPECT_EQ(test::message_of(secret).find("hidden"), std::string::npos);
}

}  // namespace
}  // namespace slipway::blob
