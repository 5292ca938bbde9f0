// Keys and signed tree heads as other tools read them. Private to this folder.
//   C2SP signed-note: text, blank line, "— <name> base64(key id || signature)"; key id = first 4
//   bytes of SHA-256(name || 0x0A || 0x01 || public key). Keys as text: "<name>+<key id in
//   hex>+base64(0x01 || public key)", and with "PRIVATE+KEY+" in front and the seed in place of the
//   public key (Go's sumdb/note writes the same). C2SP tlog-checkpoint: the text is origin (the
//   key's name here), decimal size, base64 root, one a line.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "audit/audit.h"
#include "base/result.h"

namespace slipway::audit {

struct PublicKey {
  std::string name;   // "slipway/<first 8 hex characters of SHA-256(public key)>"
  std::string bytes;  // 32

  std::string id() const;    // 4 bytes
  std::string text() const;  // "slipway/1f2e3d4c+a1b2c3d4+AZ…"
  static Result<PublicKey> parse(std::string_view text);
  bool verify(std::string_view message, std::string_view signature) const;
  bool operator==(const PublicKey&) const = default;
};

// The secret half. Its bytes are wiped when the object goes.
class SigningKey {
 public:
  static Result<SigningKey> generate();
  // The text of the key file.
  static Result<SigningKey> parse(std::string_view text);
  SigningKey(SigningKey&&) = default;
  SigningKey& operator=(SigningKey&&) = default;
  ~SigningKey();
  const PublicKey& public_key() const { return public_; }
  std::string text() const;
  std::string sign(std::string_view message) const;  // 64 bytes

 private:
  SigningKey() = default;
  static Result<SigningKey> from_seed(std::string_view seed);
  PublicKey public_;
  std::string seed_;    // 32 bytes
  std::string secret_;  // 64 bytes, libsodium's form
};

// Reads the key file; refuses one that others may read. not_found when it is missing.
Result<SigningKey> load_signing_key(const std::filesystem::path& file);
// Writes a new key file (mode 0600, durable) and the public key beside it.
Result<SigningKey> create_signing_key(const std::filesystem::path& file,
                                      const std::filesystem::path& public_file);

struct Checkpoint {
  TreeHead head;
  std::string note;  // signed text, as in the file
};

std::string sign_checkpoint(const SigningKey& key, const TreeHead& head);
// Checks form and signature: data_loss when this key did not sign it. Lines of other signers
// (witnesses) are allowed.
Result<Checkpoint> open_checkpoint(const PublicKey& key, std::string_view note);
// The notes of a history file (each followed by an empty line), oldest first, not yet checked. A
// note that is cut off at the end (a crash while appending) is left out.
std::vector<std::string_view> split_history(std::string_view text);

// What an entry's own signature covers.
std::string entry_message(std::int64_t sequence, std::string_view leaf_hex);

}  // namespace slipway::audit
