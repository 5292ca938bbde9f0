#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "base/fault.h"
#include "base/file.h"
#include "base/hash.h"
#include "blob/io_internal.h"

namespace slipway::blob {
namespace {

constexpr std::size_t kChunk = std::size_t{1} << 20;

// `got` < 0 with EINTR means: once more.
bool interrupted(ssize_t got) { return got < 0 && errno == EINTR; }

}  // namespace

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Result<Fd> open_regular(int folder, const std::string& name, const std::filesystem::path& shown) {
  // O_NONBLOCK: a FIFO must not make us wait for a writer before we see that it is one.
  Fd fd(::openat(folder, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!fd) {
    if (errno == ELOOP) {
      return invalid_argument(
          "'" + shown.string() +
          "' is a symbolic link; only regular files are stored: give the file it points to");
    }
    return errno_error(errno, "cannot open", shown);
  }
  struct stat info{};
  if (::fstat(fd.get(), &info) != 0) return errno_error(errno, "cannot stat", shown);
  if (!S_ISREG(info.st_mode)) {
    return invalid_argument("'" + shown.string() + "' is " +
                            (S_ISDIR(info.st_mode) ? "a folder" : "a special file") +
                            "; only regular files are stored");
  }
  return fd;
}

Result<Fd> open_regular(const std::filesystem::path& file) {
  return open_regular(AT_FDCWD, file.string(), file);
}

Result<Fd> open_folder(int parent, const std::string& name, const std::filesystem::path& shown) {
  Fd fd(::openat(parent, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) {
    if (errno == ELOOP || errno == ENOTDIR) {
      return invalid_argument("'" + shown.string() +
                              "' is not a folder (symbolic links are not followed)");
    }
    return errno_error(errno, "cannot open", shown);
  }
  return fd;
}

Result<Fd> create_new(const std::filesystem::path& file, unsigned mode) {
  Fd fd(::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd) return errno_error(errno, "cannot create", file);
  return fd;
}

Result<void> write_all(int fd, std::string_view bytes, const std::filesystem::path& shown) {
  while (!bytes.empty()) {
    const ssize_t put = ::write(fd, bytes.data(), bytes.size());
    if (interrupted(put)) continue;
    if (put < 0) return errno_error(errno, "cannot write", shown);
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return {};
}

Result<Ref> copy_hashing(int in, const std::filesystem::path& in_shown, int out,
                         const std::filesystem::path& out_shown) {
  Sha256 hash;
  Ref ref;
  std::string buffer(kChunk, '\0');
  while (true) {
    const ssize_t got = ::read(in, buffer.data(), buffer.size());
    if (interrupted(got)) continue;
    if (got < 0) return errno_error(errno, "cannot read", in_shown);
    if (got == 0) break;
    const std::string_view chunk(buffer.data(), static_cast<std::size_t>(got));
    hash.update(chunk);
    ref.size += got;
    if (out < 0) continue;
    if (auto put = write_all(out, chunk, out_shown); !put) return put.error();
    if (auto fault = fault::point("blob.tmp_partial"); !fault) return fault.error();
  }
  ref.sha256 = hash.finish_hex();
  return ref;
}

Result<std::string> read_all(int fd, const std::filesystem::path& shown) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) return errno_error(errno, "cannot stat", shown);
  std::string bytes(static_cast<std::size_t>(info.st_size), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t got = ::read(fd, bytes.data() + have, bytes.size() - have);
    if (interrupted(got)) continue;
    if (got < 0) return errno_error(errno, "cannot read", shown);
    if (got == 0) break;  // cut while we read: the digest will tell
    have += static_cast<std::size_t>(got);
  }
  bytes.resize(have);
  return bytes;
}

Error damaged(const std::string& sha256, const std::filesystem::path& file,
              const std::string& how) {
  return data_loss("blob " + sha256 + " is damaged: '" + file.string() + "' " + how +
                   "; restore this file from a backup, or store the original bytes again");
}

}  // namespace slipway::blob
