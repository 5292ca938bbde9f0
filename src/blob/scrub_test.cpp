#include "blob/scrub.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>

#include "support/support.h"

namespace slipway::blob {
namespace {

using test::code_of;
using test::ok;

struct ScrubTest : ::testing::Test {
  void SetUp() override {
    auto opened = Store::open(scratch / "blobs");
    ASSERT_TRUE(ok(opened));
    store = *std::move(opened);
    for (int i = 0; i < 20; ++i) {
      const auto ref = store->put_bytes(std::string(static_cast<std::size_t>(i), 'x'));
      ASSERT_TRUE(ok(ref));
      digests.push_back(ref->sha256);
    }
  }
  test::Scratch scratch;
  std::unique_ptr<Store> store;
  std::vector<std::string> digests;
};

TEST_F(ScrubTest, ReadsEveryBlobAndNamesTheDamagedOnes) {
  const auto file = store->root() / digests[7].substr(0, 2) / digests[7];
  ::chmod(file.c_str(), 0600);
  std::ofstream(file, std::ios::binary | std::ios::trunc) << "xxxxxxy";
  std::int64_t calls = 0;
  Scrubbed last;
  const auto scrubbed = scrub({}, *store, [&](const Scrubbed& done, const Scrubbed& all) {
    EXPECT_EQ(done.blobs, calls++);
    EXPECT_EQ(all.blobs, 20);
    EXPECT_EQ(all.bytes, 190);
    last = done;
  });
  ASSERT_TRUE(ok(scrubbed));
  EXPECT_EQ(scrubbed->damaged, std::vector{digests[7]});
  EXPECT_EQ(scrubbed->blobs, 20);
  EXPECT_EQ(scrubbed->bytes, 190);
  EXPECT_EQ(last.bytes, 190);
}

TEST_F(ScrubTest, EndsWhenItIsCalledOff) {
  std::stop_source stop;
  Context ctx;
  ctx.stop = stop.get_token();
  const auto scrubbed = scrub(ctx, *store, [&](const Scrubbed& done, const Scrubbed&) {
    EXPECT_LE(done.blobs, 3);
    if (done.blobs == 3) stop.request_stop();
  });
  EXPECT_EQ(code_of(scrubbed), "cancelled");
}

}  // namespace
}  // namespace slipway::blob
