#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "cli/http_internal.h"
#include "cli/import_internal.h"

namespace slipway::cli {

namespace asio = boost::asio;
namespace http = boost::beast::http;

struct HttpConnection::Impl {
  using Secure = asio::ssl::stream<asio::ip::tcp::socket>;

  std::string host, port, authorization;
  bool tls = false;
  asio::io_context io;
  asio::ssl::context trust{asio::ssl::context::tls_client};
  asio::ip::tcp::socket socket{io};
  std::unique_ptr<Secure> secure;  // of the connection that is open, with TLS
  boost::beast::flat_buffer buffer;
  bool open = false;

  Error no_server(const std::string& problem) const {
    return unavailable("no server at " + host + ":" + port + ": " + problem +
                       "; is `slipway up` running?");
  }

  Result<void> connect() {
    if (open) return {};
    boost::system::error_code problem;
    asio::ip::tcp::resolver resolver(io);
    const auto found = resolver.resolve(host, port, problem);
    asio::ip::tcp::socket fresh(io);
    if (!problem) asio::connect(fresh, found, problem);
    if (problem) return no_server(problem.message());
    fresh.set_option(asio::ip::tcp::no_delay(true));
    if (tls) {
      if (auto shaken = shake_hands(std::move(fresh)); !shaken) return shaken;
    } else {
      socket = std::move(fresh);
    }
    buffer.clear();
    open = true;
    return {};
  }

  // The certificate has to be for the host, and signed by whom the system (or SSL_CERT_FILE)
  // trusts.
  Result<void> shake_hands(asio::ip::tcp::socket fresh) {
    boost::system::error_code problem;
    trust.set_default_verify_paths(problem);
    secure = std::make_unique<Secure>(std::move(fresh), trust);
    secure->set_verify_mode(asio::ssl::verify_peer, problem);
    secure->set_verify_callback(asio::ssl::host_name_verification(host), problem);
    SSL_set_tlsext_host_name(secure->native_handle(), host.c_str());
    secure->handshake(asio::ssl::stream_base::client, problem);
    if (!problem) return {};
    secure.reset();
    return unavailable("no TLS with " + host + ":" + port + ": " + problem.message() +
                       "; SSL_CERT_FILE names certificates to trust");
  }

  void close() {
    boost::system::error_code ignored;
    socket.close(ignored);
    secure.reset();
    open = false;
  }

  template <class Stream>
  Result<Answer> exchange_over(Stream& stream, http::request<http::string_body>& request) {
    boost::system::error_code problem;
    http::write(stream, request, problem);
    http::response<http::string_body> response;
    if (!problem) http::read(stream, buffer, response, problem);
    if (problem) {
      close();
      return unavailable("the connection to " + host + ":" + port + " broke: " + problem.message());
    }
    if (!response.keep_alive()) close();
    return Answer{static_cast<int>(response.result_int()), std::move(response.body())};
  }

  Result<Answer> exchange(http::request<http::string_body>& request) {
    return secure != nullptr ? exchange_over(*secure, request) : exchange_over(socket, request);
  }
};

HttpConnection::HttpConnection(std::string url) : impl_(std::make_unique<Impl>()) {
  impl_->tls = url.starts_with("https://");
  if (const auto scheme = url.find("://"); scheme != std::string::npos)
    url = url.substr(scheme + 3);
  url = url.substr(0, url.find('/'));
  const auto bracket = url.rfind(']');  // of an IPv6 address
  const auto colon = url.find(':', bracket == std::string::npos ? 0 : bracket);
  impl_->host = url.substr(0, colon);
  impl_->port = colon != std::string::npos ? url.substr(colon + 1) : impl_->tls ? "443" : "80";
  if (bracket != std::string::npos) impl_->host = url.substr(1, bracket - 1);
  if (const std::string token = environment_value("SLIPWAY_TOKEN"); !token.empty())
    impl_->authorization = "Bearer " + token;
}

HttpConnection::~HttpConnection() = default;

Result<HttpConnection::Answer> HttpConnection::send(
    const std::string& method, const std::string& target, const std::string& body,
    const std::vector<std::pair<std::string, std::string>>& headers) {
  if (auto connected = impl_->connect(); !connected) return connected.error();
  http::request<http::string_body> request(http::string_to_verb(method), target, 11);
  const bool ipv6 = impl_->host.find(':') != std::string::npos;
  request.set(http::field::host,
              (ipv6 ? "[" + impl_->host + "]" : impl_->host) + ":" + impl_->port);
  if (!impl_->authorization.empty()) request.set(http::field::authorization, impl_->authorization);
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
