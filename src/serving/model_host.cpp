#include "serving/model_host.h"

#include <condition_variable>
#include <deque>
#include <stop_token>
#include <thread>

#include "base/guarded.h"
#include "base/hash.h"
#include "base/log.h"
#include "serving/sensitive_internal.h"

namespace slipway::serving {
namespace {

using ServedMap = std::map<std::string, std::shared_ptr<const Served>, std::less<>>;

// Which version each alias of a deployment means now.
struct Desired {
  Deployment deployment;
  Result<VersionRef> primary;
  std::vector<Result<VersionRef>> canaries;  // as in deployment.canaries
  std::vector<std::pair<std::string, Result<VersionRef>>> shadows;
};

// A pure function of what the stores say.
std::vector<Desired> desired_state(const std::vector<Deployment>& deployments,
                                   const ModelSource& source) {
  std::vector<Desired> all;
  for (const Deployment& deployment : deployments) {
    Desired desired{.deployment = deployment,
                    .primary = source.resolve(deployment.model, deployment.alias),
                    .canaries = {},
                    .shadows = {}};
    for (const auto& canary : deployment.canaries)
      desired.canaries.push_back(source.resolve(deployment.model, canary.alias));
    for (const auto& alias : deployment.shadows) {
      desired.shadows.emplace_back(alias, source.resolve(deployment.model, alias));
    }
    all.push_back(std::move(desired));
  }
  return all;
}

// The numbers of a row in one: the most probable class, or the first predicted value.
double one_of(std::span<const double> values, bool classes) {
  if (!classes) return values.front();
  return static_cast<double>(std::ranges::max_element(values) - values.begin());
}

// Scores, all values and contributions, as far as there are any.
Result<void> score_with(const Scorer& scorer, Inference& inference) {
  const std::size_t rows = inference.scores.size();
  const std::size_t width = scorer.width();
  if (width == 1) {
    if (auto scored = scorer.score(inference.batch, inference.scores); !scored) return scored;
  } else {
    inference.values.resize(rows * width);
    if (auto scored = scorer.score_all(inference.batch, inference.values); !scored) return scored;
    for (std::size_t row = 0; row < rows; ++row) {
      inference.scores[row] =
          one_of(std::span(inference.values).subspan(row * width, width), scorer.is_classifier());
    }
  }
  if (!inference.explain) return {};
  inference.contributions.resize(rows * width * (scorer.explained().size() + 1));
  return scorer.contributions(inference.batch, inference.contributions);
}

// By the id, so that a prediction and its shadows are there or not there together.
bool is_logged(const Deployment& deployment, const Inference& inference) {
  if (deployment.log == LogMode::off) return false;
  if (deployment.log_share >= 1) return true;
  constexpr std::uint64_t kSeed = 0x10657368;  // apart from the choice of who answers
  return static_cast<double>(hash64(inference.ids.front(), kSeed) >> 11) * 0x1p-53 <
         deployment.log_share;
}

std::int64_t micros_since(SteadyTime start, SteadyTime end) {
  return std::chrono::duration_cast<std::chrono::microseconds>(end - start).count();
}

}  // namespace

struct ModelHost::Impl {
  Impl(const DeploymentStore& deployments, const ModelSource& models, PredictionLog& prediction_log,
       const Clock& time, HostOptions settings)
      : store(deployments),
        source(models),
        log(prediction_log),
        clock(time),
        options(settings),
        guard(prediction_log, settings.subject_keys) {
    shadow_thread = std::jthread([this](const std::stop_token& stop) { run_shadows(stop); });
  }
  ~Impl() {
    poller = {};  // stops and joins
    shadow_thread.request_stop();
    shadow_thread.join();
  }

  using VersionKey = std::tuple<std::string, std::int64_t, Role>;
  struct Failure {
    Error error;
    SteadyTime retry_at;
  };

  Result<std::shared_ptr<const Scorer>> load(const std::string& digest);
  std::shared_ptr<const Served> assemble(const Desired& desired, const ServedMap& before);
  std::optional<Target> target(const Desired& desired, const std::string& alias,
                               const Result<VersionRef>& version, Role role,
                               std::vector<std::string>& problems);
  std::vector<Target> canaries(const Desired& desired, const Target& primary,
                               std::vector<std::string>& problems);
  using StatsMap = std::map<VersionKey, std::shared_ptr<VersionStats>>;
  static std::shared_ptr<VersionStats> stats_in(Guarded<StatsMap>& all,
                                                const std::string& deployment, std::int64_t version,
                                                Role role);
  Result<void> log_inference(const std::shared_ptr<Inference>& inference, PredictionLog::Done done);

  void run_shadows(const std::stop_token& stop);
  void shadow_done();
  void score_shadows(const Inference& inference);

  const DeploymentStore& store;
  const ModelSource& source;
  PredictionLog& log;
  const Clock& clock;
  const HostOptions options;
  SensitiveLog guard;

  Guarded<std::shared_ptr<const ServedMap>> current{std::make_shared<const ServedMap>()};
  Guarded<StatsMap> version_stats;
  Guarded<StatsMap> routed_stats;
  Guarded<std::map<std::string, std::shared_ptr<DeploymentStats>>> deployment_stats;

  std::mutex refresh_mutex;  // guards the five below
  std::optional<std::int64_t> seen_counter;
  bool retry_wanted = false;
  std::map<std::string, std::weak_ptr<const Scorer>> loaded;  // by digest
  std::map<std::string, Failure> failed;
  std::map<std::string, std::string> reported;  // deployment -> problems, to log each once

  std::mutex shadow_mutex;
  std::condition_variable_any shadow_work;
  std::condition_variable shadow_idle;
  std::deque<std::shared_ptr<Inference>> shadow_queue;
  std::atomic<std::size_t> shadows_pending{0};  // queued, at work, or between commit and the queue

  std::jthread shadow_thread;
  std::jthread poller;
};

ModelHost::ModelHost(const DeploymentStore& deployments, const ModelSource& source,
                     PredictionLog& log, const Clock& clock, HostOptions options)
    : impl_(std::make_unique<Impl>(deployments, source, log, clock, options)) {}

ModelHost::~ModelHost() {
  if (impl_ != nullptr) finish_shadows();
}

// ---- what is served
// -------------------------------------------------------------------------------------------------

Result<void> ModelHost::refresh() {
  Impl& impl = *impl_;
  const std::scoped_lock lock(impl.refresh_mutex);
  auto counter = impl.source.change_counter();
  if (!counter) return counter.error();
  if (impl.seen_counter == *counter && !impl.retry_wanted) return {};
  auto deployments = impl.store.list();
  if (!deployments) return deployments.error();

  impl.retry_wanted = false;
  const auto before = impl.current.with([](const auto& map) { return map; });
  auto now = std::make_shared<ServedMap>();
  for (const Desired& desired : desired_state(*deployments, impl.source)) {
    (*now)[desired.deployment.name] = impl.assemble(desired, *before);
  }
  std::vector<std::string> pinned;
  for (const auto& [name, served] : *now) {
    if (!served->deployment().pinned || served->primary() == nullptr) continue;
    pinned.push_back(served->primary()->version.digest);
    for (const Target& canary : served->canaries()) pinned.push_back(canary.version.digest);
  }
  impl.source.keep(pinned);
  impl.current.with([&](auto& map) { map = std::move(now); });
  impl.seen_counter = *counter;
  std::erase_if(impl.loaded, [](const auto& entry) { return entry.second.expired(); });
  return {};
}

std::shared_ptr<const Served> ModelHost::Impl::assemble(const Desired& desired,
                                                        const ServedMap& before) {
  const Deployment& deployment = desired.deployment;
  const auto old = before.find(deployment.name);
  std::vector<std::string> problems;
  auto primary = target(desired, deployment.alias, desired.primary, Role::primary, problems);
  if (!primary && old != before.end() && old->second->primary() != nullptr) {
    primary = *old->second->primary();
    problems.back() += fmt::format("; version {} goes on answering", primary->version.number);
  }
  std::vector<Target> canary_targets;
  if (primary) canary_targets = canaries(desired, *primary, problems);
  std::vector<Target> shadows;
  for (const auto& [alias, version] : desired.shadows) {
    // An alias that does not exist (yet) is how a deployment waits for its challenger.
    if (!version && version.error().code == Code::not_found) continue;
    if (auto shadow = target(desired, alias, version, Role::shadow, problems))
      shadows.push_back(std::move(*shadow));
  }
  auto stats = deployment_stats.with([&](auto& all) {
    auto& mine = all[deployment.name];
    if (mine == nullptr) mine = std::make_shared<DeploymentStats>();
    return mine;
  });

  // What did not change is the same object: its pooled requests live on.
  const auto same_targets = [](const Served& a, const std::optional<Target>& b,
                               const std::vector<Target>& c, const std::vector<Target>& d) {
    const auto same = [](const Target& x, const Target& y) {
      return x.alias == y.alias && x.version == y.version && x.scorer == y.scorer;
    };
    return (a.primary() != nullptr) == b.has_value() && (!b || same(*a.primary(), *b)) &&
           std::ranges::equal(a.canaries(), c, same) && std::ranges::equal(a.shadows(), d, same);
  };
  if (old != before.end() && problems.empty() && old->second->problems().empty() &&
      old->second->deployment().to_json() == deployment.to_json() &&
      same_targets(*old->second, primary, canary_targets, shadows)) {
    return old->second;
  }
  auto served =
      std::make_shared<const Served>(deployment, std::move(primary), std::move(canary_targets),
                                     std::move(shadows), std::move(problems), std::move(stats));
  std::string all_problems;
  for (const auto& problem : served->problems()) all_problems += problem + "\n";
  if (std::exchange(reported[deployment.name], all_problems) != all_problems) {
    for (const auto& problem : served->problems()) {
      log::warn("deployment not as declared",
                {{"deployment", deployment.name}, {"problem", problem}});
    }
  }
  if (served->primary() != nullptr &&
      (old == before.end() || old->second->primary() == nullptr ||
       old->second->primary()->version != served->primary()->version)) {
    log::info("serving",
              {{"deployment", deployment.name}, {"version", served->primary()->version.number}});
  }
  return served;
}

std::optional<Target> ModelHost::Impl::target(const Desired& desired, const std::string& alias,
                                              const Result<VersionRef>& version, Role role,
                                              std::vector<std::string>& problems) {
  if (!version) {
    problems.push_back(version.error().message);
    return std::nullopt;
  }
  auto scorer = load(version->digest);
  if (!scorer) {
    problems.push_back(fmt::format("version {} ('{}') could not be loaded: {}", version->number,
                                   alias, scorer.error().message));
    return std::nullopt;
  }
  return Target{.alias = alias,
                .version = *version,
                .scorer = std::move(*scorer),
                .stats = stats_in(version_stats, desired.deployment.name, version->number, role),
                .routed = stats_in(routed_stats, desired.deployment.name, version->number, role)};
}

// A canary that cannot answer has no share: the primary keeps it. What would answer other columns
// than the primary cannot be swapped in, so it is told, but not left out.
std::vector<Target> ModelHost::Impl::canaries(const Desired& desired, const Target& primary,
                                              std::vector<std::string>& problems) {
  std::vector<Target> found;
  for (std::size_t i = 0; i < desired.canaries.size(); ++i) {
    const Canary& canary = desired.deployment.canaries[i];
    auto arm = target(desired, canary.alias, desired.canaries[i], Role::primary, problems);
    if (!arm) {
      problems.back() += fmt::format("; its share goes to '{}'", primary.alias);
      continue;
    }
    arm->weight = canary.weight;
    found.push_back(std::move(*arm));
  }
  return found;
}

Result<std::shared_ptr<const Scorer>> ModelHost::Impl::load(const std::string& digest) {
  if (const auto known = loaded.find(digest); known != loaded.end()) {
    if (auto alive = known->second.lock()) return alive;
  }
  const SteadyTime now = clock.steady();
  if (const auto failure = failed.find(digest);
      failure != failed.end() && now < failure->second.retry_at) {
    retry_wanted = true;
    return failure->second.error;
  }
  auto scorer = source.load(digest);
  if (!scorer) {
    failed.insert_or_assign(
        digest, Failure{.error = scorer.error(), .retry_at = now + options.retry_load_after});
    retry_wanted = true;
    return scorer.error();
  }
  failed.erase(digest);
  std::shared_ptr<const Scorer> shared = std::move(*scorer);
  loaded[digest] = shared;
  return shared;
}

std::shared_ptr<VersionStats> ModelHost::Impl::stats_in(Guarded<StatsMap>& all,
                                                        const std::string& deployment,
                                                        std::int64_t version, Role role) {
  return all.with([&](auto& map) {
    auto& stats = map[{deployment, version, role}];
    if (stats == nullptr) stats = std::make_shared<VersionStats>();
    return stats;
  });
}

void ModelHost::start() {
  impl_->poller = std::jthread([this](const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::string last_error;
    while (!stop.stop_requested()) {
      const auto refreshed = refresh();
      const std::string error = refreshed ? "" : refreshed.error().message;
      if (!error.empty() && error != last_error)
        log::error("deployments could not be read", {{"error", error}});
      last_error = error;
      std::unique_lock lock(mutex);
      wake.wait_for(lock, stop, impl_->options.poll_every, [] { return false; });
    }
  });
}

std::shared_ptr<const Served> ModelHost::find(std::string_view deployment) const {
  const auto served = impl_->current.with([](const auto& map) { return map; });
  const auto found = served->find(deployment);
  return found == served->end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const Served>> ModelHost::all() const {
  const auto served = impl_->current.with([](const auto& map) { return map; });
  std::vector<std::shared_ptr<const Served>> list;
  for (const auto& [name, one] : *served) list.push_back(one);
  return list;
}

bool ModelHost::ready() const {
  return std::ranges::all_of(all(),
                             [](const auto& served) { return served->primary() != nullptr; });
}

// ---- answering
// ------------------------------------------------------------------------------------------------------

Result<void> ModelHost::score(Inference& inference) const {
  const Target& target = *inference.target;
  if (auto viewed = inference.rows.view(inference.batch); !viewed) return viewed;
  inference.scores.resize(static_cast<std::size_t>(inference.batch.rows));
  if (auto scored = score_with(*target.scorer, inference); !scored) {
    target.stats->failures.fetch_add(1, std::memory_order_relaxed);
    if (inference.routed) target.routed->failures.fetch_add(1, std::memory_order_relaxed);
    return scored;
  }
  inference.latency_us = micros_since(inference.started, impl_->clock.steady());
  const Time now = impl_->clock.now();
  target.stats->record(inference.batch.rows, inference.latency_us, now);
  if (inference.routed) target.routed->record(inference.batch.rows, inference.latency_us, now);
  return {};
}

// Appends the rows, or says at once that there is nothing to wait for.
Result<void> ModelHost::Impl::log_inference(const std::shared_ptr<Inference>& inference,
                                            PredictionLog::Done done) {
  const Deployment& deployment = inference->served->deployment();
  if (!is_logged(deployment, *inference)) {
    done({});
    return {};
  }
  PredictionBatch batch{.deployment = deployment.name,
                        .time = inference->time,
                        .version = inference->target->version.number,
                        .role = Role::primary,
                        .alias = inference->target->alias,
                        .latency_us = inference->latency_us,
                        .new_ids = inference->new_ids,
                        .ids = inference->ids,
                        .scores = inference->scores,
                        .inputs = &inference->batch,
                        .values = inference->values,
                        .caller = inference->caller,
                        .trace = inference->trace,
                        .durable = deployment.log == LogMode::durable};
  if (deployment.sensitive()) return guard.append(inference, batch, std::move(done));
  return log.append(batch, std::move(done));
}

Result<void> ModelHost::commit(std::shared_ptr<Inference> inference,
                               std::function<void(Result<void>)> done) {
  Impl& impl = *impl_;
  const Served& served = *inference->served;
  bool shadows = !served.shadows().empty() && inference->target == served.primary();
  if (shadows && impl.shadows_pending.fetch_add(1) >= impl.options.shadow_queue) {
    impl.shadow_done();
    shadows = false;
    if (served.deployment().shadow_mode == ShadowMode::best_effort) {
      served.stats().shadows_dropped.fetch_add(1, std::memory_order_relaxed);
    } else {
      // Every prediction is to have its shadows: the caller waits for them, and so sends no more
      // than can be done.
      impl.score_shadows(*inference);
    }
  }
  if (!shadows) return impl.log_inference(inference, std::move(done));
  auto appended = impl.log_inference(
      inference, [&impl, inference, done = std::move(done)](Result<void> logged) {
        const bool good = logged.has_value();
        done(std::move(logged));
        if (!good) return impl.shadow_done();
        const std::scoped_lock lock(impl.shadow_mutex);
        impl.shadow_queue.push_back(inference);
        impl.shadow_work.notify_one();
      });
  if (!appended) impl.shadow_done();
  return appended;
}

// ---- shadows
// --------------------------------------------------------------------------------------------------------

void ModelHost::Impl::run_shadows(const std::stop_token& stop) {
  std::deque<std::shared_ptr<Inference>> batch;
  while (true) {
    {
      std::unique_lock lock(shadow_mutex);
      shadow_work.wait(lock, stop, [&] { return !shadow_queue.empty(); });
      if (shadow_queue.empty()) return;
      batch.swap(shadow_queue);
    }
    while (!batch.empty()) {
      score_shadows(*batch.front());
      batch.pop_front();
      shadow_done();
    }
  }
}

void ModelHost::Impl::shadow_done() {
  if (--shadows_pending > 0) return;
  const std::scoped_lock lock(shadow_mutex);
  shadow_idle.notify_all();
}

void ModelHost::Impl::score_shadows(const Inference& inference) {
  thread_local std::vector<double> scores;
  const Served& served = *inference.served;
  for (const Target& shadow : served.shadows()) {
    const SteadyTime started = clock.steady();
    scores.resize(inference.scores.size());
    auto scored = shadow.scorer->score(inference.batch, scores);
    const std::int64_t latency_us = micros_since(started, clock.steady());
    if (scored && is_logged(served.deployment(), inference)) {
      scored = log.append({.deployment = served.deployment().name,
                           .time = inference.time,
                           .version = shadow.version.number,
                           .role = Role::shadow,
                           .alias = shadow.alias,
                           .latency_us = latency_us,
                           .ids = inference.ids,
                           .scores = scores,
                           .trace = inference.trace,
                           .durable = served.deployment().log == LogMode::durable},
                          {});
    }
    if (scored) {
      shadow.stats->record(static_cast<std::int64_t>(scores.size()), latency_us, clock.now());
    } else if (shadow.stats->failures.fetch_add(1) == 0) {
      log::warn("a shadow failed (only the first failure of a version is logged)",
                {{"deployment", served.deployment().name},
                 {"version", shadow.version.number},
                 {"error", scored.error().message}});
    }
  }
}

void ModelHost::finish_shadows() {
  std::unique_lock lock(impl_->shadow_mutex);
  impl_->shadow_idle.wait(lock, [&] { return impl_->shadows_pending.load() == 0; });
}

// ---- figures
// --------------------------------------------------------------------------------------------------------

namespace {

template <class Stats>
std::vector<ModelHost::StatsRow> rows_of(const Stats& guarded) {
  return guarded.with([](const auto& all) {
    std::vector<ModelHost::StatsRow> rows;
    for (const auto& [key, stats] : all) {
      rows.push_back({.deployment = std::get<0>(key),
                      .version = std::get<1>(key),
                      .role = std::get<2>(key),
                      .stats = stats});
    }
    return rows;
  });
}

}  // namespace

std::vector<ModelHost::StatsRow> ModelHost::version_stats() const {
  return rows_of(impl_->version_stats);
}

std::vector<ModelHost::StatsRow> ModelHost::routed_stats() const {
  return rows_of(impl_->routed_stats);
}

std::vector<ModelHost::DeploymentRow> ModelHost::deployment_stats() const {
  return impl_->deployment_stats.with([](const auto& all) {
    std::vector<DeploymentRow> rows;
    for (const auto& [name, stats] : all) rows.push_back({.deployment = name, .stats = stats});
    return rows;
  });
}

const PredictionLog& ModelHost::log() const { return impl_->log; }

}  // namespace slipway::serving
