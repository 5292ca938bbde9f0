// Any bytes as a CSV file: a table of five plain types, or an error that says something.
#include "data/engine.h"

#include <filesystem>
#include <fstream>

#include "base/file.h"

using namespace slipway;  // NOLINT: one file, one function

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto folder = TempDir::create(std::filesystem::temp_directory_path(), "fuzz-csv");
  if (!folder) std::abort();
  const auto path = folder->path() / "input.csv";
  {
    std::ofstream file(path, std::ios::binary | std::ios::trunc);
    file.write(reinterpret_cast<const char*>(data), static_cast<std::streamsize>(size));
  }
  auto engine = data::Engine::open({.threads = 1, .temp_dir = folder->path()});
  if (!engine) std::abort();
  auto source = data::Source::of_file(path.string());
  if (!source) std::abort();
  const auto added = (*engine)->add_source("input", *source);
  if (!added) {
    if (added.error().message.empty()) std::abort();
    return 0;
  }
  const auto table = (*engine)->query({}, "SELECT * FROM input");
  if (!table) {
    if (table.error().message.empty()) std::abort();
    return 0;
  }
  const auto columns = data::Columns::from_table(*table);
  if (!columns) return 0;
  const data::Batch batch = columns->batch();
  double sum = 0;  // every value is looked at
  for (const data::ColumnView& column : batch.columns) {
    for (std::int64_t row = 0; row < column.rows; ++row) {
      if (column.is_null(row)) continue;
      sum += column.type == data::Type::text ? static_cast<double>(column.text(row).size())
                                             : column.number(row);
    }
  }
  return sum == 0.125 ? 1 : 0;
}
