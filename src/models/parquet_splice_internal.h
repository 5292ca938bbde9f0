// Parquet files put together without decoding: the row groups of many small files, written by the
// same writer with the same schema, become those of one. Only the footer is read and written anew.
// Format: parquet-format's parquet.thrift (FileMetaData, RowGroup, ColumnChunk, ColumnMetaData) in
// Thrift's compact protocol.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::models {

struct ParquetPart {
  std::string_view data;                // between the magic at the front and the footer
  std::string footer;                   // FileMetaData without its row groups, to begin a file with
  std::vector<std::string> row_groups;  // as written, offsets from the part's own front
};

// data_loss when the bytes are no Parquet file.
Result<ParquetPart> split_parquet(std::string_view file);
// A row group whose bytes stand `shift` further back than it says.
Result<std::string> shifted(std::string_view row_group, std::int64_t shift);
// What stands behind the data: footer, its length, the magic.
Result<std::string> parquet_end(std::string_view footer, const std::vector<std::string>& row_groups,
                                std::int64_t rows);
inline constexpr std::string_view kParquetMagic = "PAR1";

}  // namespace slipway::models
