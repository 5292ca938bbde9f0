#include "data/spool_internal.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/util/compression.h>
#include <fcntl.h>
#include <parquet/arrow/writer.h>
#include <parquet/exception.h>
#include <unistd.h>

#include <fstream>

#include "base/file.h"

namespace slipway::data::duck {

namespace fs = std::filesystem;

namespace {

constexpr std::size_t kSpoolPiece = std::size_t{1} << 20;
constexpr std::int64_t kLongestLine = 2'000'000;  // DuckDB's max_line_size
constexpr std::int64_t kLinesLookedAt = std::int64_t{8} << 20;
// A bomb: more than this out of each byte in. gzip cannot exceed 1,032; tables seldom exceed 30.
constexpr std::int64_t kMostUnpacked = 400;
constexpr std::int64_t kUnpackedToJudge = std::int64_t{64} << 20;  // looked at, from the beginning

std::optional<arrow::Compression::type> packing_of(std::string_view first_bytes) {
  if (first_bytes.starts_with("\x1f\x8b")) return arrow::Compression::GZIP;
  if (first_bytes.starts_with("\x28\xb5\x2f\xfd")) return arrow::Compression::ZSTD;
  return std::nullopt;
}

fs::path new_file(const fs::path& folder, std::string_view ending) {
  static std::atomic<std::int64_t> last{0};
  return folder / fmt::format("spool-{}{}", ++last, ending);
}

Error spool_error(const arrow::Status& status, const fs::path& file, std::string_view doing) {
  if (status.IsOutOfMemory()) return resource_exhausted(status.message()).at(file.string());
  if (status.ToString().find("No space left") != std::string::npos)
    return storage_full(fmt::format("no space left to {} '{}'", doing, file.string()));
  return invalid_argument(fmt::format("'{}' is not a readable Arrow IPC file or stream: {}",
                                      file.string(), status.message()));
}

// Writes batches as they come; a row group is some batches.
class ParquetSink {
 public:
  static arrow::Result<ParquetSink> open(const std::shared_ptr<arrow::Schema>& schema,
                                         const fs::path& file) {
    ParquetSink sink;
    ARROW_ASSIGN_OR_RAISE(sink.out_, arrow::io::FileOutputStream::Open(file.string()));
    const auto properties =
        parquet::WriterProperties::Builder().compression(parquet::Compression::SNAPPY)->build();
    ARROW_ASSIGN_OR_RAISE(sink.writer_,
                          parquet::arrow::FileWriter::Open(*schema, arrow::default_memory_pool(),
                                                           sink.out_, properties));
    return sink;
  }
  arrow::Status add(const std::shared_ptr<arrow::RecordBatch>& batch) {
    ARROW_RETURN_NOT_OK(batch->ValidateFull());  // offsets and lengths from outside
    return writer_->WriteRecordBatch(*batch);
  }
  arrow::Status close() {
    ARROW_RETURN_NOT_OK(writer_->Close());
    return out_->Close();
  }

 private:
  std::shared_ptr<arrow::io::FileOutputStream> out_;
  std::unique_ptr<parquet::arrow::FileWriter> writer_;
};

arrow::Status convert_arrow(const Context& ctx, const fs::path& file, const fs::path& out) {
  ARROW_ASSIGN_OR_RAISE(const auto input, arrow::io::ReadableFile::Open(file.string()));
  ARROW_ASSIGN_OR_RAISE(const auto mark, input->ReadAt(0, 6));
  if (mark->ToString() == "ARROW1") {
    ARROW_ASSIGN_OR_RAISE(const auto reader, arrow::ipc::RecordBatchFileReader::Open(input));
    ARROW_ASSIGN_OR_RAISE(auto sink, ParquetSink::open(reader->schema(), out));
    for (int i = 0; i < reader->num_record_batches(); ++i) {
      if (!ctx.check()) return arrow::Status::Cancelled("cancelled");
      ARROW_ASSIGN_OR_RAISE(const auto batch, reader->ReadRecordBatch(i));
      ARROW_RETURN_NOT_OK(sink.add(batch));
    }
    return sink.close();
  }
  ARROW_RETURN_NOT_OK(input->Seek(0));
  ARROW_ASSIGN_OR_RAISE(const auto reader, arrow::ipc::RecordBatchStreamReader::Open(input));
  ARROW_ASSIGN_OR_RAISE(auto sink, ParquetSink::open(reader->schema(), out));
  while (true) {
    if (!ctx.check()) return arrow::Status::Cancelled("cancelled");
    std::shared_ptr<arrow::RecordBatch> batch;
    ARROW_RETURN_NOT_OK(reader->ReadNext(&batch));
    if (batch == nullptr) return sink.close();
    ARROW_RETURN_NOT_OK(sink.add(batch));
  }
}

// How much the file's beginning unpacks to: {bytes in, bytes out}. A file that does not unpack is
// left to the reader, which says why.
arrow::Result<std::pair<std::int64_t, std::int64_t>> unpack_beginning(
    std::ifstream& in, arrow::Compression::type packing) {
  ARROW_ASSIGN_OR_RAISE(const auto codec, arrow::util::Codec::Create(packing));
  ARROW_ASSIGN_OR_RAISE(const auto unpacker, codec->MakeDecompressor());
  std::vector<std::uint8_t> from(std::size_t{64} << 10);
  std::vector<std::uint8_t> to(kSpoolPiece);
  std::int64_t taken = 0;
  std::int64_t made = 0;
  std::int64_t have = 0;
  std::int64_t at = 0;
  while (made < kUnpackedToJudge) {
    if (at == have) {
      in.read(reinterpret_cast<char*>(from.data()), static_cast<std::streamsize>(from.size()));
      have = in.gcount();
      at = 0;
      if (have == 0) break;
    }
    ARROW_ASSIGN_OR_RAISE(const auto step,
                          unpacker->Decompress(have - at, from.data() + at,
                                               static_cast<std::int64_t>(to.size()), to.data()));
    at += step.bytes_read;
    taken += step.bytes_read;
    made += step.bytes_written;
    if (step.bytes_read == 0 && step.bytes_written == 0 && !step.need_more_output) break;
    if (unpacker->IsFinished()) ARROW_RETURN_NOT_OK(unpacker->Reset());  // of several members
  }
  return std::pair{taken, made};
}

}  // namespace

Result<fs::path> spool_input(const Context& ctx, int fd, const Source& source,
                             const fs::path& folder) {
  std::string piece(kSpoolPiece, '\0');
  std::ofstream out;
  fs::path file;
  std::int64_t total = 0;
  while (true) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    const ssize_t got = ::read(fd, piece.data(), piece.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno_error(errno, "read", "standard input");
    if (got == 0) break;
    if (!out.is_open()) {
      const auto packing = packing_of(std::string_view(piece).substr(0, 4));
      std::string ending = fmt::format(".{}", to_string(source.kind));
      if (packing) ending += *packing == arrow::Compression::GZIP ? ".gz" : ".zst";
      file = new_file(folder, ending);
      out.open(file, std::ios::binary);
    }
    total += got;
    if (!out.write(piece.data(), got)) return errno_error(errno, "write", file);
  }
  if (total == 0) return invalid_argument("standard input is empty");
  out.close();
  if (!out) return errno_error(errno, "write", file);
  return file;
}

Result<fs::path> spool_arrow(const Context& ctx, const fs::path& file, const fs::path& folder) {
  const auto out = new_file(folder, ".parquet");
  try {
    const auto done = convert_arrow(ctx, file, out);
    if (done.ok()) return out;
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    return spool_error(done, file, "convert");
  } catch (const parquet::ParquetException& failure) {
    return invalid_argument(
        fmt::format("'{}' cannot be brought to a table: {}", file.string(), failure.what()));
  }
}

Result<void> check_lines(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  std::string piece(kSpoolPiece, '\0');
  std::int64_t line = 1;
  std::int64_t length = 0;
  for (std::int64_t seen = 0; seen < kLinesLookedAt;) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    const auto got = static_cast<std::size_t>(in.gcount());
    if (got == 0) return {};
    if (seen == 0 && packing_of(std::string_view(piece).substr(0, 4))) return {};
    seen += static_cast<std::int64_t>(got);
    for (std::size_t at = 0; at < got;) {
      const auto end = std::string_view(piece).substr(0, got).find('\n', at);
      const auto stop = end == std::string_view::npos ? got : end;
      length += static_cast<std::int64_t>(stop - at);
      if (length > kLongestLine) {
        return invalid_argument(
            fmt::format("{}:{}: the line is longer than {} bytes; is it a CSV file?", file.string(),
                        line, kLongestLine));
      }
      at = stop + 1;
      if (end == std::string_view::npos) break;
      ++line;
      length = 0;
    }
  }
  return {};
}

Result<void> check_packed(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  char mark[4] = {};
  in.read(mark, sizeof mark);
  const auto packing = packing_of({mark, static_cast<std::size_t>(in.gcount())});
  if (!packing) return {};
  in.clear();
  in.seekg(0);
  const auto amount = unpack_beginning(in, *packing);
  if (!amount.ok() || amount->second < kUnpackedToJudge) return {};
  const auto ratio = amount->second / std::max<std::int64_t>(amount->first, 1);
  if (ratio <= kMostUnpacked) return {};
  return resource_exhausted(fmt::format(
      "'{}' looks like a bomb: its first {} bytes unpack to {}, {} bytes out of each; the most "
      "that is taken for a table is {}. Unpack it yourself if it is meant so",
      file.string(), amount->first, amount->second, ratio, kMostUnpacked));
}

}  // namespace slipway::data::duck
