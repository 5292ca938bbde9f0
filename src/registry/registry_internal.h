// What the files of the registry share: its parts, MLflow's name rules, and reading whole rows.
#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "db/database.h"
#include "registry/registry.h"

namespace slipway::registry {

struct Registry::Impl {
  db::Database& db;
  audit::Log& audit;
  const Clock& clock;
  NameListener* listener = nullptr;            // set before the first call
  webhooks::Webhooks* webhooks = nullptr;      // likewise
  std::vector<std::string> allowed_sources{};  // likewise

  std::int64_t now() const { return to_micros(clock.now()); }
  // Who did what to a model, in the caller's transaction.
  Result<void> record(db::Transaction& tx, const Context& ctx, std::string action,
                      std::string object, Json details, std::string digest = {}) const;
  // Owes the webhooks an event; prompts have names of their own ("prompt_version" for
  // "model_version").
  Result<void> publish(db::Transaction& tx, std::string_view entity, std::string_view action,
                       bool prompt, Json data) const;
};

// A version's source is opened by clients, with their rights: it names something kept here, or
// something below an allowed prefix; never a file, another host, or a way out of what it names.
Result<void> check_source(const VersionSpec& spec, std::span<const std::string> allowed);
Result<void> check_source_prefix(const std::string& prefix);

Result<void> check_model_name(std::string_view name);
Result<void> check_alias(std::string_view alias);
Result<void> check_tag(std::string_view key, std::string_view value);
inline std::string model_object(std::string_view model) { return fmt::format("models/{}", model); }
inline std::string version_object(std::string_view model, std::int64_t number) {
  return fmt::format("models/{}/{}", model, number);
}
inline std::string alias_object(std::string_view model, std::string_view alias) {
  return fmt::format("models/{}@{}", model, alias);
}

inline constexpr std::string_view kPromptTextTag = "mlflow.prompt.text";
inline constexpr std::string_view kPromptTypeTag = "_mlflow_prompt_type";

struct ModelRow {
  std::int64_t id = 0;
  RegisteredModel model;
};
Result<ModelRow> load_model(db::Connection& connection, const std::string& name);

struct VersionRow {
  std::int64_t id = 0;
  std::int64_t model_id = 0;
  ModelVersion version;
};
// The columns of sql::find_version, in its order; tags and aliases are loaded by complete().
VersionRow read_version(const db::Rows& rows);
Result<void> complete(db::Connection& connection, VersionRow& row);
Result<VersionRow> load_version(db::Connection& connection, const std::string& model,
                                std::int64_t number);

}  // namespace slipway::registry
