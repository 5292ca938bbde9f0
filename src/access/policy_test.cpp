#include "access/policy.h"

#include <gmock/gmock.h>

#include "access/access_test_internal.h"

namespace slipway::access {
namespace {

using testing::HasSubstr;

class Policy : public AccessTest {
 protected:
  Decision decide(const std::string& user, const std::string& resource, Level level,
                  Scope scope = {}) const {
    const auto on = Resource::parse(resource);
    EXPECT_TRUE(test::ok(on));
    return access::decide(*directory_->snapshot(), identity(user, std::move(scope)), *on, level);
  }
  std::optional<std::vector<std::string>> seen(const std::string& user, std::string_view kind,
                                               Scope scope = {}) const {
    return visibility_of(directory_->snapshot(), identity(user, std::move(scope)))->seen(kind);
  }
};

TEST_F(Policy, WhatIsNotGrantedIsRefused) {
  add("ana");
  for (const char* resource : {"workspace", "experiment/0", "model/late", "deployment/late"}) {
    const auto decision = decide("ana", resource, Level::read);
    EXPECT_FALSE(decision.allowed) << resource;
    EXPECT_EQ(decision.level, Level::none) << resource;
  }
}

TEST_F(Policy, AGrantHoldsForItsResourceAndNoOther) {
  add("ana");
  struct Row {
    const char* granted;
    const char* asked;
    bool holds;
  };
  constexpr Row kRows[] = {
      {"experiment/7", "experiment/7", true},   {"experiment/7", "experiment/70", false},
      {"experiment/7", "experiment/*", false},  {"experiment/7", "model/7", false},
      {"experiment/7", "workspace", false},     {"experiment/*", "experiment/7", true},
      {"experiment/*", "experiment/*", true},   {"experiment/*", "model/late", false},
      {"experiment/*", "workspace", false},     {"model/late", "model/late", true},
      {"model/late", "model/Late", false},      {"model/late", "model/late2", false},
      {"model/late", "deployment/late", false}, {"workspace", "workspace", true},
      {"workspace", "experiment/7", true},      {"workspace", "model/late", true},
      {"workspace", "deployment/*", true},
  };
  for (const auto& [granted, asked, holds] : kRows) {
    SCOPED_TRACE(fmt::format("{} asked for {}", granted, asked));
    grant("ana", granted, Level::edit);
    EXPECT_EQ(decide("ana", asked, Level::edit).allowed, holds);
    ASSERT_TRUE(test::ok(directory_->revoke(ctx_, {.user = "ana"}, *Resource::parse(granted))));
    EXPECT_FALSE(decide("ana", asked, Level::read).allowed);
  }
}

TEST_F(Policy, EachLevelIncludesTheOnesBeforeIt) {
  add("ana");
  constexpr Level kLevels[] = {Level::read, Level::use, Level::edit, Level::manage};
  for (const Level has : kLevels) {
    grant("ana", "model/late", has);
    for (const Level wanted : kLevels)
      EXPECT_EQ(decide("ana", "model/late", wanted).allowed, wanted <= has)
          << to_string(has) << " asked for " << to_string(wanted);
  }
}

TEST_F(Policy, TheHighestGrantCountsWhoeverHoldsIt) {
  add("ana");
  add("bo");
  ASSERT_TRUE(test::ok(directory_->add_role(ctx_, "scientists")));
  ASSERT_TRUE(test::ok(directory_->assign(ctx_, "ana", "scientists")));
  ASSERT_TRUE(test::ok(directory_->grant(ctx_, {}, {Kind::model, "*"}, Level::read)));
  ASSERT_TRUE(test::ok(
      directory_->grant(ctx_, {.role = "scientists"}, {Kind::model, "late"}, Level::edit)));
  grant("ana", "model/late", Level::use);
  const auto decision = decide("ana", "model/late", Level::edit);
  EXPECT_TRUE(decision.allowed);
  EXPECT_THAT(decision.why, HasSubstr("role 'scientists'"));
  EXPECT_EQ(decide("bo", "model/late", Level::read).level, Level::read);
  EXPECT_FALSE(decide("bo", "model/late", Level::use).allowed);
  ASSERT_TRUE(test::ok(directory_->unassign(ctx_, "ana", "scientists")));
  EXPECT_EQ(decide("ana", "model/late", Level::edit).level, Level::use);
}

TEST_F(Policy, AdminsMayDoEverythingWithinTheirToken) {
  add("root2", true);
  EXPECT_TRUE(decide("root2", "workspace", Level::manage).allowed);
  EXPECT_FALSE(decide("root2", "workspace", Level::edit, {.level = Level::read}).allowed);
  const Scope one{.level = Level::manage, .resource = Resource{Kind::model, "late"}};
  EXPECT_TRUE(decide("root2", "model/late", Level::manage, one).allowed);
  EXPECT_FALSE(decide("root2", "model/other", Level::read, one).allowed);
  EXPECT_FALSE(decide("root2", "workspace", Level::read, one).allowed);
}

TEST_F(Policy, ATokenNeverGivesMoreThanItsUserHas) {
  add("ana");
  grant("ana", "model/late", Level::read);
  const Scope wide{.level = Level::manage, .resource = Resource{Kind::model, "*"}};
  EXPECT_EQ(decide("ana", "model/late", Level::manage, wide).level, Level::read);
  EXPECT_EQ(decide("ana", "model/other", Level::read, wide).level, Level::none);
}

TEST_F(Policy, UsersMakeNewThingsUnlessTheyWereAddedOtherwise) {
  add("ana");
  ASSERT_TRUE(test::ok(
      directory_->add_user(ctx_, {.name = "viewer", .password = kGood, .creates = false})));
  const auto may = [&](const char* user, Scope scope = {}) {
    return decide_create(*directory_->snapshot(), identity(user, std::move(scope)),
                         Kind::experiment)
        .allowed;
  };
  EXPECT_TRUE(may("ana"));
  EXPECT_FALSE(may("ana", {.level = Level::use}));
  EXPECT_FALSE(may("ana", {.resource = Resource{Kind::experiment, "7"}}));
  EXPECT_FALSE(may("ana", {.resource = Resource{Kind::model, "*"}}));
  EXPECT_TRUE(may("ana", {.resource = Resource{Kind::experiment, "*"}}));
  EXPECT_FALSE(may("viewer"));
  grant("viewer", "experiment/*", Level::edit);
  EXPECT_TRUE(may("viewer"));
}

TEST_F(Policy, ListsShowWhatCanBeRead) {
  add("ana");
  add("root2", true);
  EXPECT_EQ(seen("ana", "experiment"), std::vector<std::string>());
  grant("ana", "experiment/7", Level::read);
  grant("ana", "experiment/9", Level::manage);
  grant("ana", "model/late", Level::use);
  EXPECT_EQ(seen("ana", "experiment"), (std::vector<std::string>{"7", "9"}));
  EXPECT_EQ(seen("ana", "model"), (std::vector<std::string>{"late"}));
  const Scope one{.resource = Resource{Kind::experiment, "9"}};
  EXPECT_EQ(seen("ana", "experiment", one), (std::vector<std::string>{"9"}));
  EXPECT_EQ(seen("ana", "model", one), std::vector<std::string>());
  EXPECT_EQ(seen("root2", "model"), std::nullopt);
  EXPECT_EQ(seen("root2", "model", one), std::vector<std::string>());
  EXPECT_EQ(seen("root2", "experiment", one), (std::vector<std::string>{"9"}));
  grant("ana", "model/*", Level::read);
  EXPECT_EQ(seen("ana", "model"), std::nullopt);
  EXPECT_EQ(seen("ana", "nonsense"), std::vector<std::string>());
}

TEST(Resources, AreReadAndWrittenAlike) {
  for (const char* text :
       {"workspace", "experiment/7", "model/late", "model/*", "deployment/a/b"}) {
    const auto resource = Resource::parse(text);
    ASSERT_TRUE(test::ok(resource));
    EXPECT_EQ(resource->text(), text);
  }
  for (const char* text : {"", "model", "model/", "workspace/other", "dataset/x", "Model/x"})
    EXPECT_TRUE(test::failed_with(Resource::parse(text), Code::invalid_argument)) << text;
}

}  // namespace
}  // namespace slipway::access
