// Blobs piece by piece, for bytes that do not fit in memory. A Writer takes them as they come and
// ends in a Ref; dropped before that, it leaves nothing. A Reader gives them back and never gives
// the last piece of bytes that do not match their digest.
//   auto writer = blob::Writer::open(store);
//   auto put = (*writer)->append(piece);            // SHA-256 is computed on the way
//   auto ref = (*writer)->commit();                 // whole, durable, visible
//   auto reader = blob::Reader::open(store, ref->sha256);
//   auto got = (*reader)->read(buffer);             // 0 at the end
// One thread at a time, not always the same; calls block on the disk. The store outlives both.
// Fault points are those of the store.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "blob/store.h"

namespace slipway::blob {

class Writer {
 public:
  // unavailable when the store takes no writes since an fsync failed.
  static Result<std::unique_ptr<Writer>> open(Store& store);
  ~Writer();
  // After an error the writer is of no more use.
  Result<void> append(std::string_view bytes);
  std::int64_t size() const;
  // Once, as the last call. When `wanted` is not empty and the bytes have another digest:
  // invalid_argument, and nothing is stored.
  Result<Ref> commit(std::string_view wanted = {});

 private:
  struct Impl;
  explicit Writer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Reader {
 public:
  // The whole blob. not_found when it is not there.
  static Result<std::unique_ptr<Reader>> open(const Store& store, const std::string& sha256);
  // `length` bytes from `offset` on; invalid_argument when the blob has not that many. A part says
  // nothing about the digest, so the whole blob is checked first (see check_once).
  static Result<std::unique_ptr<Reader>> open(const Store& store, const std::string& sha256,
                                              std::int64_t offset, std::int64_t length);
  ~Reader();
  std::int64_t size() const;  // of what is read: the blob or the part
  // As many bytes as fit and are left. data_loss, instead of the last piece, when the bytes do not
  // match the digest, and when they end too early.
  Result<std::size_t> read(std::span<char> into);

 private:
  friend Result<Ref> check_once(const Store& store, const std::string& sha256);
  friend Result<Ref> keep(Store& store, const std::string& sha256);
  struct Impl;
  explicit Reader(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The blob's size, once its bytes were found to match its digest by this process, now or before
// while its file was the same (inode, size and times). not_found; data_loss when it is damaged.
Result<Ref> check_once(const Store& store, const std::string& sha256);
// The same for a caller who is about to refer to the blob: a sweep of what nothing refers to
// (blob/sweep.h) leaves it alone for long enough.
Result<Ref> keep(Store& store, const std::string& sha256);

}  // namespace slipway::blob
