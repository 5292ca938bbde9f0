#include "blob/store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "support/support.h"

namespace slipway::blob {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;

std::unique_ptr<Store> open_store(const fs::path& root) {
  auto store = Store::open(root);
  EXPECT_TRUE(ok(store));
  return store ? std::move(*store) : nullptr;
}

fs::path stored_file(const Store& store, const std::string& sha256) {
  return store.root() / sha256.substr(0, 2) / sha256;
}

// Blobs are read-only files, and root may write them all the same; others need the mode changed
// first.
void overwrite(const fs::path& file, std::string_view bytes) {
  ::chmod(file.c_str(), 0600);
  std::ofstream(file, std::ios::binary | std::ios::trunc) << bytes;
}

std::size_t temporaries(const fs::path& root) {
  std::size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(root / "tmp")) {
    if (entry.is_regular_file() && entry.path().extension() != ".lock" &&
        entry.path().filename() != "lock")
      ++count;
  }
  return count;
}

std::string bytes_of(std::size_t size, char fill) { return std::string(size, fill); }

TEST(Store, GivesBackWhatWasPut) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  const std::vector<std::tuple<std::string, std::string>> rows = {
      {"empty", ""},
      {"short", "hello"},
      {"with NUL", std::string("a\0b", 3)},
      {"more than one read", bytes_of((std::size_t{3} << 20) + 17, 'x')},
  };
  for (const auto& [name, bytes] : rows) {
    SCOPED_TRACE(name);
    const auto by_bytes = store->put_bytes(bytes);
    ASSERT_TRUE(ok(by_bytes));
    EXPECT_EQ(by_bytes->sha256, sha256_hex(bytes));
    EXPECT_EQ(by_bytes->size, static_cast<std::int64_t>(bytes.size()));
    const auto by_file = store->put_file(scratch.file("in.bin", bytes));
    ASSERT_TRUE(ok(by_file));
    EXPECT_EQ(*by_file, *by_bytes);
    const auto read = store->read(by_bytes->sha256);
    ASSERT_TRUE(ok(read));
    EXPECT_EQ(*read, bytes);
    EXPECT_TRUE(store->has(by_bytes->sha256));
    EXPECT_TRUE(ok(store->verify(by_bytes->sha256)));
    const auto path = store->path_of(by_bytes->sha256);
    ASSERT_TRUE(ok(path));
    EXPECT_EQ(read_file(*path).value_or("?"), bytes);
  }
  EXPECT_EQ(temporaries(scratch / "blobs"), 0U);
}

TEST(Store, KeepsBlobsAcrossOpens) {
  const Scratch scratch;
  const auto ref = open_store(scratch / "blobs")->put_bytes("kept");
  ASSERT_TRUE(ok(ref));
  EXPECT_EQ(open_store(scratch / "blobs")->read(ref->sha256).value_or("?"), "kept");
}

TEST(Store, RefusesWhatIsNoDigestAndSaysWhatIsMissing) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  const std::vector<std::string> rows = {"", "abc", "../../etc/passwd", std::string(64, 'A'),
                                         std::string(63, 'a')};
  for (const std::string& wrong : rows) {
    SCOPED_TRACE(wrong);
    EXPECT_EQ(code_of(store->read(wrong)), "invalid_argument");
    EXPECT_FALSE(store->has(wrong));
  }
  const std::string absent(64, 'a');
  EXPECT_EQ(code_of(store->read(absent)), "not_found");
  EXPECT_EQ(code_of(store->path_of(absent)), "not_found");
  EXPECT_EQ(code_of(store->verify(absent)), "not_found");
  EXPECT_NE(message_of(store->read(absent)).find(absent), std::string::npos);
}

TEST(Store, MovesAFileIn) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  const fs::path first = scratch.file("first", "moved");
  const auto ref = store->put_file_moving(first);
  ASSERT_TRUE(ok(ref));
  EXPECT_FALSE(fs::exists(first));
  EXPECT_EQ(store->read(ref->sha256).value_or("?"), "moved");
  const fs::path again = scratch.file("again", "moved");
  EXPECT_TRUE(ok(store->put_file_moving(again)));
  EXPECT_FALSE(fs::exists(again));
}

TEST(Store, CopiesAMovedFileThatHasAnotherName) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  const fs::path file = scratch.file("one", "shared");
  fs::create_hard_link(file, scratch / "two");
  const auto ref = store->put_file_moving(file);
  ASSERT_TRUE(ok(ref));
  std::ofstream(scratch / "two", std::ios::trunc) << "other";
  EXPECT_EQ(store->read(ref->sha256).value_or("?"), "shared");
}

TEST(Store, FindsDamageAndNamesTheBlob) {
  const Scratch scratch;
  const std::string good = bytes_of(100'000, 'g');
  std::string flipped = good;
  flipped[50'000] ^= 1;
  const std::vector<std::tuple<std::string, std::string>> rows = {
      {"one bit flipped", flipped},
      {"cut off", good.substr(0, 99'999)},
      {"emptied", ""},
      {"longer", good + "g"},
  };
  for (const auto& [name, damaged] : rows) {
    SCOPED_TRACE(name);
    const auto store = open_store(scratch / name);
    const auto ref = store->put_bytes(good);
    const auto sound = store->put_bytes("sound");
    ASSERT_TRUE(ok(ref));
    overwrite(stored_file(*store, ref->sha256), damaged);
    for (const auto& result :
         {code_of(store->read(ref->sha256)), code_of(store->verify(ref->sha256))}) {
      EXPECT_EQ(result, "data_loss");
    }
    EXPECT_NE(message_of(store->verify(ref->sha256)).find(ref->sha256), std::string::npos);
    const auto scrubbed = store->scrub({});
    ASSERT_TRUE(ok(scrubbed));
    EXPECT_EQ(*scrubbed, std::vector<std::string>{ref->sha256});
    // Storing the original again mends it.
    ASSERT_TRUE(ok(store->put_bytes(good)));
    EXPECT_EQ(store->read(ref->sha256).value_or("?"), good);
    EXPECT_TRUE(store->scrub({}).value_or({"?"}).empty());
    EXPECT_TRUE(ok(store->verify(sound->sha256)));
  }
}

TEST(Store, StoresOnlyRegularFiles) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  const fs::path secret = scratch.file("secret", "secret");
  fs::create_symlink(secret, scratch / "link");
  ::mkfifo((scratch / "fifo").c_str(), 0600);
  EXPECT_EQ(code_of(store->put_file(scratch / "link")), "invalid_argument");
  EXPECT_EQ(code_of(store->put_file_moving(scratch / "link")), "invalid_argument");
  EXPECT_EQ(code_of(store->put_file(scratch / "fifo")), "invalid_argument");
  EXPECT_EQ(code_of(store->put_file(scratch.path())), "invalid_argument");
  EXPECT_EQ(code_of(store->put_file(scratch / "absent")), "not_found");
}

TEST(Store, RemovesWhatADeadProcessLeftAndSparesTheLiving) {
  const Scratch scratch;
  const fs::path root = scratch / "blobs";
  const auto living = open_store(root);
  const fs::path session = [&] {
    for (const auto& entry : fs::directory_iterator(root / "tmp")) {
      if (entry.is_directory()) return entry.path();
    }
    return fs::path();
  }();
  std::ofstream(session / "half") << "being written";
  const pid_t child = ::fork();
  if (child == 0) {
    // Dies without cleaning up, as by kill -9.
    auto store = Store::open(root);
    if (!store) ::_exit(1);
    for (const auto& entry : fs::directory_iterator(root / "tmp")) {
      if (entry.is_directory() && entry.path() != session)
        std::ofstream(entry.path() / "half") << "lost";
    }
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(temporaries(root), 2U);
  fs::create_directory(root / "tmp" / "session-without-lock");
  const auto next = open_store(root);
  EXPECT_EQ(temporaries(root), 1U);
  EXPECT_TRUE(fs::exists(session / "half"));
  EXPECT_FALSE(fs::exists(root / "tmp" / "session-without-lock"));
}

TEST(Store, TakesEqualBytesFromManyThreads) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  const auto beside = open_store(scratch / "blobs");  // as another process would
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const std::string bytes = "blob " + std::to_string(i) + bytes_of(5000, 'b');
        Store& mine = t % 2 == 0 ? *store : *beside;
        const auto ref = mine.put_bytes(bytes);
        if (!ref || mine.read(ref->sha256).value_or("") != bytes) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_TRUE(store->scrub({}).value_or({"?"}).empty());
  EXPECT_EQ(temporaries(scratch / "blobs"), 0U);
}

TEST(Store, LeavesNothingBehindWhenTheDiskIsFull) {
  const Scratch scratch;
  const fs::path root = scratch / "small";
  fs::create_directory(root);
  if (::mount("tmpfs", root.c_str(), "tmpfs", 0, "size=1m") != 0) {
    GTEST_SKIP() << "a small tmpfs could not be mounted (" << std::generic_category().message(errno)
                 << "); run this test as root to cover a full disk";
  }
  struct Unmount {
    fs::path path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{root};
  const auto store = open_store(root / "blobs");
  const auto kept = store->put_bytes("kept");
  ASSERT_TRUE(ok(kept));
  const std::string large = bytes_of(std::size_t{2} << 20, 'l');
  const auto by_bytes = store->put_bytes(large);
  EXPECT_EQ(code_of(by_bytes), "storage_full");
  EXPECT_NE(message_of(by_bytes).find(root.string()), std::string::npos);
  EXPECT_EQ(code_of(store->put_file(scratch.file("large", large))), "storage_full");
  EXPECT_FALSE(store->has(sha256_hex(large)));
  EXPECT_EQ(temporaries(root / "blobs"), 0U);
  const fs::path mine = scratch.file("mine", large);
  EXPECT_EQ(code_of(store->put_file_moving(mine)), "storage_full");
  EXPECT_TRUE(fs::exists(mine));
  // With space again, writes go on; what was there is still right.
  EXPECT_TRUE(ok(store->put_bytes(large.substr(0, 1000))));
  EXPECT_EQ(store->read(kept->sha256).value_or("?"), "kept");
}

}  // namespace
}  // namespace slipway::blob
