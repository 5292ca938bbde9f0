#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "blob/store.h"
#include "support/support.h"

namespace slipway::blob {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::message_of;
using test::ok;
using test::Scratch;

std::unique_ptr<Store> open_store(const fs::path& root) {
  auto store = Store::open(root);
  EXPECT_TRUE(ok(store));
  return store ? std::move(*store) : nullptr;
}

std::map<std::string, std::string> contents(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      files[fs::relative(entry.path(), folder).string()] = read_file(entry.path()).value_or("?");
    }
  }
  return files;
}

void fill(const Scratch& scratch, const std::string& folder) {
  for (const auto& [name, bytes] :
       std::vector<std::pair<std::string, std::string>>{{"MLmodel", "flavors:"},
                                                        {"a/b.json", "{}"},
                                                        {"a.json", "[]"},
                                                        {"a/c/deep.bin", "deep"},
                                                        {"ü/ключ", "utf-8"}}) {
    scratch.file(folder + "/" + name, bytes);
  }
}

TEST(Tree, GivesBackTheSameFolder) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  fill(scratch, "in");
  fs::create_directory(scratch / "in/empty");
  const auto ref = store->put_tree(scratch / "in");
  ASSERT_TRUE(ok(ref));
  ASSERT_TRUE(ok(store->get_tree(ref->sha256, scratch / "out/copy")));
  EXPECT_EQ(contents(scratch / "out/copy"), contents(scratch / "in"));
  EXPECT_TRUE(ok(store->verify_tree(ref->sha256)));
  for (const auto& entry : fs::directory_iterator(scratch / "out"))
    EXPECT_EQ(entry.path().filename(), "copy");
}

TEST(Tree, HasAManifestThatOthersCanCompute) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  scratch.file("in/b", "2");
  scratch.file("in/a/x", "1");
  scratch.file("in/a.txt", "3");
  const auto ref = store->put_tree(scratch / "in");
  ASSERT_TRUE(ok(ref));
  // '.' sorts before '/': byte order of whole paths, not of folders.
  const std::string wanted = R"({"files":[{"path":"a.txt","sha256":")" + sha256_hex("3") +
                             R"(","size":1},{"path":"a/x","sha256":")" + sha256_hex("1") +
                             R"(","size":1},{"path":"b","sha256":")" + sha256_hex("2") +
                             R"(","size":1}],"version":1})";
  EXPECT_EQ(store->read(ref->sha256).value_or("?"), wanted);
  const auto files = store->tree(ref->sha256);
  ASSERT_TRUE(ok(files));
  ASSERT_EQ(files->size(), 3U);
  EXPECT_EQ(files->at(1), (Store::TreeFile{"a/x", sha256_hex("1"), 1}));
}

TEST(Tree, IsTheSameForTheSameContentOnly) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  fill(scratch, "one");
  fill(scratch, "two");
  ::chmod((scratch / "two/a.json").c_str(), 0600);
  const auto one = store->put_tree(scratch / "one");
  ASSERT_TRUE(ok(one));
  EXPECT_EQ(store->put_tree(scratch / "two")->sha256, one->sha256);
  fs::rename(scratch / "two/a.json", scratch / "two/z.json");
  EXPECT_NE(store->put_tree(scratch / "two")->sha256, one->sha256);
}

TEST(Tree, DoesNotFollowSymbolicLinks) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  scratch.file("outside/secret", "secret");
  scratch.file("in/file", "x");
  fs::create_symlink(scratch / "outside/secret", scratch / "in/link");
  EXPECT_EQ(code_of(store->put_tree(scratch / "in")), "invalid_argument");
  EXPECT_NE(message_of(store->put_tree(scratch / "in")).find("in/link"), std::string::npos);
  fs::remove(scratch / "in/link");
  fs::create_directory_symlink(scratch / "outside", scratch / "in/folder");
  EXPECT_EQ(code_of(store->put_tree(scratch / "in")), "invalid_argument");
  fs::create_directory_symlink(scratch / "outside", scratch / "whole");
  EXPECT_EQ(code_of(store->put_tree(scratch / "whole")), "invalid_argument");
  EXPECT_FALSE(store->has(sha256_hex("secret")));
  EXPECT_EQ(code_of(store->put_tree(scratch / "absent")), "not_found");
}

TEST(Tree, RefusesManifestsThatLeadOutOrAreMalformed) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  const auto blob = store->put_bytes("x");
  ASSERT_TRUE(ok(blob));
  const auto file = [&](const Json& path) -> Json {
    return {{"path", path}, {"sha256", blob->sha256}, {"size", 1}};
  };
  const auto manifest = [](const Json& files) -> std::string {
    return Json{{"files", files}, {"version", 1}}.dump();
  };
  const std::vector<std::tuple<std::string, std::string>> rows = {
      {"parent", manifest({file("../out")})},
      {"parent inside", manifest({file("a/../../out")})},
      {"absolute", manifest({file("/tmp/out")})},
      {"backslash", manifest({file("..\\out")})},
      {"dot", manifest({file("./a")})},
      {"doubled slash", manifest({file("a//b")})},
      {"ends with slash", manifest({file("a/")})},
      {"NUL", manifest({file(std::string("a\0b", 3))})},
      {"line break", manifest({file("a\nb")})},
      {"empty", manifest({file("")})},
      {"long", manifest({file(std::string(2000, 'a'))})},
      {"number as path", manifest({file(7)})},
      {"twice", manifest({file("a"), file("a")})},
      {"out of order", manifest({file("b"), file("a")})},
      {"no digest", manifest({{{"path", "a"}, {"sha256", "../x"}, {"size", 1}}})},
      {"no list", R"({"version":1})"},
      {"other version", R"({"files":[],"version":2})"},
      {"version as text", R"({"files":[],"version":"1"})"},
      {"no JSON", "hello"},
      {"an array", "[]"},
  };
  for (const auto& [name, text] : rows) {
    SCOPED_TRACE(name);
    const auto ref = store->put_bytes(text);
    ASSERT_TRUE(ok(ref));
    EXPECT_EQ(code_of(store->tree(ref->sha256)), "invalid_argument");
    EXPECT_EQ(code_of(store->get_tree(ref->sha256, scratch / "target")), "invalid_argument");
    EXPECT_FALSE(fs::exists(scratch / "target"));
    EXPECT_FALSE(fs::exists(scratch / "out"));
  }
  // A file that is also a folder cannot be written; nothing of it stays.
  const auto clash = store->put_bytes(manifest({file("a"), file("a/b")}));
  EXPECT_FALSE(store->get_tree(clash->sha256, scratch / "target"));
  EXPECT_FALSE(fs::exists(scratch / "target"));
}

TEST(Tree, IsWrittenWholeOrNotAtAll) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  fill(scratch, "in");
  const auto ref = store->put_tree(scratch / "in");
  ASSERT_TRUE(ok(ref));
  const std::string deep = sha256_hex("deep");
  const fs::path damaged = *store->path_of(deep);
  ::chmod(damaged.c_str(), 0600);
  std::ofstream(damaged, std::ios::trunc) << "deeq";
  const auto got = store->get_tree(ref->sha256, scratch / "out/copy");
  EXPECT_EQ(code_of(got), "data_loss");
  EXPECT_NE(message_of(got).find("a/c/deep.bin"), std::string::npos);
  EXPECT_NE(message_of(got).find(deep), std::string::npos);
  EXPECT_EQ(code_of(store->verify_tree(ref->sha256)), "data_loss");
  fs::remove(damaged);
  EXPECT_EQ(code_of(store->get_tree(ref->sha256, scratch / "out/copy")), "not_found");
  EXPECT_TRUE(fs::is_empty(scratch / "out"));
}

TEST(Tree, NeverOverwritesAFolder) {
  const Scratch scratch;
  const auto store = open_store(scratch / "blobs");
  fill(scratch, "in");
  const auto ref = store->put_tree(scratch / "in");
  scratch.file("there/mine", "mine");
  EXPECT_EQ(code_of(store->get_tree(ref->sha256, scratch / "there")), "already_exists");
  EXPECT_EQ(contents(scratch / "there").size(), 1U);
}

TEST(RelativePath, AllowsPlainNames) {
  for (const char* path :
       {"a", "a/b/c.json", "..a", "a..b/c", ".hidden", "with space", "ü/日本", "a:b"}) {
    EXPECT_TRUE(ok(check_relative_path(path))) << path;
  }
  for (const char* path : {"a/\xC0\xAF", "a/\xED\xA0\x80", "\xFF", "a/\xC3", "a/\x7F"}) {
    EXPECT_EQ(code_of(check_relative_path(path)), "invalid_argument") << path;
  }
}

}  // namespace
}  // namespace slipway::blob
