// Keeps in memory what the deployments ask for, answers with it, and logs every answer.
// The desired state is a pure function of the deployments, the aliases and the versions; refresh()
// loads what is new beside what serves and swaps it in at once. A version that cannot be loaded
// changes nothing: the old one goes on answering, and problems() of its Served says why.
//   ModelHost host(deployments, source, log, clock, {});
//   host.refresh();  host.start();                  // from now on it follows the registry by
//   itself auto inference = host.find("flights")->begin(); … fill it … if (auto scored =
//   host.score(*inference)) host.commit(inference, [](Result<void> logged) { answer the caller });
// Thread-safe. find, score and commit do not block.
#pragma once
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/result.h"
#include "serving/deployments.h"
#include "serving/model_source.h"
#include "serving/prediction_log.h"
#include "serving/served.h"
#include "serving/subject_keys.h"

namespace slipway::serving {

struct HostOptions {
  std::chrono::milliseconds poll_every{100};
  std::chrono::seconds retry_load_after{
      30};                              // a bundle that could not be loaded is not tried before
  std::size_t shadow_queue = 1024;      // requests waiting for their shadows
  SubjectKeys* subject_keys = nullptr;  // outlives the host; null: nothing can be encrypted
};

class ModelHost {
 public:
  // The references outlive the host.
  ModelHost(const DeploymentStore& deployments, const ModelSource& source, PredictionLog& log,
            const Clock& clock, HostOptions options);
  ~ModelHost();  // finishes the shadows that wait

  // Brings what is served to what is desired, when anything may have changed. An error: the desired
  // state could not be read, and everything serves on as before. Blocks: loads models.
  Result<void> refresh();
  // A thread that refreshes when the source's change counter moves.
  void start();

  // Null: no such deployment.
  std::shared_ptr<const Served> find(std::string_view deployment) const;
  std::vector<std::shared_ptr<const Served>> all() const;  // by name
  // Whether every deployment has a version that answers (also true when there is none yet).
  bool ready() const;

  // Computes the scores of the rows with the inference's target. Counts it, good or bad.
  Result<void> score(Inference& inference) const;
  // Logs a scored inference; done is called when that is durable (or failed) on the log's thread,
  // and must not block; afterwards the shadows get their turn. The error is the log's: refused,
  // done is not called.
  Result<void> commit(std::shared_ptr<Inference> inference, std::function<void(Result<void>)> done);
  // Waits until no shadow is at work or waiting.
  void finish_shadows();

  struct StatsRow {
    std::string deployment;
    std::int64_t version = 0;
    Role role = Role::primary;
    std::shared_ptr<const VersionStats> stats;
  };
  std::vector<StatsRow> version_stats() const;  // also of versions that no longer serve
  // Of those requests only whose version was left to chance: what versions can be compared by.
  std::vector<StatsRow> routed_stats() const;
  struct DeploymentRow {
    std::string deployment;
    std::shared_ptr<const DeploymentStats> stats;
  };
  std::vector<DeploymentRow> deployment_stats() const;
  const PredictionLog& log() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::serving
