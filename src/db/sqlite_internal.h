// SQLite's side of db/: a session with its cache of prepared statements.
#pragma once
#include <sqlite3.h>

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "db/session_internal.h"

namespace slipway::db {

Error sqlite_error(sqlite3* handle, std::string_view doing);

struct StatementDeleter {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using StatementPtr = std::unique_ptr<sqlite3_stmt, StatementDeleter>;

class SqliteSession final : public Session {
 public:
  static Result<std::unique_ptr<SqliteSession>> open(const std::string& file, bool read_only,
                                                     const Options& options);
  ~SqliteSession() override;

  Backend backend() const override { return Backend::sqlite; }
  Result<std::unique_ptr<Cursor>> query(std::string_view sql,
                                        std::span<const Value> values) override;
  Result<void> run(std::string_view sql, std::span<const Value> values) override;
  Result<void> run_script(std::string_view sql) override;
  std::int64_t changes() const override { return sqlite3_changes64(handle_); }
  std::int64_t last_row_id() const override { return sqlite3_last_insert_rowid(handle_); }

  Result<void> begin_read() override { return run("BEGIN", {}); }
  Result<void> end_read() override { return run("COMMIT", {}); }
  Result<void> begin_write() override;
  Result<void> commit() override;
  void rollback() override;
  Result<void> set_savepoint() override { return run("SAVEPOINT job", {}); }
  Result<void> undo_to_savepoint() override { return run("ROLLBACK TO job", {}); }
  Result<void> release_savepoint() override { return run("RELEASE job", {}); }
  bool in_transaction() const override { return sqlite3_get_autocommit(handle_) == 0; }
  Result<void> health() const override { return health_; }

  sqlite3* handle() { return handle_; }
  void give_back(std::string_view sql, StatementPtr statement);

 private:
  SqliteSession() = default;
  Result<StatementPtr> take(std::string_view sql);
  Error failed(std::string_view doing);  // of the last call; notes a disk that cannot be trusted

  sqlite3* handle_ = nullptr;
  // Prepared once, lent to one query at a time and given back reset.
  std::unordered_map<std::string, std::vector<StatementPtr>, TextHash, TextEqual> idle_;
  std::size_t cached_ = 0;
  Result<void> health_;
};

}  // namespace slipway::db
