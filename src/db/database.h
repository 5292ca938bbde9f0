// The metadata database behind one small interface: SQLite in a file, or PostgreSQL. Readers see a
// snapshot and never block the writer; all writes of this process go through one writer thread,
// which puts many of them into one transaction with one fsync (group commit). Another process (a
// pipeline run beside a server) may write to the same database: a lock orders them. Statements are
// written once, for SQLite; db/dialect_internal.h says what PostgreSQL's side makes of them.
//   auto db = Database::open(home / "slipway.db", {});
//   db->write([&](Transaction& tx) -> Result<void> {            // returns when durable
//     return tx.run("INSERT INTO runs(id, name) VALUES(?, ?)", id, name);
//   });
//   auto name = db->read([&](Connection& c) -> Result<std::string> {
//     auto row = c.query("SELECT name FROM runs WHERE id = ?", id);
//     if (!row) return row.error();
//     if (!row->next()) return not_found("run '" + id + "' does not exist");
//     return row->text(0);
//   });
// Thread-safe. Calls block: make them from worker threads. A write's body may run again after a
// lost connection, and its changes are undone (savepoint) when it returns an error; do no other
// side effects in it. Once a statement of a body has failed, the body must return its error:
// PostgreSQL takes no further statement of it.
#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "base/result.h"

namespace slipway::db {

enum class Backend { sqlite, postgres };

class Session;  // one connection of either backend: session_internal.h
class Cursor;   // the rows of one query of it

// One step of a module's schema: src/<module>/sql/NNNN_what.sql, embedded at build time
// (<module>/migrations.h).
struct Migration {
  int version;
  std::string_view name;
  std::string_view sql;
};

// A bound parameter or a value read back.
struct Value {
  enum class Kind { null, integer, real, text, blob } kind = Kind::null;
  std::int64_t integer = 0;
  double real = 0;
  std::string_view text;  // also a blob's bytes; must outlive the call
};

inline Value bind(std::nullptr_t) { return {}; }
inline Value bind(std::string_view text) { return {.kind = Value::Kind::text, .text = text}; }
inline Value bind(const std::string& text) { return bind(std::string_view(text)); }
inline Value bind(const char* text) { return bind(std::string_view(text)); }
struct Blob {
  std::string_view bytes;
};
inline Value bind(Blob blob) { return {.kind = Value::Kind::blob, .text = blob.bytes}; }
template <class T>
  requires std::is_integral_v<T> || std::is_enum_v<T>
Value bind(T number) {
  return {.kind = Value::Kind::integer, .integer = static_cast<std::int64_t>(number)};
}
template <class T>
  requires std::is_floating_point_v<T>
Value bind(T number) {
  return {.kind = Value::Kind::real, .real = static_cast<double>(number)};
}
template <class T>
Value bind(const std::optional<T>& maybe) {
  return maybe ? bind(*maybe) : Value{};
}

// The rows of one query, walked once. Texts and blobs are copied out. NaN is stored by SQLite as
// NULL: store special doubles in a column of their own.
class Rows {
 public:
  Rows(Rows&&) noexcept;
  Rows& operator=(Rows&&) noexcept;
  ~Rows();
  bool next();                  // false at the end or on an error: see status()
  Result<void> status() const;  // the error that ended the walk, if one did
  bool is_null(int column) const;
  std::int64_t integer(int column) const;
  double real(int column) const;
  std::string text(int column) const;       // also blobs
  std::string_view view(int column) const;  // until the next call of next()
  std::optional<std::string> maybe_text(int column) const;
  std::optional<std::int64_t> maybe_integer(int column) const;
  std::optional<double> maybe_real(int column) const;

 private:
  friend class Connection;
  explicit Rows(std::unique_ptr<Cursor> cursor);
  std::unique_ptr<Cursor> cursor_;
};

class Connection {
 public:
  explicit Connection(Session& session) : session_(&session) {}
  template <class... Args>
  Result<Rows> query(std::string_view sql, const Args&... args) {
    const Value values[] = {bind(args)..., Value{}};
    return query_values(sql, {values, sizeof...(Args)});
  }
  Result<Rows> query_values(std::string_view sql, std::span<const Value> values);
  Backend backend() const;

 protected:
  Session* session_;
};

// A Connection inside a write.
class Transaction : public Connection {
 public:
  using Connection::Connection;
  // Runs one statement for its effect.
  template <class... Args>
  Result<void> run(std::string_view sql, const Args&... args) {
    const Value values[] = {bind(args)..., Value{}};
    return run_values(sql, {values, sizeof...(Args)});
  }
  Result<void> run_values(std::string_view sql, std::span<const Value> values);
  std::int64_t changes() const;      // rows touched by the last run()
  std::int64_t last_row_id() const;  // of the last INSERT that gave a number by itself
  // Several statements without values, as in a migration.
  Result<void> run_script(std::string_view sql);
};

struct Options {
  bool durable = true;  // fsync before a write is acknowledged
  int readers = 4;      // connections for read()
  bool read_only = false;
  // How long a write waits while another process writes; then unavailable.
  std::chrono::milliseconds lock_wait{30'000};
  // PostgreSQL only: how long one statement may take, deadline_exceeded after that.
  std::chrono::milliseconds statement_timeout{60'000};
};

class Database {
 public:
  // A file, which is created (mode 0600) when it is missing unless read_only; or a URL
  // "postgresql://user@host:port/database?…" as libpq reads it, where the database must exist.
  static Result<std::unique_ptr<Database>> open(const std::filesystem::path& file_or_url,
                                                Options options);
  ~Database();

  // Brings one module's schema up to date: each migration once, in order, in a transaction under
  // the database's lock. failed_precondition when the database is newer than this program;
  // data_loss when a merged migration was changed. db/schema.h does many modules at once.
  Result<void> migrate(std::string_view module, std::span<const Migration> migrations);

  // Runs body on a snapshot. R is Result<something>.
  template <class F>
  std::invoke_result_t<F, Connection&> read(F&& body) const {
    std::optional<std::invoke_result_t<F, Connection&>> result;
    if (auto ran = read_erased([&](Connection& c) { result.emplace(body(c)); }); !ran)
      return ran.error();
    return std::move(*result);
  }
  // Runs body in a transaction and returns after it is committed (durably, by default).
  template <class F>
  std::invoke_result_t<F, Transaction&> write(F&& body) {
    std::optional<std::invoke_result_t<F, Transaction&>> result;
    auto ran = write_erased([&](Transaction& tx) -> Result<void> {
      result.emplace(body(tx));
      if (!*result) return result->error();
      return {};
    });
    if (!ran) return ran.error();
    return std::move(*result);
  }
  // Like write, without waiting: done is called on the writer thread after the commit.
  void write_async(std::function<Result<void>(Transaction&)> body,
                   std::function<void(Result<void>)> done);

  // Changes whenever another process, or this one, has committed a change. Cheap: for polling.
  Result<std::int64_t> change_counter() const;
  // integrity and foreign keys; the findings, empty when sound
  Result<std::vector<std::string>> check() const;
  // A consistent copy taken while everything goes on, read back and found sound: a SQLite file, or
  // pg_dump's custom format. Never overwrites.
  Result<void> backup_to(const std::filesystem::path& file) const;
  // Why writes are refused until the program is restarted; nothing while all is well. A disk that
  // is full is not such a reason: writes go on by themselves when there is space.
  Result<void> health() const;
  Backend backend() const;
  const std::string& name() const;  // for messages: the file, or the URL without its password

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  Result<void> read_erased(const std::function<void(Connection&)>& body) const;
  Result<void> write_erased(const std::function<Result<void>(Transaction&)>& body);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::db
