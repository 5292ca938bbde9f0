// A topic on librdkafka's mock brokers, which speak Kafka's protocol over TCP on loopback.
#include <gtest/gtest.h>
#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#include "data/engine.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;

// Two brokers' worth of nothing but memory; messages are produced by hand.
class Brokers {
 public:
  Brokers() {
    char problem[256];
    auto* conf = ::rd_kafka_conf_new();
    client_ = ::rd_kafka_new(RD_KAFKA_PRODUCER, conf, problem, sizeof problem);
    cluster_ = ::rd_kafka_mock_cluster_new(client_, 1);
    ::rd_kafka_mock_topic_create(cluster_, "clicks", 2, 1);
    auto* settings = ::rd_kafka_conf_new();
    ::rd_kafka_conf_set(settings, "bootstrap.servers", address().c_str(), problem, sizeof problem);
    producer_ = ::rd_kafka_new(RD_KAFKA_PRODUCER, settings, problem, sizeof problem);
  }
  Brokers(const Brokers&) = delete;
  ~Brokers() {
    ::rd_kafka_destroy(producer_);
    ::rd_kafka_mock_cluster_destroy(cluster_);
    ::rd_kafka_destroy(client_);
  }
  std::string address() const { return ::rd_kafka_mock_cluster_bootstraps(cluster_); }
  void send(int partition, const std::string& payload) {
    ::rd_kafka_producev(producer_, RD_KAFKA_V_TOPIC("clicks"), RD_KAFKA_V_PARTITION(partition),
                        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                        RD_KAFKA_V_VALUE(const_cast<char*>(payload.data()), payload.size()),
                        RD_KAFKA_V_TIMESTAMP(1'364'817'600'000), RD_KAFKA_V_END);
    EXPECT_EQ(::rd_kafka_flush(producer_, 5'000), RD_KAFKA_RESP_ERR_NO_ERROR);
  }

 private:
  rd_kafka_t* client_ = nullptr;
  rd_kafka_mock_cluster_t* cluster_ = nullptr;
  rd_kafka_t* producer_ = nullptr;
};

TEST(Kafka, ReadsATopicUpToItsEndAndGoesOnFromThere) {
  const Scratch scratch;
  Brokers brokers;
  for (int i = 0; i < 5; ++i)
    brokers.send(i % 2, fmt::format(R"({{"id": {}, "who": "u{}"}})", i, i));
  auto engine = std::move(*Engine::open({.threads = 1, .temp_dir = scratch.path()}));
  Source source{.kind = Source::Kind::kafka, .paths = {"kafka://" + brokers.address() + "/clicks"}};
  const auto count = [&] {
    const auto table = engine->query({}, "SELECT count(*) AS n, sum(id) AS ids FROM clicks");
    if (!table) return table.error().message;
    const auto columns = Columns::from_table(*table);
    const Batch batch = columns->batch();
    return fmt::format("{} {}", batch.columns[0].integer(0), batch.columns[1].integer(0));
  };
  const auto first = engine->add_source({}, "clicks", source);
  ASSERT_TRUE(ok(first));
  EXPECT_EQ(count(), "5 10");
  EXPECT_EQ(first->offsets, (std::map<std::string, std::int64_t>{{"0", 3}, {"1", 2}}));
  const auto schema = engine->describe("SELECT * FROM clicks");
  EXPECT_TRUE(schema->index("_partition") && schema->index("_offset") && schema->index("_time"));

  source.offsets = first->offsets;
  const auto none = engine->add_source({}, "clicks", source);
  EXPECT_TRUE(failed_with(none, Code::failed_precondition)) << message_of(none);
  brokers.send(1, R"({"id": 7, "who": "u7"})");
  const auto second = engine->add_source({}, "clicks", source);
  ASSERT_TRUE(ok(second));
  EXPECT_EQ(count(), "1 7");

  brokers.send(0, "not json");
  source.offsets = second->offsets;
  const auto bad = engine->add_source({}, "clicks", source);
  EXPECT_TRUE(failed_with(bad, Code::invalid_argument));
  EXPECT_NE(message_of(bad).find("partition 0, offset 3"), std::string::npos) << message_of(bad);
}

}  // namespace
}  // namespace slipway::data
