// Files: whole reads, and writes that are either wholly there and durable or not there at all.
#pragma once
#include <filesystem>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway {

Result<std::string> read_file(const std::filesystem::path& path);
// Temporary file beside the target, fsync, rename, fsync of the folder. Fault points
// file.{tmp_partial,tmp_full,after_rename}.
Result<void> write_file_atomic(const std::filesystem::path& path, std::string_view bytes);
Result<void> make_dirs(const std::filesystem::path& path);   // mode 0700 for what it makes
Result<void> fsync_path(const std::filesystem::path& path);  // of a file or a folder
Result<void> rename_durable(const std::filesystem::path& from,
                            const std::filesystem::path& to);  // rename + fsync of the folder

// A folder that is removed with everything in it when this object goes.
class TempDir {
 public:
  static Result<TempDir> create(const std::filesystem::path& parent, std::string_view prefix);
  TempDir(TempDir&& other) noexcept : path_(std::move(other.path_)) { other.path_.clear(); }
  TempDir& operator=(TempDir&&) = delete;
  ~TempDir();
  const std::filesystem::path& path() const { return path_; }

 private:
  explicit TempDir(std::filesystem::path path) : path_(std::move(path)) {}
  std::filesystem::path path_;
};

// An exclusive advisory lock on a file, held by this process until destroyed or killed.
class FileLock {
 public:
  // failed_precondition when another process holds it; `what` names the resource in the message.
  static Result<FileLock> acquire(const std::filesystem::path& path, std::string_view what);
  FileLock(FileLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// Error from errno, with the code that fits (ENOENT not_found, ENOSPC storage_full, EACCES
// permission_denied …).
Error errno_error(int number, std::string_view doing, const std::filesystem::path& path);

}  // namespace slipway
