// Files that come in numbered parts, in any order and several at once, joined into one blob. Bytes
// are joined while further parts still come, so that completing a large upload takes no second
// pass; memory stays flat.
//   auto id = multipart.create("7/run/artifacts/model.bin", 12);
//   auto part = multipart.part(*id, 3);             // append()s, then
//   auto etag = (*part)->finish();                  // SHA-256 of the part
//   auto ref = multipart.complete(*id, "7/run/artifacts/model.bin", {{1, etag}, {2, …} …});
// An upload lives in this process: after a restart, when it was aborted, and when nothing has come
// for `Limits::idle`, its id is unknown (not_found) and its bytes are gone (at the next call for
// any upload). The id is a secret of 128 bits that whoever knows it may add parts with.
// Thread-safe; calls block on the disk.
#pragma once
#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "blob/stream.h"

namespace slipway::blob {

class Multipart {
 public:
  struct Limits {
    std::size_t uploads = 256;  // at once; more are unavailable
    int parts = 10'000;         // S3's figure
    std::chrono::seconds idle = std::chrono::hours(24);
  };
  struct PartRef {
    int number = 0;    // from 1
    std::string etag;  // as finish() gave it, with or without quotation marks; empty: any
  };

  // Takes one part. Dropped before finish(), it leaves nothing.
  class Part {
   public:
    ~Part();
    Result<void> append(std::string_view bytes);
    // The same part again with the same bytes is no harm; with others, once joined,
    // failed_precondition.
    Result<std::string> finish();

   private:
    friend class Multipart;
    struct Impl;
    explicit Part(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
  };

  Multipart(Store& store, const Clock& clock, IdSource& ids);  // all three outlive this
  Multipart(Store& store, const Clock& clock, IdSource& ids, Limits limits);
  ~Multipart();

  // `subject` is what the upload is for; complete() and abort() must name the same.
  Result<std::string> create(const std::string& subject, int parts);
  Result<std::unique_ptr<Part>> part(const std::string& id, int number);
  // Wants every part, 1 to the last, once. An error leaves the upload open, for the parts that are
  // missing.
  Result<Ref> complete(const std::string& id, const std::string& subject,
                       std::span<const PartRef> parts);
  Result<void> abort(const std::string& id, const std::string& subject);

 private:
  struct Upload;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::blob
