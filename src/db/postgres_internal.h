// PostgreSQL's side of db/: a session over libpq. Values travel in PostgreSQL's binary formats
// (src/backend/utils/adt/*send of its source), so that doubles and blobs arrive as they were sent.
#pragma once
#include <libpq-fe.h>

#include <array>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "db/dialect_internal.h"
#include "db/postgres_url.h"
#include "db/session_internal.h"

namespace slipway::db {

struct ResultDeleter {
  void operator()(PGresult* result) const { PQclear(result); }
};
using ResultPtr = std::unique_ptr<PGresult, ResultDeleter>;
struct ConnectionDeleter {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};
using ConnectionPtr = std::unique_ptr<PGconn, ConnectionDeleter>;

// The error of a failed result, with the code that fits its SQLSTATE
// (https://www.postgresql.org/docs/15/errcodes-appendix.html).
Error postgres_error(const PGresult* result, std::string_view doing);

std::string quote_name(std::string_view name);  // "as it is"

// Values as PQsendQueryPrepared takes them; owns what it points at.
class Parameters {
 public:
  // `patterns` names the values (from 1) that are GLOB's patterns, `lists` those that are JSON.
  static Result<Parameters> of(std::span<const Value> values, std::span<const int> patterns,
                               std::span<const int> lists = {});
  int count() const { return static_cast<int>(pointers_.size()); }
  const Oid* types() const { return types_.data(); }
  const char* const* pointers() const { return pointers_.data(); }
  const int* lengths() const { return lengths_.data(); }
  const int* formats() const { return formats_.data(); }

 private:
  std::vector<Oid> types_;
  std::vector<const char*> pointers_;
  std::vector<int> lengths_;
  std::vector<int> formats_;
  std::unique_ptr<std::array<char, 8>[]> numbers_;  // big-endian
  std::vector<std::string> texts_;
};

// Statements with a line "-- many rows" are read in batches of this many, each a query of its own:
// neither memory nor the time one statement may take limits them. All others are read whole.
inline constexpr std::string_view kManyRows = "-- many rows\n";
inline constexpr int kBatchRows = 5'000;

// A whole result, read row by row.
std::unique_ptr<Cursor> make_cursor(ResultPtr result);

// The tables of one database, read once and shared by its sessions.
class SharedCatalog {
 public:
  std::shared_ptr<const Catalog> get() const;
  void set(std::shared_ptr<const Catalog> catalog);
  void forget() { set(nullptr); }

 private:
  mutable std::mutex mutex_;
  std::shared_ptr<const Catalog> catalog_;
};

class PostgresSession final : public Session {
 public:
  static Result<std::unique_ptr<PostgresSession>> open(const PostgresUrl& url,
                                                       const Options& options, bool read_only,
                                                       SharedCatalog& catalog);

  Backend backend() const override { return Backend::postgres; }
  Result<std::unique_ptr<Cursor>> query(std::string_view sql,
                                        std::span<const Value> values) override;
  Result<void> run(std::string_view sql, std::span<const Value> values) override;
  Result<void> run_script(std::string_view sql) override;
  std::int64_t changes() const override { return changes_; }
  std::int64_t last_row_id() const override { return row_id_; }

  Result<void> begin_read() override;
  Result<void> end_read() override;
  Result<void> begin_write() override;
  Result<void> commit() override;
  void rollback() override;
  Result<void> set_savepoint() override { return command("SAVEPOINT job"); }
  Result<void> undo_to_savepoint() override { return command("ROLLBACK TO SAVEPOINT job"); }
  Result<void> release_savepoint() override { return command("RELEASE SAVEPOINT job"); }
  bool in_transaction() const override { return in_transaction_ && !lost(); }
  bool lost() const override { return connection_ == nullptr; }

  // SQL of PostgreSQL's own, outside any translation.
  Result<ResultPtr> simple(const std::string& sql);
  // One value of its first row; empty when there is none.
  Result<std::string> ask(const std::string& sql);
  // The same with values and with its result in binary.
  Result<ResultPtr> binary(const std::string& sql, const Parameters& parameters);
  // Connects anew when the connection is gone.
  Result<void> ensure();
  Result<void> reconnect() {
    connection_.reset();
    return connect();
  }

 private:
  struct Prepared {
    std::string kinds;  // of the values it was prepared for
    std::string name;
    Translation translation;
  };
  struct Known {
    std::vector<int> lists;
    std::vector<Prepared> prepared;
  };

  PostgresSession(const PostgresUrl& url, const Options& options, bool read_only,
                  SharedCatalog& catalog)
      : url_(url), options_(options), read_only_(read_only), catalog_(catalog) {}

  Result<void> connect();
  Result<void> begin(const std::string& sql);
  Result<void> command(const std::string& sql);
  Result<std::unique_ptr<Cursor>> open_batches(std::string_view sql, std::span<const Value> values);
  Result<const Prepared*> prepare(std::string_view sql, std::span<const Value> values);
  Result<Translation> translated(std::string_view sql, std::span<const ListKind> lists);
  Result<std::shared_ptr<const Catalog>> load_catalog();
  Result<ResultPtr> execute(std::string_view sql, std::span<const Value> values);
  // The last result of what was sent, or an error when it fails or does not come in time.
  Result<ResultPtr> answer(std::string_view doing);
  Error lose(std::string_view why);
  Result<void> settle(const std::string& transaction);
  void transaction_ended();

  PostgresUrl url_;
  Options options_;
  bool read_only_;
  SharedCatalog& catalog_;
  ConnectionPtr connection_;
  std::int64_t lock_key_ = 0;
  std::unordered_map<std::string, Known, TextHash, TextEqual> known_;
  std::size_t prepared_ = 0;   // statements the server keeps for this connection
  std::size_t next_name_ = 0;  // of statements and of cursors
  bool in_transaction_ = false;
  bool defined_ = false;  // this transaction has changed tables
  bool patient_ = false;  // no statement timeout: a script
  std::int64_t changes_ = 0;
  std::int64_t row_id_ = 0;
};

}  // namespace slipway::db
