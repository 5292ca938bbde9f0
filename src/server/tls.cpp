#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <boost/asio/error.hpp>
#include <cerrno>

#include "base/log.h"
#include "server/tls_internal.h"

namespace slipway::server {
namespace {

using boost::system::error_code;
namespace asio_error = boost::asio::error;

std::string reason() {
  const unsigned long code = ERR_peek_last_error();
  char text[256];
  ERR_error_string_n(code, text, sizeof text);
  ERR_clear_error();
  return code == 0 ? "no reason given" : text;
}

// OpenSSL's own socket BIO would write() and so die of SIGPIPE when the caller is gone.
int bio_write(BIO* bio, const char* data, int size) {
  const auto fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  BIO_clear_retry_flags(bio);
  const auto sent = ::send(fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    BIO_set_retry_write(bio);
  return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* data, int size) {
  const auto fd = static_cast<int>(reinterpret_cast<std::intptr_t>(BIO_get_data(bio)));
  BIO_clear_retry_flags(bio);
  const auto got = ::recv(fd, data, static_cast<std::size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
    BIO_set_retry_read(bio);
  return static_cast<int>(got);
}

long bio_control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

int bio_create(BIO* bio) {
  BIO_set_init(bio, 1);
  return 1;
}

BIO_METHOD* socket_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "slipway socket");
    BIO_meth_set_write(made, bio_write);
    BIO_meth_set_read(made, bio_read);
    BIO_meth_set_ctrl(made, bio_control);
    BIO_meth_set_create(made, bio_create);
    return made;
  }();
  return method;
}

Result<void> readable(const std::filesystem::path& file, std::string_view what) {
  std::error_code problem;
  if (std::filesystem::is_regular_file(file, problem)) return {};
  return not_found(fmt::format("there is no {} at '{}'", what, file.string()));
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::load(const std::filesystem::path& certificate,
                                                           const std::filesystem::path& key) {
  if (auto there = readable(certificate, "TLS certificate"); !there) return there.error();
  if (auto there = readable(key, "TLS key"); !there) return there.error();
  ERR_clear_error();
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (context == nullptr) return internal("OpenSSL gives no TLS context: " + reason());
  const std::shared_ptr<const TlsContext> owner(new TlsContext(context));
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20");  // of TLS 1.2
  SSL_CTX_set_options(
      context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                SSL_MODE_RELEASE_BUFFERS);
  // Never asks on the terminal: a key with a passphrase is refused.
  SSL_CTX_set_default_passwd_cb(context, [](char*, int, int, void*) { return -1; });
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1) {
    return invalid_argument(fmt::format(
        "'{}' holds no certificate in PEM form ({}): it begins with -----BEGIN CERTIFICATE-----, "
        "the server's own first, the chain behind it",
        certificate.string(), reason()));
  }
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1) {
    const int why = ERR_GET_REASON(ERR_peek_last_error());
    if (why == X509_R_KEY_VALUES_MISMATCH || why == X509_R_KEY_TYPE_MISMATCH) {
      return invalid_argument(fmt::format("the key '{}' does not belong to the certificate '{}'",
                                          key.string(), certificate.string()));
    }
    return invalid_argument(fmt::format(
        "'{}' holds no private key that can be used ({}): wanted PEM, without a passphrase",
        key.string(), reason()));
  }
  struct stat info{};
  if (::stat(key.c_str(), &info) == 0 && (info.st_mode & 077U) != 0) {
    log::warn("others may read the TLS key: make it 0600", {{"file", key.string()}});
  }
  return owner;
}

TlsContext::~TlsContext() { SSL_CTX_free(context_); }

Tls::Tls(std::shared_ptr<const TlsContext> context, int socket)
    : context_(std::move(context)), ssl_(SSL_new(context_->context_)) {
  BIO* bio = BIO_new(socket_method());
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<std::intptr_t>(socket)));
  SSL_set_bio(ssl_, bio, bio);
  SSL_set_accept_state(ssl_);
}

Tls::~Tls() { SSL_free(ssl_); }

std::size_t Tls::moved(int result, std::size_t count, error_code& error) {
  wants_read_ = wants_write_ = false;
  if (result > 0) {
    error = {};
    return count;
  }
  switch (SSL_get_error(ssl_, result)) {
    case SSL_ERROR_WANT_READ:
      wants_read_ = true;
      error = asio_error::would_block;
      break;
    case SSL_ERROR_WANT_WRITE:
      wants_write_ = true;
      error = asio_error::would_block;
      break;
    case SSL_ERROR_ZERO_RETURN:
      error = asio_error::eof;
      break;
    default:
      broken_ = true;
      plain_http_ = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
      error = asio_error::connection_reset;
  }
  ERR_clear_error();
  return 0;
}

std::size_t Tls::read(std::span<char> into, error_code& error) {
  ERR_clear_error();
  std::size_t count = 0;
  const int result = SSL_read_ex(ssl_, into.data(), into.size(), &count);
  return moved(result, count, error);
}

std::size_t Tls::write(std::string_view bytes, error_code& error) {
  ERR_clear_error();
  std::size_t count = 0;
  const int result = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &count);
  return moved(result, count, error);
}

void Tls::shutdown() {
  if (broken_ || SSL_in_init(ssl_) != 0) return;
  ERR_clear_error();
  SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace slipway::server
