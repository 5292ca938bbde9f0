// Models within a memory budget: a ModelSource whose models are loaded when they are first asked,
// and those asked least recently are let go when what is loaded takes more than the budget. What a
// model looks like (its inputs, kind, size) is kept beside the unpacked bundles once it was loaded,
// so a server with hundreds of models starts without loading them.
//   ModelCache cache(source, {.budget_bytes = 512 << 20, .outlines = home / "cache"});
//   auto scorer = cache.load(digest);      // of a model that may not be in memory
// A request holds the model it scores with: letting go never fails one. Pinned models stay; one
// that is larger than the budget is loaded all the same, alone. A scorer whose model is not loaded
// says blocks(): it loads in score(), one model at a time. Thread-safe.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "serving/model_source.h"

namespace slipway::serving {

// Bytes that the program has allocated, all arenas together (glibc's mallinfo2).
std::int64_t allocated_bytes();

struct ModelCacheOptions {
  std::int64_t budget_bytes = 0;   // 0: everything stays loaded
  std::filesystem::path outlines;  // folder; empty: not kept
  std::function<std::int64_t()> memory_in_use = allocated_bytes;
};

class ModelCache final : public ModelSource {
 public:
  ModelCache(const ModelSource& source, ModelCacheOptions options);  // source outlives the scorers
  ~ModelCache() override;

  Result<std::int64_t> change_counter() const override;
  Result<VersionRef> resolve(const std::string& model, const std::string& alias) const override;
  Result<std::unique_ptr<const Scorer>> load(const std::string& digest) const override;
  void keep(const std::vector<std::string>& digests) const override;

  struct Model {
    std::string digest;
    std::int64_t bytes = 0;  // measured when it was last loaded
    bool loaded = false;
    bool pinned = false;
  };
  struct Figures {
    std::int64_t loads = 0;
    std::int64_t load_failures = 0;
    std::int64_t evictions = 0;
    std::int64_t loaded_bytes = 0;
    std::vector<Model> models;  // that something serves
  };
  Figures figures() const;

  struct State;

 private:
  std::shared_ptr<State> state_;
};

}  // namespace slipway::serving
