#include "data/datasets.h"

#include <gtest/gtest.h>

#include "data/engine.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::code_of;
using test::message_of;
using test::ok;
using test::Scratch;

class DatasetsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_ = take(db::Database::open(test::database_at(scratch_ / "slipway.db"), {}));
    blobs_ = take(blob::Store::open(scratch_ / "blobs"));
    audit_ = take(audit::Log::open(*db_, scratch_ / "keys", clock_));
    datasets_ = take(DatasetStore::open(*db_, *blobs_, *audit_, clock_));
    engine_ = take(Engine::open({.threads = 1, .temp_dir = scratch_.path()}));
    ctx_.principal.name = "ada";
  }
  template <class T>
  static T take(Result<T> result) {
    EXPECT_TRUE(ok(result));
    return std::move(*result);
  }

  std::filesystem::path parquet(const std::string& name, const std::string& sql) {
    const auto file = scratch_ / (name + ".parquet");
    EXPECT_TRUE(ok(engine_->write_parquet(ctx_, sql, file)));
    return file;
  }
  Result<DatasetRef> commit(const std::string& name,
                            const std::vector<std::filesystem::path>& files,
                            const Json& provenance = {}) {
    return datasets_->commit(ctx_, name, files, provenance, Json(), Json());
  }
  std::size_t audited() { return audit_->list({.action_prefix = "dataset."})->size(); }

  Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  Context ctx_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<blob::Store> blobs_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<DatasetStore> datasets_;
  std::unique_ptr<Engine> engine_;
};

const std::string kRows =
    "SELECT i, 'k' || i AS k, to_timestamp(i)::TIMESTAMP AS at FROM range(5) t(i)";

TEST_F(DatasetsTest, GivesBackWhatWasCommitted) {
  const auto ref = commit("flights", {parquet("a", kRows), parquet("b", kRows)}, {{"sql", "x"}});
  ASSERT_TRUE(ok(ref));
  const auto manifest = datasets_->manifest(*ref);
  ASSERT_TRUE(ok(manifest));
  EXPECT_EQ(manifest->rows, 10);
  EXPECT_EQ(manifest->schema.names(), (std::vector<std::string>{"i", "k", "at"}));
  EXPECT_EQ(manifest->provenance, Json({{"sql", "x"}}));
  const auto table = datasets_->load(ctx_, *ref, {"at", "k"});
  ASSERT_TRUE(ok(table));
  const auto columns = Columns::from_table(*table);
  EXPECT_EQ(columns->schema().names(), (std::vector<std::string>{"at", "k"}))
      << "in the order asked for";
  EXPECT_EQ(columns->batch().columns[1].text(9), "k4");
  EXPECT_EQ(columns->batch().columns[0].integer(9), 4'000'000);
  EXPECT_EQ(code_of(datasets_->load(ctx_, *ref, {"kk"})), "invalid_argument");
}

TEST_F(DatasetsTest, TheSameBytesAreTheSameVersionOnce) {
  const auto first = commit("flights", {parquet("a", kRows)});
  ASSERT_TRUE(ok(first));
  clock_.advance(std::chrono::hours(5));
  const auto second = commit("flights", {parquet("again", kRows)});
  ASSERT_TRUE(ok(second));
  EXPECT_EQ(*first, *second);
  EXPECT_EQ(audited(), 1U);
  EXPECT_EQ(datasets_->versions("flights")->size(), 1U);
  EXPECT_EQ(datasets_->find(*first)->created, test::kNoon2013);
  EXPECT_EQ(datasets_->find(*first)->created_by, "ada");

  EXPECT_NE(commit("flights", {parquet("a", kRows)}, {{"sql", "other"}})->version, first->version);
  EXPECT_NE(commit("other", {parquet("a", kRows)})->version, first->version);
}

TEST_F(DatasetsTest, EveryCommitIsAudited) {
  const auto ref = commit("flights", {parquet("a", kRows)});
  const auto entries = audit_->list({.action_prefix = "dataset.commit"});
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_EQ(entries->front().event.object, "datasets/flights/" + ref->version);
  EXPECT_EQ(entries->front().event.digest, ref->version);
  EXPECT_EQ(entries->front().event.actor, "ada");
}

TEST_F(DatasetsTest, ResolvesNamesAndPrefixes) {
  const auto first = commit("flights", {parquet("a", kRows)});
  const auto second = commit("flights", {parquet("b", "SELECT 1 AS i")});
  EXPECT_EQ(*datasets_->resolve("flights"), *second);
  EXPECT_EQ(*datasets_->resolve("flights@" + first->version.substr(0, 8)), *first);
  EXPECT_EQ(code_of(datasets_->resolve("flights@ab")), "invalid_argument");
  EXPECT_EQ(code_of(datasets_->resolve("flights@zzzz")), "not_found");
  const auto wrong = datasets_->resolve("flight");
  EXPECT_EQ(code_of(wrong), "not_found");
  EXPECT_NE(message_of(wrong).find("did you mean 'flights'"), std::string::npos);
  EXPECT_EQ(datasets_->list()->size(), 1U);
  EXPECT_EQ(datasets_->list()->front().ref, *second);
  EXPECT_EQ(datasets_->versions("flights")->back().ref, *first);
}

TEST_F(DatasetsTest, RefusesWhatIsNoDataset) {
  EXPECT_EQ(code_of(commit("flights", {})), "invalid_argument");
  EXPECT_EQ(code_of(commit("a/b", {parquet("a", kRows)})), "invalid_argument");
  EXPECT_EQ(code_of(commit("flights", {scratch_ / "none.parquet"})), "not_found");
  EXPECT_EQ(code_of(commit("flights", {scratch_.file("x.parquet", "hello")})), "invalid_argument");
  const auto differ = commit("flights", {parquet("a", kRows), parquet("b", "SELECT 1 AS i")});
  EXPECT_EQ(code_of(differ), "invalid_argument");
  EXPECT_NE(message_of(differ).find("schema"), std::string::npos);
  EXPECT_EQ(audited(), 0U);
}

std::string many_rows(int count) {
  return fmt::format("SELECT i, 'k' || (i * 7919 % 1000) AS k, sqrt(i) AS x FROM range({}) t(i)",
                     count);
}

TEST_F(DatasetsTest, AppendingStoresTheLastRowGroupAndWhatIsNew) {
  const auto first = commit("flights", {parquet("a", many_rows(600'000))});
  ASSERT_TRUE(ok(first));
  ASSERT_EQ(datasets_->files(*first)->size(), 5U);
  const auto second = commit("flights", {parquet("b", many_rows(606'000))});
  ASSERT_TRUE(ok(second));
  const auto diff = datasets_->diff(*first, *second);
  ASSERT_TRUE(ok(diff));
  EXPECT_EQ(diff->shared_files, 4);
  EXPECT_EQ(diff->added_files, 1);
  EXPECT_EQ(diff->removed_files, 1);
  EXPECT_EQ(diff->rows_after - diff->rows_before, 6'000);
  EXPECT_TRUE(diff->columns.empty());
  const auto table = datasets_->load(ctx_, *second, {"i"});
  const auto columns = Columns::from_table(*table);
  for (const std::int64_t row : {0, 122'880, 599'999, 605'999})
    EXPECT_EQ(columns->batch().columns[0].integer(row), row) << "in the order of the SQL";
}

TEST_F(DatasetsTest, AppendsToAVersion) {
  const auto base = commit("flights", {parquet("a", many_rows(10))});
  const auto more =
      parquet("b", "SELECT i + 10 AS i, 'z' AS k, 0.5::DOUBLE AS x FROM range(3) t(i)");
  const auto longer = datasets_->commit(ctx_, {.name = "flights", .files = {more}, .base = *base});
  ASSERT_TRUE(ok(longer));
  EXPECT_EQ(datasets_->manifest(*longer)->rows, 13);
  const auto diff = datasets_->diff(*base, *longer);
  EXPECT_EQ(diff->shared_files, 1);
  EXPECT_EQ(diff->added_files, 1);
  const auto other = datasets_->commit(
      ctx_, {.name = "flights", .files = {parquet("c", "SELECT 1 AS i")}, .base = *base});
  EXPECT_EQ(code_of(other), "invalid_argument");
}

TEST_F(DatasetsTest, ComparesVersions) {
  const auto before = commit("flights", {parquet("a", "SELECT 1 AS i, 'x' AS gone")},
                             {{"sql", "old"}, {"files", {{"a", 1}}}});
  const auto after = commit("flights", {parquet("b", "SELECT '1' AS i, 2 AS fresh")},
                            {{"sql", "new"}, {"files", {{"a", 1}}}});
  const auto diff = datasets_->diff(*before, *after);
  ASSERT_TRUE(ok(diff));
  ASSERT_EQ(diff->columns.size(), 3U);
  EXPECT_EQ(diff->columns[0].before, Type::int64);
  EXPECT_EQ(diff->columns[0].after, Type::text);
  EXPECT_FALSE(diff->columns[1].after);
  EXPECT_FALSE(diff->columns[2].before);
  EXPECT_EQ(diff->provenance, std::vector<std::string>{"/sql"});
}

TEST_F(DatasetsTest, ChecksOutFilesThatAnyReaderTakes) {
  const auto ref = commit("flights", {parquet("a", many_rows(200'000))});
  const auto folder = scratch_ / "out/flights";
  ASSERT_TRUE(ok(datasets_->checkout(ctx_, *ref, folder)));
  EXPECT_TRUE(std::filesystem::exists(folder / "manifest.json"));
  const auto table =
      read_parquet(ctx_, {folder / "part-00000.parquet", folder / "part-00001.parquet"});
  ASSERT_TRUE(ok(table));
  EXPECT_EQ(Columns::from_table(*table)->rows(), 200'000);
  EXPECT_EQ(code_of(datasets_->checkout(ctx_, *ref, folder)), "already_exists");
  // Damage is found before a folder appears.
  const auto blob = datasets_->files(*ref)->back();
  std::filesystem::permissions(blob, std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  std::fstream(blob, std::ios::in | std::ios::out | std::ios::binary).seekp(20).put('\x7f');
  EXPECT_EQ(code_of(datasets_->checkout(ctx_, *ref, scratch_ / "again")), "data_loss");
  EXPECT_FALSE(std::filesystem::exists(scratch_ / "again"));
}

TEST_F(DatasetsTest, PushesAndPullsWhatIsNotThere) {
  const auto first = commit("flights", {parquet("a", many_rows(300'000))});
  const auto second = commit("flights", {parquet("b", many_rows(301'000))});
  const auto place = (scratch_ / "shared").string();
  const auto pushed = datasets_->push(ctx_, *first, place);
  ASSERT_TRUE(ok(pushed));
  EXPECT_EQ(pushed->moved_files, 4);  // three row groups and the manifest
  EXPECT_EQ(datasets_->push(ctx_, *second, place)->moved_files, 2);
  EXPECT_EQ(datasets_->push(ctx_, *second, place)->moved_files, 0);

  const auto db = take(db::Database::open(test::database_at(scratch_ / "other.db"), {}));
  const auto blobs = take(blob::Store::open(scratch_ / "other-blobs"));
  const auto audit = take(audit::Log::open(*db, scratch_ / "other-keys", clock_));
  const auto other = take(DatasetStore::open(*db, *blobs, *audit, clock_));
  const auto pulled = other->pull(ctx_, second->text(), place);
  ASSERT_TRUE(ok(pulled));
  EXPECT_EQ(pulled->ref, *second);
  EXPECT_EQ(other->manifest(*second)->to_json(), datasets_->manifest(*second)->to_json());
  EXPECT_EQ(other->pull(ctx_, first->version, place)->moved_files, 2) << "shares row groups";
  EXPECT_EQ(code_of(other->pull(ctx_, "flights@abcd", place)), "invalid_argument");
  EXPECT_EQ(code_of(other->pull(ctx_, std::string(64, 'a'), place)), "not_found");
}

TEST_F(DatasetsTest, ForgetsAVersion) {
  const auto first = commit("flights", {parquet("a", kRows)});
  const auto second = commit("flights", {parquet("b", "SELECT 1 AS i")});
  ASSERT_TRUE(ok(datasets_->remove(ctx_, *second)));
  EXPECT_EQ(*datasets_->resolve("flights"), *first);
  EXPECT_EQ(code_of(datasets_->remove(ctx_, *second)), "not_found");
  EXPECT_EQ(audit_->list({.action_prefix = "dataset.delete"})->size(), 1U);
}

TEST_F(DatasetsTest, NoticesDamagedBytes) {
  const auto ref = commit("flights", {parquet("a", kRows)});
  const auto file = datasets_->files(*ref)->front();
  std::filesystem::permissions(file, std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  std::fstream(file, std::ios::in | std::ios::out | std::ios::binary).seekp(20).put('\x7f');
  EXPECT_EQ(code_of(datasets_->load(ctx_, *ref)), "data_loss");
}

}  // namespace
}  // namespace slipway::data
