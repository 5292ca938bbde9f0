// SHA-256: the identity of everything stored.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway {

using Digest = std::array<std::uint8_t, 32>;
inline std::string_view bytes_of(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;
  Sha256& update(std::string_view bytes);
  Digest finish();           // afterwards the object starts anew
  std::string finish_hex();  // 64 lower-case characters

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

Digest sha256(std::string_view bytes);
std::string sha256_hex(std::string_view bytes);
Result<std::string> sha256_file_hex(const std::filesystem::path& path);
std::string to_hex(std::span<const std::uint8_t> bytes);
Result<std::string> from_hex(std::string_view hex);  // bytes
std::string to_base64(std::string_view bytes);
Result<std::string> from_base64(std::string_view text);
std::uint32_t crc32(std::string_view bytes,
                    std::uint32_t seed = 0);  // zlib's polynomial; for torn-write detection only
std::uint64_t hash64(std::string_view bytes,
                     std::uint64_t seed = 0);  // stable across platforms and versions

}  // namespace slipway
