#include "db/server_lock.h"

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/hash.h"
#include "base/log.h"
#include "db/postgres_internal.h"
#include "db/postgres_statistics_internal.h"

namespace slipway::db {
namespace {

constexpr std::chrono::seconds kLookEvery{5};

}  // namespace

struct ServerLock::Impl {
  SharedCatalog catalog;
  std::unique_ptr<PostgresSession> session;
  std::string name;
  std::jthread thread;

  Result<void> take() {
    const auto schema = session->ask("SELECT coalesce(current_schema(), '')");
    if (!schema) return schema.error();
    const auto key = static_cast<std::int64_t>(hash64("slipway serves " + *schema));
    const auto taken = session->ask(fmt::format("SELECT pg_try_advisory_lock({})", key));
    if (!taken) return taken.error();
    if (*taken == "t") return {};
    return failed_precondition("another slipway server uses the database '" + name +
                               "': stop it, or give this one a schema of its own with "
                               "?options=-csearch_path%3DNAME");
  }

  // A connection that was lost has lost the lock, too.
  void look() {
    if (!session->lost() && session->ask("SELECT 1")) return;
    if (!session->lost()) return;
    if (auto connected = session->ensure(); !connected) return;  // at the next look
    if (auto taken = take(); !taken) {
      log::error("this server no longer has its database to itself",
                 {{"error", taken.error().message}});
      (void)session->reconnect().has_value();
    }
  }

  // Whoever has the database to itself looks after it.
  void tend() {
    if (session->lost()) return;
    if (auto fresh = refresh_statistics(*session); !fresh)
      log::warn("statistics stay as they are", {{"error", fresh.error().message}});
  }

  void run(const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any sleep;
    std::unique_lock lock(mutex);
    do {
      look();
      tend();
    } while (!sleep.wait_for(lock, stop, kLookEvery, [&] { return stop.stop_requested(); }));
  }
};

ServerLock::ServerLock(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ServerLock::~ServerLock() = default;

Result<std::unique_ptr<ServerLock>> ServerLock::acquire(const std::string& text) {
  const auto url = parse_postgres_url(text);
  if (!url) return url.error();
  auto impl = std::make_unique<Impl>();
  impl->name = url->without_password;
  auto session = PostgresSession::open(*url, {}, true, impl->catalog);
  if (!session) return session.error();
  impl->session = *std::move(session);
  if (auto taken = impl->take(); !taken) return taken.error();
  impl->thread = std::jthread([raw = impl.get()](const std::stop_token& stop) { raw->run(stop); });
  return std::unique_ptr<ServerLock>(new ServerLock(std::move(impl)));
}

}  // namespace slipway::db
