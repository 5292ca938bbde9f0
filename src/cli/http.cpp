#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "cli/http_internal.h"

namespace slipway::cli {

namespace asio = boost::asio;
namespace http = boost::beast::http;

struct HttpConnection::Impl {
  std::string host, port;
  asio::io_context io;
  asio::ip::tcp::socket socket{io};
  boost::beast::flat_buffer buffer;
  bool open = false;

  Result<void> connect() {
    if (open) return {};
    boost::system::error_code problem;
    asio::ip::tcp::resolver resolver(io);
    const auto found = resolver.resolve(host, port, problem);
    if (!problem) asio::connect(socket, found, problem);
    if (problem)
      return unavailable("no server at " + host + ":" + port + ": " + problem.message() +
                         "; is `slipway up` running?");
    socket.set_option(asio::ip::tcp::no_delay(true));
    open = true;
    return {};
  }

  Result<Answer> exchange(http::request<http::string_body>& request) {
    boost::system::error_code problem;
    http::write(socket, request, problem);
    http::response<http::string_body> response;
    if (!problem) http::read(socket, buffer, response, problem);
    if (problem) {
      socket.close();
      open = false;
      return unavailable("the connection to " + host + ":" + port + " broke: " + problem.message());
    }
    if (!response.keep_alive()) {
      socket.close();
      open = false;
    }
    return Answer{static_cast<int>(response.result_int()), std::move(response.body())};
  }
};

HttpConnection::HttpConnection(std::string url) : impl_(std::make_unique<Impl>()) {
  if (const auto scheme = url.find("://"); scheme != std::string::npos)
    url = url.substr(scheme + 3);
  url = url.substr(0, url.find('/'));
  const auto colon = url.rfind(':');
  impl_->host = url.substr(0, colon);
  impl_->port = colon == std::string::npos ? "80" : url.substr(colon + 1);
}

HttpConnection::~HttpConnection() = default;

Result<HttpConnection::Answer> HttpConnection::send(
    const std::string& method, const std::string& target, const std::string& body,
    const std::vector<std::pair<std::string, std::string>>& headers) {
  if (auto connected = impl_->connect(); !connected) return connected.error();
  http::request<http::string_body> request(http::string_to_verb(method), target, 11);
  request.set(http::field::host, impl_->host + ":" + impl_->port);
  for (const auto& [name, value] : headers) request.set(name, value);
  request.body() = body;
  request.prepare_payload();
  return impl_->exchange(request);
}

Result<Json> HttpConnection::get_json(const std::string& target) {
  auto answer = send("GET", target, "", {});
  if (!answer) return answer.error();
  if (answer->status != 200)
    return failed_precondition("GET " + target + " was answered " + std::to_string(answer->status) +
                               ": " + answer->body);
  return parse_json(answer->body, "the answer to GET " + target);
}

}  // namespace slipway::cli
