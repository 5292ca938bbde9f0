// A model card: what a version is, what it was made of, how well it does and for whom, and what
// nobody has said about it yet. M. Mitchell et al., "Model Cards for Model Reporting" (FAT* 2019).
// Pure functions from the facts kept with a version to text; the same facts give the same bytes, so
// two cards differ exactly where their versions do.
//   ModelCardFacts facts = facts_of(*registry.version("late", 3));
//   facts.evaluation = …;                        // read from the blob the version names
//   facts.lineage = lineage.trace({NodeType::model_version, "late/3"}, Direction::upstream);
//   std::cout << model_card_markdown(facts);
// What is missing is listed as a gap, never left out in silence or filled in.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "governance/lineage.h"
#include "registry/types.h"

namespace slipway::governance {

// What only people can say. Each text may be empty; several items stand on lines of their own.
struct ModelCardStatements {
  std::string users;
  std::string use_cases;
  std::string limitations;
  std::string tradeoffs;
  std::string ethical_considerations;
  std::string license;  // SPDX identifier
  // From tags "slipway.card.<name>" of a model or version.
  static ModelCardStatements from_tags(const registry::Tags& tags);
};

struct ModelCardFacts {
  std::string model;
  std::int64_t version = 0;
  std::string description;
  std::string owner;
  Time created{};
  std::vector<std::string> aliases;
  std::string bundle;  // SHA-256 of its bytes
  std::string run_id;
  Json inputs;      // [{"name", "type", "nullable"}], as Schema::to_json
  Json metrics;     // {"auc": 0.7}: of the training, used where there is no evaluation
  Json provenance;  // of the bundle: dataset, rows, window, trainer, seed, code_commit, pipeline …
  Json evaluation;  // Evaluation::to_json, or null
  Json gate;        // Decision::to_json, or null
  ModelCardStatements statements;
  std::optional<Tree> lineage;
};

// What the registry knows; evaluation (a digest there), gate and lineage are the caller's to add.
ModelCardFacts facts_of(const registry::ModelVersion& version);

std::string model_card_markdown(const ModelCardFacts& facts);
// The JSON form of the Model Card Toolkit, schema 0.0.2; what that has no place for stands in
// `documentation`.
Json model_card_json(const ModelCardFacts& facts);
// What a reader would ask and nobody answered: "intended users", "an evaluation" …
std::vector<std::string> model_card_gaps(const ModelCardFacts& facts);

}  // namespace slipway::governance
