// A closed-loop HTTP/1.1 load client: each connection sends a request, waits for the whole answer,
// and sends the next, for a number of seconds. One thread, one epoll; it takes a few microseconds a
// request, so that it is not what is measured.
//   http_load PORT CONNECTIONS SECONDS STEP < requests
// stdin: requests, each as a line with its length in bytes and then the bytes. Connection c sends
// request c, c + CONNECTIONS, …, in turns. In a request every "#########" (nine of them) becomes a
// number of nine digits that grows: with STEP s, the k-th place of the n-th sending is
// 100000000 + n * ceil(places / s) + k / s, so that each sending logs new steps.
// stdout: a JSON object with requests, failed, seconds, latencies in ms, bytes, and the client's
// own processor seconds.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::string_view kPlace = "#########";

struct Request {
  std::string bytes;
  std::vector<std::size_t> places;
};

struct Connection {
  int socket = -1;
  std::size_t turn = 0;
  std::size_t sent = 0;
  std::string answer;
  std::size_t wanted = 0;  // bytes of the whole answer; 0: the header has not come
  Clock::time_point begun;
};

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

std::vector<Request> read_requests() {
  std::vector<Request> requests;
  std::string line;
  while (std::getline(std::cin, line)) {
    Request request;
    request.bytes.resize(std::strtoul(line.c_str(), nullptr, 10));
    std::cin.read(request.bytes.data(), static_cast<std::streamsize>(request.bytes.size()));
    for (std::size_t at = request.bytes.find(kPlace); at != std::string::npos;
         at = request.bytes.find(kPlace, at + kPlace.size())) {
      request.places.push_back(at);
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

int connect_to(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) fail("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  return fd;
}

void number(Request& request, std::uint64_t n, std::uint64_t step) {
  const std::uint64_t each = (request.places.size() + step - 1) / step;
  for (std::size_t k = 0; k < request.places.size(); ++k) {
    const std::uint64_t value = (100'000'000 + n * each + k / step) % 1'000'000'000;
    char* const at = request.bytes.data() + request.places[k];
    std::to_chars(at, at + kPlace.size(), value);
  }
}

double milliseconds(std::vector<double>& sorted, double share) {
  if (sorted.empty()) return 0;
  const auto at = static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1));
  return sorted[at];
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::fputs("usage: http_load PORT CONNECTIONS SECONDS STEP < requests\n", stderr);
    return 2;
  }
  const int port = std::atoi(argv[1]);
  const auto count = std::strtoul(argv[2], nullptr, 10);
  const double seconds = std::atof(argv[3]);
  const auto step = std::max(1UL, std::strtoul(argv[4], nullptr, 10));
  std::vector<Request> requests = read_requests();
  if (requests.empty() || count == 0) {
    std::fputs("no requests\n", stderr);
    return 2;
  }
  const int epoll = ::epoll_create1(0);
  std::vector<Connection> connections(count);
  std::vector<std::uint64_t> sendings(requests.size(), 0);
  std::vector<double> latencies;
  std::uint64_t failed = 0;
  std::uint64_t received = 0;
  std::string first_failure;

  const auto send = [&](std::size_t c) {
    Connection& connection = connections[c];
    const std::size_t which = (c + connection.turn++ * count) % requests.size();
    Request& request = requests[which];
    number(request, sendings[which]++, step);
    connection.answer.clear();
    connection.wanted = 0;
    connection.begun = Clock::now();
    for (std::size_t sent = 0; sent < request.bytes.size();) {
      const auto wrote = ::send(connection.socket, request.bytes.data() + sent,
                                request.bytes.size() - sent, MSG_NOSIGNAL);
      if (wrote < 0) fail("send");
      sent += static_cast<std::size_t>(wrote);
    }
  };
  // True when the answer is whole.
  const auto receive = [&](Connection& connection) {
    char buffer[256 * 1024];
    const auto got = ::recv(connection.socket, buffer, sizeof(buffer), MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return false;
    if (got <= 0) fail("the server closed a connection");
    connection.answer.append(buffer, static_cast<std::size_t>(got));
    received += static_cast<std::uint64_t>(got);
    if (connection.wanted == 0) {
      const auto end = connection.answer.find("\r\n\r\n");
      if (end == std::string::npos) return false;
      std::string header = connection.answer.substr(0, end);
      std::ranges::transform(header, header.begin(),
                             [](unsigned char c) { return std::tolower(c); });
      const auto length = header.find("content-length:");
      connection.wanted =
          end + 4 +
          (length == std::string::npos ? 0
                                       : std::strtoul(header.c_str() + length + 15, nullptr, 10));
    }
    return connection.answer.size() >= connection.wanted;
  };

  for (std::size_t c = 0; c < count; ++c) {
    connections[c].socket = connect_to(port);
    epoll_event event{.events = EPOLLIN, .data = {.u64 = c}};
    ::epoll_ctl(epoll, EPOLL_CTL_ADD, connections[c].socket, &event);
  }
  const auto start = Clock::now();
  const auto end =
      start + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  for (std::size_t c = 0; c < count; ++c) send(c);
  std::size_t waiting = count;
  auto last = start;
  std::vector<epoll_event> events(count);
  while (waiting > 0) {
    const int ready = ::epoll_wait(epoll, events.data(), static_cast<int>(count), 120'000);
    if (ready <= 0) fail("no answer for two minutes");
    for (int i = 0; i < ready; ++i) {
      Connection& connection = connections[events[static_cast<std::size_t>(i)].data.u64];
      if (!receive(connection)) continue;
      last = Clock::now();
      latencies.push_back(
          std::chrono::duration<double, std::milli>(last - connection.begun).count());
      if (!connection.answer.starts_with("HTTP/1.1 200")) {
        ++failed;
        if (first_failure.empty()) first_failure = connection.answer.substr(0, 600);
      }
      if (last < end) {
        send(events[static_cast<std::size_t>(i)].data.u64);
      } else {
        --waiting;
      }
    }
  }
  std::ranges::sort(latencies);
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds_of = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  if (!first_failure.empty()) std::fprintf(stderr, "a failed answer: %s\n", first_failure.c_str());
  std::printf(
      "{\"requests\": %zu, \"failed\": %llu, \"seconds\": %.4f, \"p50\": %.4f, \"p90\": %.4f, "
      "\"p99\": %.4f, \"p999\": %.4f, \"max\": %.4f, \"bytes\": %llu, \"client_cpu\": %.4f}\n",
      latencies.size(), static_cast<unsigned long long>(failed),
      std::chrono::duration<double>(last - start).count(), milliseconds(latencies, 0.5),
      milliseconds(latencies, 0.9), milliseconds(latencies, 0.99), milliseconds(latencies, 0.999),
      milliseconds(latencies, 1), static_cast<unsigned long long>(received),
      seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime));
  return 0;
}
