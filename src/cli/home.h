// A home folder with everything in it, constructed in the order of the layers and taken down in
// reverse: this is the map of the program. Commands that work on a home without a server, and the
// server itself, start here.
//   auto home = Home::open(".slipway", {});
//   home->registry()…
#pragma once
#include <filesystem>
#include <memory>

#include "access/directory.h"
#include "audit/audit.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/ids.h"
#include "blob/store.h"
#include "data/datasets.h"
#include "db/database.h"
#include "db/server_lock.h"
#include "features/view_store.h"
#include "feedback/labels.h"
#include "feedback/loop.h"
#include "governance/lineage.h"
#include "jobs/queue.h"
#include "monitoring/monitor.h"
#include "monitoring/traffic.h"
#include "net/http_client.h"
#include "pipeline/engine.h"
#include "registry/registry.h"
#include "serving/deployments.h"
#include "serving/prediction_log.h"
#include "serving/rollout.h"
#include "serving/subject_keys.h"
#include "steps/steps.h"
#include "tracing/tracing.h"
#include "tracking/tracking.h"
#include "webhooks/webhooks.h"

namespace slipway::cli {

struct HomeOptions {
  bool create = true;                      // false: not_found when there is no home yet
  bool serving = false;                    // this process writes the prediction log: one at a time
  std::vector<std::string> webhook_hosts;  // net::EgressPolicy entries
  std::vector<std::string> model_sources;  // beside runs:/, models:/ and mlflow-artifacts:/
  std::string database;                    // a URL; empty: what the home has, else SQLite
  std::string artifacts;                   // a URL; empty: what the home has, else its own folder
};

// The steps' and monitors' view of traffic, and of what the models in it were trained on.
class BundleReferences;

class Home {
 public:
  static Result<std::unique_ptr<Home>> open(const std::filesystem::path& folder,
                                            const HomeOptions& options);
  ~Home();

  const std::filesystem::path& folder() const { return folder_; }
  const Clock& clock() const { return clock_; }
  IdSource& ids() { return ids_; }
  db::Database& db() { return *db_; }
  blob::Store& blobs() { return *blobs_; }
  audit::Log& audit() { return *audit_; }
  access::Directory& access() { return *access_; }
  jobs::Queue& queue() { return *queue_; }
  data::DatasetStore& datasets() { return *datasets_; }
  features::ViewStore& views() { return *views_; }
  const std::shared_ptr<features::LiveViews>& live_views() { return live_views_; }
  tracking::Tracking& tracking() { return *tracking_; }
  tracing::Traces& traces() { return *traces_; }
  registry::Registry& registry() { return *registry_; }
  webhooks::Webhooks& webhooks() { return *hooks_; }
  serving::DeploymentStore& deployments() { return *deployments_; }
  serving::Rollouts& rollouts() { return *rollouts_; }
  serving::SubjectKeys& subject_keys() { return *subject_keys_; }
  serving::PredictionLog& predictions() { return *predictions_; }
  monitoring::Traffic& traffic() { return *traffic_; }
  monitoring::Monitor& monitor() { return *monitor_; }
  feedback::LabelStore& labels() { return *labels_; }
  feedback::Loop& loop() { return *loop_; }
  governance::Lineage& lineage() { return *lineage_; }
  pipeline::StepKinds& kinds() { return kinds_; }
  pipeline::Engine& engine() { return *engine_; }

 private:
  Home(std::filesystem::path folder) : folder_(std::move(folder)) {}
  Result<void> construct(const HomeOptions& options);

  std::filesystem::path folder_;
  SystemClock clock_;
  RandomIds ids_;
  std::optional<FileLock> lock_;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<db::ServerLock> server_lock_;  // on PostgreSQL
  std::unique_ptr<blob::Store> blobs_;
  std::unique_ptr<net::HttpClient> http_;
  std::unique_ptr<jobs::Queue> queue_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<access::Directory> access_;
  std::unique_ptr<net::HttpClient> hooks_http_;
  std::unique_ptr<webhooks::Webhooks> hooks_;
  std::unique_ptr<data::DatasetStore> datasets_;
  std::unique_ptr<features::ViewStore> views_;
  std::shared_ptr<features::LiveViews> live_views_;
  std::unique_ptr<tracking::Tracking> tracking_;
  std::unique_ptr<tracing::Traces> traces_;
  std::unique_ptr<registry::Registry> registry_;
  std::unique_ptr<serving::DeploymentStore> deployments_;
  std::unique_ptr<serving::Rollouts> rollouts_;
  std::unique_ptr<serving::SubjectKeys> subject_keys_;
  std::unique_ptr<serving::PredictionLog> predictions_;
  std::unique_ptr<monitoring::Traffic> traffic_;
  std::unique_ptr<monitoring::Webhooks> webhooks_;
  std::unique_ptr<monitoring::References> references_;
  std::unique_ptr<feedback::LabelStore> labels_;
  std::unique_ptr<feedback::LoopStore> loops_;
  std::unique_ptr<feedback::Loop> loop_;
  std::unique_ptr<monitoring::Monitor> monitor_;
  std::unique_ptr<governance::Lineage> lineage_;
  pipeline::StepKinds kinds_;
  std::unique_ptr<pipeline::Engine> engine_;
};

}  // namespace slipway::cli
