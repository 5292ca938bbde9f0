#include <sys/stat.h>

#include "db/sqlite_internal.h"

namespace slipway::db {
namespace {

constexpr std::size_t kMaxCachedStatements = 256;

Result<void> bind_values(sqlite3* handle, sqlite3_stmt* statement, std::span<const Value> values) {
  const int wanted = sqlite3_bind_parameter_count(statement);
  if (wanted != static_cast<int>(values.size())) {
    return internal("a statement has " + std::to_string(wanted) + " parameters and got " +
                    std::to_string(values.size()) + " values: " + sqlite3_sql(statement));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Value& value = values[i];
    const int index = static_cast<int>(i) + 1;
    int code = SQLITE_OK;
    switch (value.kind) {
      case Value::Kind::null:
        code = sqlite3_bind_null(statement, index);
        break;
      case Value::Kind::integer:
        code = sqlite3_bind_int64(statement, index, value.integer);
        break;
      case Value::Kind::real:
        code = sqlite3_bind_double(statement, index, value.real);
        break;
      case Value::Kind::text:
        code = sqlite3_bind_text64(statement, index,
                                   value.text.data() == nullptr ? "" : value.text.data(),
                                   value.text.size(), SQLITE_TRANSIENT, SQLITE_UTF8);
        break;
      case Value::Kind::blob:
        code = sqlite3_bind_blob64(statement, index,
                                   value.text.data() == nullptr ? "" : value.text.data(),
                                   value.text.size(), SQLITE_TRANSIENT);
        break;
    }
    if (code != SQLITE_OK) return sqlite_error(handle, "cannot bind a value");
  }
  return {};
}

class SqliteCursor final : public Cursor {
 public:
  SqliteCursor(SqliteSession& session, std::string_view sql, StatementPtr statement)
      : session_(session), sql_(sql), statement_(std::move(statement)) {}
  ~SqliteCursor() override { session_.give_back(sql_, std::move(statement_)); }

  bool next() override {
    if (done_) return false;
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_ROW) return true;
    done_ = true;
    if (code != SQLITE_DONE) status_ = sqlite_error(session_.handle(), "a query failed");
    return false;
  }
  Result<void> status() const override { return status_; }
  bool is_null(int column) const override {
    return sqlite3_column_type(statement_.get(), column) == SQLITE_NULL;
  }
  std::int64_t integer(int column) const override {
    return sqlite3_column_int64(statement_.get(), column);
  }
  double real(int column) const override { return sqlite3_column_double(statement_.get(), column); }
  std::string_view view(int column) const override {
    const void* bytes = sqlite3_column_blob(statement_.get(), column);
    const int size = sqlite3_column_bytes(statement_.get(), column);
    return {static_cast<const char*>(bytes), bytes == nullptr ? 0 : static_cast<std::size_t>(size)};
  }

 private:
  SqliteSession& session_;
  std::string sql_;
  StatementPtr statement_;
  Result<void> status_;
  bool done_ = false;
};

// Whether what failed was making written bytes durable. The kernel reports such a failure once and
// may have dropped the pages, so a later success would prove nothing.
bool is_failed_sync(int extended_code) {
  return extended_code == SQLITE_IOERR_FSYNC || extended_code == SQLITE_IOERR_DIR_FSYNC;
}

}  // namespace

Error sqlite_error(sqlite3* handle, std::string_view doing) {
  const int code = sqlite3_extended_errcode(handle);
  const std::string message = std::string(doing) + ": " + sqlite3_errmsg(handle);
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
      return code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY
                 ? already_exists(message)
                 : failed_precondition(message);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return unavailable(message);
    case SQLITE_FULL:
      return storage_full(message + ": make room, and writes go on by themselves");
    case SQLITE_IOERR: {
      const int number = sqlite3_system_errno(handle);
      // The file of shared memory cannot grow, which SQLite tells in a code of its own.
      if (code == SQLITE_IOERR_SHMSIZE || number == ENOSPC || number == EDQUOT)
        return storage_full(message + ": make room, and writes go on by themselves");
      return is_failed_sync(code) ? unavailable(message) : internal(message);
    }
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return permission_denied(message);
    case SQLITE_CANTOPEN:
      return not_found(message);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return data_loss(message);
    default:
      return internal(message);
  }
}

Result<std::unique_ptr<SqliteSession>> SqliteSession::open(const std::string& file, bool read_only,
                                                           const Options& options) {
  auto session = std::unique_ptr<SqliteSession>(new SqliteSession());
  const int flags =
      (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
      SQLITE_OPEN_NOMUTEX;
  const mode_t before = ::umask(0077);
  const int code = sqlite3_open_v2(file.c_str(), &session->handle_, flags, nullptr);
  ::umask(before);
  if (code != SQLITE_OK)
    return sqlite_error(session->handle_, "cannot open the database '" + file + "'");
  sqlite3_busy_timeout(session->handle_, static_cast<int>(options.lock_wait.count()));
  sqlite3_extended_result_codes(session->handle_, 1);
  std::string setup = "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-8192;";
  // The write-ahead log goes back into the file every 32 MiB, not SQLite's 4: pages that changed
  // often are written once, and a commit has to wait for it so rarely that few callers notice.
  if (!read_only) setup += "PRAGMA wal_autocheckpoint=8192; PRAGMA cache_size=-32768;";
  if (!read_only)
    setup += options.durable ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                             : "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;";
  if (auto done = session->run_script(setup); !done)
    return done.error().at("cannot open the database '" + file + "'");
  return session;
}

SqliteSession::~SqliteSession() {
  idle_.clear();
  sqlite3_close_v2(handle_);
}

Error SqliteSession::failed(std::string_view doing) {
  Error error = sqlite_error(handle_, doing);
  if (is_failed_sync(sqlite3_extended_errcode(handle_))) {
    health_ = unavailable(
        "the disk could not make written data durable (" + error.message +
        "): writes are refused until slipway is restarted. Check the disk, and then the database "
        "with `slipway db check`");
  }
  return error;
}

Result<StatementPtr> SqliteSession::take(std::string_view sql) {
  if (const auto found = idle_.find(sql); found != idle_.end() && !found->second.empty()) {
    StatementPtr statement = std::move(found->second.back());
    found->second.pop_back();
    --cached_;
    return statement;
  }
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK) {
    return sqlite_error(handle_, "cannot prepare '" + std::string(sql) + "'");
  }
  return StatementPtr(raw);
}

void SqliteSession::give_back(std::string_view sql, StatementPtr statement) {
  sqlite3_reset(statement.get());
  sqlite3_clear_bindings(statement.get());
  if (cached_ >= kMaxCachedStatements) return;
  auto found = idle_.find(sql);
  if (found == idle_.end()) found = idle_.try_emplace(std::string(sql)).first;
  found->second.push_back(std::move(statement));
  ++cached_;
}

Result<void> SqliteSession::run_script(std::string_view sql) {
  if (sqlite3_exec(handle_, std::string(sql).c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    return failed("a statement failed");
  return {};
}

Result<void> SqliteSession::run(std::string_view sql, std::span<const Value> values) {
  auto statement = take(sql);
  if (!statement) return statement.error();
  if (auto bound = bind_values(handle_, statement->get(), values); !bound) return bound;
  int code = sqlite3_step(statement->get());
  while (code == SQLITE_ROW) code = sqlite3_step(statement->get());
  if (code != SQLITE_DONE) {
    const Error error = failed("a statement failed");
    sqlite3_reset(statement->get());
    return error;
  }
  give_back(sql, std::move(*statement));
  return {};
}

Result<std::unique_ptr<Cursor>> SqliteSession::query(std::string_view sql,
                                                     std::span<const Value> values) {
  auto statement = take(sql);
  if (!statement) return statement.error();
  if (auto bound = bind_values(handle_, statement->get(), values); !bound) return bound.error();
  return std::unique_ptr<Cursor>(new SqliteCursor(*this, sql, std::move(*statement)));
}

Result<void> SqliteSession::begin_write() {
  auto begun = run("BEGIN IMMEDIATE", {});
  if (begun || begun.error().code != Code::unavailable) return begun;
  return unavailable("another process has kept the database locked for too long (" +
                     begun.error().message + "): try again");
}

Result<void> SqliteSession::commit() { return run("COMMIT", {}); }

void SqliteSession::rollback() {
  if (!in_transaction()) return;  // SQLite has done it: a full disk, an input/output error
  (void)run("ROLLBACK", {}).has_value();
}

}  // namespace slipway::db
