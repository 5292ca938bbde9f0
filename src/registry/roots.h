// Where the tables of this folder name blobs: see blob/roots.h. A version keeps its bundle, and the
// evidence that its gates and its metadata name.
#pragma once
#include "blob/roots.h"

namespace slipway::registry {

inline constexpr blob::RootSource kBlobRoots[] = {
    {.kind = "model versions",
     .table = "model_versions",
     .sql = "SELECT digest FROM model_versions WHERE digest <> ''",
     .manifests = true},
    {.kind = "model versions",
     .table = "model_versions",
     .sql = "SELECT metadata FROM model_versions",
     .exact = false,
     .manifests = true},
    {.kind = "gate evidence",
     .table = "model_gates",
     .sql = "SELECT decision FROM model_gates",
     .exact = false,
     .manifests = true},
};

}  // namespace slipway::registry
