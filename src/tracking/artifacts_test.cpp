#include "blob/store.h"
#include "support/opened.h"
#include "tracking/tracking_test_internal.h"

namespace slipway::tracking {
namespace {

using test::code_of;
using test::ok;

class ArtifactTest : public TrackingTest {
 protected:
  void SetUp() override {
    TrackingTest::SetUp();
    store_ = test::opened(blob::Store::open(scratch_ / "blobs"));
    run_ = new_run();
  }
  void put(const std::string& path, std::string_view bytes) {
    const auto blob = store_->put_bytes(bytes);
    ASSERT_TRUE(ok(blob));
    ASSERT_TRUE(ok(tracking_->log_artifact(run_, path, *blob)));
  }
  std::string list(const std::string& folder) {
    const auto artifacts = tracking_->list_artifacts(run_, folder);
    EXPECT_TRUE(ok(artifacts));
    std::string text;
    if (!artifacts) return "error";
    for (const auto& artifact : *artifacts) {
      text += artifact.path + (artifact.is_folder ? "/" : fmt::format(":{}", artifact.size)) + " ";
    }
    return text;
  }
  std::unique_ptr<blob::Store> store_;
  RunId run_;
};

TEST_F(ArtifactTest, ListsDirectChildrenInNameOrder) {
  put("model/MLmodel", "abc");
  put("model/data/model.ubj", "abcd");
  put("model/data/deep/er.txt", "x");
  put("model-card.md", "12345");
  put("a.txt", "");
  EXPECT_EQ(list(""), "a.txt:0 model/ model-card.md:5 ");
  EXPECT_EQ(list("model"), "model/MLmodel:3 model/data/ ");
  EXPECT_EQ(list("model/data"), "model/data/deep/ model/data/model.ubj:4 ");
  EXPECT_EQ(list("model/MLmodel"), "");  // a file has no children
  EXPECT_EQ(list("mod"), "");
  const auto file = tracking_->artifact(run_, "model/MLmodel");
  ASSERT_TRUE(ok(file));
  EXPECT_EQ(*store_->read(file->sha256), "abc");
  EXPECT_EQ(code_of(tracking_->artifact(run_, "model")), "not_found");
}

TEST_F(ArtifactTest, ShowsAStoredTreeUnderTheRunAndUnderItsWholePath) {
  scratch_.file("bundle/MLmodel", "m");
  scratch_.file("bundle/sub/x.json", "{}");
  const auto tree = store_->put_tree(scratch_ / "bundle");
  ASSERT_TRUE(ok(tree));
  ASSERT_TRUE(ok(tracking_->log_artifact_tree(run_, "model", *store_, tree->sha256)));
  EXPECT_EQ(list("model"), "model/MLmodel:1 model/sub/ ");
  const std::string root = *artifact_root(tracking_->run(run_)->artifact_uri);
  EXPECT_EQ(tracking_->list_files(root)->front().path, root + "/model");
  EXPECT_EQ(tracking_->file(root + "/model/sub/x.json")->size, 2);
  ASSERT_TRUE(ok(tracking_->log_artifact_tree(run_, "", *store_, tree->sha256)));
  EXPECT_EQ(list(""), "MLmodel:1 model/ sub/ ");
}

TEST_F(ArtifactTest, ReplacesAndDeletesFiles) {
  put("a/b.txt", "1");
  put("a/b.txt", "12");
  EXPECT_EQ(list("a"), "a/b.txt:2 ");
  const std::string root = *artifact_root(tracking_->run(run_)->artifact_uri);
  put("a/c.txt", "3");
  put("a-b", "4");
  ASSERT_TRUE(ok(tracking_->delete_files(root + "/a")));
  EXPECT_EQ(list(""), "a-b:1 ");
  EXPECT_EQ(code_of(tracking_->delete_files(root + "/a")), "not_found");
}

TEST_F(ArtifactTest, ANameIsAFileOrAFolderNeverBoth) {
  put("a/b", "1");
  const auto blob = store_->put_bytes("2");
  EXPECT_EQ(code_of(tracking_->log_artifact(run_, "a", *blob)), "failed_precondition");
  EXPECT_EQ(code_of(tracking_->log_artifact(run_, "a/b/c", *blob)), "failed_precondition");
}

TEST_F(ArtifactTest, RefusesPathsThatLeadElsewhere) {
  const auto blob = store_->put_bytes("x");
  using namespace std::string_literals;
  const std::vector<std::string> bad = {"../x",     "a/../x",
                                        "..",       "/etc/passwd",
                                        "a//b",     "a/./b",
                                        "./a",      "a\\b",
                                        "a\0b"s,    "a\nb",
                                        "%2e%2e/x", "a/%2E%2e",
                                        "a%2fb",    "a%5Cb",
                                        "a%00b",    "%252e%252e",
                                        "a/",       "C:\\x",
                                        "a/..",     "\xff\xfe",
                                        ".",        std::string(300, 'x')};
  for (const auto& path : bad) {
    SCOPED_TRACE(path);
    EXPECT_EQ(code_of(check_artifact_path(path)), "invalid_argument");
    EXPECT_EQ(code_of(tracking_->log_artifact(run_, path, *blob)), "invalid_argument");
    EXPECT_EQ(code_of(tracking_->list_artifacts(run_, path)), "invalid_argument");
    EXPECT_EQ(code_of(tracking_->put_file("0/" + path, *blob)), "invalid_argument");
    EXPECT_EQ(code_of(tracking_->file("0/" + path)), "invalid_argument");
    EXPECT_EQ(code_of(tracking_->list_files("0/" + path)), "invalid_argument");
    EXPECT_EQ(code_of(tracking_->delete_files("0/" + path)), "invalid_argument");
  }
  for (const std::string good :
       {"a", "a b", "50%.txt", "hash#tag.txt", "ü/ö", "..a", "a..b", "a:b"}) {
    EXPECT_TRUE(ok(check_artifact_path(good))) << good;
  }
}

TEST_F(ArtifactTest, LeavesFilesOfOtherStoresToTheirOwners) {
  const auto experiment = tracking_->create_experiment("s3", {}, "s3://bucket/x");
  const RunId run = new_run("", experiment->id);
  EXPECT_EQ(code_of(tracking_->list_artifacts(run, "")), "failed_precondition");
  EXPECT_EQ(*artifact_root("mlflow-artifacts://host:5000/1/a/"), "1/a");
}

}  // namespace
}  // namespace slipway::tracking
