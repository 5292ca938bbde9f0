// Versions as MLflow's client makes them: files among the artifacts, no bundle.
#include "serving/model_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "audit/audit.h"
#include "base/file.h"
#include "base/ids.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::serving {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

// One split of LightGBM's text: a > 0.5 gives 2, else 1.
constexpr std::string_view kModel = R"(tree
version=v4
num_class=1
num_tree_per_iteration=1
label_index=0
max_feature_idx=0
objective=regression
feature_names=a
feature_infos=[0:1]
tree_sizes=200

Tree=0
num_leaves=2
num_cat=0
split_feature=0
threshold=0.5
decision_type=2
left_child=-1
right_child=-2
leaf_value=1 2
is_linear=0
shrinkage=1

end of trees
)";
constexpr std::string_view kDescription = R"(
flavors: {lightgbm: {data: model.lgb, model_class: lightgbm.basic.Booster}}
signature: {inputs: '[{"type": "double", "name": "a"}]'}
)";

class MlflowSourceTest : public testing::Test {
 protected:
  void SetUp() override {
    auto database =
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false});
    ASSERT_TRUE(ok(database));
    db_ = *std::move(database);
    auto log = audit::Log::open(*db_, scratch_ / "keys", clock_);
    ASSERT_TRUE(ok(log));
    log_ = *std::move(log);
    auto tracking = tracking::Tracking::open(*db_, clock_, ids_);
    ASSERT_TRUE(ok(tracking));
    tracking_ = *std::move(tracking);
    auto registry = registry::Registry::open(*db_, *log_, clock_);
    ASSERT_TRUE(ok(registry));
    registry_ = *std::move(registry);
    auto blobs = blob::Store::open(scratch_ / "blobs");
    ASSERT_TRUE(ok(blobs));
    blobs_ = *std::move(blobs);
    source_ = std::make_unique<RegistrySource>(*db_, *registry_, *blobs_, scratch_ / "cache");
    source_->serve_mlflow(*tracking_, {});
    ASSERT_TRUE(ok(registry_->create_model(ctx_, "late")));
  }

  void put(const std::string& path, std::string_view bytes) {
    const auto blob = blobs_->put_bytes(bytes);
    ASSERT_TRUE(ok(blob));
    ASSERT_TRUE(ok(tracking_->put_file(path, *blob)));
  }
  // A version whose files are there, under the alias champion.
  void add_version(const std::string& folder) {
    const auto version =
        registry_->create_version(ctx_, "late", {.source = "mlflow-artifacts:/" + folder});
    ASSERT_TRUE(ok(version));
    ASSERT_TRUE(ok(registry_->set_alias(ctx_, "late", "champion", version->number)));
  }
  double score(const Scorer& scorer, double a) {
    data::BatchBuilder builder(scorer.inputs());
    builder.append_real(0, a);
    double out = 0;
    EXPECT_TRUE(ok(scorer.score(*builder.batch(), std::span(&out, 1))));
    return out;
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Context ctx_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> log_;
  std::unique_ptr<tracking::Tracking> tracking_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<blob::Store> blobs_;
  std::unique_ptr<RegistrySource> source_;
};

TEST_F(MlflowSourceTest, ServesAVersionFromTheArtifacts) {
  put("1/m/artifacts/MLmodel", kDescription);
  put("1/m/artifacts/model.lgb", kModel);
  put("1/m/artifacts/deep/er/note.txt", "a file more");
  add_version("1/m/artifacts");
  const auto version = source_->resolve("late", "champion");
  ASSERT_TRUE(ok(version));
  EXPECT_EQ(version->number, 1);
  const auto scorer = source_->load(version->digest);
  ASSERT_TRUE(ok(scorer));
  EXPECT_EQ(score(**scorer, 0.4), 1);
  EXPECT_EQ(score(**scorer, 0.6), 2);
  EXPECT_EQ((*scorer)->explained(), (std::vector<std::string>{"a"}));
  // Other files are another model.
  put("1/m/artifacts/deep/er/note.txt", "changed");
  EXPECT_NE(source_->resolve("late", "champion")->digest, version->digest);
}

TEST_F(MlflowSourceTest, UnpacksAgainWhatWasChangedInTheCache) {
  put("1/m/artifacts/MLmodel", kDescription);
  put("1/m/artifacts/model.lgb", kModel);
  add_version("1/m/artifacts");
  const auto version = source_->resolve("late", "champion");
  ASSERT_TRUE(ok(version));
  ASSERT_TRUE(ok(source_->load(version->digest)));
  std::string changed(kModel);
  changed.replace(changed.find("leaf_value=1 2"), 14, "leaf_value=7 8");
  ASSERT_TRUE(ok(write_file_atomic(scratch_ / "cache" / version->digest / "model.lgb", changed)));
  const auto scorer = source_->load(version->digest);
  ASSERT_TRUE(ok(scorer));
  EXPECT_EQ(score(**scorer, 0.4), 1);
}

TEST_F(MlflowSourceTest, SaysWhyAVersionCannotBeServed) {
  add_version("1/nothing/artifacts");
  EXPECT_THAT(message_of(source_->resolve("late", "champion")), HasSubstr("no MLmodel"));
  put("1/py/artifacts/MLmodel", "flavors: {python_function: {loader_module: mlflow.sklearn}}");
  add_version("1/py/artifacts");
  const auto version = source_->resolve("late", "champion");
  ASSERT_TRUE(ok(version));
  const auto scorer = source_->load(version->digest);
  EXPECT_TRUE(failed_with(scorer, Code::failed_precondition));
  EXPECT_THAT(message_of(scorer), HasSubstr("--model-python"));
  const auto elsewhere = registry_->create_version(ctx_, "late", {.source = "models:/m-1"});
  ASSERT_TRUE(ok(elsewhere));
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "late", "champion", elsewhere->number)));
  EXPECT_TRUE(failed_with(source_->resolve("late", "champion"), Code::failed_precondition));
}

}  // namespace
}  // namespace slipway::serving
