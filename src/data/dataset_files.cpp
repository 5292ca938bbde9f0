// How the rows of a dataset version get into the blob store: row group by row group.
#include <fcntl.h>
#include <unistd.h>

#include <atomic>

#include "base/fault.h"
#include "base/file.h"
#include "base/guarded.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "blob/stream.h"
#include "data/datasets_internal.h"
#include "data/parquet_pieces_internal.h"
#include "data/source.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kPieceBuffer = std::size_t{1} << 20;

class OpenFile {
 public:
  explicit OpenFile(fs::path path)
      : path_(std::move(path)), fd_(::open(path_.c_str(), O_RDONLY | O_CLOEXEC)) {}
  OpenFile(const OpenFile&) = delete;
  ~OpenFile() {
    if (fd_ >= 0) ::close(fd_);
  }
  bool good() const { return fd_ >= 0; }
  const fs::path& path() const { return path_; }

  // Exactly `into.size()` bytes.
  Result<void> read_at(std::int64_t offset, std::span<char> into) const {
    while (!into.empty()) {
      const ssize_t got = ::pread(fd_, into.data(), into.size(), offset);
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) return errno_error(errno, "read", path_);
      if (got == 0) {
        return failed_precondition("'" + path_.string() + "' became shorter while it was read");
      }
      offset += got;
      into = into.subspan(static_cast<std::size_t>(got));
    }
    return {};
  }

 private:
  fs::path path_;
  int fd_;
};

// Calls `take` with the bytes of the file that the piece stands for, in order.
template <class Take>
Result<void> walk(const OpenFile& file, const ParquetPiece& piece, const Take& take) {
  if (auto taken = take(kParquetMark); !taken) return taken;
  std::string buffer(kPieceBuffer, '\0');
  for (std::int64_t at = piece.begin; at < piece.end;) {
    const auto size = std::min<std::int64_t>(piece.end - at, kPieceBuffer);
    const std::span<char> part(buffer.data(), static_cast<std::size_t>(size));
    if (auto read = file.read_at(at, part); !read) return read;
    if (auto taken = take(std::string_view(part.data(), part.size())); !taken) return taken;
    at += size;
  }
  return take(std::string_view(piece.footer));
}

Result<ManifestFile> store_piece(blob::Store& blobs, const OpenFile& file,
                                 const ParquetPiece& piece, const std::set<std::string>& known) {
  if (!known.empty()) {
    Sha256 hash;
    std::int64_t size = 0;
    auto walked = walk(file, piece, [&](std::string_view bytes) -> Result<void> {
      hash.update(bytes);
      size += static_cast<std::int64_t>(bytes.size());
      return {};
    });
    if (!walked) return walked.error();
    const auto digest = hash.finish_hex();
    // Only a sound copy counts; a damaged one is written again below.
    if (known.contains(digest) && blob::keep(blobs, digest))
      return ManifestFile{digest, size, piece.rows};
  }
  auto writer = blob::Writer::open(blobs);
  if (!writer) return writer.error();
  auto walked = walk(file, piece, [&](std::string_view bytes) { return (*writer)->append(bytes); });
  if (!walked) return walked.error();
  auto ref = (*writer)->commit();
  if (!ref) return ref.error();
  return ManifestFile{ref->sha256, ref->size, piece.rows};
}

Result<std::vector<ParquetPiece>> pieces_of(const OpenFile& file, std::int64_t size) {
  std::array<char, kParquetTail> tail{};
  if (size < kParquetTail + static_cast<std::int64_t>(kParquetMark.size()))
    return invalid_argument("'" + file.path().string() + "' is too short for a Parquet file");
  if (auto read = file.read_at(size - kParquetTail, tail); !read) return read.error();
  std::int64_t length = 0;
  for (int i = 3; i >= 0; --i) length = length << 8 | static_cast<std::uint8_t>(tail[i]);
  const std::string_view mark(tail.data() + 4, kParquetMark.size());
  if (mark != kParquetMark || length > std::min(size - kParquetTail, kMostFooter)) {
    return invalid_argument("'" + file.path().string() +
                            "' does not end as a Parquet file does; it may be cut off");
  }
  std::string footer(static_cast<std::size_t>(length), '\0');
  if (auto read = file.read_at(size - kParquetTail - length, footer); !read) return read.error();
  auto pieces = parquet_pieces(footer, size);
  if (!pieces) return pieces.error().at(file.path().string());
  return pieces;
}

}  // namespace

Result<std::vector<ManifestFile>> store_parquet(const Context& ctx, blob::Store& blobs,
                                                const fs::path& file, std::int64_t rows,
                                                const std::set<std::string>& known) {
  const auto watch = FileWatch::begin({file});
  if (!watch) return watch.error();
  const OpenFile open(file);
  if (!open.good()) return errno_error(errno, "open", file);
  auto pieces = pieces_of(open, watch->size(0));
  if (!pieces) return pieces.error();
  std::vector<ManifestFile> stored(pieces->size());
  if (pieces->empty()) {
    const auto ref = blobs.put_file(file);
    if (!ref) return ref.error();
    stored.push_back({ref->sha256, ref->size, rows});
  }
  Guarded<std::optional<Error>> failed;
  std::atomic<bool> stop{false};
  const auto fail = [&](const Error& error) {
    stop = true;
    failed.with([&](auto& first) {
      if (!first) first = error;
    });
  };
  parallel_for(pieces->size(), 1, [&](std::size_t begin, std::size_t end) {
    for (std::size_t i = begin; i < end && !stop; ++i) {
      if (auto wanted = ctx.check(); !wanted) return fail(wanted.error());
      if (auto crash = fault::point("dataset.piece"); !crash) return fail(crash.error());
      auto one = store_piece(blobs, open, (*pieces)[i], known);
      if (!one) return fail(one.error());
      stored[i] = std::move(*one);
    }
  });
  if (const auto error = failed.with([](auto& first) { return first; })) return *error;
  if (auto same = watch->unchanged(); !same) return same.error();
  return stored;
}

}  // namespace slipway::data
