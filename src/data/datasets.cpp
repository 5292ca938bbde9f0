#include "data/datasets.h"

#include "base/fault.h"
#include "base/spec.h"
#include "data/arrow_internal.h"
#include "data/datasets_internal.h"
#include "data/migrations.h"
#include "data/queries.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kShortestPrefix = 4;

}  // namespace

Result<void> check_name(std::string_view name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  if (!name.empty() && name.size() <= 100 && std::all_of(name.begin(), name.end(), good)) return {};
  return invalid_argument(
      fmt::format("a dataset's name is 1 to 100 letters, digits, '_', '-' or '.', got '{}'", name));
}

namespace {

DatasetVersion version_of(const db::Rows& row) {
  return {.ref = {row.text(0), row.text(1)},
          .rows = row.integer(2),
          .columns = row.integer(3),
          .bytes = row.integer(4),
          .created = from_micros(row.integer(5)),
          .created_by = row.text(6)};
}

template <class... Args>
Result<std::vector<DatasetVersion>> list_with(db::Connection& connection, std::string_view sql,
                                              const Args&... args) {
  auto rows = connection.query(sql, args...);
  if (!rows) return rows.error();
  std::vector<DatasetVersion> versions;
  while (rows->next()) versions.push_back(version_of(*rows));
  if (auto status = rows->status(); !status) return status.error();
  return versions;
}

}  // namespace

Json Manifest::to_json() const {
  Json list = Json::array();
  for (const auto& file : files) {
    list.push_back({{"sha256", file.sha256}, {"size", file.size}, {"rows", file.rows}});
  }
  return {{"format", "slipway dataset 1"},
          {"name", name},
          {"schema", schema.to_json()},
          {"rows", rows},
          {"files", list},
          {"provenance", provenance},
          {"profile", profile},
          {"validation", validation}};
}

Result<Manifest> Manifest::from_json(const Json& json) {
  try {
    if (json.at("format") != "slipway dataset 1") {
      return invalid_argument("a dataset manifest of format " + json.at("format").dump() +
                              " is not known");
    }
    Manifest manifest;
    manifest.name = json.at("name").get<std::string>();
    auto schema = Schema::from_json(json.at("schema"));
    if (!schema) return schema.error();
    manifest.schema = std::move(*schema);
    manifest.rows = json.at("rows").get<std::int64_t>();
    for (const auto& file : json.at("files")) {
      manifest.files.push_back({file.at("sha256").get<std::string>(),
                                file.at("size").get<std::int64_t>(),
                                file.at("rows").get<std::int64_t>()});
    }
    manifest.provenance = json.at("provenance");
    manifest.profile = json.at("profile");
    manifest.validation = json.at("validation");
    return manifest;
  } catch (const Json::exception& failure) {
    return invalid_argument(std::string("not a dataset manifest: ") + failure.what());
  }
}

Result<Manifest> DatasetStore::Impl::store(const Context& ctx, const NewVersion& version,
                                           const std::set<std::string>& known) {
  Manifest manifest;
  manifest.name = version.name;
  for (const auto& file : version.files) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    const auto facts = parquet_facts(file);
    if (!facts) return facts.error();
    if (manifest.files.empty()) {
      manifest.schema = facts->schema;
    } else if (facts->schema != manifest.schema) {
      return invalid_argument(fmt::format(
          "the schema of '{}' differs from that of '{}'; files of one dataset have the same",
          file.string(), version.files.front().string()));
    }
    auto stored = store_parquet(ctx, blobs, file, facts->rows, known);
    if (!stored) return stored.error();
    for (auto& each : *stored) {
      manifest.rows += each.rows;
      manifest.files.push_back(std::move(each));
    }
  }
  return manifest;
}

Result<void> DatasetStore::Impl::insert(db::Transaction& tx, const Context& ctx,
                                        const DatasetRef& ref, const Manifest& manifest,
                                        const Json& details) {
  auto there = tx.query(sql::version_exists, ref.name, ref.version);
  if (!there) return there.error();
  if (there->next()) return {};
  if (auto status = there->status(); !status) return status;
  std::int64_t bytes = 0;
  for (const auto& file : manifest.files) bytes += file.size;
  auto inserted =
      tx.run(sql::insert_version, ref.name, ref.version, manifest.rows,
             manifest.schema.fields.size(), bytes, to_micros(clock.now()), ctx.principal.name);
  if (!inserted) return inserted;
  Json told = {{"rows", manifest.rows}, {"files", manifest.files.size()}};
  told.update(details);
  const auto entry = audit.append(tx, {.actor = ctx.principal.name,
                                       .action = "dataset.commit",
                                       .object = "datasets/" + ref.name + "/" + ref.version,
                                       .digest = ref.version,
                                       .details = told});
  if (!entry) return entry.error();
  return {};
}

DatasetStore::DatasetStore(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DatasetStore::~DatasetStore() = default;

Result<std::unique_ptr<DatasetStore>> DatasetStore::open(db::Database& db, blob::Store& blobs,
                                                         audit::Log& audit, const Clock& clock) {
  if (auto migrated = db.migrate("data", kMigrations); !migrated) return migrated.error();
  return std::unique_ptr<DatasetStore>(
      new DatasetStore(std::unique_ptr<Impl>(new Impl{db, blobs, audit, clock})));
}

Result<DatasetRef> DatasetStore::commit(const Context& ctx, const std::string& name,
                                        const std::vector<fs::path>& parquet_files,
                                        const Json& provenance, const Json& profile,
                                        const Json& validation) {
  return commit(ctx, {.name = name,
                      .files = parquet_files,
                      .base = std::nullopt,
                      .provenance = provenance,
                      .profile = profile,
                      .validation = validation});
}

Result<DatasetRef> DatasetStore::commit(const Context& ctx, const NewVersion& version) {
  if (auto good = check_name(version.name); !good) return good.error();
  if (version.files.empty())
    return invalid_argument("dataset '" + version.name + "' needs at least one Parquet file");
  std::optional<Manifest> base;
  if (version.base) {
    auto found = this->manifest(*version.base);
    if (!found) return found.error();
    base = std::move(*found);
  }
  // What the newest version holds is probably here again: worth looking before writing.
  std::set<std::string> known;
  if (const auto newest = resolve(version.name)) {
    if (const auto last = this->manifest(*newest)) {
      for (const auto& file : last->files) known.insert(file.sha256);
    }
  }
  auto manifest = impl_->store(ctx, version, known);
  if (!manifest) return manifest.error();
  if (base) {
    if (base->schema != manifest->schema) {
      return invalid_argument(fmt::format(
          "the rows to append to {} have another schema than it has; bring them to its columns and "
          "types, or make a new dataset",
          version.base->text()));
    }
    manifest->files.insert(manifest->files.begin(), base->files.begin(), base->files.end());
    manifest->rows += base->rows;
  }
  manifest->provenance = version.provenance;
  manifest->profile = version.profile;
  manifest->validation = version.validation;
  const auto stored = impl_->blobs.put_bytes(canonical(manifest->to_json()));
  if (!stored) return stored.error();
  const DatasetRef ref{version.name, stored->sha256};
  if (auto crash = fault::point("dataset.before_commit"); !crash) return crash.error();
  auto written = impl_->db.write(
      [&](db::Transaction& tx) { return impl_->insert(tx, ctx, ref, *manifest, Json::object()); });
  if (!written) return written.error();
  if (auto crash = fault::point("dataset.after_commit"); !crash) return crash.error();
  return ref;
}

Result<Manifest> DatasetStore::manifest(const DatasetRef& ref) const {
  if (const auto known = find(ref); !known) return known.error();
  const auto bytes = impl_->blobs.read(ref.version);
  if (!bytes) return bytes.error().at("manifest of " + ref.text());
  const auto json = parse_json(*bytes, "manifest of " + ref.text());
  if (!json) return json.error();
  return Manifest::from_json(*json);
}

Result<DatasetRef> DatasetStore::resolve(std::string_view name_at_version) const {
  const auto at = name_at_version.find('@');
  const std::string name(name_at_version.substr(0, at));
  const std::string prefix(at == std::string_view::npos ? "" : name_at_version.substr(at + 1));
  if (at != std::string_view::npos && prefix.size() < kShortestPrefix) {
    return invalid_argument(fmt::format("'{}': give at least {} characters of the version",
                                        name_at_version, kShortestPrefix));
  }
  return impl_->db.read([&](db::Connection& connection) -> Result<DatasetRef> {
    auto rows = prefix.empty() ? connection.query(sql::newest_version, name)
                               : connection.query(sql::versions_by_prefix, name, prefix, prefix);
    if (!rows) return rows.error();
    if (rows->next()) {
      DatasetRef ref{name, rows->text(0)};
      if (rows->next())
        return invalid_argument(
            fmt::format("'{}' fits several versions; give more characters", name_at_version));
      return ref;
    }
    if (auto status = rows->status(); !status) return status.error();
    auto names = connection.query(sql::list_names);
    if (!names) return names.error();
    std::vector<std::string> known;
    while (names->next()) known.push_back(names->text(0));
    if (auto status = names->status(); !status) return status.error();
    if (std::find(known.begin(), known.end(), name) != known.end()) {
      return not_found(fmt::format("dataset '{}' has no version {}", name, prefix));
    }
    const auto near = nearest(name, known);
    return not_found(fmt::format("dataset '{}' does not exist{}", name,
                                 near ? "; did you mean '" + *near + "'?" : ""));
  });
}

Result<std::vector<fs::path>> DatasetStore::files(const DatasetRef& ref) const {
  const auto described = manifest(ref);
  if (!described) return described.error();
  std::vector<fs::path> paths;
  for (const auto& file : described->files) {
    auto path = impl_->blobs.path_of(file.sha256);
    if (!path) return path.error().at(ref.text());
    paths.push_back(std::move(*path));
  }
  return paths;
}

Result<TablePtr> DatasetStore::load(const Context& ctx, const DatasetRef& ref,
                                    const std::vector<std::string>& columns) const {
  const auto described = manifest(ref);
  if (!described) return described.error();
  std::vector<fs::path> paths;
  for (const auto& file : described->files) {
    if (auto sound = impl_->blobs.verify(file.sha256); !sound) return sound.error().at(ref.text());
    auto path = impl_->blobs.path_of(file.sha256);
    if (!path) return path.error().at(ref.text());
    paths.push_back(std::move(*path));
  }
  for (const auto& column : columns) {
    if (const auto found = described->schema.find(column); !found)
      return found.error().at("dataset '" + ref.name + "'");
  }
  return read_parquet(ctx, paths, columns);
}

Result<std::vector<DatasetVersion>> DatasetStore::list() const {
  return impl_->db.read(
      [](db::Connection& connection) { return list_with(connection, sql::list_newest); });
}

Result<std::vector<DatasetVersion>> DatasetStore::versions(const std::string& name) const {
  return impl_->db.read(
      [&](db::Connection& connection) { return list_with(connection, sql::list_versions, name); });
}

Result<DatasetVersion> DatasetStore::find(const DatasetRef& ref) const {
  auto found = impl_->db.read([&](db::Connection& connection) {
    return list_with(connection, sql::find_version, ref.name, ref.version);
  });
  if (!found) return found.error();
  if (found->empty()) return not_found("dataset version " + ref.text() + " does not exist");
  return found->front();
}

}  // namespace slipway::data
