#include <gtest/gtest.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "base/spec.h"
#include "support/support.h"

namespace slipway {
namespace {

using test::failed_with;
using test::ok;

TEST(Sha256, MatchesPublishedVectors) {
  // FIPS 180-2, appendix B.
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 pieces;
  pieces.update("a").update("bc");
  EXPECT_EQ(pieces.finish_hex(), sha256_hex("abc"));
  EXPECT_EQ(pieces.finish_hex(), sha256_hex(""));  // it starts anew
}

TEST(Encoding, ComesBack) {
  Rng rng(3);
  for (std::size_t size = 0; size < 70; ++size) {
    std::string bytes;
    for (std::size_t i = 0; i < size; ++i) bytes += static_cast<char>(rng.below(256));
    EXPECT_EQ(*from_base64(to_base64(bytes)), bytes);
    EXPECT_EQ(*from_hex(to_hex(
                  std::span(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()))),
              bytes);
  }
  EXPECT_TRUE(failed_with(from_hex("0g"), Code::invalid_argument));
  EXPECT_TRUE(failed_with(from_base64("abc"), Code::invalid_argument));
}

TEST(Json, RefusesDeepAndBrokenTexts) {
  EXPECT_TRUE(failed_with(parse_json(std::string(100'000, '[')), Code::invalid_argument));
  EXPECT_TRUE(failed_with(parse_json("{\"a\": }", "the body"), Code::invalid_argument));
  EXPECT_NE(test::message_of(parse_json("{\"a\": }", "the body")).find("the body"),
            std::string::npos);
  EXPECT_EQ(canonical(*parse_json(R"({"b":1,"a":[0.1,null]})")), R"({"a":[0.1,null],"b":1})");
}

TEST(Rng, ChildrenDependOnSeedAndNameOnly) {
  Rng used(5);
  used();
  EXPECT_EQ(used.child("a", 1)(), Rng(5).child("a", 1)());
  EXPECT_NE(Rng(5).child("a", 1)(), Rng(5).child("a", 2)());
  Rng rng(11);
  double sum = 0;
  for (int i = 0; i < 100'000; ++i) sum += rng.uniform();
  EXPECT_NEAR(sum / 100'000, 0.5, 0.005);
}

TEST(ParallelFor, VisitsEachIndexOnceOnAnyNumberOfThreads) {
  for (const int threads : {1, 2, 7}) {
    std::vector<std::atomic<int>> visits(1001);
    parallel_for(
        visits.size(), 10,
        [&](std::size_t begin, std::size_t end) {
          for (std::size_t i = begin; i < end; ++i) ++visits[i];
        },
        threads);
    for (const auto& count : visits) EXPECT_EQ(count, 1);
  }
  EXPECT_THROW(parallel_for(
                   100, 1,
                   [](std::size_t begin, std::size_t) {
                     if (begin == 50) throw std::runtime_error("stop");
                   },
                   4),
               std::runtime_error);
}

TEST(WorkerPool, FinishesWhatIsQueued) {
  std::atomic<int> done{0};
  {
    WorkerPool pool(3);
    for (int i = 0; i < 500; ++i) pool.post([&] { ++done; });
    pool.drain();
    EXPECT_EQ(done, 500);
    for (int i = 0; i < 100; ++i) pool.post([&] { ++done; });
  }
  EXPECT_EQ(done, 600);
}

TEST(WriteFileAtomic, ReplacesWholeFilesOnly) {
  const test::Scratch scratch;
  ASSERT_TRUE(ok(write_file_atomic(scratch / "a", "first")));
  ASSERT_TRUE(ok(write_file_atomic(scratch / "a", "second")));
  EXPECT_EQ(*read_file(scratch / "a"), "second");
  EXPECT_TRUE(failed_with(write_file_atomic(scratch / "missing/a", "x"), Code::not_found));
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}),
            1);  // no temporary file is left
  EXPECT_TRUE(failed_with(read_file(scratch / "none"), Code::not_found));
}

TEST(FileLock, IsHeldByOne) {
  const test::Scratch scratch;
  {
    auto first = FileLock::acquire(scratch / "lock", "the home");
    ASSERT_TRUE(ok(first));
    auto second = FileLock::acquire(scratch / "lock", "the home");
    EXPECT_TRUE(failed_with(second, Code::failed_precondition));
  }
  EXPECT_TRUE(ok(FileLock::acquire(scratch / "lock", "the home")));
}

constexpr const char* kSpec = R"(name: late
count: 12
share: 0.5
quoted: "12"
leading: 007
wait: 90s
on: true
steps:
  - {kind: ingest, from: a}
  - kind: train
    rouns: 3
)";

TEST(Spec, ReadsTypedValues) {
  auto document = SpecDocument::parse(kSpec, "p.yaml");
  ASSERT_TRUE(ok(document));
  SpecReader reader(*document);
  EXPECT_EQ(reader.text("name"), "late");
  EXPECT_EQ(reader.integer("count"), 12);
  EXPECT_EQ(reader.number("share"), 0.5);
  EXPECT_EQ(reader.json("quoted"), Json("12"));
  EXPECT_EQ(reader.text("leading"), "007");  // leading zeros are kept
  EXPECT_EQ(reader.duration("wait", {}), std::chrono::seconds(90));
  EXPECT_TRUE(reader.boolean("on", false));
  EXPECT_EQ(reader.integer("absent", 4), 4);
}

TEST(Spec, NamesPlaceAndNearestKeyOfEveryProblem) {
  auto document = SpecDocument::parse(kSpec, "p.yaml");
  ASSERT_TRUE(ok(document));
  SpecReader reader(*document);
  for (const char* key : {"share", "quoted", "leading", "wait", "on"}) reader.json(key);
  reader.integer("name");
  reader.text("count", "");
  for (SpecReader& step : reader.list("steps")) {
    step.text("kind");
    step.text("from", "");
    step.integer("rounds", 1);
    step.close();
  }
  const auto outcome = reader.finish();
  ASSERT_TRUE(failed_with(outcome, Code::invalid_argument));
  const std::string& message = outcome.error().message;
  EXPECT_NE(message.find("p.yaml:1:1: 'name' has to be a whole number"), std::string::npos)
      << message;
  EXPECT_NE(message.find("p.yaml:11:5: unknown key 'rouns'; did you mean 'rounds'?"),
            std::string::npos)
      << message;
}

TEST(Spec, RefusesDoubledKeysAliasBombsAndBrokenYaml) {
  EXPECT_NE(test::message_of(SpecDocument::parse("a: 1\na: 2\n", "p.yaml")).find("p.yaml:2:1"),
            std::string::npos);
  std::string bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n";
  for (int i = 1; i < 9; ++i) {
    bomb += fmt::format(
        "a{0}: &a{0} [*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1},*a{1}]\n", i, i - 1);
  }
  EXPECT_TRUE(failed_with(SpecDocument::parse(bomb, "p.yaml"), Code::invalid_argument));
  EXPECT_TRUE(failed_with(SpecDocument::parse("a: [1, 2", "p.yaml"), Code::invalid_argument));
}

TEST(Nearest, FindsTyposAndNothingElse) {
  const std::vector<std::string> names = {"dataset", "target", "window"};
  EXPECT_EQ(nearest("datset", names), "dataset");
  EXPECT_EQ(nearest("tagret", names), "target");
  EXPECT_EQ(nearest("zzz", names), std::nullopt);
}

}  // namespace
}  // namespace slipway
