// The prediction log: every answer a deployment gave, durable before the caller sees it, readable
// as a table. An appended batch goes to a write-ahead file (one writer thread, one fdatasync for
// all that wait); a full file is sealed into Parquet, one segment per deployment and input schema.
// While a write-ahead file exists it is the truth and the segments with its number are ignored, so
// a crash at any point loses nothing acknowledged and doubles nothing.
//   auto log = PredictionLog::open(home / "predictions", {});
//   log->append({.deployment = "flights", .time = t, .ids = ids, .scores = scores, .inputs =
//   &batch}, done); auto week = log->read("flights", from, to);      // columns: see read()
// Thread-safe. append() never blocks on the disk; the rest does: call it from the worker pool.
#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/json.h"
#include "base/result.h"
#include "data/table.h"

namespace slipway::serving {

enum class Role : std::uint8_t { primary, shadow };
std::string_view to_string(Role role);

// The rows of one request as answered by one model version. Borrowed: append() copies what it
// needs.
struct PredictionBatch {
  std::string_view deployment;
  Time time;  // when the caller asked, by the deployment's clock
  std::int64_t version = 0;
  Role role = Role::primary;
  std::string_view alias;
  std::int64_t latency_us = 0;  // of the whole request
  bool new_ids = false;  // ids come straight from an IdSource: not looked up among the older ones
  std::span<const std::string> ids;     // one per row; primary ids are unique over the whole log
  std::span<const double> scores;       // one per row; NaN is stored as null
  const data::Batch* inputs = nullptr;  // primary only
  std::span<const double> values;       // [rows, width] of a model with more than one number a row
  std::string_view caller;              // who asked
  std::string_view trace;               // W3C traceparent of the request
  // One per row; empty: made from the inputs. For inputs that are logged other than they came.
  std::span<const std::uint64_t> input_hashes;
  // Acknowledged when it is on the disk, or (false) when it waits to be written: written within
  // kLinger, made durable within kSyncEvery; when the disk does not keep up it is dropped and
  // counted instead of refused.
  bool durable = true;
};

// One logged primary row.
struct Prediction {
  std::string deployment;
  std::string id;
  Time time;
  std::int64_t version = 0;
  std::string alias;
  std::int64_t latency_us = 0;
  std::optional<double> score;
  std::string caller;
  std::string trace;
  std::string inputs_hash;  // 16 hex digits
  std::string outputs;      // JSON list of a model with more than one number a row
  Json inputs = Json::object();
};

struct PredictionLogOptions {
  bool durable = true;                               // fdatasync before an append is acknowledged
  std::int64_t seal_rows = 65'536;                   // a write-ahead file is sealed at so many rows
  std::int64_t seal_bytes = std::int64_t{64} << 20;  // or so many bytes
  std::int64_t max_queued_bytes = std::int64_t{64}
                                  << 20;  // of appends the disk has not taken yet: more are refused
  bool read_only = false;  // beside another process that writes; sees what it had written at open
};

struct PredictionLogStats {
  std::int64_t appended_rows = 0;    // since open
  std::int64_t groups = 0;           // writes (and fdatasyncs) that took
  std::int64_t sealed_segments = 0;  // since open
  std::int64_t torn_bytes = 0;       // cut from unfinished writes at open
  std::int64_t damaged_bytes =
      0;  // set aside at open as "<file>.damaged": whole records with a wrong checksum
  std::int64_t seal_failures = 0;
  std::int64_t dropped_rows = 0;  // not durable ones that the disk did not take
  std::int64_t expired_rows = 0;  // removed by remove_before
};

class PredictionLog {
 public:
  // Creates the folder. failed_precondition when another process has it open for writing.
  static Result<std::unique_ptr<PredictionLog>> open(const std::filesystem::path& root,
                                                     PredictionLogOptions options);
  ~PredictionLog();  // everything appended is written first

  // Columns of every row that read() gives when asked for: who asked, the traceparent, the hash of
  // the inputs, and the outputs beside the score.
  static constexpr std::array<std::string_view, 4> kTraceColumns = {"_caller", "_trace",
                                                                    "_inputs_hash", "_outputs"};
  static constexpr std::chrono::milliseconds kLinger{20};
  static constexpr std::chrono::milliseconds kSyncEvery{1000};

  using Done = std::function<void(Result<void>)>;
  // Error: refused, nothing will be logged and done is not called (already_exists: an id was used
  // before; invalid_argument; resource_exhausted: the disk does not keep up). Else done is called
  // once, on the writer thread and in the order of the appends, when the batch is durable or has
  // failed; it must not block. done may be empty.
  Result<void> append(const PredictionBatch& batch, Done done);
  // Appends and waits.
  Result<void> append(const PredictionBatch& batch);

  struct ReadOptions {
    std::vector<std::string> columns;  // empty: all
    std::optional<Role> role;          // empty: both
    bool traces = false;               // kTraceColumns, too
  };
  // Rows with from <= time < to. Columns: id text, time timestamp,
  // version int64, role text
  // ("primary"|"shadow"), alias text, latency_us int64, score float64, then the inputs as named in
  // the signature (null in shadow rows and where a version did not have the column; an input that
  // bears one of the seven names is called "input.<name>"). An input whose type changed between
  // versions is read in its newest type, older values as null. not_found: the deployment has logged
  // nothing.
  Result<data::TablePtr> read(std::string_view deployment, Time from, Time to,
                              const ReadOptions& options) const;
  Result<data::TablePtr> read(std::string_view deployment, Time from, Time to) const {
    return read(deployment, from, to, ReadOptions{});
  }

  // The latest time of a primary row; nothing when there is none.
  std::optional<Time> watermark(std::string_view deployment) const;
  std::int64_t count(std::string_view deployment, Role role = Role::primary) const;
  std::vector<std::string> deployments() const;
  // Whether a primary row with this id exists (or is being written). Wrong with probability rows /
  // 2^64.
  bool contains(std::string_view id) const;
  Result<Prediction> find(std::string_view id) const;

  // Removes the sealed segments of a deployment whose rows are all older; the number of rows.
  Result<std::int64_t> remove_before(std::string_view deployment, Time time);

  // Seals what is in the write-ahead file now and waits for it.
  Result<void> seal();
  PredictionLogStats stats() const;

 private:
  struct Impl;
  explicit PredictionLog(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::serving
