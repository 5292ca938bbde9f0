// Decides for one step, once what it needs is known, whether an earlier result can be used, and
// says why.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>

#include "blob/store.h"
#include "db/database.h"
#include "pipeline/engine.h"
#include "pipeline/records_internal.h"

namespace slipway::pipeline {

struct Decision {
  StepConfig config;  // with everything replaced
  Json upstream;      // outputs by step, of those it needs
  Json inputs;        // what the key is the digest of
  std::string key;
  std::optional<records::StepRecord> hit;
  std::string why;
};

// Used by one thread.
class Planner {
 public:
  // Reads the last results of the pipeline's steps. failed_precondition when options.from_step is
  // no step.
  static Result<Planner> open(const Context& ctx, const PipelineSpec& spec, const StepKinds& kinds,
                              const RunOptions& options, db::Database& db, const blob::Store& blobs,
                              FileDigests& files);

  // outputs: of every step it needs, which all succeeded.
  Result<Decision> decide(const StepSpec& step, const std::map<std::string, Json>& outputs) const;
  // Why it runs whatever its inputs are, if it does.
  std::optional<std::string> forced(const StepSpec& step) const;
  // The seed of one step: of the pipeline's seed and the step's name.
  std::uint64_t seed_of(const StepSpec& step) const;
  const Json& params() const { return params_; }

 private:
  Planner(const Context& ctx, const PipelineSpec& spec, const StepKinds& kinds,
          const RunOptions& options, db::Database& db, const blob::Store& blobs, FileDigests& files)
      : ctx_(ctx),
        spec_(spec),
        kinds_(kinds),
        options_(options),
        db_(db),
        blobs_(blobs),
        files_(files) {}
  Result<Json> replace_steps(const StepSpec& step, const std::map<std::string, Json>& outputs,
                             bool environment) const;
  Result<void> look_up(const StepSpec& step, const StepInputs& in, Decision& decision) const;

  Context ctx_;
  const PipelineSpec& spec_;
  const StepKinds& kinds_;
  const RunOptions& options_;
  db::Database& db_;
  const blob::Store& blobs_;
  FileDigests& files_;
  Json params_;
  std::set<std::string> rerun_;  // from_step and all that need it
  std::map<std::string, records::StepRecord> last_;
};

// What differs, field by field: "config.trees: 150 -> 200; outputs of ingest changed". Empty when
// equal.
std::string explain(const Json& before, const Json& after);

}  // namespace slipway::pipeline
