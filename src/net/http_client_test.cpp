#include "net/http_client.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/guarded.h"
#include "support/support.h"

namespace slipway::net {
namespace {

using test::code_of;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

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

std::string answer(int status, const std::string& body, const std::string& more = "") {
  return "HTTP/1.1 " + std::to_string(status) +
         " X\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + more + "\r\n" + body;
}

struct HttpClientTest : ::testing::Test {
  HttpClient client(const std::vector<std::string>& entries = {"localhost"}) const {
    auto policy = EgressPolicy::parse(entries);
    EXPECT_TRUE(ok(policy));
    return HttpClient(policy ? *policy : EgressPolicy(), clock);
  }
  SystemClock clock;
  Context ctx{clock};
};

TEST_F(HttpClientTest, SendsWhatItIsToldAndReadsTheAnswer) {
  Guarded<std::string> seen;
  SmallServer server([&](const std::string& request) {
    seen.with([&](std::string& text) { text = request; });
    return answer(201, "made", "X-Thing:  a b \r\nX-Thing: second\r\n");
  });
  const HttpClient http = client();
  const auto response =
      http.send(ctx, {.method = "POST",
                      .url = server.url("/alerts?key=1#part"),
                      .headers = {{"Content-Type", "application/json"}, {"X-Empty", ""}},
                      .body = "{\"a\":1}"});
  ASSERT_TRUE(ok(response));
  EXPECT_EQ(response->status, 201);
  EXPECT_EQ(response->body, "made");
  EXPECT_EQ(response->header("x-thing"), "a b");
  EXPECT_EQ(response->header("absent"), "");
  const std::string request = seen.with([](const std::string& text) { return text; });
  EXPECT_THAT(request, ::testing::StartsWith("POST /alerts?key=1 HTTP/1.1\r\n"));
  EXPECT_THAT(request, HasSubstr("Content-Type: application/json\r\n"));
  EXPECT_THAT(request, HasSubstr("X-Empty:"));
  EXPECT_THAT(request, HasSubstr("User-Agent: slipway\r\n"));
  EXPECT_THAT(request, ::testing::Not(HasSubstr("Expect")));
  EXPECT_THAT(request, ::testing::EndsWith("\r\n\r\n{\"a\":1}"));
}

TEST_F(HttpClientTest, UsesEveryMethod) {
  SmallServer server([](const std::string& request) {
    const std::string method = request.substr(0, request.find(' '));
    return method == "HEAD" ? "HTTP/1.1 200 X\r\nContent-Length: 7\r\nX-Method: HEAD\r\n\r\n"
                            : answer(200, "", "X-Method: " + method + "\r\n");
  });
  const HttpClient http = client();
  for (const char* method : {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}) {
    const auto response = http.send(ctx, {.method = method, .url = server.url()});
    ASSERT_TRUE(ok(response)) << method;
    EXPECT_EQ(response->header("x-method"), method);
  }
}

TEST_F(HttpClientTest, TreatsAnyStatusAsAnAnswer) {
  SmallServer server([](const std::string&) { return answer(503, "later"); });
  const auto response = client().send(ctx, {.url = server.url()});
  ASSERT_TRUE(ok(response));
  EXPECT_EQ(response->status, 503);
}

TEST_F(HttpClientTest, KeepsConnections) {
  SmallServer server([](const std::string&) { return answer(200, "x"); });
  const HttpClient http = client();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(ok(http.send(ctx, {.url = server.url()})));
  EXPECT_EQ(server.accepted(), 1);
}

TEST_F(HttpClientTest, IsUsedByManyThreadsAtOnce) {
  SmallServer server([](const std::string& request) {
    return answer(200, request.substr(0, request.find(" HTTP")));
  });
  const HttpClient http = client();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 25; ++i) {
        const std::string path = "/" + std::to_string(t) + "/" + std::to_string(i);
        const auto response = http.send(ctx, {.url = server.url(path)});
        if (!response || response->body != "GET " + path) ++wrong;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(server.accepted(), 4);
}

TEST_F(HttpClientTest, RefusesHostsAndAddressesThatAreNotListed) {
  SmallServer server([](const std::string&) { return answer(200, "secret"); });
  const std::string port = std::to_string(server.port());
  using Entries = std::vector<std::string>;
  const std::vector<std::tuple<Entries, std::string>> rows = {
      {Entries{}, server.url()},
      {{"public"}, server.url()},
      {{"public"}, "http://localhost:" + port + "/"},   // the name passes, the address does not
      {{"public"}, "http://2130706433:" + port + "/"},  // 127.0.0.1 as a number
      {{"public"}, "http://0x7f.1:" + port + "/"},
      {{"public"}, "http://[::ffff:127.0.0.1]:" + port + "/"},
      {{"localhost:1"}, server.url()},
  };
  for (const auto& [entries, url] : rows) {
    SCOPED_TRACE(url);
    EXPECT_EQ(code_of(client(entries).send(ctx, {.url = url})), "permission_denied");
  }
  EXPECT_EQ(server.accepted(), 0);
}

TEST_F(HttpClientTest, RefusesRequestsThatAreMalformed) {
  const HttpClient http = client({"public", "localhost"});
  const std::vector<HttpRequest> rows = {
      {.url = ""},
      {.url = "not a url"},
      {.url = "ftp://localhost/x"},
      {.url = "file:///etc/passwd"},
      {.url = "gopher://localhost/"},
      {.url = "http://user:word@localhost/"},
      {.method = "GE T", .url = "http://localhost/"},
      {.method = "", .url = "http://localhost/"},
      {.url = "http://localhost/", .headers = {{"X-A", "1\r\nX-B: 2"}}},
      {.url = "http://localhost/", .headers = {{"X A", "1"}}},
      {.url = "http://localhost/", .headers = {{"X-A:", "1"}}},
  };
  for (const HttpRequest& request : rows) {
    SCOPED_TRACE(request.url + " " + request.method);
    EXPECT_EQ(code_of(http.send(ctx, request)), "invalid_argument");
  }
}

TEST_F(HttpClientTest, DoesNotFollowRedirectsUnlessAsked) {
  SmallServer inside([](const std::string&) { return answer(200, "inside"); });
  SmallServer server([&](const std::string& request) {
    if (request.starts_with("GET /loop")) return answer(302, "", "Location: /loop\r\n");
    if (request.starts_with("GET /relative")) return answer(301, "", "Location: there\r\n");
    if (request.starts_with("GET /elsewhere"))
      return answer(307, "", "Location: " + inside.url() + "\r\n");
    if (request.starts_with("GET /file"))
      return answer(302, "", "Location: file:///etc/passwd\r\n");
    return answer(200, "at " + request.substr(0, request.find(" HTTP")));
  });
  const HttpClient http = client();
  EXPECT_EQ(http.send(ctx, {.url = server.url("/relative")})->status, 301);
  const auto followed = http.send(ctx, {.url = server.url("/relative"), .max_redirects = 2});
  ASSERT_TRUE(ok(followed));
  EXPECT_EQ(followed->body, "at GET /there");
  EXPECT_EQ(code_of(http.send(ctx, {.url = server.url("/loop"), .max_redirects = 3})),
            "unavailable");
  EXPECT_EQ(code_of(http.send(ctx, {.url = server.url("/file"), .max_redirects = 3})),
            "invalid_argument");
  EXPECT_EQ(http.send(ctx, {.method = "POST", .url = server.url("/x"), .max_redirects = 3})->status,
            200);
  // Each hop is checked: this client may go to the first port only.
  const HttpClient narrow = client({"localhost:" + std::to_string(server.port())});
  EXPECT_EQ(code_of(narrow.send(ctx, {.url = server.url("/elsewhere"), .max_redirects = 1})),
            "permission_denied");
  EXPECT_EQ(inside.accepted(), 0);
}

TEST_F(HttpClientTest, DoesNotCarrySecretsToAnotherHost) {
  Guarded<std::string> seen;
  SmallServer second([&](const std::string& request) {
    seen.with([&](std::string& text) { text = request; });
    return answer(200, "");
  });
  SmallServer first(
      [&](const std::string&) { return answer(302, "", "Location: " + second.url() + "\r\n"); });
  const auto response =
      client().send(ctx, {.url = first.url(),
                          .headers = {{"Authorization", "Bearer secret"}, {"X-Plain", "1"}},
                          .max_redirects = 1});
  ASSERT_TRUE(ok(response));
  const std::string request = seen.with([](const std::string& text) { return text; });
  EXPECT_THAT(request, HasSubstr("X-Plain: 1"));
  EXPECT_THAT(request, ::testing::Not(HasSubstr("secret")));
}

TEST_F(HttpClientTest, CutsOffAnswersThatAreTooLarge) {
  SmallServer server([](const std::string& request) {
    if (request.starts_with("GET /headers")) {
      return "HTTP/1.1 200 X\r\n" + std::string(300, 'a') + ": " + std::string(90'000, 'b') +
             "\r\nB: " + std::string(90'000, 'b') + "\r\nC: " + std::string(90'000, 'b') +
             "\r\n\r\n";
    }
    return answer(200, std::string(100'001, 'x'));
  });
  const HttpClient http = client();
  EXPECT_EQ(code_of(http.send(ctx, {.url = server.url(), .max_response_bytes = 100'000})),
            "resource_exhausted");
  EXPECT_TRUE(ok(http.send(ctx, {.url = server.url(), .max_response_bytes = 100'001})));
  EXPECT_FALSE(http.send(ctx, {.url = server.url("/headers")}));
}

TEST_F(HttpClientTest, EndsAtTheDeadline) {
  SmallServer silent([](const std::string&) { return std::string(); });
  const HttpClient http = client();
  EXPECT_EQ(
      code_of(http.send(ctx, {.url = silent.url(), .timeout = std::chrono::milliseconds(50)})),
      "deadline_exceeded");
  Context soon{clock};
  soon.deadline = clock.steady() + std::chrono::milliseconds(50);
  EXPECT_EQ(code_of(http.send(soon, {.url = silent.url()})), "deadline_exceeded");
  soon.deadline = clock.steady() - std::chrono::milliseconds(1);
  EXPECT_EQ(code_of(http.send(soon, {.url = silent.url()})), "deadline_exceeded");
}

TEST_F(HttpClientTest, EndsAtOnceWhenCancelled) {
  std::stop_source source;
  SmallServer silent([&](const std::string&) {
    source.request_stop();  // while the client waits for our answer
    return std::string();
  });
  Context stoppable{clock};
  stoppable.stop = source.get_token();
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(code_of(client().send(stoppable, {.url = silent.url()})), "cancelled");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::milliseconds(900));
  EXPECT_EQ(code_of(client().send(stoppable, {.url = silent.url()})), "cancelled");
}

TEST_F(HttpClientTest, SaysWhenNobodyAnswersAndHidesTheQuery) {
  int port = 0;
  {
    port = SmallServer([](const std::string&) { return std::string(); }).port();
  }
  const auto refused = client().send(
      ctx, {.url = "http://127.0.0.1:" + std::to_string(port) + "/hook?token=secret"});
  EXPECT_EQ(code_of(refused), "unavailable");
  EXPECT_THAT(message_of(refused), HasSubstr("/hook"));
  EXPECT_THAT(message_of(refused), ::testing::Not(HasSubstr("secret")));
  SmallServer broken([](const std::string&) {
    return std::string("HTTP/1.1 200 X\r\nContent-Length: 100\r\nConnection: close\r\n\r\nhalf");
  });
  EXPECT_EQ(code_of(client().send(ctx, {.url = broken.url()})), "unavailable");
}

TEST_F(HttpClientTest, SurvivesALostKeptConnection) {
  SmallServer server([](const std::string&) { return answer(200, "x", "Connection: close\r\n"); });
  const HttpClient http = client();
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(ok(http.send(ctx, {.url = server.url()})));
}

}  // namespace
}  // namespace slipway::net
