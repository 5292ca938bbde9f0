// The HTTP/1.1 server: sockets, limits, timeouts, and the way from a request to its route's
// handler.
//   auto server = HttpServer::start({.port = 5000}, router, clock, ids);   // answers when this
//   returns … (*server)->port() …
//   (*server)->stop();   // no new connections, requests under way are finished, up to
//   options.drain
// Each io thread has its own event loop and each connection belongs to one of them, so a
// connection's state needs no lock. Handlers of Router::add_async run there and must not block;
// those of Router::add run on a worker pool, and the bodies of Router::add_upload and of streamed
// answers pass through a pool of their own. Every answer bears x-request-id: the caller's, when it
// sent a sound one, else a new one. router, clock and ids outlive the server.
#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "server/http.h"

namespace slipway::server {

struct ServerOptions {
  std::string address = "127.0.0.1";  // beyond loopback only with a guard
  int port = 0;                       // 0: any free one
  int io_threads = 2;
  int worker_threads = 4;
  int transfer_threads = 4;    // read and write the bodies that are not held in memory
  int max_connections = 4096;  // more are answered 503
  int max_waiting = 1024;      // requests in front of the worker pool; more are answered 503
  std::uint32_t max_header_bytes = 16 * 1024;          // 431
  std::uint64_t max_body_bytes = 64ULL * 1024 * 1024;  // 413
  std::chrono::milliseconds header_timeout{
      15'000};  // from a request's first byte to the end of its header: 408
  std::chrono::milliseconds body_timeout{60'000};   // without a further byte of the body: 408
  std::chrono::milliseconds idle_timeout{75'000};   // between requests: closed
  std::chrono::milliseconds write_timeout{60'000};  // without the caller taking a byte: closed
  std::chrono::milliseconds drain{30'000};
  std::vector<std::string>
      host_names;  // names it may be called by, beside localhost, 127.0.0.1 and [::1]
  // PEM files; both or none. With them the port speaks TLS 1.2 and later, and nothing else.
  std::filesystem::path tls_certificate;
  std::filesystem::path tls_key;
  ErrorForm errors = nullptr;  // for paths outside every family of routes; null: {"error": message}

  Result<void> validate() const;
};

struct ServerStats {
  std::int64_t connections = 0;  // open now
  std::int64_t connections_total = 0;
  std::int64_t requests_total = 0;
  std::int64_t in_flight = 0;      // given to a handler, not answered yet
  std::int64_t responses[6] = {};  // by hundreds of the status: [2] counts 2xx
};

class HttpServer {
 public:
  // invalid_argument; failed_precondition when the port is taken.
  static Result<std::unique_ptr<HttpServer>> start(ServerOptions options, const Router& router,
                                                   const Clock& clock, IdSource& ids);
  ~HttpServer();  // stops
  int port() const;
  const std::string& address() const;
  void stop();
  ServerStats stats() const;
  // Reads certificate and key anew, for the connections to come; after an error the old ones stay.
  Result<void> reload_tls();

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::server
