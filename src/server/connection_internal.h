// One TCP connection: reads a request, hands it to its route, writes the answer, and again. Lives
// on one io thread; only Reply::send may be called from elsewhere. Requests that arrive together
// (pipelining) are answered one after the other.
//   connection.cpp    reading requests, and the way to their handlers
//   upload.cpp        bodies that are handed on while they come
//   answer.cpp        writing answers, also those that are read while they are sent
#pragma once
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <unordered_set>

#include "base/guarded.h"
#include "base/parallel.h"
#include "server/parser_internal.h"
#include "server/server.h"
#include "server/target_internal.h"
#include "server/tls_internal.h"

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
  // Pieces of bodies to and from the disk, so that a slow disk does not keep the workers busy.
  WorkerPool* transfers = nullptr;
  Guarded<std::shared_ptr<const TlsContext>> tls;  // null: plain HTTP
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

class Reply;

// An upload under way. `busy` belongs to the io thread, `upload` to the thread that has the piece
// in hand.
struct Intake {
  std::shared_ptr<Reply> reply;
  std::shared_ptr<Request> request;
  const Router::Route* route = nullptr;
  Context ctx;
  std::unique_ptr<Upload> upload;
  bool busy = false;
};

// An answer that is read while it is sent: one piece is read ahead while another is written. The
// members but `body` belong to the io thread.
struct Outflow {
  std::shared_ptr<Body> body;
  std::uint64_t left = 0;  // bytes not yet put into `ready` or written
  std::string spare;       // memory to use again
  std::string ready;       // the next piece
  bool reading = false;
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
  enum class State { reading, handling, receiving, writing, lingering, closed };
  enum class Parsed { whole, more, moved_on };

  void advance();
  void new_request();
  Parsed parse();
  bool parse_into(std::size_t until);
  void fail_parse(boost::system::error_code error);
  void say_continue();
  void read();
  void has_read(boost::system::error_code error, std::size_t count);

  // Everything the header alone decides; false when it was answered.
  bool admit();
  bool admit_host();
  bool admit_body();
  std::uint64_t body_limit() const;
  void swallow();
  Context context() const;
  void call();
  void fail(int status, const Error& error, bool close_after);

  void open_upload();
  void opened(const std::shared_ptr<Intake>& intake);
  bool receive();
  void hand_over(bool last);
  void took(const std::shared_ptr<Intake>& intake, std::string spare);
  void drop_intake();

  void finish_headers(const Response& response, std::uint64_t length);
  std::size_t write_some(boost::system::error_code& error);
  bool write();
  bool next_piece();
  void read_ahead();
  void piece_came(const std::shared_ptr<Outflow>& flow, Result<std::size_t> got, std::string piece);
  void written();
  void linger();
  Response guarded_error(ErrorForm form, const Error& error) const;
  SteadyTime in(std::chrono::milliseconds time) const { return io_->now + time; }

  std::shared_ptr<IoThread> io_;  // first: the socket needs its loop
  Shared& shared_;
  asio::ip::tcp::socket socket_;
  std::optional<Tls> tls_;
  boost::beast::flat_buffer buffer_;
  std::shared_ptr<Request> request_;
  const Router::Route* route_ = nullptr;  // once the header has come and passed
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
  std::string body_out_;  // large bodies, and pieces of streamed ones
  std::size_t sent_ = 0;
  std::string piece_;                 // of an upload: not handed over yet
  std::shared_ptr<Intake> intake_;    // while an upload is under way
  std::shared_ptr<Outflow> outflow_;  // while a streamed answer is under way
  std::size_t lingered_ = 0;
};

// The answer to a handler that threw.
Response escaped(ErrorForm form, const Context& ctx, const Request& request, std::string_view what);
// On a thread that may block: the first piece of a streamed answer is read into its body, so that
// small ones leave in one write and unreadable ones become errors.
void read_first_piece(Response& response, ErrorForm errors, const Context& ctx);

inline constexpr std::size_t kPiece = std::size_t{256} * 1024;  // of a body that flows

// The one answer a handler owes. Dropped unanswered, it answers 500.
class Reply {
 public:
  Reply(std::shared_ptr<Connection> connection, ErrorForm errors)
      : connection_(std::move(connection)), errors_(errors) {}
  ~Reply();
  Reply(const Reply&) = delete;
  Reply& operator=(const Reply&) = delete;
  void send(Response response);
  const std::shared_ptr<Connection>& connection() const { return connection_; }
  ErrorForm form() const { return errors_; }

 private:
  std::shared_ptr<Connection> connection_;
  ErrorForm errors_;
  std::atomic<bool> sent_{false};
};

}  // namespace slipway::server
