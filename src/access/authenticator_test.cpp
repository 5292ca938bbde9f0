#include "access/authenticator.h"

#include <gmock/gmock.h>

#include "access/access_test_internal.h"
#include "access/limiter_internal.h"
#include "base/hash.h"

namespace slipway::access {
namespace {

std::string basic(const std::string& user, const std::string& password) {
  return "Basic " + to_base64(user + ":" + password);
}

class AuthenticatorTest : public AccessTest {
 protected:
  void SetUp() override {
    AccessTest::SetUp();
    add("ana");
    add("root2", true);
    authenticator_ = std::make_unique<Authenticator>(*directory_, *audit_, clock_, ids_);
  }
  Result<Identity> log_in(const std::string& header, const std::string& peer = "10.0.0.1") {
    return authenticator_->authenticate(header, peer);
  }
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(AuthenticatorTest, TakesPasswordsAndTokens) {
  const auto by_password = log_in(basic("ana", kGood));
  ASSERT_TRUE(test::ok(by_password));
  EXPECT_EQ(by_password->name, "ana");
  const auto token =
      directory_->create_token(ctx_, {.user = "ana", .scope = {.level = Level::read}});
  ASSERT_TRUE(test::ok(token));
  const auto by_token = log_in("bearer  " + token->text);
  ASSERT_TRUE(test::ok(by_token));
  EXPECT_EQ(by_token->name, "ana");
  EXPECT_EQ(by_token->token, token->token.id);
  EXPECT_EQ(by_token->scope.level, Level::read);
}

TEST_F(AuthenticatorTest, RefusesEverythingElseAlike) {
  const auto token = directory_->create_token(ctx_, {.user = "ana"});
  ASSERT_TRUE(test::ok(token));
  std::string other_secret = token->text;
  other_secret.back() = other_secret.back() == '0' ? '1' : '0';
  const std::string headers[] = {"",
                                 "Basic",
                                 "Basic !!!",
                                 "Basic " + to_base64("ana"),
                                 basic("ana", "wrong wrong wrong"),
                                 basic("ana", ""),
                                 basic("", kGood),
                                 basic("nobody", kGood),
                                 basic("ana ", kGood),
                                 "Bearer",
                                 "Bearer ",
                                 "Bearer x",
                                 "Bearer " + other_secret,
                                 "Bearer " + token->text + "0",
                                 "Bearer " + token->text.substr(0, token->text.size() - 1),
                                 "Digest username=ana",
                                 token->text,
                                 "Basic " + std::string(100'000, 'A')};
  for (const std::string& header : headers)
    EXPECT_TRUE(test::failed_with(log_in(header), Code::unauthenticated)) << header.substr(0, 60);
  EXPECT_EQ(test::message_of(log_in(basic("nobody", kGood))),
            test::message_of(log_in(basic("ana", "wrong wrong wrong"))));
}

TEST_F(AuthenticatorTest, AUserWithoutPasswordCannotLogInWithOne) {
  ASSERT_TRUE(test::ok(directory_->add_user(ctx_, {.name = "robot"})));
  EXPECT_TRUE(test::failed_with(log_in(basic("robot", "")), Code::unauthenticated));
  EXPECT_TRUE(test::failed_with(log_in(basic("robot", kGood)), Code::unauthenticated));
}

TEST_F(AuthenticatorTest, TokensEndWhenTheyExpireOrAreRevoked) {
  const auto token =
      directory_->create_token(ctx_, {.user = "ana", .lifetime = std::chrono::hours(1)});
  const auto other = directory_->create_token(ctx_, {.user = "ana"});
  ASSERT_TRUE(test::ok(token) && test::ok(other));
  clock_.advance(std::chrono::minutes(59));
  EXPECT_TRUE(test::ok(log_in("Bearer " + token->text)));
  clock_.advance(std::chrono::minutes(1));
  EXPECT_TRUE(test::failed_with(log_in("Bearer " + token->text), Code::unauthenticated));
  EXPECT_TRUE(test::ok(log_in("Bearer " + other->text)));
  ASSERT_TRUE(test::ok(directory_->revoke_token(ctx_, other->token.id)));
  EXPECT_TRUE(test::failed_with(log_in("Bearer " + other->text), Code::unauthenticated));
}

TEST_F(AuthenticatorTest, APasswordIsHashedOnceAMinuteAndForgottenWhenItChanges) {
  EXPECT_FALSE(authenticator_->recall(basic("ana", kGood), "10.0.0.1").has_value());
  ASSERT_TRUE(test::ok(log_in(basic("ana", kGood))));
  for (int i = 0; i < 10; ++i) {
    const auto known = authenticator_->recall(basic("ana", kGood), "10.0.0.1");
    ASSERT_TRUE(known.has_value());
    EXPECT_TRUE(test::ok(*known));
  }
  EXPECT_EQ(authenticator_->stats().passwords, 1);
  EXPECT_EQ(authenticator_->stats().remembered, 10);
  clock_.advance(std::chrono::seconds(60));
  EXPECT_FALSE(authenticator_->recall(basic("ana", kGood), "10.0.0.1").has_value());
  ASSERT_TRUE(test::ok(log_in(basic("ana", kGood))));
  ASSERT_TRUE(test::ok(directory_->set_password(ctx_, "ana", "another long secret")));
  EXPECT_FALSE(authenticator_->recall(basic("ana", kGood), "10.0.0.1").has_value());
  EXPECT_TRUE(test::failed_with(log_in(basic("ana", kGood)), Code::unauthenticated));
  ASSERT_TRUE(test::ok(log_in(basic("ana", "another long secret"))));
  ASSERT_TRUE(test::ok(directory_->remove_user(ctx_, "ana")));
  EXPECT_TRUE(
      test::failed_with(log_in(basic("ana", "another long secret")), Code::unauthenticated));
}

TEST_F(AuthenticatorTest, FailuresAreSlowedDownPerUserAndAddress) {
  for (int i = 0; i < 8; ++i)
    EXPECT_TRUE(
        test::failed_with(log_in(basic("ana", "wrong wrong wrong")), Code::unauthenticated));
  EXPECT_TRUE(test::failed_with(log_in(basic("ana", kGood)), Code::resource_exhausted))
      << "not even the right one is tried";
  EXPECT_TRUE(test::ok(log_in(basic("ana", kGood), "10.0.0.2"))) << "from elsewhere she gets in";
  EXPECT_TRUE(test::ok(log_in(basic("root2", kGood)))) << "and others from there, too";
  EXPECT_EQ(actions().back(), "login.slow");
  clock_.advance(std::chrono::seconds(20));
  EXPECT_TRUE(test::ok(log_in(basic("ana", kGood))));
}

TEST(LimiterTest, OneAddressCannotTryManyNames) {
  ManualClock clock(test::kNoon2013);
  Limiter limiter(clock, {});
  int tried = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::string name = "user" + std::to_string(i);
    if (limiter.wait(name, "10.0.0.1").count() > 0) break;
    limiter.failed(name, "10.0.0.1");
    ++tried;
  }
  EXPECT_EQ(tried, 60);
  EXPECT_EQ(limiter.wait("someone", "10.0.0.2").count(), 0);
}

TEST(LimiterTest, RemembersABoundedNumber) {
  ManualClock clock(test::kNoon2013);
  Limiter limiter(clock, {.free_failures = 2, .most = 100});
  limiter.failed("first", "10.0.0.1");
  limiter.failed("first", "10.0.0.1");
  EXPECT_GT(limiter.wait("first", "10.0.0.1").count(), 0);
  for (int i = 0; i < 1000; ++i) {
    clock.advance(std::chrono::milliseconds(1));
    limiter.failed("user" + std::to_string(i), "10.1.0." + std::to_string(i));
  }
  EXPECT_EQ(limiter.wait("first", "10.0.0.1").count(), 0) << "forgotten: others failed later";
}

}  // namespace
}  // namespace slipway::access
