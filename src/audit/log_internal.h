// The log's state, and the bytes of an entry, shared by log.cpp and verify.cpp. Private to this
// folder.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "audit/audit.h"
#include "audit/merkle.h"
#include "audit/note_internal.h"
#include "base/guarded.h"

namespace slipway::audit {

inline constexpr std::string_view kNoLeaf =
    "0000000000000000000000000000000000000000000000000000000000000000";
inline constexpr std::size_t kMaxEntryBytes =
    65535;  // an entry of C2SP tlog-tiles has a 16-bit length
inline constexpr std::string_view kKeyAction = "audit.key";  // the entry that names the log's key

// The columns of one entry, as they stand in the database.
struct EntryText {
  std::int64_t sequence = 0;
  std::int64_t time = 0;  // microseconds
  std::string_view actor;
  std::string_view action;
  std::string_view object;
  std::string_view digest;
  std::string_view details;  // one complete JSON value
  std::string_view previous;
};

// The canonical JSON (RFC 8785) the leaf is computed from, written over `out`. invalid_argument
// when a text is not UTF-8.
Result<void> entry_json(const EntryText& entry, std::string& out);

Result<Digest> parse_digest(std::string_view hex);

// Subtree roots from the database.
NodeSource stored_nodes(db::Connection& connection);

struct Files {
  std::filesystem::path key;
  std::filesystem::path public_key;
  std::filesystem::path checkpoint;
  std::filesystem::path history;
  std::filesystem::path lock;
};

// The signed heads found beside the database. `problem` tells what is wrong with the files
// themselves.
struct SignedHeads {
  std::vector<Checkpoint> heads;      // by size; the newest last
  std::int64_t checkpoint_size = -1;  // of the file `checkpoint`; -1: there is none
  std::optional<Error> problem;
};
enum class Heads { all, newest };  // newest: only the last two notes are checked and returned
SignedHeads read_signed_heads(const Files& files, const PublicKey& key, Heads which);

struct Log::Impl {
  Impl(db::Database& database, const Clock& wall) : db(database), clock(wall) {}

  Result<Entry> append(db::Transaction& tx, const Event& event) const;
  Result<TreeHead> checkpoint_locked();
  Result<void> examine();  // fills `problem`

  db::Database& db;
  const Clock& clock;
  Files files;
  std::optional<SigningKey> key;
  PublicKey public_key;
  std::string public_key_text;
  std::optional<Error> problem;  // set while opening, never later
  Guarded<TreeHead> last_signed;
};

}  // namespace slipway::audit
