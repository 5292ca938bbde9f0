// The metadata database behind one small interface. SQLite in WAL mode: readers see a snapshot and
// never block the writer; all writes of this process go through one writer thread, which puts many
// of them into one transaction with one fsync (group commit). Another process (a pipeline run
// beside a server) may write to the same file: SQLite's lock orders them.
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
// lost lock, and its changes are undone (savepoint) when it returns an error; do no other side
// effects in it.
#pragma once
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
  struct Impl;
  explicit Rows(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

class Connection {
 public:
  virtual ~Connection() = default;
  template <class... Args>
  Result<Rows> query(std::string_view sql, const Args&... args) {
    const Value values[] = {bind(args)..., Value{}};
    return query_values(sql, {values, sizeof...(Args)});
  }
  Result<Rows> query_values(std::string_view sql, std::span<const Value> values);

  struct Impl;  // SQLite's side, in connection_internal.h

 protected:
  Impl* impl_ = nullptr;
};

// A Connection inside a write.
class Transaction : public Connection {
 public:
  // Runs one statement for its effect.
  template <class... Args>
  Result<void> run(std::string_view sql, const Args&... args) {
    const Value values[] = {bind(args)..., Value{}};
    return run_values(sql, {values, sizeof...(Args)});
  }
  Result<void> run_values(std::string_view sql, std::span<const Value> values);
  std::int64_t changes() const;      // rows touched by the last run()
  std::int64_t last_row_id() const;  // of the last INSERT
};

struct Options {
  bool durable = true;  // fsync before a write is acknowledged
  int readers = 4;      // connections for read()
  bool read_only = false;
};

class Database {
 public:
  // Creates the file (mode 0600) when it is missing, unless read_only.
  static Result<std::unique_ptr<Database>> open(const std::filesystem::path& file, Options options);
  ~Database();

  // Brings one module's schema up to date: each migration once, in order, in a transaction under
  // the database's lock. failed_precondition when the file is newer than this program; data_loss
  // when a merged migration was changed.
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

  // Changes whenever anyone, this process or another, has committed. Cheap: for polling.
  Result<std::int64_t> change_counter() const;
  // integrity and foreign keys; the findings, empty when sound
  Result<std::vector<std::string>> check() const;
  Result<void> backup_to(const std::filesystem::path& file) const;
  const std::filesystem::path& file() const;

 private:
  struct Impl;
  explicit Database(std::unique_ptr<Impl> impl);
  Result<void> read_erased(const std::function<void(Connection&)>& body) const;
  Result<void> write_erased(const std::function<Result<void>(Transaction&)>& body);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::db
