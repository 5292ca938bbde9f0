// Passwords and tokens: what is accepted, and how it is kept.
#include <sodium.h>

#include "access/access_internal.h"
#include "base/utf8.h"

namespace slipway::access {
namespace {

constexpr std::size_t kLongestUserName = 128;
constexpr std::size_t kShortestPassword = 12;
constexpr std::size_t kLongestPassword = 1024;
constexpr std::size_t kTokenId = 16;
constexpr std::size_t kTokenSecret = 64;

// Long enough, and still among the first that are tried.
constexpr std::string_view kUsual[] = {
    "123456789012",    "1234567890123",    "123456789123",
    "123123123123",    "1q2w3e4r5t6y",     "abcdefghijkl",
    "administrator",   "changemechangeme", "correcthorsebatterystaple",
    "letmeinletmein",  "password1234",     "password12345",
    "password123456",  "passwordpassword", "qwertyuiop12",
    "qwertyuiop123",   "qwertyuiopasdf",   "q1w2e3r4t5y6",
    "iloveyou1234",    "welcome12345",     "admin1234567",
    "adminadminadmin", "0123456789ab",     "mlflowmlflow",
    "slipwayslipway"};

bool is_letter_or_digit(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

Result<void> check_name(std::string_view name, std::string_view what) {
  const auto fine = [](char c) {
    return is_letter_or_digit(c) || std::string_view("._@+-").find(c) != std::string_view::npos;
  };
  if (name.empty() || name.size() > kLongestUserName || !is_letter_or_digit(name.front()) ||
      !std::ranges::all_of(name, fine)) {
    return invalid_argument(
        fmt::format("'{}' is no name for a {}: letters, digits and . _ @ + -, beginning with a "
                    "letter or digit, at most {}",
                    name.substr(0, 40), what, kLongestUserName));
  }
  return {};
}

}  // namespace

std::string folded(std::string_view name) {
  std::string low(name);
  for (char& c : low) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return low;
}

Result<void> check_user_name(std::string_view name) {
  if (auto sound = check_name(name, "user"); !sound) return sound;
  // These act in the audit log without being anybody.
  for (const std::string_view taken : {std::string_view("local"), std::string_view("everyone"),
                                       std::string_view("anonymous"), kServiceUser}) {
    if (folded(name) == taken)
      return invalid_argument(fmt::format("'{}' is reserved: choose another name", name));
  }
  return {};
}

Result<void> check_role_name(std::string_view name) { return check_name(name, "role"); }

Result<void> check_password(std::string_view password, std::string_view user) {
  if (!is_utf8(password)) return invalid_argument("the password is not UTF-8 text");
  const auto characters = static_cast<std::size_t>(std::ranges::count_if(
      password, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
  if (characters < kShortestPassword || password.size() > kLongestPassword) {
    return invalid_argument(fmt::format("the password has {} characters: {} to {} are taken",
                                        characters, kShortestPassword, kLongestPassword));
  }
  const std::string low = folded(password);
  const std::set<char> distinct(low.begin(), low.end());
  if (distinct.size() < 4 || std::ranges::find(kUsual, low) != std::end(kUsual)) {
    return invalid_argument("the password is among the first that anybody would try");
  }
  if (!user.empty() && low.find(folded(user)) != std::string::npos &&
      low.size() < user.size() + kShortestPassword) {
    return invalid_argument("the password is little more than the user's name");
  }
  return {};
}

Result<std::string> hash_password(std::string_view password, const HashCost& cost) {
  if (sodium_init() < 0) return internal("libsodium cannot start");
  std::array<char, crypto_pwhash_STRBYTES> hash{};
  if (crypto_pwhash_str_alg(hash.data(), password.data(), password.size(), cost.passes,
                            cost.memory_bytes, crypto_pwhash_ALG_ARGON2ID13) != 0) {
    return resource_exhausted(
        fmt::format("there are not {} MiB of memory to hash a password", cost.memory_bytes >> 20));
  }
  return std::string(hash.data());
}

bool password_matches(const std::string& hash, std::string_view password) {
  return crypto_pwhash_str_verify(hash.c_str(), password.data(), password.size()) == 0;
}

bool wants_rehash(const std::string& hash, const HashCost& cost) {
  return crypto_pwhash_str_needs_rehash(hash.c_str(), cost.passes, cost.memory_bytes) != 0;
}

bool equal_secrets(std::string_view a, std::string_view b) {
  return a.size() == b.size() && sodium_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::optional<std::string_view> token_id(std::string_view token) {
  const std::size_t whole = kTokenPrefix.size() + kTokenId + 1 + kTokenSecret;
  if (token.size() != whole || !token.starts_with(kTokenPrefix)) return std::nullopt;
  if (token[kTokenPrefix.size() + kTokenId] != '_') return std::nullopt;
  return token.substr(kTokenPrefix.size(), kTokenId);
}

}  // namespace slipway::access
