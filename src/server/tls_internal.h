// TLS over a connection's non-blocking socket: OpenSSL (https://docs.openssl.org/3.0/) without a
// thread or a wait of its own. Boost's ssl::stream wants asynchronous calls throughout; this one
// says would_block as the socket does, so that one code writes and reads both.
#pragma once
#include <boost/system/error_code.hpp>
#include <filesystem>
#include <memory>
#include <span>
#include <string_view>

#include "base/result.h"

struct ssl_ctx_st;
struct ssl_st;

namespace slipway::server {

// A certificate with its key: TLS 1.2 and later. Values; connections share one.
class TlsContext {
 public:
  // PEM files: the certificate with the chain behind it, and its key without a passphrase.
  static Result<std::shared_ptr<const TlsContext>> load(const std::filesystem::path& certificate,
                                                        const std::filesystem::path& key);
  ~TlsContext();
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

 private:
  friend class Tls;
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
};

// One connection's session. Belongs to the thread of the connection.
class Tls {
 public:
  // The socket outlives this. The handshake happens in the first reads.
  Tls(std::shared_ptr<const TlsContext> context, int socket);
  ~Tls();
  Tls(const Tls&) = delete;
  Tls& operator=(const Tls&) = delete;

  // Bytes moved. would_block: wait until the socket can be written when wants_write(), else until
  // it can be read, and call again. eof when the caller ended the session properly.
  std::size_t read(std::span<char> into, boost::system::error_code& error);
  std::size_t write(std::string_view bytes, boost::system::error_code& error);
  bool wants_write() const { return wants_write_; }
  bool wants_read() const { return wants_read_; }
  // The caller speaks HTTP without TLS: its answer has to go out plainly, too.
  bool plain_http() const { return plain_http_; }
  void shutdown();  // says that no more comes, if it can be said at once

 private:
  std::size_t moved(int result, std::size_t count, boost::system::error_code& error);

  const std::shared_ptr<const TlsContext> context_;
  ssl_st* ssl_;
  bool wants_write_ = false;
  bool wants_read_ = false;
  bool plain_http_ = false;
  bool broken_ = false;
};

}  // namespace slipway::server
