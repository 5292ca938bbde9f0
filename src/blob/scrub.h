// Whether every blob of a store still is what its name says: reads them all.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/context.h"
#include "base/result.h"
#include "blob/store.h"

namespace slipway::blob {

struct Scrubbed {
  std::int64_t blobs = 0;  // that were looked at, or are to be
  std::int64_t bytes = 0;
  std::vector<std::string> damaged;  // digests, in order
};

// Called after each blob, and before the first, with what was looked at and all there is. A bucket
// says only when it is through.
using ScrubProgress = std::function<void(const Scrubbed& done, const Scrubbed& all)>;

// Safe beside anything: a blob that goes meanwhile is none that is damaged. Ends early with ctx.
Result<Scrubbed> scrub(const Context& ctx, const Store& store, const ScrubProgress& progress);

}  // namespace slipway::blob
