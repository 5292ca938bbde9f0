// Where served models come from: slipway's own bundles and graphs, and models that MLflow logged
// into this server's artifacts. Which version an alias means now, and how its bytes become
// something that scores. Serving asks through these interfaces; RegistrySource answers from the
// registry and the blob store.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/guarded.h"
#include "base/json.h"
#include "base/result.h"
#include "blob/store.h"
#include "data/table.h"
#include "db/database.h"
#include "models/servable.h"
#include "registry/registry.h"
#include "tracking/tracking.h"

namespace slipway::serving {

// A model in memory. Immutable and thread-safe.
class Scorer {
 public:
  virtual ~Scorer() = default;
  virtual const data::Schema& inputs() const = 0;
  // Columns are found by name; others are ignored. scores [rows]: P(class 1) or the value; NaN
  // where there is none.
  virtual Result<void> score(const data::Batch& batch, std::span<double> scores) const = 0;
  virtual bool is_classifier() const = 0;
  virtual Json describe() const = 0;

  // Numbers per row that the model gives: 1, or the probabilities of several classes, or several
  // predicted values. With more than 1, score() gives the most probable class or the first value.
  virtual std::size_t width() const { return 1; }
  // As score(), with all numbers: [rows, width()].
  virtual Result<void> score_all(const data::Batch& batch, std::span<double> all) const {
    return score(batch, all);
  }
  // The features that contributions are of; empty: the model cannot tell them.
  virtual std::vector<std::string> explained() const { return {}; }
  // SHAP values [rows, width(), explained().size() + 1]: what each feature adds to the score before
  // the link, and last what it is when nothing is known.
  virtual Result<void> contributions(const data::Batch& batch, std::span<double> out) const;
  // Whether scoring may wait for another process: not to be called on an io thread then.
  virtual bool blocks() const { return false; }
};

struct VersionRef {
  std::int64_t number = 0;
  std::string digest;  // of the bundle: equal digests are the same model
  bool operator==(const VersionRef&) const = default;
};

class ModelSource {
 public:
  virtual ~ModelSource() = default;
  // Changes whenever a deployment, version or alias may have.
  virtual Result<std::int64_t> change_counter() const = 0;
  virtual Result<VersionRef> resolve(const std::string& model, const std::string& alias) const = 0;
  virtual Result<std::unique_ptr<const Scorer>> load(const std::string& digest) const = 0;
  // Models that are to stay in memory, whatever the budget; replaces what was said before.
  virtual void keep(const std::vector<std::string>& /*digests*/) const {}
};

class RegistrySource final : public ModelSource {
 public:
  // Bundles are unpacked under `cache`, each once. The references outlive this.
  RegistrySource(const db::Database& db, const registry::Registry& registry,
                 const blob::Store& blobs, std::filesystem::path cache)
      : db_(db), registry_(registry), blobs_(blobs), cache_(std::move(cache)) {}
  // Before the first load: the files of models that MLflow logged, and what runs models. `tracking`
  // outlives this.
  void serve_mlflow(const tracking::Tracking& tracking, models::RuntimeOptions options) {
    tracking_ = &tracking;
    options_ = std::move(options);
  }
  // The digest that identifies a version's files: its bundle's, or one over what MLflow logged.
  Result<std::string> digest_of(const registry::ModelVersion& version) const;
  // Its files in a folder of the cache.
  Result<std::filesystem::path> unpack(const std::string& digest) const;
  Result<std::int64_t> change_counter() const override { return db_.change_counter(); }
  Result<VersionRef> resolve(const std::string& model, const std::string& alias) const override;
  Result<std::unique_ptr<const Scorer>> load(const std::string& digest) const override;

 private:
  const db::Database& db_;
  const registry::Registry& registry_;
  const blob::Store& blobs_;
  std::filesystem::path cache_;
  const tracking::Tracking* tracking_ = nullptr;
  models::RuntimeOptions options_;
  // What the digests of MLflow's models stand for.
  using Files = std::vector<tracking::Artifact>;
  mutable Guarded<std::map<std::string, Files>> logged_;
};

}  // namespace slipway::serving
