// Immutable dataset versions. A version is a manifest over Parquet files in the blob store, one a
// row group of what was committed; its name is the SHA-256 of the manifest's canonical JSON, so the
// same bytes made the same way are the same version, committed once, and versions that share row
// groups share their files: appending stores what is new and the last row group (docs/adr/0017).
//   auto ref = datasets.commit(ctx, "flights", {"clean.parquet"}, provenance, profile, validation);
//   auto same = datasets.resolve("flights@3fa9");        // or "flights": the newest
//   auto table = datasets.load(ctx, *same, {"carrier", "late"});
// The row in the database and the audit entry dataset.commit share a transaction; blobs are durable
// before it. Provenance must hold no clock values: they would make every run a new version.
// Thread-safe. Calls block on disk and database. Fault points:
// dataset.{before_commit,after_commit}.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "blob/store.h"
#include "data/table.h"
#include "db/database.h"

namespace slipway::data {

struct DatasetRef {
  std::string name;
  std::string version;  // sha256 of the manifest
  std::string text() const { return name + "@" + version; }
  bool operator==(const DatasetRef&) const = default;
};

struct ManifestFile {
  std::string sha256;
  std::int64_t size = 0;
  std::int64_t rows = 0;
  bool operator==(const ManifestFile&) const = default;
};

struct Manifest {
  std::string name;
  Schema schema;
  std::int64_t rows = 0;
  std::vector<ManifestFile> files;
  Json provenance;
  Json profile;
  Json validation;
  Json to_json() const;
  static Result<Manifest> from_json(const Json& json);
};

struct DatasetVersion {
  DatasetRef ref;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::int64_t bytes = 0;
  Time created;
  std::string created_by;
};

// What changed between two versions.
struct VersionDiff {
  struct Column {
    std::string name;
    std::optional<Type> before, after;  // nothing: the column is not there
  };
  std::vector<Column> columns;  // only those that differ
  std::int64_t rows_before = 0, rows_after = 0;
  std::int64_t shared_files = 0, shared_bytes = 0;  // in both
  std::int64_t removed_files = 0, removed_bytes = 0;
  std::int64_t added_files = 0, added_bytes = 0;
  std::vector<std::string> provenance;  // pointers of provenance values that differ: "/sql_sha256"
  Json to_json() const;
};

// What a push or pull moved.
struct Transferred {
  DatasetRef ref;
  std::int64_t files = 0, moved_files = 0;  // of all, those that were not there yet
  std::int64_t bytes = 0, moved_bytes = 0;
};

// What commit() makes a version of.
struct NewVersion {
  std::string name;
  std::vector<std::filesystem::path> files;  // Parquet, all of one schema
  std::optional<DatasetRef> base;            // its rows come first; the files hold what is new
  Json provenance;
  Json profile;
  Json validation;
};

class DatasetStore {
 public:
  // All four outlive the store.
  static Result<std::unique_ptr<DatasetStore>> open(db::Database& db, blob::Store& blobs,
                                                    audit::Log& audit, const Clock& clock);
  ~DatasetStore();

  // All files have one schema. Committing what is there already returns it, without a new audit
  // entry.
  Result<DatasetRef> commit(const Context& ctx, const std::string& name,
                            const std::vector<std::filesystem::path>& parquet_files,
                            const Json& provenance, const Json& profile, const Json& validation);
  Result<DatasetRef> commit(const Context& ctx, const NewVersion& version);
  // The version is gone from all lists; its bytes go with the next collection of garbage, unless
  // another version shares them. Audited as dataset.delete.
  Result<void> remove(const Context& ctx, const DatasetRef& ref);
  // Its files as <folder>/part-00000.parquet, ... and manifest.json: all of them, or no folder.
  // already_exists when the folder is there.
  Result<void> checkout(const Context& ctx, const DatasetRef& ref,
                        const std::filesystem::path& folder) const;
  Result<VersionDiff> diff(const DatasetRef& before, const DatasetRef& after) const;
  // To and from a place that homes share: a folder, or s3://bucket/prefix (blob/remote.h). Only
  // what is not there is moved; what arrives is checked against its digest. A version is pulled by
  // its whole digest, which push returns: it is small enough to stand in a repository.
  Result<Transferred> push(const Context& ctx, const DatasetRef& ref, const std::string& place);
  Result<Transferred> pull(const Context& ctx, const std::string& version,
                           const std::string& place);
  Result<Manifest> manifest(const DatasetRef& ref) const;
  // "flights" (the newest), "flights@<at least 4 characters of a version>". not_found names the
  // nearest dataset.
  Result<DatasetRef> resolve(std::string_view name_at_version) const;
  Result<std::vector<std::filesystem::path>> files(const DatasetRef& ref) const;
  // In the order of the files; all columns when none are named. Damaged bytes are data_loss.
  Result<TablePtr> load(const Context& ctx, const DatasetRef& ref,
                        const std::vector<std::string>& columns = {}) const;
  Result<std::vector<DatasetVersion>> list() const;  // the newest version of each name
  Result<std::vector<DatasetVersion>> versions(const std::string& name) const;  // newest first
  Result<DatasetVersion> find(const DatasetRef& ref) const;

 private:
  struct Impl;
  explicit DatasetStore(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Whole Parquet files as one table of the five types; all must have the same schema.
Result<TablePtr> read_parquet(const Context& ctx, const std::vector<std::filesystem::path>& files,
                              const std::vector<std::string>& columns = {});
// The same piece by piece, a row group each, in order; at least one piece, which may have no rows.
Result<void> walk_parquet(const Context& ctx, const std::vector<std::filesystem::path>& files,
                          const std::function<Result<void>(const TablePtr&)>& take);
// How many rows the files say they have.
Result<std::int64_t> parquet_rows(const std::vector<std::filesystem::path>& files);

}  // namespace slipway::data
