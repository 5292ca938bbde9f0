// What the SQLite side of db/ shares: a connection with its cache of prepared statements.
#pragma once
#include <sqlite3.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "db/database.h"

namespace slipway::db {

Error sqlite_error(sqlite3* handle, std::string_view doing);

struct StatementDeleter {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using StatementPtr = std::unique_ptr<sqlite3_stmt, StatementDeleter>;

// One SQLite connection; used by one thread at a time.
struct Connection::Impl {
  sqlite3* handle = nullptr;
  // Prepared once, lent to one query at a time and given back reset.
  std::unordered_map<std::string, std::vector<StatementPtr>> idle;
  std::size_t cached = 0;

  ~Impl();
  static Result<std::unique_ptr<Impl>> open(const std::string& file, bool read_only, bool durable);
  Result<StatementPtr> take(std::string_view sql);
  void give_back(std::string_view sql, StatementPtr statement);
  Result<void> execute(const char* sql);  // several statements, no values
  Result<void> run(std::string_view sql, std::span<const Value> values);
};

// The concrete connection handed to bodies.
class SqliteTransaction final : public Transaction {
 public:
  explicit SqliteTransaction(Connection::Impl* impl) { impl_ = impl; }
};

}  // namespace slipway::db
