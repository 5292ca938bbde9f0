// What the files of the dataset store share. Private to this folder.
#pragma once
#include <set>

#include "data/datasets.h"

namespace slipway::data {

struct DatasetStore::Impl {
  db::Database& db;
  blob::Store& blobs;
  audit::Log& audit;
  const Clock& clock;

  // Puts the files into the blob store and describes them. `known` are digests that are probably
  // there already.
  Result<Manifest> store(const Context& ctx, const NewVersion& version,
                         const std::set<std::string>& known);
  Result<void> insert(db::Transaction& tx, const Context& ctx, const DatasetRef& ref,
                      const Manifest& manifest, const Json& details);
};

Result<void> check_name(std::string_view name);

// Each row group of a Parquet file as a blob of its own, in order, on all cores; the file itself
// when it has none. failed_precondition when the file is changed meanwhile.
Result<std::vector<ManifestFile>> store_parquet(const Context& ctx, blob::Store& blobs,
                                                const std::filesystem::path& file,
                                                std::int64_t rows,
                                                const std::set<std::string>& known);

}  // namespace slipway::data
