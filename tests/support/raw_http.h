// A socket that speaks HTTP/1.1 exactly as badly as a test wants.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <map>
#include <string>
#include <string_view>

namespace slipway::test {

struct RawResponse {
  int status = 0;                              // 0: the connection ended before an answer
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

class RawClient {
 public:
  explicit RawClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval patience{.tv_sec = 20, .tv_usec = 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    const int one = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connected_ = ::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  ~RawClient() { close(); }
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;

  bool connected() const { return connected_; }
  void close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }
  void finish_sending() { ::shutdown(fd_, SHUT_WR); }

  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const auto sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // The next answer; `head` when it answers a HEAD request.
  RawResponse receive(bool head = false) {
    RawResponse response;
    std::size_t end = 0;
    while ((end = pending_.find("\r\n\r\n")) == std::string::npos) {
      if (!more()) return response;
    }
    std::size_t line = pending_.find("\r\n");
    response.status = std::stoi(pending_.substr(9, 3));
    while (line < end) {
      const std::size_t begin = line + 2;
      line = pending_.find("\r\n", begin);
      const std::size_t colon = pending_.find(':', begin);
      std::string name = pending_.substr(begin, colon - begin);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      response.headers[name] = pending_.substr(colon + 2, line - colon - 2);
    }
    pending_.erase(0, end + 4);
    const auto length = response.headers.find("content-length");
    const std::size_t wanted =
        length == response.headers.end() || head ? 0 : std::stoul(length->second);
    while (pending_.size() < wanted) {
      if (!more()) break;
    }
    response.body = pending_.substr(0, wanted);
    pending_.erase(0, wanted);
    return response;
  }

  // True when the server has closed the connection and nothing more comes.
  bool closed() { return pending_.empty() && !more() && pending_.empty(); }

  RawResponse get(std::string_view path) {
    send("GET " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
    return receive();
  }
  RawResponse post(std::string_view path, std::string_view body,
                   std::string_view more_headers = "") {
    send("POST " + std::string(path) + " HTTP/1.1\r\nHost: localhost\r\n" +
         std::string(more_headers) + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" +
         std::string(body));
    return receive();
  }

 private:
  bool more() {
    char bytes[16384];
    const auto got = ::recv(fd_, bytes, sizeof bytes, 0);
    if (got <= 0) return false;
    pending_.append(bytes, static_cast<std::size_t>(got));
    return true;
  }

  int fd_;
  bool connected_ = false;
  std::string pending_;
};

}  // namespace slipway::test
