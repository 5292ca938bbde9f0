#include "api/mlflow_users.h"

#include "access/policy.h"
#include "api/access_guard.h"
#include "api/mlflow_internal.h"

namespace slipway::api {
namespace {

using access::Directory;
using access::Kind;
using access::Level;
using access::Resource;
using mlflow::Params;
using server::Access;
using server::Request;
using server::Response;

struct Users {
  Directory& directory;
  access::Authenticator& authenticator;
};
struct Caller {
  const Context& ctx;
  const Request& request;
};
using Call = Result<Json> (*)(Users&, const Caller&, Params&);

constexpr std::string_view kNone = "NO_PERMISSIONS";

std::string word_of(Level level) {
  if (level == Level::none) return std::string(kNone);
  std::string word(to_string(level));
  for (char& c : word) c = static_cast<char>(c - 'a' + 'A');
  return word;
}

Result<Level> level_of(const std::string& word) {
  if (word == kNone) return Level::none;
  for (const Level level : {Level::read, Level::use, Level::edit, Level::manage}) {
    if (word_of(level) == word) return level;
  }
  return invalid_argument(fmt::format(
      "Invalid permission '{}': there is READ, USE, EDIT, MANAGE and NO_PERMISSIONS", word));
}

Json to_json(const access::User& user) {
  return {{"id", user.id},
          {"username", user.name},
          {"is_admin", user.admin},
          {"experiment_permissions", Json::array()},
          {"registered_model_permissions", Json::array()}};
}

Result<access::User> find_user(const Users& users, const std::string& name) {
  const access::User* user = users.directory.snapshot()->user_named(name);
  if (user == nullptr) return not_found(fmt::format("User with username={} not found", name));
  return *user;
}

// ---- users ----

Result<Json> create_user(Users& users, const Caller& caller, Params& params) {
  const auto name = params.text("username");
  const auto password = params.text("password");
  if (params.problem()) return *params.problem();
  const auto user = users.directory.add_user(caller.ctx, {.name = name, .password = password});
  if (!user) return user.error();
  return Json{{"user", to_json(*user)}};
}

Result<Json> get_user(Users& users, const Caller&, Params& params) {
  const auto name = params.text("username");
  if (params.problem()) return *params.problem();
  const auto user = find_user(users, name);
  if (!user) return user.error();
  return Json{{"user", to_json(*user)}};
}

Result<Json> list_users(Users& users, const Caller&, Params&) {
  const auto snapshot = users.directory.snapshot();
  Json all = Json::array();
  for (const auto& [id, user] : snapshot->users) {
    Json json = to_json(user);
    json["roles"] = Json::array();
    all.push_back(std::move(json));
  }
  return Json{{"users", std::move(all)}};
}

Result<Json> current_user(Users& users, const Caller& caller, Params&) {
  const auto user = find_user(users, caller.ctx.principal.name);
  if (!user) return user.error();
  return Json{{"user", to_json(*user)}, {"is_basic_auth", true}};
}

// Who changes their own password says the old one, too: a browser left open is no way to keep it.
Result<Json> update_password(Users& users, const Caller& caller, Params& params) {
  const auto name = params.text("username");
  const auto password = params.text("password");
  const auto current = params.text_or_empty("current_password");
  if (params.problem()) return *params.problem();
  const auto user = find_user(users, name);
  if (!user) return user.error();
  if (user->name == caller.ctx.principal.name) {
    if (current.empty())
      return invalid_argument("Current password is required when changing your own password.");
    auto same = users.authenticator.check_password_of(user->name, current, caller.request.peer);
    if (!same && same.error().code == Code::unauthenticated)
      return invalid_argument("Current password does not match.");
    if (!same) return same.error();
    if (password == current)
      return invalid_argument("New password must differ from the current password.");
  }
  return mlflow::empty_or(users.directory.set_password(caller.ctx, user->name, password));
}

Result<Json> update_admin(Users& users, const Caller& caller, Params& params) {
  const auto name = params.text("username");
  const auto admin = params.flag("is_admin", false);
  if (params.problem()) return *params.problem();
  return mlflow::empty_or(users.directory.set_admin(caller.ctx, name, admin));
}

Result<Json> delete_user(Users& users, const Caller& caller, Params& params) {
  const auto name = params.text("username");
  if (params.problem()) return *params.problem();
  const auto user = find_user(users, name);
  if (!user) return user.error();
  if (user->name == caller.ctx.principal.name)
    return invalid_argument("Users cannot delete their own account: ask another admin.");
  return mlflow::empty_or(users.directory.remove_user(caller.ctx, user->name));
}

// ---- grants ----

// What a user was granted themselves on that very resource.
std::optional<Level> own_grant(const Users& users, const access::User& user,
                               const Resource& resource) {
  const auto snapshot = users.directory.snapshot();
  const auto grants = snapshot->grants.find({access::Holder::Kind::user, user.id});
  if (grants == snapshot->grants.end()) return std::nullopt;
  for (const access::Grant& grant : grants->second) {
    if (grant.resource == resource) return grant.level;
  }
  return std::nullopt;
}

// A user and a resource as a call names them, and as they are.
struct Names {
  std::string user, type, id;
};
struct Named {
  access::User user;
  Resource resource;
};

Names read_names(Params& params) {
  Names names;
  names.user = params.text("username");
  names.type = params.text("resource_type");
  names.id = params.text("resource_id");
  return names;
}

Result<Named> find_named(const Users& users, const Names& names) {
  auto user = find_user(users, names.user);
  if (!user) return user.error();
  auto resource = resource_in_mlflows_words(names.type, names.id);
  if (!resource) return resource.error();
  return Named{*std::move(user), *std::move(resource)};
}

Result<Json> effective(Users& users, const Caller&, Params& params) {
  const auto names = read_names(params);
  if (params.problem()) return *params.problem();
  const auto asked = find_named(users, names);
  if (!asked) return asked.error();
  const auto decision = access::decide(*users.directory.snapshot(),
                                       {.user = asked->user.id, .name = asked->user.name},
                                       asked->resource, Level::use);
  return Json{{"allowed", decision.allowed}, {"permission", word_of(decision.level)}};
}

Json listed(const access::Snapshot& snapshot, const access::User& user) {
  Json rows = Json::array();
  const auto add = [&](const access::Holder& holder, std::int64_t role, const std::string& name) {
    const auto grants = snapshot.grants.find(holder);
    if (grants == snapshot.grants.end()) return;
    for (const access::Grant& grant : grants->second) {
      const bool model = grant.resource.kind == Kind::model;
      const bool workspace = grant.resource.kind == Kind::workspace;
      rows.push_back(
          {{"role_id", role},
           {"role_name", name},
           {"workspace", access::kDefaultWorkspace},
           {"resource_type", model ? "registered_model" : to_string(grant.resource.kind)},
           {"resource_pattern", workspace ? std::string(access::kAny) : grant.resource.name},
           {"permission", word_of(grant.level)}});
    }
  };
  // MLflow keeps a user's own grants in a role of that name.
  add({access::Holder::Kind::user, user.id}, 0, fmt::format("__user_{}__", user.id));
  add({access::Holder::Kind::everyone, 0}, 0, "everyone");
  if (const auto roles = snapshot.roles_of.find(user.id); roles != snapshot.roles_of.end()) {
    for (const std::int64_t role : roles->second)
      add({access::Holder::Kind::role, role}, role, snapshot.roles.at(role).name);
  }
  return {{"is_admin", user.admin}, {"permissions", std::move(rows)}};
}

Result<Json> list_permissions(Users& users, const Caller&, Params& params) {
  const auto name = params.text("username");
  if (params.problem()) return *params.problem();
  const auto user = find_user(users, name);
  if (!user) return user.error();
  return listed(*users.directory.snapshot(), *user);
}

Result<Json> current_permissions(Users& users, const Caller& caller, Params&) {
  const auto user = find_user(users, caller.ctx.principal.name);
  if (!user) return user.error();
  return listed(*users.directory.snapshot(), *user);
}

Result<void> set_level(Users& users, const Caller& caller, const access::User& user,
                       const Resource& resource, Level level) {
  if (level != Level::none)
    return users.directory.grant(caller.ctx, {.user = user.name}, resource, level);
  if (!own_grant(users, user, resource)) return {};
  return users.directory.revoke(caller.ctx, {.user = user.name}, resource);
}

Result<Json> grant(Users& users, const Caller& caller, Params& params) {
  const auto names = read_names(params);
  const auto word = params.text("permission");
  if (params.problem()) return *params.problem();
  const auto asked = find_named(users, names);
  if (!asked) return asked.error();
  const auto level = level_of(word);
  if (!level) return level.error();
  return mlflow::empty_or(set_level(users, caller, asked->user, asked->resource, *level));
}

Result<Json> revoke(Users& users, const Caller& caller, Params& params) {
  const auto names = read_names(params);
  if (params.problem()) return *params.problem();
  const auto asked = find_named(users, names);
  if (!asked) return asked.error();
  return mlflow::empty_or(set_level(users, caller, asked->user, asked->resource, Level::none));
}

// ---- grants on one kind, as clients before MLflow 3.14 set them ----

struct OldGrant {
  access::User user;
  Resource resource;
  std::string_view answer;  // how the answer calls it
  std::string_view field;   // the resource's name in it
};

template <Kind kKind>
Result<OldGrant> old_grant(const Users& users, Params& params) {
  constexpr bool kExperiment = kKind == Kind::experiment;
  const auto name = params.text("username");
  const auto id = kExperiment ? params.experiment_id().text() : params.text("name");
  if (params.problem()) return *params.problem();
  auto user = find_user(users, name);
  if (!user) return user.error();
  return OldGrant{*std::move(user), Resource{kKind, id},
                  kExperiment ? "experiment_permission" : "registered_model_permission",
                  kExperiment ? "experiment_id" : "name"};
}

Json old_answer(const OldGrant& grant, Level level) {
  return {{grant.answer,
           {{grant.field, grant.resource.name},
            {"user_id", grant.user.id},
            {"permission", word_of(level)}}}};
}

Error no_old_grant(const OldGrant& grant) {
  return not_found(
      fmt::format("{} has no permission on {} itself", grant.user.name, grant.resource.text()));
}

template <Kind kKind>
Result<Json> get_old(Users& users, const Caller&, Params& params) {
  const auto asked = old_grant<kKind>(users, params);
  if (!asked) return asked.error();
  const auto level = own_grant(users, asked->user, asked->resource);
  if (!level) return no_old_grant(*asked);
  return old_answer(*asked, *level);
}

// Creating one that is there, or updating one that is not, is an error of its own.
template <Kind kKind, bool kNew>
Result<Json> put_old(Users& users, const Caller& caller, Params& params) {
  const auto word = params.text("permission");
  const auto asked = old_grant<kKind>(users, params);
  if (!asked) return asked.error();
  const auto level = level_of(word);
  if (!level) return level.error();
  const bool there = own_grant(users, asked->user, asked->resource).has_value();
  if (kNew && there) {
    return already_exists(
        fmt::format("{} has a permission on {} already", asked->user.name, asked->resource.text()));
  }
  if (!kNew && !there) return no_old_grant(*asked);
  if (auto set = set_level(users, caller, asked->user, asked->resource, *level); !set)
    return set.error();
  return kNew ? old_answer(*asked, *level) : Json::object();
}

template <Kind kKind>
Result<Json> delete_old(Users& users, const Caller& caller, Params& params) {
  const auto asked = old_grant<kKind>(users, params);
  if (!asked) return asked.error();
  if (!own_grant(users, asked->user, asked->resource)) return no_old_grant(*asked);
  return mlflow::empty_or(
      users.directory.revoke(caller.ctx, {.user = asked->user.name}, asked->resource));
}

struct Endpoint {
  std::string_view method;
  std::string_view path;  // below the version
  std::string_view version;
  Access access;
  Call call;
};

constexpr Endpoint kEndpoints[] = {
    {"POST", "users/create", "2.0", Access::manage, create_user},
    {"GET", "users/get", "2.0", Access::read, get_user},
    {"GET", "users/list", "2.0", Access::manage, list_users},
    {"GET", "users/current", "2.0", Access::read, current_user},
    {"PATCH", "users/update-password", "2.0", Access::manage, update_password},
    {"PATCH", "users/update-admin", "2.0", Access::manage, update_admin},
    {"DELETE", "users/delete", "2.0", Access::manage, delete_user},
    {"GET", "users/current/permissions", "3.0", Access::read, current_permissions},
    {"GET", "users/permissions/list", "3.0", Access::read, list_permissions},
    {"GET", "users/permissions/get", "3.0", Access::read, effective},
    {"POST", "users/permissions/grant", "3.0", Access::manage, grant},
    {"POST", "users/permissions/revoke", "3.0", Access::manage, revoke},
    {"POST", "experiments/permissions/create", "2.0", Access::manage,
     put_old<Kind::experiment, true>},
    {"GET", "experiments/permissions/get", "2.0", Access::manage, get_old<Kind::experiment>},
    {"PATCH", "experiments/permissions/update", "2.0", Access::manage,
     put_old<Kind::experiment, false>},
    {"DELETE", "experiments/permissions/delete", "2.0", Access::manage,
     delete_old<Kind::experiment>},
    {"POST", "registered-models/permissions/create", "2.0", Access::manage,
     put_old<Kind::model, true>},
    {"GET", "registered-models/permissions/get", "2.0", Access::manage, get_old<Kind::model>},
    {"PATCH", "registered-models/permissions/update", "2.0", Access::manage,
     put_old<Kind::model, false>},
    {"DELETE", "registered-models/permissions/delete", "2.0", Access::manage,
     delete_old<Kind::model>},
};

}  // namespace

void add_mlflow_user_routes(server::Router& router, Directory& directory,
                            access::Authenticator& authenticator) {
  const auto users = std::make_shared<Users>(Users{directory, authenticator});
  for (const std::string_view prefix : {"/api/", "/ajax-api/"}) {
    for (const Endpoint& endpoint : kEndpoints) {
      router.add(std::string(endpoint.method),
                 fmt::format("{}{}/mlflow/{}", prefix, endpoint.version, endpoint.path),
                 endpoint.access, mlflow_error,
                 [users, call = endpoint.call](const Context& ctx, const Request& request) {
                   auto params = Params::read(request);
                   if (!params) return mlflow_error(params.error());
                   const auto result = call(*users, {ctx, request}, *params);
                   if (!result) return mlflow_error(result.error());
                   return server::json_text(
                       200, result->dump(-1, ' ', false, Json::error_handler_t::replace));
                 });
    }
  }
}

}  // namespace slipway::api
