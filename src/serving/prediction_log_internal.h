// The state of an open prediction log. Two locks: queue_mutex (what waits for the writer) before
// catalogue (what is on the disk); the sealer's lock is taken with neither held.
#pragma once
#include <condition_variable>
#include <deque>
#include <future>
#include <map>
#include <mutex>
#include <set>
#include <shared_mutex>
#include <thread>
#include <unordered_set>

#include "base/file.h"
#include "serving/prediction_log.h"
#include "serving/segments_internal.h"
#include "serving/wal_file_internal.h"

namespace slipway::serving {

// An append on its way to the disk.
struct Item {
  std::string record;
  wal::BatchHead head;                  // alias not set
  std::vector<std::uint64_t> hashes{};  // of primary ids
  PredictionLog::Done done;
  bool durable = true;
};

struct PredictionLog::Impl {
  struct Deployment {
    std::vector<Segment> segments;  // in the order they were sealed
  };

  Impl(std::filesystem::path folder, PredictionLogOptions settings)
      : root(std::move(folder)), options(settings) {}
  ~Impl();

  std::filesystem::path wal_folder() const { return root / ".wal"; }
  Result<void> load();
  Result<void> load_segments(const std::set<std::int64_t>& unsealed);
  Result<void> start_file();
  void start_threads();
  bool full(const WalFile& file) const;

  // Under queue_mutex. Either all ids of the batch become taken or none.
  std::uint32_t stream_id(const PredictionBatch& batch);
  Result<void> reserve(const PredictionBatch& batch, const std::vector<std::uint64_t>& hashes);
  // Under catalogue.
  bool known(std::uint64_t hash) const;

  void write_loop();
  // Waits for work; takes what there is. False: stop.
  bool next_group(std::vector<Item>& group, std::vector<std::promise<std::int64_t>>& asked);
  void sync_late();
  void write_group(std::vector<Item>& group);
  wal::Stream stream_of(std::uint32_t id);
  void rotate_file();

  std::int64_t wake_sealer();  // the number of the request
  void seal_loop();
  Result<void> seal_full_files();
  Result<void> seal_file(const WalFile& file);

  // Calls visit(stream's id, stream, batch's head, reader behind the head) for each committed batch
  // of a file.
  using Visit = std::function<Result<void>(std::uint32_t, const wal::Stream&, const wal::BatchHead&,
                                           wal::Reader&)>;
  Result<void> each_batch(const WalFile& file, const Visit& visit) const;
  Result<data::TablePtr> read(std::string_view deployment, Time from, Time to,
                              const ReadOptions& read_options) const;
  Result<Prediction> find(std::string_view id) const;

  const std::filesystem::path root;
  const PredictionLogOptions options;
  std::optional<FileLock> lock;

  std::mutex queue_mutex;
  std::condition_variable work;
  std::vector<Item> queue;
  std::int64_t queued_bytes = 0;
  bool hurry = false;  // somebody waits for the disk, or much is queued: no lingering
  std::int64_t dropped_rows = 0;
  std::unordered_set<std::uint64_t>
      reserved;  // hashes of primary ids in the queue or being written
  std::vector<std::pair<std::uint32_t, wal::Stream>> stream_ids;
  std::uint32_t next_stream = 1;
  std::vector<std::promise<std::int64_t>>
      rotations;  // asked for by seal(); answered with the seal request to wait for
  bool stopping = false;

  mutable std::shared_mutex catalogue;
  std::map<std::string, Deployment, std::less<>> deployments;
  std::deque<std::shared_ptr<WalFile>> files;  // the last one is appended to
  std::shared_ptr<WalFile> active;             // files.back(), for the writer alone
  std::int64_t last_number = 0;                // writer only
  bool failing = false;                        // writer only: the last group failed
  // Writer only: since when bytes wait for an fdatasync that nobody waits for.
  std::optional<std::chrono::steady_clock::time_point> unsynced_since;
  PredictionLogStats stats;

  std::mutex seal_mutex;
  std::condition_variable seal_work;
  std::condition_variable seal_finished;
  std::int64_t seal_requests = 0;
  std::int64_t seals_done = 0;
  std::int64_t stats_seal_failures = 0;
  Result<void> seal_outcome;
  bool seal_stopping = false;

  std::thread writer;
  std::thread sealer;
};

}  // namespace slipway::serving
