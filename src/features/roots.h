// Where the tables of this folder name blobs: see blob/roots.h. A view keeps the dataset version
// that it is looked up in ("name@" and the 64 digits of the manifest).
#pragma once
#include "blob/roots.h"

namespace slipway::features {

inline constexpr blob::RootSource kBlobRoots[] = {
    {.kind = "feature views",
     .table = "feature_views",
     .sql = "SELECT substr(version, length(version) - 63) FROM feature_views",
     .manifests = true},
};

}  // namespace slipway::features
