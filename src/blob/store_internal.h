// The store's state and the steps that blobs (store.cpp) and trees (tree.cpp) share. Private to
// this folder.
#pragma once
#include <array>
#include <atomic>
#include <filesystem>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/clock.h"
#include "base/guarded.h"
#include "base/result.h"
#include "blob/io_internal.h"
#include "blob/remote.h"
#include "blob/store.h"

namespace slipway::blob {

inline constexpr unsigned kReadOnly = 0400;  // a stored blob is never written again

// A file that is gone when this object goes, unless it was renamed meanwhile.
struct Temporary {
  explicit Temporary(std::filesystem::path where) : path(std::move(where)) {}
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  const std::filesystem::path path;
};

// A file as it was when its bytes were checked: whoever changes them changes one of these.
struct FileState {
  static Result<FileState> of(int fd, const std::filesystem::path& shown);
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::int64_t size = 0;
  std::int64_t modified_ns = 0;
  std::int64_t changed_ns = 0;
  bool operator==(const FileState&) const = default;
};

struct Store::Impl {
  Impl() = default;
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  Result<void> start_session();
  std::filesystem::path place(const std::string& sha256) const;
  std::filesystem::path new_temporary();
  Result<void> check_writable() const;
  Result<void> sync(int fd, const std::filesystem::path& shown);
  Result<void> sync_folder(const std::filesystem::path& folder);
  Result<std::filesystem::path> existing(const std::string& sha256) const;
  Result<void> check(const std::string& sha256) const;
  Result<bool> stored(const Ref& ref);
  Result<bool> keep_young(const std::string& sha256);
  Result<void> publish(int fd, const std::filesystem::path& temporary, const Ref& ref);
  Result<Ref> put_stream(int in, const std::filesystem::path& shown);
  bool known_sound(const std::string& sha256, const FileState& state) const;
  void note_sound(const std::string& sha256, const FileState& state);

  // With a remote, the folder is a cache in front of it: see cache.cpp.
  Result<std::filesystem::path> fetch(const std::string& sha256) const;
  Result<bool> in_remote(const Ref& ref) const;
  Result<void> put_again(const std::string& sha256) const;
  void drop_cached(const std::string& sha256) const;
  Result<std::vector<std::string>> scrub_remote(const Context& ctx) const;
  void note_use(const std::string& sha256) const;
  void make_room() const;

  std::filesystem::path root;
  std::filesystem::path session;  // this store's folder in tmp/
  Fd session_lock;
  std::atomic<std::uint64_t> counter{0};
  std::atomic<bool> write_failed{false};
  std::array<std::atomic<bool>, 256>
      folder_durable{};  // by first two characters: its entry in root is synced
  Guarded<std::unordered_map<std::string, FileState>> checked;  // blobs found sound by this process

  std::unique_ptr<Remote> remote;  // null: the folder is all there is
  std::int64_t cache_limit = 0;
  mutable std::atomic<std::int64_t> cached_bytes{0};
  mutable std::atomic<std::uint64_t> fetches{0};
  mutable std::mutex evicting;
  mutable Guarded<std::unordered_map<std::string, SteadyTime>> used;  // when a reader asked last
};

}  // namespace slipway::blob
