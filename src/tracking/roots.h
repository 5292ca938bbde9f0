// Where the tables of this folder name blobs: see blob/roots.h. Artifacts of deleted runs stay
// until the runs are purged (tracking/retention.h).
#pragma once
#include "blob/roots.h"

namespace slipway::tracking {

inline constexpr blob::RootSource kBlobRoots[] = {
    {.kind = "artifacts", .table = "artifacts", .sql = "SELECT sha256, path FROM artifacts"},
};

}  // namespace slipway::tracking
