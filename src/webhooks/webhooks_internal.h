// What the files of the webhooks share: the parts, the rows, and the box that secrets are kept in.
#pragma once
#include <sodium.h>

#include <array>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

#include "audit/audit.h"
#include "base/guarded.h"
#include "db/database.h"
#include "net/http_client.h"
#include "webhooks/webhooks.h"

namespace slipway::webhooks {

// Encrypts with a key of the home's own (keys/webhooks.key): XChaCha20-Poly1305, libsodium's
// crypto_aead_xchacha20poly1305_ietf. Each text is bound to the webhook it belongs to, so that one
// copied into another row does not open.
class SecretBox {
 public:
  static Result<SecretBox> open(const std::filesystem::path& keys_dir);
  std::string seal(std::string_view secret, std::string_view webhook_id) const;  // base64
  // data_loss when the text was changed or the key is another one.
  Result<std::string> unseal(std::string_view sealed, std::string_view webhook_id) const;

 private:
  std::array<unsigned char, crypto_aead_xchacha20poly1305_ietf_KEYBYTES> key_{};
};

// "v1," and the base64 of HMAC-SHA256(secret, "delivery.timestamp.body"), as MLflow signs
// (https://mlflow.org/docs/latest/ml/webhooks) after https://www.standardwebhooks.com.
std::string signature(std::string_view secret, std::string_view delivery,
                      std::string_view timestamp, std::string_view body);

struct Row {
  Webhook webhook;
  std::string sealed_secret;
};
Result<Row> load(db::Connection& connection, const std::string& id_or_name);

struct Message {
  std::string delivery;
  std::int64_t event = 0;
  std::string name;
  std::string data;  // JSON
  Time at;
  std::int64_t attempts = 0;
  std::int64_t due = 0;  // microseconds since 1970
};
struct Target {
  std::string id, name, url, sealed_secret;
};
// What became of one attempt. `retry` says whether another one may help, `after` how long the
// receiver wants to be left alone.
struct Attempt {
  int status = 0;
  std::string body;
  std::string error;  // empty: delivered
  bool retry = false;
  std::chrono::seconds after{0};
};

struct Webhooks::Impl {
  Impl(const Parts& with, const Options& how, const SecretBox& secrets, Rng jitter)
      : parts(with), options(how), box(secrets), rng(jitter) {}

  Parts parts;
  Options options;
  SecretBox box;
  Guarded<std::set<std::string>> served{};   // ids of webhooks that a thread delivers to
  Guarded<std::optional<Time>> forgotten{};  // when old events were removed last
  std::mutex chance;
  Rng rng;  // of the jitter; under `chance`

  std::int64_t now() const { return to_micros(parts.clock.now()); }
  Result<void> check(const Webhook& webhook) const;
  Result<Attempt> send(const Context& ctx, const Target& target, const Message& message) const;
  Result<int> deliver_to(const Context& ctx, const Target& target);
  std::int64_t next_attempt(std::int64_t attempts, std::chrono::seconds after);
  Result<void> forget_old();
};

}  // namespace slipway::webhooks
