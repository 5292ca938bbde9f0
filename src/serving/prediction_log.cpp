#include "serving/prediction_log.h"

#include <arrow/table.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "serving/prediction_log_internal.h"

namespace slipway::serving {

namespace fs = std::filesystem;

namespace {
// So much is written at once, whoever waits.
constexpr std::int64_t kHurryBytes = std::int64_t{1} << 20;
}  // namespace

std::string_view to_string(Role role) { return role == Role::primary ? "primary" : "shadow"; }

// ---- opening
// --------------------------------------------------------------------------------------------------------

Result<void> PredictionLog::Impl::load() {
  if (!options.read_only) {
    if (auto made = make_dirs(wal_folder()); !made) return made;
    auto acquired =
        FileLock::acquire(root / ".lock", fmt::format("the prediction log in '{}'", root.string()));
    if (!acquired) return acquired.error();
    lock.emplace(std::move(*acquired));
  }
  std::error_code error;
  std::set<std::int64_t> numbers;
  for (const auto& entry : fs::directory_iterator(wal_folder(), error)) {
    if (const auto number = WalFile::number_of(entry.path())) numbers.insert(*number);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return errno_error(error.value(), "cannot list the prediction log", wal_folder());
  }
  if (auto loaded = load_segments(numbers); !loaded) return loaded;
  for (const std::int64_t number : numbers) {
    auto opened = WalFile::open(wal_folder(), number, !options.read_only);
    if (!opened) return opened.error();
    stats.torn_bytes += opened->torn_bytes;
    stats.damaged_bytes += opened->damaged_bytes;
    if (opened->torn_bytes > 0) {
      log::warn("unfinished write cut from the prediction log",
                {{"file", opened->file->path().string()}, {"bytes", opened->torn_bytes}});
    }
    if (opened->damaged_bytes > 0) {
      log::error(
          "damaged end of the prediction log set aside",
          {{"file", opened->file->path().string() + ".damaged"}, {"bytes", opened->damaged_bytes}});
    }
    for (const auto& [id, stream] : opened->file->streams)
      next_stream = std::max(next_stream, id + 1);
    files.push_back(std::move(opened->file));
    last_number = std::max(last_number, number);
  }
  if (options.read_only) return {};
  if (files.empty() || full(*files.back())) return start_file();
  active = files.back();
  for (const auto& [id, stream] : files.back()->streams) stream_ids.push_back({id, stream});
  return {};
}

// Segments of a number whose write-ahead file is still there are leftovers of a seal that did not
// finish.
Result<void> PredictionLog::Impl::load_segments(const std::set<std::int64_t>& unsealed) {
  std::error_code error;
  for (const auto& folder : fs::directory_iterator(root, error)) {
    if (!folder.is_directory() || folder.path().filename().string().starts_with(".")) continue;
    Deployment& deployment = deployments[folder.path().filename().string()];
    std::vector<fs::path> leftovers;
    for (const auto& entry : fs::directory_iterator(folder.path(), error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with(".") && name.ends_with(".tmp")) leftovers.push_back(entry.path());
      auto segment = parse_segment(entry.path());
      if (!segment) continue;
      last_number = std::max(last_number, segment->file_number);
      if (unsealed.contains(segment->file_number)) {
        leftovers.push_back(entry.path());
        leftovers.push_back(fs::path(entry.path()).replace_extension(".ids"));
        continue;
      }
      if (auto opened = open_ids(*segment, !options.read_only); !opened) return opened;
      deployment.segments.push_back(std::move(*segment));
    }
    if (!options.read_only) {
      for (const auto& path : leftovers) fs::remove(path, error);
    }
    std::ranges::sort(deployment.segments, {},
                      [](const Segment& s) { return std::pair(s.file_number, s.part); });
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return errno_error(error.value(), "cannot list the prediction log", root);
  }
  return {};
}

Result<void> PredictionLog::Impl::start_file() {
  auto file = WalFile::create(wal_folder(), last_number + 1);
  if (!file) return file.error();
  ++last_number;
  const std::unique_lock guard(catalogue);
  active = std::move(*file);
  files.push_back(active);
  return {};
}

bool PredictionLog::Impl::full(const WalFile& file) const {
  return file.rows >= options.seal_rows || file.bytes() >= options.seal_bytes;
}

// ---- appending
// ------------------------------------------------------------------------------------------------------

std::uint32_t PredictionLog::Impl::stream_id(const PredictionBatch& batch) {
  static const data::Schema kNoInputs;
  const data::Schema& inputs = batch.inputs != nullptr ? *batch.inputs->schema : kNoInputs;
  for (const auto& [id, stream] : stream_ids) {
    if (stream.role == batch.role && stream.deployment == batch.deployment &&
        stream.inputs == inputs)
      return id;
  }
  stream_ids.push_back(
      {next_stream,
       {.deployment = std::string(batch.deployment), .role = batch.role, .inputs = inputs}});
  return next_stream++;
}

bool PredictionLog::Impl::known(std::uint64_t hash) const {
  for (const auto& file : files) {
    if (file->offsets.contains(hash)) return true;
  }
  for (const auto& [name, deployment] : deployments) {
    for (const auto& segment : deployment.segments) {
      if (segment.ids != nullptr && segment.ids->contains(hash)) return true;
    }
  }
  return false;
}

namespace {

Result<void> check(const PredictionBatch& batch) {
  if (batch.deployment.empty() || batch.deployment.front() == '.' ||
      batch.deployment.find_first_of("/\\") != std::string_view::npos) {
    return invalid_argument(
        fmt::format("'{}' cannot name a deployment's folder", batch.deployment));
  }
  if (batch.ids.empty() || batch.ids.size() != batch.scores.size()) {
    return invalid_argument(
        fmt::format("a logged batch has {} ids and {} scores, wanted one of each per row",
                    batch.ids.size(), batch.scores.size()));
  }
  if (batch.inputs == nullptr) return {};
  if (batch.inputs->rows != static_cast<std::int64_t>(batch.ids.size()) ||
      batch.inputs->columns.size() != batch.inputs->schema->fields.size()) {
    return invalid_argument(fmt::format("a logged batch has {} ids but inputs of {} rows",
                                        batch.ids.size(), batch.inputs->rows));
  }
  return {};
}

}  // namespace

Result<void> PredictionLog::append(const PredictionBatch& batch, Done done) {
  Impl& impl = *impl_;
  if (impl.options.read_only)
    return failed_precondition("this prediction log was opened for reading only");
  if (auto sound = check(batch); !sound) return sound;
  Item item{.head = {.time = batch.time,
                     .version = batch.version,
                     .latency_us = batch.latency_us,
                     .rows = static_cast<std::uint32_t>(batch.ids.size()),
                     .alias = {}},
            .done = {},
            .durable = batch.durable};
  if (batch.durable) item.done = std::move(done);
  if (batch.role == Role::primary) {
    item.hashes.reserve(batch.ids.size());
    for (const auto& id : batch.ids) item.hashes.push_back(id_hash(id));
  }
  {
    const std::unique_lock guard(impl.queue_mutex);
    if (impl.queued_bytes > impl.options.max_queued_bytes) {
      if (batch.durable) {
        return resource_exhausted(
            "the disk does not keep up with the prediction log; send fewer requests at once");
      }
      impl.dropped_rows += static_cast<std::int64_t>(batch.ids.size());
      item.head.rows = 0;
    } else {
      if (auto reserved = impl.reserve(batch, item.hashes); !reserved) return reserved;
      item.head.stream = impl.stream_id(batch);
    }
  }
  if (item.head.rows > 0) {
    item.record = wal::encode_batch(item.head.stream, batch);
    const std::unique_lock guard(impl.queue_mutex);
    impl.queued_bytes += static_cast<std::int64_t>(item.record.size());
    const bool hurry = batch.durable || impl.queued_bytes > kHurryBytes;
    const bool wake = impl.queue.empty() || (hurry && !impl.hurry);
    impl.hurry = impl.hurry || hurry;
    impl.queue.push_back(std::move(item));
    if (wake) impl.work.notify_one();
  }
  if (!batch.durable && done) done({});
  return {};
}

Result<void> PredictionLog::Impl::reserve(const PredictionBatch& batch,
                                          const std::vector<std::uint64_t>& hashes) {
  std::size_t row = 0;
  {
    const std::shared_lock guard(catalogue);
    while (row < hashes.size() && (batch.new_ids || !known(hashes[row])) &&
           reserved.insert(hashes[row]).second)
      ++row;
  }
  if (row == hashes.size()) return {};
  for (std::size_t i = 0; i < row; ++i) reserved.erase(hashes[i]);
  return already_exists(fmt::format(
      "prediction id '{}' was used before: give each request an id of its own, or none to get one",
      batch.ids[row]));
}

Result<void> PredictionLog::append(const PredictionBatch& batch) {
  std::promise<Result<void>> promise;
  auto outcome = promise.get_future();
  if (auto taken =
          append(batch, [&](Result<void> result) { promise.set_value(std::move(result)); });
      !taken) {
    return taken;
  }
  return outcome.get();
}

bool PredictionLog::Impl::next_group(std::vector<Item>& group,
                                     std::vector<std::promise<std::int64_t>>& asked) {
  std::unique_lock guard(queue_mutex);
  const auto wanted = [&] { return !queue.empty() || !rotations.empty() || stopping; };
  if (unsynced_since) {
    work.wait_until(guard, *unsynced_since + kSyncEvery, wanted);
  } else {
    work.wait(guard, wanted);
  }
  // Nobody waits for these: more will come, and one write takes them all.
  if (!queue.empty())
    work.wait_for(guard, kLinger, [&] { return hurry || !rotations.empty() || stopping; });
  if (queue.empty() && rotations.empty() && stopping) return false;
  group.swap(queue);
  asked.swap(rotations);
  queued_bytes = 0;
  hurry = false;
  return true;
}

void PredictionLog::Impl::write_loop() {
  std::vector<Item> group;
  std::vector<std::promise<std::int64_t>> asked;
  while (next_group(group, asked)) {
    if (!group.empty()) write_group(group);
    group.clear();
    if (full(*active) || (!asked.empty() && active->rows > 0)) rotate_file();
    if (!asked.empty()) {
      const std::int64_t request = wake_sealer();
      for (auto& promise : asked) promise.set_value(request);
      asked.clear();
    }
    if (unsynced_since && std::chrono::steady_clock::now() - *unsynced_since >= kSyncEvery)
      sync_late();
  }
  if (unsynced_since) sync_late();
}

void PredictionLog::Impl::sync_late() {
  unsynced_since.reset();
  if (!options.durable) return;
  if (auto synced = active->sync(); !synced)
    log::error("predictions that were answered may be lost", {{"error", synced.error().message}});
}

void PredictionLog::Impl::write_group(std::vector<Item>& group) {
  WalFile& file = *active;
  std::string bytes;
  std::map<std::uint32_t, wal::Stream> new_streams;
  std::vector<std::int64_t> offsets;
  offsets.reserve(group.size());
  for (const Item& item : group) {
    if (!file.streams.contains(item.head.stream) && !new_streams.contains(item.head.stream)) {
      const wal::Stream stream = stream_of(item.head.stream);
      bytes += wal::encode_stream(item.head.stream, stream);
      new_streams.emplace(item.head.stream, stream);
    }
    offsets.push_back(file.bytes() + static_cast<std::int64_t>(bytes.size()));
    bytes += item.record;
  }
  auto written = fault::point("predlog.before_append");
  const bool awaited = std::ranges::any_of(group, &Item::durable);
  if (written) written = file.append(bytes, options.durable && awaited);
  if (awaited) {
    unsynced_since.reset();  // its fdatasync was for all before it, too
  } else if (!unsynced_since) {
    unsynced_since = std::chrono::steady_clock::now();
  }
  // Only a kill means anything here: the group is on the disk.
  if (written) static_cast<void>(fault::point("predlog.after_append"));
  if (written) {
    const std::unique_lock guard(catalogue);
    file.streams.merge(new_streams);
    for (std::size_t i = 0; i < group.size(); ++i) {
      file.note(group[i].head, offsets[i], group[i].hashes);
      stats.appended_rows += group[i].head.rows;
    }
    ++stats.groups;
  } else if (!failing) {
    log::error("predictions cannot be logged; requests are refused meanwhile",
               {{"error", written.error().message}});
  }
  failing = !written;
  {
    const std::unique_lock guard(queue_mutex);
    if (!written) {
      for (const Item& item : group) dropped_rows += item.durable ? 0 : item.head.rows;
    }
    for (const Item& item : group) {
      for (const std::uint64_t hash : item.hashes) reserved.erase(hash);
    }
  }
  for (Item& item : group) {
    if (item.done) item.done(written);
  }
}

wal::Stream PredictionLog::Impl::stream_of(std::uint32_t id) {
  const std::unique_lock guard(queue_mutex);
  return std::ranges::find(stream_ids, id, [](const auto& known) { return known.first; })->second;
}

// ---- sealing
// --------------------------------------------------------------------------------------------------------

void PredictionLog::Impl::rotate_file() {
  if (unsynced_since) sync_late();
  if (auto started = start_file(); !started) {
    // The old file goes on; the next group tries again.
    log::error("no new prediction log file", {{"error", started.error().message}});
  }
  wake_sealer();
}

std::int64_t PredictionLog::Impl::wake_sealer() {
  const std::unique_lock guard(seal_mutex);
  seal_work.notify_all();
  return ++seal_requests;
}

void PredictionLog::Impl::seal_loop() {
  std::int64_t handled = 0;
  while (true) {
    {
      std::unique_lock guard(seal_mutex);
      seal_work.wait(guard, [&] { return seal_requests > handled || seal_stopping; });
      if (seal_stopping) return;
      handled = seal_requests;
    }
    auto sealed = seal_full_files();
    if (!sealed) {
      log::error("predictions could not be sealed; they stay in the write-ahead file",
                 {{"error", sealed.error().message}});
    }
    const std::unique_lock guard(seal_mutex);
    if (!sealed) ++stats_seal_failures;
    seal_outcome = sealed;
    seals_done = handled;
    seal_finished.notify_all();
  }
}

Result<void> PredictionLog::Impl::seal_full_files() {
  while (true) {
    std::shared_ptr<WalFile> file;
    {
      const std::shared_lock guard(catalogue);
      if (files.size() < 2) return {};
      file = files.front();
    }
    if (auto sealed = seal_file(*file); !sealed) return sealed;
  }
}

Result<void> PredictionLog::Impl::seal_file(const WalFile& file) {
  if (auto go = fault::point("predlog.before_seal"); !go) return go;
  std::map<std::uint32_t, std::pair<std::string, std::unique_ptr<SegmentWriter>>>
      writers;  // by stream
  auto written =
      each_batch(file,
                 [&](std::uint32_t id, const wal::Stream& stream, const wal::BatchHead& head,
                     wal::Reader& reader) -> Result<void> {
                   auto& [deployment, segment] = writers[id];
                   if (segment == nullptr) {
                     deployment = stream.deployment;
                     if (auto made = make_dirs(root / deployment); !made) return made;
                     auto created = SegmentWriter::create(
                         root / deployment, file.number(), static_cast<std::int64_t>(id),
                         stream.role, wal::log_schema(stream.inputs));
                     if (!created) return created.error();
                     segment = std::move(*created);
                   }
                   if (auto added = wal::append_rows(reader, head, stream, segment->rows()); !added)
                     return added;
                   return segment->flush();
                 });
  if (!written) return written;
  std::vector<std::pair<std::string, Segment>> sealed;
  for (auto& [id, writer_of] : writers) {
    auto& [deployment, segment_writer] = writer_of;
    auto segment = segment_writer->finish();
    if (!segment) return segment.error();
    sealed.emplace_back(deployment, std::move(*segment));
  }
  if (auto synced = fsync_path(root); !synced) return synced;
  if (auto go = fault::point("predlog.after_seal"); !go) return go;

  const fs::path path = file.path();
  {
    // From here on the segments count, in memory and on the disk.
    const std::unique_lock guard(catalogue);
    std::error_code error;
    if (!fs::remove(path, error))
      return errno_error(error.value(), "cannot remove the sealed file", path);
    for (auto& [deployment, segment] : sealed)
      deployments[deployment].segments.push_back(std::move(segment));
    stats.sealed_segments += static_cast<std::int64_t>(sealed.size());
    files.pop_front();
  }
  return fsync_path(wal_folder());
}

Result<std::int64_t> PredictionLog::remove_before(std::string_view deployment, Time time) {
  Impl& impl = *impl_;
  if (impl.options.read_only)
    return failed_precondition("this prediction log was opened for reading only");
  std::vector<Segment> gone;
  {
    const std::unique_lock guard(impl.catalogue);
    const auto found = impl.deployments.find(deployment);
    if (found == impl.deployments.end()) return 0;
    auto& kept = found->second.segments;
    const auto old = std::ranges::stable_partition(
        kept, [&](const Segment& segment) { return segment.last >= time; });
    gone.assign(old.begin(), old.end());
    kept.erase(old.begin(), old.end());
    for (const Segment& segment : gone) impl.stats.expired_rows += segment.rows;
  }
  // Readers that hold a segment keep its open file; a later open finds it gone.
  std::int64_t rows = 0;
  for (const Segment& segment : gone) {
    std::error_code error;
    fs::remove(segment.path, error);
    if (error) return errno_error(error.value(), "cannot remove old predictions", segment.path);
    fs::remove(fs::path(segment.path).replace_extension(".ids"), error);
    rows += segment.rows;
  }
  return rows;
}

Result<void> PredictionLog::seal() {
  Impl& impl = *impl_;
  if (impl.options.read_only)
    return failed_precondition("this prediction log was opened for reading only");
  std::future<std::int64_t> request;
  {
    const std::unique_lock guard(impl.queue_mutex);
    request = impl.rotations.emplace_back().get_future();
    impl.work.notify_one();
  }
  const std::int64_t number = request.get();
  std::unique_lock guard(impl.seal_mutex);
  impl.seal_finished.wait(guard, [&] { return impl.seals_done >= number; });
  return impl.seal_outcome;
}

// ---- life
// -----------------------------------------------------------------------------------------------------------

Result<std::unique_ptr<PredictionLog>> PredictionLog::open(const fs::path& root,
                                                           PredictionLogOptions options) {
  // A reader may see a file in the listing that the writing process seals and removes before it is
  // opened.
  for (int attempts_left = options.read_only ? 5 : 1;; --attempts_left) {
    auto impl = std::make_unique<Impl>(root, options);
    if (auto loaded = impl->load(); !loaded) {
      if (attempts_left > 1 && loaded.error().code == Code::not_found) continue;
      return loaded.error();
    }
    if (!options.read_only) impl->start_threads();
    return std::unique_ptr<PredictionLog>(new PredictionLog(std::move(impl)));
  }
}

PredictionLog::PredictionLog(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

PredictionLog::~PredictionLog() = default;

void PredictionLog::Impl::start_threads() {
  writer = std::thread([this] { write_loop(); });
  sealer = std::thread([this] { seal_loop(); });
  if (files.size() > 1) wake_sealer();
}

PredictionLog::Impl::~Impl() {
  if (!writer.joinable()) return;
  {
    const std::unique_lock guard(queue_mutex);
    stopping = true;
    work.notify_one();
  }
  writer.join();
  {
    const std::unique_lock guard(seal_mutex);
    seal_stopping = true;
    seal_work.notify_all();
  }
  sealer.join();
}

}  // namespace slipway::serving
