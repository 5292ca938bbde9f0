// Roles, and what users and roles are granted.
#include "access/access_internal.h"
#include "access/queries.h"

namespace slipway::access {
namespace {

std::string shown(const HolderName& holder) {
  if (!holder.user.empty()) return "users/" + holder.user;
  if (!holder.role.empty()) return "roles/" + holder.role;
  return "everyone";
}

// A thing called "*" would be taken for all things.
Result<void> check_no_wildcard(std::string_view name) {
  if (name != kAny) return {};
  return invalid_argument("'*' stands for all names in grants, so nothing may be called that");
}

}  // namespace

Result<Role> Directory::add_role(const Context& ctx, const std::string& name,
                                 const std::string& description) {
  if (auto sound = check_role_name(name); !sound) return sound.error();
  return impl_->change([&](db::Transaction& tx) -> Result<Role> {
    const auto taken = find_role(tx, name);
    if (taken) return already_exists(fmt::format("there is a role '{}' already", name));
    if (taken.error().code != Code::not_found) return taken.error();
    auto inserted = tx.run(sql::insert_role, name, description, impl_->now());
    if (!inserted) return inserted.error();
    auto recorded = impl_->record(tx, ctx, "role.create", "roles/" + name);
    if (!recorded) return recorded.error();
    return find_role(tx, name);
  });
}

Result<void> Directory::remove_role(const Context& ctx, const std::string& name) {
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto role = find_role(tx, name);
    if (!role) return role.error();
    auto grants = tx.run(sql::delete_grants_of_holder, to_string(Holder::Kind::role), role->id);
    if (!grants) return grants;
    if (auto gone = tx.run(sql::delete_role, role->id); !gone) return gone;
    return impl_->record(tx, ctx, "role.delete", "roles/" + name);
  });
}

Result<void> Directory::assign(const Context& ctx, const std::string& user,
                               const std::string& role) {
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto found = find_user(tx, user);
    if (!found) return found.error();
    const auto named = find_role(tx, role);
    if (!named) return named.error();
    if (auto added = tx.run(sql::add_member, named->id, found->id); !added) return added;
    if (tx.changes() == 0) return {};  // a member already
    return impl_->record(tx, ctx, "role.assign", "roles/" + role, {{"user", found->name}});
  });
}

Result<void> Directory::unassign(const Context& ctx, const std::string& user,
                                 const std::string& role) {
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto found = find_user(tx, user);
    if (!found) return found.error();
    const auto named = find_role(tx, role);
    if (!named) return named.error();
    if (auto gone = tx.run(sql::remove_member, named->id, found->id); !gone) return gone;
    if (tx.changes() == 0)
      return not_found(fmt::format("user '{}' does not have the role '{}'", user, role));
    return impl_->record(tx, ctx, "role.unassign", "roles/" + role, {{"user", found->name}});
  });
}

Result<void> Directory::grant(const Context& ctx, const HolderName& to, const Resource& on,
                              Level level) {
  if (level == Level::none) return invalid_argument("a grant of nothing is none: revoke it");
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto holder = find_holder(tx, to);
    if (!holder) return holder.error();
    auto set = tx.run(sql::upsert_grant, to_string(holder->kind), holder->id, to_string(on.kind),
                      on.name, to_string(level), impl_->now(), ctx.principal.name);
    if (!set) return set;
    return impl_->record(tx, ctx, "grant.set", shown(to),
                         {{"resource", on.text()}, {"level", to_string(level)}});
  });
}

Result<void> Directory::revoke(const Context& ctx, const HolderName& from, const Resource& on) {
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto holder = find_holder(tx, from);
    if (!holder) return holder.error();
    auto gone =
        tx.run(sql::delete_grant, to_string(holder->kind), holder->id, to_string(on.kind), on.name);
    if (!gone) return gone;
    if (tx.changes() == 0)
      return not_found(fmt::format("{} has no grant on {} itself", shown(from), on.text()));
    return impl_->record(tx, ctx, "grant.remove", shown(from), {{"resource", on.text()}});
  });
}

Result<void> Directory::renamed(db::Transaction& tx, Kind kind, const std::string& from,
                                const std::string& to) {
  for (const auto& name : {from, to}) {
    if (auto sound = check_no_wildcard(name); !sound) return sound;
  }
  // What was granted on the new name was meant for something else.
  if (auto gone = tx.run(sql::delete_grants_on, to_string(kind), to); !gone) return gone;
  if (auto moved = tx.run(sql::rename_grants_on, to_string(kind), from, to); !moved) return moved;
  if (auto moved = tx.run(sql::rename_tokens_for, to_string(kind), from, to); !moved) return moved;
  return Impl::bump(tx);
}

Result<void> Directory::removed(db::Transaction& tx, Kind kind, const std::string& name) {
  if (auto sound = check_no_wildcard(name); !sound) return sound;
  if (auto gone = tx.run(sql::delete_grants_on, to_string(kind), name); !gone) return gone;
  auto ended = tx.run(sql::revoke_tokens_for, to_string(kind), name, impl_->now());
  if (!ended) return ended;
  return Impl::bump(tx);
}

}  // namespace slipway::access
