// One Parquet file, written row by row and flushed in row groups. Private to this folder.
// One thread at a time.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway::transfer {

enum class ColumnType { text, integer, real, flag, millis, micros };  // the last two: UTC times

struct Column {
  std::string_view name;
  ColumnType type;
};

class ParquetFile {
 public:
  static Result<std::unique_ptr<ParquetFile>> create(const std::filesystem::path& file,
                                                     std::span<const Column> columns);
  ~ParquetFile();

  // The values of one row, in the order of the columns; then end_row().
  void text(std::string_view value);
  void integer(std::int64_t value);  // also times
  void real(double value);
  void flag(bool value);
  void null();
  Result<void> end_row();
  std::int64_t rows() const;
  // Durable afterwards.
  Result<void> close();

 private:
  struct Impl;
  explicit ParquetFile(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::transfer
