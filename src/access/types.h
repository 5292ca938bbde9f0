// The nouns of access: levels, what they are held on, who holds them. Values do not change after
// construction.
#pragma once
#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace slipway::access {

// Each includes those before it: whoever may edit may use and read.
enum class Level { none, read, use, edit, manage };
std::string_view to_string(Level level);           // "edit"
Result<Level> parse_level(std::string_view text);  // not "none"

enum class Kind { workspace, experiment, model, deployment };
inline constexpr Kind kAllKinds[] = {Kind::workspace, Kind::experiment, Kind::model,
                                     Kind::deployment};
std::string_view to_string(Kind kind);  // "model"
Result<Kind> parse_kind(std::string_view text);

inline constexpr std::string_view kAny = "*";
inline constexpr std::string_view kDefaultWorkspace = "default";
inline constexpr std::string_view kServiceUser = "slipway";

// A thing with an owner. Experiments go by their id, which no rename changes and no other ever
// gets; models and deployments by name. In a grant the name may be "*", all of the kind; a grant on
// the workspace holds for everything in it.
struct Resource {
  Kind kind = Kind::workspace;
  std::string name{kDefaultWorkspace};
  // "model/late", "experiment/*", "workspace" (the default one)
  static Result<Resource> parse(std::string_view text);
  std::string text() const;
  bool operator==(const Resource&) const = default;
};
inline Resource workspace() { return {}; }

struct User {
  std::int64_t id = 0;
  std::string name;
  std::string password;  // argon2id; empty: cannot log in with a password. Never shown
  bool admin = false;    // may do everything
  bool creates = true;   // may make experiments and models, which are theirs then
  Time created;
  Time password_set;
};

struct Role {
  std::int64_t id = 0;
  std::string name;
  std::string description;
  Time created;
};

// Who holds a grant: a user, the members of a role, or everyone who is logged in.
struct Holder {
  enum class Kind { user, role, everyone };
  Kind kind = Kind::everyone;
  std::int64_t id = 0;
  auto operator<=>(const Holder&) const = default;
};
std::string_view to_string(Holder::Kind kind);

struct Grant {
  std::int64_t id = 0;
  Holder holder;
  Resource resource;
  Level level = Level::none;
  Time created;
  std::string created_by;
};

// What a token may do at most; never more than its user may.
struct Scope {
  Level level = Level::manage;
  std::optional<Resource> resource;  // only this; none: whatever the user may
};

struct Token {
  std::string id;  // 16 hexadecimal characters, no secret
  std::int64_t user_id = 0;
  std::string user;
  std::string hash;  // hex SHA-256 of the whole token
  std::string label;
  Scope scope;
  Time created;
  std::string created_by;
  std::optional<Time> expires;
  std::optional<Time> last_used;
  std::optional<Time> revoked;

  bool valid_at(Time now) const { return !revoked && (!expires || now < *expires); }
};

// Everything that decisions are made from, as it was at one moment.
struct Snapshot {
  std::int64_t version = 0;
  std::map<std::int64_t, User> users;
  std::unordered_map<std::string, std::int64_t> users_by_name;  // folded
  std::map<std::int64_t, Role> roles;
  std::map<std::int64_t, std::set<std::int64_t>> roles_of;  // user -> roles
  std::map<Holder, std::vector<Grant>> grants;
  std::unordered_map<std::string, Token> tokens;  // by id; those not revoked

  const User* user(std::int64_t id) const;              // null: none
  const User* user_named(std::string_view name) const;  // in any case of letters; null: none
  const Role* role_named(std::string_view name) const;
};

// Who a caller has proved to be.
struct Identity {
  std::int64_t user = 0;
  std::string name;
  Scope scope;        // of the token; unlimited with a password
  std::string token;  // its id; empty with a password
};

}  // namespace slipway::access
