#include "monitoring/traffic.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/guarded.h"
#include "monitoring/test_traffic_internal.h"
#include "support/support.h"

namespace slipway::monitoring {
namespace {

using test::ok;
using ::testing::HasSubstr;

const Time kStart = *parse_time("2013-04-01");

TEST(PredictionTraffic, ReadsTheLogAsTheMonitorWantsIt) {
  const test::Scratch scratch;
  auto log = serving::PredictionLog::open(scratch / "predictions", {});
  ASSERT_TRUE(ok(log)) << ok(log);
  PredictionTraffic traffic(**log);
  EXPECT_FALSE(traffic.watermark("flights").has_value());
  EXPECT_FALSE(traffic.first("flights")->has_value());
  EXPECT_EQ(*traffic.read("flights", kStart, kStart + std::chrono::days(1), false), nullptr);

  const data::Schema schema{
      {{"temp", data::Type::float64, true}, {"carrier", data::Type::text, true}}};
  Rng rng(1);
  // Not in the order of time: concurrent callers overtake one another.
  for (const int hour : {5, 1, 30}) {
    data::BatchBuilder builder(schema);
    builder.append_real(0, hour);
    builder.append_text(1, "UA");
    const auto batch = builder.batch();
    const std::string ids[] = {"p" + std::to_string(hour)};
    const double scores[] = {hour / 100.0};
    const Time time = kStart + std::chrono::hours(hour);
    ASSERT_TRUE(ok((*log)->append({.deployment = "flights",
                                   .time = time,
                                   .version = 3,
                                   .alias = "champion",
                                   .latency_us = 1500,
                                   .ids = ids,
                                   .scores = scores,
                                   .inputs = &*batch})));
    ASSERT_TRUE(ok((*log)->append({.deployment = "flights",
                                   .time = time,
                                   .version = 4,
                                   .role = serving::Role::shadow,
                                   .alias = "challenger",
                                   .ids = ids,
                                   .scores = scores})));
  }
  EXPECT_EQ(traffic.watermark("flights"), kStart + std::chrono::hours(30));
  EXPECT_EQ(*traffic.first("flights"), kStart + std::chrono::hours(1));
  const auto primary = traffic.read("flights", kStart, kStart + std::chrono::days(1), false);
  const auto shadow = traffic.read("flights", kStart, kStart + std::chrono::days(1), true);
  ASSERT_TRUE(ok(primary)) << ok(primary);
  ASSERT_TRUE(ok(shadow)) << ok(shadow);
  MonitorSpec spec;
  spec.deployment = "flights";
  const std::vector<std::optional<double>> labels = {1.0, std::nullopt};
  const auto report = evaluate_window(spec, {.window = window_at(kStart, std::chrono::days(1)),
                                             .primary = *primary,
                                             .shadow = *shadow,
                                             .labels = labels});
  ASSERT_TRUE(ok(report)) << ok(report);
  EXPECT_EQ(report->rows, 2);
  EXPECT_EQ(report->version, 3);
  EXPECT_EQ(report->latency_p50_ms, 1.5);
  EXPECT_EQ(report->performance.labelled, 1);
  ASSERT_EQ(report->shadows.size(), 1U);
  EXPECT_EQ(report->shadows[0].alias, "challenger");
  EXPECT_EQ(report->shadows[0].version, 4);
  EXPECT_EQ(report->shadows[0].labelled, 1);
}

// Answers one request after another with the given statuses, and keeps what it was sent.
class Listener {
 public:
  explicit Listener(std::vector<int> statuses) : socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(bind(socket_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(listen(socket_, 8), 0);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this, statuses = std::move(statuses)] {
      for (const int status : statuses) {
        const int client = accept(socket_, nullptr, nullptr);
        received_.with([&](std::vector<std::string>& all) { all.push_back(read_request(client)); });
        const std::string answer = "HTTP/1.1 " + std::to_string(status) +
                                   " x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        EXPECT_EQ(write(client, answer.data(), answer.size()), std::ssize(answer));
        close(client);
      }
    });
  }
  ~Listener() {
    thread_.join();
    close(socket_);
  }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/hook"; }
  int port() const { return port_; }
  std::vector<std::string> received() const {
    return received_.with([](const std::vector<std::string>& all) { return all; });
  }

 private:
  // Until the body, which ends in "}", is there.
  static std::string read_request(int client) {
    std::string text;
    char buffer[4096];
    while (text.find("\r\n\r\n") == std::string::npos || !text.ends_with("}")) {
      const ssize_t got = ::read(client, buffer, sizeof(buffer));
      if (got <= 0) break;
      text.append(buffer, static_cast<std::size_t>(got));
    }
    return text;
  }
  int socket_;
  int port_ = 0;
  Guarded<std::vector<std::string>> received_;
  std::thread thread_;
};

TEST(HttpWebhooks, PostsJsonAndTakesOnlyA2xxForAnAnswer) {
  const SystemClock clock;
  std::vector<std::string> received;
  {
    Listener listener({204, 500});
    const net::HttpClient http(*net::EgressPolicy::parse({"localhost", "127.0.0.1"}), clock);
    HttpWebhooks webhooks(http);
    EXPECT_TRUE(ok(webhooks.post(Context(clock), listener.url(), "a-1", R"({"event":"fired"})")));
    const auto failed =
        webhooks.post(Context(clock), listener.url(), "a-1", R"({"event":"fired"})");
    EXPECT_EQ(test::code_of(failed), "unavailable");
    EXPECT_THAT(test::message_of(failed), HasSubstr("500"));
    received = listener.received();
  }
  ASSERT_EQ(received.size(), 2U);
  EXPECT_THAT(received[0], HasSubstr("POST /hook HTTP/1.1\r\n"));
  EXPECT_THAT(received[0], HasSubstr("x-slipway-delivery: a-1\r\n"));
  EXPECT_THAT(received[0], HasSubstr("content-type: application/json\r\n"));
  EXPECT_THAT(received[0], HasSubstr("\r\n\r\n{\"event\":\"fired\"}"));
}

TEST(HttpWebhooks, StayWithinTheEgressPolicy) {
  const SystemClock clock;
  const net::HttpClient http(net::EgressPolicy(), clock);
  HttpWebhooks webhooks(http);
  EXPECT_EQ(test::code_of(webhooks.post(Context(clock), "http://127.0.0.1:9/hook", "a-1", "{}")),
            "permission_denied");
}

}  // namespace
}  // namespace slipway::monitoring
