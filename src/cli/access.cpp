// `users`, `roles`, `tokens` and `auth`: who may do what, on a home folder itself. Whoever may
// write the folder may do everything here.
#include <termios.h>
#include <unistd.h>

#include <iostream>

#include "access/policy.h"
#include "cli/command_internal.h"
#include "tracking/ownership.h"

namespace slipway::cli {
namespace {

using access::HolderName;
using access::Kind;
using access::Level;
using access::Resource;

// No echo while it lives.
class Hidden {
 public:
  Hidden() {
    if (tcgetattr(STDIN_FILENO, &before_) != 0) return;
    termios hidden = before_;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = tcsetattr(STDIN_FILENO, TCSAFLUSH, &hidden) == 0;
  }
  ~Hidden() {
    if (changed_) tcsetattr(STDIN_FILENO, TCSAFLUSH, &before_);
  }
  Hidden(const Hidden&) = delete;
  Hidden& operator=(const Hidden&) = delete;

 private:
  termios before_{};
  bool changed_ = false;
};

std::string line_of_stdin() {
  std::string line;
  std::getline(std::cin, line);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

// Typed twice on a terminal; the first line of standard input otherwise.
Result<std::string> ask_password() {
  if (isatty(STDIN_FILENO) == 0) {
    std::string password = line_of_stdin();
    if (password.empty()) return invalid_argument("standard input has no password");
    return password;
  }
  const Hidden hidden;
  std::cerr << "Password: ";
  std::string first = line_of_stdin();
  std::cerr << "\nOnce more: ";
  const std::string second = line_of_stdin();
  std::cerr << "\n";
  if (first != second) return invalid_argument("the two passwords differ");
  return first;
}

// "experiment/flights" is kept by its id; "experiment/7" is one already.
Result<Resource> resource_of(Home& home, const std::string& text) {
  auto resource = Resource::parse(text);
  if (!resource || resource->kind != Kind::experiment || resource->name == access::kAny)
    return resource;
  if (const auto id = tracking::ExperimentId::parse(resource->name)) {
    if (auto known = home.tracking().experiment(*id); !known) return known.error();
    return Resource{Kind::experiment, id->text()};
  }
  const auto id = tracking::Ownership(home.db()).of_name(resource->name);
  if (!id) return id.error();
  return Resource{Kind::experiment, id->text()};
}

// "ana", "role:scientists" or "everyone".
HolderName holder_of(const std::string& text) {
  constexpr std::string_view kRole = "role:";
  if (text == "everyone") return {};
  if (text.starts_with(kRole)) return {.role = text.substr(kRole.size())};
  return {.user = text};
}

std::string shown(const access::Snapshot& snapshot, const access::Holder& holder) {
  switch (holder.kind) {
    case access::Holder::Kind::user: {
      const auto* user = snapshot.user(holder.id);
      return user == nullptr ? "?" : user->name;
    }
    case access::Holder::Kind::role: {
      const auto role = snapshot.roles.find(holder.id);
      return "role:" + (role == snapshot.roles.end() ? "?" : role->second.name);
    }
    case access::Holder::Kind::everyone:
      break;
  }
  return "everyone";
}

std::string shown(const std::optional<Time>& time, const char* otherwise) {
  return time ? format_time(*time).substr(0, 19) : otherwise;
}

Json maybe(const std::optional<Time>& time) {
  return time ? Json(format_time(*time)) : Json(nullptr);
}

struct AccessFlags {
  std::string name, level, resource, role, description, label, lifetime = "90d";
  bool admin = false, no_create = false, no_password = false, generate = false, off = false;
  bool why = false, all = false;
};

int done(const Result<void>& result) { return result ? 0 : fail(result.error()); }

int add_user(Home& home, const Context& ctx, const AccessFlags& flags) {
  access::NewUser user{.name = flags.name, .admin = flags.admin, .creates = !flags.no_create};
  if (flags.generate) {
    user.password = home.ids().next();
  } else if (!flags.no_password) {
    auto password = ask_password();
    if (!password) return fail(password.error());
    user.password = *std::move(password);
  }
  auto added = home.access().add_user(ctx, user);
  if (!added) return fail(added.error());
  if (flags.generate) {
    std::cout << user.password << "\n";
    std::cerr << "This is the password of '" << user.name << "'. It is not shown again.\n";
  }
  return 0;
}

int list_users(const Globals& globals, Home& home) {
  const auto snapshot = home.access().snapshot();
  TextTable table({"USER", "ADMIN", "CREATES", "PASSWORD", "ROLES", "CREATED"});
  Json all = Json::array();
  for (const auto& [id, user] : snapshot->users) {
    Json roles = Json::array();
    std::string names;
    if (const auto of = snapshot->roles_of.find(id); of != snapshot->roles_of.end()) {
      for (const std::int64_t role : of->second) {
        roles.push_back(snapshot->roles.at(role).name);
        names += (names.empty() ? "" : " ") + snapshot->roles.at(role).name;
      }
    }
    const bool password = !user.password.empty();
    table.add({user.name, user.admin ? "yes" : "no", user.creates ? "yes" : "no",
               password ? "yes" : "no", names, format_time(user.created).substr(0, 19)});
    all.push_back({{"name", user.name},
                   {"admin", user.admin},
                   {"creates", user.creates},
                   {"password", password},
                   {"roles", roles},
                   {"created", format_time(user.created)}});
  }
  return print(globals, table, all);
}

int set_password(Home& home, const Context& ctx, const AccessFlags& flags) {
  if (home.access().snapshot()->user_named(flags.name) == nullptr)
    return fail(not_found("there is no user '" + flags.name + "'"));
  auto password = ask_password();
  if (!password) return fail(password.error());
  return done(home.access().set_password(ctx, flags.name, *password));
}

int set_grant(Home& home, const Context& ctx, const AccessFlags& flags) {
  const auto level = access::parse_level(flags.level);
  if (!level) return fail(level.error());
  const auto resource = resource_of(home, flags.resource);
  if (!resource) return fail(resource.error());
  return done(home.access().grant(ctx, holder_of(flags.name), *resource, *level));
}

int remove_grant(Home& home, const Context& ctx, const AccessFlags& flags) {
  const auto resource = resource_of(home, flags.resource);
  if (!resource) return fail(resource.error());
  return done(home.access().revoke(ctx, holder_of(flags.name), *resource));
}

int list_grants(const Globals& globals, Home& home, const AccessFlags& flags) {
  const auto snapshot = home.access().snapshot();
  TextTable table({"HOLDER", "LEVEL", "RESOURCE", "NAME", "BY", "SINCE"});
  Json all = Json::array();
  for (const auto& [holder, grants] : snapshot->grants) {
    const std::string held_by = shown(*snapshot, holder);
    if (!flags.name.empty() && held_by != flags.name) continue;
    for (const access::Grant& grant : grants) {
      std::string name;
      if (const auto id = tracking::ExperimentId::parse(grant.resource.name);
          id && grant.resource.kind == Kind::experiment) {
        if (const auto experiment = home.tracking().experiment(*id)) name = experiment->name;
      }
      table.add({held_by, std::string(to_string(grant.level)), grant.resource.text(), name,
                 grant.created_by, format_time(grant.created).substr(0, 19)});
      all.push_back({{"holder", held_by},
                     {"level", to_string(grant.level)},
                     {"resource", grant.resource.text()},
                     {"name", name},
                     {"by", grant.created_by},
                     {"since", format_time(grant.created)}});
    }
  }
  return print(globals, table, all);
}

int list_roles(const Globals& globals, Home& home) {
  const auto snapshot = home.access().snapshot();
  TextTable table({"ROLE", "MEMBERS", "DESCRIPTION"});
  Json all = Json::array();
  for (const auto& [id, role] : snapshot->roles) {
    Json members = Json::array();
    std::string names;
    for (const auto& [user, roles] : snapshot->roles_of) {
      if (!roles.contains(id)) continue;
      members.push_back(snapshot->users.at(user).name);
      names += (names.empty() ? "" : " ") + snapshot->users.at(user).name;
    }
    table.add({role.name, names, role.description});
    all.push_back({{"name", role.name}, {"members", members}, {"description", role.description}});
  }
  return print(globals, table, all);
}

int create_token(const Globals& globals, Home& home, const Context& ctx, const AccessFlags& flags) {
  access::NewToken token{.user = flags.name, .label = flags.label};
  if (!flags.level.empty()) {
    const auto level = access::parse_level(flags.level);
    if (!level) return fail(level.error());
    token.scope.level = *level;
  }
  if (!flags.resource.empty()) {
    auto resource = resource_of(home, flags.resource);
    if (!resource) return fail(resource.error());
    token.scope.resource = *std::move(resource);
  }
  if (flags.lifetime != "never") {
    const auto lifetime = parse_duration(flags.lifetime);
    if (!lifetime) return fail(lifetime.error().at("--expires"));
    token.lifetime = *lifetime;
  }
  auto made = home.access().create_token(ctx, token);
  if (!made) return fail(made.error());
  if (globals.json) {
    std::cout << Json{{"id", made->token.id},
                      {"token", made->text},
                      {"expires", maybe(made->token.expires)}}
                     .dump(2)
              << "\n";
    return 0;
  }
  std::cout << made->text << "\n";
  std::cerr << "This is the token " << made->token.id << " of '" << made->token.user
            << "'; it expires: " << shown(made->token.expires, "never")
            << ". It is not shown again.\n"
               "Clients take it from the variable MLFLOW_TRACKING_TOKEN.\n";
  return 0;
}

int list_tokens(const Globals& globals, Home& home, const AccessFlags& flags) {
  auto tokens = home.access().tokens();
  if (!tokens) return fail(tokens.error());
  TextTable table({"TOKEN", "USER", "LABEL", "LEVEL", "ONLY", "STATE", "EXPIRES", "LAST USED"});
  Json all = Json::array();
  for (const access::Token& token : *tokens) {
    if (!flags.name.empty() && token.user != flags.name) continue;
    const bool valid = token.valid_at(home.clock().now());
    if (!valid && !flags.all) continue;
    const std::string state = valid ? "valid" : token.revoked ? "revoked" : "expired";
    const std::string only = token.scope.resource ? token.scope.resource->text() : "";
    table.add({token.id, token.user, token.label, std::string(to_string(token.scope.level)), only,
               state, shown(token.expires, "never"), shown(token.last_used, "never")});
    all.push_back({{"id", token.id},
                   {"user", token.user},
                   {"label", token.label},
                   {"level", to_string(token.scope.level)},
                   {"resource", only},
                   {"state", state},
                   {"created", format_time(token.created)},
                   {"created_by", token.created_by},
                   {"expires", maybe(token.expires)},
                   {"last_used", maybe(token.last_used)}});
  }
  return print(globals, table, all);
}

// As a token of this id, or the user.
Result<access::Identity> identity_of(Home& home, const std::string& user,
                                     const std::string& token) {
  const auto snapshot = home.access().snapshot();
  if (!token.empty()) {
    const auto found = snapshot->tokens.find(token);
    if (found == snapshot->tokens.end() || !found->second.valid_at(home.clock().now()))
      return not_found("there is no valid token '" + token + "'");
    return access::Identity{found->second.user_id, found->second.user, found->second.scope, token};
  }
  const access::User* found = snapshot->user_named(user);
  if (found == nullptr) return not_found("there is no user '" + user + "'");
  return access::Identity{.user = found->id, .name = found->name};
}

int can_i(const Globals& globals, Home& home, const AccessFlags& flags) {
  const auto who = identity_of(home, flags.name, flags.label);
  if (!who) return fail(who.error());
  const auto snapshot = home.access().snapshot();
  access::Decision decision;
  if (flags.level == "create") {
    const auto kind = access::parse_kind(flags.resource.substr(0, flags.resource.find('/')));
    if (!kind) return fail(kind.error());
    decision = access::decide_create(*snapshot, *who, *kind);
  } else {
    const auto level = access::parse_level(flags.level);
    if (!level) return fail(level.error());
    const auto resource = resource_of(home, flags.resource);
    if (!resource) return fail(resource.error());
    decision = access::decide(*snapshot, *who, *resource, *level);
  }
  if (globals.json) {
    std::cout << Json{{"allowed", decision.allowed},
                      {"level", to_string(decision.level)},
                      {"why", decision.why}}
                     .dump(2)
              << "\n";
  } else {
    std::cout << (decision.allowed ? green("yes") : red("no"));
    if (flags.why) std::cout << ": " << decision.why;
    std::cout << "\n";
  }
  return decision.allowed ? 0 : kExitNo;
}

using Body = std::function<int(Home&, const Context&)>;
CLI::App* verb(CLI::App* parent, Globals& globals, const char* name, const char* about,
               const std::string& example, Body body) {
  CLI::App* command = parent->add_subcommand(name, about);
  command->footer("Example: slipway " + example);
  command->callback([&globals, body = std::move(body)] {
    globals.exit_code = with_home(globals, {}, [&](Home& home) {
      const int code = body(home, interruptible_context());
      if (auto head = home.audit().checkpoint(); !head) return fail(head.error());
      return code;
    });
  });
  return command;
}

void json_flag(CLI::App* command, Globals& globals) {
  command->add_flag("--json", globals.json, "Print JSON");
}

constexpr const char* kResource =
    "experiment/NAME, model/NAME, deployment/NAME, KIND/* or workspace";
constexpr const char* kHolder = "A user, role:NAME, or everyone";

void add_users(CLI::App& app, Globals& globals, const std::shared_ptr<AccessFlags>& flags) {
  CLI::App* users = noun(app, "users", "Users, and what they are granted");
  CLI::App* add = verb(users, globals, "add",
                       "Add a user; asks for the password, or reads it from standard input",
                       "users add ana --generate",
                       [flags](Home& h, const Context& c) { return add_user(h, c, *flags); });
  add->add_option("name", flags->name, "Letters, digits and . _ @ + -")->required();
  add->add_flag("--admin", flags->admin, "May do everything");
  add->add_flag("--no-create", flags->no_create, "May not make experiments and models");
  auto* generate = add->add_flag("--generate", flags->generate, "Make a password and print it");
  add->add_flag("--no-password", flags->no_password, "For tokens only")->excludes(generate);
  json_flag(verb(users, globals, "ls", "List them", "users ls",
                 [&globals](Home& h, const Context&) { return list_users(globals, h); }),
            globals);
  verb(users, globals, "rm", "Remove a user, with tokens and grants", "users rm ana",
       [flags](Home& h, const Context& c) { return done(h.access().remove_user(c, flags->name)); })
      ->add_option("name", flags->name, "Whom")
      ->required();
  verb(users, globals, "passwd", "Set a user's password: asked for, or from standard input",
       "users passwd ana",
       [flags](Home& h, const Context& c) { return set_password(h, c, *flags); })
      ->add_option("name", flags->name, "Whose")
      ->required();
  CLI::App* admin = verb(users, globals, "admin", "Make a user an admin, or no longer one",
                         "users admin ana --off", [flags](Home& h, const Context& c) {
                           return done(h.access().set_admin(c, flags->name, !flags->off));
                         });
  admin->add_option("name", flags->name, "Whom")->required();
  admin->add_flag("--off", flags->off, "No longer one");
  CLI::App* grant = verb(users, globals, "grant", "Grant a level on something",
                         "users grant ana edit experiment/flights",
                         [flags](Home& h, const Context& c) { return set_grant(h, c, *flags); });
  grant->add_option("holder", flags->name, kHolder)->required();
  grant->add_option("level", flags->level, "read, use, edit or manage")->required();
  grant->add_option("resource", flags->resource, kResource)->required();
  CLI::App* revoke =
      verb(users, globals, "revoke", "Take a grant back", "users revoke ana experiment/flights",
           [flags](Home& h, const Context& c) { return remove_grant(h, c, *flags); });
  revoke->add_option("holder", flags->name, kHolder)->required();
  revoke->add_option("resource", flags->resource, kResource)->required();
  CLI::App* grants =
      verb(users, globals, "grants", "List grants", "users grants ana",
           [flags, &globals](Home& h, const Context&) { return list_grants(globals, h, *flags); });
  grants->add_option("holder", flags->name, kHolder);
  json_flag(grants, globals);
}

void add_roles(CLI::App& app, Globals& globals, const std::shared_ptr<AccessFlags>& flags) {
  CLI::App* roles = noun(app, "roles", "Grants that several users share");
  CLI::App* add =
      verb(roles, globals, "add", "Add a role", "roles add scientists --description \"who trains\"",
           [flags](Home& h, const Context& c) {
             auto made = h.access().add_role(c, flags->role, flags->description);
             return made ? 0 : fail(made.error());
           });
  add->add_option("role", flags->role, "Its name")->required();
  add->add_option("--description", flags->description, "What it is for");
  json_flag(verb(roles, globals, "ls", "List them", "roles ls",
                 [&globals](Home& h, const Context&) { return list_roles(globals, h); }),
            globals);
  verb(roles, globals, "rm", "Remove a role, with its grants", "roles rm scientists",
       [flags](Home& h, const Context& c) { return done(h.access().remove_role(c, flags->role)); })
      ->add_option("role", flags->role, "Which")
      ->required();
  CLI::App* assign = verb(roles, globals, "assign", "Give a role to a user",
                          "roles assign scientists ana", [flags](Home& h, const Context& c) {
                            return done(h.access().assign(c, flags->name, flags->role));
                          });
  CLI::App* unassign = verb(roles, globals, "unassign", "Take a role from a user",
                            "roles unassign scientists ana", [flags](Home& h, const Context& c) {
                              return done(h.access().unassign(c, flags->name, flags->role));
                            });
  for (CLI::App* command : {assign, unassign}) {
    command->add_option("role", flags->role, "Which")->required();
    command->add_option("user", flags->name, "Whose")->required();
  }
}

void add_tokens(CLI::App& app, Globals& globals, const std::shared_ptr<AccessFlags>& flags) {
  CLI::App* tokens = noun(app, "tokens", "Tokens for programs");
  CLI::App* create = verb(
      tokens, globals, "create", "Make a token and print it, this once",
      "tokens create ana --label ci --level edit --only experiment/flights",
      [flags, &globals](Home& h, const Context& c) { return create_token(globals, h, c, *flags); });
  create->add_option("user", flags->name, "Whose; it never may more than its user")->required();
  create->add_option("--label", flags->label, "What it is for");
  create->add_option("--level", flags->level, "At most read, use, edit or manage");
  create->add_option("--only", flags->resource, std::string("Only for ") + kResource);
  create->add_option("--expires", flags->lifetime, "After so long, such as 12h or 30d; or never")
      ->capture_default_str();
  json_flag(create, globals);
  CLI::App* ls = verb(
      tokens, globals, "ls", "List them, newest first; never the secrets", "tokens ls --user ana",
      [flags, &globals](Home& h, const Context&) { return list_tokens(globals, h, *flags); });
  ls->add_option("--user", flags->name, "Of this user only");
  ls->add_flag("--all", flags->all, "Also those revoked and expired");
  json_flag(ls, globals);
  verb(
      tokens, globals, "revoke", "End a token", "tokens revoke 0d5a1b4d2f8e7c6b",
      [flags](Home& h, const Context& c) { return done(h.access().revoke_token(c, flags->label)); })
      ->add_option("token", flags->label, "Its id, as `tokens ls` shows it")
      ->required();
}

}  // namespace

void add_access(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<AccessFlags>();
  add_users(app, globals, flags);
  add_roles(app, globals, flags);
  add_tokens(app, globals, flags);
  CLI::App* auth = noun(app, "auth", "Ask who may do what");
  CLI::App* ask =
      verb(auth, globals, "can-i", "Whether a user or token may do something (exit code 7: no)",
           "auth can-i edit experiment/flights --user ana --why",
           [flags, &globals](Home& h, const Context&) { return can_i(globals, h, *flags); });
  ask->add_option("level", flags->level, "read, use, edit, manage, or create")->required();
  ask->add_option("resource", flags->resource, std::string(kResource) + "; a KIND for create")
      ->required();
  auto* user = ask->add_option("--user", flags->name, "Who");
  ask->add_option("--token", flags->label, "With this token, by its id")->excludes(user);
  ask->add_flag("--why", flags->why, "Say which grant decides, or which lack");
  json_flag(ask, globals);
}

}  // namespace slipway::cli
