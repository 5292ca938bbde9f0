// The write-ahead files of the prediction log, as bytes.
//   file    "SLIPWAL1", then records
//   record  length u32, CRC-32 of the payload u32, payload
//   payload 1: a stream: id u32, JSON {"deployment","role","schema"}; comes before the first batch
//   that names it
//           2: a batch: stream u32, time i64, version i64, latency_us i64, rows u32, alias, per row
//           id, per row score f64,
//              then per input column a bitmap of present values and the present values in order
//           3: a batch, as 2, with caller and trace (texts) behind the alias, and behind the scores
//              per row the hash of its inputs u64 and its other outputs as JSON (a text, or empty)
// Numbers are little-endian; texts are a u32 length and bytes.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "data/table.h"
#include "serving/prediction_log.h"

namespace slipway::serving::wal {

inline constexpr std::string_view kMagic = "SLIPWAL1";
inline constexpr std::size_t kRecordHeader = 8;

// What the rows of one deployment, role and input schema have in common.
struct Stream {
  std::string deployment;
  Role role = Role::primary;
  data::Schema inputs;
  bool operator==(const Stream&) const = default;
};

// Whole records, to be written as they are.
std::string encode_stream(std::uint32_t id, const Stream& stream);
std::string encode_batch(std::uint32_t stream, const PredictionBatch& batch);

// What stands before the rows of a batch.
struct BatchHead {
  std::uint32_t stream = 0;
  Time time;
  std::int64_t version = 0;
  std::int64_t latency_us = 0;
  std::uint32_t rows = 0;
  std::string_view alias;
  bool extended = false;  // kind 3
  std::string_view caller;
  std::string_view trace;
};

enum class Kind : std::uint8_t { stream = 1, plain_batch = 2, batch = 3 };

// Reads one payload front to back; every read fails (and so do all later ones) where the bytes end
// early.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  bool ok() const { return ok_; }
  std::uint8_t u8();
  std::uint32_t u32();
  std::int64_t i64();
  double f64();
  std::string_view text();
  std::string_view raw(std::size_t count);
  std::string_view rest() { return raw(bytes_.size()); }
  BatchHead batch_head(Kind kind);  // after the kind

 private:
  std::string_view bytes_;
  bool ok_ = true;
};

// The columns of a stream's rows: the seven of every row, the inputs, and the four of
// PredictionLog::kTraceColumns (see PredictionLog::read).
data::Schema log_schema(const data::Schema& inputs);
// Stable: over the row's values, absent ones too, in the order of the columns.
std::uint64_t hash_of_row(const data::Batch& inputs, std::int64_t row);
// Appends the rows of a batch, whose head was read, to a builder of log_schema(stream.inputs).
Result<void> append_rows(Reader& reader, const BatchHead& head, const Stream& stream,
                         data::BatchBuilder& into);

// The sound records of a file's bytes, one by one. A record that is cut short, or whose checksum is
// wrong, ends the walk.
class Walk {
 public:
  explicit Walk(std::string_view file);
  struct Record {
    std::size_t offset;  // of its header
    Kind kind;
    Reader reader;  // behind the kind
  };
  std::optional<Record> next();
  // Bytes of the sound prefix so far.
  std::size_t end() const { return end_; }
  // After the walk ended before the file did: whether the bytes at end() are a whole record whose
  // checksum is wrong with more behind it, and so not just an unfinished write.
  bool damaged() const { return damaged_; }

 private:
  std::string_view file_;
  std::size_t end_ = 0;
  bool damaged_ = false;
};

// The stream that a record of kind stream defines.
Result<std::pair<std::uint32_t, Stream>> decode_stream(Reader reader);

}  // namespace slipway::serving::wal
