#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "serving/segments_internal.h"
#include "serving/wal_file_internal.h"

namespace slipway::serving {
namespace {

namespace fs = std::filesystem;

Result<void> write_all(int fd, std::string_view bytes, std::int64_t offset, const fs::path& path) {
  while (!bytes.empty()) {
    const auto written = ::pwrite(fd, bytes.data(), bytes.size(), offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno_error(errno, "cannot write predictions", path);
    bytes.remove_prefix(static_cast<std::size_t>(written));
    offset += written;
  }
  return {};
}

Result<std::string> read_range(int fd, std::int64_t offset, std::int64_t count,
                               const fs::path& path) {
  std::string bytes(static_cast<std::size_t>(count), '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const auto got = ::pread(fd, bytes.data() + have, bytes.size() - have,
                             offset + static_cast<std::int64_t>(have));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "cannot read predictions", path);
    if (got == 0)
      return data_loss(fmt::format("'{}' is shorter than what was written to it", path.string()));
    have += static_cast<std::size_t>(got);
  }
  return bytes;
}

}  // namespace

fs::path WalFile::path_in(const fs::path& folder, std::int64_t number) {
  return folder / fmt::format("{:08}.wal", number);
}

std::optional<std::int64_t> WalFile::number_of(const fs::path& path) {
  if (path.extension() != ".wal") return std::nullopt;
  const std::string stem = path.stem().string();
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(stem.data(), stem.data() + stem.size(), number);
  if (error != std::errc() || end != stem.data() + stem.size() || number <= 0) return std::nullopt;
  return number;
}

Result<std::shared_ptr<WalFile>> WalFile::create(const fs::path& folder, std::int64_t number) {
  const fs::path path = path_in(folder, number);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return errno_error(errno, "cannot create the prediction log's file", path);
  std::shared_ptr<WalFile> file(new WalFile(path, number, fd));
  if (auto written = file->append(wal::kMagic, true); !written) return written.error();
  if (auto synced = fsync_path(folder); !synced) return synced.error();
  return file;
}

Result<WalFile::Opened> WalFile::open(const fs::path& folder, std::int64_t number, bool repair) {
  const fs::path path = path_in(folder, number);
  const int fd = ::open(path.c_str(), (repair ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0) return errno_error(errno, "cannot open the prediction log's file", path);
  Opened opened{.file = std::shared_ptr<WalFile>(new WalFile(path, number, fd))};
  struct stat status{};
  if (::fstat(fd, &status) != 0) return errno_error(errno, "cannot read predictions", path);
  auto bytes = read_range(fd, 0, status.st_size, path);
  if (!bytes) return bytes.error();

  bool damaged = false;
  auto end = opened.file->index(*bytes, damaged);
  if (!end) return end.error();
  const std::string_view rest = std::string_view(*bytes).substr(*end);
  (damaged ? opened.damaged_bytes : opened.torn_bytes) = static_cast<std::int64_t>(rest.size());
  if (repair && damaged) {
    if (auto kept = write_file_atomic(fs::path(path).concat(".damaged"), rest); !kept)
      return kept.error();
  }
  if (repair && (!rest.empty() || *end == 0)) {
    if (::ftruncate(fd, static_cast<off_t>(*end)) != 0)
      return errno_error(errno, "cannot mend predictions", path);
    if (*end == 0) {  // killed while it was created
      if (auto written = opened.file->append(wal::kMagic, true); !written) return written.error();
    } else if (::fdatasync(fd) != 0) {
      return errno_error(errno, "cannot mend predictions", path);
    }
  }
  return opened;
}

WalFile::~WalFile() { ::close(fd_); }

Result<std::size_t> WalFile::index(std::string_view bytes, bool& damaged) {
  wal::Walk walk(bytes);
  std::vector<std::uint64_t> hashes;
  while (auto record = walk.next()) {
    if (record->kind == wal::Kind::stream) {
      auto stream = wal::decode_stream(record->reader);
      if (!stream) return stream.error().at(path_.string());
      streams.insert(std::move(*stream));
    } else if (record->kind == wal::Kind::batch || record->kind == wal::Kind::plain_batch) {
      const wal::BatchHead head = record->reader.batch_head(record->kind);
      hashes.clear();
      for (std::uint32_t row = 0; row < head.rows && record->reader.ok(); ++row) {
        hashes.push_back(id_hash(record->reader.text()));
      }
      if (!record->reader.ok() || !streams.contains(head.stream)) {
        return data_loss(
            fmt::format("'{}' holds a malformed batch at byte {}", path_.string(), record->offset));
      }
      note(head, static_cast<std::int64_t>(record->offset), hashes);
    } else {
      return failed_precondition(fmt::format("'{}' was written by a newer slipway (record kind {})",
                                             path_.string(), static_cast<int>(record->kind)));
    }
  }
  damaged = walk.damaged();
  committed_.store(static_cast<std::int64_t>(walk.end()), std::memory_order_release);
  return walk.end();
}

void WalFile::note(const wal::BatchHead& head, std::int64_t offset,
                   const std::vector<std::uint64_t>& hashes) {
  rows += head.rows;
  Counts& count = counts[head.stream];
  count.rows += head.rows;
  count.first = std::min(count.first, head.time);
  count.last = std::max(count.last, head.time);
  if (streams.at(head.stream).role == Role::primary) {
    for (const std::uint64_t hash : hashes) offsets.emplace(hash, offset);
  }
}

Result<void> WalFile::append(std::string_view records, bool durable) {
  const std::int64_t before = bytes();
  auto written = write_all(fd_, records, before, path_);
  if (written && durable && ::fdatasync(fd_) != 0)
    written = errno_error(errno, "cannot make predictions durable", path_);
  if (!written) {
    // What was written in part must not be found at the next start.
    if (::ftruncate(fd_, static_cast<off_t>(before)) != 0) {
      return Error{written.error().code,
                   written.error().message + "; and the unfinished write could not be cut"};
    }
    return written.error();
  }
  committed_.store(before + static_cast<std::int64_t>(records.size()), std::memory_order_release);
  return {};
}

Result<void> WalFile::sync() {
  if (::fdatasync(fd_) != 0) return errno_error(errno, "cannot make predictions durable", path_);
  return {};
}

Result<WalFile::Mapping> WalFile::map() const {
  const auto size = static_cast<std::size_t>(bytes());
  void* mapped = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, fd_, 0);
  if (mapped == MAP_FAILED) return errno_error(errno, "cannot map predictions", path_);
  return Mapping(mapped, size);
}

WalFile::Mapping::~Mapping() {
  if (bytes_ != nullptr) ::munmap(bytes_, size_);
}

Result<std::string> WalFile::read_record(std::int64_t offset) const {
  auto header = read_range(fd_, offset, wal::kRecordHeader, path_);
  if (!header) return header.error();
  const std::uint32_t length = wal::Reader(*header).u32();
  if (offset + static_cast<std::int64_t>(wal::kRecordHeader + length) > bytes()) {
    return data_loss(
        fmt::format("'{}' holds a malformed record at byte {}", path_.string(), offset));
  }
  return read_range(fd_, offset + static_cast<std::int64_t>(wal::kRecordHeader), length, path_);
}

}  // namespace slipway::serving
