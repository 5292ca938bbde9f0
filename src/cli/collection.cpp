#include "cli/collection_internal.h"

#include "data/roots.h"
#include "features/roots.h"
#include "pipeline/roots.h"
#include "registry/roots.h"
#include "tracking/roots.h"

namespace slipway::cli {

std::vector<blob::RootSource> blob_roots() {
  std::vector<blob::RootSource> all;
  const auto add = [&](std::span<const blob::RootSource> roots) {
    all.insert(all.end(), roots.begin(), roots.end());
  };
  add(tracking::kBlobRoots);
  add(registry::kBlobRoots);
  add(data::kBlobRoots);
  add(features::kBlobRoots);
  add(pipeline::kBlobRoots);
  return all;
}

governance::Collector collector_of(Home& home) {
  return {{home.db(), home.blobs(), home.audit(), home.clock()}, blob_roots()};
}

}  // namespace slipway::cli
