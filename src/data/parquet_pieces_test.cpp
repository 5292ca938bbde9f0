#include "data/parquet_pieces_internal.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "data/arrow_internal.h"
#include "data/datasets.h"
#include "data/engine.h"
#include "data/thrift.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;

struct Parts {
  std::string bytes, footer;
};

Parts parts_of(const std::filesystem::path& file) {
  Parts parts;
  parts.bytes = *read_file(file);
  std::uint32_t length = 0;
  std::memcpy(&length, parts.bytes.data() + parts.bytes.size() - 8, 4);
  parts.footer = parts.bytes.substr(parts.bytes.size() - 8 - length, length);
  return parts;
}

class PiecesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = std::move(*Engine::open({.threads = 2, .temp_dir = scratch_.path()}));
  }
  std::filesystem::path write(const std::string& sql) {
    const auto file = scratch_ / "all.parquet";
    EXPECT_TRUE(ok(engine_->write_parquet({}, sql, file)));
    return file;
  }
  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
};

const std::string kMany =
    "SELECT i, 'k' || (i % 100) AS k, i / 7.0 AS x, CASE WHEN i % 3 = 0 THEN i END AS n "
    "FROM range(300000) t(i)";

TEST_F(PiecesTest, EachRowGroupIsAFileOfItsOwn) {
  const auto parts = parts_of(write(kMany));
  const auto pieces = parquet_pieces(parts.footer, static_cast<std::int64_t>(parts.bytes.size()));
  ASSERT_TRUE(ok(pieces));
  ASSERT_EQ(pieces->size(), 3U);
  std::vector<std::filesystem::path> files;
  for (const auto& piece : *pieces) {
    const auto size = static_cast<std::size_t>(piece.end - piece.begin);
    files.push_back(scratch_.file(
        fmt::format("{}.parquet", files.size()),
        "PAR1" + parts.bytes.substr(static_cast<std::size_t>(piece.begin), size) + piece.footer));
    const auto facts = parquet_facts(files.back());
    ASSERT_TRUE(ok(facts));
    EXPECT_EQ(facts->rows, piece.rows);
  }
  // Two readers that know nothing of each other: Arrow's and DuckDB's.
  const auto table = read_parquet({}, files);
  ASSERT_TRUE(ok(table));
  Source source{.kind = Source::Kind::parquet};
  for (const auto& file : files) source.paths.push_back(file.string());
  ASSERT_TRUE(ok(engine_->add_source("back", source)));
  ASSERT_TRUE(ok(engine_->add_table("arrow", *table)));
  for (const std::string relation : {"back", "arrow"}) {
    const auto same = engine_->query(
        {},
        fmt::format("SELECT count(*) AS n FROM (SELECT * FROM ({}) EXCEPT ALL SELECT * FROM {})",
                    kMany, relation));
    ASSERT_TRUE(ok(same));
    EXPECT_EQ(Columns::from_table(*same)->batch().columns[0].integer(0), 0) << relation;
  }
}

TEST_F(PiecesTest, RefusesFootersThatLie) {
  const auto parts = parts_of(write("SELECT i FROM range(130000) t(i)"));
  const auto size = static_cast<std::int64_t>(parts.bytes.size());
  const auto with = [&](const std::function<void(thrift::Value&)>& change) {
    auto file = *thrift::parse(parts.footer);
    change(file);
    return parquet_pieces(thrift::write(file), size);
  };
  const auto group = [](thrift::Value& file) -> thrift::Value& { return file.field(4)->items[0]; };
  const auto meta = [&](thrift::Value& file) -> thrift::Value& {
    return *group(file).field(1)->items[0].field(3);
  };
  EXPECT_TRUE(ok(with([](thrift::Value&) {})));
  const std::pair<const char*, std::function<void(thrift::Value&)>> lies[] = {
      {"rows in all", [](thrift::Value& file) { file.set_number(3, 7); }},
      {"rows of a group", [&](thrift::Value& file) { group(file).set_number(3, 1'000'000'000); }},
      {"negative rows", [&](thrift::Value& file) { group(file).set_number(3, -1); }},
      {"place behind the end", [&](thrift::Value& file) { meta(file).set_number(9, size * 2); }},
      {"too many bytes", [&](thrift::Value& file) { meta(file).set_number(7, size * 2); }},
      {"negative bytes", [&](thrift::Value& file) { meta(file).set_number(7, -5); }},
      {"overlap",
       [&](thrift::Value& file) {
         file.field(4)->items[1] = file.field(4)->items[0];
         file.set_number(3, 2 * *group(file).number(3));
       }},
      {"no columns", [&](thrift::Value& file) { group(file).field(1)->items.clear(); }},
  };
  for (const auto& [name, change] : lies) {
    const auto pieces = with(change);
    EXPECT_TRUE(failed_with(pieces, Code::invalid_argument)) << name;
  }
}

TEST_F(PiecesTest, NeverFailsOtherwiseOnDamagedFooters) {
  const auto parts = parts_of(write("SELECT i, 'x' AS s FROM range(10) t(i)"));
  Rng rng(2013);
  for (int i = 0; i < 20'000; ++i) {
    auto footer = parts.footer;
    for (int n = 0; n < 3; ++n)
      footer[rng.below(footer.size())] = static_cast<char>(rng.below(256));
    if (i % 5 == 0) footer.resize(rng.below(footer.size()));
    (void)parquet_pieces(footer, static_cast<std::int64_t>(parts.bytes.size()));
  }
}

TEST(Thrift, WritesWhatItRead) {
  const Scratch scratch;
  auto engine = std::move(*Engine::open({.threads = 1, .temp_dir = scratch.path()}));
  const auto file = scratch / "x.parquet";
  ASSERT_TRUE(ok(engine->write_parquet({}, "SELECT 1 AS a, 'b' AS b", file)));
  const auto parts = parts_of(file);
  const auto value = thrift::parse(parts.footer);
  ASSERT_TRUE(value);
  EXPECT_EQ(thrift::write(*value), parts.footer);
}

}  // namespace
}  // namespace slipway::data
