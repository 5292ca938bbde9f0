// Turns an Authorization header into who asks. Two kinds are taken: Basic with a user's password
// (RFC 7617; MLflow's clients send MLFLOW_TRACKING_USERNAME and _PASSWORD so), and Bearer with a
// token (RFC 6750; MLFLOW_TRACKING_TOKEN).
//   if (auto known = authenticator.recall(header, peer)) return *known;   // from memory, at once
//   auto identity = authenticator.authenticate(header, peer);             // may hash: on a worker
// A token costs one SHA-256. A password costs an argon2 hash once; for a minute after that it is
// recognised by a keyed hash of the header, and forgotten at once when the user changes. Unknown
// users and wrong passwords cost and say the same. Failures are slowed down per user and address.
// Thread-safe.
#pragma once
#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "access/directory.h"
#include "access/types.h"
#include "base/context.h"

namespace slipway::access {

struct AuthenticatorOptions {
  std::chrono::seconds remember{60};  // a verified password
  std::size_t remembered = 4096;
  int hashes_at_once = 2;   // each takes HashCost::memory_bytes
  int hashes_waiting = 32;  // more are answered unavailable
  int free_failures = 8;    // of one user at one address; then one try every `give_back`
  std::chrono::seconds give_back{20};
};

struct AuthenticatorStats {
  std::int64_t tokens = 0;      // verified
  std::int64_t passwords = 0;   // verified by argon2
  std::int64_t remembered = 0;  // verified by memory
  std::int64_t refused = 0;     // wrong, expired, revoked, or malformed
  std::int64_t slowed_down = 0;
};

class Authenticator {
 public:
  // All three outlive it.
  Authenticator(Directory& directory, audit::Log& audit, const Clock& clock, IdSource& ids,
                AuthenticatorOptions options = {});
  ~Authenticator();

  // From memory alone, for threads that must not block; nothing when a password has to be hashed.
  // `authorization` is the header's value, `peer` the caller's address.
  std::optional<Result<Identity>> recall(std::string_view authorization, std::string_view peer);
  // unauthenticated; resource_exhausted when there were too many failures; unavailable when too
  // many passwords are being hashed.
  Result<Identity> authenticate(std::string_view authorization, std::string_view peer);
  // Whether this is the user's password, counted like a login: for changing it.
  Result<void> check_password_of(const std::string& user, std::string_view password,
                                 std::string_view peer);

  AuthenticatorStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::access
