// The folder of a store whose bytes are in a Remote: what is fetched, what is let go.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/log.h"
#include "blob/remote.h"
#include "blob/store_internal.h"

namespace slipway::blob {
namespace fs = std::filesystem;
namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr std::chrono::minutes kInUse{10};
constexpr int kTries = 3;
// After making room, the cache is this full.
constexpr double kFilledTo = 0.8;

struct Cached {
  fs::path file;
  std::int64_t size = 0;
  std::int64_t modified = 0;  // seconds
};

std::vector<Cached> list_cache(const fs::path& root) {
  std::vector<Cached> files;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(root, failed), end; !failed && it != end;
       it.increment(failed)) {
    if (it.depth() == 0 && it->path().filename() == "tmp") it.disable_recursion_pending();
    if (it.depth() != 1 || !is_digest(it->path().filename().string())) continue;
    struct stat info{};
    if (::lstat(it->path().c_str(), &info) != 0) continue;
    files.push_back({it->path(), info.st_size, info.st_mtim.tv_sec});
  }
  return files;
}

}  // namespace

void Store::Impl::note_use(const std::string& sha256) const {
  if (!remote) return;
  used.with([&](auto& times) {
    if (times.size() > 100'000) times.clear();
    times[sha256] = SteadyClock::now();
  });
}

// Lets the files go that were not used for longest, until the cache is small enough.
void Store::Impl::make_room() const {
  if (cached_bytes.load() <= cache_limit) return;
  const std::unique_lock alone(evicting, std::try_to_lock);
  if (!alone) return;
  std::vector<Cached> files = list_cache(root);
  std::int64_t total = 0;
  for (const Cached& one : files) total += one.size;
  const auto now = SteadyClock::now();
  timespec wall{};
  ::clock_gettime(CLOCK_REALTIME, &wall);                                 // the file system's clock
  const auto last_use = [&](const Cached& one) -> std::chrono::seconds {  // ago
    auto ago = std::chrono::seconds{wall.tv_sec - one.modified};
    used.with([&](auto& times) {
      const auto at = times.find(one.file.filename().string());
      if (at != times.end())
        ago = std::min(ago, std::chrono::duration_cast<std::chrono::seconds>(now - at->second));
    });
    return ago;
  };
  std::vector<std::pair<std::chrono::seconds, const Cached*>> order;
  for (const Cached& one : files) order.emplace_back(last_use(one), &one);
  std::ranges::sort(order, [](const auto& a, const auto& b) { return a.first > b.first; });
  const auto wanted = static_cast<std::int64_t>(static_cast<double>(cache_limit) * kFilledTo);
  for (const auto& [ago, one] : order) {
    if (total <= wanted || ago < kInUse) break;
    std::error_code failed;
    if (fs::remove(one->file, failed)) total -= one->size;
  }
  cached_bytes.store(total);
}

// Brings the blob into the folder, checked.
Result<fs::path> Store::Impl::fetch(const std::string& sha256) const {
  Result<void> done;
  for (int attempt = 1; attempt <= kTries; ++attempt) {
    const Temporary temporary(session / ("fetch-" + std::to_string(fetches.fetch_add(1))));
    auto out = create_new(temporary.path, 0600);
    if (!out) return out.error();
    done = remote->get(sha256, out->get());
    if (!done) {
      if (done.error().code == Code::unavailable) continue;
      return done.error();
    }
    auto in = open_regular(temporary.path);
    if (!in) return in.error();
    auto found = copy_hashing(in->get(), temporary.path, -1, {});
    if (!found) return found.error();
    if (found->sha256 != sha256) {
      done =
          damaged(sha256, remote->name(),
                  "holds " + std::to_string(found->size) + " bytes with digest " + found->sha256);
      continue;  // perhaps only on its way
    }
    if (::fchmod(out->get(), 0400) != 0)
      return errno_error(errno, "cannot change the mode of", temporary.path);
    const fs::path file = place(sha256);
    if (::mkdir(file.parent_path().c_str(), 0700) != 0 && errno != EEXIST)
      return errno_error(errno, "cannot make folder", file.parent_path());
    if (::rename(temporary.path.c_str(), file.c_str()) != 0)
      return errno_error(errno, "cannot rename", file);
    note_use(sha256);
    cached_bytes.fetch_add(found->size);
    make_room();
    return file;
  }
  return done.error();
}

// Whether the remote has the blob, and has had it put lately enough for a sweep to leave it alone.
Result<bool> Store::Impl::in_remote(const Ref& ref) const {
  auto found = remote->find(ref.sha256);
  if (!found) {
    if (found.error().code == Code::not_found) return false;
    return found.error();
  }
  timespec wall{};
  ::clock_gettime(CLOCK_REALTIME, &wall);
  const std::int64_t age = wall.tv_sec - to_micros(found->put) / 1'000'000;
  return found->size == ref.size && age < std::chrono::seconds{kInUse}.count();
}

// As if the bytes were put again.
Result<void> Store::Impl::put_again(const std::string& sha256) const {
  auto file = existing(sha256);
  if (!file) return file.error();
  std::error_code failed;
  const auto size = static_cast<std::int64_t>(fs::file_size(*file, failed));
  if (failed) return errno_error(failed.value(), "cannot stat", *file);
  auto young = in_remote({sha256, size});
  if (!young) return young.error();
  return *young ? Result<void>() : remote->put(sha256, *file);
}

// A copy in the cache that is not what its name says: the next reader fetches it again.
void Store::Impl::drop_cached(const std::string& sha256) const {
  if (!remote) return;
  log::warn("damaged blob dropped from the cache", {{"sha256", sha256}});
  std::error_code ignored;
  fs::remove(place(sha256), ignored);
}

// Reads every object, whatever the cache holds.
Result<std::vector<std::string>> Store::Impl::scrub_remote(const Context& ctx) const {
  std::vector<std::string> bad;
  for (int first = 0; first < 256; ++first) {
    auto objects = remote->list(fmt::format("{:02x}", first));
    if (!objects) return objects.error();
    for (const RemoteObject& object : *objects) {
      if (auto wanted = ctx.check(); !wanted) return wanted.error();
      auto sound = fetch(object.sha256);
      if (sound || sound.error().code == Code::not_found) continue;  // removed meanwhile
      if (sound.error().code != Code::data_loss) return sound.error();
      bad.push_back(object.sha256);
    }
  }
  return bad;
}

Result<std::unique_ptr<Store>> Store::open(const fs::path& root, std::unique_ptr<Remote> remote,
                                           const RemoteOptions& options) {
  auto store = open(root);
  if (!store) return store;
  Impl& my = *(*store)->impl_;
  my.remote = std::move(remote);
  my.cache_limit = options.cache_bytes;
  for (const Cached& one : list_cache(root)) my.cached_bytes.fetch_add(one.size);
  return store;
}

}  // namespace slipway::blob
