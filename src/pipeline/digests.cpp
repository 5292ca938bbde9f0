#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "pipeline/digests_internal.h"
#include "pipeline/queries.h"

namespace slipway::pipeline {
namespace {

// A file changed this shortly before it was hashed may change again without its time showing it
// (coarse clocks of file systems), so its digest is not remembered.
constexpr std::int64_t kSettledNanos = 2'000'000'000;

}  // namespace

Result<StoredDigests::Stamp> StoredDigests::stamp_of(const std::filesystem::path& path) {
  struct stat status{};
  if (::stat(path.c_str(), &status) != 0) return errno_error(errno, "cannot read", path);
  if (!S_ISREG(status.st_mode)) {
    return invalid_argument(fmt::format("{} is neither a file nor a folder", path.string()));
  }
  const auto nanos = [](const timespec& time) {
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
  };
  return Stamp{.size = status.st_size,
               .inode = static_cast<std::int64_t>(status.st_ino),
               .modified = nanos(status.st_mtim),
               .changed = nanos(status.st_ctim)};
}

Result<std::string> StoredDigests::of(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::is_directory(path, error) ? of_folder(path) : of_file(path);
}

Result<std::string> StoredDigests::of_file(const std::filesystem::path& path) {
  const auto stamp = stamp_of(path);
  if (!stamp) return stamp.error();
  const std::string name = std::filesystem::absolute(path).lexically_normal().string();
  {
    const std::scoped_lock lock(mutex_);
    const auto known = known_.find(name);
    if (known != known_.end() && known->second.stamp == *stamp) return known->second.sha256;
  }
  const auto stored = db_.read([&](db::Connection& connection) -> Result<std::string> {
    auto rows = connection.query(sql::find_digest, name);
    if (!rows) return rows.error();
    if (!rows->next()) return std::string();
    const Stamp then{rows->integer(0), rows->integer(1), rows->integer(2), rows->integer(3)};
    return then == *stamp ? rows->text(4) : std::string();
  });
  if (!stored) return stored.error();
  Entry entry{*stamp, *stored};
  const bool hash = stored->empty();
  if (hash) {
    auto digest = sha256_file_hex(path);
    if (!digest) return digest.error();
    entry.sha256 = std::move(*digest);
  }
  const std::scoped_lock lock(mutex_);
  known_[name] = entry;
  if (hash && stamp->changed + kSettledNanos < to_micros(clock_.now()) * 1000) fresh_[name] = entry;
  return entry.sha256;
}

Result<std::string> StoredDigests::of_folder(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> files;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator it(path, error), end; !error && it != end;
       it.increment(error)) {
    if (it->is_regular_file(error)) files.push_back(it->path());
  }
  if (error) return errno_error(error.value(), "cannot list", path);
  std::sort(files.begin(), files.end());
  Sha256 sum;
  for (const auto& file : files) {
    const auto digest = of_file(file);
    if (!digest) return digest.error();
    sum.update(fmt::format("{} {}\n", *digest, file.lexically_relative(path).string()));
  }
  return sum.finish_hex();
}

void StoredDigests::save() {
  auto fresh = [this] {
    const std::scoped_lock lock(mutex_);
    return std::exchange(fresh_, {});
  }();
  if (fresh.empty()) return;
  db_.write_async(
      [fresh = std::move(fresh)](db::Transaction& tx) -> Result<void> {
        for (const auto& [path, entry] : fresh) {
          const auto put = tx.run(sql::put_digest, path, entry.stamp.size, entry.stamp.inode,
                                  entry.stamp.modified, entry.stamp.changed, entry.sha256);
          if (!put) return put;
        }
        return {};
      },
      [](const Result<void>& saved) {
        if (!saved)
          log::warn("digests of files not remembered", {{"error", saved.error().message}});
      });
}

}  // namespace slipway::pipeline
