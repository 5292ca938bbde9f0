#include "registry/storage.h"

#include "base/json.h"
#include "db/database.h"
#include "registry/queries.h"

namespace slipway::registry {
namespace {

constexpr std::size_t kMostFolders = 64;

// "mlflow-artifacts:/7/<run>/artifacts/model" and so on, from the path up to its third folder.
std::vector<std::string> uris_above(std::string_view path) {
  std::vector<std::string> uris;
  while (path.ends_with('/')) path.remove_suffix(1);
  while (std::ranges::count(path, '/') >= 2 && uris.size() < kMostFolders) {
    uris.push_back(fmt::format("mlflow-artifacts:/{}", path));
    path = path.substr(0, path.rfind('/'));
  }
  return uris;
}

}  // namespace

Result<std::vector<std::string>> VersionStorage::models_with(std::string_view path) const {
  const auto uris = uris_above(path);
  if (uris.empty()) return std::vector<std::string>();
  return db_.read([&](db::Connection& c) -> Result<std::vector<std::string>> {
    auto rows = c.query(sql::models_stored_at, Json(uris).dump());
    if (!rows) return rows.error();
    std::vector<std::string> models;
    while (rows->next()) models.push_back(rows->text(0));
    if (auto status = rows->status(); !status) return status.error();
    return models;
  });
}

}  // namespace slipway::registry
