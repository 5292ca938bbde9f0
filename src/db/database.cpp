#include "db/database.h"

#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "db/session_internal.h"

namespace slipway::db {
namespace {

constexpr std::size_t kMaxGroup =
    4096;  // writes in one transaction: bounds how long the lock is held

// Callers who were answered together tend to come back together. The writer waits for as many as
// last time, for at most this share of what the last commit took (most of which is the disk's
// fsync), so that they share the next one, too; whoever is alone never waits.
constexpr int kGatherShare = 6;
constexpr std::chrono::microseconds kLongestGather{2'000};

struct Job {
  std::function<Result<void>(Transaction&)> body;
  std::function<void(Result<void>)> done;
  Result<void> outcome;
};

void fail_all(std::vector<Job>& group, const Error& error) {
  for (Job& job : group) {
    if (job.outcome) job.outcome = error;
  }
}

}  // namespace

struct Database::Impl {
  std::unique_ptr<Driver> driver;
  Options options;

  // The writer: one session, one thread, a queue.
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<Job> queue;
  std::size_t wake_at = 1;  // jobs in the queue that the writer waits for
  bool stopping = false;
  std::unique_ptr<Session> writer;
  mutable std::mutex health_mutex;
  Result<void> health;  // of the writer, for others to ask
  std::jthread thread;

  // Readers: idle sessions, lent one at a time.
  mutable std::mutex readers_mutex;
  mutable std::condition_variable readers_changed;
  mutable std::vector<std::unique_ptr<Session>> idle_readers;
  mutable int open_readers = 0;

  Result<std::unique_ptr<Session>> take_reader() const {
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
    auto opened = driver->connect(true);
    if (!opened) {
      lock.lock();
      --open_readers;
      readers_changed.notify_one();
    }
    return opened;
  }

  void give_back(std::unique_ptr<Session> reader) const {
    {
      const std::scoped_lock lock(readers_mutex);
      idle_readers.push_back(std::move(reader));
    }
    readers_changed.notify_one();
  }

  void enqueue(Job job) {
    bool enough = false;
    {
      const std::scoped_lock lock(mutex);
      queue.push_back(std::move(job));
      enough = queue.size() >= wake_at;
    }
    if (enough) wake.notify_one();
  }

  static Result<void> run_body(const Job& job, Transaction& transaction) {
    try {
      return job.body(transaction);
    } catch (const std::exception& problem) {
      return internal(std::string("a write threw: ") + problem.what());
    }
  }

  // Runs the body under a savepoint, so that its failure undoes only its own changes.
  Result<void> run_beside_others(const Job& job, Transaction& transaction) {
    if (auto set = writer->set_savepoint(); !set) return set;
    Result<void> outcome = run_body(job, transaction);
    if (!writer->in_transaction()) return outcome;
    if (!outcome) {
      if (auto undone = writer->undo_to_savepoint(); !undone) return undone;
    }
    auto released = writer->release_savepoint();
    if (released || !outcome) return outcome;
    // PostgreSQL: a statement failed, and the body went on.
    if (auto undone = writer->undo_to_savepoint(); !undone) return undone;
    (void)writer->release_savepoint().has_value();
    return released;
  }

  // One transaction over the whole group. Leaves each job its outcome; false when the connection
  // was lost before anything was asked to be kept, so that the group may be run again.
  bool commit_group(std::vector<Job>& group) {
    if (auto sound = writer->health(); !sound) {
      fail_all(group, sound.error());
      return true;
    }
    if (auto begun = writer->begin_write(); !begun) {
      fail_all(group, begun.error());
      return true;
    }
    Transaction transaction(*writer);
    const bool alone = group.size() == 1;
    for (Job& job : group) {
      job.outcome = alone ? run_body(job, transaction) : run_beside_others(job, transaction);
      if (writer->in_transaction()) continue;
      const bool lost = writer->lost();
      writer->rollback();
      fail_all(group, job.outcome ? unavailable("the database undid the transaction: try again")
                                  : job.outcome.error());
      return !lost;
    }
    if (alone && !group[0].outcome) {
      writer->rollback();
      return true;
    }
    auto committed = fault::point("db.before_commit");
    if (committed) committed = writer->commit();
    if (!committed) {
      writer->rollback();
      fail_all(group, committed.error());
    }
    return true;
  }

  void write_loop() {
    const SystemClock clock;
    std::size_t company = 1;  // of the last group
    std::chrono::microseconds gather{0};
    std::unique_lock lock(mutex);
    while (true) {
      wake_at = 1;
      wake.wait(lock, [&] { return stopping || !queue.empty(); });
      if (queue.empty()) return;
      if (queue.size() < company) {
        wake_at = company;
        wake.wait_for(lock, gather, [&] { return stopping || queue.size() >= company; });
      }
      std::vector<Job> group;
      while (!queue.empty() && group.size() < kMaxGroup) {
        group.push_back(std::move(queue.front()));
        queue.pop_front();
      }
      company = group.size();
      lock.unlock();
      const SteadyTime begun = clock.steady();
      if (!commit_group(group)) {
        for (Job& job : group) job.outcome = {};
        commit_group(group);
      }
      gather = std::min(kLongestGather, std::chrono::duration_cast<std::chrono::microseconds>(
                                            (clock.steady() - begun) / kGatherShare));
      if (auto sound = writer->health(); !sound) {
        const std::scoped_lock health_lock(health_mutex);
        if (health)
          log::error("the database takes no more writes", {{"why", sound.error().message}});
        health = sound;
      }
      for (Job& job : group) {
        job.body = nullptr;
        job.done(std::move(job.outcome));
      }
      group.clear();
      lock.lock();
    }
  }
};

Rows::Rows(std::unique_ptr<Cursor> cursor) : cursor_(std::move(cursor)) {}
Rows::Rows(Rows&&) noexcept = default;
Rows& Rows::operator=(Rows&&) noexcept = default;
Rows::~Rows() = default;
bool Rows::next() { return cursor_->next(); }
Result<void> Rows::status() const { return cursor_->status(); }
bool Rows::is_null(int column) const { return cursor_->is_null(column); }
std::int64_t Rows::integer(int column) const { return cursor_->integer(column); }
double Rows::real(int column) const { return cursor_->real(column); }
std::string_view Rows::view(int column) const { return cursor_->view(column); }
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
  auto cursor = session_->query(sql, values);
  if (!cursor) return cursor.error();
  return Rows(std::move(*cursor));
}

Backend Connection::backend() const { return session_->backend(); }

Result<void> Transaction::run_values(std::string_view sql, std::span<const Value> values) {
  return session_->run(sql, values);
}
std::int64_t Transaction::changes() const { return session_->changes(); }
std::int64_t Transaction::last_row_id() const { return session_->last_row_id(); }
Result<void> Transaction::run_script(std::string_view sql) { return session_->run_script(sql); }

Database::Database(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Result<std::unique_ptr<Database>> Database::open(const std::filesystem::path& file_or_url,
                                                 Options options) {
  const std::string& text = file_or_url.native();
  const bool is_url = text.starts_with("postgresql://") || text.starts_with("postgres://");
  auto driver = is_url ? open_postgres(text, options) : open_sqlite(file_or_url, options);
  if (!driver) return driver.error();
  auto impl = std::make_unique<Impl>();
  impl->driver = std::move(*driver);
  impl->options = options;
  if (!options.read_only) {
    auto writer = impl->driver->connect(false);
    if (!writer) return writer.error();
    impl->writer = std::move(*writer);
    if (auto prepared = impl->driver->prepare(*impl->writer); !prepared) return prepared.error();
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
  // SQLite folds its log into the file, and removes it, when the last session to close may write.
  impl_->driver->let_go();
  impl_->idle_readers.clear();
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
  // Also when the body throws.
  struct Lent {
    const Impl& impl;
    std::unique_ptr<Session> session;
    ~Lent() {
      if (session->in_transaction()) (void)session->end_read().has_value();
      impl.give_back(std::move(session));
    }
  } const lent{*impl_, std::move(*reader)};
  // One snapshot for the whole body.
  if (auto begun = lent.session->begin_read(); !begun) return begun;
  Connection connection(*lent.session);
  body(connection);
  return lent.session->end_read();
}

Result<std::int64_t> Database::change_counter() const { return impl_->driver->change_counter(); }

Result<std::vector<std::string>> Database::check() const {
  return read([this](Connection& connection) { return impl_->driver->check(connection); });
}

Result<void> Database::backup_to(const std::filesystem::path& target) const {
  std::error_code problem;
  if (std::filesystem::exists(target, problem))
    return already_exists("'" + target.string() + "' exists already: name a new file");
  // Beside its place until it is whole and durable: a half copy never carries the name of one.
  auto folder = TempDir::create(
      target.has_parent_path() ? target.parent_path() : std::filesystem::path("."), ".backup");
  if (!folder) return folder.error();
  const auto copy = folder->path() / target.filename();
  if (auto copied = impl_->driver->backup_to(copy); !copied) return copied;
  if (auto sound = impl_->driver->verify_backup(copy); !sound) return sound;
  std::filesystem::permissions(copy, std::filesystem::perms(0600), problem);
  if (auto synced = fsync_path(copy); !synced) return synced;
  return rename_durable(copy, target);
}

Result<void> Database::health() const {
  const std::scoped_lock lock(impl_->health_mutex);
  return impl_->health;
}

Backend Database::backend() const { return impl_->driver->backend(); }
const std::string& Database::name() const { return impl_->driver->name(); }

}  // namespace slipway::db
