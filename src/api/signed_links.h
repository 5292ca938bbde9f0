// Links that need no password: whoever has one may do the one thing it names, for a while. MLflow's
// client asks for them (presigned URLs) and then fetches without its credentials.
//   const std::string query = links.sign("7/run/artifacts/model.bin");   // "expires=…&signature=…"
//   auto allowed = links.check("7/run/artifacts/model.bin", expires, signature);
// The signature is HMAC-SHA256 (RFC 2104) under a key that is made at the start of the process: a
// restart ends all links. Thread-safe.
#pragma once
#include <chrono>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"

namespace slipway::api {

class SignedLinks {
 public:
  SignedLinks(const Clock& clock, IdSource& ids,
              std::chrono::seconds valid_for = std::chrono::minutes(15));  // both outlive this
  std::string sign(std::string_view subject) const;
  // permission_denied: another subject, a changed link, or one whose time is over.
  Result<void> check(std::string_view subject, std::string_view expires,
                     std::string_view signature) const;

 private:
  std::string signature(std::string_view subject, std::string_view expires) const;

  const Clock& clock_;
  const std::chrono::seconds valid_for_;
  const std::string key_;
};

}  // namespace slipway::api
