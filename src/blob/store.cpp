#include "blob/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "blob/io_internal.h"
#include "blob/store_internal.h"

namespace slipway::blob {
namespace fs = std::filesystem;
namespace {

constexpr char kLockSuffix[] = ".lock";

// Blocks until this open file description has the lock. Released when the descriptor closes, also
// by kill -9.
Result<Fd> lock_file(const fs::path& file, bool wait, bool* taken_by_other) {
  Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return errno_error(errno, "cannot open", file);
  while (::flock(fd.get(), LOCK_EX | (wait ? 0 : LOCK_NB)) != 0) {
    if (errno == EINTR) continue;
    if (errno == EWOULDBLOCK && taken_by_other != nullptr) {
      *taken_by_other = true;
      return fd;
    }
    return errno_error(errno, "cannot lock", file);
  }
  return fd;
}

// Each open store writes into its own folder tmp/<session>, and holds a lock on tmp/<session>.lock.
// A session whose lock is free belongs to a process that died: its folder goes. The lock on
// tmp/lock keeps makers and removers apart.
Result<void> remove_dead_sessions(const fs::path& tmp) {
  std::error_code failed;
  std::vector<fs::path> locks;
  std::set<std::string> sessions;
  for (fs::directory_iterator it(tmp, failed), end; !failed && it != end; it.increment(failed)) {
    if (it->path().extension() == kLockSuffix) {
      locks.push_back(it->path());
      sessions.insert(it->path().stem().string());
    }
  }
  if (failed) return errno_error(failed.value(), "cannot list", tmp);
  for (const fs::path& lock : locks) {
    bool alive = false;
    auto held = lock_file(lock, false, &alive);
    if (!held) return held.error();
    if (alive) continue;
    const fs::path folder = fs::path(lock).replace_extension();
    std::error_code ignored;
    if (const auto removed = fs::remove_all(folder, ignored); removed > 1 && !ignored) {
      log::info("unfinished blobs of a dead process removed",
                {{"folder", folder.string()}, {"files", removed - 1}});
    }
    fs::remove(lock, ignored);
  }
  // A folder without a lock file: its maker died between the two.
  for (fs::directory_iterator it(tmp, failed), end; !failed && it != end; it.increment(failed)) {
    if (it->is_directory(failed) && !sessions.contains(it->path().filename().string())) {
      std::error_code ignored;
      fs::remove_all(it->path(), ignored);
    }
  }
  return {};
}

}  // namespace

bool is_digest(std::string_view text) {
  return text.size() == 64 && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

// ---- Impl: what blobs and trees share ----

Store::Impl::~Impl() {
  if (session.empty()) return;
  std::error_code ignored;
  fs::remove_all(session, ignored);
  fs::remove(session.string() + kLockSuffix, ignored);
}

Result<void> Store::Impl::start_session() {
  const fs::path tmp = root / "tmp";
  if (auto ready = make_dirs(tmp); !ready) return ready.error();
  auto door = lock_file(tmp / "lock", true, nullptr);
  if (!door) return door.error();
  if (auto removed = remove_dead_sessions(tmp); !removed) return removed.error();
  std::string made = (tmp / "session-XXXXXX").string();
  if (::mkdtemp(made.data()) == nullptr) return errno_error(errno, "cannot make a folder in", tmp);
  session = made;
  bool taken = false;
  auto lock = lock_file(made + kLockSuffix, false, &taken);
  if (!lock) {
    std::error_code ignored;
    fs::remove_all(session, ignored);
    session.clear();
    return lock.error();
  }
  session_lock = std::move(*lock);
  return {};
}

fs::path Store::Impl::place(const std::string& sha256) const {
  return root / sha256.substr(0, 2) / sha256;
}

fs::path Store::Impl::new_temporary() { return session / std::to_string(counter.fetch_add(1)); }

Result<void> Store::Impl::check_writable() const {
  if (!write_failed.load()) return {};
  return unavailable(
      "the blob store '" + root.string() +
      "' takes no writes since an fsync failed: check the disk, run a scrub, then restart");
}

Result<void> Store::Impl::sync(int fd, const fs::path& shown) {
  auto fault = fault::point("blob.fsync");
  if (fault && ::fsync(fd) == 0) return {};
  const int number = errno;
  write_failed.store(true);
  if (!fault) return fault.error();
  return errno_error(number, "cannot fsync", shown);
}

Result<void> Store::Impl::sync_folder(const fs::path& folder) {
  auto fd = open_folder(AT_FDCWD, folder.string(), folder);
  if (!fd) return fd.error();
  return sync(fd->get(), folder);
}

Result<fs::path> Store::Impl::existing(const std::string& sha256) const {
  if (!is_digest(sha256)) {
    return invalid_argument("'" + sha256.substr(0, 80) +
                            "' is not a blob digest: wanted 64 lower-case hexadecimal characters");
  }
  fs::path file = place(sha256);
  struct stat info{};
  if (::lstat(file.c_str(), &info) != 0) {
    if (errno == ENOENT || errno == ENOTDIR) {
      if (remote) return fetch(sha256);
      return not_found("blob " + sha256 + " is not in the store '" + root.string() + "'");
    }
    return errno_error(errno, "cannot stat", file);
  }
  if (!S_ISREG(info.st_mode)) return damaged(sha256, file, "is not a regular file");
  note_use(sha256);
  return file;
}

Result<void> Store::Impl::check(const std::string& sha256) const {
  auto file = existing(sha256);
  if (!file) return file.error();
  auto fd = open_regular(*file);
  if (!fd) return fd.error();
  auto found = copy_hashing(fd->get(), *file, -1, {});
  if (!found) return found.error();
  if (found->sha256 != sha256) {
    drop_cached(sha256);
    return damaged(sha256, *file,
                   "holds " + std::to_string(found->size) + " bytes with digest " + found->sha256);
  }
  return {};
}

// True when the store holds these bytes, sound and durable.
Result<bool> Store::Impl::stored(const Ref& ref) {
  if (remote) return in_remote(ref);  // what is only in the cache is not stored
  auto sound = check(ref.sha256);
  if (sound) {
    auto young = keep_young(ref.sha256);
    if (!young || !*young) return young;
    // Another thread may have renamed it a moment ago and not yet synced the folder.
    if (auto synced = sync_folder(place(ref.sha256).parent_path()); !synced) return synced.error();
    return true;
  }
  if (sound.error().code == Code::not_found) return false;
  if (sound.error().code != Code::data_loss) return sound.error();
  log::warn("damaged blob replaced by the same bytes stored again", {{"sha256", ref.sha256}});
  return false;
}

// Putting what is there already protects it from a sweep under way, as new bytes are
// (blob/sweep.h). False when the sweep was faster. Files change their times, and so have to be
// hashed again, at most every few minutes.
Result<bool> Store::Impl::keep_young(const std::string& sha256) {
  constexpr std::time_t kYoung = 600;  // seconds
  if (remote) {
    auto put = put_again(sha256);
    if (!put && put.error().code != Code::not_found) return put.error();
    return put.has_value();
  }
  const fs::path file = place(sha256);
  struct stat info{};
  timespec now{};
  if (::clock_gettime(CLOCK_REALTIME, &now) == 0 && ::lstat(file.c_str(), &info) == 0 &&
      info.st_mtim.tv_sec > now.tv_sec - kYoung)
    return true;
  if (::utimensat(AT_FDCWD, file.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) == 0) return true;
  if (errno == ENOENT) return false;
  return errno_error(errno, "cannot touch", file);
}

// Gives the complete temporary file (open as fd, not yet synced) its name.
Result<void> Store::Impl::publish(int fd, const fs::path& temporary, const Ref& ref) {
  if (auto fault = fault::point("blob.tmp_full"); !fault) return fault.error();
  // A file that was moved in may be old, and the blob is new.
  if (::futimens(fd, nullptr) != 0) return errno_error(errno, "cannot touch", temporary);
  if (auto synced = sync(fd, temporary); !synced) return synced.error();
  if (auto fault = fault::point("blob.after_fsync"); !fault) return fault.error();
  if (remote) {
    if (auto put = remote->put(ref.sha256, temporary); !put) return put;
    cached_bytes.fetch_add(ref.size);
    note_use(ref.sha256);
    make_room();
  }
  const fs::path file = place(ref.sha256);
  const fs::path folder = file.parent_path();
  auto& known =
      folder_durable[static_cast<std::size_t>(std::stoi(ref.sha256.substr(0, 2), nullptr, 16))];
  if (!known.load()) {
    if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
      return errno_error(errno, "cannot make folder", folder);
    if (auto synced = sync_folder(root); !synced) return synced.error();
    known.store(true);
  }
  if (::rename(temporary.c_str(), file.c_str()) != 0)
    return errno_error(errno, "cannot rename", file);
  if (auto fault = fault::point("blob.after_rename"); !fault) return fault.error();
  return sync_folder(folder);
}

Result<Ref> Store::Impl::put_stream(int in, const fs::path& shown) {
  if (auto writable = check_writable(); !writable) return writable.error();
  const Temporary temporary(new_temporary());
  auto out = create_new(temporary.path, kReadOnly);
  if (!out) return out.error();
  auto ref = copy_hashing(in, shown, out->get(), temporary.path);
  if (!ref) return ref.error();
  auto there = stored(*ref);
  if (!there) return there.error();
  if (*there) return ref;
  if (auto published = publish(out->get(), temporary.path, *ref); !published)
    return published.error();
  return ref;
}

// ---- Store ----

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;
const fs::path& Store::root() const { return impl_->root; }
Remote* Store::remote() const { return impl_->remote.get(); }

Result<std::unique_ptr<Store>> Store::open(const fs::path& root) {
  auto impl = std::make_unique<Impl>();
  impl->root = root;
  if (auto made = make_dirs(root); !made) return made.error();
  if (auto started = impl->start_session(); !started) return started.error();
  return std::unique_ptr<Store>(new Store(std::move(impl)));
}

Result<Ref> Store::put_bytes(std::string_view bytes) {
  if (auto writable = impl_->check_writable(); !writable) return writable.error();
  const Ref ref{sha256_hex(bytes), static_cast<std::int64_t>(bytes.size())};
  auto there = impl_->stored(ref);
  if (!there) return there.error();
  if (*there) return ref;
  const Temporary temporary(impl_->new_temporary());
  auto out = create_new(temporary.path, kReadOnly);
  if (!out) return out.error();
  const std::string_view half = bytes.substr(0, bytes.size() / 2);
  if (auto put = write_all(out->get(), half, temporary.path); !put) return put.error();
  if (auto fault = fault::point("blob.tmp_partial"); !fault) return fault.error();
  if (auto put = write_all(out->get(), bytes.substr(half.size()), temporary.path); !put)
    return put.error();
  if (auto published = impl_->publish(out->get(), temporary.path, ref); !published)
    return published.error();
  return ref;
}

Result<Ref> Store::put_file(const fs::path& file) {
  auto in = open_regular(file);
  if (!in) return in.error();
  return impl_->put_stream(in->get(), file);
}

Result<Ref> Store::put_file_moving(const fs::path& file) {
  auto in = open_regular(file);
  if (!in) return in.error();
  struct stat mine{};
  struct stat store{};
  if (::fstat(in->get(), &mine) != 0) return errno_error(errno, "cannot stat", file);
  if (::stat(impl_->session.c_str(), &store) != 0)
    return errno_error(errno, "cannot stat", impl_->session);
  // Another hard link could still write to the bytes, and a rename cannot cross file systems: copy
  // then.
  if (mine.st_nlink != 1 || mine.st_dev != store.st_dev) {
    auto ref = impl_->put_stream(in->get(), file);
    if (!ref) return ref.error();
    if (::unlink(file.c_str()) != 0) return errno_error(errno, "cannot remove", file);
    return ref;
  }
  if (auto writable = impl_->check_writable(); !writable) return writable.error();
  auto ref = copy_hashing(in->get(), file, -1, {});
  if (!ref) return ref.error();
  auto there = impl_->stored(*ref);
  if (!there) return there.error();
  if (*there) {
    if (::unlink(file.c_str()) != 0) return errno_error(errno, "cannot remove", file);
    return ref;
  }
  if (::fchmod(in->get(), kReadOnly) != 0)
    return errno_error(errno, "cannot change the mode of", file);
  if (auto published = impl_->publish(in->get(), file, *ref); !published) {
    (void)::fchmod(in->get(), mine.st_mode & 07777U);
    return published.error();
  }
  return ref;
}

Result<std::string> Store::read(const std::string& sha256) const {
  auto file = impl_->existing(sha256);
  if (!file) return file.error();
  auto fd = open_regular(*file);
  if (!fd) return fd.error();
  auto bytes = read_all(fd->get(), *file);
  if (!bytes) return bytes.error();
  if (const std::string found = sha256_hex(*bytes); found != sha256) {
    impl_->drop_cached(sha256);
    return damaged(sha256, *file,
                   "holds " + std::to_string(bytes->size()) + " bytes with digest " + found);
  }
  return bytes;
}

Result<fs::path> Store::path_of(const std::string& sha256) const { return impl_->existing(sha256); }

bool Store::has(const std::string& sha256) const {
  std::error_code ignored;
  // Asking is no reason to fetch it.
  if (impl_->remote && is_digest(sha256) && !fs::exists(impl_->place(sha256), ignored))
    return impl_->remote->find(sha256).has_value();
  return impl_->existing(sha256).has_value();
}

Result<void> Store::verify(const std::string& sha256) const { return impl_->check(sha256); }

Result<std::vector<std::string>> Store::scrub(const Context& ctx) const {
  if (impl_->remote) return impl_->scrub_remote(ctx);
  std::vector<std::string> names;
  std::error_code failed;
  for (fs::recursive_directory_iterator it(impl_->root, failed), end; !failed && it != end;
       it.increment(failed)) {
    const std::string name = it->path().filename().string();
    if (it.depth() == 0 && name == "tmp") it.disable_recursion_pending();
    if (it.depth() == 1 && is_digest(name)) names.push_back(name);
  }
  if (failed) return errno_error(failed.value(), "cannot list", impl_->root);
  std::sort(names.begin(), names.end());
  std::vector<std::string> bad;
  for (const std::string& name : names) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    auto sound = impl_->check(name);
    if (sound || sound.error().code == Code::not_found) continue;  // removed meanwhile
    if (sound.error().code != Code::data_loss) return sound.error();
    bad.push_back(name);
  }
  return bad;
}

}  // namespace slipway::blob
