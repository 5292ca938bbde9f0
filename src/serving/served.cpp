#include "serving/served.h"

namespace slipway::serving {
namespace {

constexpr std::size_t kPooled = 64;         // requests kept for reuse
constexpr std::int64_t kPooledRows = 4096;  // larger ones give their memory back

}  // namespace

void VersionStats::record(std::int64_t row_count, std::int64_t latency_us, Time now) {
  constexpr auto relaxed = std::memory_order_relaxed;
  requests.fetch_add(1, relaxed);
  rows.fetch_add(row_count, relaxed);
  latency_sum_us.fetch_add(latency_us, relaxed);
  last_us.store(to_micros(now), relaxed);
  const auto bound = std::ranges::lower_bound(kLatencyBounds, latency_us);
  buckets[static_cast<std::size_t>(bound - kLatencyBounds.begin())].fetch_add(1, relaxed);
}

Served::Served(Deployment deployment, std::optional<Target> primary, std::vector<Target> shadows,
               std::vector<std::string> problems, std::shared_ptr<DeploymentStats> stats)
    : deployment_(std::move(deployment)),
      primary_(std::move(primary)),
      shadows_(std::move(shadows)),
      problems_(std::move(problems)),
      stats_(std::move(stats)) {
  const auto add = [&](const Target& target) {
    std::vector<std::size_t> indices;
    for (const auto& field : target.scorer->inputs().fields) {
      const auto [place, is_new] = by_name_.emplace(field.name, columns_.fields.size());
      if (is_new) {
        columns_.fields.push_back(field);
      } else if (const auto& known = columns_.fields[place->second];
                 known.type != field.type &&
                 !(known.type == data::Type::int64 && field.type == data::Type::float64)) {
        problems_.push_back(fmt::format(
            "version {} ('{}') wants input '{}' as {}, but version {} takes it as {}: it cannot "
            "score "
            "the same requests",
            target.version.number, target.alias, field.name, data::to_string(field.type),
            primary_->version.number, data::to_string(known.type)));
      }
      indices.push_back(place->second);
    }
    required_.push_back(std::move(indices));
  };
  if (!primary_) return;
  add(*primary_);
  for (const Target& shadow : shadows_) add(shadow);
}

const Target* Served::find(std::int64_t version) const {
  if (primary_ && primary_->version.number == version) return &*primary_;
  const auto shadow = std::ranges::find(shadows_, version,
                                        [](const Target& target) { return target.version.number; });
  return shadow == shadows_.end() ? nullptr : &*shadow;
}

std::optional<std::size_t> Served::column(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

const std::vector<std::size_t>& Served::required(const Target& target) const {
  if (&target == primary()) return required_.front();
  return required_[static_cast<std::size_t>(&target - shadows_.data()) + 1];
}

std::shared_ptr<Inference> Served::begin() const {
  std::unique_ptr<Inference> inference;
  {
    const std::scoped_lock lock(pool_->mutex);
    if (!pool_->free.empty()) {
      inference = std::move(pool_->free.back());
      pool_->free.pop_back();
    }
  }
  if (inference == nullptr) inference = std::make_unique<Inference>(columns_);
  inference->served = shared_from_this();
  inference->target = primary();
  return {inference.release(), [pool = pool_](Inference* used) {
            std::unique_ptr<Inference> owned(used);
            if (owned->scores.size() > static_cast<std::size_t>(kPooledRows)) return;
            owned->rows.clear();
            owned->ids.clear();
            owned->scores.clear();
            owned->values.clear();
            owned->explain = false;
            owned->contributions.clear();
            owned->new_ids = true;
            const auto keep_until_unlocked = std::exchange(owned->served, nullptr);
            const std::scoped_lock lock(pool->mutex);
            if (pool->free.size() < kPooled) pool->free.push_back(std::move(owned));
          }};
}

}  // namespace slipway::serving
