#include "registry/registry.h"

#include <gtest/gtest.h>

#include <thread>

#include "audit/audit.h"
#include "db/database.h"
#include "support/database.h"
#include "support/opened.h"
#include "support/support.h"

namespace slipway::registry {
namespace {

using test::code_of;
using test::message_of;
using test::ok;

class RegistryTest : public testing::Test {
 protected:
  void SetUp() override {
    db_ = test::opened(
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    log_ = test::opened(audit::Log::open(*db_, scratch_ / "keys", clock_));
    registry_ = test::opened(Registry::open(*db_, *log_, clock_));
    ctx_.principal.name = "ada";
  }
  // A model with so many versions.
  void add_model(const std::string& name, int versions) {
    ASSERT_TRUE(ok(registry_->create_model(ctx_, name)));
    for (int i = 0; i < versions; ++i) {
      ASSERT_TRUE(ok(registry_->create_version(ctx_, name, {.source = "runs:/r/model"})));
    }
  }
  // "action object" of every entry of the audit log.
  std::vector<std::string> audited() {
    const auto entries = log_->list({.actor = "ada"});  // not the log's own
    EXPECT_TRUE(ok(entries));
    std::vector<std::string> lines;
    for (const auto& entry : *entries) {
      lines.push_back(entry.event.action + " " + entry.event.object);
    }
    return lines;
  }
  std::vector<std::int64_t> numbers(const std::string& filter,
                                    std::vector<std::string> order_by = {}) {
    const auto page =
        registry_->search_versions({.filter = filter, .order_by = std::move(order_by)});
    EXPECT_TRUE(ok(page)) << filter;
    std::vector<std::int64_t> numbers;
    if (page) {
      for (const auto& version : page->items) numbers.push_back(version.number);
    }
    return numbers;
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  Context ctx_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> log_;
  std::unique_ptr<Registry> registry_;
};

TEST_F(RegistryTest, CreatesModelsWithMlflowsNames) {
  const auto model = registry_->create_model(ctx_, "flights", "late or not", {{"team", "ops"}});
  ASSERT_TRUE(ok(model));
  EXPECT_EQ(model->description, "late or not");
  EXPECT_EQ(model->tags.at("team"), "ops");
  EXPECT_EQ(model->created, test::kNoon2013);
  EXPECT_EQ(code_of(registry_->create_model(ctx_, "flights")), "already_exists");
  EXPECT_TRUE(ok(registry_->ensure_model(ctx_, "flights")));
  EXPECT_TRUE(ok(registry_->ensure_model(ctx_, "Flights of 2013 (ü)")));
  for (const std::string bad : {"", "a/b", "a:b", "a\nb"}) {
    EXPECT_EQ(code_of(registry_->create_model(ctx_, bad)), "invalid_argument") << bad;
  }
  EXPECT_EQ(code_of(registry_->model("nobody")), "not_found");
}

TEST_F(RegistryTest, AVersionKeepsWhatItWasMadeOf) {
  add_model("flights", 0);
  const std::string digest(64, 'a');
  const VersionSpec spec{.source = "mlflow-artifacts:/1/r/artifacts/model",
                         .run_id = "r",
                         .digest = digest,
                         .description = "first",
                         .tags = {{"k", "v"}},
                         .metadata = {{"signature", {{"inputs", 37}}}}};
  const auto version = registry_->create_version(ctx_, "flights", spec);
  ASSERT_TRUE(ok(version));
  EXPECT_EQ(version->number, 1);
  EXPECT_EQ(version->source, spec.source);
  EXPECT_EQ(version->run_id, "r");
  EXPECT_EQ(version->digest, digest);
  EXPECT_EQ(version->status, "READY");
  EXPECT_EQ(version->stage, "None");
  EXPECT_EQ(version->user, "ada");
  EXPECT_EQ(version->tags.at("k"), "v");
  EXPECT_EQ(version->metadata, spec.metadata);

  struct Row {
    std::string why;
    VersionSpec spec;
  };
  for (const auto& row : std::vector<Row>{
           {"no source", {}},
           {"climbs out", {.source = "mlflow-artifacts:/1/../../etc"}},
           {"backslash", {.source = "runs:/a\\b"}},
           {"digest", {.source = "runs:/r/m", .digest = "abc"}},
           {"metadata", {.source = "runs:/r/m", .metadata = Json::array()}},
           {"tag", {.source = "runs:/r/m", .tags = {{"", "x"}}}},
       }) {
    EXPECT_EQ(code_of(registry_->create_version(ctx_, "flights", row.spec)), "invalid_argument")
        << row.why;
  }
  EXPECT_EQ(code_of(registry_->create_version(ctx_, "nobody", {.source = "runs:/r/m"})),
            "not_found");
}

TEST_F(RegistryTest, NeverUsesANumberTwice) {
  add_model("flights", 3);
  ASSERT_TRUE(ok(registry_->delete_version(ctx_, "flights", 3)));
  EXPECT_EQ(registry_->create_version(ctx_, "flights", {.source = "runs:/r/m"})->number, 4);
  EXPECT_EQ(registry_->latest_version("flights")->number, 4);
  EXPECT_EQ(code_of(registry_->version("flights", 3)), "not_found");
  EXPECT_EQ(code_of(registry_->latest_version("nobody")), "not_found");
  std::vector<std::int64_t> left;
  const auto versions = registry_->versions("flights");
  ASSERT_TRUE(ok(versions));
  for (const auto& version : *versions) left.push_back(version.number);
  EXPECT_EQ(left, (std::vector<std::int64_t>{4, 2, 1}));
}

TEST_F(RegistryTest, VersionsMadeAtOnceGetDistinctNumbers) {
  add_model("flights", 0);
  std::vector<std::jthread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int j = 0; j < 25; ++j) {
        EXPECT_TRUE(ok(registry_->create_version(ctx_, "flights", {.source = "runs:/r/m"})));
      }
    });
  }
  threads.clear();
  const auto versions = registry_->versions("flights");
  ASSERT_TRUE(ok(versions));
  ASSERT_EQ(versions->size(), 100U);
  EXPECT_EQ(versions->front().number, 100);
  EXPECT_EQ(versions->back().number, 1);
}

TEST_F(RegistryTest, MovesAnAliasAndRemembersEveryMove) {
  add_model("flights", 2);
  EXPECT_EQ(code_of(registry_->find_by_alias("flights", "champion")), "not_found");
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 1, "first")));
  clock_.advance(std::chrono::hours(1));
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 2, "better")));
  clock_.advance(std::chrono::hours(1));
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 2)));  // no move
  EXPECT_EQ(registry_->find_by_alias("flights", "champion")->number, 2);
  EXPECT_EQ(registry_->version("flights", 2)->aliases, std::vector<std::string>{"champion"});
  EXPECT_TRUE(registry_->version("flights", 1)->aliases.empty());
  EXPECT_EQ(registry_->model("flights")->aliases.at("champion"), 2);
  ASSERT_TRUE(ok(registry_->delete_alias(ctx_, "flights", "champion", "retired")));
  ASSERT_TRUE(ok(registry_->delete_alias(ctx_, "flights", "champion")));  // nothing to do

  const auto moves = registry_->alias_history("flights", "champion");
  ASSERT_TRUE(ok(moves));
  ASSERT_EQ(moves->size(), 3U);
  EXPECT_EQ((*moves)[0].from, std::nullopt);
  EXPECT_EQ((*moves)[1].from, 1);
  EXPECT_EQ((*moves)[1].to, 2);
  EXPECT_EQ((*moves)[1].reason, "better");
  EXPECT_EQ((*moves)[1].actor, "ada");
  EXPECT_EQ((*moves)[2].to, std::nullopt);

  const std::vector<std::pair<Duration, std::optional<std::int64_t>>> rows = {
      {std::chrono::seconds(-1), std::nullopt},
      {std::chrono::seconds(0), 1},
      {std::chrono::minutes(59), 1},
      {std::chrono::hours(1), 2},
      {std::chrono::minutes(119), 2},
      {std::chrono::hours(2), std::nullopt},
  };
  for (const auto& [after, want] : rows) {
    SCOPED_TRACE(format_duration(after));
    EXPECT_EQ(*registry_->alias_at("flights", "champion", test::kNoon2013 + after), want);
    // The same, together with whatever else pointed somewhere then.
    const auto all = registry_->aliases_at("flights", test::kNoon2013 + after);
    ASSERT_TRUE(ok(all));
    ASSERT_EQ(all->size(), want ? 1U : 0U);
    if (want) {
      EXPECT_EQ(all->front().to, want);
    }
  }
  EXPECT_EQ(code_of(registry_->aliases_at("nobody", clock_.now())), "not_found");
}

TEST_F(RegistryTest, RefusesAliasesThatMeanSomethingElse) {
  add_model("flights", 1);
  const std::vector<std::string> refused = {
      "", "latest", "LATEST", "v1", "V22", "a b", "a/b", "ü", std::string(256, 'a')};
  for (const auto& bad : refused) {
    EXPECT_EQ(code_of(registry_->set_alias(ctx_, "flights", bad, 1)), "invalid_argument") << bad;
  }
  for (const std::string good : {"v", "version1", "v1a", "champion_2", "a-b"}) {
    EXPECT_TRUE(ok(registry_->set_alias(ctx_, "flights", good, 1))) << good;
  }
  EXPECT_EQ(code_of(registry_->set_alias(ctx_, "flights", "champion", 9)), "not_found");
  EXPECT_EQ(code_of(registry_->set_alias(ctx_, "nobody", "champion", 1)), "not_found");
  EXPECT_NE(message_of(registry_->find_by_alias("nobody", "x")).find("nobody"), std::string::npos);
}

TEST_F(RegistryTest, AVersionWithAnAliasIsNotDeleted) {
  add_model("flights", 1);
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 1)));
  const auto refused = registry_->delete_version(ctx_, "flights", 1);
  EXPECT_EQ(code_of(refused), "failed_precondition");
  EXPECT_NE(message_of(refused).find("champion"), std::string::npos);
  ASSERT_TRUE(ok(registry_->delete_alias(ctx_, "flights", "champion")));
  ASSERT_TRUE(ok(registry_->delete_version(ctx_, "flights", 1)));
}

TEST_F(RegistryTest, EveryChangeThatMattersIsAudited) {
  add_model("flights", 2);
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 1)));
  ASSERT_TRUE(ok(registry_->record_gate(ctx_, "flights", 2, true, {{"auc", 0.7}})));
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 2)));
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 2)));
  ASSERT_TRUE(ok(registry_->set_stage(ctx_, "flights", 1, "archived", false)));
  ASSERT_TRUE(ok(registry_->delete_version(ctx_, "flights", 1)));
  ASSERT_TRUE(ok(registry_->rename_model(ctx_, "flights", "late")));
  ASSERT_TRUE(ok(registry_->delete_alias(ctx_, "late", "champion")));
  ASSERT_TRUE(ok(registry_->delete_model(ctx_, "late")));
  EXPECT_FALSE(
      registry_->create_version(ctx_, "late", {.source = "runs:/r/m"}));  // failed: no entry
  EXPECT_EQ(audited(), (std::vector<std::string>{
                           "model.create models/flights", "version.create models/flights/1",
                           "version.create models/flights/2", "alias.set models/flights@champion",
                           "gate.decide models/flights/2", "alias.set models/flights@champion",
                           "version.stage models/flights/1", "version.delete models/flights/1",
                           "model.rename models/flights", "alias.delete models/late@champion",
                           "model.delete models/late"}));
}

TEST_F(RegistryTest, RenamingKeepsVersionsAliasesAndHistory) {
  add_model("flights", 1);
  add_model("other", 0);
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 1)));
  EXPECT_EQ(code_of(registry_->rename_model(ctx_, "flights", "other")), "already_exists");
  ASSERT_TRUE(ok(registry_->rename_model(ctx_, "flights", "late")));
  EXPECT_EQ(registry_->find_by_alias("late", "champion")->model, "late");
  EXPECT_EQ(registry_->alias_history("late", "champion")->size(), 1U);
  EXPECT_EQ(code_of(registry_->model("flights")), "not_found");
}

TEST_F(RegistryTest, ANewModelDoesNotInheritTheHistoryOfADeletedOne) {
  add_model("flights", 1);
  ASSERT_TRUE(ok(registry_->set_alias(ctx_, "flights", "champion", 1)));
  ASSERT_TRUE(ok(registry_->delete_model(ctx_, "flights")));
  add_model("flights", 1);
  EXPECT_TRUE(registry_->alias_history("flights", "champion")->empty());
  EXPECT_EQ(*registry_->alias_at("flights", "champion", clock_.now()), std::nullopt);
  EXPECT_EQ(registry_->version("flights", 1)->number, 1);
}

TEST_F(RegistryTest, KeepsWhatAGateSaid) {
  add_model("flights", 1);
  ASSERT_TRUE(ok(registry_->record_gate(ctx_, "flights", 1, false, {{"auc", 0.6}})));
  ASSERT_TRUE(ok(registry_->record_gate(ctx_, "flights", 1, true, {{"auc", 0.7}})));
  const auto gates = registry_->gates("flights", 1);
  ASSERT_TRUE(ok(gates));
  ASSERT_EQ(gates->size(), 2U);
  EXPECT_FALSE((*gates)[0].passed);
  EXPECT_EQ((*gates)[1].decision, (Json{{"auc", 0.7}}));
  EXPECT_EQ(code_of(registry_->record_gate(ctx_, "flights", 9, true, {})), "not_found");
}

TEST_F(RegistryTest, StagesAreLabelsOfWhichTheNewestVersionCounts) {
  add_model("flights", 3);
  ASSERT_TRUE(ok(registry_->set_stage(ctx_, "flights", 1, "production", false)));
  ASSERT_TRUE(ok(registry_->set_stage(ctx_, "flights", 2, "Production", true)));
  EXPECT_EQ(registry_->version("flights", 1)->stage, "Archived");
  const auto latest = registry_->latest_by_stage("flights");
  ASSERT_TRUE(ok(latest));
  std::map<std::string, std::int64_t> by_stage;
  for (const auto& version : *latest) by_stage[version.stage] = version.number;
  EXPECT_EQ(by_stage,
            (std::map<std::string, std::int64_t>{{"Archived", 1}, {"Production", 2}, {"None", 3}}));
  EXPECT_EQ(code_of(registry_->set_stage(ctx_, "flights", 1, "Gone", false)), "invalid_argument");
  EXPECT_EQ(code_of(registry_->set_stage(ctx_, "flights", 1, "None", true)), "invalid_argument");
}

TEST_F(RegistryTest, SearchesVersions) {
  add_model("a", 0);
  add_model("b", 0);
  ASSERT_TRUE(ok(registry_->create_version(ctx_, "a", {.source = "runs:/r1/m", .run_id = "r1"})));
  ASSERT_TRUE(ok(registry_->create_version(ctx_, "a", {.source = "runs:/r2/m", .run_id = "r2"})));
  ASSERT_TRUE(ok(registry_->create_version(
      ctx_, "b", {.source = "runs:/r3/m", .run_id = "r2", .tags = {{"ok", "yes"}}})));
  using Numbers = std::vector<std::int64_t>;
  EXPECT_EQ(numbers(""), (Numbers{2, 1, 1}));
  EXPECT_EQ(numbers("name = 'a'"), (Numbers{2, 1}));
  EXPECT_EQ(numbers("name='a'", {"version_number ASC"}), (Numbers{1, 2}));
  EXPECT_EQ(numbers("run_id IN ('r1')"), (Numbers{1}));
  EXPECT_EQ(numbers("run_id = 'r2' and name LIKE 'b%'"), (Numbers{1}));
  EXPECT_EQ(numbers("version_number > 1"), (Numbers{2}));
  EXPECT_EQ(numbers("tags.ok = 'yes'"), (Numbers{1}));
  EXPECT_EQ(numbers("source_path = 'runs:/r2/m'"), (Numbers{2}));
  EXPECT_EQ(code_of(registry_->search_versions({.filter = "colour = 'x'"})), "invalid_argument");
  const auto first = registry_->search_versions({.max_results = 2});
  ASSERT_TRUE(ok(first));
  EXPECT_EQ(registry_->search_versions({.max_results = 2, .page = first->next_page})->items.size(),
            1U);
}

TEST_F(RegistryTest, SearchesModelsAndHidesPrompts) {
  ASSERT_TRUE(ok(registry_->create_model(ctx_, "late")));
  ASSERT_TRUE(ok(registry_->create_model(ctx_, "early", {}, {{"team", "ops"}})));
  ASSERT_TRUE(
      ok(registry_->create_model(ctx_, "hello", {}, {{"mlflow.prompt.is_prompt", "true"}})));
  const auto names = [&](const std::string& filter, std::vector<std::string> order = {}) {
    std::string joined;
    const auto page = registry_->search_models({.filter = filter, .order_by = std::move(order)});
    EXPECT_TRUE(ok(page)) << filter;
    if (page) {
      for (const auto& model : page->items) joined += model.name + " ";
    }
    return joined;
  };
  EXPECT_EQ(names(""), "early late ");
  EXPECT_EQ(names("", {"name DESC"}), "late early ");
  EXPECT_EQ(names("name ILIKE 'LA%'"), "late ");
  EXPECT_EQ(names("tags.team = 'ops'"), "early ");
  EXPECT_EQ(names("tags.`mlflow.prompt.is_prompt` = 'true'"), "hello ");
  EXPECT_EQ(names("name LIKE '%l%' AND tag.`mlflow.prompt.is_prompt` != 'true'"), "early late ");
  EXPECT_EQ(code_of(registry_->search_models({.max_results = 0})), "invalid_argument");
}

TEST_F(RegistryTest, TagsCanBeSetAndDeletedOnBoth) {
  add_model("flights", 1);
  ASSERT_TRUE(ok(registry_->set_model_tag("flights", "a", "1")));
  ASSERT_TRUE(ok(registry_->set_model_tag("flights", "a", "2")));
  ASSERT_TRUE(ok(registry_->set_version_tag("flights", 1, "b", "3")));
  EXPECT_EQ(registry_->model("flights")->tags, (Tags{{"a", "2"}}));
  EXPECT_EQ(registry_->version("flights", 1)->tags, (Tags{{"b", "3"}}));
  ASSERT_TRUE(ok(registry_->delete_model_tag("flights", "a")));
  ASSERT_TRUE(ok(registry_->delete_version_tag("flights", 1, "b")));
  EXPECT_TRUE(registry_->model("flights")->tags.empty());
  EXPECT_TRUE(registry_->version("flights", 1)->tags.empty());
  EXPECT_EQ(code_of(registry_->set_version_tag("flights", 2, "b", "3")), "not_found");
}

}  // namespace
}  // namespace slipway::registry
