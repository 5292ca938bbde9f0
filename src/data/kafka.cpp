// A Kafka topic up to what it holds now, through librdkafka
// (https://github.com/confluentinc/librdkafka). Partitions are assigned, not subscribed to, and no
// offset is committed to the broker: where to go on is part of the dataset version, so a version
// says exactly which messages it holds.
#include <librdkafka/rdkafkacpp.h>

#include <fstream>

#include "base/clock.h"
#include "base/json.h"
#include "data/spool_internal.h"

namespace slipway::data::duck {

namespace fs = std::filesystem;

namespace {

constexpr int kAskMillis = 10'000;  // for metadata and watermarks
constexpr int kPollMillis = 100;

struct Partition {
  std::int64_t next = 0;  // to be read
  std::int64_t end = 0;   // what was there when the read began
};

Error kafka_error(const KafkaTopic& topic, std::string_view doing, RdKafka::ErrorCode code) {
  const auto message = fmt::format("kafka://{}/{}: cannot {}: {}", topic.brokers, topic.topic,
                                   doing, RdKafka::err2str(code));
  if (code == RdKafka::ERR_UNKNOWN_TOPIC_OR_PART || code == RdKafka::ERR__UNKNOWN_TOPIC)
    return not_found(message);
  if (code == RdKafka::ERR_TOPIC_AUTHORIZATION_FAILED || code == RdKafka::ERR__AUTHENTICATION)
    return permission_denied(message);
  return unavailable(message);
}

Result<std::unique_ptr<RdKafka::KafkaConsumer>> open_consumer(const KafkaTopic& topic) {
  const std::unique_ptr<RdKafka::Conf> conf(RdKafka::Conf::create(RdKafka::Conf::CONF_GLOBAL));
  std::map<std::string, std::string> settings = {
      {"bootstrap.servers", topic.brokers},    {"group.id", "slipway"},
      {"enable.auto.commit", "false"},         {"enable.auto.offset.store", "false"},
      {"auto.offset.reset", "error"},  // a message that is gone is told, not skipped
      {"enable.partition.eof", "true"},        {"isolation.level", "read_committed"},
      {"queued.max.messages.kbytes", "65536"}, {"log_level", "0"}};
  for (const auto& [key, value] : topic.settings) settings[key] = value;
  std::string problem;
  for (const auto& [key, value] : settings) {
    if (conf->set(key, value, problem) != RdKafka::Conf::CONF_OK)
      return invalid_argument(fmt::format("Kafka's setting {}: {}", key, problem));
  }
  std::unique_ptr<RdKafka::KafkaConsumer> consumer(
      RdKafka::KafkaConsumer::create(conf.get(), problem));
  if (!consumer) return invalid_argument("cannot make a Kafka consumer: " + problem);
  return consumer;
}

Result<std::map<std::int32_t, Partition>> partitions_to_read(RdKafka::KafkaConsumer& consumer,
                                                             const KafkaTopic& topic) {
  std::string problem;
  const std::unique_ptr<RdKafka::Topic> handle(
      RdKafka::Topic::create(&consumer, topic.topic, nullptr, problem));
  if (!handle) return invalid_argument("topic '" + topic.topic + "': " + problem);
  RdKafka::Metadata* asked = nullptr;
  const auto answered = consumer.metadata(false, handle.get(), &asked, kAskMillis);
  const std::unique_ptr<RdKafka::Metadata> metadata(asked);
  if (answered != RdKafka::ERR_NO_ERROR) return kafka_error(topic, "reach the brokers", answered);
  std::map<std::int32_t, Partition> partitions;
  for (const auto* each : *metadata->topics()) {
    if (each->err() != RdKafka::ERR_NO_ERROR)
      return kafka_error(topic, "find the topic", each->err());
    for (const auto* one : *each->partitions()) {
      Partition partition;
      std::int64_t low = 0;
      const auto code = consumer.query_watermark_offsets(topic.topic, one->id(), &low,
                                                         &partition.end, kAskMillis);
      if (code != RdKafka::ERR_NO_ERROR) return kafka_error(topic, "ask for offsets", code);
      const auto from = topic.offsets.find(std::to_string(one->id()));
      partition.next = from == topic.offsets.end() ? low : from->second;
      if (partition.next < low) {
        return failed_precondition(fmt::format(
            "kafka://{}/{}: partition {} goes on at offset {}, but its first message is {}: "
            "{} messages were dropped by the broker's retention before they were read",
            topic.brokers, topic.topic, one->id(), partition.next, low, low - partition.next));
      }
      partitions[one->id()] = partition;
    }
  }
  return partitions;
}

Result<std::string> line_of(const KafkaTopic& topic, const RdKafka::Message& message) {
  const std::string_view payload(static_cast<const char*>(message.payload()), message.len());
  Json json = Json::parse(payload, nullptr, false);
  if (!json.is_object()) {
    return invalid_argument(fmt::format(
        "kafka://{}/{}: partition {}, offset {}: the message is not a JSON object: {}",
        topic.brokers, topic.topic, message.partition(), message.offset(), payload.substr(0, 80)));
  }
  json["_partition"] = message.partition();
  json["_offset"] = message.offset();
  json["_time"] = format_time(from_millis(message.timestamp().timestamp));
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

Result<KafkaSpool> spool_kafka(const Context& ctx, const KafkaTopic& topic,
                               const fs::path& folder) {
  auto consumer = open_consumer(topic);
  if (!consumer) return consumer.error();
  auto partitions = partitions_to_read(**consumer, topic);
  if (!partitions) return partitions.error();
  KafkaSpool spool;
  std::vector<std::unique_ptr<RdKafka::TopicPartition>> owned;
  std::vector<RdKafka::TopicPartition*> assigned;
  for (const auto& [id, partition] : *partitions) {
    spool.offsets[std::to_string(id)] = partition.end;
    if (partition.next >= partition.end) continue;
    owned.emplace_back(RdKafka::TopicPartition::create(topic.topic, id, partition.next));
    assigned.push_back(owned.back().get());
  }
  spool.file = folder / fmt::format("kafka-{}.jsonl", topic.topic);
  if (const auto code = (*consumer)->assign(assigned); code != RdKafka::ERR_NO_ERROR)
    return kafka_error(topic, "read", code);
  const auto patience = std::chrono::milliseconds(topic.timeout).count() / kPollMillis;
  std::int64_t idle = 0;  // polls in a row without a message
  std::size_t open = assigned.size();
  // A partition's messages lie together in the file, so the same messages give the same bytes.
  std::map<std::int32_t, std::ofstream> parts;
  const auto part_file = [&](std::int32_t id) {
    return fs::path(spool.file.string() + "." + std::to_string(id));
  };
  while (open > 0) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    const std::unique_ptr<RdKafka::Message> message((*consumer)->consume(kPollMillis));
    if (message->err() == RdKafka::ERR__TIMED_OUT) {
      if (++idle > patience) return kafka_error(topic, "read on", RdKafka::ERR__TIMED_OUT);
      continue;
    }
    const bool at_end = message->err() == RdKafka::ERR__PARTITION_EOF;
    if (!at_end && message->err() != RdKafka::ERR_NO_ERROR)
      return kafka_error(topic, "read", message->err());
    idle = 0;
    auto& partition = (*partitions)[message->partition()];
    if (partition.next >= partition.end) continue;
    if (at_end) {  // what is left are markers of transactions
      partition.next = partition.end;
      --open;
      continue;
    }
    partition.next = message->offset() + 1;
    if (message->offset() < partition.end) {
      const auto line = line_of(topic, *message);
      if (!line) return line.error();
      auto& part = parts[message->partition()];
      if (!part.is_open()) part.open(part_file(message->partition()), std::ios::binary);
      part << *line;
      ++spool.messages;
    }
    if (partition.next >= partition.end) --open;
  }
  (*consumer)->close();
  std::ofstream out(spool.file, std::ios::binary);
  for (auto& [id, part] : parts) {
    part.close();
    out << std::ifstream(part_file(id), std::ios::binary).rdbuf();
    fs::remove(part_file(id));
  }
  out.close();
  if (!out) return storage_full("cannot write '" + spool.file.string() + "'");
  if (spool.messages == 0) {
    return failed_precondition(fmt::format("kafka://{}/{}: there is no {}message", topic.brokers,
                                           topic.topic, topic.offsets.empty() ? "" : "new "));
  }
  return spool;
}

}  // namespace slipway::data::duck
