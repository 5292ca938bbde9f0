// Named models, their numbered versions, and the aliases that point at them.
// A version's source, digest and metadata never change once created. An alias ("champion") is a
// movable pointer to one version; moving it is the only way a deployed model changes, so every move
// enters the audit log, in the same transaction, and stays in the alias's history.
//   auto version = registry.create_version(ctx, "churn", {.source = uri, .run_id = run.id.value,
//   .digest = tree}); if (version) moved = registry.set_alias(ctx, "churn", "champion",
//   version->number, "gate passed");
// Thread-safe. Calls block on the database: make them from the worker pool. A call that fails has
// changed nothing.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/result.h"
#include "registry/types.h"
#include "tracking/types.h"

namespace slipway::db {
class Database;
class Transaction;
}  // namespace slipway::db
namespace slipway::audit {
class Log;
}
namespace slipway::webhooks {
class Webhooks;
}

namespace slipway::registry {

template <class T>
using Page = tracking::Page<T>;

struct Search {
  std::string filter;  // models: name, tags.<key>; versions: name, run_id, source_path,
                       // version_number, tags.<key>
  std::vector<std::string> order_by;
  std::int64_t max_results = 100;
  std::string page;
  std::optional<std::vector<std::string>> only;  // names of models a caller may see; none: all
};

// Told of names that change hands, inside the transaction that does it: what hangs on a name (who
// may use it) moves and goes with it.
class NameListener {
 public:
  virtual ~NameListener() = default;
  virtual Result<void> model_renamed(db::Transaction& tx, const std::string& from,
                                     const std::string& to) = 0;
  virtual Result<void> model_deleted(db::Transaction& tx, const std::string& name) = 0;
};

class Registry {
 public:
  // All three outlive the registry.
  static Result<std::unique_ptr<Registry>> open(db::Database& db, audit::Log& audit,
                                                const Clock& clock);

  // Before the first call; it outlives the registry.
  void set_name_listener(NameListener& listener);
  // Who is told of new models and versions, tags and aliases. Before the first call; it outlives
  // the registry.
  void set_webhooks(webhooks::Webhooks& webhooks);
  // Sources of versions beside runs:/, models:/ and mlflow-artifacts:/: whole prefixes, such as
  // "s3://bucket/models". Before the first call.
  Result<void> allow_sources(std::vector<std::string> prefixes);

  Result<RegisteredModel> create_model(const Context& ctx, const std::string& name,
                                       const std::string& description = {}, const Tags& tags = {});
  Result<RegisteredModel> ensure_model(const Context& ctx,
                                       const std::string& name);  // found, or created
  Result<RegisteredModel> model(const std::string& name) const;
  Result<RegisteredModel> rename_model(const Context& ctx, const std::string& name,
                                       const std::string& new_name);
  Result<RegisteredModel> describe_model(const Context& ctx, const std::string& name,
                                         const std::string& description);
  Result<void> delete_model(const Context& ctx,
                            const std::string& name);  // with its versions and aliases
  Result<void> set_model_tag(const std::string& name, const std::string& key,
                             const std::string& value);
  Result<void> delete_model_tag(const std::string& name, const std::string& key);
  Result<Page<RegisteredModel>> search_models(const Search& search) const;

  Result<ModelVersion> create_version(const Context& ctx, const std::string& model,
                                      const VersionSpec& spec);
  Result<ModelVersion> version(const std::string& model, std::int64_t number) const;
  // The version with the highest number; not_found when the model has none.
  Result<ModelVersion> latest_version(const std::string& model) const;
  Result<ModelVersion> find_by_alias(const std::string& model, const std::string& alias) const;
  Result<ModelVersion> describe_version(const Context& ctx, const std::string& model,
                                        std::int64_t number, const std::string& description);
  // MLflow's legacy stages: None, Staging, Production, Archived. A label only.
  Result<ModelVersion> set_stage(const Context& ctx, const std::string& model, std::int64_t number,
                                 const std::string& stage, bool archive_others);
  // failed_precondition while an alias points at it.
  Result<void> delete_version(const Context& ctx, const std::string& model, std::int64_t number);
  Result<void> set_version_tag(const std::string& model, std::int64_t number,
                               const std::string& key, const std::string& value);
  Result<void> delete_version_tag(const std::string& model, std::int64_t number,
                                  const std::string& key);
  Result<Page<ModelVersion>> search_versions(const Search& search) const;
  Result<std::vector<ModelVersion>> versions(const std::string& model) const;  // newest first
  // The newest version of each stage, as MLflow's "latest versions".
  Result<std::vector<ModelVersion>> latest_by_stage(const std::string& model) const;

  // Moving an alias to where it points already changes nothing and is not audited.
  Result<void> set_alias(const Context& ctx, const std::string& model, const std::string& alias,
                         std::int64_t version, const std::string& reason = {});
  Result<void> delete_alias(const Context& ctx, const std::string& model, const std::string& alias,
                            const std::string& reason = {});
  Result<std::vector<AliasMove>> alias_history(const std::string& model,
                                               const std::string& alias) const;  // oldest first
  // Which version the alias pointed at then; nothing when it did not exist.
  Result<std::optional<std::int64_t>> alias_at(const std::string& model, const std::string& alias,
                                               Time at) const;
  // What served then: for each alias that pointed somewhere, the move that had brought it there.
  Result<std::vector<AliasMove>> aliases_at(const std::string& model, Time at) const;

  Result<void> record_gate(const Context& ctx, const std::string& model, std::int64_t version,
                           bool passed, const Json& decision);
  Result<std::vector<GateDecision>> gates(const std::string& model,
                                          std::int64_t version) const;  // oldest first

  ~Registry();

 private:
  struct Impl;
  explicit Registry(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::registry
