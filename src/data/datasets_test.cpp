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
