// Sealed parts of the prediction log: Parquet files whose names say what is in them,
//   <root>/<deployment>/<file number>-<part>_<role>_<first time>_<last time>_<rows>.parquet
// (times in microseconds), and beside each primary one "….ids": the sorted 64-bit hashes of its
// ids, little-endian, which answer "does this id exist?" without opening the Parquet file, and are
// made anew from it when missing.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/table.h"
#include "serving/prediction_log.h"

namespace slipway::serving {

std::uint64_t id_hash(std::string_view id);

// A file of sorted hashes, mapped into memory.
class IdFile {
 public:
  static Result<std::shared_ptr<const IdFile>> open(const std::filesystem::path& path);
  ~IdFile();
  IdFile(const IdFile&) = delete;
  IdFile& operator=(const IdFile&) = delete;
  bool contains(std::uint64_t hash) const;
  std::size_t size() const { return hashes_.size(); }

 private:
  explicit IdFile(std::span<const std::uint64_t> hashes) : hashes_(hashes) {}
  std::span<const std::uint64_t> hashes_;
};

struct Segment {
  std::filesystem::path path;
  std::int64_t file_number = 0;  // of the write-ahead file it was sealed from
  std::int64_t part = 0;
  Role role = Role::primary;
  Time first;
  Time last;
  std::int64_t rows = 0;
  std::shared_ptr<const IdFile> ids;  // primary only

  bool overlaps(Time from, Time to) const { return first < to && last >= from; }
  bool whole(Time from, Time to) const { return first >= from && last < to; }
};

// By the name alone; nothing when it is no segment's.
std::optional<Segment> parse_segment(const std::filesystem::path& path);

// Writes one segment row group by row group, so that sealing takes little memory however long the
// file is.
class SegmentWriter {
 public:
  // schema: wal::log_schema of the stream. Writes a temporary file in `folder`.
  static Result<std::unique_ptr<SegmentWriter>> create(const std::filesystem::path& folder,
                                                       std::int64_t file_number, std::int64_t part,
                                                       Role role, const data::Schema& schema);
  ~SegmentWriter();            // unfinished: leaves nothing
  data::BatchBuilder& rows();  // to append to; then call flush
  Result<void> flush();        // writes a row group when there are enough rows
  // Durable when it returns, under its final name.
  Result<Segment> finish();

 private:
  struct Impl;
  explicit SegmentWriter(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Opens the ids, making them anew when need be.
Result<void> open_ids(Segment& segment, bool may_write);

// The rows with from <= time < to; `columns` as in PredictionLog::ReadOptions, those it lacks are
// left out.
Result<data::TablePtr> read_segment(const Segment& segment, Time from, Time to,
                                    const std::vector<std::string>& columns);
// An empty table of its columns.
Result<data::TablePtr> read_segment_schema(const Segment& segment);
// The one row with this id, as a table; nothing when it is not there.
Result<std::optional<data::TablePtr>> find_in_segment(const Segment& segment, std::string_view id);

// Tables, newest last, under one schema: the newest type of a name wins, what a table lacks is
// null. `columns` as above.
Result<data::TablePtr> unite(const std::vector<data::TablePtr>& tables,
                             const std::vector<std::string>& columns);

}  // namespace slipway::serving
