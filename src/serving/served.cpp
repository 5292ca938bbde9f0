#include "serving/served.h"

#include "base/hash.h"

namespace slipway::serving {
namespace {

constexpr std::size_t kPooled = 64;         // requests kept for reuse
constexpr std::int64_t kPooledRows = 4096;  // larger ones give their memory back

// 0 <= unit < 1, uniform for a hash.
double unit_of(std::uint64_t hash) { return static_cast<double>(hash >> 11) * 0x1p-53; }

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

Served::Served(Deployment deployment, std::optional<Target> primary, std::vector<Target> canaries,
               std::vector<Target> shadows, std::vector<std::string> problems,
               std::shared_ptr<DeploymentStats> stats)
    : deployment_(std::move(deployment)),
      primary_(std::move(primary)),
      canaries_(std::move(canaries)),
      shadows_(std::move(shadows)),
      problems_(std::move(problems)),
      stats_(std::move(stats)),
      salt_(hash64(deployment_.name)) {
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
  for (const Target& canary : canaries_) add(canary);
  for (const Target& shadow : shadows_) add(shadow);
}

const Target* Served::find(std::int64_t version) const {
  if (primary_ && primary_->version.number == version) return &*primary_;
  for (const auto* list : {&canaries_, &shadows_}) {
    const auto found = std::ranges::find(
        *list, version, [](const Target& target) { return target.version.number; });
    if (found != list->end()) return &*found;
  }
  return nullptr;
}

// A canary that grows keeps the keys it had: its part of [0, 1) grows at the end.
const Target* Served::route(std::string_view key) const {
  if (canaries_.empty()) return primary();
  const double at = unit_of(
      key.empty()
          ? hash64("draw", salt_ ^ hash64("", draws_.fetch_add(1, std::memory_order_relaxed)))
          : hash64(key, salt_));
  double end = 0;
  for (const Target& canary : canaries_) {
    end += canary.weight;
    if (at < end) return &canary;
  }
  return primary();
}

const Target* Served::arm(std::string_view alias) const {
  if (primary_ && primary_->alias == alias) return &*primary_;
  const auto found = std::ranges::find(canaries_, alias, &Target::alias);
  return found == canaries_.end() ? nullptr : &*found;
}

std::optional<std::size_t> Served::column(std::string_view name) const {
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) return std::nullopt;
  return found->second;
}

const std::vector<std::size_t>& Served::required(const Target& target) const {
  if (&target == primary()) return required_.front();
  for (std::size_t i = 0; i < canaries_.size(); ++i) {
    if (&target == &canaries_[i]) return required_[1 + i];
  }
  return required_[static_cast<std::size_t>(&target - shadows_.data()) + 1 + canaries_.size()];
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
            owned->routed = false;
            owned->caller.clear();
            owned->trace.clear();
            const auto keep_until_unlocked = std::exchange(owned->served, nullptr);
            const std::scoped_lock lock(pool->mutex);
            if (pool->free.size() < kPooled) pool->free.push_back(std::move(owned));
          }};
}

}  // namespace slipway::serving
