// Immutable dataset versions. A version is a manifest over Parquet files in the blob store; its
// name is the SHA-256 of the manifest's canonical JSON, so the same bytes made the same way are the
// same version, committed once.
//   auto ref = datasets.commit(ctx, "flights", {"clean.parquet"}, provenance, profile, validation);
//   auto same = datasets.resolve("flights@3fa9");        // or "flights": the newest
//   auto table = datasets.load(ctx, *same, {"carrier", "late"});
// The row in the database and the audit entry dataset.commit share a transaction; blobs are durable
// before it. Provenance must hold no clock values: they would make every run a new version.
// Thread-safe. Calls block on disk and database. Fault points:
// dataset.{before_commit,after_commit}.
#pragma once
#include <filesystem>
#include <memory>
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

}  // namespace slipway::data
