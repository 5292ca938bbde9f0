#include "cli/memory.h"

#include <malloc.h>

#include <cstdlib>

namespace slipway::cli {

void keep_memory_small() {
  // Two more than the processors of a small machine: io threads rarely meet in one.
  constexpr int kArenas = 4;
  // Larger blocks (tables, row groups) are mapped by themselves and go back when they are freed.
  constexpr int kMapFrom = 256 * 1024;
  // NOLINTBEGIN(concurrency-mt-unsafe): before any thread
  if (std::getenv("MALLOC_ARENA_MAX") == nullptr) ::mallopt(M_ARENA_MAX, kArenas);
  ::mallopt(M_MMAP_THRESHOLD, kMapFrom);
  ::mallopt(M_TRIM_THRESHOLD, kMapFrom);
  ::setenv("ARROW_DEFAULT_MEMORY_POOL", "system", 0);
  // NOLINTEND(concurrency-mt-unsafe)
}

void release_memory() { ::malloc_trim(0); }

}  // namespace slipway::cli
