// Content-addressed storage: bytes go in, their SHA-256 comes out, and the same digest gives the
// same bytes back for ever. Layout: <root>/<first two characters>/<sha256>, read-only files;
// <root>/tmp/ holds what is being written. A blob is visible only whole and durable (temporary
// file, fsync, rename, fsync of the folder). Bytes that no longer match their digest are never
// returned: the call fails with data_loss and names the blob.
//   auto store = Store::open(home / "blobs");
//   auto ref = (*store)->put_file("flights.parquet");        // {sha256, size}
//   auto bytes = (*store)->read(ref->sha256);
//   auto bundle = (*store)->put_tree("model/");              // a folder: one blob a file, and a
//   manifest over them auto done = (*store)->get_tree(bundle->sha256, "copy/");
// Thread-safe, and several processes may use one root at once. Calls block on the disk. After a
// failed fsync the store takes no more writes until the process restarts, since the kernel may have
// dropped the pages; reads go on. Fault points:
// blob.{tmp_partial,tmp_full,fsync,after_fsync,after_rename}.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/context.h"
#include "base/result.h"

namespace slipway::blob {

class Multipart;
class Reader;
class Remote;
class Writer;
struct RemoteOptions;

struct Ref {
  std::string sha256;  // 64 lower-case hexadecimal characters
  std::int64_t size = 0;
  bool operator==(const Ref&) const = default;
};

class Store {
 public:
  // Makes the folder when it is missing, and removes what dead processes left in tmp/.
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& root);
  // The folder is a cache in front of an object store (blob/remote.h).
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& root,
                                             std::unique_ptr<Remote> remote,
                                             const RemoteOptions& options);
  ~Store();

  // Putting bytes that are already there writes nothing, unless the stored copy is damaged: then it
  // is replaced.
  Result<Ref> put_bytes(std::string_view bytes);
  // Regular files only: a symbolic link, folder or device is invalid_argument.
  Result<Ref> put_file(const std::filesystem::path& file);
  // Consumes the file: renamed into the store where the file system allows, else copied and
  // removed. The caller must not write to it any more. When it fails, the file is still there.
  Result<Ref> put_file_moving(const std::filesystem::path& file);

  Result<std::string> read(const std::string& sha256) const;
  // For readers that take a path. The file exists, its bytes were not checked. Never write to it.
  Result<std::filesystem::path> path_of(const std::string& sha256) const;
  bool has(const std::string& sha256) const;

  // Stores every file under the folder and a manifest, canonical JSON
  //   {"files":[{"path":"a/b.json","sha256":"…","size":12}, …],"version":1}
  // with the paths in byte order, and returns the manifest's Ref: the identity of the folder's
  // content. Names, modes and times beside the relative paths do not count; empty folders are
  // dropped; symbolic links are refused.
  Result<Ref> put_tree(const std::filesystem::path& folder);
  struct TreeFile {
    std::string path;
    std::string sha256;
    std::int64_t size = 0;
    bool operator==(const TreeFile&) const = default;
  };
  Result<std::vector<TreeFile>> tree(const std::string& sha256) const;
  // All files or none: written beside `folder`, each digest checked, then renamed. already_exists
  // when `folder` is there.
  Result<void> get_tree(const std::string& sha256, const std::filesystem::path& folder) const;

  // Reads the blob and compares its digest. Of a tree's manifest this checks the manifest only: see
  // verify_tree.
  Result<void> verify(const std::string& sha256) const;
  Result<void> verify_tree(const std::string& sha256) const;
  // Every blob in the store is read; the digests of those that are damaged, in order.
  Result<std::vector<std::string>> scrub(const Context& ctx) const;

  const std::filesystem::path& root() const;
  Remote* remote() const;  // null when the folder is all there is

 private:
  friend class Multipart;
  friend class Reader;
  friend class Writer;
  friend Result<Ref> keep(Store& store, const std::string& sha256);
  struct Impl;
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The rule for every relative path that comes from outside (tree manifests, artifact names): parts
// joined by single
// '/', none of them empty, "." or ".."; UTF-8 without control characters or backslashes; at most
// 255 bytes a part and 1,024 in all. What passes stays below any folder it is appended to.
Result<void> check_relative_path(std::string_view path);

// Whether the text is a digest as this store writes it: 64 lower-case hexadecimal characters.
bool is_digest(std::string_view text);

}  // namespace slipway::blob
