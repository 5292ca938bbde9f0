// Our SQL is written for SQLite; this turns a statement into PostgreSQL's dialect. It works on
// tokens, not on a grammar, and knows what our statements use:
//   ? and ?N                          $N, with the type of the value that is bound
//   TEXT, INTEGER, REAL, BLOB         text COLLATE "C" (order by bytes, as in SQLite), bigint,
//                                     double precision, bytea
//   INTEGER PRIMARY KEY               bigint identity; an INSERT that leaves it out returns it
//   WITHOUT ROWID, STRICT, INDEXED BY left out
//   INSERT OR IGNORE                  ON CONFLICT DO NOTHING
//   INSERT OR REPLACE, and ON CONFLICT DO UPDATE without a target: the table's primary key
//   x IN (SELECT value FROM json_each(?))  x = ANY(array), its type from the list's first value
//   x LIKE y, x GLOB ?                ILIKE without escapes; LIKE with the pattern translated
//   ORDER BY                          nulls first, as SQLite has them, where there can be any
//   LIMIT ?                           a negative limit is none
//   a CROSS JOIN b ON …               b is looked up for each row of a, as in SQLite
//   x IS ?, max(a, b), min(a, b), ifnull, instr, ==, x'…', CAST(… AS …)
//   triggers that RAISE(ABORT, '…')   triggers that raise
//   names that PostgreSQL reserves    quoted
// Large results: a line "-- many rows" in the statement; see postgres_internal.h.
// What it does not know, a statement can say itself: lines that begin with "--pg " are comments to
// SQLite, and to PostgreSQL the whole statement.
// Pure functions over what Catalog says of the tables. References: https://sqlite.org/lang.html and
// https://www.postgresql.org/docs/15/sql.html.
#pragma once
#include <map>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "db/database.h"

namespace slipway::db {

// What a translation needs to know of the tables that there are.
struct Catalog {
  struct Table {
    std::vector<std::string> key;  // columns of the primary key
    std::string identity;          // the column that numbers itself, if one does
  };
  std::map<std::string, Table, std::less<>> tables;
  std::set<std::string, std::less<>> nullable;  // columns that some table lets be null
};

enum class ListKind { none, empty, integers, texts };  // of a JSON array that a parameter holds

struct Translation {
  std::string sql;
  int parameters = 0;
  std::vector<int> lists;     // parameters (from 1) that json_each reads
  std::vector<int> patterns;  // parameters that GLOB matches
  std::string table;          // of an INSERT
  bool returns_row_id = false;
  bool defines = false;  // changes tables
};

// `lists` says of each parameter what its JSON array holds; none where that is not known yet.
Result<Translation> translate(std::string_view sql, std::span<const ListKind> lists,
                              const Catalog& catalog);

// "50*[?]" as GLOB reads it -> "50%?" as LIKE does, with backslash as its escape. unimplemented for
// character classes.
Result<std::string> glob_to_like(std::string_view glob);

ListKind list_kind(std::string_view json);

}  // namespace slipway::db
