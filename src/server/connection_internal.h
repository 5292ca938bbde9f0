// One TCP connection: reads a request, hands it to its route, writes the answer, and again. Lives
// on one io thread; only Reply::send may be called from elsewhere. Requests that arrive together
// (pipelining) are answered one after the other.
#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_set>

#include "base/parallel.h"
#include "server/parser_internal.h"
#include "server/server.h"
#include "server/target_internal.h"

namespace slipway::server {

namespace asio = boost::asio;
class Connection;

struct Counters {
  std::atomic<std::int64_t> connections{0};
  std::atomic<std::int64_t> connections_total{0};
  std::atomic<std::int64_t> requests_total{0};
  std::atomic<std::int64_t> in_flight{0};
  std::array<std::atomic<std::int64_t>, 6> responses{};
};

// What all connections of a server share.
struct Shared {
  Shared(ServerOptions settings, const Router& routes, const Clock& time, IdSource& id_source);
  ErrorForm errors_at(std::string_view path) const;

  const ServerOptions options;
  const Router& router;
  const Clock& clock;
  IdSource& ids;
  const HostRules hosts;
  Counters counters;
  std::atomic<bool> draining{false};
  std::atomic<std::int64_t> waiting{0};  // requests in front of the worker pool
  std::stop_source stop;                 // requested when the drain time is over
  WorkerPool* workers = nullptr;         // while the io threads run
};

// An event loop with one thread, and its connections. The members but `context` belong to that
// thread.
struct IoThread {
  explicit IoThread(std::shared_ptr<Shared> state) : shared(std::move(state)), timer(context) {}
  void run();
  void tick();
  void drain();             // closes what is idle; the rest after its answer
  std::string_view date();  // for the Date header

  static thread_local const IoThread* current;  // on its thread: this

  const std::shared_ptr<Shared> shared;
  asio::io_context context{1};
  asio::steady_timer timer;
  SteadyTime now{};  // as of the last tick: close enough for timeouts
  std::unordered_set<std::shared_ptr<Connection>> connections;
  std::atomic<bool> stopped{false};
  std::thread thread;

 private:
  std::int64_t date_second_ = -1;
  std::string date_;
};

class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(std::shared_ptr<IoThread> io, asio::ip::tcp::socket socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  void start();
  void refuse();  // too many connections
  void tick();    // closes or answers what has taken too long
  void drain();
  void close();

  // On the io thread: the answer to the request under way.
  void respond(Response response);
  const std::shared_ptr<IoThread>& io() const { return io_; }

 private:
  enum class State { reading, handling, writing, lingering, closed };
  enum class Parsed { whole, more, answered };

  void advance();
  Parsed parse();
  void read();
  void dispatch();
  void call(const Router::Route& route, Context ctx);
  void fail(int status, const Error& error, bool close_after);
  void finish_headers(const Response& response);
  bool write();
  void written();
  void linger();
  Response guarded_error(ErrorForm form, const Error& error) const;
  SteadyTime in(std::chrono::milliseconds time) const { return io_->now + time; }

  std::shared_ptr<IoThread> io_;  // first: the socket needs its loop
  Shared& shared_;
  asio::ip::tcp::socket socket_;
  boost::beast::flat_buffer buffer_;
  std::shared_ptr<Request> request_;
  std::optional<RequestParser> parser_;
  State state_ = State::reading;
  bool advancing_ = false;  // advance() is on the stack: an answer given now is written by it
  bool reading_ = false;    // a read is pending
  bool begun_ = false;      // a byte of the request under way has come
  bool continued_ = false;  // "100 Continue" was sent
  bool keep_alive_ = true;  // after the answer under way
  bool http_1_0_ = false;
  bool head_ = false;
  ErrorForm errors_ = nullptr;
  std::string request_id_;
  std::string peer_;  // the caller's address
  SteadyTime deadline_{};
  std::string head_out_;  // status line, header and small bodies
  std::string body_out_;  // large bodies
  std::size_t sent_ = 0;
  std::size_t lingered_ = 0;
};

// The one answer a handler owes. Dropped unanswered, it answers 500.
class Reply {
 public:
  Reply(std::shared_ptr<Connection> connection, ErrorForm errors)
      : connection_(std::move(connection)), errors_(errors) {}
  ~Reply();
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;
  void send(Response response);

 private:
  std::shared_ptr<Connection> connection_;
  ErrorForm errors_;
  std::atomic<bool> sent_{false};
};

}  // namespace slipway::server
