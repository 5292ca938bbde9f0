#include "server/server.h"

#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>

#include "base/json.h"
#include "base/log.h"
#include "server/connection_internal.h"

namespace slipway::server {
namespace {

using boost::system::error_code;
using Tcp = asio::ip::tcp;

constexpr std::chrono::milliseconds kAcceptRetry{
    100};  // when the process is out of file descriptors

Response plain_error(const Error& error) {
  return json_text(error.code == Code::invalid_argument ? 400 : 500,
                   Json{{"error", error.message}}.dump());
}

bool listens_beyond_loopback(const ServerOptions& options) {
  error_code error;
  const auto address = asio::ip::make_address(options.address, error);
  return !error && !address.is_loopback();
}

std::chrono::milliseconds tick_length(const ServerOptions& options) {
  const auto shortest = std::min(
      {options.header_timeout, options.body_timeout, options.idle_timeout, options.write_timeout});
  return std::clamp(shortest / 4, std::chrono::milliseconds(5), std::chrono::milliseconds(250));
}

}  // namespace

Result<void> ServerOptions::validate() const {
  if (port < 0 || port > 65535)
    return invalid_argument(fmt::format("port is {}, wanted 0 to 65535", port));
  error_code error;
  asio::ip::make_address(address == "localhost" ? "127.0.0.1" : address, error);
  if (error)
    return invalid_argument(fmt::format("'{}' is not an IP address to listen on", address));
  if (io_threads < 1 || worker_threads < 1 || transfer_threads < 1 || max_connections < 1 ||
      max_waiting < 1) {
    return invalid_argument(
        "a server needs at least one io thread, worker, transfer thread, connection and waiting "
        "place");
  }
  if (tls_certificate.empty() != tls_key.empty()) {
    return invalid_argument("TLS needs both a certificate and its key: give the one, too");
  }
  if (max_header_bytes < 1024) return invalid_argument("max_header_bytes is under 1024");
  return {};
}

Shared::Shared(ServerOptions settings, const Router& routes, const Clock& time, IdSource& id_source)
    : options(std::move(settings)),
      router(routes),
      clock(time),
      ids(id_source),
      hosts(options.host_names, listens_beyond_loopback(options)) {}

ErrorForm Shared::errors_at(std::string_view path) const {
  if (const ErrorForm family = router.errors_for(path); family != nullptr) return family;
  return options.errors != nullptr ? options.errors : &plain_error;
}

thread_local const IoThread* IoThread::current = nullptr;

void IoThread::run() {
  current = this;
  const auto guard = asio::make_work_guard(context);
  now = shared->clock.steady();
  tick();
  while (true) {
    try {
      context.run();
      break;
    } catch (const std::exception& e) {
      log::error("the io thread caught an exception", {{"error", e.what()}});
    }
  }
}

void IoThread::tick() {
  now = shared->clock.steady();
  // tick() may close, which changes the set.
  const std::vector<std::shared_ptr<Connection>> all(connections.begin(), connections.end());
  for (const auto& connection : all) connection->tick();
  timer.expires_after(tick_length(shared->options));
  timer.async_wait([this](error_code error) {
    if (!error) tick();
  });
}

void IoThread::drain() {
  const std::vector<std::shared_ptr<Connection>> all(connections.begin(), connections.end());
  for (const auto& connection : all) connection->drain();
}

// RFC 9110, section 5.6.7: "Sun, 06 Nov 1994 08:49:37 GMT".
std::string_view IoThread::date() {
  const Time time = shared->clock.now();
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  if (second.time_since_epoch().count() != date_second_) {
    date_second_ = second.time_since_epoch().count();
    const auto day = std::chrono::floor<std::chrono::days>(second);
    const std::chrono::year_month_day ymd(day);
    const std::chrono::hh_mm_ss clock(second - day);
    constexpr std::array<std::string_view, 7> days = {"Sun", "Mon", "Tue", "Wed",
                                                      "Thu", "Fri", "Sat"};
    constexpr std::array<std::string_view, 12> months = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                         "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    date_ =
        fmt::format("{}, {:02} {} {:04} {:02}:{:02}:{:02} GMT",
                    days[std::chrono::weekday(day).c_encoding()], static_cast<unsigned>(ymd.day()),
                    months[static_cast<unsigned>(ymd.month()) - 1], static_cast<int>(ymd.year()),
                    clock.hours().count(), clock.minutes().count(), clock.seconds().count());
  }
  return date_;
}

struct HttpServer::Impl {
  Impl(ServerOptions options, const Router& router, const Clock& clock, IdSource& ids)
      : state(std::make_shared<Shared>(std::move(options), router, clock, ids)),
        shared(*state),
        workers(shared.options.worker_threads),
        transfers(shared.options.transfer_threads) {
    shared.workers = &workers;
    shared.transfers = &transfers;

    for (int i = 0; i < shared.options.io_threads; ++i)
      threads.push_back(std::make_shared<IoThread>(state));
    acceptor.emplace(threads.front()->context);
    retry.emplace(threads.front()->context);
  }

  Result<void> listen();
  void accept();
  void stop();
  Result<void> load_tls();

  const std::shared_ptr<Shared> state;
  Shared& shared;
  WorkerPool workers;
  WorkerPool transfers;
  std::vector<std::shared_ptr<IoThread>> threads;
  std::optional<Tcp::acceptor> acceptor;  // of the first io thread
  std::optional<asio::steady_timer> retry;
  std::size_t next_thread = 0;
  int port = 0;
  std::once_flag stopped;
};

Result<void> HttpServer::Impl::listen() {
  const ServerOptions& options = shared.options;
  const auto address =
      asio::ip::make_address(options.address == "localhost" ? "127.0.0.1" : options.address);
  const Tcp::endpoint endpoint(address, static_cast<std::uint16_t>(options.port));
  error_code error;
  acceptor->open(endpoint.protocol(), error);
  if (!error) acceptor->set_option(asio::socket_base::reuse_address(true), error);
  if (!error) acceptor->bind(endpoint, error);
  if (!error) acceptor->listen(asio::socket_base::max_listen_connections, error);
  if (error == asio::error::address_in_use) {
    return failed_precondition(
        fmt::format("port {0} on {1} is taken by another program: stop it ('ss -ltnp sport = :{0}' "
                    "shows which), or choose another port",
                    options.port, options.address));
  }
  if (error == asio::error::access_denied) {
    return permission_denied(
        fmt::format("port {} needs root's rights: choose one from 1024 on", options.port));
  }
  if (error)
    return unavailable(
        fmt::format("cannot listen on {}:{}: {}", options.address, options.port, error.message()));
  port = acceptor->local_endpoint(error).port();
  return {};
}

Result<void> HttpServer::Impl::load_tls() {
  if (shared.options.tls_certificate.empty()) return {};
  auto loaded = TlsContext::load(shared.options.tls_certificate, shared.options.tls_key);
  if (!loaded) return loaded.error();
  shared.tls.with([&](auto& current) { current = std::move(*loaded); });
  return {};
}

void HttpServer::Impl::accept() {
  const auto io = threads[next_thread++ % threads.size()];
  acceptor->async_accept(io->context, [this, io](error_code error, Tcp::socket socket) {
    if (error == asio::error::operation_aborted || shared.draining.load()) return;
    if (error) {
      log::warn("a connection could not be taken", {{"error", error.message()}});
      retry->expires_after(kAcceptRetry);
      retry->async_wait([this](error_code failed) {
        if (!failed && !shared.draining.load()) accept();
      });
      return;
    }
    const bool room = shared.counters.connections.load() < shared.options.max_connections;
    asio::post(io->context,
               [connection = std::make_shared<Connection>(io, std::move(socket)), room] {
                 if (room) {
                   connection->start();
                 } else {
                   connection->refuse();
                 }
               });
    accept();
  });
}

void HttpServer::Impl::stop() {
  using namespace std::chrono_literals;
  shared.draining = true;
  asio::post(threads.front()->context, [this] {
    error_code ignored;
    acceptor->close(ignored);
    retry->cancel();
  });
  for (const auto& io : threads) asio::post(io->context, [io] { io->drain(); });
  const auto wait_until_idle = [&](std::chrono::milliseconds patience) {
    for (auto waited = 0ms; waited < patience && shared.counters.connections.load() > 0;
         waited += 2ms) {
      std::this_thread::sleep_for(2ms);
    }
    return shared.counters.connections.load() == 0;
  };
  if (!wait_until_idle(shared.options.drain)) {
    log::warn("requests were cut off at shutdown",
              {{"connections", shared.counters.connections.load()}});
    shared.stop.request_stop();
    wait_until_idle(200ms);
  }
  workers.drain();
  transfers.drain();
  for (const auto& io : threads) {
    asio::post(io->context, [io] {
      io->timer.cancel();
      const std::vector<std::shared_ptr<Connection>> all(io->connections.begin(),
                                                         io->connections.end());
      for (const auto& connection : all) connection->close();
    });
    asio::post(io->context, [io] { io->context.stop(); });
  }
  for (const auto& io : threads) {
    io->thread.join();
    io->stopped = true;
    // Handlers that came too late find their connection closed.
    io->context.restart();
    io->context.poll();
  }
}

Result<std::unique_ptr<HttpServer>> HttpServer::start(ServerOptions options, const Router& router,
                                                      const Clock& clock, IdSource& ids) {
  if (auto valid = options.validate(); !valid) return valid.error();
  if (listens_beyond_loopback(options) && router.guard() == nullptr) {
    return failed_precondition(
        fmt::format("others can reach '{}': a server there needs a guard that asks who they are",
                    options.address));
  }
  auto impl = std::make_unique<Impl>(std::move(options), router, clock, ids);
  if (auto loaded = impl->load_tls(); !loaded) return loaded.error();
  if (auto listening = impl->listen(); !listening) return listening.error();
  impl->accept();
  for (const auto& io : impl->threads) {
    io->thread = std::thread([io] { io->run(); });
  }
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(impl)));
}

HttpServer::HttpServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpServer::~HttpServer() { stop(); }
int HttpServer::port() const { return impl_->port; }
const std::string& HttpServer::address() const { return impl_->shared.options.address; }
void HttpServer::stop() {
  std::call_once(impl_->stopped, [&] { impl_->stop(); });
}

Result<void> HttpServer::reload_tls() { return impl_->load_tls(); }

ServerStats HttpServer::stats() const {
  const Counters& counters = impl_->shared.counters;
  ServerStats stats{.connections = counters.connections.load(),
                    .connections_total = counters.connections_total.load(),
                    .requests_total = counters.requests_total.load(),
                    .in_flight = counters.in_flight.load()};
  for (std::size_t i = 0; i < counters.responses.size(); ++i)
    stats.responses[i] = counters.responses[i].load();
  return stats;
}

}  // namespace slipway::server
