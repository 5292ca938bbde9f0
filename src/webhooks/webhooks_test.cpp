#include "webhooks/webhooks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/guarded.h"
#include "support/database.h"
#include "support/opened.h"
#include "support/small_server.h"
#include "support/support.h"
#include "webhooks/webhooks_internal.h"

namespace slipway::webhooks {
namespace {

using test::code_of;
using test::ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using std::chrono::seconds;

// A receiver that answers with the statuses it was given, then 200, and keeps what it heard.
class Receiver {
 public:
  explicit Receiver(std::vector<int> statuses = {}, std::string more = {})
      : statuses_(std::move(statuses)),
        more_(std::move(more)),
        server_([this](const auto& text) { return heard(text); }) {}

  std::string url() const { return server_.url("/hook"); }
  std::vector<std::string> requests() const {
    return requests_.with([](const auto& all) { return all; });
  }
  std::vector<Json> bodies() const {
    std::vector<Json> bodies;
    for (const auto& request : requests()) {
      bodies.push_back(Json::parse(request.substr(request.find("\r\n\r\n") + 4)));
    }
    return bodies;
  }

 private:
  std::string heard(const std::string& request) {
    const auto count = requests_.with([&](auto& all) {
      all.push_back(request);
      return all.size();
    });
    return test::answer(count <= statuses_.size() ? statuses_[count - 1] : 200, "heard", more_);
  }

  std::vector<int> statuses_;
  std::string more_;
  Guarded<std::vector<std::string>> requests_;
  test::SmallServer server_;  // last: its threads use what stands above
};

std::string header(const std::string& request, const std::string& name) {
  const auto at = request.find("\r\n" + name + ": ");
  if (at == std::string::npos) return "";
  const auto begin = at + 4 + name.size();
  return request.substr(begin, request.find("\r\n", begin) - begin);
}

class WebhooksTest : public testing::Test {
 protected:
  void SetUp() override {
    db_ = test::opened(
        db::Database::open(test::database_at(scratch_ / "slipway.db"), {.durable = false}));
    audit_ = test::opened(audit::Log::open(*db_, scratch_ / "keys", clock_));
    reopen({.allow_http = true});
  }

  void reopen(const Options& options) {
    webhooks_.reset();
    webhooks_ = test::opened(
        Webhooks::open({*db_, *audit_, http_, clock_, ids_}, scratch_ / "keys", 1, options));
  }

  Webhook add(const std::string& url, const std::string& name = "hook",
              std::vector<std::string> events = {"model_version.created"},
              const std::string& secret = "") {
    auto made = webhooks_->create(
        ctx_, {.name = name, .url = url, .events = std::move(events), .secret = secret});
    EXPECT_TRUE(ok(made));
    return made ? *made : Webhook{};
  }

  void publish(std::int64_t version, const std::string& entity = "model_version") {
    auto done = db_->write([&](db::Transaction& tx) {
      return webhooks_->publish(
          tx, {entity, "created", {{"name", "late"}, {"version", std::to_string(version)}}});
    });
    EXPECT_TRUE(ok(done));
  }

  int deliver() {
    auto delivered = webhooks_->deliver(ctx_);
    EXPECT_TRUE(ok(delivered));
    return delivered ? *delivered : -1;
  }

  std::vector<DeliveryState> states() const {
    std::vector<DeliveryState> found;
    const auto all = webhooks_->deliveries({});
    EXPECT_TRUE(ok(all));
    for (const auto& delivery : *all) found.insert(found.begin(), delivery.state);
    return found;
  }

  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  SystemClock steady_;
  SequentialIds ids_;
  net::HttpClient http_{*net::EgressPolicy::parse({"localhost"}), steady_};
  Context ctx_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<Webhooks> webhooks_;
};

constexpr auto kPending = DeliveryState::pending;
constexpr auto kDelivered = DeliveryState::delivered;
constexpr auto kDead = DeliveryState::dead;

// Computed with Python's hmac and base64 modules.
TEST(Signature, IsHmacOfIdTimeAndBody) {
  EXPECT_EQ(signature("secret", "d1", "1700000000", R"({"a":1})"),
            "v1,wlU8/88X8uHW0WG8enjE55SLdEN4T5sdonj5u63gXK4=");
}

TEST(Events, EachHasAnExample) {
  EXPECT_TRUE(is_event_name("prompt_alias.deleted"));
  EXPECT_FALSE(is_event_name("model_version.deleted"));
  EXPECT_EQ(example_data("model_version_alias.created").at("alias"), "champion");
}

TEST_F(WebhooksTest, AWebhookIsMadeFoundChangedAndRemoved) {
  const auto made =
      add("https://localhost/hook", "hook", {"prompt.created", "prompt_tag.set"}, "s");
  EXPECT_TRUE(made.has_secret);
  EXPECT_THAT(webhooks_->get(made.id)->events, ElementsAre("prompt.created", "prompt_tag.set"));
  const auto changed = webhooks_->update(
      ctx_, made.id,
      {.name = "other", .events = std::vector<std::string>{"prompt.created"}, .active = false});
  ASSERT_TRUE(ok(changed));
  EXPECT_EQ(changed->name, "other");
  EXPECT_FALSE(changed->active);
  EXPECT_TRUE(changed->has_secret);
  EXPECT_EQ(webhooks_->list()->size(), 1U);
  ASSERT_TRUE(ok(webhooks_->remove(ctx_, made.id)));
  EXPECT_EQ(code_of(webhooks_->get(made.id)), "not_found");
  std::vector<std::string> actions;
  const auto entries = audit_->list({.action_prefix = "webhook."});
  ASSERT_TRUE(ok(entries));
  for (const auto& entry : *entries) {
    actions.push_back(entry.event.action);
    EXPECT_THAT(entry.event.details.dump(), Not(HasSubstr("localhost")));
  }
  EXPECT_THAT(actions, ElementsAre("webhook.create", "webhook.update", "webhook.delete"));
}

TEST_F(WebhooksTest, WhatCannotBeAWebhookIsRefused) {
  const WebhookSpec good{.name = "a", .url = "https://localhost/", .events = {"prompt.created"}};
  ASSERT_TRUE(ok(webhooks_->create(ctx_, good)));
  struct Row {
    std::string what;
    std::function<void(WebhookSpec&)> spoil;
    std::string code = "invalid_argument";
  };
  for (const auto& row : std::vector<Row>{
           {"taken", [](auto& s) { s.name = "a"; }, "already_exists"},
           {"capitals", [](auto& s) { s.name = "Hook"; }},
           {"ends in a dash", [](auto& s) { s.name = "a-"; }},
           {"long", [](auto& s) { s.name = std::string(64, 'a'); }},
           {"no events", [](auto& s) { s.events.clear(); }},
           {"no such event", [](auto& s) { s.events = {"model_version.deleted"}; }},
           {"no URL", [](auto& s) { s.url = "nothing"; }},
           {"a file", [](auto& s) { s.url = "file:///etc/passwd"; }},
           {"a password", [](auto& s) { s.url = "https://u:p@localhost/"; }},
           {"not allowed", [](auto& s) { s.url = "https://10.0.0.1/"; }, "permission_denied"},
       }) {
    WebhookSpec spec = good;
    spec.name = "b";
    row.spoil(spec);
    EXPECT_EQ(code_of(webhooks_->create(ctx_, spec)), row.code) << row.what;
  }
  reopen({});
  WebhookSpec plain = good;
  plain.name = "c";
  plain.url = "http://localhost/";
  EXPECT_EQ(code_of(webhooks_->create(ctx_, plain)), "invalid_argument");
}

TEST_F(WebhooksTest, SecretsAreSealedInTheDatabaseAndBoundToTheirWebhook) {
  add("https://localhost/", "one", {"prompt.created"}, "a secret worth keeping");
  const auto sealed = db_->read([](db::Connection& c) -> Result<std::string> {
    auto rows = c.query("SELECT secret FROM webhooks");
    if (!rows) return rows.error();
    rows->next();
    return rows->text(0);
  });
  ASSERT_TRUE(ok(sealed));
  EXPECT_THAT(*sealed, Not(HasSubstr("secret")));
  const auto box = SecretBox::open(scratch_ / "keys");
  ASSERT_TRUE(ok(box));
  const auto id = webhooks_->list()->at(0).id;
  EXPECT_EQ(*box->unseal(*sealed, id), "a secret worth keeping");
  EXPECT_EQ(code_of(box->unseal(*sealed, "another webhook")), "data_loss");
  EXPECT_EQ(code_of(box->unseal("AAAA", id)), "data_loss");
  const auto other = SecretBox::open(scratch_ / "other keys");
  EXPECT_EQ(code_of(other->unseal(*sealed, id)), "data_loss");
  const auto mode = std::filesystem::status(scratch_ / "keys" / "webhooks.key").permissions();
  EXPECT_EQ(mode, std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST_F(WebhooksTest, AnEventReachesWhoAskedForItSigned) {
  Receiver receiver, other;
  add(receiver.url(), "hook", {"model_version.created"}, "secret");
  add(other.url(), "other", {"prompt.created"});
  publish(1);
  EXPECT_EQ(deliver(), 1);
  EXPECT_EQ(deliver(), 0);
  EXPECT_TRUE(other.requests().empty());
  ASSERT_EQ(receiver.requests().size(), 1U);
  const auto request = receiver.requests().front();
  const auto body = request.substr(request.find("\r\n\r\n") + 4);
  EXPECT_EQ(Json::parse(body), (Json{{"entity", "model_version"},
                                     {"action", "created"},
                                     {"timestamp", "2013-04-01T12:00:00+00:00"},
                                     {"data", {{"name", "late"}, {"version", "1"}}}}));
  EXPECT_EQ(header(request, "x-mlflow-timestamp"), "1364817600");
  EXPECT_EQ(header(request, "x-mlflow-signature"),
            signature("secret", header(request, "x-mlflow-delivery-id"), "1364817600", body));
}

TEST_F(WebhooksTest, AnEventIsOwedExactlyWhenItsTransactionIsCommitted) {
  Receiver receiver;
  add(receiver.url());
  auto undone = db_->write([&](db::Transaction& tx) -> Result<void> {
    if (auto put = webhooks_->publish(tx, {"model_version", "created"}); !put) return put;
    return failed_precondition("on purpose");
  });
  EXPECT_FALSE(undone);
  EXPECT_EQ(deliver(), 0);
}

TEST_F(WebhooksTest, AReceiverThatIsDownIsTriedLaterAndTheOrderIsKept) {
  Receiver receiver({503, 500});
  add(receiver.url());
  publish(1);
  publish(2);
  EXPECT_EQ(deliver(), 0);
  EXPECT_EQ(deliver(), 0);  // not due yet
  EXPECT_EQ(receiver.requests().size(), 1U);
  clock_.advance(seconds(1));
  EXPECT_EQ(deliver(), 0);
  clock_.advance(seconds(1));  // the second delay is 1 to 2 s
  deliver();
  clock_.advance(seconds(1));
  deliver();
  EXPECT_THAT(states(), ElementsAre(kDelivered, kDelivered));
  std::vector<std::string> versions, ids;
  for (const auto& body : receiver.bodies()) versions.push_back(body["data"]["version"]);
  for (const auto& request : receiver.requests()) {
    ids.push_back(header(request, "x-mlflow-delivery-id"));
  }
  EXPECT_THAT(versions, ElementsAre("1", "1", "1", "2"));
  EXPECT_EQ(ids[0], ids[2]);
  EXPECT_NE(ids[2], ids[3]);
}

TEST_F(WebhooksTest, DelaysDoubleWithJitterAndHeedTheReceiver) {
  Receiver receiver({500, 500, 500, 500, 500});
  add(receiver.url());
  publish(1);
  for (int attempt = 0; attempt < 5; ++attempt) {
    const Time before = clock_.now();
    EXPECT_EQ(deliver(), 0);
    const auto delay = webhooks_->deliveries({})->at(0).next_attempt - before;
    EXPECT_GE(delay, seconds(1 << attempt) / 2);
    EXPECT_LE(delay, seconds(1 << attempt));
    clock_.advance(delay);
  }
  EXPECT_EQ(deliver(), 1);

  Receiver busy({429}, "Retry-After: 120\r\n");
  add(busy.url(), "busy", {"prompt.created"});
  publish(1, "prompt");
  deliver();
  EXPECT_EQ(webhooks_->deliveries({.webhook = "busy"})->at(0).next_attempt - clock_.now(),
            seconds(120));
}

TEST_F(WebhooksTest, WhatIsRefusedOrTriedTooOftenIsADeadLetterAndReplayed) {
  Receiver receiver({422, 500, 500});
  reopen({.max_attempts = 2, .allow_http = true});
  add(receiver.url());
  publish(1);
  publish(2);
  publish(3);
  deliver();  // 1 is refused for good; 2 fails
  EXPECT_THAT(states(), ElementsAre(kDead, kPending, kPending));
  clock_.advance(seconds(2));
  EXPECT_EQ(deliver(), 1);  // 2 fails for the last time, 3 goes through
  EXPECT_THAT(states(), ElementsAre(kDead, kDead, kDelivered));
  const auto dead = webhooks_->deliveries({.state = kDead});
  ASSERT_EQ(dead->size(), 2U);
  EXPECT_THAT(dead->at(1).last_error, HasSubstr("422"));
  EXPECT_EQ(webhooks_->backlogs()->at(0).dead, 2);
  EXPECT_EQ(webhooks_->backlogs()->at(0).pending, 0);

  EXPECT_EQ(*webhooks_->replay(ctx_, {.webhook = "hook", .only_dead = true}), 2);
  EXPECT_EQ(deliver(), 2);
  EXPECT_THAT(states(), ElementsAre(kDelivered, kDelivered, kDelivered));
  EXPECT_EQ(*webhooks_->replay(ctx_, {.webhook = "hook", .from_event = dead->at(0).event}), 2);
  EXPECT_EQ(deliver(), 2);
  EXPECT_EQ(receiver.bodies().back()["data"]["version"], "3");
  EXPECT_EQ(audit_->list({.action_prefix = "webhook.replay"})->size(), 2U);
}

TEST_F(WebhooksTest, AWebhookThatComesLaterIsToldOfThePastByAReplay) {
  publish(1);
  publish(2);
  Receiver receiver;
  add(receiver.url());
  EXPECT_EQ(deliver(), 0);
  EXPECT_EQ(*webhooks_->replay(ctx_, {.webhook = "hook", .from_event = 2}), 1);
  EXPECT_EQ(deliver(), 1);
  EXPECT_EQ(receiver.bodies().at(0)["data"]["version"], "2");
}

TEST_F(WebhooksTest, OneThatIsOffIsOwedNothing) {
  Receiver receiver;
  const auto made = add(receiver.url());
  ASSERT_TRUE(ok(webhooks_->update(ctx_, made.id, {.active = false})));
  publish(1);
  EXPECT_EQ(deliver(), 0);
  EXPECT_TRUE(webhooks_->deliveries({})->empty());
}

TEST_F(WebhooksTest, OldEventsAreForgottenUnlessTheyAreStillOwed) {
  Receiver receiver, down(std::vector<int>(100, 500));
  add(receiver.url(), "up");
  add(down.url(), "down");
  publish(1);
  deliver();
  clock_.advance(std::chrono::hours(31 * 24));
  deliver();
  EXPECT_EQ(webhooks_->deliveries({})->size(), 2U);
  ASSERT_TRUE(
      ok(webhooks_->remove(ctx_, webhooks_->deliveries({.state = kPending})->at(0).webhook)));
  clock_.advance(std::chrono::hours(2));
  deliver();
  EXPECT_TRUE(webhooks_->deliveries({})->empty());
}

TEST_F(WebhooksTest, ATrialSendsAnExampleAndTellsTheAnswer) {
  Receiver receiver({404});
  const auto made = add(receiver.url(), "hook", {"prompt.created", "prompt_tag.set"});
  const auto refused = webhooks_->test(ctx_, made.id);
  ASSERT_TRUE(ok(refused));
  EXPECT_FALSE(refused->success);
  EXPECT_EQ(refused->status, 404);
  EXPECT_EQ(refused->body, "heard");
  EXPECT_TRUE(webhooks_->test(ctx_, made.id, "prompt_tag.set")->success);
  EXPECT_EQ(receiver.bodies().at(0)["entity"], "prompt");
  EXPECT_EQ(receiver.bodies().at(1)["action"], "set");
  EXPECT_EQ(code_of(webhooks_->test(ctx_, made.id, "nothing.happened")), "invalid_argument");
}

}  // namespace
}  // namespace slipway::webhooks
