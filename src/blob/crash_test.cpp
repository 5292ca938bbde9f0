// kill -9 and I/O errors at every named point of a write.
#include <gtest/gtest.h>

#include "base/hash.h"
#include "blob/store.h"
#include "blob/stream.h"
#include "support/crash.h"
#include "support/support.h"

namespace slipway::blob {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::ok;

std::string content(int number) {
  return "blob " + std::to_string(number) + std::string(2'000'000, 'c');
}

// One blob of each way to put it, each noted once it is acknowledged.
void put_four(const fs::path& home) {
  const auto store = Store::open(home / "blobs");
  ASSERT_TRUE(ok(store));
  const auto put = [&](const Result<Ref>& ref) {
    if (ref) test::note(home, ref->sha256);
  };
  put((*store)->put_bytes(content(1)));
  std::ofstream(home / "two") << content(2);
  put((*store)->put_file(home / "two"));
  std::ofstream(home / "three") << content(3);
  put((*store)->put_file_moving(home / "three"));
  auto writer = Writer::open(**store);
  ASSERT_TRUE(ok(writer));
  const std::string pieces = content(4);
  for (std::size_t at = 0; at < pieces.size(); at += 500'000)
    ASSERT_TRUE(ok((*writer)->append(std::string_view(pieces).substr(at, 500'000))));
  put((*writer)->commit());
}

TEST(BlobCrash, LeavesAcknowledgedBlobsWholeAndNothingHalfWritten) {
  if (!test::crash_home().empty()) return put_four(test::crash_home());
  if (!test::kHasFaultPoints) GTEST_SKIP() << "needs fault points: the debug, asan or tsan preset";
  int kills = 0;
  for (const std::string point :
       {"tmp_partial", "tmp_full", "fsync", "after_fsync", "after_rename"}) {
    for (int hit = 1; hit <= 4; ++hit) {
      SCOPED_TRACE(point + " " + std::to_string(hit));
      const test::Scratch scratch;
      const int status =
          test::run_with_fault("BlobCrash.LeavesAcknowledgedBlobsWholeAndNothingHalfWritten",
                               "blob." + point + ":" + std::to_string(hit), scratch.path());
      ASSERT_TRUE(test::killed(status)) << status;
      ++kills;
      const auto store = Store::open(scratch / "blobs");
      ASSERT_TRUE(ok(store));
      for (const std::string& sha256 : test::notes(scratch.path()))
        EXPECT_TRUE(ok((*store)->verify(sha256)));
      const auto damaged = (*store)->scrub({});
      ASSERT_TRUE(ok(damaged));
      EXPECT_TRUE(damaged->empty());
      for (const auto& entry : fs::recursive_directory_iterator(scratch / "blobs/tmp")) {
        if (entry.is_regular_file())
          EXPECT_LT(entry.file_size(), 1U) << entry.path();  // lock files only
      }
      // The work can be done again, and then all of it is there.
      for (int i = 1; i <= 4; ++i) EXPECT_TRUE(ok((*store)->put_bytes(content(i))));
    }
  }
  std::printf("blob writes killed: %d, violations: 0 when this test passes\n", kills);
}

TEST(BlobCrash, TakesNoWritesAfterAFailedFsync) {
  if (const fs::path home = test::crash_home(); !home.empty()) {
    const auto store = Store::open(home / "blobs");
    ASSERT_TRUE(ok(store));
    const auto sound = (*store)->put_bytes("sound");
    ASSERT_TRUE(ok(sound));
    test::note(home, code_of((*store)->put_bytes("hit by the error")));
    test::note(home, code_of((*store)->put_bytes("later")));
    test::note(home, code_of((*store)->put_file(home / "acknowledged")));
    test::note(home, (*store)->read(sound->sha256).value_or("?"));
    return;
  }
  if (!test::kHasFaultPoints) GTEST_SKIP() << "needs fault points: the debug, asan or tsan preset";
  const test::Scratch scratch;
  // A first blob passes the point three times: the file, the root of its new folder, the folder.
  const int status = test::run_with_fault("BlobCrash.TakesNoWritesAfterAFailedFsync",
                                          "blob.fsync:4:eio", scratch.path());
  ASSERT_TRUE(test::finished(status)) << status;
  EXPECT_EQ(test::notes(scratch.path()),
            (std::vector<std::string>{"internal", "unavailable", "unavailable", "sound"}));
  const auto store = Store::open(scratch / "blobs");
  ASSERT_TRUE(ok(store));
  EXPECT_FALSE((*store)->has(sha256_hex("hit by the error")));
  EXPECT_TRUE(ok((*store)->put_bytes("later")));
}

TEST(BlobCrash, LeavesNothingOfAWriteThatFailed) {
  if (const fs::path home = test::crash_home(); !home.empty()) {
    const auto store = Store::open(home / "blobs");
    ASSERT_TRUE(ok(store));
    test::note(home, code_of((*store)->put_bytes(content(1))));
    std::size_t files = 0;
    for (const auto& entry : fs::recursive_directory_iterator(home / "blobs")) {
      if (entry.is_regular_file() && entry.file_size() > 0) ++files;
    }
    test::note(home, std::to_string(files));
    return;
  }
  if (!test::kHasFaultPoints) GTEST_SKIP() << "needs fault points: the debug, asan or tsan preset";
  for (const std::string point : {"tmp_partial", "tmp_full", "after_fsync"}) {
    SCOPED_TRACE(point);
    const test::Scratch scratch;
    const int status = test::run_with_fault("BlobCrash.LeavesNothingOfAWriteThatFailed",
                                            "blob." + point + ":1:enospc", scratch.path());
    ASSERT_TRUE(test::finished(status)) << status;
    EXPECT_EQ(test::notes(scratch.path()), (std::vector<std::string>{"storage_full", "0"}));
  }
}

}  // namespace
}  // namespace slipway::blob
