#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "audit/note_internal.h"
#include "base/file.h"
#include "base/hash.h"

namespace slipway::audit {
namespace fs = std::filesystem;
namespace {

constexpr char kAlgorithm = 0x01;  // Ed25519
constexpr std::string_view kPrivate = "PRIVATE+KEY+";
constexpr std::string_view kDash = "\xE2\x80\x94 ";  // em dash, space: begins a signature line

const unsigned char* raw(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* raw(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

std::string hex_of(std::string_view bytes) { return to_hex({raw(bytes), bytes.size()}); }

Result<void> ready() {
  if (sodium_init() < 0) return internal("libsodium could not be started");
  return {};
}

std::string key_name(std::string_view public_key) {
  return "slipway/" + sha256_hex(public_key).substr(0, 8);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.remove_suffix(1);
  return text;
}

struct KeyText {
  std::string name;
  std::string id;     // hex
  std::string bytes;  // after the algorithm byte
};

Result<KeyText> split_key(std::string_view text) {
  text = trimmed(text);
  const auto wrong = [] {
    return invalid_argument("an audit key is '<name>+<8 hexadecimal characters>+<base64>'");
  };
  const std::size_t first = text.find('+');
  if (first == std::string_view::npos || first == 0) return wrong();
  const std::size_t second =
      text.find('+', first + 1);  // base64 may hold '+' too: only the first two count
  if (second != first + 9) return wrong();
  auto data = from_base64(text.substr(second + 1));
  if (!data || data->size() != 33 || data->front() != kAlgorithm) return wrong();
  return KeyText{std::string(text.substr(0, first)), std::string(text.substr(first + 1, 8)),
                 data->substr(1)};
}

// A new file with mode 0600 under its final name, or nothing.
Result<void> write_secret(const fs::path& file, std::string_view text) {
  const fs::path temporary = file.string() + ".new";
  std::error_code ignored;
  fs::remove(temporary, ignored);  // of a process that died here; the caller holds the keys' lock
  const int fd =
      ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return errno_error(errno, "cannot create", temporary);
  const ssize_t put = ::write(fd, text.data(), text.size());
  const int write_errno = put < 0 ? errno : ENOSPC;
  const bool written = put == static_cast<ssize_t>(text.size());
  const bool synced = written && ::fsync(fd) == 0;
  const int sync_errno = errno;
  ::close(fd);
  if (!synced) {
    fs::remove(temporary, ignored);
    return errno_error(written ? sync_errno : write_errno, "cannot write", temporary);
  }
  return rename_durable(temporary, file);
}

}  // namespace

// ---- keys ----

std::string PublicKey::id() const {
  Sha256 hash;
  const char parts[] = {'\n', kAlgorithm};
  hash.update(name).update({parts, 2}).update(bytes);
  return std::string(bytes_of(hash.finish()).substr(0, 4));
}

std::string PublicKey::text() const {
  return name + "+" + hex_of(id()) + "+" + to_base64(std::string(1, kAlgorithm) + bytes);
}

Result<PublicKey> PublicKey::parse(std::string_view text) {
  auto parts = split_key(text);
  if (!parts) return parts.error();
  PublicKey key{parts->name, parts->bytes};
  if (hex_of(key.id()) != parts->id) {
    return invalid_argument("the audit key '" + key.name + "' has the id " + parts->id +
                            ", its bytes give " + hex_of(key.id()) +
                            ": it was damaged or put together by hand");
  }
  return key;
}

bool PublicKey::verify(std::string_view message, std::string_view signature) const {
  return ready() && signature.size() == crypto_sign_BYTES &&
         bytes.size() == crypto_sign_PUBLICKEYBYTES &&
         crypto_sign_verify_detached(raw(signature), raw(message), message.size(),
                                     raw(std::string_view(bytes))) == 0;
}

SigningKey::~SigningKey() {
  if (!seed_.empty()) sodium_memzero(seed_.data(), seed_.size());
  if (!secret_.empty()) sodium_memzero(secret_.data(), secret_.size());
}

Result<SigningKey> SigningKey::from_seed(std::string_view seed) {
  if (auto started = ready(); !started) return started.error();
  SigningKey key;
  key.seed_ = seed;
  key.secret_.resize(crypto_sign_SECRETKEYBYTES);
  key.public_.bytes.resize(crypto_sign_PUBLICKEYBYTES);
  if (crypto_sign_seed_keypair(raw(key.public_.bytes), raw(key.secret_), raw(seed)) != 0) {
    return internal("libsodium could not make an Ed25519 key");
  }
  key.public_.name = key_name(key.public_.bytes);
  return key;
}

Result<SigningKey> SigningKey::generate() {
  if (auto started = ready(); !started) return started.error();
  std::string seed(crypto_sign_SEEDBYTES, '\0');
  randombytes_buf(seed.data(), seed.size());
  return from_seed(seed);
}

Result<SigningKey> SigningKey::parse(std::string_view text) {
  if (!text.starts_with(kPrivate))
    return invalid_argument("an audit key file begins with '" + std::string(kPrivate) + "'");
  auto parts = split_key(text.substr(kPrivate.size()));
  if (!parts) return parts.error();
  auto key = from_seed(parts->bytes);
  if (!key) return key;
  key->public_.name = parts->name;
  if (hex_of(key->public_.id()) != parts->id) {
    return invalid_argument("the audit key file is damaged: its id is " + parts->id +
                            ", its bytes give " + hex_of(key->public_.id()));
  }
  return key;
}

std::string SigningKey::text() const {
  return std::string(kPrivate) + public_.name + "+" + hex_of(public_.id()) + "+" +
         to_base64(std::string(1, kAlgorithm) + seed_);
}

std::string SigningKey::sign(std::string_view message) const {
  std::string signature(crypto_sign_BYTES, '\0');
  crypto_sign_detached(raw(signature), nullptr, raw(message), message.size(),
                       raw(std::string_view(secret_)));
  return signature;
}

Result<SigningKey> load_signing_key(const fs::path& file) {
  struct stat info{};
  if (::lstat(file.c_str(), &info) != 0)
    return errno_error(errno, "cannot read the audit key", file);
  if (!S_ISREG(info.st_mode))
    return failed_precondition("the audit key '" + file.string() + "' is not a regular file");
  if ((info.st_mode & 077U) != 0) {
    return failed_precondition(
        "the audit key '" + file.string() + "' can be read by others (mode " +
        fmt::format("{:04o}", info.st_mode & 07777U) + "): run chmod 600 on it, and think " +
        "whether it may have been copied");
  }
  auto text = read_file(file);
  if (!text) return text.error();
  auto key = SigningKey::parse(*text);
  if (!key) return key.error().at(file.string());
  return key;
}

Result<SigningKey> create_signing_key(const fs::path& file, const fs::path& public_file) {
  auto key = SigningKey::generate();
  if (!key) return key;
  // The public half first: a secret without it would look like a half-removed key.
  if (auto put = write_file_atomic(public_file, key->public_key().text() + "\n"); !put)
    return put.error();
  if (auto put = write_secret(file, key->text() + "\n"); !put) return put.error();
  return key;
}

// ---- signed tree heads ----

std::string sign_checkpoint(const SigningKey& key, const TreeHead& head) {
  const std::string root = from_hex(head.root).value_or("");
  const std::string text =
      key.public_key().name + "\n" + std::to_string(head.size) + "\n" + to_base64(root) + "\n";
  return text + "\n" + std::string(kDash) + key.public_key().name + " " +
         to_base64(key.public_key().id() + key.sign(text)) + "\n";
}

Result<Checkpoint> open_checkpoint(const PublicKey& key, std::string_view note) {
  const auto wrong = [](const std::string& why) {
    return data_loss("the signed checkpoint " + why);
  };
  const std::size_t blank = note.find("\n\n");
  if (blank == std::string_view::npos) return wrong("has no signature");
  const std::string_view text = note.substr(0, blank + 1);

  std::vector<std::string> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  if (lines.size() < 3) return wrong("has no origin, size and root");
  if (lines[0] != key.name) return wrong("is of '" + lines[0] + "', not of '" + key.name + "'");
  Checkpoint checkpoint{{}, std::string(note)};
  const auto [end, failed] =
      std::from_chars(lines[1].data(), lines[1].data() + lines[1].size(), checkpoint.head.size);
  if (failed != std::errc() || end != lines[1].data() + lines[1].size() ||
      checkpoint.head.size < 0) {
    return wrong("has no decimal size in its second line");
  }
  auto root = from_base64(lines[2]);
  if (!root || root->size() != 32) return wrong("has no root of 32 bytes in its third line");
  checkpoint.head.root = hex_of(*root);

  for (std::size_t at = blank + 2; at < note.size();) {
    const std::size_t stop = std::min(note.find('\n', at), note.size());
    std::string_view line = note.substr(at, stop - at);
    at = stop + 1;
    if (!line.starts_with(std::string(kDash) + key.name + " ")) continue;
    line.remove_prefix(kDash.size() + key.name.size() + 1);
    auto signature = from_base64(line);
    if (!signature || signature->size() != 68 || signature->substr(0, 4) != key.id()) continue;
    if (key.verify(text, signature->substr(4))) return checkpoint;
    return wrong("of " + lines[1] + " entries was changed, or was not signed by the key " +
                 key.name);
  }
  return wrong("of " + lines[1] + " entries carries no signature by the key " + key.name);
}

std::vector<std::string_view> split_history(std::string_view text) {
  // A note is "<lines>\n\n<signature lines>\n": its end is every second empty line.
  std::vector<std::string_view> notes;
  while (true) {
    const std::size_t signature = text.find("\n\n");
    const std::size_t end =
        signature == std::string_view::npos ? signature : text.find("\n\n", signature + 2);
    if (end == std::string_view::npos) return notes;
    notes.push_back(text.substr(0, end + 1));
    text.remove_prefix(end + 2);
  }
}

std::string entry_message(std::int64_t sequence, std::string_view leaf_hex) {
  return "slipway audit entry v1\n" + std::to_string(sequence) + "\n" + std::string(leaf_hex) +
         "\n";
}

}  // namespace slipway::audit
