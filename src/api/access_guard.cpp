#include "api/access_guard.h"

#include "access/policy.h"
#include "api/access_resources_internal.h"
#include "api/access_rules_internal.h"
#include "api/status_map.h"
#include "base/json.h"
#include "base/log.h"

namespace slipway::api {
namespace {

using access::Decision;
using access::Identity;
using access::Kind;
using access::Level;
using access::Resource;
using server::Request;
using server::Response;
using server::Router;

// Every home has it, so that it is there is no secret.
const Resource kDefaultExperiment{Kind::experiment, "0"};

Level level_of(server::Access access) {
  switch (access) {
    case server::Access::open:
      return Level::none;
    case server::Access::read:
      return Level::read;
    case server::Access::use:
      return Level::use;
    case server::Access::edit:
      return Level::edit;
    case server::Access::manage:
      return Level::manage;
  }
  return Level::manage;
}

}  // namespace

struct AccessGuard::Impl {
  using Rules = std::unordered_map<const Router::Route*, const Rule*>;

  GuardParts parts;
  GuardOptions options;
  Rules rules{};
  Resources resources{parts};
  std::atomic<std::int64_t> admitted{0}, unauthenticated{0}, denied{0}, unseen{0};

  bool open(const Router::Route& route) const {
    return route.access == server::Access::open ||
           (options.open_metrics && route.pattern == "/metrics");
  }

  // ---- answers ----

  Response refusal(const Router::Route& route, const Error& error) {
    Response response = route.errors(error);
    if (error.code == Code::unauthenticated) {
      ++unauthenticated;
      response.headers.emplace_back("www-authenticate",
                                    R"(Basic realm="slipway", charset="UTF-8")");
    } else if (error.code == Code::permission_denied) {
      ++denied;
    } else if (error.code == Code::not_found) {
      ++unseen;
    } else if (error.code == Code::resource_exhausted) {
      // A caller who tries too often; that form's own word for it may be about the server's load.
      response.status = status_of(error.code).http;
      std::erase_if(response.headers,
                    [](const auto& header) { return header.first == "Retry-After"; });
      response.headers.emplace_back("Retry-After", "20");
    }
    return response;
  }

  // ---- deciding ----

  Result<void> allowed(const access::Snapshot& snapshot, const Identity& who,
                       const Resource& resource, Level level, std::string_view named) {
    const Decision decision = access::decide(snapshot, who, resource, level);
    if (decision.allowed) return {};
    if (decision.level == Level::none && resource == kDefaultExperiment) {
      return permission_denied(
          decision.why +
          ". An admin opens the experiment Default, where runs go that name none, to everybody: "
          "`slipway users grant everyone edit experiment/Default`; or name one of your own");
    }
    if (decision.level == Level::none) return not_seen(who, named);
    return permission_denied(decision.why);
  }

  // The files of a version are its model's readers' to read.
  Result<bool> reads_by_model(const access::Snapshot& snapshot, const Identity& who,
                              std::string_view path) const {
    const auto models = parts.storage.models_with(path);
    if (!models) return models.error();
    return std::ranges::any_of(*models, [&](const std::string& model) {
      return access::decide(snapshot, who, {Kind::model, model}, Level::read).allowed;
    });
  }

  static Error not_seen(const Identity& who, std::string_view named) {
    return not_found(fmt::format("there is no {} that {} may see", named, who.name));
  }

  static Result<void> admin_only(const access::Snapshot& snapshot, const Identity& who) {
    const access::User* user = snapshot.user(who.user);
    const bool whole = who.scope.level == Level::manage && !who.scope.resource;
    if (user != nullptr && user->admin && whole) return {};
    return permission_denied(fmt::format(
        "{} {}; this is for admins", who.name,
        user != nullptr && user->admin ? "is an admin, but not with this token" : "is no admin"));
  }

  Result<void> check_new(const access::Snapshot& snapshot, const Identity& who, Kind kind,
                         const Subject& subject, const Request& request) {
    if (!subject.fields[0].empty()) {
      const auto names = named_values(request, subject.fields);
      if (!names) return names.error();
      if (std::ranges::find(*names, access::kAny) != names->end())
        return invalid_argument(
            "'*' stands for all names in grants, so nothing may be called that");
    }
    const Decision decision = access::decide_create(snapshot, who, kind);
    if (decision.allowed) return {};
    return permission_denied(decision.why);
  }

  Result<void> check_self(const access::Snapshot& snapshot, const Identity& who,
                          const Subject& subject, const Request& request) {
    const auto names = named_values(request, subject.fields);
    if (!names) return names.error();
    const bool whole = who.scope.level == Level::manage && !who.scope.resource;
    const access::User* user = names->size() == 1 ? snapshot.user_named(names->front()) : nullptr;
    if (whole && user != nullptr && user->id == who.user) return {};
    return admin_only(snapshot, who);
  }

  Result<void> check(const access::Snapshot& snapshot, const Identity& who,
                     const Router::Route& route, const Subject& subject, const Request& request) {
    const Level level = subject.level == Level::none ? level_of(route.access) : subject.level;
    switch (subject.about) {
      case About::nothing:
      case About::anyone:
        return {};
      case About::admin:
        return admin_only(snapshot, who);
      case About::self:
        return check_self(snapshot, who, subject, request);
      case About::new_experiment:
        return check_new(snapshot, who, Kind::experiment, subject, request);
      case About::new_model:
        return check_new(snapshot, who, Kind::model, subject, request);
      case About::granted: {
        const auto resource = granted_resource(request);
        if (!resource) return resource.error();
        return allowed(snapshot, who, *resource, level, resource->text());
      }
      case About::workspace:
        if (!subject.fields[0].empty()) break;
        return on_workspace(snapshot, who, level);
      default:
        break;
    }
    return check_named(snapshot, who, subject, request, level);
  }

  static Result<void> on_workspace(const access::Snapshot& snapshot, const Identity& who,
                                   Level level) {
    const Decision decision = access::decide(snapshot, who, access::workspace(), level);
    if (decision.allowed) return {};
    return permission_denied(decision.why);  // that there is one is no secret
  }

  Result<void> check_named(const access::Snapshot& snapshot, const Identity& who,
                           const Subject& subject, const Request& request, Level level) {
    auto values = named_values(request, subject.fields);
    if (!values) return values.error();
    std::erase_if(*values, [](const std::string& value) { return value.empty(); });
    if (values->empty()) {
      if (subject.optional) return {};
      if (subject.otherwise.empty()) {
        return invalid_argument(
            fmt::format("Missing value for required parameter '{}'", subject.fields[0]));
      }
      values->emplace_back(subject.otherwise);
    }
    for (const std::string& value : *values) {
      if (subject.about == About::workspace) return on_workspace(snapshot, who, level);
      const std::string named = fmt::format("{} '{}'", word(subject.about), value);
      const auto resource = resources.find(subject.about, value);
      if (!resource && resource.error().code == Code::not_found) {
        // Nothing is hidden from whoever may do this to everything: the handler knows what a
        // thing that is not there means to it, and says so better.
        if (access::decide(snapshot, who, access::workspace(), level).allowed) continue;
        return not_seen(who, named);
      }
      if (!resource) return resource.error();
      if (!*resource) continue;
      auto fine = allowed(snapshot, who, **resource, level, named);
      if (!fine && subject.about == About::artifact && level == Level::read) {
        const auto by_model = reads_by_model(snapshot, who, value);
        if (!by_model) return by_model.error();
        if (*by_model) continue;
      }
      if (!fine) return fine;
    }
    return {};
  }

  Verdict decide_for(const Router::Route& route, const Request& request,
                     const Result<Identity>& who) {
    if (!who) return {.principal = {}, .refusal = refusal(route, who.error())};
    const auto snapshot = parts.directory.snapshot();
    const auto rule = rules.find(&route);
    Result<void> fine;
    if (rule == rules.end() || rule->second == nullptr) {
      fine = admin_only(*snapshot, *who);
    } else {
      for (const Subject& subject : rule->second->subjects) {
        fine = check(*snapshot, *who, route, subject, request);
        if (!fine) break;
      }
    }
    if (!fine) {
      if (fine.error().code == Code::permission_denied) {
        log::info("a request was denied", {{"user", who->name},
                                           {"method", request.method},
                                           {"path", request.path},
                                           {"why", fine.error().message}});
      }
      return {.principal = {}, .refusal = refusal(route, fine.error())};
    }
    ++admitted;
    return {.principal = {.name = who->name, .visibility = access::visibility_of(snapshot, *who)},
            .refusal = std::nullopt};
  }
};

AccessGuard::AccessGuard(const server::Router& router, const GuardParts& parts,
                         GuardOptions options)
    : impl_(std::unique_ptr<Impl>(new Impl{parts, options})) {
  for (const Router::Route* route : router.routes()) {
    const Rule* rule = find_rule(*route);
    impl_->rules.emplace(route, rule);
    if (rule == nullptr && !impl_->open(*route)) {
      log::warn("a route has no rule: it is for admins only",
                {{"method", route->method}, {"pattern", route->pattern}});
    }
  }
}

AccessGuard::~AccessGuard() = default;

std::optional<Response> AccessGuard::refuse_early(const Router::Route& route,
                                                  const Request& request) {
  if (impl_->open(route)) return std::nullopt;
  // Small bodies are here already, and the caller is looked at behind them anyway.
  const bool large =
      request.header("content-length").size() > 4 || !request.header("transfer-encoding").empty();
  if (!large) return std::nullopt;
  const auto known =
      impl_->parts.authenticator.recall(request.header("authorization"), request.peer);
  if (!known || *known) return std::nullopt;
  return impl_->refusal(route, known->error());
}

std::optional<server::Guard::Verdict> AccessGuard::decide_at_once(const Router::Route& route,
                                                                  const Request& request) {
  if (impl_->open(route)) return Verdict{.principal = {.name = "anonymous"}, .refusal = {}};
  const auto who = impl_->parts.authenticator.recall(request.header("authorization"), request.peer);
  if (!who) return std::nullopt;
  if (const auto rule = impl_->rules.find(&route);
      rule != impl_->rules.end() && rule->second != nullptr) {
    for (const Subject& subject : rule->second->subjects) {
      if (!impl_->resources.in_memory(subject, request)) return std::nullopt;
    }
  }
  return impl_->decide_for(route, request, *who);
}

server::Guard::Verdict AccessGuard::decide(const Context& /*ctx*/, const Router::Route& route,
                                           const Request& request) {
  if (impl_->open(route)) return Verdict{.principal = {.name = "anonymous"}, .refusal = {}};
  return impl_->decide_for(
      route, request,
      impl_->parts.authenticator.authenticate(request.header("authorization"), request.peer));
}

Result<void> AccessGuard::answered(const Context& ctx, const Router::Route& route,
                                   const Request& request, const Response& response) {
  if (response.status != 200) return {};
  const auto rule = impl_->rules.find(&route);
  if (rule == impl_->rules.end() || rule->second == nullptr) return {};
  const About about = rule->second->subjects[0].about;
  // Grants may have followed a model's name: see GrantsFollowModels.
  if (about == About::model && route.access == server::Access::manage)
    return impl_->parts.directory.refresh();
  if (about != About::new_experiment && about != About::new_model) return {};
  const auto snapshot = impl_->parts.directory.snapshot();
  const access::User* user = snapshot->user_named(ctx.principal.name);
  if (user == nullptr || user->admin) return {};  // admins may do everything anyway
  Resource made{about == About::new_experiment ? Kind::experiment : Kind::model, ""};
  if (about == About::new_experiment) {
    const auto body = parse_json(response.body, "the answer");
    if (!body) return body.error();
    made.name = body->value("experiment_id", "");
  } else {
    const auto names = named_values(request, rule->second->subjects[0].fields);
    if (!names) return names.error();
    if (!names->empty()) made.name = names->front();
  }
  if (made.name.empty()) return internal("the answer does not say what was made");
  return impl_->parts.directory.grant(ctx, {.user = ctx.principal.name}, made, Level::manage);
}

GuardStats AccessGuard::stats() const {
  return {.admitted = impl_->admitted.load(),
          .unauthenticated = impl_->unauthenticated.load(),
          .denied = impl_->denied.load(),
          .unseen = impl_->unseen.load()};
}

Result<void> GrantsFollowModels::model_renamed(db::Transaction& tx, const std::string& from,
                                               const std::string& to) {
  return directory_.renamed(tx, Kind::model, from, to);
}

Result<void> GrantsFollowModels::model_deleted(db::Transaction& tx, const std::string& name) {
  return directory_.removed(tx, Kind::model, name);
}

}  // namespace slipway::api
