#include "audit/merkle.h"

#include <bit>

namespace slipway::audit {
namespace {

std::uint64_t unsigned_of(std::int64_t value) { return static_cast<std::uint64_t>(value); }

// The largest power of two below n, n > 1.
std::int64_t split(std::int64_t n) {
  return static_cast<std::int64_t>(std::bit_floor(unsigned_of(n) - 1));
}

// The root over leaves [begin, begin + count), count > 0; begin is a multiple of the largest power
// of two <= count.
Result<Digest> range_root(std::int64_t begin, std::int64_t count, const NodeSource& nodes) {
  if (std::has_single_bit(unsigned_of(count))) {
    const int level = std::countr_zero(unsigned_of(count));
    return nodes(level, begin >> level);
  }
  const std::int64_t left_count = split(count);
  auto left = range_root(begin, left_count, nodes);
  if (!left) return left;
  auto right = range_root(begin + left_count, count - left_count, nodes);
  if (!right) return right;
  return node_hash(*left, *right);
}

// PATH(m, D[n]) of RFC 6962 section 2.1.1 over leaves [begin, begin + count).
Result<void> path(std::int64_t index, std::int64_t begin, std::int64_t count,
                  const NodeSource& nodes, std::vector<Digest>& out) {
  if (count == 1) return {};
  const std::int64_t k = split(count);
  const bool in_left = index < k;
  auto below = in_left ? path(index, begin, k, nodes, out)
                       : path(index - k, begin + k, count - k, nodes, out);
  if (!below) return below;
  auto sibling = in_left ? range_root(begin + k, count - k, nodes) : range_root(begin, k, nodes);
  if (!sibling) return sibling.error();
  out.push_back(*sibling);
  return {};
}

// SUBPROOF(m, D[n], b) of RFC 6962 section 2.1.2.
Result<void> subproof(std::int64_t old_count, std::int64_t begin, std::int64_t count, bool whole,
                      const NodeSource& nodes, std::vector<Digest>& out) {
  if (old_count == count) {
    if (whole) return {};
    auto root = range_root(begin, count, nodes);
    if (!root) return root.error();
    out.push_back(*root);
    return {};
  }
  const std::int64_t k = split(count);
  const bool in_left = old_count <= k;
  auto below = in_left ? subproof(old_count, begin, k, whole, nodes, out)
                       : subproof(old_count - k, begin + k, count - k, false, nodes, out);
  if (!below) return below;
  auto other = in_left ? range_root(begin + k, count - k, nodes) : range_root(begin, k, nodes);
  if (!other) return other.error();
  out.push_back(*other);
  return {};
}

}  // namespace

Digest leaf_hash(std::string_view bytes) {
  return Sha256().update(std::string_view("\0", 1)).update(bytes).finish();
}

Digest node_hash(const Digest& left, const Digest& right) {
  std::array<char, 65> buffer;
  buffer[0] = 1;
  std::memcpy(buffer.data() + 1, left.data(), 32);
  std::memcpy(buffer.data() + 33, right.data(), 32);
  return sha256({buffer.data(), buffer.size()});
}

Result<Digest> tree_root(std::int64_t size, const NodeSource& nodes) {
  if (size < 0) return invalid_argument("a tree has no negative size");
  if (size == 0) return sha256("");
  return range_root(0, size, nodes);
}

Result<std::vector<Digest>> inclusion_path(std::int64_t index, std::int64_t size,
                                           const NodeSource& nodes) {
  if (index < 0 || index >= size) {
    return invalid_argument("entry " + std::to_string(index) + " is not in a tree of " +
                            std::to_string(size) + " entries");
  }
  std::vector<Digest> out;
  if (auto done = path(index, 0, size, nodes, out); !done) return done.error();
  return out;
}

Result<std::vector<Digest>> consistency_path(std::int64_t old_size, std::int64_t size,
                                             const NodeSource& nodes) {
  if (old_size < 0 || old_size > size) {
    return invalid_argument("a tree of " + std::to_string(old_size) +
                            " entries is no earlier state of one of " + std::to_string(size));
  }
  std::vector<Digest> out;
  if (old_size == 0 || old_size == size) return out;
  if (auto done = subproof(old_size, 0, size, true, nodes, out); !done) return done.error();
  return out;
}

bool check_inclusion(const Digest& leaf, std::int64_t index, std::int64_t size,
                     const std::vector<Digest>& path, const Digest& root) {
  if (index < 0 || index >= size) return false;
  std::uint64_t fn = unsigned_of(index);
  std::uint64_t sn = unsigned_of(size) - 1;
  Digest r = leaf;
  for (const Digest& p : path) {
    if (sn == 0) return false;
    if ((fn & 1) != 0 || fn == sn) {
      r = node_hash(p, r);
      while ((fn & 1) == 0 && fn != 0) {
        fn >>= 1;
        sn >>= 1;
      }
    } else {
      r = node_hash(r, p);
    }
    fn >>= 1;
    sn >>= 1;
  }
  return sn == 0 && r == root;
}

bool check_consistency(std::int64_t old_size, const Digest& old_root, std::int64_t size,
                       const Digest& root, const std::vector<Digest>& path) {
  if (old_size < 0 || old_size > size) return false;
  if (old_size == 0) return path.empty() && old_root == sha256("");
  if (old_size == size) return path.empty() && old_root == root;
  std::vector<Digest> full;
  if (std::has_single_bit(unsigned_of(old_size))) full.push_back(old_root);
  full.insert(full.end(), path.begin(), path.end());
  if (full.empty()) return false;
  std::uint64_t fn = unsigned_of(old_size) - 1;
  std::uint64_t sn = unsigned_of(size) - 1;
  while ((fn & 1) != 0) {
    fn >>= 1;
    sn >>= 1;
  }
  Digest fr = full.front();
  Digest sr = full.front();
  for (std::size_t i = 1; i < full.size(); ++i) {
    const Digest& c = full[i];
    if (sn == 0) return false;
    if ((fn & 1) != 0 || fn == sn) {
      fr = node_hash(c, fr);
      sr = node_hash(c, sr);
      while ((fn & 1) == 0 && fn != 0) {
        fn >>= 1;
        sn >>= 1;
      }
    } else {
      sr = node_hash(sr, c);
    }
    fn >>= 1;
    sn >>= 1;
  }
  return sn == 0 && fr == old_root && sr == root;
}

Result<void> Frontier::push(const Digest& leaf, const OnNode& on_node) {
  Digest hash = leaf;
  int level = 0;
  for (std::int64_t position = size_; (position & 1) != 0; position >>= 1) {
    hash = node_hash(edge_[static_cast<std::size_t>(level)], hash);
    ++level;
    if (auto told = on_node(level, position >> 1, hash); !told) return told;
  }
  if (edge_.size() <= static_cast<std::size_t>(level))
    edge_.resize(static_cast<std::size_t>(level) + 1);
  edge_[static_cast<std::size_t>(level)] = hash;
  ++size_;
  return {};
}

Digest Frontier::root() const {
  if (size_ == 0) return sha256("");
  std::uint64_t bits = unsigned_of(size_);
  Digest hash = edge_[static_cast<std::size_t>(std::countr_zero(bits))];
  for (bits &= bits - 1; bits != 0; bits &= bits - 1) {
    hash = node_hash(edge_[static_cast<std::size_t>(std::countr_zero(bits))], hash);
  }
  return hash;
}

}  // namespace slipway::audit
