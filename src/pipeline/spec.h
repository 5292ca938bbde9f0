// A pipeline file, read and checked: parameters with their values, steps in the order of the file,
// and the graph that follows from references and `needs`. Everything that can be known before
// anything runs is checked here, with file, line, column and the nearest valid name.
//   name: flights
//   params:
//     train_end: 2013-04-01                      # the default gives the type
//     trials: {type: integer, default: 20, help: how many settings to try}
//   steps:
//     ingest:
//       ingest: {sql_file: sql/ingest.sql}       # a key named like a kind holds the kind's
//       settings …
//     train:
//       kind: train                              # … or `kind`, with the settings beside it
//       dataset: ${steps.ingest.dataset}         # which also makes train wait for ingest
//       until: ${params.train_end}
//       retries: 2
//       retry_delay: 10s
//     report:
//       command: python report.py                # a text or a list may stand there, too
//       needs: [train]
// `$${` stands for `${`. A value that is one reference keeps its type; inside a longer text it is
// written out. A value object.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "pipeline/step.h"

namespace slipway::pipeline {

enum class ParamType { text, integer, number, boolean, time, duration, list, mapping };
std::string_view to_string(ParamType type);

struct Param {
  std::string name;
  ParamType type = ParamType::text;
  Json value;          // what this run uses
  bool given = false;  // by the caller, instead of the default
  std::string help;
};

struct StepSpec {
  std::string name;
  std::string kind;
  std::string pointer;                   // of the kind's settings in the document
  std::vector<std::string> engine_keys;  // keys at that pointer which are not the kind's
  Json config;                           // the kind's settings; ${steps…} and ${env…} still stand
  std::vector<std::string> needs;        // every step it waits for: references and `needs`
  int retries = 0;
  Duration retry_delay{0};
  std::optional<Duration> timeout;  // of one attempt
  bool cache = true;
};

struct PipelineSpec {
  // overrides: `--param name=value` as texts, read by the parameter's type.
  static Result<PipelineSpec> load(const std::filesystem::path& file, const StepKinds& kinds,
                                   const std::map<std::string, std::string>& overrides = {});
  // folder: where relative paths start; name stands for the file in messages.
  static Result<PipelineSpec> parse(std::string_view text, const std::string& name,
                                    const std::filesystem::path& folder, const StepKinds& kinds,
                                    const std::map<std::string, std::string>& overrides = {});

  const StepSpec* find(std::string_view step) const;
  Json param_values() const;  // {"train_end": "2013-04-01", …}

  std::string name;
  std::string description;
  std::uint64_t seed = 0;
  std::vector<Param> params;
  std::vector<StepSpec> steps;     // as in the file
  std::vector<std::size_t> order;  // indexes into steps: each after all that it needs
  std::filesystem::path file;      // absolute; empty for a parsed text
  std::filesystem::path folder;    // absolute
  std::string digest;              // SHA-256 of the text
  std::shared_ptr<const SpecDocument> document;
};

}  // namespace slipway::pipeline
