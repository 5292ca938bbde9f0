#include "access/directory.h"

#include "access/access_internal.h"
#include "access/migrations.h"
#include "access/queries.h"

namespace slipway::access {
namespace {

Result<Level> read_level(const db::Rows& rows, int column) {
  return parse_level(rows.view(column));
}

Result<void> load_users(db::Connection& c, Snapshot& into) {
  auto rows = c.query(sql::list_users);
  if (!rows) return rows.error();
  while (rows->next()) {
    User user = read_user(*rows);
    into.users_by_name.emplace(folded(user.name), user.id);
    into.users.emplace(user.id, std::move(user));
  }
  return rows->status();
}

Result<void> load_roles(db::Connection& c, Snapshot& into) {
  auto rows = c.query(sql::list_roles);
  if (!rows) return rows.error();
  while (rows->next()) {
    into.roles.emplace(rows->integer(0), Role{rows->integer(0), rows->text(1), rows->text(2),
                                              from_micros(rows->integer(3))});
  }
  if (auto status = rows->status(); !status) return status;
  auto members = c.query(sql::list_members);
  if (!members) return members.error();
  while (members->next()) into.roles_of[members->integer(1)].insert(members->integer(0));
  return members->status();
}

Result<void> load_grants(db::Connection& c, Snapshot& into) {
  auto rows = c.query(sql::list_grants);
  if (!rows) return rows.error();
  while (rows->next()) {
    const auto holder_kind = rows->view(1);
    const Holder holder{holder_kind == "user"   ? Holder::Kind::user
                        : holder_kind == "role" ? Holder::Kind::role
                                                : Holder::Kind::everyone,
                        rows->integer(2)};
    const auto kind = parse_kind(rows->view(3));
    const auto level = read_level(*rows, 5);
    if (!kind || !level) continue;  // of a newer program: what is not understood grants nothing
    into.grants[holder].push_back({.id = rows->integer(0),
                                   .holder = holder,
                                   .resource = {*kind, rows->text(4)},
                                   .level = *level,
                                   .created = from_micros(rows->integer(6)),
                                   .created_by = rows->text(7)});
  }
  return rows->status();
}

Result<void> load_tokens(db::Connection& c, Snapshot& into) {
  auto rows = c.query(sql::list_tokens);
  if (!rows) return rows.error();
  while (rows->next()) {
    Token token = read_token(*rows);
    if (!token.revoked) into.tokens.emplace(token.id, std::move(token));
  }
  return rows->status();
}

Error no_user(std::string_view name) {
  return not_found(fmt::format("there is no user '{}'", name));
}

}  // namespace

User read_user(const db::Rows& rows) {
  return {.id = rows.integer(0),
          .name = rows.text(1),
          .password = rows.text(2),
          .admin = rows.integer(3) != 0,
          .creates = rows.integer(4) != 0,
          .created = from_micros(rows.integer(5)),
          .password_set = from_micros(rows.integer(6))};
}

Result<User> find_user(db::Connection& connection, std::string_view name) {
  auto rows = connection.query(sql::find_user, folded(name));
  if (!rows) return rows.error();
  if (rows->next()) return read_user(*rows);
  if (auto status = rows->status(); !status) return status.error();
  return no_user(name);
}

Result<Role> find_role(db::Connection& connection, const std::string& name) {
  auto rows = connection.query(sql::find_role, name);
  if (!rows) return rows.error();
  if (rows->next()) {
    return Role{rows->integer(0), rows->text(1), rows->text(2), from_micros(rows->integer(3))};
  }
  if (auto status = rows->status(); !status) return status.error();
  return not_found(fmt::format("there is no role '{}'", name));
}

Result<Holder> find_holder(db::Connection& connection, const HolderName& name) {
  if (!name.user.empty()) {
    const auto user = find_user(connection, name.user);
    if (!user) return user.error();
    return Holder{Holder::Kind::user, user->id};
  }
  if (!name.role.empty()) {
    const auto role = find_role(connection, name.role);
    if (!role) return role.error();
    return Holder{Holder::Kind::role, role->id};
  }
  return Holder{};
}

Result<void> Directory::Impl::bump(db::Transaction& tx) { return tx.run(sql::bump_version); }

Result<void> Directory::Impl::record(db::Transaction& tx, const Context& ctx, std::string action,
                                     std::string object, Json details) const {
  auto entry = audit.append(tx, {.actor = ctx.principal.name,
                                 .action = std::move(action),
                                 .object = std::move(object),
                                 .digest = {},
                                 .details = std::move(details)});
  if (!entry) return entry.error();
  return {};
}

Result<void> Directory::Impl::load() {
  auto loaded = db.read([&](db::Connection& c) -> Result<std::shared_ptr<const Snapshot>> {
    auto fresh = std::make_shared<Snapshot>();
    auto rows = c.query(sql::state_version);
    if (!rows) return rows.error();
    if (rows->next()) fresh->version = rows->integer(0);
    if (auto status = rows->status(); !status) return status.error();
    for (const auto part : {load_users, load_roles, load_grants, load_tokens}) {
      if (auto read = part(c, *fresh); !read) return read.error();
    }
    return std::shared_ptr<const Snapshot>(std::move(fresh));
  });
  if (!loaded) return loaded.error();
  current.with([&](std::shared_ptr<const Snapshot>& here) {
    // Two may load at once: the older one must not win.
    if (here == nullptr || here->version <= (*loaded)->version) here = *std::move(loaded);
  });
  return {};
}

Directory::Directory(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Directory::~Directory() = default;

Result<std::unique_ptr<Directory>> Directory::open(db::Database& db, audit::Log& audit,
                                                   const Clock& clock, IdSource& ids,
                                                   HashCost cost) {
  if (auto migrated = db.migrate("access", kMigrations); !migrated) return migrated.error();
  auto directory = std::unique_ptr<Directory>(
      new Directory(std::unique_ptr<Impl>(new Impl{db, audit, clock, ids, cost})));
  if (auto loaded = directory->impl_->load(); !loaded) return loaded.error();
  return directory;
}

std::shared_ptr<const Snapshot> Directory::snapshot() const {
  return impl_->current.with([](const auto& current) { return current; });
}

const HashCost& Directory::cost() const { return impl_->cost; }

Result<void> Directory::refresh() {
  const auto version = impl_->db.read([](db::Connection& c) -> Result<std::int64_t> {
    auto rows = c.query(sql::state_version);
    if (!rows) return rows.error();
    const std::int64_t found = rows->next() ? rows->integer(0) : 0;
    if (auto status = rows->status(); !status) return status.error();
    return found;
  });
  if (!version) return version.error();
  if (*version == snapshot()->version) return {};
  return impl_->load();
}

Result<User> Directory::add_user(const Context& ctx, const NewUser& user) {
  if (auto sound = check_user_name(user.name); !sound) return sound.error();
  std::string hash;
  if (!user.password.empty()) {
    if (auto sound = check_password(user.password, user.name); !sound) return sound.error();
    auto hashed = hash_password(user.password, impl_->cost);
    if (!hashed) return hashed.error();
    hash = *std::move(hashed);
  }
  return impl_->change(
      [&](db::Transaction& tx) { return impl_->insert_user(tx, ctx, user, hash); });
}

Result<User> Directory::Impl::insert_user(db::Transaction& tx, const Context& ctx,
                                          const NewUser& user, const std::string& hash) const {
  const auto taken = find_user(tx, user.name);
  if (taken) return already_exists(fmt::format("there is a user '{}' already", taken->name));
  if (taken.error().code != Code::not_found) return taken.error();
  auto inserted =
      tx.run(sql::insert_user, user.name, folded(user.name), hash, user.admin, user.creates, now());
  if (!inserted) return inserted.error();
  auto recorded = record(tx, ctx, "user.create", "users/" + user.name,
                         {{"admin", user.admin}, {"creates", user.creates}});
  if (!recorded) return recorded.error();
  return find_user(tx, user.name);
}

namespace {

// A home without an admin could only be repaired with a text editor.
Result<void> check_not_last_admin(db::Transaction& tx, const User& user) {
  if (!user.admin) return {};
  auto rows = tx.query(sql::count_other_admins, user.id);
  if (!rows) return rows.error();
  const bool others = rows->next() && rows->integer(0) > 0;
  if (auto status = rows->status(); !status) return status;
  if (others) return {};
  return failed_precondition(
      fmt::format("'{}' is the last admin: make another user one first", user.name));
}

}  // namespace

Result<void> Directory::remove_user(const Context& ctx, const std::string& name) {
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto user = find_user(tx, name);
    if (!user) return user.error();
    if (auto others = check_not_last_admin(tx, *user); !others) return others;
    // Tokens and memberships go with the row.
    auto grants = tx.run(sql::delete_grants_of_holder, to_string(Holder::Kind::user), user->id);
    if (!grants) return grants;
    if (auto gone = tx.run(sql::delete_user, user->id); !gone) return gone;
    return impl_->record(tx, ctx, "user.delete", "users/" + user->name);
  });
}

Result<void> Directory::set_password(const Context& ctx, const std::string& name,
                                     const std::string& password) {
  if (auto sound = check_password(password, name); !sound) return sound;
  const auto hash = hash_password(password, impl_->cost);
  if (!hash) return hash.error();
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto user = find_user(tx, name);
    if (!user) return user.error();
    auto set = tx.run(sql::set_password, user->id, *hash, impl_->now());
    if (!set) return set;
    return impl_->record(tx, ctx, "user.password", "users/" + user->name);
  });
}

Result<void> Directory::set_admin(const Context& ctx, const std::string& name, bool admin) {
  return impl_->change([&](db::Transaction& tx) -> Result<void> {
    const auto user = find_user(tx, name);
    if (!user) return user.error();
    if (user->admin == admin) return {};
    if (auto others = check_not_last_admin(tx, *user); !others) return others;
    if (auto set = tx.run(sql::set_admin, user->id, admin); !set) return set;
    return impl_->record(tx, ctx, "user.admin", "users/" + user->name, {{"admin", admin}});
  });
}

Result<std::optional<std::string>> Directory::bootstrap(const Context& ctx,
                                                        const std::string& admin) {
  if (auto fresh = refresh(); !fresh) return fresh.error();
  const auto now = snapshot();
  const bool has_admin =
      std::ranges::any_of(now->users, [](const auto& entry) { return entry.second.admin; });
  if (has_admin) return std::optional<std::string>();
  const std::string chance = impl_->ids.next();  // 128 bits
  const std::string password = fmt::format("{}-{}-{}-{}", chance.substr(0, 8), chance.substr(8, 8),
                                           chance.substr(16, 8), chance.substr(24, 8));
  const auto hash = hash_password(password, impl_->cost);
  if (!hash) return hash.error();
  auto added = impl_->change([&](db::Transaction& tx) {
    return impl_->insert_user(tx, ctx, {.name = admin, .admin = true}, *hash);
  });
  if (!added) return added.error();
  return std::optional(password);
}

Result<void> Directory::ensure_service_user(const Context& ctx) {
  const std::string name(kServiceUser);
  if (auto fresh = refresh(); !fresh) return fresh;
  if (snapshot()->user_named(name) != nullptr) return {};
  auto added = impl_->change(
      [&](db::Transaction& tx) { return impl_->insert_user(tx, ctx, {.name = name}, ""); });
  if (!added) return added.error();
  return grant(ctx, {.user = name}, workspace(), Level::edit);
}

}  // namespace slipway::access
