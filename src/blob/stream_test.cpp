#include "blob/stream.h"

#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <thread>

#include "base/hash.h"
#include "blob/multipart.h"
#include "support/support.h"

namespace slipway::blob {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::ok;
using test::Scratch;

std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>('a' + (i * 7 + i / 251) % 26);
  return bytes;
}

class StreamTest : public testing::Test {
 protected:
  StreamTest() : store_(std::move(*Store::open(scratch_ / "blobs"))) {}

  fs::path file_of(const std::string& sha256) const {
    return store_->root() / sha256.substr(0, 2) / sha256;
  }
  void overwrite(const std::string& sha256, std::string_view bytes) const {
    ::chmod(file_of(sha256).c_str(), 0600);
    std::ofstream(file_of(sha256), std::ios::binary | std::ios::trunc) << bytes;
  }
  std::size_t temporaries() const {
    std::size_t count = 0;
    for (const auto& entry : fs::recursive_directory_iterator(store_->root() / "tmp")) {
      const auto name = entry.path().filename();
      if (entry.is_regular_file() && entry.path().extension() != ".lock" && name != "lock") ++count;
    }
    return count;
  }
  Result<Ref> write(std::string_view bytes, std::size_t piece, std::string_view wanted = {}) {
    auto writer = Writer::open(*store_);
    if (!writer) return writer.error();
    for (std::size_t at = 0; at < bytes.size(); at += piece) {
      if (auto put = (*writer)->append(bytes.substr(at, piece)); !put) return put.error();
    }
    return (*writer)->commit(wanted);
  }
  // All of it, or the error; `got` has what came before it.
  static Result<void> drain(Reader& reader, std::size_t piece, std::string& got) {
    std::string buffer(piece, '\0');
    while (true) {
      auto count = reader.read(buffer);
      if (!count) return count.error();
      if (*count == 0) return {};
      got.append(buffer, 0, *count);
    }
  }

  Scratch scratch_;
  std::unique_ptr<Store> store_;
};

TEST_F(StreamTest, WritesAndReadsInPieces) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{100'000}, std::size_t{20'000'003}}) {
    SCOPED_TRACE(size);
    const std::string bytes = pattern(size);
    const auto ref = write(bytes, 70'001, sha256_hex(bytes));
    ASSERT_TRUE(ok(ref));
    EXPECT_EQ(ref->sha256, sha256_hex(bytes));
    EXPECT_EQ(ref->size, static_cast<std::int64_t>(size));
    EXPECT_TRUE(ok(store_->verify(ref->sha256)));
    auto reader = Reader::open(*store_, ref->sha256);
    ASSERT_TRUE(ok(reader));
    EXPECT_EQ((*reader)->size(), ref->size);
    std::string got;
    EXPECT_TRUE(ok(drain(**reader, 4097, got)));
    EXPECT_EQ(got, bytes);
  }
  EXPECT_EQ(temporaries(), 0U);
}

TEST_F(StreamTest, NothingIsLeftOfAWriterThatWasDroppedOrHadOtherBytes) {
  {
    auto writer = Writer::open(*store_);
    ASSERT_TRUE(ok(writer));
    EXPECT_TRUE(ok((*writer)->append("abc")));
    EXPECT_EQ(temporaries(), 1U);
  }
  EXPECT_EQ(temporaries(), 0U);
  EXPECT_FALSE(store_->has(sha256_hex("abc")));
  EXPECT_EQ(code_of(write("abc", 10, sha256_hex("abd"))), "invalid_argument");
  EXPECT_FALSE(store_->has(sha256_hex("abc")));
  EXPECT_EQ(temporaries(), 0U);
}

TEST_F(StreamTest, ReadsParts) {
  const std::string bytes = pattern(300'000);
  const auto ref = write(bytes, 100'000);
  ASSERT_TRUE(ok(ref));
  struct Row {
    std::int64_t offset;
    std::int64_t length;
    bool fits;
  };
  for (const auto& [offset, length, fits] :
       {Row{0, 300'000, true}, Row{0, 10, true}, Row{299'999, 1, true}, Row{300'000, 0, true},
        Row{100, 299'901, false}, Row{-1, 5, false}, Row{400'000, 1, false}, Row{0, -1, false}}) {
    SCOPED_TRACE(std::to_string(offset) + "+" + std::to_string(length));
    auto reader = Reader::open(*store_, ref->sha256, offset, length);
    if (!fits) {
      EXPECT_EQ(code_of(reader), "invalid_argument");
      continue;
    }
    ASSERT_TRUE(ok(reader));
    std::string got;
    EXPECT_TRUE(ok(drain(**reader, 7000, got)));
    EXPECT_EQ(got,
              bytes.substr(static_cast<std::size_t>(offset), static_cast<std::size_t>(length)));
  }
}

TEST_F(StreamTest, NeverGivesTheLastPieceOfDamagedBytes) {
  const std::string bytes = pattern(300'000);
  const auto ref = write(bytes, 100'000);
  ASSERT_TRUE(ok(ref));
  std::string changed = bytes;
  changed[5] ^= 1;
  struct Row {
    std::string name;
    std::string bytes;
  };
  for (const auto& [name, now] : {Row{"changed", changed}, Row{"shorter", bytes.substr(0, 200'000)},
                                  Row{"longer", bytes + "x"}, Row{"empty", ""}}) {
    SCOPED_TRACE(name);
    overwrite(ref->sha256, now);
    std::string got;
    auto reader = Reader::open(*store_, ref->sha256);
    const auto read = reader ? drain(**reader, 70'000, got) : Result<void>(reader.error());
    EXPECT_EQ(code_of(read), "data_loss");
    EXPECT_NE(test::message_of(read).find(ref->sha256), std::string::npos);
    EXPECT_LT(got.size(), std::max<std::size_t>(now.size(), 1));
    // A part cannot be compared, so the whole is looked at first.
    EXPECT_EQ(code_of(Reader::open(*store_, ref->sha256, 0, 1)), "data_loss");
    EXPECT_EQ(code_of(check_once(*store_, ref->sha256)), "data_loss");
    EXPECT_EQ(code_of(keep(*store_, ref->sha256)), "data_loss");
  }
  // The right bytes once more repair it.
  EXPECT_TRUE(ok(write(bytes, 100'000)));
  EXPECT_TRUE(ok(check_once(*store_, ref->sha256)));
}

TEST_F(StreamTest, NoticesBytesThatChangeWhileTheyAreRead) {
  const std::string bytes = pattern(300'000);
  const auto ref = write(bytes, 100'000);
  ASSERT_TRUE(ok(ref));
  auto reader = Reader::open(*store_, ref->sha256);
  ASSERT_TRUE(ok(reader));
  std::string buffer(100'000, '\0');
  ASSERT_TRUE(ok((*reader)->read(buffer)));
  ::chmod(file_of(ref->sha256).c_str(), 0600);
  fs::resize_file(file_of(ref->sha256), 150'000);
  std::string got;
  EXPECT_EQ(code_of(drain(**reader, 100'000, got)), "data_loss");
}

TEST_F(StreamTest, WhatIsMissingIsNotFound) {
  const std::string nothing(64, '0');
  EXPECT_EQ(code_of(Reader::open(*store_, nothing)), "not_found");
  EXPECT_EQ(code_of(check_once(*store_, nothing)), "not_found");
  EXPECT_EQ(code_of(keep(*store_, nothing)), "not_found");
  EXPECT_EQ(code_of(Reader::open(*store_, "../../etc/passwd")), "invalid_argument");
}

TEST(StreamOnAFullDisk, GivesTheRoomBack) {
  const Scratch scratch;
  const fs::path root = scratch / "small";
  fs::create_directory(root);
  if (::mount("tmpfs", root.c_str(), "tmpfs", 0, "size=1m") != 0)
    GTEST_SKIP() << "a small tmpfs could not be mounted; run this test as root";
  struct Unmount {
    fs::path path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } const unmount{root};
  auto store = Store::open(root / "blobs");
  ASSERT_TRUE(ok(store));
  {
    auto writer = Writer::open(**store);
    ASSERT_TRUE(ok(writer));
    Result<void> put;
    for (int i = 0; i < 20 && put; ++i) put = (*writer)->append(std::string(100'000, 'x'));
    EXPECT_EQ(code_of(put), "storage_full");
  }
  ManualClock clock{test::kNoon2013};
  SequentialIds ids;
  Multipart multipart(**store, clock, ids);
  const auto id = multipart.create("file", 3);
  ASSERT_TRUE(ok(id));
  const auto part = [&](int number) -> Result<std::string> {
    auto made = multipart.part(*id, number);
    if (!made) return made.error();
    for (int i = 0; i < 4; ++i) {
      if (auto put = (*made)->append(std::string(100'000, 'y')); !put) return put.error();
    }
    return (*made)->finish();
  };
  EXPECT_TRUE(ok(part(1)));
  EXPECT_EQ(code_of(part(2)), "storage_full");
  EXPECT_TRUE(ok(multipart.abort(*id, "file")));
  EXPECT_TRUE(ok((*store)->put_bytes(std::string(900'000, 'z'))));
}

class MultipartTest : public StreamTest {
 protected:
  Result<std::string> put(const std::string& id, int number, std::string_view bytes) {
    auto part = multipart_.part(id, number);
    if (!part) return part.error();
    if (auto appended = (*part)->append(bytes); !appended) return appended.error();
    return (*part)->finish();
  }

  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Multipart multipart_{*store_, clock_, ids_, {.uploads = 3, .parts = 100}};
};

TEST_F(MultipartTest, JoinsPartsInWhateverOrderTheyCome) {
  for (const std::vector<int>& order :
       {std::vector{1, 2, 3, 4}, std::vector{4, 3, 2, 1}, std::vector{2, 1, 4, 3}}) {
    const auto id = multipart_.create("file", 4);
    ASSERT_TRUE(ok(id));
    std::vector<Multipart::PartRef> parts;
    for (const int number : order) {
      const auto etag = put(*id, number, std::string(50'000, static_cast<char>('0' + number)));
      ASSERT_TRUE(ok(etag));
      parts.push_back({number, number % 2 == 0 ? '"' + *etag + '"' : *etag});
    }
    const auto ref = multipart_.complete(*id, "file", parts);
    ASSERT_TRUE(ok(ref));
    std::string whole;
    for (char c = '1'; c <= '4'; ++c) whole += std::string(50'000, c);
    EXPECT_EQ(store_->read(ref->sha256).value_or("?"), whole);
    EXPECT_EQ(code_of(multipart_.abort(*id, "file")), "not_found");
  }
  EXPECT_EQ(temporaries(), 0U);
}

TEST_F(MultipartTest, JoinsPartsOfManyThreads) {
  constexpr int kParts = 40;
  const auto id = multipart_.create("file", kParts);
  ASSERT_TRUE(ok(id));
  std::atomic<int> failures{0};
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&, t] {
        for (int number = kParts - t; number > 0; number -= 4) {
          if (!put(*id, number, std::to_string(number) + ",")) ++failures;
        }
      });
    }
  }
  EXPECT_EQ(failures, 0);
  std::vector<Multipart::PartRef> parts;
  std::string whole;
  for (int number = 1; number <= kParts; ++number) {
    parts.push_back({number, ""});
    whole += std::to_string(number) + ",";
  }
  const auto ref = multipart_.complete(*id, "file", parts);
  ASSERT_TRUE(ok(ref));
  EXPECT_EQ(store_->read(ref->sha256).value_or("?"), whole);
}

TEST_F(MultipartTest, RefusesWhatDoesNotFit) {
  EXPECT_EQ(code_of(multipart_.create("file", 0)), "invalid_argument");
  EXPECT_EQ(code_of(multipart_.create("file", 101)), "invalid_argument");
  const auto id = multipart_.create("file", 3);
  ASSERT_TRUE(ok(id));
  EXPECT_EQ(code_of(multipart_.part(*id, 0)), "invalid_argument");
  EXPECT_EQ(code_of(multipart_.part(*id, 4)), "invalid_argument");
  EXPECT_EQ(code_of(multipart_.part("unknown", 1)), "not_found");
  const auto one = put(*id, 1, "one");
  const auto three = put(*id, 3, "three");
  ASSERT_TRUE(ok(one) && ok(three));
  using Parts = std::vector<Multipart::PartRef>;
  const auto complete = [&](const Parts& parts, const std::string& subject = "file") {
    return code_of(multipart_.complete(*id, subject, parts));
  };
  EXPECT_EQ(complete({}), "invalid_argument");
  EXPECT_EQ(complete({{1, *one}}), "invalid_argument");  // part 3 has come as well
  EXPECT_EQ(complete({{1, *one}, {3, *three}}), "invalid_argument");
  EXPECT_EQ(complete({{1, *one}, {2, "?"}, {3, *three}}), "failed_precondition");
  EXPECT_EQ(complete({{1, *three}, {2, ""}, {3, ""}}), "invalid_argument");
  EXPECT_EQ(complete({{1, *one}, {2, ""}, {3, *three}}, "another"), "invalid_argument");
  // A part once more: the same bytes are no harm.
  EXPECT_EQ(put(*id, 1, "one").value_or("?"), *one);
  EXPECT_EQ(code_of(put(*id, 1, "uno")), "failed_precondition");
  EXPECT_TRUE(ok(put(*id, 3, "drei")));  // not joined yet: the later one counts
  ASSERT_TRUE(ok(put(*id, 2, "two")));
  const auto ref = multipart_.complete(*id, "file", Parts{{1, ""}, {2, ""}, {3, ""}});
  ASSERT_TRUE(ok(ref));
  EXPECT_EQ(store_->read(ref->sha256).value_or("?"), "onetwodrei");
}

TEST_F(MultipartTest, EndedAndForgottenUploadsLeaveNothing) {
  const auto aborted = multipart_.create("file", 3);
  ASSERT_TRUE(ok(aborted));
  ASSERT_TRUE(ok(put(*aborted, 2, "two")));
  EXPECT_EQ(temporaries(), 2U);
  EXPECT_EQ(code_of(multipart_.abort(*aborted, "another")), "invalid_argument");
  EXPECT_TRUE(ok(multipart_.abort(*aborted, "file")));
  EXPECT_EQ(temporaries(), 0U);

  for (int i = 0; i < 3; ++i) ASSERT_TRUE(ok(multipart_.create("file", 1)));
  EXPECT_EQ(code_of(multipart_.create("file", 1)), "unavailable");
  clock_.advance(std::chrono::hours(25));
  const auto fresh = multipart_.create("file", 1);
  ASSERT_TRUE(ok(fresh));
  EXPECT_EQ(temporaries(), 1U);
  clock_.advance(std::chrono::hours(25));
  EXPECT_EQ(code_of(multipart_.part(*fresh, 1)), "not_found");
  EXPECT_EQ(temporaries(), 0U);
}

}  // namespace
}  // namespace slipway::blob
