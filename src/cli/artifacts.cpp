#include "base/file.h"
#include "base/json.h"
#include "blob/remote.h"
#include "cli/artifacts_internal.h"

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kArtifactsFile = "artifacts.json";

struct Settings {
  std::string url;
  blob::RemoteOptions options;
};

Result<Settings> read_settings(const fs::path& file) {
  const auto text = read_file(file);
  if (!text) return text.error();
  const auto json = parse_json(*text, file.string());
  if (!json) return json.error();
  Settings settings;
  if (!json->is_object() || !json->contains("url") || !(*json)["url"].is_string()) {
    return invalid_argument("'" + file.string() +
                            R"(' names no bucket: write {"url": "s3://BUCKET/PREFIX"})");
  }
  settings.url = (*json)["url"].get<std::string>();
  if (const auto cache = json->find("cache_bytes"); cache != json->end()) {
    if (!cache->is_number_integer() || cache->get<std::int64_t>() < 1'000'000)
      return invalid_argument("'" + file.string() +
                              "': cache_bytes has to be a whole number, at least 1000000");
    settings.options.cache_bytes = cache->get<std::int64_t>();
  }
  return settings;
}

// Bucket and prefix: options, such as another endpoint for the same bucket, may change.
std::string place_of(const std::string& url) {
  std::string place = url.substr(0, url.find('?'));
  while (place.ends_with('/')) place.pop_back();
  return place;
}

// Whether blobs were put into the folder itself.
bool holds_blobs(const fs::path& folder) {
  std::error_code problem;
  for (fs::directory_iterator it(folder, problem), end; !problem && it != end;
       it.increment(problem)) {
    if (it->path().filename().string().size() == 2) return true;
  }
  return false;
}

}  // namespace

Result<std::unique_ptr<blob::Store>> open_artifacts(const fs::path& home,
                                                    const std::string& wanted) {
  const fs::path folder = home / "blobs";
  const fs::path file = home / kArtifactsFile;
  std::error_code problem;
  const bool known = fs::exists(file, problem);
  if (!known && wanted.empty()) return blob::Store::open(folder);
  Settings settings{.url = wanted};
  if (known) {
    auto kept = read_settings(file);
    if (!kept) return kept.error();
    if (!wanted.empty() && place_of(wanted) != place_of(kept->url)) {
      return failed_precondition("the home '" + home.string() + "' keeps its artifacts in '" +
                                 place_of(kept->url) + "', not in '" + place_of(wanted) +
                                 "': copy them there, then change " + kArtifactsFile);
    }
    settings.options = kept->options;
    if (wanted.empty()) settings.url = kept->url;
  } else if (holds_blobs(folder)) {
    return failed_precondition(
        "the home '" + home.string() +
        "' keeps its artifacts in its own folder blobs/: copy that folder into the bucket (the "
        "layout is the same), write artifacts.json, or begin with another home");
  }
  auto remote = blob::open_remote(settings.url);
  if (!remote) return remote.error();
  if (!known) {
    auto noted = write_file_atomic(file, Json{{"url", settings.url}}.dump(2) + "\n");
    if (!noted) return noted.error();
  }
  return blob::Store::open(folder, std::move(*remote), settings.options);
}

}  // namespace slipway::cli
