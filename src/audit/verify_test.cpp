// Tamper drills: someone with the database in hand, and sometimes the key files, tries to change
// what happened.
#include <gmock/gmock.h>

#include "audit/audit.h"
#include "audit/log_internal.h"
#include "audit/note_internal.h"
#include "audit/test_home_internal.h"
#include "base/file.h"

namespace slipway::audit {
namespace {

namespace fs = std::filesystem;
using test::ok;
using ::testing::AnyOf;
using ::testing::HasSubstr;

// What the independent verifier says; nothing when it cannot be run here.
std::optional<int> independent_verdict(const TestHome& home, const std::string& more = "") {
  const fs::path script = "docs/reference/audit_verify.py";
  if (test::on_postgres()) return std::nullopt;  // it reads SQLite's file
  if (!fs::exists(script) || std::system("python3 -c '' > /dev/null 2>&1") != 0)
    return std::nullopt;
  const std::string command = "python3 " + script.string() + " --db " +
                              (home.scratch / "slipway.db").string() + " --keys " +
                              home.keys().string() + more + " > " +
                              (home.scratch / "verdict").string() + " 2>&1";
  return WEXITSTATUS(std::system(command.c_str()));
}

// Rewrites every entry from `first` on as a forger without the secret key can: leaves, links and
// tree fit together again.
void rebuild_from(TestHome& home, std::int64_t first) {
  auto done = home.db->write([&](db::Transaction& tx) -> Result<void> {
    auto rows = tx.query(
        "SELECT sequence, time, actor, action, object, digest, details FROM audit_entries ORDER BY "
        "sequence");
    if (!rows) return rows.error();
    struct Row {
      std::int64_t sequence, time;
      std::string actor, action, object, digest, details;
    };
    std::vector<Row> all;
    while (rows->next()) {
      all.push_back({rows->integer(0), rows->integer(1), rows->text(2), rows->text(3),
                     rows->text(4), rows->text(5), rows->text(6)});
    }
    if (auto ran = tx.run("DELETE FROM audit_nodes"); !ran) return ran;
    Frontier frontier;
    std::string previous(kNoLeaf);
    for (const Row& row : all) {
      std::string bytes;
      if (auto written = entry_json({row.sequence, row.time, row.actor, row.action, row.object,
                                     row.digest, row.details, previous},
                                    bytes);
          !written)
        return written;
      const Digest leaf = leaf_hash(bytes);
      if (row.sequence >= first) {
        if (auto ran = tx.run("UPDATE audit_entries SET leaf = ?, previous = ? WHERE sequence = ?",
                              to_hex(leaf), previous, row.sequence);
            !ran)
          return ran;
      }
      previous = to_hex(leaf);
      auto pushed = frontier.push(leaf, [&](int level, std::int64_t, const Digest& hash) {
        return tx.run("INSERT INTO audit_nodes(last, level, hash) VALUES(?, ?, ?)", row.sequence,
                      level, to_hex(hash));
      });
      if (!pushed) return pushed;
    }
    return {};
  });
  ASSERT_TRUE(ok(done));
}

struct Drill {
  std::string name;
  std::function<void(TestHome&)> attack;
  std::int64_t first_bad;  // -1: the signed heads or the key are what is wrong, no entry
  std::string reason;      // a part of it
};

// 21 entries: heads signed at 1, 11 and 16; five entries since.
void fill(TestHome& home) {
  home.append(10);
  home.sign();
  home.append(5);
  home.sign();
  home.append(5);
}

void sql(TestHome& home, std::initializer_list<std::string_view> statements) {
  for (const std::string_view statement : statements) home.tamper(statement);
}

// A key of the attacker's own in place of the log's, with every signature made anew.
void exchange_key(TestHome& home, bool also_public_key) {
  const auto key = SigningKey::generate();
  ASSERT_TRUE(ok(key));
  const TreeHead head = *home.log->head();
  ASSERT_TRUE(ok(write_file_atomic(home.keys() / "checkpoint", sign_checkpoint(*key, head))));
  ASSERT_TRUE(ok(
      write_file_atomic(home.keys() / "checkpoint.history", sign_checkpoint(*key, head) + "\n")));
  ASSERT_TRUE(ok(write_file_atomic(home.keys() / "audit.key", key->text() + "\n")));
  if (also_public_key) {
    ASSERT_TRUE(ok(write_file_atomic(home.keys() / "audit.pub", key->public_key().text() + "\n")));
  }
  home.close();
  home.open();
}

const std::vector<Drill>& drills() {
  static const std::vector<Drill> all = {
      {"edit the actor",
       [](TestHome& h) { sql(h, {"UPDATE audit_entries SET actor = 'bob' WHERE sequence = 7"}); },
       7, "entry 7 (alias.set models/flights@champion) was changed"},
      {"edit the details",
       [](TestHome& h) {
         sql(h,
             {R"(UPDATE audit_entries SET details = '{"version":2,"why":"gate"}' WHERE sequence = 7)"});
       },
       7, "was changed"},
      {"edit the digest of a policy or blob",
       [](TestHome& h) {
         sql(h, {"UPDATE audit_entries SET digest = 'other' WHERE sequence = 3"});
       },
       3, "was changed"},
      {"edit the last entry",
       [](TestHome& h) { sql(h, {"UPDATE audit_entries SET object = 'x' WHERE sequence = 20"}); },
       20, "was changed"},
      {"edit a stored leaf",
       [](TestHome& h) { sql(h, {"UPDATE audit_entries SET leaf = '00' WHERE sequence = 4"}); }, 4,
       "was changed"},
      {"edit a link",
       [](TestHome& h) { sql(h, {"UPDATE audit_entries SET previous = leaf WHERE sequence = 4"}); },
       4, "was changed"},
      {"details that swallow the columns behind them",
       [](TestHome& h) {
         sql(h,
             {R"(UPDATE audit_entries SET details = '{"version":5,"why":"gate"},"digest":"d' WHERE sequence = 5)"});
       },
       5, "was changed"},
      {"details with a space",
       [](TestHome& h) {
         sql(h,
             {R"(UPDATE audit_entries SET details = '{"version":5, "why":"gate"}' WHERE sequence = 5)"});
       },
       5, "was changed"},
      {"back-date",
       [](TestHome& h) {
         sql(h, {"UPDATE audit_entries SET time = time - 86400000000 WHERE sequence = 12"});
       },
       12, "was changed"},
      {"delete a middle entry",
       [](TestHome& h) { sql(h, {"DELETE FROM audit_entries WHERE sequence = 6"}); }, 6,
       "entry 6 is missing"},
      {"delete a middle entry and close the gap",
       [](TestHome& h) {
         sql(h, {"DELETE FROM audit_entries WHERE sequence = 6",
                 "UPDATE audit_entries SET sequence = -sequence WHERE sequence > 6",
                 "UPDATE audit_entries SET sequence = -sequence - 1 WHERE sequence < 0"});
       },
       6, "was changed"},
      {"delete the first entry",
       [](TestHome& h) { sql(h, {"DELETE FROM audit_entries WHERE sequence = 0"}); }, 0,
       "entry 0 is missing"},
      {"swap two entries",
       [](TestHome& h) {
         sql(h, {"UPDATE audit_entries SET sequence = -1 WHERE sequence = 8",
                 "UPDATE audit_entries SET sequence = 8 WHERE sequence = 9",
                 "UPDATE audit_entries SET sequence = 9 WHERE sequence = -1"});
       },
       8, "was changed"},
      {"duplicate an entry at the end",
       [](TestHome& h) {
         sql(h, {"INSERT INTO audit_entries SELECT 21, time, actor, action, object, digest, "
                 "details, previous, leaf, signature FROM audit_entries WHERE sequence = 20"});
       },
       21, "was changed"},
      {"insert before the first",
       [](TestHome& h) {
         sql(h, {"INSERT INTO audit_entries SELECT -1, time, actor, action, object, digest, "
                 "details, previous, leaf, signature FROM audit_entries WHERE sequence = 20"});
       },
       0, "impossible number"},
      {"cut off the signed tail",
       [](TestHome& h) {
         sql(h, {"DELETE FROM audit_entries WHERE sequence >= 14",
                 "DELETE FROM audit_nodes WHERE last >= 14"});
       },
       14, "entries 14 to 15 are missing"},
      {"cut off the unsigned tail, forgetting the tree",
       [](TestHome& h) { sql(h, {"DELETE FROM audit_entries WHERE sequence >= 18"}); }, 18,
       "its end was cut off"},
      {"empty the log",
       [](TestHome& h) { sql(h, {"DELETE FROM audit_entries", "DELETE FROM audit_nodes"}); }, 0,
       "are missing"},
      {"edit a tree node",
       [](TestHome& h) {
         sql(h, {"UPDATE audit_nodes SET hash = '00' WHERE last = 7 AND level = 3"});
       },
       0, "tree node"},
      {"delete a tree node",
       [](TestHome& h) { sql(h, {"DELETE FROM audit_nodes WHERE last = 9 AND level = 1"}); }, 8,
       "tree node"},
      {"edit one entry and its leaf",
       [](TestHome& h) {
         sql(h, {"UPDATE audit_entries SET actor = 'bob' WHERE sequence = 12"});
         const auto entry = h.log->list({.after = 11, .limit = 1})->front();
         std::string bytes;
         ASSERT_TRUE(ok(entry_json(
             {12, to_micros(entry.time), entry.event.actor, entry.event.action, entry.event.object,
              entry.event.digest, canonical(entry.event.details), entry.previous},
             bytes)));
         h.tamper("UPDATE audit_entries SET leaf = '" + to_hex(leaf_hash(bytes)) +
                  "' WHERE sequence = 12");
       },
       12, "entry 12 was replaced"},
      {"rewrite all that follows a signed entry",
       [](TestHome& h) {
         sql(h, {"UPDATE audit_entries SET actor = 'bob' WHERE sequence = 12"});
         rebuild_from(h, 12);
       },
       11, "one of the entries 11 to 15 is not the one that was signed"},
      {"rewrite an entry no head covers",
       [](TestHome& h) {
         sql(h, {"UPDATE audit_entries SET actor = 'bob' WHERE sequence = 18"});
         rebuild_from(h, 18);
       },
       18, "was not written by slipway"},
      {"append without signing",
       [](TestHome& h) {
         sql(h, {"INSERT INTO audit_entries SELECT 21, time, 'bob', action, object, digest, "
                 "details, previous, leaf, signature FROM audit_entries WHERE sequence = 20"});
         rebuild_from(h, 21);
       },
       21, "was not written by slipway"},
      {"fork: two heads of one size",
       [](TestHome& h) {
         const auto key = load_signing_key(h.keys() / "audit.key");
         ASSERT_TRUE(ok(key));
         const std::string other = sign_checkpoint(*key, {16, std::string(64, 'a')});
         std::ofstream(h.keys() / "checkpoint.history", std::ios::app) << other << "\n";
       },
       -1, "forked"},
      {"change the checkpoint's size",
       [](TestHome& h) {
         std::string note = *read_file(h.keys() / "checkpoint");
         note.replace(note.find("\n16\n"), 4, "\n15\n");
         ASSERT_TRUE(ok(write_file_atomic(h.keys() / "checkpoint", note)));
       },
       -1, "was not signed by"},
      {"remove the checkpoint", [](TestHome& h) { fs::remove(h.keys() / "checkpoint"); }, -1,
       "is missing"},
      {"remove all signed heads",
       [](TestHome& h) {
         fs::remove(h.keys() / "checkpoint");
         fs::remove(h.keys() / "checkpoint.history");
       },
       -1, "is missing"},
      {"re-sign with another key", [](TestHome& h) { exchange_key(h, false); }, -1,
       "is of 'slipway/"},
      {"re-sign with another key and exchange the public one",
       [](TestHome& h) { exchange_key(h, true); }, 0, "the key was exchanged"},
  };
  return all;
}

TEST(AuditVerify, FindsEveryTamperDrillAndNamesTheEntry) {
  int found = 0;
  for (const Drill& drill : drills()) {
    SCOPED_TRACE(drill.name);
    TestHome home;
    fill(home);
    ASSERT_TRUE(home.verify().ok) << home.verify().reason;
    drill.attack(home);
    const Verification verification = home.verify();
    EXPECT_FALSE(verification.ok);
    EXPECT_EQ(verification.first_bad.value_or(-1), drill.first_bad) << verification.reason;
    EXPECT_THAT(verification.reason, HasSubstr(drill.reason));
    if (!verification.ok) ++found;
    if (drill.name.find("tree") != std::string::npos)
      continue;  // the script builds the tree itself
    if (const auto verdict = independent_verdict(home)) {
      EXPECT_EQ(*verdict, 1) << read_file(home.scratch / "verdict").value_or("");
    }
  }
  std::printf("tamper drills found: %d of %zu\n", found, drills().size());
}

TEST(AuditVerify, FindsAnOlderDatabasePutInPlace) {
  if (test::on_postgres()) GTEST_SKIP() << "puts another file in the database's place";
  TestHome home;
  fill(home);
  ASSERT_TRUE(ok(home.db->backup_to(home.scratch / "older.db")));
  home.append(4);
  home.sign();
  home.close();
  for (const char* file : {"slipway.db", "slipway.db-wal", "slipway.db-shm"})
    fs::remove(home.scratch / file);
  fs::rename(home.scratch / "older.db", home.scratch / "slipway.db");
  home.open();
  const Verification verification = home.verify();
  EXPECT_FALSE(verification.ok);
  EXPECT_EQ(verification.first_bad, 21);
  EXPECT_THAT(verification.reason, HasSubstr("older database"));
}

TEST(AuditVerify, TrustsAKeyKeptElsewhereMoreThanTheHome) {
  TestHome home;
  fill(home);
  home.sign();
  const std::string kept = home.log->public_key();
  EXPECT_TRUE(home.verify({.trusted_key = kept + "\n"}).ok);
  // Everything rewritten by someone with a new key: the first entry names it, all signatures fit.
  TestHome forged;
  fill(forged);
  forged.sign();
  EXPECT_TRUE(forged.verify().ok);
  const Verification verification = forged.verify({.trusted_key = kept});
  EXPECT_FALSE(verification.ok);
  EXPECT_EQ(test::code_of(home.log->verify({.trusted_key = "nonsense"})), "invalid_argument");
}

TEST(AuditVerify, RaisesNoFalseAlarm) {
  TestHome home;
  int clean = 0;
  for (int round = 0; round < 200; ++round) {
    home.append(1 + round % 3);
    if (round % 7 == 0) home.sign();
    if (round % 31 == 0) {
      home.close();
      home.open();
    }
    const Verification verification = home.verify();
    ASSERT_TRUE(verification.ok) << verification.reason;
    EXPECT_FALSE(verification.first_bad);
    EXPECT_EQ(verification.head.root, home.log->head()->root);
    ++clean;
  }
  std::printf("clean verifies: %d, false alarms: 0\n", clean);
}

TEST(AuditVerify, AgreesWithAnIndependentVerifier) {
  TestHome home;
  fill(home);
  const auto verdict = independent_verdict(home);
  if (!verdict)
    GTEST_SKIP()
        << "docs/reference/audit_verify.py needs python3 and the checkout as the working folder";
  EXPECT_EQ(*verdict, 0) << read_file(home.scratch / "verdict").value_or("");
  EXPECT_THAT(
      read_file(home.scratch / "verdict").value_or(""),
      HasSubstr("whole: 21 entries, root " + home.log->head()->root + ", 16 of them signed"));
  TestHome other;
  EXPECT_EQ(independent_verdict(home, " --key " + (other.keys() / "audit.pub").string()), 1);
}

TEST(AuditVerify, StopsWhenItIsCancelled) {
  TestHome home;
  std::stop_source source;
  source.request_stop();
  Context context;
  context.stop = source.get_token();
  EXPECT_EQ(test::code_of(home.log->verify({.context = context})), "cancelled");
}

}  // namespace
}  // namespace slipway::audit
