// The one authorizer: the guard of a server's router. For each request it finds out who asks (the
// Authorization header), which things the request is about (a table of rules, one for each route),
// and whether the caller may do with them what the route says it does. Handlers get the caller in
// Context::principal, with what they may show in lists.
//   AccessGuard guard(router, parts, {});      // when all routes are there
//   router.set_guard(&guard);
// Whoever may not read a thing gets the answer of a thing that does not exist (404); whoever may
// read but not do what was asked, 403; whoever is nobody, 401 with WWW-Authenticate. Errors have
// the form of the route's family. Who makes an experiment or a model may manage it from then on.
// Thread-safe. Everything outlives the guard.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "access/authenticator.h"
#include "access/directory.h"
#include "registry/registry.h"
#include "registry/storage.h"
#include "server/guard.h"
#include "serving/prediction_log.h"
#include "tracing/tracing.h"
#include "tracking/ownership.h"

namespace slipway::api {

struct GuardParts {
  access::Directory& directory;
  access::Authenticator& authenticator;
  const tracking::Ownership& ownership;
  const serving::PredictionLog& predictions;
  const tracing::Traces& traces;
  const registry::VersionStorage& storage;
};

struct GuardOptions {
  bool open_metrics = false;  // GET /metrics without asking who it is
};

struct GuardStats {
  std::int64_t admitted = 0;
  std::int64_t unauthenticated = 0;
  std::int64_t denied = 0;  // 403
  std::int64_t unseen = 0;  // 404
};

class AccessGuard final : public server::Guard {
 public:
  AccessGuard(const server::Router& router, const GuardParts& parts, GuardOptions options);
  ~AccessGuard() override;

  std::optional<server::Response> refuse_early(const server::Router::Route& route,
                                               const server::Request& request) override;
  std::optional<Verdict> decide_at_once(const server::Router::Route& route,
                                        const server::Request& request) override;
  Verdict decide(const Context& ctx, const server::Router::Route& route,
                 const server::Request& request) override;
  Result<void> answered(const Context& ctx, const server::Router::Route& route,
                        const server::Request& request, const server::Response& response) override;

  GuardStats stats() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// "registered_model" and a name, as MLflow's grants name things; invalid_argument for kinds that
// are not granted here.
Result<access::Resource> resource_in_mlflows_words(std::string_view type, std::string_view id);

// The table of rules for people and tests: which thing a route is about ("run", "workspace", "new",
// "anyone" …). Nothing when a route has no rule.
struct RuleDescription {
  std::string method;
  std::string pattern;  // without MLflow's prefixes
  std::string about;
};
std::optional<RuleDescription> describe_rule(const server::Router::Route& route);
std::vector<RuleDescription> described_rules();

// Grants follow registered models through renames and deletions.
class GrantsFollowModels final : public registry::NameListener {
 public:
  explicit GrantsFollowModels(access::Directory& directory) : directory_(directory) {}
  Result<void> model_renamed(db::Transaction& tx, const std::string& from,
                             const std::string& to) override;
  Result<void> model_deleted(db::Transaction& tx, const std::string& name) override;

 private:
  access::Directory& directory_;
};

}  // namespace slipway::api
