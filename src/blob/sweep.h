// Garbage collection of the blob store: mark what the roots reach, then remove what nobody does.
//   auto live = mark(ctx, db, store, roots, {});
//   auto swept = sweep(ctx, store, *live, {.put_before = clock.now() - 24h});
// Safe beside running servers and uploads: a blob is removed only when it was last put before
// `put_before`, and putting bytes that are there already makes the blob young again. So that time
// has to lie further back than the longest way from putting bytes to naming them in the database.
// A blob is first renamed aside and looked at once more, then removed: whoever puts it meanwhile
// keeps it. After a crash at any point the next sweep puts back what was aside. A missing or
// damaged blob never stops it. Fault points: blob.{sweep_aside,sweep_removed}.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/hash.h"
#include "base/result.h"
#include "blob/roots.h"
#include "blob/store.h"

namespace slipway::db {
class Database;
}

namespace slipway::blob {

// Digests and why they are kept; sorted, each once. A value: any thread may read it.
class LiveSet {
 public:
  struct Entry {
    Digest digest{};
    std::uint8_t kind = 0;  // index into kinds()
    bool certain = false;   // named as a blob, so it should be there
  };
  void add(std::string_view hex, std::uint8_t kind, bool certain);  // no digest: ignored
  void finish();                                                    // before anything is asked
  std::uint8_t kind_index(std::string_view name);
  const std::vector<std::string>& kinds() const { return kinds_; }
  const std::vector<Entry>& entries() const { return entries_; }
  const Entry* find(const Digest& digest) const;  // null when nothing keeps it
  // Manifests that are there but cannot be read: what they name is not known.
  std::vector<std::string> damaged_manifests;

 private:
  std::vector<std::string> kinds_;
  std::vector<Entry> entries_;
};

// True for rows to leave out, by their path: what a dry run would have removed before.
using LeaveOut = std::function<bool(std::string_view path)>;

// Reads all sources on one snapshot of the database.
Result<LiveSet> mark(const Context& ctx, const db::Database& db, const Store& store,
                     std::span<const RootSource> sources, const LeaveOut& leave_out);

struct SweepOptions {
  Time put_before;  // younger blobs stay
  bool dry_run = false;
};

struct Amount {
  std::int64_t count = 0;
  std::int64_t bytes = 0;
  void add(std::int64_t size) {
    ++count;
    bytes += size;
  }
};

struct Swept {
  std::vector<Amount> kept;                  // by kind, in the order of LiveSet::kinds()
  Amount garbage;                            // removed, or what would be
  Amount young;                              // nobody names them yet
  Amount failed;                             // could not be removed: see `problems`
  std::int64_t missing = 0;                  // named but not there
  std::vector<std::string> garbage_digests;  // the first of them
  std::vector<std::string> missing_digests;  // the first of them
  std::vector<std::string> problems;         // the first of them
};
inline constexpr std::size_t kSweepExamples = 1000;

Result<Swept> sweep(const Context& ctx, Store& store, const LiveSet& live,
                    const SweepOptions& options);

}  // namespace slipway::blob
