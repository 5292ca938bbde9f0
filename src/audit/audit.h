// The audit log: who did what, when, to which bytes. Entries are leaves of a Merkle tree (RFC 6962,
// section 2.1) and each also names the digest of the one before it; signed tree heads (C2SP
// tlog-checkpoint, Ed25519) are kept outside the database, so that an edited, dropped, reordered or
// rolled-back entry is found and named.
//   db.write([&](db::Transaction& tx) -> Result<void> {
//     if (auto moved = …; !moved) return moved;
//     auto entry = audit.append(tx, {.actor = ctx.principal.name, .action = "alias.set", .object =
//     "models/flights@champion", .details = …}); … // the change and its entry share the
//     transaction
//   });
// Several processes may append to one log; the database's write lock orders them. Formats:
// docs/reference/audit-log.md. Thread-safe. Entries never hold feature values, labels or secrets.
#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "db/database.h"

namespace slipway::audit {

struct Event {
  std::string actor;   // a person, "slipway" for what it does by itself
  std::string action;  // "<noun>.<verb>": run.create, alias.set, gate.decide, deployment.create,
                       // pipeline.start …
  std::string object;  // what it was done to: "models/flights/3", "datasets/flights/<sha256>"
  std::string digest;  // sha256 of the object's bytes, where there are any
  Json details = Json::object();  // small; canonical JSON
};

struct Entry {
  std::int64_t sequence = 0;  // from 0
  Time time;                  // of the writer's clock; the order is by sequence, never by time
  Event event;
  std::string previous;  // hex leaf hash of the entry before; 64 zeros for the first
  std::string leaf;      // hex leaf hash: SHA-256(0x00 || canonical JSON)
};

struct TreeHead {
  std::int64_t size = 0;
  std::string root;  // hex
};

struct Verification {
  bool ok = false;
  TreeHead head;  // of the entries as they are
  std::int64_t signed_size =
      0;            // entries the newest signed head covers; later ones carry their own signatures
  std::string key;  // the public key everything was checked with
  std::optional<std::int64_t> first_bad;  // sequence of the first entry that is wrong
  std::string reason;  // "entry 41 (alias.set models/flights@champion) was changed: …"
};

struct VerifyOptions {
  // The public key as kept somewhere else (the text of keys/audit.pub). Empty: the one in keys_dir,
  // which proves nothing against someone who could replace the key, the signed heads and the
  // database together.
  std::string trusted_key;
  Context context;
};

class Log {
 public:
  // keys_dir holds the Ed25519 key `audit.key` (made at first use, mode 0600), `audit.pub`, the
  // newest signed head `checkpoint`, and earlier ones in `checkpoint.history`. The first entry of a
  // log names its key. Opens also a log that was tampered with or rolled back, or whose key is
  // gone, so that it can be examined: see status().
  static Result<std::unique_ptr<Log>> open(db::Database& db, const std::filesystem::path& keys_dir,
                                           const Clock& clock);
  ~Log();

  // Why this log takes no more entries: data_loss when the database is older than the last signed
  // head ("the audit log was rolled back: …"), failed_precondition when the key is missing or
  // another one. append and checkpoint return it too.
  Result<void> status() const;

  // At most 65,535 bytes of canonical JSON an entry; actor, action and object are required.
  Result<Entry> append(db::Transaction& tx, const Event& event);
  // append in a transaction of its own
  Result<Entry> record(const Event& event);

  struct Filter {
    std::string action_prefix;
    std::string object_prefix;
    std::string actor;
    std::int64_t after = -1;  // sequence
    int limit = 100;
    bool newest_first = false;
  };
  Result<std::vector<Entry>> list(const Filter& filter) const;

  Result<TreeHead> head() const;
  // Signs the current head into keys_dir/checkpoint (atomic), when it has grown. Called by the
  // server every second and at the end of each command. Never signs a head that contradicts an
  // earlier one: data_loss.
  Result<TreeHead> checkpoint();
  // The newest signed head as C2SP tlog-checkpoint text, and the key that checks it
  // ("<name>+<id>+<base64>").
  Result<std::string> checkpoint_note() const;
  const std::string& public_key() const;
  // Recomputes every leaf, link, node and signed root. A "no" is a value, not an error.
  Result<Verification> verify(const VerifyOptions& options = {}) const;
  // Inclusion proof of one entry (RFC 6962 2.1.1): sibling hashes from leaf to root, hex.
  Result<std::vector<std::string>> inclusion_proof(std::int64_t sequence, std::int64_t size) const;
  // Proof that the first old_size entries are what they were (RFC 6962 2.1.2). audit/merkle.h
  // checks both kinds.
  Result<std::vector<std::string>> consistency_proof(std::int64_t old_size,
                                                     std::int64_t size) const;

 private:
  struct Impl;
  explicit Log(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::audit
