#include "net/http_client.h"

#include <gmock/gmock.h>

#include "base/guarded.h"
#include "support/small_server.h"
#include "support/support.h"

namespace slipway::net {
namespace {

using test::answer;
using test::code_of;
using test::message_of;
using test::ok;
using test::SmallServer;
using ::testing::HasSubstr;

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
