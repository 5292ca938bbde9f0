// Where the tables of this folder name blobs: see blob/roots.h. A result that is kept for the next
// run and the blobs it consists of share one life.
#pragma once
#include "blob/roots.h"

namespace slipway::pipeline {

inline constexpr blob::RootSource kBlobRoots[] = {
    {.kind = "step results",
     .table = "step_cache",
     .sql = "SELECT outputs FROM step_cache",
     .exact = false,
     .manifests = true},
    {.kind = "step results",
     .table = "step_cache",
     .sql = "SELECT artifacts FROM step_cache",
     .exact = false,
     .manifests = true},
    {.kind = "pipeline runs",
     .table = "step_runs",
     .sql = "SELECT outputs FROM step_runs",
     .exact = false,
     .manifests = true},
    {.kind = "pipeline runs",
     .table = "step_runs",
     .sql = "SELECT artifacts FROM step_runs",
     .exact = false,
     .manifests = true},
};

}  // namespace slipway::pipeline
