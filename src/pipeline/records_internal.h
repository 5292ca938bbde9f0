// The rows of runs, steps and results. Free functions over a connection: who calls decides about
// transactions.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "db/database.h"
#include "pipeline/engine.h"

namespace slipway::pipeline::records {

struct StepRecord {  // a step's result as the cache keeps it
  std::string key;
  Json inputs;  // what the key is the digest of
  Json outputs;
  std::vector<Artifact> artifacts;
  bool passed = true;
  std::string summary;
  std::string run_id;
  Time created;
  Duration duration{0};
};

Result<void> insert_run(db::Transaction& tx, const RunReport& run, std::string_view spec_digest);
Result<void> end_run(db::Transaction& tx, const RunReport& run);
Result<void> update_step(db::Transaction& tx, std::string_view run_id, std::size_t position,
                         const StepReport& step);
Result<void> put_result(db::Transaction& tx, const StepRecord& result);
Result<void> put_last(db::Transaction& tx, std::string_view pipeline, std::string_view step,
                      std::string_view key);

Result<std::map<std::string, StepRecord>> last_results(db::Connection& connection,
                                                       std::string_view pipeline);
Result<std::optional<StepRecord>> find_result(db::Connection& connection, std::string_view key);

struct RunningRun {
  std::string id;
  std::string pipeline;
};
Result<std::vector<RunningRun>> running_runs(db::Connection& connection);
// False when it was no longer running.
Result<bool> interrupt_run(db::Transaction& tx, std::string_view run_id, Time now,
                           std::string_view error);

Result<std::vector<RunReport>> list_runs(db::Connection& connection, const Engine::Filter& filter);
Result<RunReport> get_run(db::Connection& connection, std::string_view id_or_prefix);

}  // namespace slipway::pipeline::records
