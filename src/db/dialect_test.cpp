#include "db/dialect_internal.h"

#include <gtest/gtest.h>

#include "db/tokens_internal.h"
#include "support/support.h"

namespace slipway::db {
namespace {

using test::code_of;
using test::ok;

Catalog catalog() {
  Catalog catalog;
  catalog.tables["t"] = {.key = {"a", "b"}, .identity = {}};
  catalog.tables["n"] = {.key = {"id"}, .identity = "id"};
  catalog.nullable = {"ended"};
  return catalog;
}

std::string translated(std::string_view sql, std::vector<ListKind> lists = {}) {
  const auto translation = translate(sql, lists, catalog());
  EXPECT_TRUE(ok(translation)) << sql;
  return translation ? translation->sql : "";
}

// Without the spaces, of which there are many.
std::string dense(std::string text) {
  std::string out;
  for (const char c : text) {
    if (c == ' ' && (out.empty() || !std::isalnum(static_cast<unsigned char>(out.back()))))
      continue;
    if (!std::isalnum(static_cast<unsigned char>(c)) && c != ' ' && !out.empty() &&
        out.back() == ' ' && c != '"' && c != '$' && c != '\'') {
      out.pop_back();
    }
    out += c;
  }
  return out;
}

TEST(Dialect, TurnsStatementsIntoPostgresqls) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"SELECT a FROM t WHERE b = ? AND c = ?", "SELECT a FROM t WHERE b = $1 AND c = $2"},
      {"SELECT ?2, ?1, ?", "SELECT $2, $1, $3"},
      {"SELECT a -- why ?\nFROM t /* ? */ WHERE b = 'it''s ?'",
       "SELECT a FROM t WHERE b = 'it''s ?'"},
      {"SELECT a FROM t LIMIT ?1 OFFSET ?2",
       "SELECT a FROM t LIMIT nullif(greatest($1::bigint, -1), -1) OFFSET $2"},
      {"SELECT a FROM t LIMIT -1", "SELECT a FROM t LIMIT ALL"},
      {"INSERT OR IGNORE INTO t(a, b) VALUES (?, ?)",
       "INSERT INTO t(a, b) VALUES ($1, $2) ON CONFLICT DO NOTHING"},
      {"INSERT OR REPLACE INTO t(a, b, c) VALUES (?, ?, ?)",
       "INSERT INTO t(a, b, c) VALUES ($1, $2, $3) ON CONFLICT (\"a\", \"b\") DO UPDATE SET \"c\" "
       "= "
       "excluded.\"c\""},
      {"INSERT INTO t(a) VALUES (?) ON CONFLICT DO UPDATE SET c = excluded.c",
       "INSERT INTO t(a) VALUES ($1) ON CONFLICT (\"a\", \"b\") DO UPDATE SET c = excluded.c"},
      {"INSERT INTO t(a) VALUES (?) ON CONFLICT (a) DO NOTHING",
       "INSERT INTO t(a) VALUES ($1) ON CONFLICT (a) DO NOTHING"},
      {"INSERT INTO n(x) VALUES (?)", "INSERT INTO n(x) VALUES ($1) RETURNING \"id\""},
      {"INSERT INTO n(id, x) VALUES (?, ?)", "INSERT INTO n(id, x) VALUES ($1, $2)"},
      {"SELECT a FROM t WHERE a LIKE ?", "SELECT a FROM t WHERE a ILIKE $1 ESCAPE ''"},
      {"SELECT a FROM t WHERE a LIKE ? ESCAPE '\\'",
       "SELECT a FROM t WHERE a ILIKE $1 ESCAPE '\\'"},
      {"SELECT a FROM t WHERE a GLOB ?", "SELECT a FROM t WHERE a LIKE $1"},
      {"SELECT v.user, user FROM v", "SELECT v.\"user\", \"user\" FROM v"},
      {"SELECT max(a), max(a, b), min(a, max(b)) FROM t",
       "SELECT max(a), greatest(a, b), least(a, max(b)) FROM t"},
      {"SELECT a FROM t WHERE a IS ? AND b IS NOT ? AND c IS NOT NULL",
       "SELECT a FROM t WHERE a IS NOT DISTINCT FROM $1 AND b IS DISTINCT FROM $2 AND c IS NOT "
       "NULL"},
      {"SELECT a FROM t CROSS JOIN n ON n.id = t.a",
       "SELECT a FROM t CROSS JOIN LATERAL (SELECT * FROM n WHERE n.id = t.a OFFSET 0) n"},
      {"SELECT a FROM t CROSS JOIN n m ON (m.id = t.a) AND m.b = ? WHERE t.a = ? LIMIT 1",
       "SELECT a FROM t CROSS JOIN LATERAL (SELECT * FROM n m WHERE ( m.id = t.a ) AND m.b = $1 "
       "OFFSET 0) m WHERE t.a = $2 LIMIT 1"},
      {"SELECT a FROM t CROSS JOIN n WHERE 1", "SELECT a FROM t CROSS JOIN n WHERE true"},
      {"SELECT a FROM t INDEXED BY t_a WHERE a == x'0aFF'",
       "SELECT a FROM t WHERE a = '\\x0aFF'::bytea"},
      {"SELECT CAST(a AS INTEGER), ifnull(a, 0) FROM t",
       "SELECT CAST(a AS bigint), coalesce(a, 0) FROM t"},
      {"SELECT key, value FROM json_each(?)", "SELECT key, value FROM slipway_json_each($1)"},
  };
  for (const auto& [sql, want] : rows) {
    SCOPED_TRACE(sql);
    EXPECT_EQ(dense(translated(sql)), dense(want));
  }
}

TEST(Dialect, KeepsNullsWhereSqliteHasThem) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"SELECT a FROM t ORDER BY ended, a", "SELECT a FROM t ORDER BY ended NULLS FIRST, a"},
      {"SELECT a FROM t ORDER BY t.ended DESC, a DESC LIMIT 1",
       "SELECT a FROM t ORDER BY t.ended DESC NULLS LAST, a DESC LIMIT 1"},
      {"SELECT a FROM t ORDER BY a + 1", "SELECT a FROM t ORDER BY a + 1 NULLS FIRST"},
      {"SELECT a FROM t ORDER BY substr(t.a, 1, 64), substr(ended, 1, 64)",
       "SELECT a FROM t ORDER BY substr ( t.a, 1, 64 ), substr ( ended, 1, 64 ) NULLS FIRST"},
      {"SELECT a FROM t LEFT JOIN n ON n.id = a ORDER BY n.x",
       "SELECT a FROM t LEFT JOIN n ON n.id = a ORDER BY n.x NULLS FIRST"},
      {"SELECT (SELECT a FROM t ORDER BY ended LIMIT 1), b FROM t",
       "SELECT (SELECT a FROM t ORDER BY ended NULLS FIRST LIMIT 1), b FROM t"},
      {"CREATE INDEX i ON t(a, ended DESC) WHERE (ended > 1)",
       "CREATE INDEX i ON t(a, ended DESC NULLS LAST) WHERE (ended > 1)"},
      {"SELECT a FROM t ORDER BY ended DESC NULLS FIRST",
       "SELECT a FROM t ORDER BY ended DESC NULLS FIRST"},
  };
  for (const auto& [sql, want] : rows) {
    SCOPED_TRACE(sql);
    EXPECT_EQ(dense(translated(sql)), dense(want));
  }
}

TEST(Dialect, GivesListsTheTypeOfWhatIsInThem) {
  const std::string sql =
      "SELECT a FROM t WHERE a NOT IN (SELECT value FROM json_each(?1)) AND "
      "b IN (SELECT value FROM json_each(?2))";
  EXPECT_EQ(
      dense(translated(sql, {ListKind::integers, ListKind::texts})),
      dense("SELECT a FROM t WHERE a <> ALL ((SELECT slipway_integers($1))::bigint[]) AND b = "
            "ANY ((SELECT slipway_texts($2))::text[])"));
  EXPECT_EQ(dense(translated(sql, {ListKind::empty, ListKind::empty})),
            dense("SELECT a FROM t WHERE a <> ALL ('{}') AND b = ANY ('{}')"));
  const auto translation = translate(sql, {}, catalog());
  ASSERT_TRUE(ok(translation));
  EXPECT_EQ(translation->lists, (std::vector{1, 2}));
  EXPECT_EQ(list_kind(" [ 1, 2]"), ListKind::integers);
  EXPECT_EQ(list_kind("[-1]"), ListKind::integers);
  EXPECT_EQ(list_kind("[\"a\"]"), ListKind::texts);
  EXPECT_EQ(list_kind("[ ]"), ListKind::empty);
}

TEST(Dialect, TurnsSchemasIntoPostgresqls) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"CREATE TABLE a (id INTEGER PRIMARY KEY AUTOINCREMENT, text TEXT NOT NULL, r REAL, b BLOB, "
       "n INTEGER NOT NULL DEFAULT 0 CHECK (n IN (0, 1)), PRIMARY KEY (text, n)) STRICT, WITHOUT "
       "ROWID",
       "CREATE TABLE a (id bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, text text COLLATE "
       "\"C\" NOT NULL, r double precision, b bytea, n bigint NOT NULL DEFAULT 0 CHECK (n IN (0, "
       "1)), PRIMARY KEY (text, n))"},
      {"CREATE TABLE a (key TEXT PRIMARY KEY, user TEXT) WITHOUT ROWID",
       "CREATE TABLE a (key text COLLATE \"C\" PRIMARY KEY, \"user\" text COLLATE \"C\")"},
      {"ALTER TABLE a ADD COLUMN x REAL NOT NULL DEFAULT 0",
       "ALTER TABLE a ADD COLUMN x double precision NOT NULL DEFAULT 0"},
      {"CREATE TRIGGER no_update BEFORE UPDATE ON a BEGIN SELECT RAISE(ABORT, 'not ours'); END",
       "CREATE TRIGGER no_update BEFORE UPDATE ON a FOR EACH ROW EXECUTE FUNCTION "
       "slipway_refuse('not ours')"},
  };
  for (const auto& [sql, want] : rows) {
    SCOPED_TRACE(sql);
    EXPECT_EQ(dense(translated(sql)), dense(want));
  }
}

TEST(Dialect, LeavesAStatementItsOwnText) {
  const auto translation =
      translate("--pg SELECT $2::text,\n  --pg   $1\nSELECT json_extract(?1, ?2)", {}, catalog());
  ASSERT_TRUE(ok(translation));
  EXPECT_EQ(translation->sql, "SELECT $2::text,\n  $1\n");
  EXPECT_EQ(translation->parameters, 2);
}

TEST(Dialect, SaysWhatItCannotTranslate) {
  for (const std::string sql :
       {"PRAGMA user_version", "INSERT OR ABORT INTO t(a) VALUES (1)",
        "SELECT a FROM t WHERE a GLOB 'x*'",
        "INSERT INTO u(a) VALUES (1) ON CONFLICT DO UPDATE SET a = 1",
        "CREATE TRIGGER x AFTER INSERT ON t BEGIN UPDATE t SET a = 1; END"}) {
    EXPECT_EQ(code_of(translate(sql, {}, catalog())), "unimplemented") << sql;
  }
  EXPECT_EQ(code_of(translate("SELECT 'open", {}, catalog())), "invalid_argument");
}

TEST(Dialect, TurnsGlobsIntoPatternsOfLike) {
  EXPECT_EQ(*glob_to_like("50*_?[*][?][[]%\\"), "50%\\__*?[\\%\\\\");
  EXPECT_EQ(code_of(glob_to_like("[a-z]")), "unimplemented");
  EXPECT_EQ(code_of(glob_to_like("[")), "unimplemented");
}

TEST(Tokens, CutScriptsBetweenStatements) {
  const auto statements = split_statements(
      "-- first; really\nCREATE TABLE a(x TEXT DEFAULT ';');\n\nCREATE TRIGGER t BEFORE UPDATE ON "
      "a\n"
      "BEGIN SELECT RAISE(ABORT, 'no; never'); END;\nCREATE INDEX i ON a(x);\n-- the end\n");
  ASSERT_EQ(statements.size(), 3U);
  EXPECT_TRUE(statements[1].ends_with("END;"));
  EXPECT_NE(statements[2].find("INDEX"), std::string::npos);
}

TEST(Tokens, NeverCrashOnAnyBytes) {
  std::mt19937 random(20131101);  // the same texts every time
  const std::string_view parts[] = {"SELECT ",
                                    "?",
                                    "?2",
                                    "'",
                                    "\"",
                                    "--",
                                    "\n",
                                    "/*",
                                    "*/",
                                    "(",
                                    ")",
                                    " IN ",
                                    "json_each",
                                    ",",
                                    " ORDER BY ",
                                    "x'",
                                    "LIMIT ",
                                    "\xc3",
                                    "INSERT OR IGNORE INTO ",
                                    "NOT ",
                                    "LIKE ",
                                    "GLOB ",
                                    ";",
                                    "DESC ",
                                    "CREATE INDEX ",
                                    "CREATE TRIGGER ",
                                    "IS ",
                                    "1.5e-3",
                                    "::",
                                    "--pg "};
  for (int round = 0; round < 20'000; ++round) {
    std::string sql;
    for (auto n = random() % 14; n > 0; --n) sql += parts[random() % std::size(parts)];
    (void)translate(sql, {}, catalog()).has_value();
    (void)split_statements(sql).size();
  }
}

}  // namespace
}  // namespace slipway::db
