#include "serving/subject_keys.h"

#include <gtest/gtest.h>

#include <future>

#include "base/file.h"
#include "base/log.h"
#include "serving/model_host.h"
#include "serving/rerun.h"
#include "serving/sensitive_internal.h"
#include "support/database.h"
#include "support/fake_models.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::ok;

class SubjectKeysTest : public testing::Test {
 protected:
  void SetUp() override {
    log::set_level(log::Level::off);
    db_ = std::move(
        *db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = std::move(*audit::Log::open(*db_, scratch_ / "keys", clock_));
    open();
  }
  void TearDown() override { log::set_level(log::Level::info); }
  void open() { keys_ = std::move(*SubjectKeys::open(*db_, *audit_, scratch_ / "keys", clock_)); }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  Context ctx_{clock_};
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<SubjectKeys> keys_;
};

TEST_F(SubjectKeysTest, OpensWhatItSealedUnderTheSameContextOnly) {
  const auto sealed = keys_->seal("alice", "forty-one years", "flights/p1/age");
  ASSERT_TRUE(ok(sealed));
  EXPECT_TRUE(SubjectKeys::is_sealed(*sealed));
  EXPECT_EQ(sealed->find("forty-one years"), std::string::npos);
  EXPECT_NE(*sealed, *keys_->seal("alice", "forty-one years",
                                  "flights/p1/age"));  // equal values look different
  open();  // what is kept is in the database and the key file
  EXPECT_EQ(*keys_->unseal(*sealed, "flights/p1/age"), "forty-one years");
  EXPECT_EQ(keys_->unseal(*sealed, "flights/p2/age").error().code, Code::data_loss);
  EXPECT_EQ(keys_->unseal("forty-one years", "flights/p1/age").error().code,
            Code::invalid_argument);
}

TEST_F(SubjectKeysTest, ErasedIsLostForEverAndAudited) {
  const auto alice = keys_->seal("alice", "41", "c");
  const auto bob = keys_->seal("bob", "42", "c");
  ASSERT_TRUE(ok(keys_->erase(ctx_, "alice")));
  EXPECT_EQ(keys_->unseal(*alice, "c").error().code, Code::not_found);
  EXPECT_EQ(*keys_->unseal(*bob, "c"), "42");
  EXPECT_EQ(*keys_->count(), 1);
  EXPECT_EQ(keys_->erase(ctx_, "alice").error().code, Code::not_found);
  const auto anew = keys_->seal("alice", "43", "c");
  ASSERT_TRUE(ok(anew));
  EXPECT_EQ(*keys_->unseal(*anew, "c"), "43");
  EXPECT_EQ(keys_->unseal(*alice, "c").error().code, Code::not_found);
  const auto entries = audit_->list({.action_prefix = "subject."});
  ASSERT_EQ(entries->size(), 1u);
  EXPECT_EQ(canonical(entries->front().event.details).find("alice"), std::string::npos);
}

TEST_F(SubjectKeysTest, AWrongKeyFileOpensNothing) {
  const auto sealed = keys_->seal("alice", "41", "c");
  ASSERT_TRUE(ok(write_file_atomic(scratch_ / "keys" / "predictions.key", std::string(64, 'a'))));
  open();
  EXPECT_EQ(keys_->unseal(*sealed, "c").error().code, Code::data_loss);
  ASSERT_TRUE(ok(write_file_atomic(scratch_ / "keys" / "predictions.key", "short")));
  EXPECT_FALSE(SubjectKeys::open(*db_, *audit_, scratch_ / "keys", clock_));
}

TEST_F(SubjectKeysTest, TheLogHoldsNeitherMaskedNorEncryptedInputs) {
  const data::Schema inputs{.fields = {{.name = "who", .type = data::Type::text},
                                       {.name = "age", .type = data::Type::float64},
                                       {.name = "pin", .type = data::Type::int64},
                                       {.name = "distance", .type = data::Type::float64}}};
  test::FakeSource source;
  source.set_bundle("one", {inputs, [](const data::Batch& batch, std::int64_t row) {
                              return batch.columns[1].real(row) / 100;
                            }});
  source.set_alias("people", "champion", 1, "one");
  auto deployments = std::move(*DeploymentStore::open(*db_, *audit_, clock_));
  auto log = std::move(*PredictionLog::open(scratch_ / "predictions", {.durable = false}));
  ASSERT_TRUE(ok(deployments->put(
      ctx_, {.name = "people", .mask = {"pin"}, .encrypt = {"who", "age"}, .subject = "who"})));
  ModelHost host(*deployments, source, *log, clock_, {.subject_keys = keys_.get()});
  ASSERT_TRUE(ok(host.refresh()));
  auto inference = host.find("people")->begin();
  inference->rows.append_text(0, "alice");
  inference->rows.append_real(1, 41.5);
  inference->rows.append_integer(2, 1234);
  inference->rows.append_real(3, 7);
  inference->ids = {"p1"};
  inference->time = clock_.now();
  inference->started = clock_.steady();
  ASSERT_TRUE(ok(host.score(*inference)));
  std::promise<Result<void>> promise;
  auto logged = promise.get_future();
  ASSERT_TRUE(ok(host.commit(inference, [&](Result<void> r) { promise.set_value(std::move(r)); })));
  ASSERT_TRUE(ok(logged.get()));

  auto found = log->find("p1");
  ASSERT_TRUE(ok(found));
  EXPECT_TRUE(SubjectKeys::is_sealed(found->inputs["age"].get<std::string>()));
  EXPECT_TRUE(SubjectKeys::is_sealed(found->inputs["who"].get<std::string>()));
  EXPECT_TRUE(found->inputs["pin"].is_null());
  EXPECT_EQ(found->inputs["distance"], 7.0);
  EXPECT_EQ(found->inputs_hash.size(), 16u);
  ASSERT_TRUE(ok(open_inputs(*keys_, *found)));
  EXPECT_EQ(found->inputs["age"], 41.5);
  EXPECT_EQ(found->inputs["who"], "alice");
  ASSERT_TRUE(ok(keys_->erase(ctx_, R"("alice")")));
  auto again = log->find("p1");
  EXPECT_EQ(open_inputs(*keys_, *again).error().code, Code::not_found);
}

TEST(SensitiveDeployment, SaysWhatIsWrong) {
  const std::vector<std::pair<const char*, Deployment>> rows = {
      {"twice", {.name = "d", .model = "m", .mask = {"a"}, .encrypt = {"a"}, .subject = "a"}},
      {"go together", {.name = "d", .model = "m", .encrypt = {"a"}}},
      {"as it is", {.name = "d", .model = "m", .encrypt = {"a"}, .subject = "b"}},
      {"weights sum", {.name = "d", .model = "m", .canaries = {{"x", 0.6}, {"y", 0.6}}}},
      {"share twice", {.name = "d", .model = "m", .canaries = {{"champion", 0.1}}}},
      {"log_share", {.name = "d", .model = "m", .log_share = 2}},
  };
  for (const auto& [words, deployment] : rows) {
    const auto checked = deployment.validate();
    ASSERT_FALSE(checked) << words;
    EXPECT_NE(checked.error().message.find(words), std::string::npos) << checked.error().message;
  }
}

}  // namespace
}  // namespace slipway::serving
