// File descriptors and the streaming copy that hashes what it copies. Private to this folder.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.h"
#include "blob/store.h"

namespace slipway::blob {

// Owns a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd();
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Opens a regular file for reading, following no symbolic link at its last part. `shown` stands in
// messages.
Result<Fd> open_regular(int folder, const std::string& name, const std::filesystem::path& shown);
Result<Fd> open_regular(const std::filesystem::path& file);
Result<Fd> open_folder(int parent, const std::string& name, const std::filesystem::path& shown);
Result<Fd> create_new(const std::filesystem::path& file, unsigned mode);

Result<void> write_all(int fd, std::string_view bytes, const std::filesystem::path& shown);
// From the descriptor's place to its end. `out` < 0: hashes only.
Result<Ref> copy_hashing(int in, const std::filesystem::path& in_shown, int out,
                         const std::filesystem::path& out_shown);
Result<std::string> read_all(int fd, const std::filesystem::path& shown);

// What a damaged blob is called everywhere.
Error damaged(const std::string& sha256, const std::filesystem::path& file, const std::string& how);

}  // namespace slipway::blob
