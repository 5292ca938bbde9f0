#include "models/batch_rows_internal.h"

#include <arrow/api.h>
#include <arrow/csv/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>

#include "base/parallel.h"

namespace slipway::models {
namespace {

constexpr std::int32_t kCsvBlock = 4 << 20;

Error unreadable(const arrow::Status& status, const std::filesystem::path& file) {
  return invalid_argument("'" + file.string() + "' cannot be read: " + status.message());
}

class ParquetRows final : public BatchRows {
 public:
  static Result<std::unique_ptr<BatchRows>> open(const BatchFileOptions& options,
                                                 const std::vector<std::string>& columns,
                                                 std::int64_t skip) {
    auto input = arrow::io::ReadableFile::Open(options.input.string());
    if (!input.ok()) return unreadable(input.status(), options.input);
    parquet::arrow::FileReaderBuilder builder;
    if (auto opened = builder.Open(*input); !opened.ok()) return unreadable(opened, options.input);
    parquet::ArrowReaderProperties properties;
    properties.set_use_threads(default_threads() > 1);
    properties.set_batch_size(kPieceRows);
    properties.set_pre_buffer(true);
    auto rows = std::make_unique<ParquetRows>();
    rows->file_ = options.input;
    if (auto built = builder.properties(properties)->Build(&rows->reader_); !built.ok())
      return unreadable(built, options.input);
    const auto metadata = rows->reader_->parquet_reader()->metadata();
    rows->all_ = metadata->num_rows();
    std::vector<int> groups;
    for (int group = 0; group < metadata->num_row_groups(); ++group) {
      const std::int64_t count = metadata->RowGroup(group)->num_rows();
      if (groups.empty() && skip >= count) {
        skip -= count;
        continue;
      }
      groups.push_back(group);
    }
    rows->skip_ = skip;
    std::shared_ptr<arrow::Schema> schema;
    if (auto got = rows->reader_->GetSchema(&schema); !got.ok())
      return unreadable(got, options.input);
    std::vector<int> leaves;
    for (const std::string& column : columns) {
      for (int leaf = 0; leaf < metadata->num_columns(); ++leaf) {
        if (metadata->schema()->Column(leaf)->path()->ToDotVector().front() == column)
          leaves.push_back(leaf);
      }
    }
    auto batches = columns.empty() ? rows->reader_->GetRecordBatchReader(groups)
                                   : rows->reader_->GetRecordBatchReader(groups, leaves);
    if (!batches.ok()) return unreadable(batches.status(), options.input);
    rows->batches_ = std::move(*batches);
    rows->schema_ = rows->batches_->schema();
    return rows;
  }

  std::int64_t rows() const override { return all_; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }

  Result<std::shared_ptr<arrow::Table>> next() override {
    while (true) {
      std::shared_ptr<arrow::RecordBatch> batch;
      if (auto read = batches_->ReadNext(&batch); !read.ok()) return unreadable(read, file_);
      if (batch == nullptr) return std::shared_ptr<arrow::Table>();
      if (skip_ >= batch->num_rows()) {
        skip_ -= batch->num_rows();
        continue;
      }
      if (skip_ > 0) batch = batch->Slice(std::exchange(skip_, 0));
      if (batch->num_rows() == 0) continue;
      auto table = arrow::Table::FromRecordBatches(schema_, {batch});
      if (!table.ok()) return unreadable(table.status(), file_);
      return *std::move(table);
    }
  }

 private:
  std::filesystem::path file_;
  std::unique_ptr<parquet::arrow::FileReader> reader_;
  std::shared_ptr<arrow::RecordBatchReader> batches_;
  std::shared_ptr<arrow::Schema> schema_;
  std::int64_t all_ = 0;
  std::int64_t skip_ = 0;
};

std::shared_ptr<arrow::DataType> csv_type(data::Type type) {
  switch (type) {
    case data::Type::boolean:
      return arrow::boolean();
    case data::Type::int64:
      return arrow::int64();
    case data::Type::float64:
      return arrow::float64();
    case data::Type::timestamp:
      return arrow::timestamp(arrow::TimeUnit::MICRO);
    case data::Type::text:
      break;
  }
  return arrow::utf8();
}

// What the model takes has the model's types; all else stays the text it is.
class CsvRows final : public BatchRows {
 public:
  static Result<std::unique_ptr<BatchRows>> open(const BatchFileOptions& options,
                                                 const data::Schema& inputs,
                                                 const std::vector<std::string>& columns,
                                                 std::int64_t skip) {
    auto input = arrow::io::ReadableFile::Open(options.input.string());
    if (!input.ok()) return unreadable(input.status(), options.input);
    auto reading = arrow::csv::ReadOptions::Defaults();
    reading.block_size = kCsvBlock;
    auto parsing = arrow::csv::ParseOptions::Defaults();
    parsing.newlines_in_values = true;
    if (options.input.extension() == ".tsv") parsing.delimiter = '\t';
    auto converting = arrow::csv::ConvertOptions::Defaults();
    converting.null_values = options.null_values;
    converting.null_values.emplace_back();
    converting.strings_can_be_null = true;
    converting.include_columns = columns;
    // The heading first: columns that the model does not take are read as texts.
    auto peek = arrow::csv::StreamingReader::Make(arrow::io::default_io_context(), *input, reading,
                                                  parsing, converting);
    if (!peek.ok()) return unreadable(peek.status(), options.input);
    for (const auto& field : (*peek)->schema()->fields())
      converting.column_types[field->name()] = arrow::utf8();
    for (const data::Field& field : inputs.fields)
      converting.column_types[field.name] = csv_type(field.type);
    (*peek).reset();
    input = arrow::io::ReadableFile::Open(options.input.string());
    if (!input.ok()) return unreadable(input.status(), options.input);
    auto reader = arrow::csv::StreamingReader::Make(arrow::io::default_io_context(), *input,
                                                    reading, parsing, converting);
    if (!reader.ok()) return unreadable(reader.status(), options.input);
    auto rows = std::make_unique<CsvRows>();
    rows->file_ = options.input;
    rows->reader_ = *std::move(reader);
    rows->schema_ = rows->reader_->schema();
    rows->skip_ = skip;
    return rows;
  }

  std::int64_t rows() const override { return 0; }
  const std::shared_ptr<arrow::Schema>& schema() const override { return schema_; }

  // A block of the file, in pieces.
  Result<std::shared_ptr<arrow::Table>> next() override {
    while (block_ == nullptr || block_->num_rows() == 0) {
      std::shared_ptr<arrow::RecordBatch> batch;
      if (auto read = reader_->ReadNext(&batch); !read.ok()) return unreadable(read, file_);
      if (batch == nullptr) return std::shared_ptr<arrow::Table>();
      const std::int64_t gone = std::min(skip_, batch->num_rows());
      skip_ -= gone;
      block_ = batch->Slice(gone);
    }
    auto table = arrow::Table::FromRecordBatches(schema_, {block_->Slice(0, kPieceRows)});
    if (!table.ok()) return unreadable(table.status(), file_);
    block_ = block_->Slice(std::min(kPieceRows, block_->num_rows()));
    return *std::move(table);
  }

 private:
  std::filesystem::path file_;
  std::shared_ptr<arrow::csv::StreamingReader> reader_;
  std::shared_ptr<arrow::Schema> schema_;
  std::shared_ptr<arrow::RecordBatch> block_;
  std::int64_t skip_ = 0;
};

}  // namespace

Result<std::unique_ptr<BatchRows>> open_rows(const BatchFileOptions& options,
                                             const data::Schema& inputs, std::int64_t skip) {
  std::error_code error;
  if (!std::filesystem::exists(options.input, error))
    return not_found("file '" + options.input.string() + "' does not exist");
  // Only what is needed is read: what the model takes, and what is kept.
  std::vector<std::string> columns;
  if (!options.keep.empty()) {
    columns = inputs.names();
    for (const std::string& name : options.keep) {
      if (std::ranges::find(columns, name) == columns.end()) columns.push_back(name);
    }
  }
  const auto ending = options.input.extension();
  if (ending == ".parquet") return ParquetRows::open(options, columns, skip);
  if (ending == ".csv" || ending == ".tsv") return CsvRows::open(options, inputs, columns, skip);
  return invalid_argument("'" + options.input.string() +
                          "' has to end in .parquet, .csv or .tsv (slipway data converts others)");
}

}  // namespace slipway::models
