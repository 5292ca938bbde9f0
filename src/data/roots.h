// Where the tables of this folder name blobs: see blob/roots.h.
#pragma once
#include "blob/roots.h"

namespace slipway::data {

inline constexpr blob::RootSource kBlobRoots[] = {
    {.kind = "datasets",
     .table = "dataset_versions",
     .sql = "SELECT version FROM dataset_versions",
     .manifests = true},
};

}  // namespace slipway::data
