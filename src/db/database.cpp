#include "db/database.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "base/fault.h"
#include "base/file.h"
#include "base/hash.h"
#include "db/connection_internal.h"

namespace slipway::db {
namespace {

constexpr std::size_t kMaxGroup =
    4096;  // writes in one transaction: bounds how long the lock is held

constexpr const char* kSchemaTable =
    "CREATE TABLE IF NOT EXISTS schema_migrations("
    " module TEXT NOT NULL, version INTEGER NOT NULL, name TEXT NOT NULL, sha256 TEXT NOT NULL,"
    " PRIMARY KEY(module, version))";

struct Job {
  std::function<Result<void>(Transaction&)> body;
  std::function<void(Result<void>)> done;
  Result<void> outcome;
};

}  // namespace

struct Database::Impl {
  std::filesystem::path file;
  Options options;

  // The writer: one connection, one thread, a queue. Opened at the first write.
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Job> queue;
  bool stopping = false;
  std::unique_ptr<Connection::Impl> writer;
  std::jthread thread;

  // Readers: idle connections, lent one at a time.
  mutable std::mutex readers_mutex;
  mutable std::condition_variable readers_changed;
  mutable std::vector<std::unique_ptr<Connection::Impl>> idle_readers;
  mutable int open_readers = 0;
  mutable std::unique_ptr<Connection::Impl>
      counter;  // for change_counter: data_version is kept per connection
  mutable std::mutex counter_mutex;

  Result<std::unique_ptr<Connection::Impl>> take_reader() const {
    std::unique_lock lock(readers_mutex);
    readers_changed.wait(lock,
                         [&] { return !idle_readers.empty() || open_readers < options.readers; });
    if (!idle_readers.empty()) {
      auto reader = std::move(idle_readers.back());
      idle_readers.pop_back();
      return reader;
    }
    ++open_readers;
    lock.unlock();
    auto opened = Connection::Impl::open(file.string(), true, options.durable);
    if (!opened) {
      lock.lock();
      --open_readers;
      readers_changed.notify_one();
    }
    return opened;
  }

  void give_back(std::unique_ptr<Connection::Impl> reader) const {
    {
      const std::scoped_lock lock(readers_mutex);
      idle_readers.push_back(std::move(reader));
    }
    readers_changed.notify_one();
  }

  void enqueue(Job job) {
    {
      const std::scoped_lock lock(mutex);
      queue.push_back(std::move(job));
    }
    wake.notify_one();
  }

  // Runs each body under a savepoint, so that one's failure undoes only its own changes.
  void run_bodies(std::vector<Job>& group) {
    SqliteTransaction transaction(writer.get());
    for (Job& job : group) {
      if (auto opened = writer->execute("SAVEPOINT job"); !opened) {
        job.outcome = opened;
        continue;
      }
      try {
        job.outcome = job.body(transaction);
      } catch (const std::exception& problem) {
        job.outcome = internal(std::string("a write threw: ") + problem.what());
      }
      if (!job.outcome) {
        if (auto undone = writer->execute("ROLLBACK TO job"); !undone) job.outcome = undone;
      }
      if (auto released = writer->execute("RELEASE job"); !released && job.outcome)
        job.outcome = released;
    }
  }

  void commit_group(std::vector<Job>& group) {
    const auto fail_all = [&](const Error& error) {
      for (Job& job : group) {
        if (job.outcome) job.outcome = error;
      }
    };
    if (auto begun = writer->execute("BEGIN IMMEDIATE"); !begun) return fail_all(begun.error());
    run_bodies(group);
    auto committed = fault::point("db.before_commit");
    if (committed) committed = writer->execute("COMMIT");
    if (!committed) {
      if (auto undone = writer->execute("ROLLBACK"); !undone) return fail_all(undone.error());
      fail_all(committed.error());
    }
  }

  void write_loop() {
    std::unique_lock lock(mutex);
    while (true) {
      wake.wait(lock, [&] { return stopping || !queue.empty(); });
      if (queue.empty()) return;
      std::vector<Job> group;
      while (!queue.empty() && group.size() < kMaxGroup) {
        group.push_back(std::move(queue.front()));
        queue.pop_front();
      }
      lock.unlock();
      commit_group(group);
      for (Job& job : group) {
        job.body = nullptr;
        job.done(std::move(job.outcome));
      }
      group.clear();
      lock.lock();
    }
  }
};

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& file,
                                                 Options options) {
  std::error_code problem;
  const bool exists = std::filesystem::exists(file, problem);
  if (options.read_only && !exists)
    return not_found("the database '" + file.string() + "' does not exist");
  if (exists && std::filesystem::file_size(file, problem) == 0 &&
      std::filesystem::exists(file.string() + "-wal", problem)) {
    return data_loss("the database '" + file.string() +
                     "' is empty beside a write-ahead log: restore it from a backup");
  }
  auto impl = std::make_unique<Impl>();
  impl->file = file;
  impl->options = options;
  if (!options.read_only) {
    auto writer = Connection::Impl::open(file.string(), false, options.durable);
    if (!writer) return writer.error();
    impl->writer = std::move(*writer);
    if (auto made = impl->writer->execute(kSchemaTable); !made)
      return made.error().at(file.string());
    impl->thread = std::jthread([raw = impl.get()] { raw->write_loop(); });
  }
  return std::unique_ptr<Database>(new Database(std::move(impl)));
}

Database::~Database() {
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->wake.notify_all();
  if (impl_->thread.joinable()) impl_->thread.join();
}

Result<void> Database::migrate(std::string_view module, std::span<const Migration> migrations) {
  return write([&](Transaction& tx) -> Result<void> {
    std::map<std::int64_t, std::string> done;
    {
      auto rows = tx.query(
          "SELECT version, sha256 FROM schema_migrations WHERE module = ? ORDER BY version",
          module);
      if (!rows) return rows.error();
      while (rows->next()) done[rows->integer(0)] = rows->text(1);
      if (auto status = rows->status(); !status) return status;
    }
    if (!done.empty() &&
        done.rbegin()->first > (migrations.empty() ? 0 : migrations.back().version)) {
      return failed_precondition(
          "the database '" + impl_->file.string() + "' holds version " +
          std::to_string(done.rbegin()->first) + " of the schema of '" + std::string(module) +
          "', and this program knows up to " +
          std::to_string(migrations.empty() ? 0 : migrations.back().version) +
          ": use a newer slipway");
    }
    for (const Migration& migration : migrations) {
      const std::string digest = sha256_hex(migration.sql);
      if (const auto found = done.find(migration.version); found != done.end()) {
        if (found->second == digest) continue;
        return data_loss("migration " + std::to_string(migration.version) + " of '" +
                         std::string(module) +
                         "' differs from the one this database was made with");
      }
      if (auto ran = impl_->writer->execute(std::string(migration.sql).c_str()); !ran) {
        return ran.error().at("migration " + std::to_string(migration.version) + " of '" +
                              std::string(module) + "'");
      }
      if (auto noted = tx.run(
              "INSERT INTO schema_migrations(module, version, name, sha256) VALUES(?, ?, ?, ?)",
              module, migration.version, migration.name, digest);
          !noted) {
        return noted;
      }
    }
    return {};
  });
}

void Database::write_async(std::function<Result<void>(Transaction&)> body,
                           std::function<void(Result<void>)> done) {
  if (impl_->options.read_only)
    return done(failed_precondition("the database was opened to read only"));
  impl_->enqueue({std::move(body), std::move(done), {}});
}

Result<void> Database::write_erased(const std::function<Result<void>(Transaction&)>& body) {
  std::promise<Result<void>> promise;
  auto future = promise.get_future();
  write_async(body, [&](Result<void> outcome) { promise.set_value(std::move(outcome)); });
  return future.get();
}

Result<void> Database::read_erased(const std::function<void(Connection&)>& body) const {
  auto reader = impl_->take_reader();
  if (!reader) return reader.error();
  // One snapshot for the whole body.
  auto begun = (*reader)->execute("BEGIN");
  if (begun) {
    SqliteTransaction connection(reader->get());
    body(connection);
    begun = (*reader)->execute("COMMIT");
  }
  impl_->give_back(std::move(*reader));
  return begun;
}

Result<std::int64_t> Database::change_counter() const {
  const std::scoped_lock lock(impl_->counter_mutex);
  if (!impl_->counter) {
    auto opened = Connection::Impl::open(impl_->file.string(), true, impl_->options.durable);
    if (!opened) return opened.error();
    impl_->counter = std::move(*opened);
  }
  SqliteTransaction connection(impl_->counter.get());
  auto rows = connection.query("PRAGMA data_version");
  if (!rows) return rows.error();
  if (!rows->next()) return internal("the database did not say its version");
  return rows->integer(0);
}

Result<std::vector<std::string>> Database::check() const {
  return read([](Connection& connection) -> Result<std::vector<std::string>> {
    std::vector<std::string> findings;
    auto integrity = connection.query("PRAGMA integrity_check");
    if (!integrity) return integrity.error();
    while (integrity->next()) {
      if (integrity->view(0) != "ok") findings.push_back(integrity->text(0));
    }
    auto keys = connection.query("PRAGMA foreign_key_check");
    if (!keys) return keys.error();
    while (keys->next())
      findings.push_back("a row of '" + keys->text(0) + "' points at nothing in '" + keys->text(2) +
                         "'");
    return findings;
  });
}

Result<void> Database::backup_to(const std::filesystem::path& target) const {
  std::error_code problem;
  if (std::filesystem::exists(target, problem))
    return already_exists("'" + target.string() + "' exists already: name a new file");
  return read([&](Connection&) -> Result<void> {
    auto source = Connection::Impl::open(impl_->file.string(), true, true);
    if (!source) return source.error();
    const std::string name = target.string();
    auto copied = (*source)->run("VACUUM INTO ?", std::array{db::bind(std::string_view(name))});
    if (!copied) return copied;
    return fsync_path(target);
  });
}

const std::filesystem::path& Database::file() const { return impl_->file; }

}  // namespace slipway::db
