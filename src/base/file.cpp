#include "base/file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <system_error>

#include "base/fault.h"

namespace slipway {
namespace fs = std::filesystem;

Error errno_error(int number, std::string_view doing, const fs::path& path) {
  Code code = Code::internal;
  switch (number) {
    case ENOENT:
    case ENOTDIR:
      code = Code::not_found;
      break;
    case EEXIST:
      code = Code::already_exists;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = Code::permission_denied;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::storage_full;
      break;
    case EMFILE:
    case ENFILE:
      code = Code::resource_exhausted;
      break;
    case EISDIR:
    case ENAMETOOLONG:
      code = Code::invalid_argument;
      break;
    default:
      break;
  }
  return {code, std::string(doing) + " '" + path.string() +
                    "': " + std::generic_category().message(number)};
}

Result<std::string> read_file(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "cannot read", path);
  std::string bytes;
  struct stat facts{};
  if (::fstat(fd, &facts) == 0 && S_ISREG(facts.st_mode))
    bytes.reserve(static_cast<std::size_t>(facts.st_size));
  char buffer[65536];
  while (true) {
    const ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got > 0) {
      bytes.append(buffer, static_cast<std::size_t>(got));
    } else if (got == 0) {
      break;
    } else if (errno != EINTR) {
      const int number = errno;
      ::close(fd);
      return errno_error(number, "cannot read", path);
    }
  }
  ::close(fd);
  return bytes;
}

Result<void> fsync_path(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "cannot open", path);
  const int outcome = ::fsync(fd);
  const int number = errno;
  ::close(fd);
  if (outcome != 0) return errno_error(number, "cannot make durable", path);
  return {};
}

Result<void> rename_durable(const fs::path& from, const fs::path& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return errno_error(errno, "cannot rename to", to);
  const fs::path folder = to.has_parent_path() ? to.parent_path() : fs::path(".");
  return fsync_path(folder);
}

Result<void> write_file_atomic(const fs::path& path, std::string_view bytes) {
  std::string temporary = path.string() + ".XXXXXX";
  const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "cannot write", path);
  const auto give_up = [&](Error error) {
    ::close(fd);
    ::unlink(temporary.c_str());
    return error;
  };
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t put = ::write(fd, bytes.data() + done, bytes.size() - done);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return give_up(errno_error(errno, "cannot write", path));
    done += static_cast<std::size_t>(put);
  }
  if (auto hit = fault::point("file.tmp_full"); !hit) return give_up(hit.error());
  if (::fsync(fd) != 0) return give_up(errno_error(errno, "cannot make durable", path));
  ::close(fd);
  if (auto renamed = rename_durable(temporary, path); !renamed) {
    ::unlink(temporary.c_str());
    return renamed;
  }
  return fault::point("file.after_rename");
}

Result<void> make_dirs(const fs::path& path) {
  std::error_code problem;
  if (fs::is_directory(path, problem)) return {};
  if (path.has_parent_path() && path.parent_path() != path) {
    if (auto parents = make_dirs(path.parent_path()); !parents) return parents;
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    return errno_error(errno, "cannot create the folder", path);
  if (!fs::is_directory(path, problem))
    return errno_error(ENOTDIR, "cannot create the folder", path);
  return {};
}

Result<TempDir> TempDir::create(const fs::path& parent, std::string_view prefix) {
  if (auto made = make_dirs(parent); !made) return made.error();
  std::string name = (parent / (std::string(prefix) + ".XXXXXX")).string();
  if (::mkdtemp(name.data()) == nullptr)
    return errno_error(errno, "cannot create a folder in", parent);
  return TempDir(fs::path(name));
}

TempDir::~TempDir() {
  if (path_.empty()) return;
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

Result<FileLock> FileLock::acquire(const fs::path& path, std::string_view what) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error(errno, "cannot open the lock", path);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    const int number = errno;
    ::close(fd);
    if (number == EWOULDBLOCK) {
      return failed_precondition(std::string(what) + " is in use by another process (lock '" +
                                 path.string() + "' is held)");
    }
    return errno_error(number, "cannot lock", path);
  }
  return FileLock(fd);
}

FileLock::~FileLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace slipway
