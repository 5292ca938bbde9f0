// What the registry stores. Values do not change after construction.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"

namespace slipway::registry {

using Tags = std::map<std::string, std::string>;

struct RegisteredModel {
  std::string name;
  std::string description;
  Time created;
  Time updated;
  Tags tags;
  std::map<std::string, std::int64_t> aliases;  // alias -> version number
};

struct VersionSpec {
  std::string
      source;  // where MLflow clients download it: "mlflow-artifacts:/7/<run>/artifacts/model"
  std::string run_id;
  std::string digest;  // of the bundle's tree in the blob store; empty for versions whose bytes are
                       // elsewhere
  std::string description;
  Tags tags;
  Json metadata =
      Json::object();    // signature, lineage, metrics: what the maker wants kept with the version
  std::string model_id;  // MLflow's logged model, when there is one
  std::string storage;   // where its files are when `source` names a model; empty: at the source
  std::string run_link;
};

struct ModelVersion {
  std::string model;
  std::int64_t number = 0;  // from 1; never used twice within a model
  std::string source;
  std::string run_id;
  std::string digest;
  std::string description;
  std::string status = "READY";
  std::string stage = "None";  // MLflow's legacy; aliases replace it
  std::string user;
  std::string model_id;
  std::string storage;
  std::string run_link;
  Time created;
  Time updated;
  Tags tags;
  std::vector<std::string> aliases;
  Json metadata = Json::object();
  const std::string& download_uri() const { return storage.empty() ? source : storage; }
};

// MLflow's prompts are registered models and versions with this tag, whose value is "true".
inline constexpr std::string_view kPromptTag = "mlflow.prompt.is_prompt";
bool is_prompt(const Tags& tags);

// One movement of an alias. `from` is empty when the alias is new, `to` when it was removed.
struct AliasMove {
  std::string model;
  std::string alias;
  std::optional<std::int64_t> from;
  std::optional<std::int64_t> to;
  Time at;
  std::string actor;
  std::string reason;
};

// What a gate said about a version: `decision` holds the rules with the values they saw.
struct GateDecision {
  std::string model;
  std::int64_t version = 0;
  bool passed = false;
  Time at;
  std::string actor;
  Json decision;
};

}  // namespace slipway::registry
