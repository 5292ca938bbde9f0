// Opening, watching, checking and copying a SQLite file.
#include <mutex>

#include "base/file.h"
#include "db/sqlite_internal.h"

namespace slipway::db {
namespace {

class SqliteDriver final : public Driver {
 public:
  SqliteDriver(std::filesystem::path file, const Options& options)
      : file_(file.string()), options_(options) {}

  Backend backend() const override { return Backend::sqlite; }
  const std::string& name() const override { return file_; }

  Result<std::unique_ptr<Session>> connect(bool read_only) const override {
    auto session = SqliteSession::open(file_, read_only, options_);
    if (!session) return session.error();
    return std::unique_ptr<Session>(std::move(*session));
  }

  Result<void> prepare(Session& writer) const override {
    if (auto made = writer.run_script(kSchemaTable); !made) return made.error().at(file_);
    return {};
  }

  // SQLite tells a connection of commits by others than itself, so this one never writes.
  Result<std::int64_t> change_counter() const override {
    const std::scoped_lock lock(counter_mutex_);
    if (!counter_) {
      auto opened = SqliteSession::open(file_, true, options_);
      if (!opened) return opened.error();
      counter_ = std::move(*opened);
    }
    auto rows = counter_->query("PRAGMA data_version", {});
    if (!rows) return rows.error();
    if (!(*rows)->next()) return internal("the database did not say its version");
    return (*rows)->integer(0);
  }

  void let_go() const override {
    const std::scoped_lock lock(counter_mutex_);
    counter_.reset();
  }

  Result<std::vector<std::string>> check(Connection& connection) const override {
    std::vector<std::string> findings;
    auto integrity = connection.query("PRAGMA integrity_check");
    if (!integrity) return integrity.error();
    while (integrity->next()) {
      if (integrity->view(0) != "ok") findings.push_back(integrity->text(0));
    }
    auto keys = connection.query("PRAGMA foreign_key_check");
    if (!keys) return keys.error();
    while (keys->next()) {
      findings.push_back("a row of '" + keys->text(0) + "' points at nothing in '" + keys->text(2) +
                         "'");
    }
    return findings;
  }

  // All pages in one step: under SQLite's read lock, which in WAL mode stops no writer.
  Result<void> backup_to(const std::filesystem::path& target) const override {
    auto source = SqliteSession::open(file_, true, options_);
    if (!source) return source.error();
    struct Closed {
      sqlite3* handle = nullptr;
      ~Closed() { sqlite3_close_v2(handle); }
    } copy;
    if (sqlite3_open_v2(target.c_str(), &copy.handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
                        nullptr) != SQLITE_OK) {
      return sqlite_error(copy.handle, "cannot make '" + target.string() + "'");
    }
    sqlite3_backup* backup = sqlite3_backup_init(copy.handle, "main", (*source)->handle(), "main");
    if (backup == nullptr) return sqlite_error(copy.handle, "cannot begin the copy");
    sqlite3_backup_step(backup, -1);
    if (sqlite3_backup_finish(backup) != SQLITE_OK)
      return sqlite_error(copy.handle, "cannot copy '" + file_ + "'");
    // One file without a log beside it, which is all that has to be carried away.
    if (sqlite3_exec(copy.handle, "PRAGMA journal_mode=DELETE", nullptr, nullptr, nullptr) !=
        SQLITE_OK) {
      return sqlite_error(copy.handle, "cannot finish '" + target.string() + "'");
    }
    return {};
  }

  // Whether the copy can be read back whole. Its pages are the source's own, so what may have gone
  // wrong is their way to the disk: quick_check reads every page and row, and leaves out comparing
  // the indexes with their tables, which is most of the work. `db check` and `db restore` do that.
  Result<void> verify_backup(const std::filesystem::path& copy) const override {
    auto session = SqliteSession::open(copy.string(), true, options_);
    if (!session) return session.error();
    auto found = (*session)->query("PRAGMA quick_check(1)", {});
    if (!found) return found.error();
    const bool said = (*found)->next();
    if (auto status = (*found)->status(); !status) return status;
    if (said && (*found)->view(0) == "ok") return {};
    return data_loss("'" + copy.string() + "' is not sound: " +
                     (said ? std::string((*found)->view(0)) : "it cannot be checked"));
  }

 private:
  std::string file_;
  Options options_;
  mutable std::mutex counter_mutex_;
  mutable std::unique_ptr<SqliteSession> counter_;
};

}  // namespace

Result<std::unique_ptr<Driver>> open_sqlite(const std::filesystem::path& file,
                                            const Options& options) {
  std::error_code problem;
  const bool exists = std::filesystem::exists(file, problem);
  if (options.read_only && !exists)
    return not_found("the database '" + file.string() + "' does not exist");
  if (exists && std::filesystem::file_size(file, problem) == 0 &&
      std::filesystem::exists(file.string() + "-wal", problem)) {
    return data_loss("the database '" + file.string() +
                     "' is empty beside a write-ahead log: restore it from a backup");
  }
  return std::unique_ptr<Driver>(new SqliteDriver(file, options));
}

}  // namespace slipway::db
