// One pass over all entries, which recomputes leaves, links, tree nodes and the root at every
// signed size.
#include "audit/audit.h"
#include "audit/log_internal.h"
#include "audit/queries.h"

namespace slipway::audit {
namespace {

struct Finding {
  std::int64_t sequence = 0;
  std::string reason;
};

// Walks the rows in step with the stored tree nodes. Stops at the first finding.
class Verifier {
 public:
  Verifier(db::Connection& connection, const PublicKey& key, const std::vector<Checkpoint>& heads)
      : connection_(connection), key_(key), heads_(heads) {}

  Result<void> run(const Context& context) {
    auto entries = connection_.query(sql::all_entries);
    if (!entries) return entries.error();
    auto nodes = connection_.query(sql::all_nodes);
    if (!nodes) return nodes.error();
    nodes_ = &*nodes;
    compare_heads();  // of an empty log
    while (!finding_ && entries->next()) {
      if (frontier_.size() % 4096 == 0) {
        if (auto wanted = context.check(); !wanted) return wanted;
      }
      if (auto checked = check_entry(*entries); !checked) return checked;
      if (!finding_) compare_heads();
    }
    if (auto status = entries->status(); !status) return status;
    if (finding_) return {};
    if (head_ < heads_.size()) {
      const std::int64_t signed_size = heads_.back().head.size;
      find(frontier_.size(), "entries " + std::to_string(frontier_.size()) + " to " +
                                 std::to_string(signed_size - 1) + " are missing: a log of " +
                                 std::to_string(signed_size) +
                                 " entries was signed; its end was cut off, or an older database "
                                 "was put in its place");
      return {};
    }
    if (nodes->next()) {
      find(frontier_.size(), "the stored tree reaches entry " + std::to_string(nodes->integer(0)) +
                                 ", the log ends before it: its end was cut off");
    }
    return nodes->status();
  }

  const std::optional<Finding>& finding() const { return finding_; }
  TreeHead head() const { return {frontier_.size(), to_hex(frontier_.root())}; }

 private:
  void find(std::int64_t sequence, std::string reason) {
    if (!finding_) finding_ = Finding{sequence, std::move(reason)};
  }

  static std::string name_of(const db::Rows& row, std::int64_t sequence) {
    std::string text = row.text(3) + " " + row.text(4);
    for (char& c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    }
    return "entry " + std::to_string(sequence) + " (" + text.substr(0, 200) + ")";
  }

  Result<void> check_entry(const db::Rows& row) {
    const std::int64_t expected = frontier_.size();
    const std::int64_t sequence = row.integer(0);
    if (sequence != expected) {
      find(expected, sequence > expected
                         ? "entry " + std::to_string(expected) +
                               " is missing: the next one there is " + std::to_string(sequence)
                         : "entry " + std::to_string(sequence) + " has an impossible number");
      return {};
    }
    const std::string_view stored_leaf = row.view(8);
    const EntryText text{sequence,    row.integer(1), row.view(2), row.view(3),
                         row.view(4), row.view(5),    row.view(6), row.view(7)};
    // Exactly one JSON value: else a part of `details` could pass for the columns behind it.
    const bool whole = Json::accept(text.details);
    if (auto written = entry_json(text, bytes_); !written || !whole) {
      find(sequence, name_of(row, sequence) + " was changed: it holds " +
                         (whole ? "text that is not UTF-8" : "details that are not JSON"));
      return {};
    }
    const Digest leaf = leaf_hash(bytes_);
    hex_ = to_hex(leaf);
    if (hex_ != stored_leaf) {
      find(sequence, name_of(row, sequence) + " was changed: its columns give the leaf " +
                         hex_.substr(0, 16) + "…, stored is " +
                         std::string(stored_leaf.substr(0, 16)) + "…");
      return {};
    }
    if (text.previous != last_leaf_) {
      const std::string links =
          "it follows an entry with leaf " + std::string(text.previous.substr(0, 16)) + "…";
      if (sequence == 0) {
        find(0, name_of(row, 0) + " is not the first of a log: " + links);
      } else {
        find(sequence - 1, "entry " + std::to_string(sequence - 1) +
                               " was replaced: " + name_of(row, sequence) + " says that " + links +
                               ", found there is " + last_leaf_.substr(0, 16) + "…");
      }
      return {};
    }
    if (sequence == 0) check_named_key(row);
    if (sequence >= signed_size()) check_signature(row, sequence);
    last_leaf_ = hex_;
    return frontier_.push(leaf, [&](int level, std::int64_t position, const Digest& hash) {
      return check_node(level, position, hash);
    });
  }

  // The first entry names the key that signs this log.
  void check_named_key(const db::Rows& row) {
    if (row.view(3) != kKeyAction) {
      find(0, name_of(row, 0) + " does not name the key of the log");
      return;
    }
    const Json details = Json::parse(row.view(6), nullptr, false);
    const std::string named =
        details.is_object() ? details.value("public_key", std::string()) : std::string();
    if (named != key_.text()) {
      find(0, "the log was begun with the key '" + named.substr(0, 100) +
                  "', it is checked with '" + key_.text() + "': the key was exchanged");
    }
  }

  // Entries that no signed head covers yet prove by themselves that the key's holder wrote them.
  void check_signature(const db::Rows& row, std::int64_t sequence) {
    auto signature = from_base64(row.view(9));
    if (signature && key_.verify(entry_message(sequence, hex_), *signature)) return;
    find(sequence, name_of(row, sequence) +
                       " was not written by slipway: its signature does not fit the key " +
                       key_.name);
  }

  Result<void> check_node(int level, std::int64_t position, const Digest& hash) {
    const std::int64_t first = position << level;
    const std::int64_t last = ((position + 1) << level) - 1;
    const std::string over =
        "over entries " + std::to_string(first) + " to " + std::to_string(last);
    if (!nodes_->next()) {
      if (auto status = nodes_->status(); !status) return status;
      find(first, "the stored tree node " + over + " is missing");
    } else if (nodes_->integer(0) != last || nodes_->integer(1) != level) {
      find(first, "the stored tree node " + over + " is missing or doubled");
    } else if (nodes_->view(2) != to_hex(hash)) {
      find(first, "one of the entries " + std::to_string(first) + " to " + std::to_string(last) +
                      " was replaced: the stored tree node over them has another hash");
    }
    return {};
  }

  // The signed heads of the size reached. Two of one size with different roots (a fork) are told by
  // read_signed_heads; here it is enough that one of them is of these entries.
  void compare_heads() {
    const std::size_t first = head_;
    const std::string root = head_ < heads_.size() && heads_[head_].head.size == frontier_.size()
                                 ? to_hex(frontier_.root())
                                 : std::string();
    bool agrees = false;
    for (; head_ < heads_.size() && heads_[head_].head.size == frontier_.size(); ++head_) {
      agrees = agrees || heads_[head_].head.root == root;
    }
    if (head_ == first) return;
    if (agrees) {
      good_ = frontier_.size();
      return;
    }
    const std::string size = std::to_string(frontier_.size());
    find(good_, "one of the entries " + std::to_string(good_) + " to " +
                    std::to_string(frontier_.size() - 1) +
                    " is not the one that was signed: the first " + size +
                    " entries have the root " + root.substr(0, 16) + "…, signed was " +
                    heads_[first].head.root.substr(0, 16) + "…");
  }

  std::int64_t signed_size() const { return heads_.empty() ? 0 : heads_.back().head.size; }

  db::Connection& connection_;
  const PublicKey& key_;
  const std::vector<Checkpoint>& heads_;
  std::size_t head_ = 0;   // the next signed head to compare
  std::int64_t good_ = 0;  // the size of the last signed head that agreed
  db::Rows* nodes_ = nullptr;
  Frontier frontier_;
  std::string last_leaf_ = std::string(kNoLeaf);
  std::string bytes_;
  std::string hex_;
  std::optional<Finding> finding_;
};

}  // namespace

Result<Verification> Log::verify(const VerifyOptions& options) const {
  PublicKey key = impl_->public_key;
  if (!options.trusted_key.empty()) {
    auto trusted = PublicKey::parse(options.trusted_key);
    if (!trusted) return trusted.error();
    key = std::move(*trusted);
  }
  // The signed heads first: the log may grow meanwhile, never shrink.
  const SignedHeads found = read_signed_heads(impl_->files, key, Heads::all);
  Verification verification;
  verification.key = key.text();
  auto walked = impl_->db.read([&](db::Connection& connection) -> Result<void> {
    Verifier verifier(connection, key, found.heads);
    if (auto run = verifier.run(options.context); !run) return run;
    verification.head = verifier.head();
    if (const auto& finding = verifier.finding()) {
      verification.first_bad = finding->sequence;
      verification.reason = finding->reason;
    }
    return {};
  });
  if (!walked) return walked.error();
  if (!found.heads.empty()) verification.signed_size = found.heads.back().head.size;
  // A wrong entry says more than a wrong signed head; name the head only when all entries fit
  // together, and both when the head is what makes the entries look wrong.
  if (found.problem && (verification.reason.empty() || found.heads.empty())) {
    const bool alone = verification.reason.empty();
    verification.reason = found.problem->message + (alone ? "" : "; " + verification.reason);
  }
  if (verification.reason.empty() && impl_->problem && impl_->problem->code != Code::data_loss) {
    verification.reason = impl_->problem->message;
  }
  verification.ok = verification.reason.empty();
  return verification;
}

}  // namespace slipway::audit
