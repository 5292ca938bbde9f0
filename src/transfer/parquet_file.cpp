#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/writer.h>
#include <parquet/exception.h>

#include "base/file.h"
#include "transfer/parquet_file_internal.h"

namespace slipway::transfer {
namespace {

namespace fs = std::filesystem;

// A row group is what is held in memory: so many rows, or so many bytes of text.
constexpr std::int64_t kRowGroup = 131'072;
constexpr std::int64_t kTextBytes = std::int64_t{32} << 20;

std::shared_ptr<arrow::DataType> arrow_type(ColumnType type) {
  switch (type) {
    case ColumnType::text:
      return arrow::utf8();
    case ColumnType::integer:
      return arrow::int64();
    case ColumnType::real:
      return arrow::float64();
    case ColumnType::flag:
      return arrow::boolean();
    case ColumnType::millis:
      return arrow::timestamp(arrow::TimeUnit::MILLI, "UTC");
    case ColumnType::micros:
      return arrow::timestamp(arrow::TimeUnit::MICRO, "UTC");
  }
  return arrow::utf8();
}

Error failed(const fs::path& file, const std::string& why) {
  return unavailable(fmt::format("cannot write '{}': {}", file.string(), why));
}

// Parquet mixes statuses and exceptions.
template <class F>
Result<void> guarded(const fs::path& file, F&& body) {
  try {
    const arrow::Status status = body();
    if (status.ok()) return {};
    if (status.ToString().find("No space left") != std::string::npos)
      return storage_full(fmt::format("cannot write '{}': the disk is full", file.string()));
    return failed(file, status.ToString());
  } catch (const std::exception& e) {
    return failed(file, e.what());
  }
}

}  // namespace

struct ParquetFile::Impl {
  fs::path file;
  std::vector<ColumnType> types;
  std::vector<std::unique_ptr<arrow::ArrayBuilder>> builders;
  std::shared_ptr<arrow::Schema> schema;
  std::shared_ptr<arrow::io::FileOutputStream> stream;
  std::unique_ptr<parquet::arrow::FileWriter> writer;
  std::size_t column = 0;
  std::int64_t held = 0;
  std::int64_t held_bytes = 0;
  std::int64_t rows = 0;
  arrow::Status problem;

  template <class Builder, class Value>
  void append(const Value& value) {
    if (problem.ok()) problem = static_cast<Builder&>(*builders[column]).Append(value);
    ++column;
  }

  arrow::Status flush() {
    arrow::ArrayVector arrays;
    for (auto& builder : builders) {
      std::shared_ptr<arrow::Array> array;
      ARROW_RETURN_NOT_OK(builder->Finish(&array));
      arrays.push_back(std::move(array));
    }
    const auto table = arrow::Table::Make(schema, arrays, held);
    held = 0;
    held_bytes = 0;
    return writer->WriteTable(*table, kRowGroup);
  }
};

ParquetFile::ParquetFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ParquetFile::~ParquetFile() = default;

Result<std::unique_ptr<ParquetFile>> ParquetFile::create(const fs::path& file,
                                                         std::span<const Column> columns) {
  auto impl = std::make_unique<Impl>();
  impl->file = file;
  auto opened = guarded(file, [&]() -> arrow::Status {
    arrow::FieldVector fields;
    for (const Column& column : columns) {
      const auto type = arrow_type(column.type);
      fields.push_back(arrow::field(std::string(column.name), type));
      impl->types.push_back(column.type);
      std::unique_ptr<arrow::ArrayBuilder> builder;
      ARROW_RETURN_NOT_OK(arrow::MakeBuilder(arrow::default_memory_pool(), type, &builder));
      impl->builders.push_back(std::move(builder));
    }
    impl->schema = arrow::schema(fields);
    ARROW_ASSIGN_OR_RAISE(impl->stream, arrow::io::FileOutputStream::Open(file.string()));
    parquet::WriterProperties::Builder properties;
    properties.compression(parquet::Compression::ZSTD)->max_row_group_length(kRowGroup);
    ARROW_ASSIGN_OR_RAISE(
        impl->writer, parquet::arrow::FileWriter::Open(*impl->schema, arrow::default_memory_pool(),
                                                       impl->stream, properties.build()));
    return arrow::Status::OK();
  });
  if (!opened) return opened.error();
  return std::unique_ptr<ParquetFile>(new ParquetFile(std::move(impl)));
}

void ParquetFile::text(std::string_view value) {
  impl_->held_bytes += static_cast<std::int64_t>(value.size());
  impl_->append<arrow::StringBuilder>(value);
}

void ParquetFile::integer(std::int64_t value) {
  const ColumnType type = impl_->types[impl_->column];
  if (type == ColumnType::millis || type == ColumnType::micros) {
    impl_->append<arrow::TimestampBuilder>(value);
  } else {
    impl_->append<arrow::Int64Builder>(value);
  }
}

void ParquetFile::real(double value) { impl_->append<arrow::DoubleBuilder>(value); }

void ParquetFile::flag(bool value) { impl_->append<arrow::BooleanBuilder>(value); }

void ParquetFile::null() {
  if (impl_->problem.ok()) impl_->problem = impl_->builders[impl_->column]->AppendNull();
  ++impl_->column;
}

Result<void> ParquetFile::end_row() {
  Impl& my = *impl_;
  if (my.column != my.builders.size())
    return internal(fmt::format("a row of '{}' has {} values, wanted {}", my.file.string(),
                                my.column, my.builders.size()));
  my.column = 0;
  ++my.held;
  ++my.rows;
  if (my.held < kRowGroup && my.held_bytes < kTextBytes && my.problem.ok()) return {};
  return guarded(my.file, [&] { return my.problem.ok() ? my.flush() : my.problem; });
}

std::int64_t ParquetFile::rows() const { return impl_->rows; }

Result<void> ParquetFile::close() {
  auto closed = guarded(impl_->file, [&]() -> arrow::Status {
    if (impl_->held > 0) ARROW_RETURN_NOT_OK(impl_->flush());
    ARROW_RETURN_NOT_OK(impl_->writer->Close());
    return impl_->stream->Close();
  });
  if (!closed) return closed;
  return fsync_path(impl_->file);
}

}  // namespace slipway::transfer
