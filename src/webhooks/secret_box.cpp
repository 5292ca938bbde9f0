#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "base/file.h"
#include "base/hash.h"
#include "webhooks/webhooks_internal.h"

namespace slipway::webhooks {
namespace {

constexpr std::size_t kNonceBytes = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES;
constexpr std::size_t kTagBytes = crypto_aead_xchacha20poly1305_ietf_ABYTES;

const unsigned char* raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* raw(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

// A new file with mode 0600; already_exists when somebody was faster.
Result<void> write_key(const std::filesystem::path& file, std::string_view bytes) {
  const int fd = ::open(file.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0 && errno == EEXIST) return already_exists("'" + file.string() + "' is there already");
  if (fd < 0) return errno_error(errno, "cannot create", file);
  const ssize_t put = ::write(fd, bytes.data(), bytes.size());
  const bool whole = put == static_cast<ssize_t>(bytes.size()) && ::fsync(fd) == 0;
  const int problem = put >= 0 && errno == 0 ? ENOSPC : errno;
  ::close(fd);
  if (!whole) {
    std::error_code ignored;
    std::filesystem::remove(file, ignored);
    return errno_error(problem, "cannot write", file);
  }
  return fsync_path(file.parent_path());
}

}  // namespace

Result<SecretBox> SecretBox::open(const std::filesystem::path& keys_dir) {
  if (sodium_init() < 0) return internal("libsodium could not be started");
  if (auto made = make_dirs(keys_dir); !made) return made.error();
  const auto file = keys_dir / "webhooks.key";
  SecretBox box;
  auto text = read_file(file);
  if (!text && text.error().code == Code::not_found) {
    std::array<unsigned char, crypto_aead_xchacha20poly1305_ietf_KEYBYTES> fresh{};
    randombytes_buf(fresh.data(), fresh.size());
    auto written = write_key(file, to_hex(fresh) + "\n");
    if (!written && written.error().code != Code::already_exists) return written.error();
    text = read_file(file);
  }
  if (!text) return text.error();
  if (!text->empty() && text->back() == '\n') text->pop_back();
  const auto bytes = from_hex(*text);
  if (!bytes || bytes->size() != box.key_.size()) {
    return data_loss("'" + file.string() + "' is no key: 64 hexadecimal characters are wanted");
  }
  std::copy(bytes->begin(), bytes->end(), box.key_.begin());
  return box;
}

std::string SecretBox::seal(std::string_view secret, std::string_view webhook_id) const {
  std::string sealed(kNonceBytes + secret.size() + kTagBytes, '\0');
  randombytes_buf(raw(sealed), kNonceBytes);
  crypto_aead_xchacha20poly1305_ietf_encrypt(raw(sealed) + kNonceBytes, nullptr, raw(secret),
                                             secret.size(), raw(webhook_id), webhook_id.size(),
                                             nullptr, raw(sealed), key_.data());
  return to_base64(sealed);
}

Result<std::string> SecretBox::unseal(std::string_view sealed, std::string_view webhook_id) const {
  const auto bytes = from_base64(sealed);
  if (bytes && bytes->size() >= kNonceBytes + kTagBytes) {
    const auto box = std::string_view(*bytes).substr(kNonceBytes);
    std::string secret(box.size() - kTagBytes, '\0');
    if (crypto_aead_xchacha20poly1305_ietf_decrypt(
            raw(secret), nullptr, nullptr, raw(box), box.size(), raw(webhook_id), webhook_id.size(),
            raw(std::string_view(*bytes)), key_.data()) == 0) {
      return secret;
    }
  }
  return data_loss(
      "the webhook's secret does not open with keys/webhooks.key: give the webhook a new secret, "
      "or put the key back");
}

std::string signature(std::string_view secret, std::string_view delivery,
                      std::string_view timestamp, std::string_view body) {
  crypto_auth_hmacsha256_state state;
  crypto_auth_hmacsha256_init(&state, raw(secret), secret.size());
  for (const std::string_view part :
       {delivery, std::string_view("."), timestamp, std::string_view("."), body}) {
    crypto_auth_hmacsha256_update(&state, raw(part), part.size());
  }
  std::string mac(crypto_auth_hmacsha256_BYTES, '\0');
  crypto_auth_hmacsha256_final(&state, raw(mac));
  return "v1," + to_base64(mac);
}

}  // namespace slipway::webhooks
