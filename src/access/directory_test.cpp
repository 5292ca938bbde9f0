#include "access/directory.h"

#include <gmock/gmock.h>

#include "access/access_test_internal.h"
#include "access/policy.h"

namespace slipway::access {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

class DirectoryTest : public AccessTest {};

TEST_F(DirectoryTest, KeepsPasswordsOnlyAsArgon2) {
  add("ana");
  const std::string hash = directory_->snapshot()->user_named("ana")->password;
  EXPECT_THAT(hash, testing::StartsWith("$argon2id$"));
  if (test::on_postgres()) return;  // there is no file to look into
  const auto bytes = read_file(scratch_ / "slipway.db");
  ASSERT_TRUE(test::ok(bytes));
  EXPECT_THAT(*bytes, Not(HasSubstr(kGood)));
}

TEST_F(DirectoryTest, RefusesNamesAndPasswordsThatCannotBe) {
  for (const std::string name : {"", "a b", "a:b", "*", "_x", "a/b", "ana\n", "local", "Everyone"})
    EXPECT_TRUE(test::failed_with(directory_->add_user(ctx_, {.name = name, .password = kGood}),
                                  Code::invalid_argument))
        << name;
  for (const std::string password : {"short", "elevenchars", "aaaaaaaaaaaaaaaa", "Password1234",
                                     "bob.jones123", "\xff\xfe abcdefghijklm"})
    EXPECT_TRUE(
        test::failed_with(directory_->add_user(ctx_, {.name = "bob.jones", .password = password}),
                          Code::invalid_argument))
        << password;
}

TEST_F(DirectoryTest, NamesThatLookAlikeAreOneUser) {
  add("Ana");
  EXPECT_TRUE(test::failed_with(directory_->add_user(ctx_, {.name = "ana", .password = kGood}),
                                Code::already_exists));
  EXPECT_EQ(directory_->snapshot()->user_named("ANA")->name, "Ana");
}

TEST_F(DirectoryTest, EveryChangeIsAuditedWithoutSecrets) {
  add("ana");
  const auto token = directory_->create_token(ctx_, {.user = "ana", .label = "ci"});
  ASSERT_TRUE(test::ok(token));
  ASSERT_TRUE(test::ok(directory_->set_password(ctx_, "ana", "another long secret")));
  ASSERT_TRUE(test::ok(directory_->set_admin(ctx_, "ana", true)));
  ASSERT_TRUE(test::ok(directory_->add_role(ctx_, "ds")));
  ASSERT_TRUE(test::ok(directory_->assign(ctx_, "ana", "ds")));
  ASSERT_TRUE(test::ok(directory_->grant(ctx_, {.role = "ds"}, {Kind::model, "m"}, Level::use)));
  ASSERT_TRUE(test::ok(directory_->revoke(ctx_, {.role = "ds"}, {Kind::model, "m"})));
  ASSERT_TRUE(test::ok(directory_->unassign(ctx_, "ana", "ds")));
  ASSERT_TRUE(test::ok(directory_->remove_role(ctx_, "ds")));
  ASSERT_TRUE(test::ok(directory_->revoke_token(ctx_, token->token.id)));
  EXPECT_THAT(actions(), ElementsAre("user.create", "token.create", "user.password", "user.admin",
                                     "role.create", "role.assign", "grant.set", "grant.remove",
                                     "role.unassign", "role.delete", "token.revoke"));
  const auto entries = audit_->list({});
  ASSERT_TRUE(test::ok(entries));
  for (const auto& entry : *entries) {
    EXPECT_THAT(entry.event.details.dump(), Not(HasSubstr("secret")));
    EXPECT_THAT(entry.event.details.dump(), Not(HasSubstr(token->text.substr(20))));
  }
}

TEST_F(DirectoryTest, ADeletedUserLeavesNothingToTheNextOfThatName) {
  add("root2", true);
  add("ana");
  grant("ana", "model/late", Level::manage);
  const auto token = directory_->create_token(ctx_, {.user = "ana"});
  ASSERT_TRUE(test::ok(token));
  ASSERT_TRUE(test::ok(directory_->remove_user(ctx_, "ana")));
  EXPECT_TRUE(directory_->snapshot()->tokens.empty());
  add("ana");
  const auto now =
      decide(*directory_->snapshot(), identity("ana"), {Kind::model, "late"}, Level::read);
  EXPECT_FALSE(now.allowed);
}

TEST_F(DirectoryTest, TheLastAdminStays) {
  add("root2", true);
  EXPECT_TRUE(test::failed_with(directory_->remove_user(ctx_, "root2"), Code::failed_precondition));
  EXPECT_TRUE(
      test::failed_with(directory_->set_admin(ctx_, "root2", false), Code::failed_precondition));
  add("root3", true);
  EXPECT_TRUE(test::ok(directory_->remove_user(ctx_, "root2")));
}

TEST_F(DirectoryTest, GrantsAndTokensFollowAModelsName) {
  add("ana");
  add("bo");
  grant("ana", "model/old", Level::manage);
  grant("bo", "model/new", Level::edit);
  const auto rename = [&](const std::string& from, const std::string& to) {
    const auto renamed = db_->write(
        [&](db::Transaction& tx) { return directory_->renamed(tx, Kind::model, from, to); });
    EXPECT_TRUE(test::ok(directory_->refresh()));
    return renamed;
  };
  const auto level = [&](const char* user, const char* model) {
    return decide(*directory_->snapshot(), identity(user), {Kind::model, model}, Level::read).level;
  };
  ASSERT_TRUE(test::ok(rename("old", "new")));
  EXPECT_EQ(level("ana", "new"), Level::manage);
  EXPECT_EQ(level("ana", "old"), Level::none);
  EXPECT_EQ(level("bo", "new"), Level::none) << "was granted on another model of that name";
  EXPECT_TRUE(test::failed_with(rename("new", "*"), Code::invalid_argument));
  EXPECT_EQ(level("ana", "anything"), Level::none);
  ASSERT_TRUE(test::ok(db_->write(
      [&](db::Transaction& tx) { return directory_->removed(tx, Kind::model, "new"); })));
  ASSERT_TRUE(test::ok(directory_->refresh()));
  EXPECT_EQ(level("ana", "new"), Level::none);
}

TEST_F(DirectoryTest, ChangesOfAnotherProcessAreNoticed) {
  const auto other = open();
  ASSERT_TRUE(test::ok(other->add_user(ctx_, {.name = "ana", .password = kGood})));
  EXPECT_EQ(directory_->snapshot()->user_named("ana"), nullptr);
  ASSERT_TRUE(test::ok(directory_->refresh()));
  EXPECT_NE(directory_->snapshot()->user_named("ana"), nullptr);
}

TEST_F(DirectoryTest, TokensRememberWhenTheyWereUsedAndAreForgottenAtLast) {
  add("ana");
  const auto token =
      directory_->create_token(ctx_, {.user = "ana", .lifetime = std::chrono::hours(1)});
  ASSERT_TRUE(test::ok(token));
  clock_.advance(std::chrono::minutes(5));
  directory_->note_use(token->token.id);
  ASSERT_TRUE(test::ok(directory_->flush()));
  auto tokens = directory_->tokens();
  ASSERT_TRUE(test::ok(tokens));
  ASSERT_EQ(tokens->size(), 1U);
  EXPECT_EQ((*tokens)[0].last_used, clock_.now());
  clock_.advance(std::chrono::days(40));
  directory_->note_use("of another token");
  ASSERT_TRUE(test::ok(directory_->flush()));
  tokens = directory_->tokens();
  ASSERT_TRUE(test::ok(tokens));
  EXPECT_TRUE(tokens->empty());
}

TEST_F(DirectoryTest, TheFirstStartMakesAnAdminAndLaterOnesDoNot) {
  const auto password = directory_->bootstrap(ctx_, "admin");
  ASSERT_TRUE(test::ok(password));
  ASSERT_TRUE(password->has_value());
  EXPECT_GE((*password)->size(), 32U);
  EXPECT_TRUE(directory_->snapshot()->user_named("admin")->admin);
  const auto again = directory_->bootstrap(ctx_, "admin");
  ASSERT_TRUE(test::ok(again));
  EXPECT_FALSE(again->has_value());
}

}  // namespace
}  // namespace slipway::access
