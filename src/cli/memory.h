// How the program's allocators are set up, so that what it takes is what it uses. Each of the
// server's threads would otherwise get an arena of its own, that keeps what it once took, and
// Arrow's own allocator keeps another share.
#pragma once

namespace slipway::cli {

// For the server, at the start of main: few arenas, and Arrow's memory from the same allocator as
// all else's. What the environment says already (MALLOC_ARENA_MAX, ARROW_DEFAULT_MEMORY_POOL) is
// not changed.
void keep_memory_small();
// Gives free pages of all arenas back to the machine. Takes milliseconds.
void release_memory();

}  // namespace slipway::cli
