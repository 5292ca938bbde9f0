#include "serving/model_source.h"

#include "base/file.h"
#include "models/bundle.h"

namespace slipway::serving {
namespace {

class BundleScorer final : public Scorer {
 public:
  explicit BundleScorer(models::Bundle bundle) : bundle_(std::move(bundle)) {}
  const data::Schema& inputs() const override { return bundle_.inputs(); }
  Result<void> score(const data::Batch& batch, std::span<double> scores) const override {
    return bundle_.predict(batch, scores, 1);  // requests are what runs in parallel
  }
  bool is_classifier() const override { return bundle_.is_classifier(); }
  Json describe() const override { return bundle_.metadata(); }

 private:
  models::Bundle bundle_;
};

std::unique_ptr<const Scorer> scorer(models::Bundle bundle) {
  return std::make_unique<BundleScorer>(std::move(bundle));
}

}  // namespace

Result<void> Scorer::contributions(const data::Batch&, std::span<double>) const {
  return invalid_argument("this model cannot tell what its features contribute: trees can");
}

Result<VersionRef> RegistrySource::resolve(const std::string& model,
                                           const std::string& alias) const {
  auto version = registry_.find_by_alias(model, alias);
  if (!version) return version.error();
  if (version->digest.empty()) {
    return failed_precondition(
        fmt::format("version {} of model '{}' has no bundle in this store (its source is '{}'), so "
                    "it cannot be served",
                    version->number, model, version->source));
  }
  return VersionRef{.number = version->number, .digest = version->digest};
}

Result<std::unique_ptr<const Scorer>> RegistrySource::load(const std::string& digest) const {
  const std::filesystem::path folder = cache_ / digest;
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    if (auto bundle = models::Bundle::load(folder)) return scorer(std::move(*bundle));
    // A copy that was damaged is no loss: it is unpacked again.
    std::filesystem::remove_all(folder, error);
  }
  if (auto made = make_dirs(cache_); !made) return made.error();
  if (auto unpacked = blobs_.get_tree(digest, folder); !unpacked) return unpacked.error();
  auto bundle = models::Bundle::load(folder);
  if (!bundle) return bundle.error();
  return scorer(std::move(*bundle));
}

}  // namespace slipway::serving
