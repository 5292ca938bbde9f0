#include "server/server.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/guarded.h"
#include "base/json.h"
#include "base/log.h"
#include "support/raw_http.h"
#include "support/support.h"

namespace slipway::server {
namespace {

using namespace std::chrono_literals;
using test::ok;
using test::RawClient;

Response error_form(const Error& error) {
  return json_text(error.code == Code::internal ? 500 : 400, Json{{"error", error.message}}.dump());
}

class ServerTest : public testing::Test {
 protected:
  ServerTest() {
    log::set_level(log::Level::off);
    router_.add_async("GET", "/async", Access::open, &error_form,
                      [](const Context&, const std::shared_ptr<Request>&, const Respond& respond) {
                        respond(json_text(200, "{}"));
                      });
    router_.add("POST", "/echo", Access::open, &error_form,
                [](const Context& ctx, const Request& request) {
                  return Response{.body = request.body, .headers = {{"x-seen-id", ctx.request_id}}};
                });
    router_.add("GET", "/name/{name}", Access::open, &error_form,
                [](const Context&, const Request& request) {
                  return plain_text(200, std::string(request.param("name")));
                });
    router_.add("GET", "/throws", Access::open, &error_form,
                [](const Context&, const Request&) -> Response {
                  throw std::runtime_error("secret detail");
                });
    router_.add_async("GET", "/async-throws", Access::open, &error_form,
                      [](const Context&, const std::shared_ptr<Request>&, const Respond&) {
                        throw std::runtime_error("boom");
                      });
    router_.add_async("GET", "/drops", Access::open, &error_form,
                      [](const Context&, const std::shared_ptr<Request>&, const Respond&) {});
    router_.add_async("GET", "/later", Access::open, &error_form,
                      [this](const Context&, const std::shared_ptr<Request>&, Respond respond) {
                        later_.with([&](auto& kept) { kept.push_back(std::move(respond)); });
                      });
    router_.add("GET", "/large", Access::open, &error_form, [](const Context&, const Request&) {
      return plain_text(200, std::string(8'000'000, 'x'));
    });
    router_.add("GET", "/splits", Access::open, &error_form, [](const Context&, const Request&) {
      return Response{.body = "x", .headers = {{"x-evil", "a\r\nSet-Cookie: b"}}};
    });
  }
  ~ServerTest() override { log::set_level(log::Level::info); }

  void start(ServerOptions options = {}) {
    auto server = HttpServer::start(std::move(options), router_, clock_, ids_);
    ASSERT_TRUE(ok(server));
    server_ = std::move(*server);
  }
  RawClient client() { return RawClient(server_->port()); }
  // Answers everything that waits, once there are `count`.
  void answer_later(std::size_t count) {
    while (later_.with([](auto& kept) { return kept.size(); }) < count) std::this_thread::yield();
    for (auto& respond : later_.with([](auto& kept) { return std::exchange(kept, {}); }))
      respond(json_text(200, "\"late\""));
  }

  ManualClock clock_{test::kNoon2013};
  SequentialIds ids_;
  Router router_;
  Guarded<std::vector<Respond>> later_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(ServerTest, AnswersAndKeepsTheConnection) {
  start();
  auto caller = client();
  for (int i = 0; i < 3; ++i) {
    const auto response = caller.get("/async");
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "{}");
    EXPECT_EQ(response.headers.at("date"), "Mon, 01 Apr 2013 12:00:00 GMT");
    EXPECT_EQ(response.headers.at("x-request-id").size(), 32u);
  }
  EXPECT_EQ(caller.get("/name/a%20b").body, "a b");
  EXPECT_EQ(server_->stats().requests_total, 4);
  EXPECT_EQ(server_->stats().responses[2], 4);
  EXPECT_EQ(server_->stats().in_flight, 0);
}

TEST_F(ServerTest, PipelinedRequestsAreAnsweredInOrder) {
  start();
  auto caller = client();
  std::string bytes;
  for (int i = 0; i < 500; ++i)
    bytes += fmt::format(
        "GET /name/{} HTTP/1.1\r\nHost: localhost\r\n\r\nGET /async HTTP/1.1\r\nHost: "
        "localhost\r\n\r\n",
        i);
  ASSERT_TRUE(caller.send(bytes));
  for (int i = 0; i < 500; ++i) {
    ASSERT_EQ(caller.receive().body, std::to_string(i));
    ASSERT_EQ(caller.receive().body, "{}");
  }
}

TEST_F(ServerTest, TakesRequestsInPiecesChunkedAndWithExpect) {
  start();
  auto caller = client();
  const std::string request =
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello";
  for (std::size_t i = 0; i < request.size(); i += 7)
    ASSERT_TRUE(caller.send(request.substr(i, 7)));
  EXPECT_EQ(caller.receive().body, "hello");

  caller.send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  caller.send("A;x=y\r\n0123456789\r\n0\r\nTrailer: 1\r\n\r\n");
  EXPECT_EQ(caller.receive().body, "abc0123456789");

  caller.send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
      "2\r\n\r\n");
  EXPECT_EQ(caller.receive().status, 100);
  caller.send("ok");
  EXPECT_EQ(caller.receive().body, "ok");

  const std::string large(3'000'000, 'z');
  EXPECT_EQ(caller.post("/echo", large).body, large);
}

TEST_F(ServerTest, SendsLargeAnswersToSlowReaders) {
  start();
  auto caller = client();
  caller.send(
      "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\nGET /async HTTP/1.1\r\nHost: "
      "localhost\r\n\r\n");
  EXPECT_EQ(caller.receive().body.size(), 8'000'000u);
  EXPECT_EQ(caller.receive().body, "{}");
}

TEST_F(ServerTest, HeadHasNoBodyAndOldClientsAreClosed) {
  start();
  auto caller = client();
  caller.send("HEAD /async HTTP/1.1\r\nHost: localhost\r\n\r\n");
  const auto head = caller.receive(true);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("content-length"), "2");
  EXPECT_EQ(caller.get("/async").status, 200);

  auto old = client();
  old.send("GET /async HTTP/1.0\r\n\r\n");
  EXPECT_EQ(old.receive().status, 200);
  EXPECT_TRUE(old.closed());

  auto closing = client();
  closing.send("GET /async HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
  EXPECT_EQ(closing.receive().headers.at("connection"), "close");
  EXPECT_TRUE(closing.closed());

  auto half = client();
  half.send("GET /async HTTP/1.1\r\nHost: localhost\r\n\r\n");
  half.finish_sending();
  EXPECT_EQ(half.receive().status, 200);
  EXPECT_TRUE(half.closed());
}

TEST_F(ServerTest, RefusesUnsoundRequests) {
  start({.max_header_bytes = 2048, .max_body_bytes = 100});
  const std::vector<std::tuple<std::string, std::string, int>> rows = {
      {"nonsense", "\x16\x03\x01\x02 nonsense\r\n\r\n", 400},
      {"two lengths",
       "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nContent-Length: "
       "4\r\n\r\nabcd",
       400},
      {"length and chunked",
       "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: "
       "chunked\r\n\r\n0\r\n\r\n",
       400},
      {"negative length", "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -3\r\n\r\n",
       400},
      {"bad chunk",
       "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
      {"space in a name", "GET /async HTTP/1.1\r\nHost : localhost\r\n\r\n", 400},
      {"two hosts", "GET /async HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", 400},
      {"no host", "GET /async HTTP/1.1\r\n\r\n", 400},
      {"another host", "GET /async HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
      {"another origin",
       "POST /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\nContent-Length: "
       "0\r\n\r\n",
       403},
      {"header too large",
       "GET /async HTTP/1.1\r\nHost: localhost\r\nX: " + std::string(4000, 'x') + "\r\n\r\n", 431},
      {"body too large by its length",
       "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 101\r\n\r\n", 413},
      {"body too large in chunks",
       "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n" +
           std::string(101, 'x') + "\r\n0\r\n\r\n",
       413},
      {"dot dot", "GET /name/..%2fx HTTP/1.1\r\nHost: localhost\r\n\r\n", 400},
      {"wrong method", "DELETE /async HTTP/1.1\r\nHost: localhost\r\n\r\n", 405},
      {"nowhere", "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n", 404},
  };
  for (const auto& [name, bytes, status] : rows) {
    SCOPED_TRACE(name);
    auto caller = client();
    caller.send(bytes);
    const auto response = caller.receive();
    EXPECT_EQ(response.status, status);
    EXPECT_TRUE(Json::parse(response.body, nullptr, false).contains("error")) << response.body;
  }
  EXPECT_EQ(client().get("/async").status, 200);
}

TEST_F(ServerTest, AnswersBeforeABodyThatIsTooLargeHasCome) {
  start({.max_body_bytes = 1000});
  auto caller = client();
  caller.send(
      "POST /echo HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: "
      "99999999999\r\n\r\n");
  EXPECT_EQ(caller.receive().status, 413);
  EXPECT_TRUE(caller.closed());
}

TEST_F(ServerTest, HandlersThatFailEndTheirRequestOnly) {
  start();
  auto caller = client();
  for (const char* path : {"/throws", "/async-throws", "/drops"}) {
    SCOPED_TRACE(path);
    const auto response = caller.get(path);
    EXPECT_EQ(response.status, 500);
    EXPECT_EQ(response.body.find("secret"), std::string::npos);
  }
  EXPECT_EQ(caller.get("/async").status, 200);
}

TEST_F(ServerTest, RequestIdsTravelBothWays) {
  start();
  auto caller = client();
  auto response = caller.post("/echo", "x", "X-Request-Id: abc-123\r\n");
  EXPECT_EQ(response.headers.at("x-request-id"), "abc-123");
  EXPECT_EQ(response.headers.at("x-seen-id"), "abc-123");
  response = caller.post("/echo", "x", "X-Request-Id: has space\r\n");
  EXPECT_EQ(response.headers.at("x-request-id").size(), 32u);
}

TEST_F(ServerTest, HeaderValuesCannotEndTheHeader) {
  start();
  const auto response = client().get("/splits");
  EXPECT_EQ(response.headers.at("x-evil"), "aSet-Cookie: b");
  EXPECT_FALSE(response.headers.contains("set-cookie"));
}

TEST_F(ServerTest, SlowCallersAreAnswered408AndIdleOnesClosed) {
  start({.header_timeout = 100ms, .body_timeout = 100ms, .idle_timeout = 200ms});
  auto header = client();
  header.send("GET /async HTTP/1.1\r\nHo");
  auto body = client();
  body.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nab");
  auto idle = client();
  EXPECT_EQ(idle.get("/async").status, 200);
  auto silent = client();
  // The steps wait for the connections to be seen by the server: each needs a read of its own
  // before time moves.
  while (server_->stats().connections < 4) std::this_thread::yield();
  std::jthread time([this](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      clock_.advance(10ms);
      std::this_thread::sleep_for(1ms);
    }
  });
  EXPECT_EQ(header.receive().status, 408);
  EXPECT_EQ(body.receive().status, 408);
  EXPECT_TRUE(idle.closed());
  EXPECT_TRUE(silent.closed());
}

TEST_F(ServerTest, TooManyConnectionsAre503) {
  start({.max_connections = 2});
  auto first = client();
  auto second = client();
  EXPECT_EQ(first.get("/async").status, 200);
  EXPECT_EQ(second.get("/async").status, 200);
  auto third = client();
  third.send("GET /async HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(third.receive().status, 503);
  EXPECT_EQ(first.get("/async").status, 200);
}

TEST_F(ServerTest, AnswersFromOtherThreadsArriveAndGoneCallersAreHarmless) {
  start();
  auto caller = client();
  {
    auto gone = client();
    gone.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    while (server_->stats().in_flight < 1) std::this_thread::yield();
  }
  caller.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
  answer_later(2);
  EXPECT_EQ(caller.receive().body, "\"late\"");
}

TEST_F(ServerTest, StopFinishesWhatIsUnderWay) {
  start();
  const int port = server_->port();
  auto idle = client();
  EXPECT_EQ(idle.get("/async").status, 200);
  auto caller = client();
  caller.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
  while (server_->stats().in_flight < 1) std::this_thread::yield();
  std::jthread stopping([this] { server_->stop(); });
  EXPECT_TRUE(idle.closed());
  answer_later(1);
  const auto response = caller.receive();
  EXPECT_EQ(response.status, 200);
  EXPECT_EQ(response.headers.at("connection"), "close");
  stopping.join();
  EXPECT_FALSE(RawClient(port).connected());
}

TEST_F(ServerTest, AnswersThatComeAfterTheStopAreDropped) {
  start({.drain = 10ms});
  auto caller = client();
  caller.send("GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
  while (server_->stats().in_flight < 1) std::this_thread::yield();
  server_->stop();
  server_.reset();
  EXPECT_TRUE(caller.closed());
  answer_later(1);
}

TEST_F(ServerTest, SaysWhatToDoWhenThePortIsTaken) {
  start();
  const auto again = HttpServer::start({.port = server_->port()}, router_, clock_, ids_);
  ASSERT_TRUE(test::failed_with(again, Code::failed_precondition));
  EXPECT_NE(again.error().message.find(fmt::format("port {}", server_->port())), std::string::npos);
}

TEST_F(ServerTest, ListensBeyondLoopbackOnlyWithAGuard) {
  for (const char* address : {"0.0.0.0", "10.0.0.1", "::"}) {
    EXPECT_TRUE(test::failed_with(HttpServer::start({.address = address}, router_, clock_, ids_),
                                  Code::failed_precondition))
        << address;
  }
  EXPECT_TRUE(
      test::failed_with(HttpServer::start({.address = "example.org"}, router_, clock_, ids_),
                        Code::invalid_argument));
}

TEST_F(ServerTest, ManyCallersEachGetTheirOwnAnswer) {
  start({.io_threads = 2});
  std::vector<std::jthread> callers;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 8; ++t) {
    callers.emplace_back([&, t] {
      RawClient caller(server_->port());
      for (int i = 0; i < 200; ++i) {
        const std::string text = fmt::format("{}-{}", t, i);
        if (caller.post("/echo", text).body != text) ++wrong;
      }
    });
  }
  callers.clear();
  EXPECT_EQ(wrong.load(), 0);
}

}  // namespace
}  // namespace slipway::server
