#include "cli/home.h"

#include <map>
#include <mutex>

#include "base/hash.h"
#include "cli/artifacts_internal.h"
#include "cli/place_internal.h"
#include "cli/schema_internal.h"

namespace slipway::cli {

// References out of the bundles in the blob store, kept once read.
class BundleReferences final : public monitoring::References {
 public:
  BundleReferences(const serving::DeploymentStore& deployments, const registry::Registry& registry,
                   const blob::Store& blobs)
      : deployments_(deployments), registry_(registry), blobs_(blobs) {}

  Result<std::shared_ptr<const monitoring::Reference>> find(const std::string& name,
                                                            std::int64_t version) override {
    auto deployment = deployments_.get(name);
    if (!deployment) return deployment.error();
    auto found = registry_.version(deployment->model.empty() ? name : deployment->model, version);
    if (!found) {
      if (found.error().code == Code::not_found)
        return std::shared_ptr<const monitoring::Reference>();
      return found.error();
    }
    const std::scoped_lock lock(mutex_);
    if (const auto known = by_digest_.find(found->digest); known != by_digest_.end())
      return known->second;
    auto reference = read(found->digest);
    if (!reference) return reference.error();
    by_digest_[found->digest] = *reference;
    return *reference;
  }

 private:
  Result<std::shared_ptr<const monitoring::Reference>> read(const std::string& digest) const {
    auto files = blobs_.tree(digest);
    if (!files) return files.error();
    for (const blob::Store::TreeFile& file : *files) {
      if (file.path != "reference_profile.json") continue;
      auto text = blobs_.read(file.sha256);
      if (!text) return text.error();
      auto json = parse_json(*text, "reference_profile.json of bundle " + digest.substr(0, 12));
      if (!json) return json.error();
      if (!json->is_object() || json->empty()) break;
      auto reference = monitoring::Reference::from_json(*json);
      if (!reference) return reference.error();
      return std::make_shared<const monitoring::Reference>(std::move(*reference));
    }
    return std::shared_ptr<const monitoring::Reference>();
  }

  const serving::DeploymentStore& deployments_;
  const registry::Registry& registry_;
  const blob::Store& blobs_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const monitoring::Reference>> by_digest_;
};

namespace {

// Moves an opened part into its place, or hands its error on.
template <class T>
Result<void> keep(Result<std::unique_ptr<T>> opened, std::unique_ptr<T>& place) {
  if (!opened) return opened.error();
  place = std::move(*opened);
  return {};
}

}  // namespace

Result<std::unique_ptr<Home>> Home::open(const std::filesystem::path& folder,
                                         const HomeOptions& options) {
  std::error_code problem;
  if (!options.create && !std::filesystem::exists(folder / "slipway.db", problem) &&
      !std::filesystem::exists(folder / "database.json", problem)) {
    return not_found(
        "there is no slipway home at '" + folder.string() +
        "': start with `slipway run PIPELINE` or `slipway up`, or name it with --home");
  }
  if (auto made = make_dirs(folder); !made) return made.error().at("home folder");
  auto home = std::unique_ptr<Home>(new Home(std::filesystem::absolute(folder, problem)));
  if (auto built = home->construct(options); !built) return built.error();
  return home;
}

Result<void> Home::construct(const HomeOptions& options) {
  if (options.serving) {
    auto lock = FileLock::acquire(folder_ / "server.lock", "the home '" + folder_.string() + "'");
    if (!lock) return lock.error();
    lock_.emplace(std::move(*lock));
  }
  const auto place = find_place(folder_, options.database);
  if (!place) return place.error();
  if (auto done = keep(db::Database::open(place->file_or_url, {}), db_); !done) return done;
  const MayMigrate may = options.serving  ? MayMigrate::yes
                         : options.create ? MayMigrate::if_alone
                                          : MayMigrate::no;
  if (auto ready = bring_up_to_date(*db_, folder_, may, clock_); !ready) return ready;
  if (auto noted = remember_place(folder_, *place); !noted) return noted;
  if (options.serving && !place->url.empty()) {
    if (auto done = keep(db::ServerLock::acquire(place->file_or_url.string()), server_lock_); !done)
      return done;
  }
  if (auto done = keep(open_artifacts(folder_, options.artifacts), blobs_); !done) return done;
  auto policy = net::EgressPolicy::parse(options.webhook_hosts);
  if (!policy) return policy.error();
  http_ = std::make_unique<net::HttpClient>(*policy, clock_);
  if (auto done = keep(jobs::Queue::open(*db_, clock_, ids_), queue_); !done) return done;
  if (auto done = keep(audit::Log::open(*db_, folder_ / "keys", clock_), audit_); !done)
    return done;
  if (auto done = keep(access::Directory::open(*db_, *audit_, clock_, ids_), access_); !done)
    return done;
  // Webhooks of the registry may go to any public host by https, or else to just what is allowed.
  const bool hosts_named = !options.webhook_hosts.empty();
  auto hooks_policy = net::EgressPolicy::parse(hosts_named ? options.webhook_hosts
                                                           : std::vector<std::string>{"public"});
  if (!hooks_policy) return hooks_policy.error();
  hooks_http_ = std::make_unique<net::HttpClient>(*hooks_policy, clock_);
  if (auto done = keep(
          webhooks::Webhooks::open({*db_, *audit_, *hooks_http_, clock_, ids_}, folder_ / "keys",
                                   hash64(ids_.next()), {.allow_http = hosts_named}),
          hooks_);
      !done)
    return done;
  if (auto done = keep(data::DatasetStore::open(*db_, *blobs_, *audit_, clock_), datasets_); !done)
    return done;
  if (auto done = keep(features::ViewStore::open(*db_, *datasets_, *audit_, clock_), views_); !done)
    return done;
  live_views_ = std::make_shared<features::LiveViews>(*views_);
  if (auto done = keep(tracking::Tracking::open(*db_, clock_, ids_), tracking_); !done) return done;
  if (auto done = keep(tracing::Traces::open(*db_, clock_, ids_), traces_); !done) return done;
  if (auto done = keep(registry::Registry::open(*db_, *audit_, clock_), registry_); !done)
    return done;
  registry_->set_webhooks(*hooks_);
  if (auto allowed = registry_->allow_sources(options.model_sources); !allowed) return allowed;
  if (auto done = keep(serving::DeploymentStore::open(*db_, *audit_, clock_), deployments_); !done)
    return done;
  if (auto done =
          keep(serving::Rollouts::open({*db_, *audit_, *deployments_, *registry_, clock_, ids_}),
               rollouts_);
      !done)
    return done;
  if (auto done =
          keep(serving::SubjectKeys::open(*db_, *audit_, folder_ / "keys", clock_), subject_keys_);
      !done)
    return done;
  if (auto made = make_dirs(folder_ / "predictions"); !made) return made;
  if (auto done = keep(
          serving::PredictionLog::open(folder_ / "predictions", {.read_only = !options.serving}),
          predictions_);
      !done)
    return done;
  traffic_ = std::make_unique<monitoring::PredictionTraffic>(*predictions_);
  webhooks_ = std::make_unique<monitoring::HttpWebhooks>(*http_);
  references_ = std::make_unique<BundleReferences>(*deployments_, *registry_, *blobs_);
  if (auto done = keep(feedback::LabelStore::open(*db_, clock_), labels_); !done) return done;
  loops_ = std::make_unique<feedback::LoopStore>(*db_);
  loop_ = std::make_unique<feedback::Loop>(feedback::Loop::Parts{
      *db_, *audit_, *queue_, *registry_, *deployments_, *labels_, *loops_, *traffic_, clock_});
  if (auto done = keep(monitoring::Monitor::open({*db_, *audit_, ids_, *traffic_, *labels_,
                                                  *references_, *loop_, *webhooks_}),
                       monitor_);
      !done)
    return done;
  if (auto done = keep(governance::Lineage::open(*db_, clock_), lineage_); !done) return done;
  steps::add_step_kinds(
      kinds_, {*blobs_, *datasets_, *tracking_, *registry_, *deployments_, *monitor_, *labels_,
               *loops_, *lineage_, clock_, ids_, *traffic_, *views_, live_views_});
  return keep(pipeline::Engine::open({*db_, *blobs_, *audit_, clock_, ids_, folder_}, kinds_),
              engine_);
}

Home::~Home() = default;

}  // namespace slipway::cli
