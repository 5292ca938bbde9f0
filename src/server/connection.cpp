#include "server/connection_internal.h"

#include <fmt/ranges.h>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/status.hpp>

#include "base/log.h"
#include "server/guard.h"

namespace slipway::server {
namespace {

namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kReadSize = 16 * 1024;
constexpr std::size_t kBodyReadSize = 64 * 1024;
constexpr std::size_t kJoinBodies =
    16 * 1024;  // smaller ones are copied behind the header: one write
constexpr std::size_t kLingerBytes =
    1024 * 1024;  // of a request that was answered before it was read
constexpr std::chrono::milliseconds kLingerTime{2000};
constexpr std::size_t kMaxRequestId = 128;

std::string_view reason(int status) {
  const auto text = http::obsolete_reason(static_cast<http::status>(status));
  return {text.data(), text.size()};
}

bool sound_request_id(std::string_view id) {
  return !id.empty() && id.size() <= kMaxRequestId && std::ranges::all_of(id, [](char c) {
    return c > 0x20 && c < 0x7F && c != '"' && c != '\\';
  });
}

// A header's value can end no header.
void append_value(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) out.push_back(c);
  }
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
            dispatch();
            break;
          case Parsed::more:
            read();
            go_on = false;
            break;
          case Parsed::answered:
            break;
        }
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
  socket_.async_read_some(buffer_.prepare(room),
                          [self = shared_from_this()](error_code error, std::size_t count) {
                            self->reading_ = false;
                            if (self->state_ == State::closed) return;
                            if (error) {
                              self->close();
                              return;
                            }
                            if (self->state_ == State::lingering) {
                              self->lingered_ += count;
                              if (self->lingered_ > kLingerBytes) {
                                self->close();
                              } else {
                                self->read();
                              }
                              return;
                            }
                            self->buffer_.commit(count);
                            self->advance();
                          });
}

Connection::Parsed Connection::parse() {
  const ServerOptions& options = shared_.options;
  if (!parser_) {
    // The last request's object is used again when its handler has let go of it.
    if (request_ == nullptr || request_.use_count() > 1) request_ = std::make_shared<Request>();
    request_->headers.clear();
    request_->body.clear();
    request_->peer = peer_;
    parser_.emplace(*request_);
    parser_->eager(true);
    parser_->header_limit(options.max_header_bytes);
    parser_->body_limit(options.max_body_bytes);
    begun_ = false;
    continued_ = false;
    errors_ = nullptr;
    request_id_.clear();
  }
  if (buffer_.size() == 0) return Parsed::more;
  if (!begun_) {
    begun_ = true;
    deadline_ = in(options.header_timeout);
  }
  error_code error;
  while (!error && !parser_->is_done() && buffer_.size() > 0) {
    buffer_.consume(parser_->put(buffer_.data(), error));
  }
  if (error == http::error::need_more) error = {};
  if (!error && !parser_->is_done() && buffer_.size() == buffer_.max_size()) {
    error = http::error::buffer_overflow;  // an endless chunk header
  }
  if (!error && parser_->is_done()) return Parsed::whole;
  if (!error) {
    if (parser_->is_header_done()) {
      deadline_ = in(options.body_timeout);
      if (parser_->expects_continue() && !continued_) {
        continued_ = true;
        error_code ignored;
        socket_.write_some(asio::buffer(std::string_view("HTTP/1.1 100 Continue\r\n\r\n")),
                           ignored);
      }
    }
    return Parsed::more;
  }
  if (!request_->target.empty()) errors_ = shared_.errors_at(raw_path(request_->target));
  if (error == http::error::header_limit) {
    fail(431,
         invalid_argument(fmt::format("the header of the request is larger than {} bytes",
                                      options.max_header_bytes)),
         true);
  } else if (error == http::error::body_limit) {
    fail(413,
         invalid_argument(
             fmt::format("the body of the request is larger than {} bytes; send it in parts",
                         options.max_body_bytes)),
         true);
  } else {
    fail(400, invalid_argument("this is not a sound HTTP/1.1 request: " + error.message()), true);
  }
  return Parsed::answered;
}

void Connection::dispatch() {
  Request& request = *request_;
  ++shared_.counters.requests_total;
  keep_alive_ = parser_->keep_alive();
  http_1_0_ = parser_->http_1_0();
  head_ = request.method == "HEAD";
  state_ = State::handling;
  if (const auto given = request.header("x-request-id"); sound_request_id(given)) {
    request_id_ = given;
  } else {
    request_id_ = shared_.ids.next();
  }
  errors_ = shared_.errors_at(raw_path(request.target));

  const std::string_view host = request.header("host");
  if (host.empty() && !http_1_0_) {
    fail(400, invalid_argument("the request has no Host header, which HTTP/1.1 wants"), false);
    return;
  }
  if (!host.empty() && !shared_.hosts.host_allowed(host)) {
    fail(403,
         permission_denied("the Host header names none of this server's names (localhost, "
                           "127.0.0.1, [::1] or those it was "
                           "started with): refused, as another site's page may be behind it"),
         false);
    return;
  }
  auto target = parse_target(request.target);
  if (!target) {
    fail(400, target.error(), false);
    return;
  }
  request.path = std::move(target->path);
  request.query = std::move(target->query);

  const bool changes =
      request.method != "GET" && request.method != "HEAD" && request.method != "OPTIONS";
  if (const auto origin = request.header("origin");
      changes && !origin.empty() && !shared_.hosts.origin_allowed(origin, host)) {
    fail(403,
         permission_denied("the Origin header names another site than this server: pages of other "
                           "sites may not change anything here"),
         false);
    return;
  }
  auto match = shared_.router.match(request.method, request.path);
  if (match.route == nullptr) {
    if (match.allowed.empty()) {
      fail(404, not_found(fmt::format("there is nothing at {}", request.path)), false);
      return;
    }
    const std::string allowed = fmt::format("{}", fmt::join(match.allowed, ", "));
    Response response = guarded_error(
        errors_, invalid_argument(fmt::format("{} does not take {}; it takes {}", request.path,
                                              request.method, allowed)));
    response.status = 405;
    response.headers.emplace_back("allow", allowed);
    respond(std::move(response));
    return;
  }
  request.params = std::move(match.params);
  if (match.route->errors != nullptr) errors_ = match.route->errors;
  Context ctx(shared_.clock);
  ctx.request_id = request_id_;
  ctx.stop = shared_.stop.get_token();
  call(*match.route, std::move(ctx));
}

void Connection::call(const Router::Route& route, Context ctx) {
  ++shared_.counters.in_flight;
  auto reply = std::make_shared<Reply>(shared_from_this(), errors_);
  const auto escaped = [](const ErrorForm form, const Context& context, const Request& request,
                          std::string_view what) {
    log::error("a handler failed", {{"request_id", context.request_id},
                                    {"method", request.method},
                                    {"path", request.path},
                                    {"error", what}});
    return form(internal("the server failed on this request; its log names the request id"));
  };
  Guard* const guard = shared_.router.guard();
  if (route.async_handler) {
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
  shared_.workers->post([&shared = shared_, &route, guard, request = request_,
                         reply = std::move(reply), form = errors_, escaped,
                         ctx = std::move(ctx)]() mutable {
    --shared.waiting;
    Response response;
    try {
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

void Connection::respond(Response response) {
  if (state_ == State::closed || state_ == State::writing || state_ == State::lingering) return;
  const int hundreds = std::clamp(response.status / 100, 0, 5);
  ++shared_.counters.responses[static_cast<std::size_t>(hundreds)];
  if (shared_.draining.load(std::memory_order_relaxed)) keep_alive_ = false;
  finish_headers(response);
  const bool bodiless = head_ || response.status == 204 || response.status == 304;
  body_out_.clear();
  if (!bodiless) {
    if (response.body.size() <= kJoinBodies) {
      head_out_ += response.body;
    } else {
      body_out_ = std::move(response.body);
    }
  }
  sent_ = 0;
  state_ = State::writing;
  deadline_ = in(shared_.options.write_timeout);
  advance();
}

void Connection::finish_headers(const Response& response) {
  head_out_.clear();
  fmt::format_to(std::back_inserter(head_out_), "HTTP/1.1 {} {}\r\n", response.status,
                 reason(response.status));
  if (response.status != 204 && response.status != 304) {
    if (!response.content_type.empty()) {
      head_out_ += "Content-Type: ";
      append_value(head_out_, response.content_type);
      head_out_ += "\r\nX-Content-Type-Options: nosniff\r\n";
    }
    fmt::format_to(std::back_inserter(head_out_), "Content-Length: {}\r\n", response.body.size());
  }
  head_out_ += "Date: ";
  head_out_ += io_->date();
  head_out_ += "\r\nX-Request-Id: ";
  append_value(head_out_, request_id_);
  head_out_ += "\r\n";
  for (const auto& [name, value] : response.headers) {
    append_value(head_out_, name);
    head_out_ += ": ";
    append_value(head_out_, value);
    head_out_ += "\r\n";
  }
  if (!keep_alive_) {
    head_out_ += "Connection: close\r\n";
  } else if (http_1_0_) {
    head_out_ += "Connection: keep-alive\r\n";
  }
  head_out_ += "\r\n";
}

// True when everything is out and the next request's turn has come.
bool Connection::write() {
  const std::size_t total = head_out_.size() + body_out_.size();
  while (sent_ < total) {
    const std::string_view head =
        std::string_view(head_out_).substr(std::min(sent_, head_out_.size()));
    const std::string_view body =
        std::string_view(body_out_).substr(sent_ > head_out_.size() ? sent_ - head_out_.size() : 0);
    const std::array<asio::const_buffer, 2> buffers = {asio::buffer(head), asio::buffer(body)};
    error_code error;
    const std::size_t count =
        body.empty() ? socket_.write_some(buffers[0], error) : socket_.write_some(buffers, error);
    if (error == asio::error::would_block || error == asio::error::try_again) {
      socket_.async_wait(asio::ip::tcp::socket::wait_write,
                         [self = shared_from_this()](error_code failed) {
                           if (self->state_ != State::writing) return;
                           if (failed) {
                             self->close();
                             return;
                           }
                           self->deadline_ = self->in(self->shared_.options.write_timeout);
                           self->advance();
                         });
      return false;
    }
    if (error) {
      close();
      return false;
    }
    sent_ += count;
  }
  written();
  return state_ == State::reading;
}

void Connection::written() {
  if (body_out_.capacity() > 4 * kJoinBodies) std::string().swap(body_out_);
  const bool whole = parser_ && parser_->is_done();
  parser_.reset();
  if (keep_alive_ && !shared_.draining.load(std::memory_order_relaxed)) {
    state_ = State::reading;
    begun_ = false;
    deadline_ = in(shared_.options.idle_timeout);
  } else if (whole) {
    close();
  } else {
    linger();
  }
}

// Closing with unread bytes would reset the connection, and the caller might never see the answer:
// say that no more comes, and read on for a moment.
void Connection::linger() {
  error_code ignored;
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  state_ = State::lingering;
  deadline_ = in(kLingerTime);
  lingered_ = buffer_.size();
  buffer_.consume(buffer_.size());
  read();
}

void Connection::tick() {
  if (state_ == State::handling || state_ == State::closed || io_->now < deadline_) return;
  if (state_ == State::reading && begun_) {
    const bool body = parser_ && parser_->is_header_done();
    if (!request_->target.empty()) errors_ = shared_.errors_at(raw_path(request_->target));
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
  socket_.shutdown(asio::ip::tcp::socket::shutdown_both, ignored);
  socket_.close(ignored);
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
