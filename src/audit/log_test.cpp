#include <gmock/gmock.h>
#include <sys/stat.h>

#include "audit/audit.h"
#include "audit/merkle.h"
#include "audit/note_internal.h"
#include "audit/test_home_internal.h"
#include "base/file.h"
#include "base/hash.h"

namespace slipway::audit {
namespace {

namespace fs = std::filesystem;
using test::code_of;
using test::message_of;
using test::ok;
using test::Scratch;
using ::testing::HasSubstr;

Digest digest_of(const std::string& hex) {
  Digest digest;
  const std::string bytes = *from_hex(hex);
  std::memcpy(digest.data(), bytes.data(), digest.size());
  return digest;
}

std::vector<Digest> digests_of(const std::vector<std::string>& path) {
  std::vector<Digest> digests;
  for (const std::string& hex : path) digests.push_back(digest_of(hex));
  return digests;
}

unsigned mode_of(const fs::path& file) {
  struct stat info{};
  ::stat(file.c_str(), &info);
  return info.st_mode & 07777U;
}

TEST(AuditLog, BeginsWithAnEntryThatNamesItsKey) {
  TestHome home;
  const auto entries = home.log->list({});
  ASSERT_TRUE(ok(entries));
  ASSERT_EQ(entries->size(), 1U);
  EXPECT_EQ(entries->front().event.action, "audit.key");
  EXPECT_EQ(entries->front().event.details["public_key"], home.log->public_key());
  EXPECT_EQ(home.verify().signed_size, 1);
}

TEST(AuditLog, HashesTheCanonicalJsonOfAnEntry) {
  TestHome home;
  const auto entry = home.log->record({.actor = "Zoë \"z\"\n",
                                       .action = "run.create",
                                       .object = "runs/1",
                                       .details = {{"b", 1.5}, {"a", "x"}}});
  ASSERT_TRUE(ok(entry));
  EXPECT_EQ(entry->sequence, 1);
  EXPECT_EQ(entry->time, test::kNoon2013);
  const std::string text =
      R"({"action":"run.create","actor":"Zoë \"z\"\n","details":{"a":"x","b":1.5},"digest":"","object":"runs/1","previous":")" +
      entry->previous + R"(","sequence":1,"time":1364817600000000})";
  EXPECT_EQ(entry->leaf, to_hex(leaf_hash(text)));
  EXPECT_EQ(entry->previous, home.log->list({.limit = 1})->front().leaf);
}

TEST(AuditLog, LosesTheEntryWithTheChangeItStandsFor) {
  TestHome home;
  const auto failed = home.db->write([&](db::Transaction& tx) -> Result<void> {
    if (auto entry = home.log->append(tx, TestHome::event(1)); !entry) return entry.error();
    return failed_precondition("the change was refused");
  });
  EXPECT_EQ(code_of(failed), "failed_precondition");
  EXPECT_EQ(home.log->head()->size, 1);
  home.append(3);
  EXPECT_TRUE(home.verify().ok);
}

TEST(AuditLog, TakesSeveralEntriesInOneTransaction) {
  TestHome home;
  ASSERT_TRUE(ok(home.db->write([&](db::Transaction& tx) -> Result<void> {
    for (int i = 0; i < 9; ++i) {
      if (auto entry = home.log->append(tx, TestHome::event(i)); !entry) return entry.error();
    }
    return {};
  })));
  EXPECT_EQ(home.log->head()->size, 10);
  EXPECT_TRUE(home.verify().ok);
}

TEST(AuditLog, RefusesEntriesThatSayNothingOrTooMuch) {
  TestHome home;
  const std::vector<std::tuple<std::string, Event>> rows = {
      {"no actor", {"", "a.b", "o", "", Json::object()}},
      {"no action", {"a", "", "o", "", Json::object()}},
      {"no object", {"a", "a.b", "", "", Json::object()}},
      {"too long", {"a", "a.b", "o", "", {{"text", std::string(70'000, 'x')}}}},
      {"not UTF-8", {"a\xFF", "a.b", "o", "", Json::object()}},
  };
  for (const auto& [name, event] : rows) {
    SCOPED_TRACE(name);
    EXPECT_EQ(code_of(home.log->record(event)), "invalid_argument");
  }
  EXPECT_EQ(home.log->head()->size, 1);
}

TEST(AuditLog, KeepsAnEntryWhoseDetailsHoldBrokenText) {
  TestHome home;
  ASSERT_TRUE(ok(home.log->record({"a", "file.read", "f", "", {{"name", "x\xFFy"}}})));
  EXPECT_EQ(home.log->list({.after = 0})->front().event.details["name"], "x\uFFFDy");
  EXPECT_TRUE(home.verify().ok);
}

TEST(AuditLog, ListsByFilter) {
  TestHome home;
  const std::vector<Event> events = {
      {"ann", "run.create", "runs/1", "", Json::object()},
      {"bob", "run.finish", "runs/1", "", Json::object()},
      {"ann", "alias.set", "models/a@champion", "", Json::object()},
      {"slipway", "alias.set", "models/b@champion", "", Json::object()}};
  for (const Event& event : events) ASSERT_TRUE(ok(home.log->record(event)));
  using Sequences = std::vector<std::int64_t>;
  const std::vector<std::tuple<std::string, Log::Filter, Sequences>> rows = {
      {"all", {}, {0, 1, 2, 3, 4}},
      {"action", {.action_prefix = "run."}, {1, 2}},
      {"object", {.object_prefix = "models/"}, {3, 4}},
      {"actor", {.actor = "ann"}, {1, 3}},
      {"both", {.action_prefix = "alias", .actor = "ann"}, {3}},
      {"after", {.after = 2}, {3, 4}},
      {"newest two", {.limit = 2, .newest_first = true}, {4, 3}},
      {"no wildcard", {.action_prefix = "run%"}, {}},
  };
  for (const auto& [name, filter, wanted] : rows) {
    SCOPED_TRACE(name);
    const auto found = home.log->list(filter);
    ASSERT_TRUE(ok(found));
    Sequences sequences;
    for (const Entry& entry : *found) sequences.push_back(entry.sequence);
    EXPECT_EQ(sequences, wanted);
  }
}

TEST(AuditLog, ProvesInclusionAndConsistency) {
  TestHome home;
  std::vector<TreeHead> heads;
  for (int i = 0; i < 21; ++i) {
    heads.push_back(*home.log->head());
    home.append(1);
  }
  const TreeHead head = *home.log->head();
  const auto entries = home.log->list({});
  for (const Entry& entry : *entries) {
    const auto proof = home.log->inclusion_proof(entry.sequence, head.size);
    ASSERT_TRUE(ok(proof));
    EXPECT_TRUE(check_inclusion(digest_of(entry.leaf), entry.sequence, head.size,
                                digests_of(*proof), digest_of(head.root)));
  }
  for (const TreeHead& old : heads) {
    const auto proof = home.log->consistency_proof(old.size, head.size);
    ASSERT_TRUE(ok(proof));
    EXPECT_TRUE(check_consistency(old.size, digest_of(old.root), head.size, digest_of(head.root),
                                  digests_of(*proof)));
  }
  EXPECT_EQ(code_of(home.log->inclusion_proof(22, 22)), "invalid_argument");
  EXPECT_FALSE(home.log->inclusion_proof(3, 100));
}

TEST(AuditLog, GrowsFromManyThreadsAndConnections) {
  TestHome home;
  const auto second_db =
      db::Database::open(test::database_at(home.scratch / "slipway.db"), {.durable = false});
  ASSERT_TRUE(ok(second_db));
  const auto second = Log::open(**second_db, home.keys(), home.clock);
  ASSERT_TRUE(ok(second));
  EXPECT_EQ((*second)->public_key(), home.log->public_key());
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      Log& mine = t % 2 == 0 ? *home.log : **second;
      for (int i = 0; i < 25; ++i) {
        if (!mine.record(TestHome::event(i))) ++failures;
        if (i % 5 == 0 && !mine.checkpoint()) ++failures;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(home.log->head()->size, 101);
  home.sign();
  const Verification verification = home.verify();
  EXPECT_TRUE(verification.ok) << verification.reason;
  EXPECT_EQ(verification.signed_size, 101);
}

TEST(Checkpoint, IsASignedNoteThatOthersCanRead) {
  TestHome home;
  home.append(4);
  home.sign();
  const auto note = home.log->checkpoint_note();
  ASSERT_TRUE(ok(note));
  const auto key = PublicKey::parse(home.log->public_key());
  ASSERT_TRUE(ok(key));
  EXPECT_THAT(key->name, ::testing::MatchesRegex("slipway/[0-9a-f]{8}"));
  EXPECT_EQ(key->name.substr(8), sha256_hex(key->bytes).substr(0, 8));
  const TreeHead head = *home.log->head();
  EXPECT_THAT(*note, ::testing::StartsWith(key->name + "\n5\n" + to_base64(*from_hex(head.root)) +
                                           "\n\n\xE2\x80\x94 " + key->name + " "));
  const auto opened = open_checkpoint(*key, *note);
  ASSERT_TRUE(ok(opened));
  EXPECT_EQ(opened->head.size, 5);
  EXPECT_EQ(opened->head.root, head.root);
  // A witness may add its line; a changed byte of ours is found.
  EXPECT_TRUE(ok(open_checkpoint(*key, *note + "\xE2\x80\x94 witness/1 AAAA\n")));
  std::string changed = *note;
  changed[key->name.size() + 1] = '6';
  EXPECT_EQ(code_of(open_checkpoint(*key, changed)), "data_loss");
}

TEST(Checkpoint, ReadsAKnownNote) {
  // Key and note of the C2SP signed-note format as Go's golang.org/x/mod/sumdb/note documents it.
  const auto key =
      PublicKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW");
  ASSERT_TRUE(ok(key));
  EXPECT_EQ(to_hex({reinterpret_cast<const std::uint8_t*>(key->id().data()), 4}), "c74f20a3");
  const std::string text =
      "If you think cryptography is the answer to your problem,\nthen you don't know what your "
      "problem is.\n";
  const std::string line =
      "x08go/ZJkuBS9UG/"
      "SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=";
  const auto signature = from_base64(line);
  ASSERT_TRUE(ok(signature));
  EXPECT_EQ(signature->substr(0, 4), key->id());
  EXPECT_TRUE(key->verify(text, signature->substr(4)));
  EXPECT_FALSE(key->verify(text + "\n", signature->substr(4)));
}

TEST(Checkpoint, IsNeverSignedBackwards) {
  if (test::on_postgres()) GTEST_SKIP() << "puts another file in the database's place";
  TestHome home;
  home.append(9);
  ASSERT_TRUE(ok(home.db->backup_to(home.scratch / "older.db")));
  home.append(5);
  home.sign();
  home.close();
  fs::remove(home.scratch / "slipway.db-wal");
  fs::remove(home.scratch / "slipway.db-shm");
  fs::rename(home.scratch / "older.db", home.scratch / "slipway.db");
  const std::string before = *read_file(home.keys() / "checkpoint");
  home.open();
  for (const auto& refused :
       {message_of(home.log->status()), message_of(home.log->record(TestHome::event(1))),
        message_of(home.log->checkpoint())}) {
    EXPECT_THAT(refused, HasSubstr("the audit log was rolled back"));
  }
  EXPECT_EQ(*read_file(home.keys() / "checkpoint"), before);
  const Verification verification = home.verify();
  EXPECT_FALSE(verification.ok);
  EXPECT_EQ(verification.first_bad, 10);
}

TEST(Checkpoint, IsRefusedWhenSignedEntriesWereReplacedWhileTheServerRan) {
  TestHome home;
  home.append(9);
  home.sign();
  home.tamper("DELETE FROM audit_entries WHERE sequence >= 5");
  home.tamper("DELETE FROM audit_nodes WHERE last >= 5");
  home.append(8);
  EXPECT_EQ(code_of(home.log->checkpoint()), "data_loss");
  EXPECT_FALSE(home.verify().ok);
}

TEST(Checkpoint, KeepsItsHistoryShort) {
  TestHome home;
  const auto key = load_signing_key(home.keys() / "audit.key");
  ASSERT_TRUE(ok(key));
  // As after long use: many old heads.
  std::string history = *read_file(home.keys() / "checkpoint.history");
  const std::string old = history;
  while (history.size() < (std::size_t{256} << 10)) history += old;
  ASSERT_TRUE(ok(write_file_atomic(home.keys() / "checkpoint.history", history)));
  home.append(1);
  home.sign();
  EXPECT_LT(fs::file_size(home.keys() / "checkpoint.history"), history.size() * 2 / 3);
  EXPECT_TRUE(home.verify().ok) << home.verify().reason;
}

TEST(Checkpoint, SurvivesATornHistory) {
  TestHome home;
  home.append(3);
  home.sign();
  std::ofstream(home.keys() / "checkpoint.history", std::ios::app) << "slipway/torn\n12\nAAA";
  home.append(3);
  home.sign();
  EXPECT_TRUE(home.verify().ok) << home.verify().reason;
  EXPECT_THAT(*read_file(home.keys() / "checkpoint.history"), ::testing::Not(HasSubstr("torn")));
}

TEST(AuditKeys, AreKeptFromOthers) {
  TestHome home;
  EXPECT_EQ(mode_of(home.keys() / "audit.key"), 0600U);
  EXPECT_EQ(mode_of(home.keys()), 0700U);
  EXPECT_EQ(*read_file(home.keys() / "audit.pub"), home.log->public_key() + "\n");
  ::chmod((home.keys() / "audit.key").c_str(), 0640);
  const auto opened = Log::open(*home.db, home.keys(), home.clock);
  EXPECT_EQ(code_of(opened), "failed_precondition");
  EXPECT_THAT(message_of(opened), HasSubstr("chmod 600"));
}

TEST(AuditKeys, ThatAreMissingOrExchangedStopTheLog) {
  TestHome home;
  home.append(3);
  home.sign();
  home.close();
  const std::string secret = *read_file(home.keys() / "audit.key");
  fs::remove(home.keys() / "audit.key");
  home.open();
  EXPECT_EQ(code_of(home.log->status()), "failed_precondition");
  EXPECT_EQ(code_of(home.log->record(TestHome::event(1))), "failed_precondition");
  EXPECT_FALSE(home.verify().ok);
  home.close();
  TestHome other;
  fs::copy_file(other.keys() / "audit.key", home.keys() / "audit.key");
  home.open();
  EXPECT_EQ(code_of(home.log->record(TestHome::event(1))), "failed_precondition");
  home.close();
  ASSERT_TRUE(ok(write_file_atomic(home.keys() / "audit.key", secret)));
  home.open();
  EXPECT_TRUE(ok(home.log->status()));
  EXPECT_TRUE(home.verify().ok);
}

}  // namespace
}  // namespace slipway::audit
