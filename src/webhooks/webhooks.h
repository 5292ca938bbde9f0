// Who is told of what happens in the registry, by HTTP, and the outbox those messages wait in.
// Whoever changes something publishes an event in the same transaction, so that there is a message
// exactly when there is a change; deliver() sends what is owed. A webhook gets its events in their
// order, at least once; the delivery id, the same for every attempt and replay, tells repeats
// apart.
//   webhooks.publish(tx, {"model_version", "created", {{"name", "late"}, {"version", "3"}}});
//   webhooks.deliver(ctx);                       // from a timer
//   webhooks.replay(ctx, {.webhook = "hook", .from_event = 17});
// A receiver that is down is tried again with exponential backoff and jitter; after
// Options::max_attempts, or at once when it says the message itself is wrong (a 4xx), the message
// is a dead letter: listed, kept, and sent again on request. Secrets are kept encrypted with the
// home's key and never leave. Thread-safe. Calls block: make them from the worker pool. Several
// threads may deliver() at once: a webhook is served by one of them at a time, so that one that
// hangs does not hold up the others.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/ids.h"
#include "base/json.h"
#include "base/result.h"
#include "base/rng.h"

namespace slipway::db {
class Database;
class Transaction;
}  // namespace slipway::db
namespace slipway::audit {
class Log;
}
namespace slipway::net {
class HttpClient;
}

namespace slipway::webhooks {

// Names as MLflow's webhooks have them: entity "model_version_tag", action "set".
struct Event {
  std::string entity;
  std::string action;
  Json data = Json::object();
  std::string name() const { return entity + "." + action; }
};
// Every "entity.action" a webhook may ask for.
bool is_event_name(std::string_view name);
// Data that looks like the event's, for trying a webhook out.
Json example_data(std::string_view event_name);

struct Webhook {
  std::string id;
  std::string name;
  std::string description;
  std::string url;
  std::vector<std::string> events;  // "model_version.created"
  bool active = true;
  bool has_secret = false;
  Time created;
  Time updated;
};

struct WebhookSpec {
  std::string name;  // lower-case letters, digits, ".", "_" and "-"; at most 63
  std::string description;
  std::string url;
  std::vector<std::string> events;
  std::string secret;  // empty: messages are not signed
  bool active = true;
};

struct WebhookChange {  // what is there is changed
  std::optional<std::string> name, description, url, secret;
  std::optional<std::vector<std::string>> events;
  std::optional<bool> active;
};

enum class DeliveryState { pending, delivered, dead };
std::string_view to_string(DeliveryState state);

// One event owed, or once owed, to one webhook.
struct Delivery {
  std::string id;
  std::int64_t event = 0;  // events are numbered in the order of their transactions
  std::string event_name;
  std::string webhook;  // its name
  DeliveryState state = DeliveryState::pending;
  std::int64_t attempts = 0;
  Time at;            // of the event
  Time next_attempt;  // when pending
  std::string last_error;
};

struct TestResult {
  bool success = false;
  int status = 0;  // 0: no answer
  std::string body;
  std::string error;
};

struct Replay {
  std::string webhook;  // its name or id
  std::int64_t from_event = 1;
  bool only_dead = false;  // else every event the webhook asks for, also those delivered
};

struct Options {
  std::chrono::seconds first_delay{1};  // doubled with each attempt, and shortened by up to half
  std::chrono::seconds longest_delay{1800};
  int max_attempts = 12;  // with these delays about an hour
  std::chrono::milliseconds timeout{10'000};
  std::chrono::hours keep{30 * 24};  // events and what became of them
  int per_step = 64;                 // messages of one webhook sent by one deliver()
  bool allow_http = false;           // else https only
};

struct Parts {
  db::Database& db;
  audit::Log& audit;
  const net::HttpClient& http;
  const Clock& clock;
  IdSource& ids;
};

class Webhooks {
 public:
  // All parts outlive it. keys_dir holds `webhooks.key`, made at first use (mode 0600).
  static Result<std::unique_ptr<Webhooks>> open(const Parts& parts,
                                                const std::filesystem::path& keys_dir,
                                                std::uint64_t seed, const Options& options = {});
  ~Webhooks();

  Result<Webhook> create(const Context& ctx, const WebhookSpec& spec);
  Result<Webhook> get(const std::string& id) const;
  Result<std::vector<Webhook>> list() const;  // oldest first
  Result<Webhook> update(const Context& ctx, const std::string& id, const WebhookChange& change);
  Result<void> remove(const Context& ctx, const std::string& id);  // with what it is owed
  // Sends an example of the event (empty: the webhook's first), whatever its state.
  Result<TestResult> test(const Context& ctx, const std::string& id,
                          const std::string& event_name = {}) const;

  Result<void> publish(db::Transaction& tx, const Event& event);
  // Sends what is due to webhooks that no other thread serves; how many messages were delivered.
  Result<int> deliver(const Context& ctx);

  struct Filter {
    std::string webhook;  // its name or id; empty: all
    std::optional<DeliveryState> state;
    int limit = 100;
  };
  Result<std::vector<Delivery>> deliveries(const Filter& filter) const;  // newest first
  struct Backlog {
    std::string webhook;  // its name
    std::int64_t pending = 0, dead = 0;
  };
  Result<std::vector<Backlog>> backlogs() const;  // of each webhook, by name
  // How many messages are owed again. Audited as webhook.replay.
  Result<std::int64_t> replay(const Context& ctx, const Replay& replay);

 private:
  struct Impl;
  explicit Webhooks(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::webhooks
