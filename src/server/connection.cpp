#include "server/connection_internal.h"

#include <fmt/ranges.h>
#include <boost/asio/post.hpp>
#include <boost/beast/http/error.hpp>

#include "base/log.h"
#include "server/encoding_internal.h"
#include "server/guard.h"

namespace slipway::server {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kReadSize = 16 * 1024;
constexpr std::size_t kBodyReadSize = 64 * 1024;
constexpr std::size_t kMaxRequestId = 128;
// Of a request that was answered before it was read.
constexpr std::size_t kLingerBytes = std::size_t{64} * 1024 * 1024;

bool sound_request_id(std::string_view id) {
  return !id.empty() && id.size() <= kMaxRequestId && std::ranges::all_of(id, [](char c) {
    return c > 0x20 && c < 0x7F && c != '"' && c != '\\';
  });
}

}  // namespace

Connection::Connection(std::shared_ptr<IoThread> io, asio::ip::tcp::socket socket)
    : io_(std::move(io)),
      shared_(*io_->shared),
      socket_(std::move(socket)),
      buffer_(shared_.options.max_header_bytes + kBodyReadSize) {
  ++shared_.counters.connections;
  ++shared_.counters.connections_total;
}

Connection::~Connection() { --shared_.counters.connections; }

void Connection::start() {
  error_code ignored;
  socket_.set_option(asio::ip::tcp::no_delay(true), ignored);
  socket_.non_blocking(true, ignored);
  if (const auto peer = socket_.remote_endpoint(ignored); !ignored)
    peer_ = peer.address().to_string();
  if (auto context = shared_.tls.with([](const auto& current) { return current; }))
    tls_.emplace(std::move(context), socket_.native_handle());
  io_->connections.insert(shared_from_this());
  deadline_ = in(shared_.options.header_timeout);  // a connection that never says anything
  advance();
}

void Connection::refuse() {
  error_code ignored;
  socket_.non_blocking(true, ignored);
  io_->connections.insert(shared_from_this());
  request_id_ = shared_.ids.next();
  fail(503,
       unavailable(fmt::format(
           "{} connections are open, which is the most this server takes; close some or try later",
           shared_.options.max_connections)),
       true);
  advance();
}

// The one place that moves a connection forward: parse, dispatch, write, until something has to be
// waited for.
void Connection::advance() {
  if (advancing_) return;
  advancing_ = true;
  const auto self = shared_from_this();
  for (bool go_on = true; go_on;) {
    switch (state_) {
      case State::reading:
        switch (parse()) {
          case Parsed::whole:
            state_ = State::handling;
            call();
            break;
          case Parsed::more:
            read();
            go_on = false;
            break;
          case Parsed::moved_on:
            break;
        }
        break;
      case State::receiving:
        go_on = receive();
        break;
      case State::writing:
        go_on = write();
        break;
      case State::handling:
      case State::lingering:
      case State::closed:
        go_on = false;
        break;
    }
  }
  advancing_ = false;
}

void Connection::read() {
  if (reading_ || state_ == State::closed) return;
  reading_ = true;
  const std::size_t size = parser_ && parser_->is_header_done() ? kBodyReadSize : kReadSize;
  const std::size_t room = std::min(size, buffer_.max_size() - buffer_.size());
  const auto into = buffer_.prepare(room);
  if (!tls_) {
    socket_.async_read_some(into, [self = shared_from_this()](error_code error, std::size_t count) {
      self->has_read(error, count);
    });
    return;
  }
  error_code error;
  const std::size_t count = tls_->read({static_cast<char*>(into.data()), into.size()}, error);
  if (error == asio::error::would_block) {
    using Socket = asio::ip::tcp::socket;
    socket_.async_wait(tls_->wants_write() ? Socket::wait_write : Socket::wait_read,
                       [self = shared_from_this()](error_code failed) {
                         self->reading_ = false;
                         if (self->state_ == State::closed) return;
                         if (failed) {
                           self->close();
                         } else {
                           self->read();
                         }
                       });
    return;
  }
  asio::post(io_->context,
             [self = shared_from_this(), error, count] { self->has_read(error, count); });
}

void Connection::has_read(error_code error, std::size_t count) {
  reading_ = false;
  if (state_ == State::closed) return;
  if (error && tls_ && tls_->plain_http()) {
    tls_.reset();  // the answer, too, has to go without
    fail(400, invalid_argument("this port speaks TLS: write https:// instead of http://"), true);
    advance();
    return;
  }
  if (error) {
    close();
    return;
  }
  if (state_ == State::lingering) {
    lingered_ += count;
    if (lingered_ > kLingerBytes) {
      close();
    } else {
      read();
    }
    return;
  }
  buffer_.commit(count);
  advance();
}

// ---- reading a request ----

void Connection::new_request() {
  // The last request's object is used again when its handler has let go of it.
  if (request_ == nullptr || request_.use_count() > 1) request_ = std::make_shared<Request>();
  request_->headers.clear();
  request_->body.clear();
  request_->peer = peer_;
  request_->secure = tls_.has_value();
  parser_.emplace(*request_);
  parser_->eager(false);  // stops behind the header
  parser_->header_limit(shared_.options.max_header_bytes);
  parser_->body_limit(boost::none);  // the route has a say: see admit_body()
  begun_ = false;
  continued_ = false;
  route_ = nullptr;
  errors_ = nullptr;
  request_id_.clear();
}

// Feeds the parser with what was read, until the header is whole, or as long as fewer than `until`
// bytes of the body wait in piece_. False when the request is unsound: it was answered then.
bool Connection::parse_into(std::size_t until) {
  error_code error;
  while (!error && !parser_->is_done() && buffer_.size() > 0 && piece_.size() < until) {
    const bool header = !parser_->is_header_done();
    buffer_.consume(parser_->put(buffer_.data(), error));
    if (header && parser_->is_header_done()) break;
  }
  if (error == http::error::need_more) error = {};
  if (!error && !parser_->is_done() && buffer_.size() == buffer_.max_size()) {
    error = http::error::buffer_overflow;  // an endless chunk header
  }
  if (!error) return true;
  fail_parse(error);
  return false;
}

void Connection::fail_parse(error_code error) {
  if (route_ == nullptr && !request_->target.empty())
    errors_ = shared_.errors_at(raw_path(request_->target));
  if (error == http::error::header_limit) {
    fail(431,
         invalid_argument(fmt::format("the header of the request is larger than {} bytes",
                                      shared_.options.max_header_bytes)),
         true);
  } else if (error == http::error::body_limit) {
    fail(413,
         invalid_argument(fmt::format(
             "the body of the request is larger than {} bytes; send it in parts", body_limit())),
         true);
  } else {
    fail(400, invalid_argument("this is not a sound HTTP/1.1 request: " + error.message()), true);
  }
}

Connection::Parsed Connection::parse() {
  if (!parser_) new_request();
  if (buffer_.size() == 0) return Parsed::more;
  if (!begun_) {
    begun_ = true;
    deadline_ = in(shared_.options.header_timeout);
  }
  if (!parse_into(kPiece)) return Parsed::moved_on;
  if (!parser_->is_header_done()) return Parsed::more;
  if (route_ == nullptr) {
    if (!admit()) return Parsed::moved_on;
    if (route_->upload_handler) {
      open_upload();
      return Parsed::moved_on;
    }
    parser_->body_into(&request_->body);
    if (!parse_into(kPiece)) return Parsed::moved_on;
  }
  if (parser_->is_done()) return Parsed::whole;
  deadline_ = in(shared_.options.body_timeout);
  say_continue();
  return Parsed::more;
}

void Connection::say_continue() {
  if (!parser_->expects_continue() || continued_ || http_1_0_) return;
  continued_ = true;
  constexpr std::string_view text = "HTTP/1.1 100 Continue\r\n\r\n";
  error_code ignored;  // a caller that does not hear it sends the body after a moment
  if (tls_) {
    tls_->write(text, ignored);
  } else {
    socket_.write_some(asio::buffer(text), ignored);
  }
}

// ---- what the header decides ----

bool Connection::admit() {
  Request& request = *request_;
  ++shared_.counters.requests_total;
  keep_alive_ = parser_->keep_alive();
  http_1_0_ = parser_->http_1_0();
  head_ = request.method == "HEAD";
  if (const auto given = request.header("x-request-id"); sound_request_id(given)) {
    request_id_ = given;
  } else {
    request_id_ = shared_.ids.next();
  }
  errors_ = shared_.errors_at(raw_path(request.target));
  if (!admit_host()) return false;
  auto target = parse_target(request.target);
  if (!target) {
    fail(400, target.error(), false);
    return false;
  }
  request.path = std::move(target->path);
  request.query = std::move(target->query);
  auto match = shared_.router.match(request.method, request.path);
  if (match.route == nullptr) {
    if (match.allowed.empty()) {
      fail(404, not_found(fmt::format("there is nothing at {}", request.path)), false);
      return false;
    }
    const std::string allowed = fmt::format("{}", fmt::join(match.allowed, ", "));
    Response response = guarded_error(
        errors_, invalid_argument(fmt::format("{} does not take {}; it takes {}", request.path,
                                              request.method, allowed)));
    response.status = 405;
    response.headers.emplace_back("allow", allowed);
    respond(std::move(response));
    return false;
  }
  route_ = match.route;
  request.params = std::move(match.params);
  if (route_->errors != nullptr) errors_ = route_->errors;
  if (Guard* const guard = shared_.router.guard(); guard != nullptr) {
    if (auto refusal = guard->refuse_early(*route_, request)) {
      respond(*std::move(refusal));
      return false;
    }
  }
  return admit_body();
}

// Pages of other sites can make a browser send requests here: under a name of theirs that points
// to this machine (DNS rebinding), or under ours with their Origin.
bool Connection::admit_host() {
  const Request& request = *request_;
  const std::string_view host = request.header("host");
  if (host.empty() && !http_1_0_) {
    fail(400, invalid_argument("the request has no Host header, which HTTP/1.1 wants"), false);
    return false;
  }
  if (!host.empty() && !shared_.hosts.host_allowed(host)) {
    fail(403,
         permission_denied(fmt::format(
             "the Host header names '{}', which is none of this server's names: refused, as "
             "another site's page may be behind it. Names beside localhost, 127.0.0.1 and [::1] "
             "are given with `slipway up --host-name`",
             host.substr(0, 100))),
         false);
    return false;
  }
  const bool changes =
      request.method != "GET" && request.method != "HEAD" && request.method != "OPTIONS";
  if (!changes) return true;
  const auto origin = request.header("origin");
  if ((!origin.empty() && !shared_.hosts.origin_allowed(origin, host)) ||
      request.header("sec-fetch-site") == "cross-site") {
    fail(403,
         permission_denied("the Origin header names another site than this server: pages of other "
                           "sites may not change anything here"),
         false);
    return false;
  }
  return true;
}

std::uint64_t Connection::body_limit() const {
  return route_ != nullptr && route_->max_body_bytes > 0 ? route_->max_body_bytes
                                                         : shared_.options.max_body_bytes;
}

bool Connection::admit_body() {
  if (parser_->is_done()) return true;
  const auto length = parser_->content_length();
  if (length && *length > body_limit()) {
    fail_parse(http::error::body_limit);
    return false;
  }
  parser_->body_limit(body_limit());  // for chunks
  const Coding coding = coding_of(*request_);
  if (coding == Coding::none || (coding == Coding::packed && !route_->upload_handler)) return true;
  Response response = guarded_error(
      errors_,
      invalid_argument(fmt::format("the body comes with Content-Encoding {}, which {}",
                                   std::string(request_->header("content-encoding").substr(0, 40)),
                                   route_->upload_handler
                                       ? "a file's may not have: send its own bytes"
                                       : "this server does not read: send gzip, deflate or none")));
  response.status = 415;
  if (!route_->upload_handler) response.headers.emplace_back("accept-encoding", "gzip, deflate");
  respond(std::move(response));
  return false;
}

// A request that is answered by its header alone keeps its connection when its body is here
// already.
void Connection::swallow() {
  parser_->body_into(nullptr);
  error_code error;
  while (!error && !parser_->is_done() && buffer_.size() > 0) {
    buffer_.consume(parser_->put(buffer_.data(), error));
  }
  if (!parser_->is_done()) keep_alive_ = false;
}

// ---- handlers ----

Context Connection::context() const {
  Context ctx(shared_.clock);
  ctx.request_id = request_id_;
  ctx.stop = shared_.stop.get_token();
  return ctx;
}

Response escaped(ErrorForm form, const Context& ctx, const Request& request,
                 std::string_view what) {
  log::error("a handler failed", {{"request_id", ctx.request_id},
                                  {"method", request.method},
                                  {"path", request.path},
                                  {"error", what}});
  return form(internal("the server failed on this request; its log names the request id"));
}

void Connection::call() {
  const Router::Route& route = *route_;
  Context ctx = context();
  ++shared_.counters.in_flight;
  auto reply = std::make_shared<Reply>(shared_from_this(), errors_);
  Guard* const guard = shared_.router.guard();
  const bool packed = !request_->body.empty() && coding_of(*request_) == Coding::packed;
  if (route.async_handler && !packed) {
    auto verdict = guard == nullptr ? Guard::Verdict{.principal = ctx.principal}
                                    : guard->decide_at_once(route, *request_);
    if (verdict) {
      if (verdict->refusal) {
        reply->send(*std::move(verdict->refusal));
        return;
      }
      ctx.principal = std::move(verdict->principal);
      try {
        route.async_handler(ctx, request_,
                            [reply](Response response) { reply->send(std::move(response)); });
      } catch (const std::exception& e) {
        reply->send(escaped(errors_, ctx, *request_, e.what()));
      }
      return;
    }
  }
  if (shared_.waiting.fetch_add(1) >= shared_.options.max_waiting) {
    --shared_.waiting;
    reply->send(errors_(unavailable(
        "the server is busy: too many requests wait for a worker; try again in a moment")));
    return;
  }
  shared_.workers->post([&shared = shared_, &route, guard, packed, limit = body_limit(),
                         request = request_, reply = std::move(reply), form = errors_,
                         ctx = std::move(ctx)]() mutable {
    --shared.waiting;
    Response response;
    try {
      if (packed) {
        if (auto bad = unpack_body(*request, limit)) {
          response = form(bad->error);
          response.status = bad->status;
          request.reset();
          reply->send(std::move(response));
          return;
        }
      }
      if (guard != nullptr) {
        auto verdict = guard->decide(ctx, route, *request);
        if (verdict.refusal) {
          request.reset();
          reply->send(*std::move(verdict.refusal));
          return;
        }
        ctx.principal = std::move(verdict.principal);
      }
      if (route.async_handler) {
        route.async_handler(ctx, request, [reply](Response late) { reply->send(std::move(late)); });
        return;
      }
      response = route.handler(ctx, *request);
      if (guard != nullptr) {
        if (auto noted = guard->answered(ctx, route, *request, response); !noted)
          response = form(noted.error());
      }
      if (request->method != "HEAD") read_first_piece(response, form, ctx);
    } catch (const std::exception& e) {
      response = escaped(form, ctx, *request, e.what());
    }
    request.reset();  // before the answer: the connection may use the object again
    reply->send(std::move(response));
  });
}

Response Connection::guarded_error(ErrorForm form, const Error& error) const {
  return (form != nullptr ? form : shared_.errors_at({}))(error);
}

void Connection::fail(int status, const Error& error, bool close_after) {
  if (request_id_.empty()) request_id_ = shared_.ids.next();
  Response response = guarded_error(errors_, error);
  response.status = status;
  if (close_after) {
    keep_alive_ = false;
    head_ = false;
  }
  respond(std::move(response));
}

// ---- time and ends ----

void Connection::tick() {
  if (state_ == State::handling || state_ == State::closed || io_->now < deadline_) return;
  if (state_ == State::receiving && !reading_) return;  // the disk is slow, not the caller
  if ((state_ == State::reading && begun_) || state_ == State::receiving) {
    const bool body = parser_ && parser_->is_header_done();
    if (route_ == nullptr && !request_->target.empty())
      errors_ = shared_.errors_at(raw_path(request_->target));
    fail(408,
         deadline_exceeded(fmt::format(
             "the {} of the request took longer than {} s to arrive", body ? "body" : "header",
             (body ? shared_.options.body_timeout : shared_.options.header_timeout).count() /
                 1000.0)),
         true);
    return;
  }
  close();
}

void Connection::drain() {
  if (state_ == State::reading && !begun_) close();
}

void Connection::close() {
  if (state_ == State::closed) return;
  state_ = State::closed;
  error_code ignored;
  if (tls_) tls_->shutdown();
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
  drop_intake();
  outflow_.reset();
  io_->connections.erase(shared_from_this());
}

Reply::~Reply() {
  if (!sent_.load()) send(errors_(internal("the server dropped this request without an answer")));
}

void Reply::send(Response response) {
  if (sent_.exchange(true)) return;
  IoThread& io = *connection_->io();
  --io.shared->counters.in_flight;
  if (IoThread::current == &io) {
    connection_->respond(std::move(response));
    return;
  }
  if (io.stopped.load()) return;
  asio::post(io.context, [connection = connection_, answer = std::move(response)]() mutable {
    connection->respond(std::move(answer));
  });
}

}  // namespace slipway::server
