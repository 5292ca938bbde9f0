// Users, roles, tokens and what is granted to them. Passwords are kept as argon2id, tokens as
// SHA-256: neither can be read back. Each change and its audit entry share a transaction, and no
// entry holds a secret.
//   auto added = directory.add_user(ctx, {.name = "ana", .password = …});
//   auto made = directory.create_token(ctx, {.user = "ana", .label = "ci"});  // made->text: once
//   auto granted = directory.grant(ctx, {.user = "ana"}, {Kind::model, "late"}, Level::edit);
// Decisions are made from snapshot(), which every change here replaces at once; refresh() notices
// changes made by other processes. Thread-safe. Calls but snapshot() block on the database.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "access/types.h"
#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/ids.h"
#include "base/result.h"
#include "db/database.h"

namespace slipway::access {

// Of a password's hash. The defaults are OWASP's ("Password Storage Cheat Sheet": argon2id with
// 19 MiB and two passes).
struct HashCost {
  unsigned long long passes = 2;
  std::size_t memory_bytes = 19'456UL * 1024;
};

struct NewUser {
  std::string name;      // letters, digits and . _ @ + -, beginning with a letter or digit
  std::string password;  // at least 12 characters; empty: tokens only
  bool admin = false;
  bool creates = true;
};

struct NewToken {
  std::string user;
  std::string label;  // what it is for
  Scope scope{};
  std::optional<Duration> lifetime{};  // none: until it is revoked
};

struct CreatedToken {
  std::string text;  // the secret, given out this once
  Token token;
};

// Exactly one is said: a user's name, a role's, or neither for everyone.
struct HolderName {
  std::string user{};
  std::string role{};
};

class Directory {
 public:
  static Result<std::unique_ptr<Directory>> open(db::Database& db, audit::Log& audit,
                                                 const Clock& clock, IdSource& ids,
                                                 HashCost cost = {});
  ~Directory();

  std::shared_ptr<const Snapshot> snapshot() const;
  // Reads the snapshot anew when anyone has changed something.
  Result<void> refresh();

  Result<User> add_user(const Context& ctx, const NewUser& user);
  // With their tokens and grants. failed_precondition for the last admin; likewise below.
  Result<void> remove_user(const Context& ctx, const std::string& name);
  Result<void> set_password(const Context& ctx, const std::string& name,
                            const std::string& password);
  Result<void> set_admin(const Context& ctx, const std::string& name, bool admin);

  Result<CreatedToken> create_token(const Context& ctx, const NewToken& token);
  Result<void> revoke_token(const Context& ctx, const std::string& id);
  Result<std::vector<Token>> tokens() const;  // newest first, with those revoked and expired
  // Remembers that a token was used; written by flush().
  void note_use(const std::string& token);
  // Writes when tokens were last used, and forgets those that ended a month ago.
  Result<void> flush();

  Result<Role> add_role(const Context& ctx, const std::string& name,
                        const std::string& description = {});
  Result<void> remove_role(const Context& ctx, const std::string& name);
  Result<void> assign(const Context& ctx, const std::string& user, const std::string& role);
  Result<void> unassign(const Context& ctx, const std::string& user, const std::string& role);

  // Replaces what the holder has on that very resource.
  Result<void> grant(const Context& ctx, const HolderName& to, const Resource& on, Level level);
  Result<void> revoke(const Context& ctx, const HolderName& from, const Resource& on);  // not_found

  // What hangs on a name goes with it, inside the caller's transaction. Call refresh() when it is
  // committed. invalid_argument for the name "*".
  Result<void> renamed(db::Transaction& tx, Kind kind, const std::string& from,
                       const std::string& to);
  Result<void> removed(db::Transaction& tx, Kind kind, const std::string& name);

  // The first admin of a home, with a password nobody chose. Nothing when there is an admin.
  Result<std::optional<std::string>> bootstrap(const Context& ctx, const std::string& admin);

  // The user that slipway's own jobs act as: without a password, with edit on the workspace. Made
  // when missing.
  Result<void> ensure_service_user(const Context& ctx);

  const HashCost& cost() const;

 private:
  struct Impl;
  explicit Directory(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::access
