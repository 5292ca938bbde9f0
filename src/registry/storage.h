// Which registered models have a version whose files are in a folder of the artifact proxy: whoever
// may read such a model may read these files, though not the experiment they were made in.
//   auto models = storage.models_with("7/<run>/artifacts/model/MLmodel");
// Thread-safe. Calls block on the database.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::db {
class Database;
}

namespace slipway::registry {

class VersionStorage {
 public:
  explicit VersionStorage(const db::Database& db) : db_(db) {}  // outlives it
  // Versions stored at the path itself or at a folder above it; whole runs and experiments, the
  // first two folders, are not the files of one version.
  Result<std::vector<std::string>> models_with(std::string_view path) const;

 private:
  const db::Database& db_;
};

}  // namespace slipway::registry
