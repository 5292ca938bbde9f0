// An HTTP server for tests of what goes out: it says what it is told to, also when that is wrong.
#pragma once
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

namespace slipway::test {

// A server on a loopback port, one thread a connection. The handler gets the whole request and
// returns the bytes to send;
// "" keeps the connection open and silent.
class SmallServer {
 public:
  using Answer = std::function<std::string(const std::string& request)>;

  explicit SmallServer(Answer answer)
      : answer_(std::move(answer)), listener_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    socklen_t size = sizeof address;
    ::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    ::listen(listener_, 64);
    acceptor_ = std::thread([this] { accept_all(); });
  }

  ~SmallServer() {
    stopping_ = true;
    acceptor_.join();
    for (auto& thread : connections_) thread.join();
    ::close(listener_);
  }

  int port() const { return port_; }
  int accepted() const { return accepted_; }
  std::string url(const std::string& path = "/") const {
    return "http://127.0.0.1:" + std::to_string(port_) + path;
  }

 private:
  // Whether there is something to read before the server stops.
  bool wait(int fd) const {
    while (!stopping_) {
      pollfd waiting{fd, POLLIN, 0};
      if (::poll(&waiting, 1, 20) > 0) return true;
    }
    return false;
  }

  void accept_all() {
    while (wait(listener_)) {
      const int fd = ::accept(listener_, nullptr, nullptr);
      if (fd < 0) continue;
      ++accepted_;
      connections_.emplace_back([this, fd] {
        serve(fd);
        ::close(fd);
      });
    }
  }

  void serve(int fd) {
    std::string in;
    char buffer[4096];
    while (wait(fd)) {
      const ssize_t got = ::recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) return;
      in.append(buffer, static_cast<std::size_t>(got));
      const std::size_t head = in.find("\r\n\r\n");
      if (head == std::string::npos) continue;
      std::size_t body = 0;
      if (const std::size_t at = in.find("Content-Length: "); at < head)
        body = std::stoul(in.substr(at + 16));
      if (in.size() < head + 4 + body) continue;
      const std::string out = answer_(in);
      in.clear();
      for (std::size_t sent = 0; sent < out.size();) {
        const ssize_t put = ::send(fd, out.data() + sent, out.size() - sent, MSG_NOSIGNAL);
        if (put <= 0) return;
        sent += static_cast<std::size_t>(put);
      }
      if (out.find("Connection: close") != std::string::npos) return;
    }
  }

  Answer answer_;
  int listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<int> accepted_{0};
  std::vector<std::thread> connections_;  // touched by the acceptor only, until it is joined
  std::thread acceptor_;
};

// A whole response.
inline std::string answer(int status, const std::string& body, const std::string& more = "") {
  return "HTTP/1.1 " + std::to_string(status) +
         " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

}  // namespace slipway::test
