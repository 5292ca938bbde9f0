// What the files of access share: names, secrets, and how passwords are kept.
#pragma once
#include <string>
#include <string_view>

#include "access/directory.h"
#include "base/guarded.h"

namespace slipway::access {

struct Directory::Impl {
  db::Database& db;
  audit::Log& audit;
  const Clock& clock;
  IdSource& ids;
  const HashCost cost;
  Guarded<std::shared_ptr<const Snapshot>> current{};
  Guarded<std::map<std::string, Time>> used{};  // tokens, since the last flush()

  std::int64_t now() const { return to_micros(clock.now()); }
  Result<void> load();
  Result<void> record(db::Transaction& tx, const Context& ctx, std::string action,
                      std::string object, Json details = Json::object()) const;
  // Runs body in a transaction that others notice, and reads the snapshot anew.
  template <class F>
  auto change(F&& body) -> std::invoke_result_t<F, db::Transaction&> {
    auto result = db.write([&](db::Transaction& tx) -> std::invoke_result_t<F, db::Transaction&> {
      auto outcome = body(tx);
      if (!outcome) return outcome;
      if (auto noted = bump(tx); !noted) return noted.error();
      return outcome;
    });
    if (!result) return result;
    if (auto loaded = load(); !loaded) return loaded.error();
    return result;
  }
  Result<User> insert_user(db::Transaction& tx, const Context& ctx, const NewUser& user,
                           const std::string& hash) const;
  static Result<void> bump(db::Transaction& tx);
};

// Of the row in the database, not of a snapshot: for use inside transactions.
Result<User> find_user(db::Connection& connection, std::string_view name);  // not_found
Result<Role> find_role(db::Connection& connection, const std::string& name);
Result<Holder> find_holder(db::Connection& connection, const HolderName& name);
User read_user(const db::Rows& rows);
Token read_token(const db::Rows& rows);

// In lower case. Names of users are ASCII, so this is all there is to folding them.
std::string folded(std::string_view name);
Result<void> check_user_name(std::string_view name);
Result<void> check_role_name(std::string_view name);
// Long enough, not among the usual ones, not the user's name.
Result<void> check_password(std::string_view password, std::string_view user);

// argon2id with its parameters and salt, as libsodium writes it:
// "$argon2id$v=19$m=19456,t=2,p=1$…".
Result<std::string> hash_password(std::string_view password, const HashCost& cost);
// In a time that does not depend on where they differ.
bool password_matches(const std::string& hash, std::string_view password);
bool wants_rehash(const std::string& hash, const HashCost& cost);
// In a time that depends on the lengths only.
bool equal_secrets(std::string_view a, std::string_view b);

// "slw_<id>_<secret>"
inline constexpr std::string_view kTokenPrefix = "slw_";
// The id of a token's text; nothing when it does not look like one.
std::optional<std::string_view> token_id(std::string_view token);

}  // namespace slipway::access
