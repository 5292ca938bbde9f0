#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>

#include "base/file.h"
#include "base/parallel.h"
#include "data/arrow_internal.h"
#include "data/datasets.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

Error wrap(const arrow::Status& status, const fs::path& file) {
  if (status.IsOutOfMemory()) {
    return resource_exhausted("no memory left to read '" + file.string() + "'");
  }
  return invalid_argument("'" + file.string() +
                          "' is not a readable Parquet file: " + status.message());
}

Result<std::unique_ptr<parquet::arrow::FileReader>> open_reader(const fs::path& file) {
  std::error_code missing;
  if (!fs::exists(file, missing)) return not_found("file '" + file.string() + "' does not exist");
  auto input = arrow::io::ReadableFile::Open(file.string());
  if (!input.ok()) return wrap(input.status(), file);
  parquet::arrow::FileReaderBuilder builder;
  if (auto opened = builder.Open(*input); !opened.ok()) return wrap(opened, file);
  parquet::ArrowReaderProperties properties;
  properties.set_use_threads(default_threads() > 1);
  std::unique_ptr<parquet::arrow::FileReader> reader;
  if (auto built = builder.properties(properties)->Build(&reader); !built.ok())
    return wrap(built, file);
  return reader;
}

Result<TablePtr> read_one(const fs::path& file, const std::vector<std::string>& columns) {
  auto reader = open_reader(file);
  if (!reader) return reader.error();
  std::shared_ptr<arrow::Schema> schema;
  if (auto got = (*reader)->GetSchema(&schema); !got.ok()) return wrap(got, file);
  const auto plain = schema_of(*schema);
  if (!plain) return plain.error().at(file.string());
  // The five types are no nested ones: a field is a leaf column, at the same index.
  std::vector<int> indices;
  for (const auto& column : columns) {
    const auto index = plain->find(column);
    if (!index) return index.error().at(file.string());
    indices.push_back(static_cast<int>(*index));
  }
  auto table = columns.empty() ? (*reader)->ReadTable() : (*reader)->ReadTable(indices);
  if (!table.ok()) return wrap(table.status(), file);
  if (!columns.empty()) {
    std::vector<int> order;  // ReadTable gives them in the file's order
    for (const auto& column : columns) order.push_back((*table)->schema()->GetFieldIndex(column));
    table = (*table)->SelectColumns(order);
    if (!table.ok()) return wrap(table.status(), file);
  }
  return plain_table(*table);
}

}  // namespace

Result<ParquetFacts> parquet_facts(const fs::path& file) {
  try {
    auto reader = open_reader(file);
    if (!reader) return reader.error();
    std::shared_ptr<arrow::Schema> schema;
    if (auto got = (*reader)->GetSchema(&schema); !got.ok()) return wrap(got, file);
    auto plain = schema_of(*schema);
    if (!plain) return plain.error().at(file.string());
    return ParquetFacts{std::move(*plain), (*reader)->parquet_reader()->metadata()->num_rows()};
  } catch (const parquet::ParquetException& failure) {
    return invalid_argument("'" + file.string() +
                            "' is not a readable Parquet file: " + failure.what());
  }
}

Result<TablePtr> read_parquet(const Context& ctx, const std::vector<fs::path>& files,
                              const std::vector<std::string>& columns) {
  try {
    std::vector<TablePtr> tables;
    for (const auto& file : files) {
      if (auto wanted = ctx.check(); !wanted) return wanted.error();
      auto table = read_one(file, columns);
      if (!table) return table.error();
      tables.push_back(std::move(*table));
    }
    if (tables.size() == 1) return tables.front();
    return concatenate(tables);
  } catch (const parquet::ParquetException& failure) {
    return invalid_argument(std::string("not a readable Parquet file: ") + failure.what());
  }
}

Result<void> walk_parquet(const Context& ctx, const std::vector<fs::path>& files,
                          const std::function<Result<void>(const TablePtr&)>& take) {
  try {
    for (const auto& file : files) {
      auto reader = open_reader(file);
      if (!reader) return reader.error();
      const int groups = (*reader)->num_row_groups();
      for (int group = 0; group < std::max(groups, 1); ++group) {
        if (auto wanted = ctx.check(); !wanted) return wanted;
        auto table = groups == 0 ? (*reader)->ReadTable() : (*reader)->ReadRowGroup(group);
        if (!table.ok()) return wrap(table.status(), file);
        auto plain = plain_table(*table);
        if (!plain) return plain.error().at(file.string());
        if (auto taken = take(*plain); !taken) return taken;
      }
    }
    return {};
  } catch (const parquet::ParquetException& failure) {
    return invalid_argument(std::string("not a readable Parquet file: ") + failure.what());
  }
}

Result<std::int64_t> parquet_rows(const std::vector<fs::path>& files) {
  std::int64_t rows = 0;
  for (const auto& file : files) {
    const auto facts = parquet_facts(file);
    if (!facts) return facts.error();
    rows += facts->rows;
  }
  return rows;
}

}  // namespace slipway::data
