#include "serving/model_cache.h"

#include <malloc.h>

#include <atomic>
#include <mutex>
#include <set>

#include "base/file.h"
#include "base/log.h"

namespace slipway::serving {
namespace {

constexpr int kOutlineVersion = 1;

}  // namespace

namespace cached {

// What is known of a model without having it in memory.
struct Outline {
  data::Schema inputs;
  bool classifier = false;
  std::size_t width = 1;
  std::vector<std::string> explained;
  bool slow = false;  // answers from another process
  Json description;
  std::int64_t bytes = 0;

  static Outline of(const Scorer& scorer, std::int64_t bytes) {
    return {.inputs = scorer.inputs(),
            .classifier = scorer.is_classifier(),
            .width = scorer.width(),
            .explained = scorer.explained(),
            .slow = scorer.blocks(),
            .description = scorer.describe(),
            .bytes = bytes};
  }
  Json to_json() const {
    return {{"version", kOutlineVersion}, {"inputs", inputs.to_json()},
            {"classifier", classifier},   {"width", width},
            {"explained", explained},     {"slow", slow},
            {"description", description}, {"bytes", bytes}};
  }
  static std::optional<Outline> from_json(const Json& json) {
    if (!json.is_object() || json.value("version", 0) != kOutlineVersion) return std::nullopt;
    auto schema = data::Schema::from_json(json.value("inputs", Json()));
    if (!schema) return std::nullopt;
    return Outline{.inputs = std::move(*schema),
                   .classifier = json.value("classifier", false),
                   .width = json.value("width", std::size_t{1}),
                   .explained = json.value("explained", std::vector<std::string>{}),
                   .slow = json.value("slow", false),
                   .description = json.value("description", Json::object()),
                   .bytes = json.value("bytes", std::int64_t{0})};
  }
};

struct Slot {
  std::string digest;
  Outline outline;
  std::atomic<std::uint64_t> used{0};  // State::ticks at the last use
  std::mutex mutex;
  std::shared_ptr<const Scorer> scorer;  // null: not in memory

  std::shared_ptr<const Scorer> get() {
    const std::scoped_lock lock(mutex);
    return scorer;
  }
};

}  // namespace cached

using cached::Outline;
using cached::Slot;

struct ModelCache::State {
  State(const ModelSource& models, ModelCacheOptions settings)
      : source(models), options(std::move(settings)) {}

  std::filesystem::path outline_path(const std::string& digest) const {
    return options.outlines / (digest + ".outline.json");
  }
  std::optional<Outline> known_outline(const std::string& digest) const;
  // The model of a slot, loaded when it is not.
  Result<std::shared_ptr<const Scorer>> want(Slot& slot);
  // Under load_mutex.
  Result<std::shared_ptr<const Scorer>> load(Slot& slot);
  void make_room(const Slot& newest);

  const ModelSource& source;
  const ModelCacheOptions options;
  std::atomic<std::uint64_t> ticks{0};
  std::atomic<std::int64_t> loads{0};
  std::atomic<std::int64_t> load_failures{0};
  std::atomic<std::int64_t> evictions{0};

  std::mutex load_mutex;   // one load at a time, so that its memory can be measured
  std::mutex slots_mutex;  // guards the two below; taken after load_mutex
  std::map<std::string, std::weak_ptr<Slot>> slots;
  std::set<std::string> pinned;
};

namespace {

class LazyScorer final : public Scorer {
 public:
  LazyScorer(std::shared_ptr<ModelCache::State> state, std::shared_ptr<Slot> slot)
      : state_(std::move(state)), slot_(std::move(slot)) {}

  const data::Schema& inputs() const override { return slot_->outline.inputs; }
  bool is_classifier() const override { return slot_->outline.classifier; }
  Json describe() const override { return slot_->outline.description; }
  std::size_t width() const override { return slot_->outline.width; }
  std::vector<std::string> explained() const override { return slot_->outline.explained; }
  bool blocks() const override { return slot_->outline.slow || slot_->get() == nullptr; }

  Result<void> score(const data::Batch& batch, std::span<double> scores) const override {
    auto scorer = state_->want(*slot_);
    if (!scorer) return scorer.error();
    return (*scorer)->score(batch, scores);
  }
  Result<void> score_all(const data::Batch& batch, std::span<double> all) const override {
    auto scorer = state_->want(*slot_);
    if (!scorer) return scorer.error();
    return (*scorer)->score_all(batch, all);
  }
  Result<void> contributions(const data::Batch& batch, std::span<double> out) const override {
    auto scorer = state_->want(*slot_);
    if (!scorer) return scorer.error();
    return (*scorer)->contributions(batch, out);
  }

 private:
  std::shared_ptr<ModelCache::State> state_;
  std::shared_ptr<Slot> slot_;
};

}  // namespace

std::int64_t allocated_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return static_cast<std::int64_t>(info.uordblks + info.hblkhd);
}

std::optional<Outline> ModelCache::State::known_outline(const std::string& digest) const {
  if (options.outlines.empty()) return std::nullopt;
  const auto text = read_file(outline_path(digest));
  if (!text) return std::nullopt;
  const auto json = parse_json(*text, "outline");
  return json ? Outline::from_json(*json) : std::nullopt;
}

Result<std::shared_ptr<const Scorer>> ModelCache::State::want(Slot& slot) {
  slot.used.store(ticks.fetch_add(1, std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  if (auto there = slot.get()) return there;
  const std::scoped_lock lock(load_mutex);
  if (auto there = slot.get()) return there;
  return load(slot);
}

Result<std::shared_ptr<const Scorer>> ModelCache::State::load(Slot& slot) {
  const std::int64_t before = options.memory_in_use();
  auto loaded = source.load(slot.digest);
  if (!loaded) {
    load_failures.fetch_add(1, std::memory_order_relaxed);
    log::error("a model could not be loaded",
               {{"bundle", slot.digest.substr(0, 12)}, {"error", loaded.error().message}});
    return loaded.error();
  }
  loads.fetch_add(1, std::memory_order_relaxed);
  const std::int64_t bytes = std::max<std::int64_t>(options.memory_in_use() - before, 0);
  std::shared_ptr<const Scorer> scorer = std::move(*loaded);
  const bool first = slot.outline.bytes == 0;
  {
    const std::scoped_lock lock(slot.mutex);
    slot.scorer = scorer;
  }
  if (first) {
    slot.outline = Outline::of(*scorer, std::max<std::int64_t>(bytes, 1));
    if (!options.outlines.empty()) {
      // Lost, it is made anew by the next start.
      if (auto made = make_dirs(options.outlines); made)
        static_cast<void>(
            write_file_atomic(outline_path(slot.digest), slot.outline.to_json().dump()));
    }
  }
  make_room(slot);
  return scorer;
}

void ModelCache::State::make_room(const Slot& newest) {
  std::vector<std::shared_ptr<Slot>> loaded;
  std::int64_t total = newest.outline.bytes;  // it may not be among the slots yet
  {
    const std::scoped_lock lock(slots_mutex);
    for (const auto& [digest, weak] : slots) {
      auto slot = weak.lock();
      if (slot == nullptr || slot.get() == &newest || slot->get() == nullptr) continue;
      total += slot->outline.bytes;
      if (!pinned.contains(digest)) loaded.push_back(std::move(slot));
    }
  }
  if (total <= options.budget_bytes) return;
  std::ranges::sort(loaded, {}, [](const auto& slot) { return slot->used.load(); });
  for (const auto& slot : loaded) {
    if (total <= options.budget_bytes) break;
    std::shared_ptr<const Scorer> last;
    {
      const std::scoped_lock lock(slot->mutex);
      last = std::exchange(slot->scorer, nullptr);
    }
    total -= slot->outline.bytes;
    evictions.fetch_add(1, std::memory_order_relaxed);
  }
  loaded.clear();
  ::malloc_trim(0);  // what was let go is the machine's again
}

ModelCache::ModelCache(const ModelSource& source, ModelCacheOptions options)
    : state_(std::make_shared<State>(source, std::move(options))) {}
ModelCache::~ModelCache() = default;

Result<std::int64_t> ModelCache::change_counter() const { return state_->source.change_counter(); }

Result<VersionRef> ModelCache::resolve(const std::string& model, const std::string& alias) const {
  return state_->source.resolve(model, alias);
}

Result<std::unique_ptr<const Scorer>> ModelCache::load(const std::string& digest) const {
  State& state = *state_;
  if (state.options.budget_bytes == 0) return state.source.load(digest);
  std::shared_ptr<Slot> slot;
  {
    const std::scoped_lock lock(state.slots_mutex);
    slot = state.slots[digest].lock();
  }
  if (slot == nullptr) {
    slot = std::make_shared<Slot>();
    slot->digest = digest;
    if (auto outline = state.known_outline(digest)) {
      slot->outline = std::move(*outline);
    } else {
      const std::scoped_lock lock(state.load_mutex);
      slot->used = ++state.ticks;
      if (auto loaded = state.load(*slot); !loaded) return loaded.error();
    }
    const std::scoped_lock lock(state.slots_mutex);
    std::erase_if(state.slots, [](const auto& entry) { return entry.second.expired(); });
    state.slots[digest] = slot;
  }
  return std::make_unique<LazyScorer>(state_, std::move(slot));
}

void ModelCache::keep(const std::vector<std::string>& digests) const {
  const std::scoped_lock lock(state_->slots_mutex);
  state_->pinned = {digests.begin(), digests.end()};
}

ModelCache::Figures ModelCache::figures() const {
  Figures figures{.loads = state_->loads.load(),
                  .load_failures = state_->load_failures.load(),
                  .evictions = state_->evictions.load()};
  const std::scoped_lock lock(state_->slots_mutex);
  for (const auto& [digest, weak] : state_->slots) {
    const auto slot = weak.lock();
    if (slot == nullptr) continue;
    const bool loaded = slot->get() != nullptr;
    if (loaded) figures.loaded_bytes += slot->outline.bytes;
    figures.models.push_back({.digest = digest,
                              .bytes = slot->outline.bytes,
                              .loaded = loaded,
                              .pinned = state_->pinned.contains(digest)});
  }
  return figures;
}

}  // namespace slipway::serving
