// Writing answers, also those that are read while they are sent: a transfer thread reads a piece
// ahead while the io thread writes another.
#include <boost/asio/post.hpp>
#include <boost/beast/http/status.hpp>

#include "base/log.h"
#include "server/connection_internal.h"

namespace slipway::server {
namespace {

using boost::system::error_code;

// Smaller bodies are copied behind the header: one write.
constexpr std::size_t kJoinBodies = std::size_t{16} * 1024;
constexpr std::chrono::milliseconds kLingerTime{5000};

std::string_view reason(int status) {
  const auto text =
      boost::beast::http::obsolete_reason(static_cast<boost::beast::http::status>(status));
  return {text.data(), text.size()};
}

// A header's value can end no header.
void append_value(std::string& out, std::string_view value) {
  for (const char c : value) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) out.push_back(c);
  }
}

}  // namespace

void read_first_piece(Response& response, ErrorForm errors, const Context& ctx) {
  if (response.stream == nullptr) return;
  const std::uint64_t size = response.stream->size();
  std::string piece(static_cast<std::size_t>(std::min<std::uint64_t>(size, kPiece)), '\0');
  const auto got = response.stream->read(piece);
  if (!got) {
    log::error("an answer could not be read",
               {{"request_id", ctx.request_id}, {"error", got.error().message}});
    response = errors(got.error());
    return;
  }
  piece.resize(*got);
  response.body = std::move(piece);
  if (*got == size) response.stream.reset();
}

void Connection::respond(Response response) {
  if (state_ == State::closed || state_ == State::writing || state_ == State::lingering) return;
  drop_intake();
  const int hundreds = std::clamp(response.status / 100, 0, 5);
  ++shared_.counters.responses[static_cast<std::size_t>(hundreds)];
  if (shared_.draining.load(std::memory_order_relaxed)) keep_alive_ = false;
  // What is not read of the request would be taken for the next one.
  if (keep_alive_ && parser_ && !parser_->is_done()) swallow();
  const std::uint64_t length =
      response.stream != nullptr ? response.stream->size() : response.body.size();
  finish_headers(response, length);
  const bool bodiless = head_ || response.status == 204 || response.status == 304;
  body_out_.clear();
  outflow_.reset();
  if (!bodiless) {
    if (response.stream != nullptr && response.body.size() < length) {
      outflow_ = std::make_shared<Outflow>();
      outflow_->body = std::move(response.stream);
      outflow_->left = length - response.body.size();
    }
    if (response.body.size() <= kJoinBodies) {
      head_out_ += response.body;
    } else {
      body_out_ = std::move(response.body);
    }
  }
  sent_ = 0;
  state_ = State::writing;
  deadline_ = in(shared_.options.write_timeout);
  if (outflow_ != nullptr) read_ahead();
  advance();
}

void Connection::finish_headers(const Response& response, std::uint64_t length) {
  head_out_.clear();
  fmt::format_to(std::back_inserter(head_out_), "HTTP/1.1 {} {}\r\n", response.status,
                 reason(response.status));
  if (response.status != 204 && response.status != 304) {
    if (!response.content_type.empty()) {
      head_out_ += "Content-Type: ";
      append_value(head_out_, response.content_type);
      head_out_ += "\r\nX-Content-Type-Options: nosniff\r\n";
    }
    fmt::format_to(std::back_inserter(head_out_), "Content-Length: {}\r\n", length);
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

// Of head and body, from sent_ on.
std::size_t Connection::write_some(error_code& error) {
  const std::string_view head =
      std::string_view(head_out_).substr(std::min(sent_, head_out_.size()));
  const std::string_view body =
      std::string_view(body_out_).substr(sent_ > head_out_.size() ? sent_ - head_out_.size() : 0);
  if (tls_) return tls_->write(head.empty() ? body : head, error);
  if (body.empty()) return socket_.write_some(asio::buffer(head), error);
  const std::array<asio::const_buffer, 2> buffers = {asio::buffer(head), asio::buffer(body)};
  return socket_.write_some(buffers, error);
}

// True when the next request's turn has come.
bool Connection::write() {
  do {
    const std::size_t total = head_out_.size() + body_out_.size();
    while (sent_ < total) {
      error_code error;
      const std::size_t count = write_some(error);
      if (error == asio::error::would_block || error == asio::error::try_again) {
        using Socket = asio::ip::tcp::socket;
        socket_.async_wait(tls_ && tls_->wants_read() ? Socket::wait_read : Socket::wait_write,
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
  } while (next_piece());
  if (outflow_ != nullptr) return false;  // piece_came() goes on
  written();
  return state_ == State::reading;
}

// Takes the piece that was read ahead, and has the next one read. False when none is there yet, or
// all is out.
bool Connection::next_piece() {
  if (outflow_ == nullptr) return false;
  if (outflow_->left == 0) {
    outflow_.reset();
    return false;
  }
  if (outflow_->ready.empty()) return false;
  head_out_.clear();
  outflow_->spare = std::exchange(body_out_, std::move(outflow_->ready));
  outflow_->ready.clear();
  outflow_->left -= body_out_.size();
  sent_ = 0;
  deadline_ = in(shared_.options.write_timeout);
  if (outflow_->left > 0) read_ahead();
  return true;
}

void Connection::read_ahead() {
  if (outflow_->reading) return;
  outflow_->reading = true;
  const auto size = static_cast<std::size_t>(std::min<std::uint64_t>(outflow_->left, kPiece));
  shared_.transfers->post([self = shared_from_this(), flow = outflow_, size,
                           piece = std::move(outflow_->spare)]() mutable {
    piece.resize(size);
    Result<std::size_t> got = internal("the body was not read");
    try {
      got = flow->body->read(piece);
    } catch (const std::exception& e) {
      got = internal(e.what());
    }
    IoThread& io = *self->io_;
    if (io.stopped.load()) return;
    asio::post(io.context, [self, flow = std::move(flow), got = std::move(got),
                            piece = std::move(piece)]() mutable {
      self->piece_came(flow, std::move(got), std::move(piece));
    });
  });
}

void Connection::piece_came(const std::shared_ptr<Outflow>& flow, Result<std::size_t> got,
                            std::string piece) {
  if (outflow_ != flow) return;  // closed meanwhile
  flow->reading = false;
  if (!got || *got == 0) {
    // The length was said already: only a cut connection tells the caller that this is not all.
    log::error("an answer was cut off: the rest could not be read",
               {{"request_id", request_id_},
                {"path", request_->path},
                {"bytes_left", flow->left},
                {"error", got ? std::string("it ended too early") : got.error().message}});
    close();
    return;
  }
  piece.resize(*got);
  flow->ready = std::move(piece);
  if (sent_ == head_out_.size() + body_out_.size()) advance();  // else write() comes to it
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
  if (tls_) tls_->shutdown();
  socket_.shutdown(asio::ip::tcp::socket::shutdown_send, ignored);
  state_ = State::lingering;
  deadline_ = in(kLingerTime);
  lingered_ = buffer_.size();
  buffer_.consume(buffer_.size());
  read();
}

}  // namespace slipway::server
