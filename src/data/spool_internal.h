// Sources that DuckDB does not read itself, written into files that it does: standard input, Arrow
// IPC, Kafka. Bounded memory; the files belong to the engine's own folder and go with it. Private
// to this folder.
#pragma once
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "base/context.h"
#include "base/result.h"
#include "data/source.h"

namespace slipway::data::duck {

// Everything that can be read from `fd`, as a file whose ending says how it is packed.
Result<std::filesystem::path> spool_input(const Context& ctx, int fd, const Source& source,
                                          const std::filesystem::path& folder);

// An Arrow IPC file or stream as Parquet.
Result<std::filesystem::path> spool_arrow(const Context& ctx, const std::filesystem::path& file,
                                          const std::filesystem::path& folder);

// resource_exhausted for a gzip or zstd file that begins as a bomb does: very little that unpacks
// to very much. Files that are not packed pass.
Result<void> check_packed(const std::filesystem::path& file);

// invalid_argument for a CSV file with a line near its beginning that is longer than the reader
// takes: it would look through all of it, again and again. Packed files pass.
Result<void> check_lines(const std::filesystem::path& file);

struct KafkaTopic {
  std::string brokers;  // host:port, comma-separated
  std::string topic;
  std::map<std::string, std::string> settings;  // of librdkafka
  std::map<std::string, std::int64_t> offsets;  // of partitions, where to begin; others at 0
  std::chrono::seconds timeout{30};             // without a message while some are due
};
struct KafkaSpool {
  std::filesystem::path file;  // a JSON object a line, with _partition, _offset and _time
  std::map<std::string, std::int64_t> offsets;  // where to begin next time
  std::int64_t messages = 0;
};
// The messages that are in the topic now, by partition and offset. Each is one JSON object.
Result<KafkaSpool> spool_kafka(const Context& ctx, const KafkaTopic& topic,
                               const std::filesystem::path& folder);

}  // namespace slipway::data::duck
