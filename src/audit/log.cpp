#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>

#include "audit/audit.h"
#include "audit/log_internal.h"
#include "audit/migrations.h"
#include "audit/queries.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"

namespace slipway::audit {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxHistoryBytes = std::size_t{256} << 10;

std::string hex(const Digest& digest) { return to_hex(digest); }

// Orders the processes and threads that touch the key files.
class KeysLock {
 public:
  static Result<KeysLock> acquire(const fs::path& file) {
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return errno_error(errno, "cannot open", file);
    KeysLock lock(fd);
    while (::flock(fd, LOCK_EX) != 0) {
      if (errno != EINTR) return errno_error(errno, "cannot lock", file);
    }
    return lock;
  }
  KeysLock(KeysLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  KeysLock& operator=(KeysLock&&) = delete;
  ~KeysLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  explicit KeysLock(int fd) : fd_(fd) {}
  int fd_;
};

Result<void> append_json_text(std::string_view text, std::string& out) {
  out += '"';
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
  });
  if (plain) {
    out += text;
  } else {
    try {
      const std::string quoted = Json(std::string(text)).dump();
      out.append(quoted, 1, quoted.size() - 2);
    } catch (const Json::exception&) {
      return invalid_argument("an audit entry holds a text that is not UTF-8");
    }
  }
  out += '"';
  return {};
}

Result<void> check_event(const Event& event) {
  if (event.actor.empty() || event.action.empty() || event.object.empty()) {
    return invalid_argument("an audit entry needs an actor, an action and an object; got actor '" +
                            event.actor + "', action '" + event.action + "', object '" +
                            event.object + "'");
  }
  return {};
}

struct LastEntry {
  std::int64_t size = 0;  // entries in the log
  std::string leaf = std::string(kNoLeaf);
};

Result<LastEntry> last_entry(db::Connection& connection) {
  auto rows = connection.query(sql::last_entry);
  if (!rows) return rows.error();
  LastEntry last;
  if (rows->next()) last = {rows->integer(0) + 1, rows->text(1)};
  if (auto status = rows->status(); !status) return status.error();
  return last;
}

Result<TreeHead> read_head(db::Connection& connection) {
  auto last = last_entry(connection);
  if (!last) return last.error();
  auto root = tree_root(last->size, stored_nodes(connection));
  if (!root) return root.error();
  return TreeHead{last->size, hex(*root)};
}

Result<Entry> read_entry(const db::Rows& rows) {
  Entry entry;
  entry.sequence = rows.integer(0);
  entry.time = from_micros(rows.integer(1));
  entry.event = {rows.text(2), rows.text(3), rows.text(4), rows.text(5), Json::object()};
  auto details =
      parse_json(rows.view(6), "details of audit entry " + std::to_string(entry.sequence));
  if (!details) return data_loss(details.error().message + ": run 'slipway audit verify'");
  entry.event.details = std::move(*details);
  entry.previous = rows.text(7);
  entry.leaf = rows.text(8);
  return entry;
}

// Appends to the history file; first cuts off a note that a crash left unfinished, and thins the
// file when it is long: every second old head goes, so that what remains still narrows down where a
// log was changed.
Result<void> add_to_history(const fs::path& file, const std::string& note) {
  std::string text;
  if (std::error_code failed; fs::exists(file, failed)) {
    auto read = read_file(file);
    if (!read) return read.error();
    text = std::move(*read);
  }
  const std::vector<std::string_view> history = split_history(text);
  std::size_t whole = 0;
  for (const std::string_view old : history) whole += old.size() + 1;
  const bool thin = whole + note.size() >= kMaxHistoryBytes;
  if (whole == text.size() && !thin) {
    const int fd =
        ::open(file.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return errno_error(errno, "cannot open", file);
    const std::string line = note + "\n";
    const ssize_t put = ::write(fd, line.data(), line.size());
    const int number = put < 0 ? errno : ENOSPC;
    const bool synced = put == static_cast<ssize_t>(line.size()) && ::fsync(fd) == 0;
    ::close(fd);
    if (!synced) return errno_error(number, "cannot append to", file);
    return {};
  }
  std::string kept;
  for (std::size_t i = 0; i < history.size(); ++i) {
    if (!thin || i % 2 == 0) kept.append(history[i]) += '\n';
  }
  return write_file_atomic(file, kept + note + "\n");
}

}  // namespace

Result<void> entry_json(const EntryText& entry, std::string& out) {
  out = R"({"action":)";
  if (auto put = append_json_text(entry.action, out); !put) return put;
  out += R"(,"actor":)";
  if (auto put = append_json_text(entry.actor, out); !put) return put;
  out += R"(,"details":)";
  out += entry.details;
  out += R"(,"digest":)";
  if (auto put = append_json_text(entry.digest, out); !put) return put;
  out += R"(,"object":)";
  if (auto put = append_json_text(entry.object, out); !put) return put;
  out += R"(,"previous":)";
  if (auto put = append_json_text(entry.previous, out); !put) return put;
  fmt::format_to(std::back_inserter(out), R"(,"sequence":{},"time":{}}})", entry.sequence,
                 entry.time);
  return {};
}

Result<Digest> parse_digest(std::string_view text) {
  auto bytes = from_hex(text);
  if (!bytes || bytes->size() != std::tuple_size_v<Digest>) {
    return data_loss("'" + std::string(text.substr(0, 80)) + "' is no SHA-256 digest");
  }
  Digest digest;
  std::memcpy(digest.data(), bytes->data(), digest.size());
  return digest;
}

NodeSource stored_nodes(db::Connection& connection) {
  return [&connection](int level, std::int64_t position) -> Result<Digest> {
    const std::int64_t last = ((position + 1) << level) - 1;
    auto rows = level == 0 ? connection.query(sql::find_leaf, last)
                           : connection.query(sql::find_node, last, level);
    if (!rows) return rows.error();
    if (rows->next()) {
      auto digest = parse_digest(rows->view(0));
      if (!digest)
        return digest.error().at("audit tree node of level " + std::to_string(level) +
                                 " over entry " + std::to_string(last));
      return digest;
    }
    if (auto status = rows->status(); !status) return status.error();
    return data_loss("the audit log misses the tree node of level " + std::to_string(level) +
                     " over entry " + std::to_string(last) + ": run 'slipway audit verify'");
  };
}

SignedHeads read_signed_heads(const Files& files, const PublicKey& key, Heads which) {
  SignedHeads found;
  std::error_code failed;
  if (fs::exists(files.history, failed)) {
    auto text = read_file(files.history);
    if (!text) {
      found.problem = text.error();
      return found;
    }
    const std::vector<std::string_view> notes = split_history(*text);
    for (std::size_t i = which == Heads::newest && !notes.empty() ? notes.size() - 1 : 0;
         i < notes.size(); ++i) {
      auto head = open_checkpoint(key, notes[i]);
      if (!head) {
        found.problem = head.error().at(files.history.string() + ": note " + std::to_string(i + 1));
        return found;
      }
      found.heads.push_back(std::move(*head));
    }
  }
  if (fs::exists(files.checkpoint, failed)) {
    auto text = read_file(files.checkpoint);
    if (!text) {
      found.problem = text.error();
      return found;
    }
    auto newest = open_checkpoint(key, *text);
    if (!newest) {
      found.problem = newest.error().at(files.checkpoint.string());
      return found;
    }
    found.checkpoint_size = newest->head.size;
    found.heads.push_back(std::move(*newest));
  } else if (found.heads.empty() ||
             found.heads.back().head.size > 1) {  // else: a crash while the log was begun
    found.problem =
        data_loss("the signed checkpoint '" + files.checkpoint.string() + "' is missing");
  }
  std::stable_sort(
      found.heads.begin(), found.heads.end(),
      [](const Checkpoint& a, const Checkpoint& b) { return a.head.size < b.head.size; });
  for (std::size_t i = 1; i < found.heads.size(); ++i) {
    const TreeHead& a = found.heads[i - 1].head;
    const TreeHead& b = found.heads[i].head;
    if (a.size == b.size && a.root != b.root) {
      found.problem = data_loss("two signed checkpoints of " + std::to_string(a.size) +
                                " entries have different roots: the log was forked");
    }
  }
  return found;
}

// ---- Impl ----

Result<Entry> Log::Impl::append(db::Transaction& tx, const Event& event) const {
  if (problem) return *problem;
  if (auto valid = check_event(event); !valid) return valid.error();
  if (auto fault = fault::point("audit.before_append"); !fault) return fault.error();
  auto last = last_entry(tx);
  if (!last) return last.error();

  Entry entry{last->size, clock.now(), event, last->leaf, ""};
  const std::string details = canonical(event.details);  // bytes that are not UTF-8 become U+FFFD
  std::string bytes;
  const EntryText text{entry.sequence, to_micros(entry.time), event.actor, event.action,
                       event.object,   event.digest,          details,     entry.previous};
  if (auto written = entry_json(text, bytes); !written) return written.error();
  if (bytes.size() > kMaxEntryBytes) {
    return invalid_argument("audit event '" + event.action + "' of '" + event.object + "' has " +
                            std::to_string(bytes.size()) + " bytes; at most " +
                            std::to_string(kMaxEntryBytes) +
                            " are allowed: store the rest as a blob and name its digest");
  }
  Digest hash = leaf_hash(bytes);
  entry.leaf = hex(hash);
  const std::string signature = to_base64(key->sign(entry_message(entry.sequence, entry.leaf)));
  if (auto put = tx.run(sql::insert_entry, entry.sequence, text.time, event.actor, event.action,
                        event.object, event.digest, details, entry.previous, entry.leaf, signature);
      !put) {
    return put.error();
  }
  // The subtrees this leaf completes: see Frontier::push.
  const NodeSource nodes = stored_nodes(tx);
  int level = 0;
  for (std::int64_t position = entry.sequence; (position & 1) != 0; position >>= 1) {
    auto left = nodes(level, position - 1);
    if (!left) return left.error();
    hash = node_hash(*left, hash);
    ++level;
    if (auto put = tx.run(sql::insert_node, entry.sequence, level, hex(hash)); !put)
      return put.error();
  }
  if (auto fault = fault::point("audit.after_append"); !fault) return fault.error();
  return entry;
}

// The caller holds the keys' lock, so the newest head on disk is of a state this read sees.
Result<TreeHead> Log::Impl::checkpoint_locked() {
  const SignedHeads found = read_signed_heads(files, public_key, Heads::newest);
  if (found.problem && !found.heads.empty()) return *found.problem;
  std::optional<TreeHead> before;
  if (!found.heads.empty()) before = found.heads.back().head;

  auto heads = db.read([&](db::Connection& connection) -> Result<std::pair<TreeHead, std::string>> {
    auto head = read_head(connection);
    if (!head) return head.error();
    std::string root_before;
    if (before && before->size <= head->size) {
      auto root = tree_root(before->size, stored_nodes(connection));
      if (!root) return root.error();
      root_before = hex(*root);
    }
    return std::pair(*head, root_before);
  });
  if (!heads) return heads.error();
  const auto& [head, root_before] = *heads;
  if (!before && found.problem && head.size > 1) return *found.problem;
  if (before && before->size > head.size) {
    return data_loss("the audit log was rolled back: " + std::to_string(before->size) +
                     " entries were signed, only " + std::to_string(head.size) +
                     " are there; restore the newer database, or the keys folder of the " +
                     "same backup");
  }
  if (before && before->root != root_before) {
    return data_loss("the audit log was rolled back: its first " + std::to_string(before->size) +
                     " entries are not the ones that were signed; run 'slipway audit verify'");
  }
  if (found.checkpoint_size == head.size) return head;
  if (!key) return failed_precondition("the audit key is missing");
  const bool in_history =
      before && before->size == head.size;  // a crash came between the two files
  const std::string note = in_history ? found.heads.back().note : sign_checkpoint(*key, head);
  if (!in_history) {
    if (auto added = add_to_history(files.history, note); !added) return added.error();
  }
  if (auto fault = fault::point("audit.mid_checkpoint"); !fault) return fault.error();
  if (auto put = write_file_atomic(files.checkpoint, note); !put) return put.error();
  return head;
}

// Loads or makes the key, begins an empty log, and compares the log with what was signed.
Result<void> Log::Impl::examine() {
  auto lock = KeysLock::acquire(files.lock);
  if (!lock) return lock.error();
  auto size = db.read([](db::Connection& connection) -> Result<std::int64_t> {
    auto last = last_entry(connection);
    if (!last) return last.error();
    return last->size;
  });
  if (!size) return size.error();

  auto loaded = load_signing_key(files.key);
  if (!loaded && loaded.error().code == Code::not_found && *size == 0 &&
      !fs::exists(files.checkpoint)) {
    loaded = create_signing_key(files.key, files.public_key);
    if (!loaded) return loaded.error();
  }
  std::optional<PublicKey> kept;
  if (std::error_code failed; fs::exists(files.public_key, failed)) {
    auto text = read_file(files.public_key);
    if (!text) return text.error();
    auto parsed = PublicKey::parse(*text);
    if (!parsed) return parsed.error().at(files.public_key.string());
    kept = *parsed;
  }
  if (loaded) {
    public_key = loaded->public_key();
    key = std::move(*loaded);
    if (kept && !(*kept == public_key)) {
      problem =
          failed_precondition("the audit key '" + files.key.string() + "' is not the one of '" +
                              files.public_key.string() + "': restore the pair from one backup");
      public_key = *kept;
    } else if (!kept) {
      if (auto put = write_file_atomic(files.public_key, public_key.text() + "\n"); !put)
        return put;
    }
  } else if (loaded.error().code == Code::not_found && kept) {
    public_key = *kept;
    problem = failed_precondition("the audit key '" + files.key.string() +
                                  "' is missing, and the log has " + std::to_string(*size) +
                                  " entries: restore it from a backup");
  } else {
    return loaded.error();
  }
  public_key_text = public_key.text();
  if (problem) return {};

  if (*size == 0 && !fs::exists(files.checkpoint)) {
    auto begun = db.write([&](db::Transaction& tx) -> Result<void> {
      auto last = last_entry(tx);
      if (!last) return last.error();
      if (last->size > 0) return {};
      auto entry = append(tx, {.actor = "slipway",
                               .action = std::string(kKeyAction),
                               .object = "keys/" + public_key.name,
                               .details = {{"public_key", public_key_text}}});
      if (!entry) return entry.error();
      return {};
    });
    if (!begun) return begun;
  }
  auto head = checkpoint_locked();
  if (!head) {
    if (head.error().code != Code::data_loss) return head.error();
    problem = head.error();
    return {};
  }
  last_signed.with([&](TreeHead& last) { last = *head; });
  return {};
}

// ---- Log ----

Log::Log(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Log::~Log() = default;

Result<std::unique_ptr<Log>> Log::open(db::Database& db, const fs::path& keys_dir,
                                       const Clock& clock) {
  if (auto migrated = db.migrate("audit", kMigrations); !migrated) return migrated.error();
  if (auto made = make_dirs(keys_dir); !made) return made.error();
  auto impl = std::make_unique<Impl>(db, clock);
  impl->files = {keys_dir / "audit.key", keys_dir / "audit.pub", keys_dir / "checkpoint",
                 keys_dir / "checkpoint.history", keys_dir / "lock"};
  if (auto examined = impl->examine(); !examined) return examined.error();
  if (impl->problem)
    log::error("the audit log takes no entries", {{"reason", impl->problem->message}});
  return std::unique_ptr<Log>(new Log(std::move(impl)));
}

Result<void> Log::status() const {
  if (impl_->problem) return *impl_->problem;
  return {};
}

const std::string& Log::public_key() const { return impl_->public_key_text; }

Result<Entry> Log::append(db::Transaction& tx, const Event& event) {
  return impl_->append(tx, event);
}

Result<Entry> Log::record(const Event& event) {
  return impl_->db.write([&](db::Transaction& tx) { return impl_->append(tx, event); });
}

Result<std::vector<Entry>> Log::list(const Filter& filter) const {
  return impl_->db.read([&](db::Connection& connection) -> Result<std::vector<Entry>> {
    auto rows = connection.query(
        filter.newest_first ? sql::list_newest_first : sql::list_oldest_first, filter.after,
        filter.action_prefix, filter.object_prefix, filter.actor, filter.limit);
    if (!rows) return rows.error();
    std::vector<Entry> entries;
    while (rows->next()) {
      auto entry = read_entry(*rows);
      if (!entry) return entry.error();
      entries.push_back(std::move(*entry));
    }
    if (auto status = rows->status(); !status) return status.error();
    return entries;
  });
}

Result<TreeHead> Log::head() const {
  return impl_->db.read([](db::Connection& connection) { return read_head(connection); });
}

Result<TreeHead> Log::checkpoint() {
  if (impl_->problem) return *impl_->problem;
  // Most calls find nothing new: no lock then.
  auto now = head();
  if (!now) return now;
  const TreeHead last = impl_->last_signed.with([](const TreeHead& head) { return head; });
  if (last.size == now->size && last.root == now->root) return now;
  auto lock = KeysLock::acquire(impl_->files.lock);
  if (!lock) return lock.error();
  auto head = impl_->checkpoint_locked();
  if (head) impl_->last_signed.with([&](TreeHead& signed_head) { signed_head = *head; });
  return head;
}

Result<std::string> Log::checkpoint_note() const { return read_file(impl_->files.checkpoint); }

Result<std::vector<std::string>> Log::inclusion_proof(std::int64_t sequence,
                                                      std::int64_t size) const {
  return impl_->db.read([&](db::Connection& connection) -> Result<std::vector<std::string>> {
    auto path = inclusion_path(sequence, size, stored_nodes(connection));
    if (!path) return path.error();
    std::vector<std::string> texts;
    for (const Digest& hash : *path) texts.push_back(hex(hash));
    return texts;
  });
}

Result<std::vector<std::string>> Log::consistency_proof(std::int64_t old_size,
                                                        std::int64_t size) const {
  return impl_->db.read([&](db::Connection& connection) -> Result<std::vector<std::string>> {
    auto path = consistency_path(old_size, size, stored_nodes(connection));
    if (!path) return path.error();
    std::vector<std::string> texts;
    for (const Digest& hash : *path) texts.push_back(hex(hash));
    return texts;
  });
}

}  // namespace slipway::audit
