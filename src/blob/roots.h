// What keeps blobs alive: each module whose tables name blobs lists where, as SQL, in its own
// roots.h (`kBlobRoots`). Garbage collection (blob/sweep.h) keeps every blob that one of these
// statements finds, and every file of a manifest among them; all else is garbage. A test walks the
// schema: a new table has to be listed here or among those that hold no blobs, or it fails.
//   inline constexpr blob::RootSource kBlobRoots[] = {
//       {.kind = "artifacts", .table = "artifacts", .sql = "SELECT sha256, path FROM artifacts"}};
#pragma once
#include <string_view>

namespace slipway::blob {

struct RootSource {
  std::string_view kind;   // for people: "artifacts", "model versions"; sources may share one
  std::string_view table;  // which the statement reads
  // The first column holds a digest, or any text with digests in it (JSON). A second column is the
  // path of a file, by which callers may leave rows out.
  std::string_view sql;
  bool exact = true;  // the column is one digest (or empty); false: text to look for digests in
  bool manifests = false;  // a blob found here may be a manifest, whose files are kept, too
};

}  // namespace slipway::blob
