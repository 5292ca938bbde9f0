#include "serving/model_source.h"

#include "base/file.h"
#include "base/hash.h"

namespace slipway::serving {
namespace {

constexpr std::size_t kMostLoggedFiles = 10'000;
constexpr int kMostFolders = 16;  // below each other

class ServableScorer final : public Scorer {
 public:
  explicit ServableScorer(models::ServablePtr servable) : servable_(std::move(servable)) {}
  const data::Schema& inputs() const override { return servable_->inputs(); }
  // Of several classes the most probable, else the first number.
  Result<void> score(const data::Batch& batch, std::span<double> scores) const override {
    const std::size_t width = servable_->width();
    if (width == 1) return servable_->predict(batch, scores, 1);  // requests run in parallel
    std::vector<double> all(scores.size() * width);
    if (auto done = servable_->predict(batch, all, 1); !done) return done;
    for (std::size_t row = 0; row < scores.size(); ++row) {
      const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * width);
      scores[row] =
          servable_->is_classifier()
              ? static_cast<double>(
                    std::max_element(begin, begin + static_cast<std::ptrdiff_t>(width)) - begin)
              : *begin;
    }
    return {};
  }
  bool is_classifier() const override { return servable_->is_classifier(); }
  Json describe() const override { return servable_->describe(); }
  std::size_t width() const override { return servable_->width(); }
  Result<void> score_all(const data::Batch& batch, std::span<double> all) const override {
    return servable_->predict(batch, all, 1);
  }
  std::vector<std::string> explained() const override { return servable_->explained(); }
  Result<void> contributions(const data::Batch& batch, std::span<double> out) const override {
    return servable_->contributions(batch, out);
  }
  bool blocks() const override { return servable_->blocks(); }

 private:
  models::ServablePtr servable_;
};

// All files below a folder of artifacts, by whole path.
Result<void> collect(const tracking::Tracking& tracking, const std::string& folder, int depth,
                     std::vector<tracking::Artifact>& into) {
  auto children = tracking.list_files(folder);
  if (!children) return children.error();
  for (tracking::Artifact& child : *children) {
    if (child.is_folder) {
      if (depth >= kMostFolders)
        return failed_precondition("the model's folders are nested too deep");
      if (auto done = collect(tracking, child.path, depth + 1, into); !done) return done;
    } else {
      into.push_back(std::move(child));
    }
    if (into.size() > kMostLoggedFiles)
      return failed_precondition("the model has more files than are served");
  }
  return {};
}

// The folder of artifacts that a version's address names: runs:/RUN/PATH, as MlflowClient gives it,
// or the address itself.
Result<std::string> folder_of(const tracking::Tracking& tracking, std::string_view uri) {
  constexpr std::string_view kRuns = "runs:/";
  if (!uri.starts_with(kRuns)) return tracking::artifact_root(uri);
  uri.remove_prefix(std::min(uri.find_first_not_of('/', kRuns.size()), uri.size()));
  const std::size_t slash = std::min(uri.find('/'), uri.size());
  const auto run = tracking.run(tracking::RunId{std::string(uri.substr(0, slash))});
  if (!run) return run.error();
  auto root = tracking::artifact_root(run->artifact_uri);
  if (!root || slash + 1 >= uri.size()) return root;
  const auto path = tracking::check_artifact_path(uri.substr(slash + 1));
  if (!path) return path;
  return *root + "/" + *path;
}

}  // namespace

Result<void> Scorer::contributions(const data::Batch&, std::span<double>) const {
  return invalid_argument("this model cannot tell what its features contribute: trees can");
}

Result<std::string> RegistrySource::digest_of(const registry::ModelVersion& version) const {
  if (!version.digest.empty()) return version.digest;
  const auto missing = [&](const std::string& why) {
    return failed_precondition(
        fmt::format("version {} of model '{}' cannot be served: {} (its source is '{}')",
                    version.number, version.model, why, version.source));
  };
  if (tracking_ == nullptr) return missing("it has no bundle in this store");
  const auto root = folder_of(*tracking_, version.download_uri());
  if (!root) return missing("its files are not in this server's artifacts");
  std::vector<tracking::Artifact> files;
  if (auto done = collect(*tracking_, *root, 0, files); !done) return missing(done.error().message);
  Json manifest = Json::array();
  bool described = false;
  for (tracking::Artifact& file : files) {
    file.path.erase(0, root->size() + 1);
    described |= file.path == "MLmodel";
    manifest.push_back({file.path, file.sha256});
  }
  if (!described) return missing("its folder of artifacts has no MLmodel");
  std::string digest = sha256_hex("mlflow files " + canonical(manifest));
  logged_.with([&](auto& all) { all.try_emplace(digest, std::move(files)); });
  return digest;
}

Result<VersionRef> RegistrySource::resolve(const std::string& model,
                                           const std::string& alias) const {
  auto version = registry_.find_by_alias(model, alias);
  if (!version) return version.error();
  auto digest = digest_of(*version);
  if (!digest) return digest.error();
  return VersionRef{.number = version->number, .digest = *std::move(digest)};
}

Result<std::filesystem::path> RegistrySource::unpack(const std::string& digest) const {
  std::filesystem::path folder = cache_ / digest;
  std::error_code error;
  if (std::filesystem::exists(folder, error)) {
    // Bundles check their own files.
    const bool good = logged_.with([&](const auto& all) {
      const auto found = all.find(digest);
      return found == all.end() || std::ranges::all_of(found->second, [&](const auto& file) {
               const auto is = sha256_file_hex(folder / file.path);
               return is && *is == file.sha256;
             });
    });
    if (good) return folder;
    std::filesystem::remove_all(folder, error);
  }
  if (auto made = make_dirs(cache_); !made) return made.error();
  const auto files = logged_.with([&](const auto& all) -> std::optional<Files> {
    const auto found = all.find(digest);
    return found == all.end() ? std::nullopt : std::optional(found->second);
  });
  if (!files) {
    if (auto unpacked = blobs_.get_tree(digest, folder); !unpacked) return unpacked.error();
    return folder;
  }
  const auto staging = TempDir::create(cache_, ".mlflow-");
  if (!staging) return staging.error();
  const auto inside = staging->path() / "model";
  for (const tracking::Artifact& file : *files) {
    if (auto safe = blob::check_relative_path(file.path); !safe) return safe.error();
    const auto bytes = blobs_.read(file.sha256);
    if (!bytes) return bytes.error();
    const auto path = inside / file.path;
    if (auto made = make_dirs(path.parent_path()); !made) return made.error();
    if (auto written = write_file_atomic(path, *bytes); !written) return written.error();
  }
  if (auto moved = rename_durable(inside, folder); !moved) return moved.error();
  return folder;
}

Result<std::unique_ptr<const Scorer>> RegistrySource::load(const std::string& digest) const {
  auto folder = unpack(digest);
  if (!folder) return folder.error();
  auto servable = models::load_servable(*folder, options_);
  if (!servable && servable.error().code == Code::data_loss) {
    // A copy that was damaged is no loss: it is unpacked again.
    std::error_code error;
    std::filesystem::remove_all(*folder, error);
    folder = unpack(digest);
    if (!folder) return folder.error();
    servable = models::load_servable(*folder, options_);
  }
  if (!servable) return servable.error();
  return std::make_unique<ServableScorer>(std::move(*servable));
}

}  // namespace slipway::serving
