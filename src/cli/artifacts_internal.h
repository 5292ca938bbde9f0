// Where a home keeps its artifacts: in <home>/blobs, or in the bucket that <home>/artifacts.json
// names since it was first used with one; then <home>/blobs is the cache in front of it.
#pragma once
#include <filesystem>
#include <memory>
#include <string>

#include "base/result.h"
#include "blob/store.h"

namespace CLI {
class App;
}

namespace slipway::cli {

struct Globals;
void add_artifacts(CLI::App& app, Globals& globals);  // `slipway artifacts …`

// `wanted` is --artifacts or SLIPWAY_ARTIFACTS, or empty. failed_precondition when the home keeps
// its artifacts elsewhere.
Result<std::unique_ptr<blob::Store>> open_artifacts(const std::filesystem::path& home,
                                                    const std::string& wanted);

}  // namespace slipway::cli
