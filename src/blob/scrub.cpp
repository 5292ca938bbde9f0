#include "blob/scrub.h"

#include <algorithm>

#include "base/file.h"
#include "blob/remote.h"

namespace slipway::blob {
namespace fs = std::filesystem;
namespace {

struct Stored {
  std::string sha256;
  std::int64_t size = 0;
};

// <root>/<first two characters>/<sha256>; by digest, so that the order of two calls is the same.
Result<std::vector<Stored>> list_blobs(const fs::path& root) {
  std::vector<Stored> blobs;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(root, failed), end; !failed && it != end;
       it.increment(failed)) {
    const std::string name = it->path().filename().string();
    if (it.depth() == 0 && name == "tmp") it.disable_recursion_pending();
    if (it.depth() != 1 || !is_digest(name)) continue;
    std::error_code gone;
    const auto size = it->file_size(gone);
    blobs.push_back({name, gone ? 0 : static_cast<std::int64_t>(size)});
  }
  if (failed) return errno_error(failed.value(), "cannot list", root);
  std::ranges::sort(blobs, {}, &Stored::sha256);
  return blobs;
}

}  // namespace

Result<Scrubbed> scrub(const Context& ctx, const Store& store, const ScrubProgress& progress) {
  Scrubbed done;
  if (store.remote() != nullptr) {
    auto damaged = store.scrub(ctx);
    if (!damaged) return damaged.error();
    done.damaged = *std::move(damaged);
    for (int first = 0; first < 256; ++first) {
      const auto objects = store.remote()->list(fmt::format("{:02x}", first));
      if (!objects) return objects.error();
      for (const RemoteObject& object : *objects) {
        ++done.blobs;
        done.bytes += object.size;
      }
    }
    if (progress) progress(done, done);
    return done;
  }
  const auto blobs = list_blobs(store.root());
  if (!blobs) return blobs.error();
  Scrubbed all;
  for (const Stored& blob : *blobs) {
    ++all.blobs;
    all.bytes += blob.size;
  }
  if (progress) progress(done, all);
  for (const Stored& blob : *blobs) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    const auto sound = store.verify(blob.sha256);
    ++done.blobs;
    done.bytes += blob.size;
    if (!sound && sound.error().code == Code::data_loss) {
      done.damaged.push_back(blob.sha256);
    } else if (!sound && sound.error().code != Code::not_found) {
      return sound.error();
    }
    if (progress) progress(done, all);
  }
  return done;
}

}  // namespace slipway::blob
