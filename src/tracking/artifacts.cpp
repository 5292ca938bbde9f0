#include "blob/store.h"
#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

constexpr std::string_view kScheme = "mlflow-artifacts:";

// Paths below a folder lie between "folder/" and "folder0", for '0' is the character after '/'.
std::pair<std::string, std::string> bounds(const std::string& folder) {
  if (folder.empty()) return {"", "\xff"};
  return {folder + "/", folder + "0"};
}

Result<bool> is_folder(db::Connection& connection, const std::string& path) {
  const auto [from, to] = bounds(path);
  auto rows = connection.query(sql::any_artifact_below, from, to);
  if (!rows) return rows.error();
  const bool found = rows->next();
  if (auto status = rows->status(); !status) return status.error();
  return found;
}

Result<std::optional<Artifact>> find_file(db::Connection& connection, const std::string& path) {
  auto rows = connection.query(sql::find_artifact, path);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return std::optional<Artifact>();
  }
  return std::optional<Artifact>(
      {.path = path, .is_folder = false, .sha256 = rows->text(0), .size = rows->integer(1)});
}

// A name is a file or a folder, never both: clients could not download such a tree.
Result<void> write_file(db::Transaction& tx, const std::string& path, std::string_view sha256,
                        std::int64_t size, std::int64_t now) {
  const auto folder = is_folder(tx, path);
  if (!folder) return folder.error();
  if (*folder) return failed_precondition(fmt::format("'{}' is a folder of artifacts", path));
  for (std::size_t slash = path.find('/'); slash != std::string::npos;
       slash = path.find('/', slash + 1)) {
    const auto file = find_file(tx, path.substr(0, slash));
    if (!file) return file.error();
    if (*file) {
      return failed_precondition(
          fmt::format("'{}' is a file, so nothing can be stored below it", path.substr(0, slash)));
    }
  }
  return tx.run(sql::upsert_artifact, path, sha256, size, now);
}

Result<std::vector<Artifact>> list_children(db::Connection& connection, const std::string& folder) {
  const auto [from, to] = bounds(folder);
  auto rows = connection.query(sql::artifacts_below, from, to);
  if (!rows) return rows.error();
  std::vector<Artifact> children;
  std::string last_folder;
  while (rows->next()) {
    const std::string path = rows->text(0);
    const std::size_t slash = path.find('/', from.size());
    if (slash == std::string::npos) {
      children.push_back({.path = path, .sha256 = rows->text(1), .size = rows->integer(2)});
    } else if (path.compare(0, slash, last_folder) != 0) {
      last_folder = path.substr(0, slash);
      children.push_back({.path = last_folder, .is_folder = true});
    }
  }
  if (auto status = rows->status(); !status) return status.error();
  // "a-b/x" stands before "a/x" in the index, so a folder's rows are together but not in name
  // order.
  std::ranges::sort(children, {}, &Artifact::path);
  return children;
}

bool hides_a_separator(std::string_view path) {
  // What one more round of percent-decoding would turn into a dot, a slash, a backslash or NUL.
  for (std::size_t at = path.find('%'); at != std::string_view::npos; at = path.find('%', at + 1)) {
    std::string code(path.substr(at + 1, 2));
    std::ranges::transform(code, code.begin(), [](char c) {
      return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
    });
    for (const std::string_view bad : {"2e", "2f", "5c", "00", "25"}) {
      if (code == bad) return true;
    }
  }
  return false;
}

// The root of a run's files and the path below it, joined.
Result<std::string> whole_path(db::Connection& connection, const RunId& id, const std::string& path,
                               bool must_be_active) {
  const auto row = must_be_active ? find_active_run(connection, id) : find_run(connection, id);
  if (!row) return row.error();
  auto root = artifact_root(row->artifact_uri);
  if (!root || path.empty()) return root;
  auto checked = check_artifact_path(path);
  if (!checked) return checked;
  return *root + "/" + *checked;
}

}  // namespace

Result<std::string> check_artifact_path(std::string_view path) {
  if (auto checked = blob::check_relative_path(path); !checked) {
    return invalid_argument(fmt::format("Invalid path: {}", checked.error().message));
  }
  if (hides_a_separator(path)) {
    return invalid_argument(fmt::format("Invalid path: '{}' is percent-encoded twice", path));
  }
  return std::string(path);
}

Result<std::string> artifact_root(std::string_view uri) {
  if (!uri.starts_with(kScheme)) {
    return failed_precondition(fmt::format(
        "artifacts at '{}' are not held by this server: read them where they are", uri));
  }
  std::string_view path = uri.substr(kScheme.size());
  if (path.starts_with("//")) {  // mlflow-artifacts://host:port/path
    const std::size_t slash = path.find('/', 2);
    path = slash == std::string_view::npos ? std::string_view() : path.substr(slash);
  }
  while (path.starts_with('/')) path.remove_prefix(1);
  while (path.ends_with('/')) path.remove_suffix(1);
  return check_artifact_path(path);
}

Result<void> Tracking::log_artifact(const RunId& id, const std::string& path,
                                    const blob::Ref& blob) {
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto whole = whole_path(tx, id, path, true);
    if (!whole) return whole.error();
    if (path.empty()) return invalid_argument("the artifact's path is empty");
    return write_file(tx, *whole, blob.sha256, blob.size, now);
  });
}

Result<void> Tracking::log_artifact_tree(const RunId& id, const std::string& folder,
                                         const blob::Store& store, const std::string& tree_sha256) {
  const auto files = store.tree(tree_sha256);
  if (!files) return files.error();
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto whole = whole_path(tx, id, folder, true);
    if (!whole) return whole.error();
    for (const auto& file : *files) {
      if (auto checked = check_artifact_path(file.path); !checked) return checked.error();
      auto put = write_file(tx, *whole + "/" + file.path, file.sha256, file.size, now);
      if (!put) return put;
    }
    return {};
  });
}

Result<std::vector<Artifact>> Tracking::list_artifacts(const RunId& id,
                                                       const std::string& folder) const {
  return impl_->db.read([&](db::Connection& c) -> Result<std::vector<Artifact>> {
    const auto whole = whole_path(c, id, folder, false);
    if (!whole) return whole.error();
    auto children = list_children(c, *whole);
    if (!children) return children;
    const std::size_t root =
        folder.empty() ? whole->size() + 1 : whole->size() - folder.size();  // "…/artifacts/"
    for (auto& child : *children) child.path.erase(0, root);
    return children;
  });
}

Result<Artifact> Tracking::artifact(const RunId& id, const std::string& path) const {
  return impl_->db.read([&](db::Connection& c) -> Result<Artifact> {
    const auto whole = whole_path(c, id, path, false);
    if (!whole) return whole.error();
    auto file = find_file(c, *whole);
    if (!file) return file.error();
    if (!*file) return not_found(fmt::format("run {} has no artifact '{}'", id.value, path));
    (*file)->path = path;
    return **std::move(file);
  });
}

Result<void> Tracking::put_file(const std::string& path, const blob::Ref& blob) {
  const auto checked = check_artifact_path(path);
  if (!checked) return checked.error();
  const std::int64_t now = impl_->now_ms();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    return write_file(tx, *checked, blob.sha256, blob.size, now);
  });
}

Result<Artifact> Tracking::file(const std::string& path) const {
  const auto checked = check_artifact_path(path);
  if (!checked) return checked.error();
  return impl_->db.read([&](db::Connection& c) -> Result<Artifact> {
    auto found = find_file(c, *checked);
    if (!found) return found.error();
    if (!*found) return not_found(fmt::format("No such artifact: '{}'", path));
    return **std::move(found);
  });
}

Result<std::vector<Artifact>> Tracking::list_files(const std::string& folder) const {
  if (!folder.empty()) {
    if (auto checked = check_artifact_path(folder); !checked) return checked.error();
  }
  return impl_->db.read([&](db::Connection& c) { return list_children(c, folder); });
}

Result<void> Tracking::delete_files(const std::string& path) {
  if (auto checked = check_artifact_path(path); !checked) return checked.error();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    if (auto file = tx.run(sql::delete_artifact, path); !file) return file;
    const auto files = tx.changes();
    const auto [from, to] = bounds(path);
    if (auto below = tx.run(sql::delete_artifacts_below, from, to); !below) return below;
    if (files + tx.changes() > 0) return {};
    return not_found(fmt::format("No such artifact: '{}'", path));
  });
}

}  // namespace slipway::tracking
