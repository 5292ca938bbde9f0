#include "access/authenticator.h"

#include <sodium.h>

#include <semaphore>

#include "access/access_internal.h"
#include "access/limiter_internal.h"
#include "base/hash.h"
#include "base/log.h"

namespace slipway::access {
namespace {

constexpr std::size_t kLongestHeader = 4096;
constexpr std::size_t kKeyBytes = crypto_generichash_KEYBYTES;

bool same_word(std::string_view a, std::string_view b) { return folded(a) == folded(b); }

struct Header {
  std::string_view scheme;
  std::string_view value;
};

std::optional<Header> split(std::string_view header) {
  if (header.size() > kLongestHeader) return std::nullopt;
  const auto blank = header.find(' ');
  if (blank == std::string_view::npos) return std::nullopt;
  std::string_view value = header.substr(blank + 1);
  while (value.starts_with(' ')) value.remove_prefix(1);
  while (value.ends_with(' ')) value.remove_suffix(1);
  return Header{header.substr(0, blank), value};
}

struct Login {
  std::string user;
  std::string password;
};

std::optional<Login> login_of(std::string_view base64) {
  auto text = from_base64(base64);
  if (!text) return std::nullopt;
  const auto colon = text->find(':');
  if (colon == std::string::npos) return std::nullopt;
  return Login{text->substr(0, colon), text->substr(colon + 1)};
}

// One answer for all that is wrong with a password: it says nothing about who exists.
Error wrong_password() { return unauthenticated("the user or the password is wrong"); }

}  // namespace

struct Authenticator::Impl {
  // A verified header: whose, and against which hash.
  struct Remembered {
    std::int64_t user = 0;
    std::string password;
    SteadyTime until;
  };

  Directory& directory;
  audit::Log& audit;
  const Clock& clock;
  const AuthenticatorOptions options;
  Limiter limiter;
  std::string key;     // of this process: remembered headers cannot be guessed from outside
  std::string nobody;  // a hash that unknown users are checked against
  std::counting_semaphore<> hashing;
  std::atomic<int> waiting{0};
  Guarded<std::unordered_map<std::string, Remembered>> memory{};
  struct {
    std::atomic<std::int64_t> tokens{0}, passwords{0}, remembered{0}, refused{0}, slowed_down{0};
  } counts;

  Impl(Directory& users, audit::Log& log, const Clock& time, IdSource& ids,
       AuthenticatorOptions settings)
      : directory(users),
        audit(log),
        clock(time),
        options(settings),
        limiter(time, {.free_failures = settings.free_failures, .give_back = settings.give_back}),
        hashing(settings.hashes_at_once) {
    while (key.size() < kKeyBytes) key += ids.next();
    key.resize(kKeyBytes);
    // The same cost as any user's. Without memory for it, logins fail for want of memory, too.
    nobody = hash_password(ids.next(), directory.cost()).value_or("");
  }

  Error refuse(Error error) {
    counts.refused.fetch_add(1, std::memory_order_relaxed);
    return error;
  }

  std::string keyed_hash(std::string_view header) const {
    std::string hash(crypto_generichash_BYTES, '\0');
    const auto bytes = [](auto& text) { return reinterpret_cast<unsigned char*>(text.data()); };
    crypto_generichash(bytes(hash), hash.size(),
                       reinterpret_cast<const unsigned char*>(header.data()), header.size(),
                       reinterpret_cast<const unsigned char*>(key.data()), key.size());
    return hash;
  }

  Result<Identity> by_token(std::string_view text) {
    const auto snapshot = directory.snapshot();
    const std::string hash = sha256_hex(text);
    const auto id = token_id(text);
    const auto found = id ? snapshot->tokens.find(std::string(*id)) : snapshot->tokens.end();
    const bool known = found != snapshot->tokens.end();
    const bool matches = equal_secrets(hash, known ? found->second.hash : std::string(64, '0'));
    if (!known || !matches)
      return refuse(unauthenticated("the token is not known here, or was revoked"));
    const Token& token = found->second;
    if (!token.valid_at(clock.now())) {
      return refuse(unauthenticated(fmt::format("the token {} expired at {}", token.id,
                                                format_time(token.expires.value_or(Time{})))));
    }
    const User* user = snapshot->user(token.user_id);
    if (user == nullptr) return refuse(unauthenticated("the token's user is gone"));
    directory.note_use(token.id);
    counts.tokens.fetch_add(1, std::memory_order_relaxed);
    return Identity{user->id, user->name, token.scope, token.id};
  }

  std::optional<Identity> remembered(const std::string& hash) {
    const auto found = memory.with([&](auto& here) -> std::optional<Remembered> {
      const auto at = here.find(hash);
      if (at == here.end()) return std::nullopt;
      if (clock.steady() < at->second.until) return at->second;
      here.erase(at);
      return std::nullopt;
    });
    if (!found) return std::nullopt;
    const auto snapshot = directory.snapshot();
    const User* user = snapshot->user(found->user);
    // Another password, or none any more: what was remembered is worth nothing.
    if (user == nullptr || user->password != found->password) return std::nullopt;
    counts.remembered.fetch_add(1, std::memory_order_relaxed);
    return Identity{user->id, user->name, {}, {}};
  }

  void remember(const std::string& hash, const User& user) {
    const SteadyTime now = clock.steady();
    memory.with([&](auto& here) {
      if (here.size() >= options.remembered)
        std::erase_if(here, [&](const auto& entry) { return entry.second.until <= now; });
      if (here.size() >= options.remembered) here.erase(here.begin());
      here[hash] = {user.id, user.password, now + options.remember};
    });
  }

  // At most so many hash at once, and so many wait for that.
  Result<bool> matches(const std::string& hash, std::string_view password) {
    if (waiting.fetch_add(1) >= options.hashes_at_once + options.hashes_waiting) {
      --waiting;
      return unavailable("too many logins are being checked; try again in a moment");
    }
    hashing.acquire();
    const bool same = password_matches(hash, password);
    hashing.release();
    --waiting;
    return same;
  }

  Result<User> by_password(const std::string& name, std::string_view password,
                           const std::string& peer) {
    const std::string tried = folded(std::string_view(name).substr(0, 128));
    if (const auto wait = limiter.wait(tried, peer); wait.count() > 0) {
      counts.slowed_down.fetch_add(1, std::memory_order_relaxed);
      return resource_exhausted(
          fmt::format("too many logins failed; try again in {} s", wait.count()));
    }
    const auto snapshot = directory.snapshot();
    const User* user = snapshot->user_named(name);
    const bool has_password = user != nullptr && !user->password.empty();
    auto same = matches(has_password ? user->password : nobody, password);
    if (!same) return same.error();
    if (has_password && *same) {
      limiter.succeeded(tried, peer);
      counts.passwords.fetch_add(1, std::memory_order_relaxed);
      return *user;
    }
    if (limiter.failed(tried, peer)) note_slowed_down(tried, peer);
    log::warn("a login failed", {{"user", tried}, {"address", peer}});
    return refuse(wrong_password());
  }

  void note_slowed_down(const std::string& user, const std::string& peer) {
    auto recorded = audit.record({.actor = "slipway",
                                  .action = "login.slow",
                                  .object = "addresses/" + (peer.empty() ? "unknown" : peer),
                                  .digest = {},
                                  .details = {{"user", printable(user)}}});
    if (!recorded) {
      log::error("failed logins are not in the audit log", {{"error", recorded.error().message}});
    }
  }

  // What was sent as a name may be anything.
  static std::string printable(std::string_view text) {
    return check_user_name(text) ? std::string(text) : "(no name that a user could have)";
  }
};

Authenticator::Authenticator(Directory& directory, audit::Log& audit, const Clock& clock,
                             IdSource& ids, AuthenticatorOptions options)
    : impl_(std::make_unique<Impl>(directory, audit, clock, ids, options)) {}
Authenticator::~Authenticator() = default;

std::optional<Result<Identity>> Authenticator::recall(std::string_view authorization,
                                                      std::string_view /*peer*/) {
  if (authorization.empty()) {
    return impl_->refuse(unauthenticated(
        "this server wants to know who asks: set MLFLOW_TRACKING_TOKEN, or "
        "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or send an Authorization header "
        "(Bearer or Basic)"));
  }
  const auto header = split(authorization);
  if (!header) return impl_->refuse(unauthenticated("the Authorization header is malformed"));
  if (same_word(header->scheme, "Bearer")) return impl_->by_token(header->value);
  if (!same_word(header->scheme, "Basic")) {
    return impl_->refuse(
        unauthenticated("the Authorization header must be Basic or Bearer, not another scheme"));
  }
  if (auto known = impl_->remembered(impl_->keyed_hash(authorization))) return *std::move(known);
  return std::nullopt;
}

Result<Identity> Authenticator::authenticate(std::string_view authorization,
                                             std::string_view peer) {
  if (auto known = recall(authorization, peer)) return *std::move(known);
  const auto header = split(authorization);
  const auto login = header ? login_of(header->value) : std::nullopt;
  if (!login) {
    return impl_->refuse(
        unauthenticated("the Authorization header is not Basic with user:password in base64"));
  }
  const auto user = impl_->by_password(login->user, login->password, std::string(peer));
  if (!user) return user.error();
  impl_->remember(impl_->keyed_hash(authorization), *user);
  return Identity{user->id, user->name, {}, {}};
}

Result<void> Authenticator::check_password_of(const std::string& user, std::string_view password,
                                              std::string_view peer) {
  const auto found = impl_->by_password(user, password, std::string(peer));
  if (!found) return found.error();
  return {};
}

AuthenticatorStats Authenticator::stats() const {
  const auto& counts = impl_->counts;
  return {.tokens = counts.tokens.load(),
          .passwords = counts.passwords.load(),
          .remembered = counts.remembered.load(),
          .refused = counts.refused.load(),
          .slowed_down = counts.slowed_down.load()};
}

}  // namespace slipway::access
