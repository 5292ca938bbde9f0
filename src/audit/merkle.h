// The Merkle tree of the audit log: RFC 6962 section 2.1 (leaf SHA-256(0x00 || bytes), node
// SHA-256(0x01 || left || right), a list of n leaves splits at the largest power of two below n,
// the empty tree is SHA-256("")), and the proof checks of RFC 9162 sections 2.1.3.2 and 2.1.4.2.
// Pure functions over a source of stored subtree roots: a root or a proof reads O(log^2 n) hashes.
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/hash.h"
#include "base/result.h"

namespace slipway::audit {

Digest leaf_hash(std::string_view bytes);
Digest node_hash(const Digest& left, const Digest& right);

// The root over leaves [position << level, (position + 1) << level): a complete subtree. Level 0:
// the leaf hash itself.
using NodeSource = std::function<Result<Digest>(int level, std::int64_t position)>;

Result<Digest> tree_root(std::int64_t size, const NodeSource& nodes);
// Sibling hashes from the leaf up. invalid_argument unless 0 <= index < size.
Result<std::vector<Digest>> inclusion_path(std::int64_t index, std::int64_t size,
                                           const NodeSource& nodes);
// Proof that the tree of old_size leaves is a prefix of the one of size. invalid_argument unless 0
// <= old_size <= size; empty when old_size is 0 or equal to size.
Result<std::vector<Digest>> consistency_path(std::int64_t old_size, std::int64_t size,
                                             const NodeSource& nodes);

bool check_inclusion(const Digest& leaf, std::int64_t index, std::int64_t size,
                     const std::vector<Digest>& path, const Digest& root);
bool check_consistency(std::int64_t old_size, const Digest& old_root, std::int64_t size,
                       const Digest& root, const std::vector<Digest>& path);

// The right edge of a growing tree: O(log n) state, amortised one node an append.
class Frontier {
 public:
  using OnNode = std::function<Result<void>(int level, std::int64_t position, const Digest& hash)>;
  // Tells each complete subtree (level >= 1) that this leaf finishes, smallest first.
  Result<void> push(const Digest& leaf, const OnNode& on_node);
  std::int64_t size() const { return size_; }
  Digest root() const;

 private:
  std::int64_t size_ = 0;
  std::vector<Digest> edge_;  // by level; the entry counts when that bit of size_ is set
};

}  // namespace slipway::audit
