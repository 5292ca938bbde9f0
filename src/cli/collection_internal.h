// Everything in a home that names blobs, in one list, for garbage collection.
#pragma once
#include <vector>

#include "blob/roots.h"
#include "cli/home.h"
#include "governance/collector.h"

namespace slipway::cli {

std::vector<blob::RootSource> blob_roots();
governance::Collector collector_of(Home& home);

}  // namespace slipway::cli
