// A Parquet file taken apart at its row groups: each becomes a whole Parquet file of its own, with
// the bytes of its pages as they were and a footer whose offsets were moved. Nothing is decoded, so
// it costs what copying costs; and rows that were written the same way give the same bytes wherever
// they stand, which is what lets dataset versions share them. Private to this folder.
// Format: https://parquet.apache.org/docs/file-format/, parquet.thrift of version 2.10; footers are
// in Thrift's compact protocol (https://github.com/apache/thrift/blob/master/doc/specs).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::data {

// "PAR1", the file's bytes [begin, end), then `footer` is a Parquet file.
struct ParquetPiece {
  std::int64_t begin = 0;
  std::int64_t end = 0;
  std::int64_t rows = 0;
  std::string footer;  // with its length and the closing mark
};

inline constexpr std::string_view kParquetMark = "PAR1";
inline constexpr std::int64_t kParquetTail = 8;  // length of the footer, mark
inline constexpr std::int64_t kMostFooter = std::int64_t{512} << 20;

// `footer` without its tail; `file_size` of the whole file. Page indexes and Bloom filters, which
// stand apart from the pages, are left out. Empty when the file has no row groups.
// invalid_argument when the footer does not hold together: offsets outside the file, row groups in
// each other, rows that do not sum up.
Result<std::vector<ParquetPiece>> parquet_pieces(std::string_view footer, std::int64_t file_size);

}  // namespace slipway::data
