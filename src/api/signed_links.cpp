#include "api/signed_links.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <charconv>

#include "base/hash.h"

namespace slipway::api {
namespace {

std::int64_t seconds_of(Time time) {
  return std::chrono::duration_cast<std::chrono::seconds>(time.time_since_epoch()).count();
}

}  // namespace

SignedLinks::SignedLinks(const Clock& clock, IdSource& ids, std::chrono::seconds valid_for)
    : clock_(clock), valid_for_(valid_for), key_(ids.next() + ids.next()) {}

std::string SignedLinks::signature(std::string_view subject, std::string_view expires) const {
  std::string text(expires);
  text += '\n';
  text += subject;
  std::array<unsigned char, 32> code{};
  unsigned int size = code.size();
  HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
       reinterpret_cast<const unsigned char*>(text.data()), text.size(), code.data(), &size);
  return to_hex(code);
}

std::string SignedLinks::sign(std::string_view subject) const {
  const std::string expires = std::to_string(seconds_of(clock_.now()) + valid_for_.count());
  return "expires=" + expires + "&signature=" + signature(subject, expires);
}

Result<void> SignedLinks::check(std::string_view subject, std::string_view expires,
                                std::string_view given) const {
  const std::string wanted = signature(subject, expires);
  if (given.size() != wanted.size() ||
      CRYPTO_memcmp(given.data(), wanted.data(), wanted.size()) != 0) {
    return permission_denied("this link is not one this server made: ask for a new one");
  }
  std::int64_t until = 0;
  std::from_chars(expires.data(), expires.data() + expires.size(), until);
  if (seconds_of(clock_.now()) > until) {
    return permission_denied("this link's time is over: ask for a new one");
  }
  return {};
}

}  // namespace slipway::api
