// Bodies that are handed on while they come. The io thread fills one piece while a transfer thread
// has another in hand; when both are full it stops reading, and TCP makes the caller wait.
#include <boost/asio/post.hpp>

#include "server/connection_internal.h"
#include "server/guard.h"

namespace slipway::server {

void Connection::open_upload() {
  auto intake = std::make_shared<Intake>();
  ++shared_.counters.in_flight;
  intake->reply = std::make_shared<Reply>(shared_from_this(), errors_);
  intake->request = request_;
  intake->route = route_;
  intake->ctx = context();
  state_ = State::handling;
  if (!parser_->content_length() && !parser_->chunked()) {
    fail(411, invalid_argument("the request has no Content-Length and is not chunked"), true);
    return;
  }
  if (shared_.waiting.fetch_add(1) >= shared_.options.max_waiting) {
    --shared_.waiting;
    intake->reply->send(errors_(unavailable(
        "the server is busy: too many requests wait for a worker; try again in a moment")));
    return;
  }
  intake_ = intake;
  shared_.workers->post([&shared = shared_, intake = std::move(intake)]() mutable {
    --shared.waiting;
    const ErrorForm form = intake->reply->form();
    std::optional<Response> answer;
    try {
      if (Guard* const guard = shared.router.guard(); guard != nullptr) {
        auto verdict = guard->decide(intake->ctx, *intake->route, *intake->request);
        intake->ctx.principal = std::move(verdict.principal);
        answer = std::move(verdict.refusal);
      }
      if (!answer) {
        auto begun = intake->route->upload_handler(intake->ctx, *intake->request);
        if (auto* response = std::get_if<Response>(&begun); response != nullptr) {
          answer = std::move(*response);
        } else {
          intake->upload = std::move(std::get<std::unique_ptr<Upload>>(begun));
        }
      }
    } catch (const std::exception& e) {
      answer = escaped(form, intake->ctx, *intake->request, e.what());
    }
    if (answer) {
      intake->reply->send(*std::move(answer));
      return;
    }
    const auto connection = intake->reply->connection();
    IoThread& io = *connection->io();
    if (io.stopped.load()) return;
    asio::post(io.context,
               [connection, intake = std::move(intake)] { connection->opened(intake); });
  });
}

void Connection::opened(const std::shared_ptr<Intake>& intake) {
  if (intake_ != intake) return;  // closed meanwhile
  state_ = State::receiving;
  piece_.clear();
  parser_->body_into(&piece_);
  deadline_ = in(shared_.options.body_timeout);
  if (buffer_.size() == 0 && !parser_->is_done()) say_continue();
  advance();
}

// True when the connection has moved on to another state.
bool Connection::receive() {
  if (!parse_into(kPiece)) return true;
  const bool done = parser_->is_done();
  if (!intake_->busy && (done || piece_.size() >= kPiece)) {
    hand_over(done);
    if (done) {
      state_ = State::handling;
      return false;
    }
    if (!parse_into(kPiece)) return true;
  }
  if (!parser_->is_done() && piece_.size() < kPiece) {
    deadline_ = in(shared_.options.body_timeout);
    read();
  }
  return false;
}

void Connection::hand_over(bool last) {
  intake_->busy = true;
  shared_.transfers->post(
      [&shared = shared_, intake = intake_, last, piece = std::exchange(piece_, {})]() mutable {
        const ErrorForm form = intake->reply->form();
        std::optional<Response> answer;
        try {
          if (!piece.empty()) answer = intake->upload->write(piece);
          if (!answer && last) {
            answer = intake->upload->finish();
            if (Guard* const guard = shared.router.guard(); guard != nullptr) {
              auto noted = guard->answered(intake->ctx, *intake->route, *intake->request, *answer);
              if (!noted) answer = form(noted.error());
            }
          }
        } catch (const std::exception& e) {
          answer = escaped(form, intake->ctx, *intake->request, e.what());
        }
        if (answer) {
          intake->upload.reset();  // its temporary file goes before the answer
          intake->reply->send(*std::move(answer));
          return;
        }
        piece.clear();
        const auto connection = intake->reply->connection();
        IoThread& io = *connection->io();
        if (io.stopped.load()) return;
        asio::post(io.context,
                   [connection, intake = std::move(intake), spare = std::move(piece)]() mutable {
                     connection->took(intake, std::move(spare));
                   });
      });
}

void Connection::took(const std::shared_ptr<Intake>& intake, std::string spare) {
  if (intake_ != intake) return;  // closed meanwhile
  intake->busy = false;
  if (piece_.empty()) {
    piece_ = std::move(spare);  // its memory
  }
  advance();
}

// The upload itself goes on a thread that may wait for the disk, behind the piece in hand.
void Connection::drop_intake() {
  piece_ = {};
  if (intake_ == nullptr) return;
  if (shared_.transfers != nullptr) shared_.transfers->post([intake = std::move(intake_)] {});
  intake_.reset();
}

}  // namespace slipway::server
