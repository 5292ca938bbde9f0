// What a backend of db/ has to offer: a Driver that opens Sessions. database.cpp makes the rest of
// them: the writer thread with its groups, and the pool of readers.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "db/database.h"

namespace slipway::db {

// The rows of one query; see Rows.
class Cursor {
 public:
  virtual ~Cursor() = default;
  virtual bool next() = 0;
  virtual Result<void> status() const = 0;
  virtual bool is_null(int column) const = 0;
  virtual std::int64_t integer(int column) const = 0;
  virtual double real(int column) const = 0;
  virtual std::string_view view(int column) const = 0;
};

// One connection, used by one thread at a time. Its cursors end before it does.
class Session {
 public:
  virtual ~Session() = default;
  virtual Backend backend() const = 0;

  virtual Result<std::unique_ptr<Cursor>> query(std::string_view sql,
                                                std::span<const Value> values) = 0;
  virtual Result<void> run(std::string_view sql, std::span<const Value> values) = 0;
  virtual Result<void> run_script(std::string_view sql) = 0;
  virtual std::int64_t changes() const = 0;
  virtual std::int64_t last_row_id() const = 0;

  // A read sees one snapshot, from its first query on.
  virtual Result<void> begin_read() = 0;
  virtual Result<void> end_read() = 0;

  // A write holds the lock that orders all writers of all processes. When commit fails, nothing of
  // the write is kept, unless its error says that the outcome is unknown.
  virtual Result<void> begin_write() = 0;
  virtual Result<void> commit() = 0;
  virtual void rollback() = 0;
  virtual Result<void> set_savepoint() = 0;
  virtual Result<void> undo_to_savepoint() = 0;
  virtual Result<void> release_savepoint() = 0;
  // False when the database has undone the whole transaction by itself, or the connection is gone.
  virtual bool in_transaction() const = 0;

  // The connection is gone. The next begin_… makes a new one.
  virtual bool lost() const { return false; }
  // Why this session must not write any more, if there is a reason.
  virtual Result<void> health() const { return {}; }
};

class Driver {
 public:
  virtual ~Driver() = default;
  virtual Backend backend() const = 0;
  virtual const std::string& name() const = 0;  // for messages
  virtual Result<std::unique_ptr<Session>> connect(bool read_only) const = 0;
  // Makes what every database has before any module's schema.
  virtual Result<void> prepare(Session& writer) const = 0;
  virtual Result<std::int64_t> change_counter() const = 0;
  // Gives up what it keeps open for itself, so that the last session to close is the writer's.
  virtual void let_go() const {}
  virtual Result<std::vector<std::string>> check(Connection& connection) const = 0;
  // Writes a copy to a file that is empty so far, and reads one back.
  virtual Result<void> backup_to(const std::filesystem::path& file) const = 0;
  virtual Result<void> verify_backup(const std::filesystem::path& copy) const = 0;
};

Result<std::unique_ptr<Driver>> open_sqlite(const std::filesystem::path& file,
                                            const Options& options);
Result<std::unique_ptr<Driver>> open_postgres(const std::string& url, const Options& options);

inline constexpr std::string_view kSchemaTable =
    "CREATE TABLE IF NOT EXISTS schema_migrations("
    " module TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " PRIMARY KEY(module, version))";

// A map's hash and equality that look texts up without copying them.
struct TextHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const {
    return std::hash<std::string_view>()(text);
  }
};
using TextEqual = std::equal_to<>;

}  // namespace slipway::db
