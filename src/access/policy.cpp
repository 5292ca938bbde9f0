#include "access/policy.h"

namespace slipway::access {
namespace {

// Does what is held on `held` hold for `resource`?
bool covers(const Resource& held, const Resource& resource) {
  if (held.kind == Kind::workspace) return true;
  return held.kind == resource.kind && (held.name == kAny || held.name == resource.name);
}

std::vector<Holder> holders_of(const Snapshot& snapshot, std::int64_t user) {
  std::vector<Holder> holders = {{Holder::Kind::user, user}, {Holder::Kind::everyone, 0}};
  if (const auto roles = snapshot.roles_of.find(user); roles != snapshot.roles_of.end()) {
    for (const std::int64_t role : roles->second) holders.push_back({Holder::Kind::role, role});
  }
  return holders;
}

template <class Visit>
void each_grant(const Snapshot& snapshot, std::int64_t user, Visit&& visit) {
  for (const Holder& holder : holders_of(snapshot, user)) {
    const auto grants = snapshot.grants.find(holder);
    if (grants == snapshot.grants.end()) continue;
    for (const Grant& grant : grants->second) visit(grant);
  }
}

std::string held_by(const Snapshot& snapshot, const Grant& grant) {
  if (grant.holder.kind == Holder::Kind::everyone) return "granted to everyone";
  if (grant.holder.kind == Holder::Kind::user) return "granted";
  const auto role = snapshot.roles.find(grant.holder.id);
  return fmt::format("granted to the role '{}'",
                     role == snapshot.roles.end() ? "?" : role->second.name);
}

struct Held {
  Level level = Level::none;
  std::string why;  // "admin", "granted to everyone on model/*"
};

Held held(const Snapshot& snapshot, const Identity& who, const Resource& resource) {
  const User* user = snapshot.user(who.user);
  if (user == nullptr) return {Level::none, "there is no such user any more"};
  if (user->admin) return {Level::manage, "an admin"};
  const Grant* best = nullptr;
  each_grant(snapshot, who.user, [&](const Grant& grant) {
    if (covers(grant.resource, resource) && (best == nullptr || grant.level > best->level))
      best = &grant;
  });
  if (best == nullptr) return {Level::none, "no grant fits"};
  return {best->level, fmt::format("{} on {}", held_by(snapshot, *best), best->resource.text())};
}

// What the token leaves of it.
Held limited(Held found, const Identity& who, const Resource& resource) {
  if (found.level == Level::none) return found;
  if (who.scope.resource && !covers(*who.scope.resource, resource)) {
    return {Level::none,
            fmt::format("the token {} is only for {}", who.token, who.scope.resource->text())};
  }
  if (who.scope.level < found.level) {
    return {who.scope.level,
            fmt::format("the token {} is for {} at most", who.token, to_string(who.scope.level))};
  }
  return found;
}

class Seen final : public Visibility {
 public:
  Seen(std::shared_ptr<const Snapshot> snapshot, Identity who)
      : snapshot_(std::move(snapshot)), who_(std::move(who)) {}

  bool sees(std::string_view kind, std::string_view name) const override {
    const auto parsed = parse_kind(kind);
    if (!parsed) return false;
    const Resource resource{*parsed, std::string(name)};
    return limited(held(*snapshot_, who_, resource), who_, resource).level >= Level::read;
  }

  std::optional<std::vector<std::string>> seen(std::string_view kind) const override {
    const auto parsed = parse_kind(kind);
    if (!parsed) return std::vector<std::string>();
    const Resource all{*parsed, std::string(kAny)};
    const bool everything = limited(held(*snapshot_, who_, all), who_, all).level >= Level::read;
    if (everything) return std::nullopt;
    std::set<std::string> names;
    const auto add = [&](const Resource& resource) {
      if (resource.kind == *parsed && resource.name != kAny && sees(kind, resource.name))
        names.insert(resource.name);
    };
    if (who_.scope.resource) add(*who_.scope.resource);
    each_grant(*snapshot_, who_.user, [&](const Grant& grant) { add(grant.resource); });
    return std::vector<std::string>(names.begin(), names.end());
  }

 private:
  std::shared_ptr<const Snapshot> snapshot_;
  Identity who_;
};

}  // namespace

Decision decide(const Snapshot& snapshot, const Identity& who, const Resource& resource,
                Level wanted) {
  const Held found = limited(held(snapshot, who, resource), who, resource);
  const bool allowed = found.level >= wanted;
  std::string why =
      found.level == Level::none
          ? fmt::format("{} has nothing on {}: {}", who.name, resource.text(), found.why)
          : fmt::format("{} has {} on {}: {}", who.name, to_string(found.level), resource.text(),
                        found.why);
  if (!allowed && found.level != Level::none)
    why += fmt::format("; {} is needed", to_string(wanted));
  return {allowed, found.level, std::move(why)};
}

Decision decide_create(const Snapshot& snapshot, const Identity& who, Kind kind) {
  const Resource all{kind, std::string(kAny)};
  const User* user = snapshot.user(who.user);
  if (user == nullptr) return {false, Level::none, "there is no such user any more"};
  const bool in_scope =
      who.scope.level >= Level::edit && (!who.scope.resource || covers(*who.scope.resource, all));
  if (!in_scope) {
    return {false, Level::none,
            fmt::format("the token {} is not for making a new {}", who.token, to_string(kind))};
  }
  if (const Decision edits = decide(snapshot, who, all, Level::edit); edits.allowed) return edits;
  if (user->creates) {
    return {true, Level::manage,
            fmt::format("{} may make a new {}, as users may unless added with --no-create",
                        who.name, to_string(kind))};
  }
  return {
      false, Level::none,
      fmt::format("{} was added with --no-create, and has no edit on {}", who.name, all.text())};
}

std::shared_ptr<const Visibility> visibility_of(std::shared_ptr<const Snapshot> snapshot,
                                                Identity who) {
  return std::make_shared<Seen>(std::move(snapshot), std::move(who));
}

}  // namespace slipway::access
