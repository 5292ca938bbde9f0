#include "tracking/tracking_test_internal.h"

namespace slipway::tracking {
namespace {

using test::code_of;
using test::ok;

TEST_F(TrackingTest, ALoggedModelIsPendingUntilFinalized) {
  const auto made = tracking_->create_logged_model({.name = "late",
                                                    .type = "agent",
                                                    .run_id = "r",
                                                    .params = {{"depth", "6"}},
                                                    .tags = {{"k", "v"}}});
  ASSERT_TRUE(ok(made));
  EXPECT_TRUE(made->id.starts_with("m-"));
  EXPECT_EQ(made->status, ModelStatus::pending);
  EXPECT_EQ(made->artifact_uri, "mlflow-artifacts:/0/models/" + made->id + "/artifacts");
  ASSERT_TRUE(ok(tracking_->finalize_logged_model(made->id, ModelStatus::ready)));
  ASSERT_TRUE(ok(tracking_->set_logged_model_tags(made->id, {{"k", "w"}, {"l", "x"}})));
  ASSERT_TRUE(ok(tracking_->delete_logged_model_tag(made->id, "l")));
  EXPECT_EQ(code_of(tracking_->delete_logged_model_tag(made->id, "l")), "not_found");
  ASSERT_TRUE(ok(tracking_->log_logged_model_params(made->id, std::vector<Param>{{"eta", "0.1"}})));
  const auto found = tracking_->logged_model(made->id);
  ASSERT_TRUE(ok(found));
  EXPECT_EQ(found->status, ModelStatus::ready);
  EXPECT_EQ(found->tags, (Tags{{"k", "w"}}));
  EXPECT_EQ(found->params.size(), 2U);
  ASSERT_TRUE(ok(tracking_->delete_logged_model(made->id)));
  EXPECT_EQ(code_of(tracking_->logged_model(made->id)), "not_found");
  EXPECT_TRUE(tracking_->logged_model(made->id, true)->deleted);
  for (const std::string bad : {"a/b", "a:b", "a.b", "a'b"}) {
    EXPECT_EQ(code_of(tracking_->create_logged_model({.name = bad})), "invalid_argument") << bad;
  }
}

TEST_F(TrackingTest, SearchesLoggedModels) {
  for (const std::string name : {"a", "b", "c"}) {
    clock_.advance(std::chrono::seconds(1));
    const auto made = tracking_->create_logged_model(
        {.name = name, .run_id = "run " + name, .tags = {{"letter", name}}});
    ASSERT_TRUE(ok(made));
    if (name == "b") {
      ASSERT_TRUE(ok(tracking_->finalize_logged_model(made->id, ModelStatus::ready)));
    }
  }
  const auto names = [&](const std::string& filter, std::vector<std::string> order_by = {}) {
    const auto page = tracking_->search_logged_models(
        {.experiments = {kDefaultExperiment}, .filter = filter, .order_by = std::move(order_by)});
    EXPECT_TRUE(ok(page)) << filter;
    std::string joined;
    if (page) {
      for (const auto& model : page->items) joined += model.name;
    }
    return joined;
  };
  EXPECT_EQ(names(""), "cba");
  EXPECT_EQ(names("", {"name"}), "abc");
  EXPECT_EQ(names("name = 'b'"), "b");
  EXPECT_EQ(names("status = 'READY'"), "b");
  EXPECT_EQ(names("tags.letter IN ('a', 'c') AND creation_timestamp > 0"), "ca");
  EXPECT_EQ(names("source_run_id = 'run c'"), "c");
  EXPECT_EQ(code_of(tracking_->search_logged_models({.filter = "colour = 'x'"})),
            "invalid_argument");
}

}  // namespace
}  // namespace slipway::tracking
