// Dataset versions outside their home: checked out into a folder, pushed to and pulled from a place
// that homes share, compared, removed.
#include <fcntl.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "blob/remote.h"
#include "data/datasets_internal.h"
#include "data/queries.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

// Blobs at a place: a blob store in a folder, or an object store.
class Place {
 public:
  static Result<Place> open(const std::string& where) {
    Place place;
    if (where.find("://") != std::string::npos) {
      auto remote = blob::open_remote(where);
      if (!remote) return remote.error();
      place.remote_ = std::move(*remote);
    } else {
      auto folder = blob::Store::open(where);
      if (!folder) return folder.error();
      place.folder_ = std::move(*folder);
    }
    return place;
  }

  Result<bool> has(const std::string& sha256) {
    if (folder_) return folder_->has(sha256);
    const auto found = remote_->find(sha256);
    if (found) return true;
    if (found.error().code == Code::not_found) return false;
    return found.error();
  }
  Result<void> put(const std::string& sha256, const fs::path& file) {
    if (remote_) return remote_->put(sha256, file);
    const auto ref = folder_->put_file(file);
    return ref ? Result<void>() : Result<void>(ref.error());
  }
  // Into the home's store, checked.
  Result<void> get(const std::string& sha256, blob::Store& into, const fs::path& temporary) {
    fs::path file = temporary;
    if (folder_) {
      auto path = folder_->path_of(sha256);
      if (!path) return path.error();
      file = *path;
    } else {
      const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
      if (fd < 0) return errno_error(errno, "write", file);
      auto got = remote_->get(sha256, fd);
      ::close(fd);
      if (!got) return got;
    }
    // Hashed first, so that bytes that are not the blob never enter the store.
    const auto digest = sha256_file_hex(file);
    if (!digest) return digest.error();
    if (*digest != sha256) {
      return data_loss(fmt::format("blob {} holds bytes with digest {} where it was pulled from",
                                   sha256, *digest));
    }
    const auto ref = into.put_file(file);
    return ref ? Result<void>() : Result<void>(ref.error());
  }

 private:
  std::unique_ptr<blob::Store> folder_;
  std::unique_ptr<blob::Remote> remote_;
};

void walk_differences(const Json& a, const Json& b, const std::string& pointer,
                      std::vector<std::string>& into) {
  if (a == b) return;
  if (!a.is_object() || !b.is_object()) {
    into.push_back(pointer);
    return;
  }
  std::set<std::string> keys;
  for (const auto& [key, value] : a.items()) keys.insert(key);
  for (const auto& [key, value] : b.items()) keys.insert(key);
  for (const auto& key : keys) {
    walk_differences(a.value(key, Json()), b.value(key, Json()), pointer + "/" + key, into);
  }
}

Result<void> copy_into(const fs::path& from, const fs::path& to) {
  std::error_code failed;
  fs::copy_file(from, to, failed);
  if (failed) return errno_error(failed.value(), "write", to);
  fs::permissions(to, fs::perms::owner_write, fs::perm_options::add, failed);
  return fsync_path(to);
}

}  // namespace

Json VersionDiff::to_json() const {
  Json json = {
      {"rows", {{"before", rows_before}, {"after", rows_after}}},
      {"files", {{"shared", shared_files}, {"removed", removed_files}, {"added", added_files}}},
      {"bytes", {{"shared", shared_bytes}, {"removed", removed_bytes}, {"added", added_bytes}}},
      {"columns", Json::array()},
      {"provenance", provenance}};
  for (const auto& column : columns) {
    Json one = {{"name", column.name}};
    if (column.before) one["before"] = to_string(*column.before);
    if (column.after) one["after"] = to_string(*column.after);
    json["columns"].push_back(one);
  }
  return json;
}

Result<VersionDiff> DatasetStore::diff(const DatasetRef& before, const DatasetRef& after) const {
  const auto old = manifest(before);
  if (!old) return old.error();
  const auto fresh = manifest(after);
  if (!fresh) return fresh.error();
  VersionDiff diff;
  diff.rows_before = old->rows;
  diff.rows_after = fresh->rows;
  const auto type_in = [](const Schema& schema, const std::string& name) -> std::optional<Type> {
    const auto index = schema.index(name);
    if (!index) return std::nullopt;
    return schema.fields[*index].type;
  };
  std::vector<std::string> names = old->schema.names();
  for (const auto& name : fresh->schema.names()) {
    if (!old->schema.index(name)) names.push_back(name);
  }
  for (const auto& name : names) {
    const auto was = type_in(old->schema, name);
    const auto is = type_in(fresh->schema, name);
    if (was != is) diff.columns.push_back({name, was, is});
  }
  std::map<std::string, int> held;
  for (const auto& file : old->files) ++held[file.sha256];
  for (const auto& file : fresh->files) {
    const bool shared = held[file.sha256]-- > 0;
    (shared ? diff.shared_files : diff.added_files) += 1;
    (shared ? diff.shared_bytes : diff.added_bytes) += file.size;
  }
  for (const auto& file : old->files) {
    if (held[file.sha256]-- <= 0) continue;
    ++diff.removed_files;
    diff.removed_bytes += file.size;
  }
  walk_differences(old->provenance, fresh->provenance, "", diff.provenance);
  return diff;
}

Result<void> DatasetStore::remove(const Context& ctx, const DatasetRef& ref) {
  if (const auto known = find(ref); !known) return known.error();
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    if (auto gone = tx.run(sql::delete_version, ref.name, ref.version); !gone) return gone;
    const auto entry =
        impl_->audit.append(tx, {.actor = ctx.principal.name,
                                 .action = "dataset.delete",
                                 .object = "datasets/" + ref.name + "/" + ref.version,
                                 .digest = ref.version,
                                 .details = Json::object()});
    return entry ? Result<void>() : Result<void>(entry.error());
  });
}

Result<void> DatasetStore::checkout(const Context& ctx, const DatasetRef& ref,
                                    const fs::path& folder) const {
  const auto described = manifest(ref);
  if (!described) return described.error();
  if (std::error_code ignored; fs::exists(folder, ignored))
    return already_exists("'" + folder.string() + "' is there already; name a new folder");
  const auto parent = fs::absolute(folder).parent_path();
  if (auto made = make_dirs(parent); !made) return made;
  auto beside = TempDir::create(parent, ".checkout");
  if (!beside) return beside.error();
  const auto fresh = beside->path() / "dataset";
  if (auto made = make_dirs(fresh); !made) return made;
  int number = 0;
  for (const auto& file : described->files) {
    if (auto wanted = ctx.check(); !wanted) return wanted;
    if (auto sound = impl_->blobs.verify(file.sha256); !sound) return sound.error().at(ref.text());
    const auto path = impl_->blobs.path_of(file.sha256);
    if (!path) return path.error();
    if (auto copied = copy_into(*path, fresh / fmt::format("part-{:05}.parquet", number++));
        !copied)
      return copied;
  }
  if (auto written =
          write_file_atomic(fresh / "manifest.json", described->to_json().dump(2) + "\n");
      !written)
    return written;
  return rename_durable(fresh, folder);
}

Result<Transferred> DatasetStore::push(const Context& ctx, const DatasetRef& ref,
                                       const std::string& place) {
  const auto described = manifest(ref);
  if (!described) return described.error();
  auto there = Place::open(place);
  if (!there) return there.error();
  Transferred moved{.ref = ref};
  std::vector<ManifestFile> files = described->files;
  files.push_back({ref.version, 0, 0});  // the manifest last: who finds it finds all
  for (const auto& file : files) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    ++moved.files;
    moved.bytes += file.size;
    const auto has = there->has(file.sha256);
    if (!has) return has.error();
    if (*has) continue;
    if (auto sound = impl_->blobs.verify(file.sha256); !sound) return sound.error().at(ref.text());
    const auto path = impl_->blobs.path_of(file.sha256);
    if (!path) return path.error();
    if (auto put = there->put(file.sha256, *path); !put) return put.error();
    ++moved.moved_files;
    moved.moved_bytes += file.size;
  }
  return moved;
}

Result<Transferred> DatasetStore::pull(const Context& ctx, const std::string& version,
                                       const std::string& place) {
  const auto at = version.find('@');
  const auto digest = at == std::string::npos ? version : version.substr(at + 1);
  if (!blob::is_digest(digest)) {
    return invalid_argument(
        "'" + version + "' is no whole version: give all 64 characters, as data push prints them");
  }
  auto there = Place::open(place);
  if (!there) return there.error();
  auto work = TempDir::create(fs::temp_directory_path(), "slipway-pull");
  if (!work) return work.error();
  const auto temporary = work->path() / "blob";
  if (auto got = there->get(digest, impl_->blobs, temporary); !got) return got.error().at(version);
  const auto bytes = impl_->blobs.read(digest);
  if (!bytes) return bytes.error();
  const auto json = parse_json(*bytes, "manifest " + digest);
  if (!json) return json.error();
  const auto described = Manifest::from_json(*json);
  if (!described) return described.error();
  if (auto good = check_name(described->name); !good) return good.error();
  if (at != std::string::npos && version.substr(0, at) != described->name) {
    return invalid_argument(fmt::format("version {} is of dataset '{}', not of '{}'", digest,
                                        described->name, version.substr(0, at)));
  }
  Transferred moved{.ref = {described->name, digest}, .files = 1, .moved_files = 1};
  for (const auto& file : described->files) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    ++moved.files;
    moved.bytes += file.size;
    if (impl_->blobs.has(file.sha256)) continue;
    if (auto got = there->get(file.sha256, impl_->blobs, temporary); !got) return got.error();
    ++moved.moved_files;
    moved.moved_bytes += file.size;
  }
  auto written = impl_->db.write([&](db::Transaction& tx) {
    return impl_->insert(tx, ctx, moved.ref, *described, {{"pulled", true}});
  });
  if (!written) return written.error();
  return moved;
}

}  // namespace slipway::data
