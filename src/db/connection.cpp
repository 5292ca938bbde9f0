#include <sys/stat.h>

#include "db/connection_internal.h"

namespace slipway::db {
namespace {

constexpr std::size_t kMaxCachedStatements = 256;
constexpr int kBusyTimeoutMs =
    30'000;  // another process may hold the write lock for one transaction

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
      return resource_exhausted(message);
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

Connection::Impl::~Impl() {
  idle.clear();
  sqlite3_close_v2(handle);
}

Result<std::unique_ptr<Connection::Impl>> Connection::Impl::open(const std::string& file,
                                                                 bool read_only, bool durable) {
  auto impl = std::make_unique<Impl>();
  const int flags =
      (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE) |
      SQLITE_OPEN_NOMUTEX;
  const mode_t before = ::umask(0077);
  const int code = sqlite3_open_v2(file.c_str(), &impl->handle, flags, nullptr);
  ::umask(before);
  if (code != SQLITE_OK)
    return sqlite_error(impl->handle, "cannot open the database '" + file + "'");
  sqlite3_busy_timeout(impl->handle, kBusyTimeoutMs);
  sqlite3_extended_result_codes(impl->handle, 1);
  std::string setup = "PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY; PRAGMA cache_size=-8192;";
  if (!read_only)
    setup += durable ? "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                     : "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;";
  if (auto done = impl->execute(setup.c_str()); !done)
    return done.error().at("cannot open the database '" + file + "'");
  return impl;
}

Result<StatementPtr> Connection::Impl::take(std::string_view sql) {
  if (const auto found = idle.find(std::string(sql));
      found != idle.end() && !found->second.empty()) {
    StatementPtr statement = std::move(found->second.back());
    found->second.pop_back();
    --cached;
    return statement;
  }
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v3(handle, sql.data(), static_cast<int>(sql.size()),
                         SQLITE_PREPARE_PERSISTENT, &raw, nullptr) != SQLITE_OK) {
    return sqlite_error(handle, "cannot prepare '" + std::string(sql) + "'");
  }
  return StatementPtr(raw);
}

void Connection::Impl::give_back(std::string_view sql, StatementPtr statement) {
  sqlite3_reset(statement.get());
  sqlite3_clear_bindings(statement.get());
  if (cached >= kMaxCachedStatements) return;
  idle[std::string(sql)].push_back(std::move(statement));
  ++cached;
}

Result<void> Connection::Impl::execute(const char* sql) {
  if (sqlite3_exec(handle, sql, nullptr, nullptr, nullptr) != SQLITE_OK)
    return sqlite_error(handle, "a statement failed");
  return {};
}

Result<void> Connection::Impl::run(std::string_view sql, std::span<const Value> values) {
  auto statement = take(sql);
  if (!statement) return statement.error();
  if (auto bound = bind_values(handle, statement->get(), values); !bound) return bound;
  int code = sqlite3_step(statement->get());
  while (code == SQLITE_ROW) code = sqlite3_step(statement->get());
  if (code != SQLITE_DONE) {
    const Error error = sqlite_error(handle, "a statement failed");
    sqlite3_reset(statement->get());
    return error;
  }
  give_back(sql, std::move(*statement));
  return {};
}

struct Rows::Impl {
  Connection::Impl* connection;
  std::string sql;
  StatementPtr statement;
  Result<void> status;
  bool done = false;

  ~Impl() {
    if (statement) connection->give_back(sql, std::move(statement));
  }
};

Rows::Rows(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Rows::Rows(Rows&&) noexcept = default;
Rows& Rows::operator=(Rows&&) noexcept = default;
Rows::~Rows() = default;

bool Rows::next() {
  if (impl_->done) return false;
  const int code = sqlite3_step(impl_->statement.get());
  if (code == SQLITE_ROW) return true;
  impl_->done = true;
  if (code != SQLITE_DONE)
    impl_->status = sqlite_error(impl_->connection->handle, "a query failed");
  return false;
}

Result<void> Rows::status() const { return impl_->status; }

bool Rows::is_null(int column) const {
  return sqlite3_column_type(impl_->statement.get(), column) == SQLITE_NULL;
}

std::int64_t Rows::integer(int column) const {
  return sqlite3_column_int64(impl_->statement.get(), column);
}

double Rows::real(int column) const {
  return sqlite3_column_double(impl_->statement.get(), column);
}

std::string_view Rows::view(int column) const {
  const void* bytes = sqlite3_column_blob(impl_->statement.get(), column);
  const int size = sqlite3_column_bytes(impl_->statement.get(), column);
  return {static_cast<const char*>(bytes), bytes == nullptr ? 0 : static_cast<std::size_t>(size)};
}

std::string Rows::text(int column) const { return std::string(view(column)); }

std::optional<std::string> Rows::maybe_text(int column) const {
  if (is_null(column)) return std::nullopt;
  return text(column);
}

std::optional<std::int64_t> Rows::maybe_integer(int column) const {
  if (is_null(column)) return std::nullopt;
  return integer(column);
}

std::optional<double> Rows::maybe_real(int column) const {
  if (is_null(column)) return std::nullopt;
  return real(column);
}

Result<Rows> Connection::query_values(std::string_view sql, std::span<const Value> values) {
  auto statement = impl_->take(sql);
  if (!statement) return statement.error();
  if (auto bound = bind_values(impl_->handle, statement->get(), values); !bound)
    return bound.error();
  auto rows = std::make_unique<Rows::Impl>();
  rows->connection = impl_;
  rows->sql = sql;
  rows->statement = std::move(*statement);
  return Rows(std::move(rows));
}

Result<void> Transaction::run_values(std::string_view sql, std::span<const Value> values) {
  return impl_->run(sql, values);
}

std::int64_t Transaction::changes() const { return sqlite3_changes64(impl_->handle); }

std::int64_t Transaction::last_row_id() const { return sqlite3_last_insert_rowid(impl_->handle); }

}  // namespace slipway::db
