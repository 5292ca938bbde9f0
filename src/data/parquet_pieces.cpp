#include "data/parquet_pieces_internal.h"

#include "data/thrift.h"

namespace slipway::data {

namespace {

using thrift::Kind;
using thrift::Value;

// Field numbers of parquet.thrift.
enum File : std::int16_t { kSchema = 2, kFileRows = 3, kRowGroups = 4, kEncryption = 8 };
enum Group : std::int16_t { kColumns = 1, kGroupRows = 3, kGroupOffset = 5, kOrdinal = 7 };
enum Chunk : std::int16_t {
  kChunkPath = 1,
  kChunkOffset = 2,
  kMetaData = 3,
  kIndexFirst = 4,  // to 7: where the page indexes are
  kIndexLast = 7,
};
enum Meta : std::int16_t {
  kValues = 5,
  kCompressed = 7,
  kDataPage = 9,
  kIndexPage = 10,
  kDictionaryPage = 11,
  kBloomOffset = 14,
  kBloomLength = 15,
};

Error lying(const std::string& what) {
  return invalid_argument("the Parquet footer does not hold together: " + what);
}

struct Extent {
  std::int64_t begin = 0;
  std::int64_t end = 0;
};

// Where a column chunk's pages are.
Result<Extent> extent_of(const Value& chunk, std::int64_t pages_end) {
  const auto* meta = chunk.field(kMetaData);
  if (meta == nullptr || meta->kind != Kind::structure || chunk.field(kChunkPath) != nullptr)
    return lying("a column chunk has no metadata in this file");
  const auto data = meta->number(kDataPage);
  const auto size = meta->number(kCompressed);
  if (!data || !size) return lying("a column chunk says no place");
  std::int64_t begin = *data;
  const auto dictionary = meta->number(kDictionaryPage);
  if (dictionary && *dictionary > 0 && *dictionary < begin) begin = *dictionary;
  if (begin < static_cast<std::int64_t>(kParquetMark.size()) || *size < 0 || begin > pages_end ||
      *size > pages_end - begin) {
    return lying(
        fmt::format("a column chunk says it takes {} bytes from {} on, in a file whose "
                    "pages end at {}",
                    *size, begin, pages_end));
  }
  return Extent{begin, begin + *size};
}

// Moves what a row group says about places so that its pages begin after the mark.
void move_group(Value& group, std::int64_t by) {
  const auto move = [by](Value& value, std::int16_t id) {
    const auto at = value.number(id);
    if (at && *at > 0) value.set_number(id, *at - by);
  };
  move(group, kGroupOffset);
  group.set_number(kOrdinal, 0);
  for (auto& chunk : group.field(kColumns)->items) {
    chunk.set_number(kChunkOffset, 0);  // deprecated; writers differ in what they mean by it
    for (std::int16_t id = kIndexFirst; id <= kIndexLast; ++id) chunk.drop(id);
    auto& meta = *chunk.field(kMetaData);
    for (const auto id : {kDataPage, kIndexPage, kDictionaryPage}) move(meta, id);
    meta.drop(kBloomOffset);
    meta.drop(kBloomLength);
  }
}

std::string with_tail(std::string footer) {
  auto length = static_cast<std::uint32_t>(footer.size());
  for (int i = 0; i < 4; ++i, length >>= 8) footer += static_cast<char>(length & 0xFF);
  return footer.append(kParquetMark);
}

}  // namespace

Result<std::vector<ParquetPiece>> parquet_pieces(std::string_view footer, std::int64_t file_size) {
  auto file = thrift::parse(footer);
  if (!file) return lying("it is not Thrift's compact protocol");
  if (file->field(kEncryption) != nullptr)
    return unimplemented("the Parquet file is encrypted; decrypt it before");
  auto* groups = file->field(kRowGroups);
  const auto* schema = file->field(kSchema);
  const auto rows = file->number(kFileRows);
  if (groups == nullptr || groups->kind != Kind::list || schema == nullptr || !rows)
    return lying("it has no schema, row groups or number of rows");
  const std::int64_t pages_end =
      file_size - kParquetTail - static_cast<std::int64_t>(footer.size());
  const std::size_t leaves = schema->items.size() < 2 ? 0 : schema->items.size() - 1;
  std::vector<ParquetPiece> pieces;
  std::vector<Value> all = std::move(groups->items);
  std::int64_t sum = 0;
  for (auto& group : all) {
    auto* columns = group.field(kColumns);
    const auto count = group.number(kGroupRows);
    if (columns == nullptr || columns->kind != Kind::list || columns->items.empty() || !count ||
        *count < 0)
      return lying("a row group has no columns or no number of rows");
    ParquetPiece piece{.begin = std::numeric_limits<std::int64_t>::max(), .rows = *count};
    for (const auto& chunk : columns->items) {
      const auto extent = extent_of(chunk, pages_end);
      if (!extent) return extent.error();
      piece.begin = std::min(piece.begin, extent->begin);
      piece.end = std::max(piece.end, extent->end);
      const auto values = chunk.field(kMetaData)->number(kValues);
      // Without nesting, a column has a value or a null for each row.
      if (columns->items.size() == leaves && values && *values != *count) {
        return lying(
            fmt::format("a row group of {} rows has a column of {} values", *count, *values));
      }
    }
    if (__builtin_add_overflow(sum, *count, &sum)) return lying("too many rows");
    move_group(group, piece.begin - static_cast<std::int64_t>(kParquetMark.size()));
    file->set_number(kFileRows, *count);
    groups->items.clear();
    groups->items.push_back(std::move(group));
    piece.footer = with_tail(thrift::write(*file));
    pieces.push_back(std::move(piece));
  }
  if (sum != *rows) {
    return lying(fmt::format("it says {} rows and its row groups {}", *rows, sum));
  }
  std::vector<Extent> extents;
  for (const auto& piece : pieces) extents.push_back({piece.begin, piece.end});
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  for (std::size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin < extents[i - 1].end) return lying("its row groups overlap");
  }
  return pieces;
}

}  // namespace slipway::data
