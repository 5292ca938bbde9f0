#include "audit/merkle.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::audit {
namespace {

using test::code_of;
using test::ok;

// The eight leaves of the Certificate Transparency reference tests (RFC 6962 appendix-style data;
// hex).
const std::vector<std::string> kLeaves = {"",
                                          "00",
                                          "10",
                                          "2021",
                                          "3031",
                                          "40414243",
                                          "5051525354555657",
                                          "606162636465666768696a6b6c6d6e6f"};

Digest leaf(std::size_t index) {
  if (index < kLeaves.size()) return leaf_hash(*from_hex(kLeaves[index]));
  return leaf_hash("leaf " + std::to_string(index));
}

// The definition itself, without any stored node: MTH of RFC 6962 section 2.1.
Digest naive_root(std::size_t begin, std::size_t count) {
  if (count == 0) return sha256("");
  if (count == 1) return leaf(begin);
  std::size_t k = 1;
  while (k * 2 < count) k *= 2;
  return node_hash(naive_root(begin, k), naive_root(begin + k, count - k));
}

Result<Digest> naive_nodes(int level, std::int64_t position) {
  return naive_root(static_cast<std::size_t>(position << level), std::size_t{1} << level);
}

std::vector<std::string> hex(const std::vector<Digest>& path) {
  std::vector<std::string> texts;
  for (const Digest& digest : path) texts.push_back(to_hex(digest));
  return texts;
}

TEST(MerkleTree, HasTheRootsOfTheReferenceTests) {
  const std::vector<std::string> roots = {
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
      "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
      "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
      "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
      "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
      "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
      "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
      "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
  };
  Frontier frontier;
  for (std::size_t size = 0; size < roots.size(); ++size) {
    SCOPED_TRACE(size);
    const auto root = tree_root(static_cast<std::int64_t>(size), naive_nodes);
    ASSERT_TRUE(ok(root));
    EXPECT_EQ(to_hex(*root), roots[size]);
    EXPECT_EQ(to_hex(frontier.root()), roots[size]);
    ASSERT_TRUE(ok(frontier.push(leaf(size),
                                 [](int, std::int64_t, const Digest&) { return Result<void>(); })));
  }
}

TEST(MerkleTree, HasTheProofsOfTheReferenceTests) {
  const std::string n01 = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
  const std::string l1 = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
  const std::string n23 = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
  const std::string n47 = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
  const std::string n03 = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
  const std::string n45 = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
  const std::string n67 = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
  const std::string l4 = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
  using Path = std::vector<std::string>;
  EXPECT_EQ(hex(*inclusion_path(0, 1, naive_nodes)), Path{});
  EXPECT_EQ(hex(*inclusion_path(0, 8, naive_nodes)), (Path{l1, n23, n47}));
  EXPECT_EQ(hex(*inclusion_path(5, 8, naive_nodes)), (Path{l4, n67, n03}));
  EXPECT_EQ(hex(*inclusion_path(2, 3, naive_nodes)), (Path{n01}));
  EXPECT_EQ(hex(*consistency_path(1, 1, naive_nodes)), Path{});
  EXPECT_EQ(hex(*consistency_path(1, 8, naive_nodes)), (Path{l1, n23, n47}));
  EXPECT_EQ(hex(*consistency_path(6, 8, naive_nodes)), (Path{n45, n67, n03}));
  EXPECT_EQ(hex(*consistency_path(2, 5, naive_nodes)), (Path{n23, l4}));
}

TEST(MerkleTree, ProvesEveryEntryOfEverySmallTree) {
  constexpr std::int64_t kMost = 40;
  for (std::int64_t size = 1; size <= kMost; ++size) {
    const Digest root = naive_root(0, static_cast<std::size_t>(size));
    for (std::int64_t index = 0; index < size; ++index) {
      SCOPED_TRACE(fmt::format("{} of {}", index, size));
      auto path = inclusion_path(index, size, naive_nodes);
      ASSERT_TRUE(ok(path));
      const Digest mine = leaf(static_cast<std::size_t>(index));
      ASSERT_TRUE(check_inclusion(mine, index, size, *path, root));
      EXPECT_FALSE(check_inclusion(leaf(1000), index, size, *path, root));
      EXPECT_FALSE(check_inclusion(mine, index, size, *path, leaf(1000)));
      EXPECT_FALSE(check_inclusion(mine, (index + 1) % (size + 1), size, *path, root));
      if (!path->empty()) {
        path->back()[7] ^= 1;
        EXPECT_FALSE(check_inclusion(mine, index, size, *path, root));
        path->pop_back();
        EXPECT_FALSE(check_inclusion(mine, index, size, *path, root));
      }
    }
  }
}

TEST(MerkleTree, ProvesEveryEarlierSizeOfEverySmallTree) {
  constexpr std::int64_t kMost = 40;
  for (std::int64_t size = 0; size <= kMost; ++size) {
    const Digest root = naive_root(0, static_cast<std::size_t>(size));
    for (std::int64_t old_size = 0; old_size <= size; ++old_size) {
      SCOPED_TRACE(fmt::format("{} in {}", old_size, size));
      const Digest old_root = naive_root(0, static_cast<std::size_t>(old_size));
      auto path = consistency_path(old_size, size, naive_nodes);
      ASSERT_TRUE(ok(path));
      ASSERT_TRUE(check_consistency(old_size, old_root, size, root, *path));
      EXPECT_FALSE(check_consistency(old_size, leaf(1000), size, root, *path));
      if (path->empty()) continue;
      EXPECT_FALSE(check_consistency(old_size, old_root, size, leaf(1000), *path));
      path->front()[0] ^= 1;
      EXPECT_FALSE(check_consistency(old_size, old_root, size, root, *path));
    }
  }
}

TEST(MerkleTree, RefusesSizesThatCannotBe) {
  EXPECT_EQ(code_of(inclusion_path(3, 3, naive_nodes)), "invalid_argument");
  EXPECT_EQ(code_of(inclusion_path(-1, 3, naive_nodes)), "invalid_argument");
  EXPECT_EQ(code_of(consistency_path(4, 3, naive_nodes)), "invalid_argument");
  EXPECT_EQ(code_of(tree_root(-1, naive_nodes)), "invalid_argument");
}

}  // namespace
}  // namespace slipway::audit
