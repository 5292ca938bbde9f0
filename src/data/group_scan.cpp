#include "data/group_scan_internal.h"

#include <arrow/api.h>
#include <arrow/io/file.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/metadata.h>

#include "base/parallel.h"
#include "data/arrow_internal.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kBatchRows = 32'768;

Error unreadable(const arrow::Status& status, const fs::path& file) {
  if (status.IsOutOfMemory())
    return resource_exhausted("no memory left to read '" + file.string() + "'");
  return invalid_argument("'" + file.string() +
                          "' is not a readable Parquet file: " + status.message());
}

// Four bytes of length alone would take more: such a chunk keeps its texts by dictionary.
bool by_dictionary(const parquet::ColumnChunkMetaData& chunk) {
  return chunk.has_dictionary_page() && chunk.num_values() > 0 &&
         chunk.total_uncompressed_size() < 4 * chunk.num_values();
}

struct File {
  fs::path path;
  std::shared_ptr<parquet::FileMetaData> metadata;
};

struct Group {
  std::size_t file = 0;
  int index = 0;
};

Result<std::unique_ptr<parquet::arrow::FileReader>> open_file(
    const File& file, const parquet::ArrowReaderProperties& properties) {
  auto input = arrow::io::ReadableFile::Open(file.path.string());
  if (!input.ok()) return unreadable(input.status(), file.path);
  parquet::arrow::FileReaderBuilder builder;
  if (auto opened = builder.Open(*input, parquet::default_reader_properties(), file.metadata);
      !opened.ok())
    return unreadable(opened, file.path);
  std::unique_ptr<parquet::arrow::FileReader> reader;
  if (auto built = builder.properties(properties)->Build(&reader); !built.ok())
    return unreadable(built, file.path);
  return reader;
}

}  // namespace

struct GroupScan::Impl {
  std::vector<File> files;
  std::vector<Group> groups;
  Schema schema;
  std::int64_t rows = 0;

  Result<void> walk(const Context& ctx, std::size_t number, const std::vector<std::size_t>& wanted,
                    std::size_t worker, const Visit& visit) const;
};

GroupScan::GroupScan(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
GroupScan::GroupScan(GroupScan&&) noexcept = default;
GroupScan& GroupScan::operator=(GroupScan&&) noexcept = default;
GroupScan::~GroupScan() = default;
const Schema& GroupScan::schema() const { return impl_->schema; }
std::int64_t GroupScan::rows() const { return impl_->rows; }
std::size_t GroupScan::groups() const { return impl_->groups.size(); }

std::size_t GroupScan::workers(int threads) {
  return static_cast<std::size_t>(threads > 0 ? threads : default_threads());
}

Result<GroupScan> GroupScan::open(const std::vector<fs::path>& files) {
  if (files.empty()) return invalid_argument("there are no Parquet files to read");
  auto impl = std::make_unique<Impl>();
  try {
    for (const auto& path : files) {
      auto reader = open_file({path, nullptr}, parquet::ArrowReaderProperties());
      if (!reader) return reader.error();
      std::shared_ptr<arrow::Schema> schema;
      if (auto got = (*reader)->GetSchema(&schema); !got.ok()) return unreadable(got, path);
      auto plain = schema_of(*schema);
      if (!plain) return plain.error().at(path.string());
      if (impl->files.empty()) impl->schema = *plain;
      if (plain->names() != impl->schema.names()) {
        return invalid_argument(
            fmt::format("'{}' has other columns than '{}'", path.string(), files.front().string()));
      }
      File file{path, (*reader)->parquet_reader()->metadata()};
      for (int i = 0; i < file.metadata->num_row_groups(); ++i)
        impl->groups.push_back({impl->files.size(), i});
      impl->rows += file.metadata->num_rows();
      impl->files.push_back(std::move(file));
    }
  } catch (const parquet::ParquetException& failure) {
    return invalid_argument(std::string("not a readable Parquet file: ") + failure.what());
  }
  return GroupScan(std::move(impl));
}

Result<void> GroupScan::Impl::walk(const Context& ctx, std::size_t number,
                                   const std::vector<std::size_t>& wanted, std::size_t worker,
                                   const Visit& visit) const {
  const Group& group = groups[number];
  const File& file = files[group.file];
  const auto facts = file.metadata->RowGroup(group.index);
  parquet::ArrowReaderProperties properties;
  properties.set_use_threads(false);
  properties.set_batch_size(kBatchRows);
  std::vector<int> indices;
  std::vector<bool> coded;
  for (const auto column : wanted) {
    const auto index = static_cast<int>(column);  // the five types have one leaf each
    indices.push_back(index);
    coded.push_back(schema.fields[column].type == Type::text &&
                    by_dictionary(*facts->ColumnChunk(index)));
    properties.set_read_dictionary(index, coded.back());
  }
  auto reader = open_file(file, properties);
  if (!reader) return reader.error();
  auto batches = (*reader)->GetRecordBatchReader({group.index}, indices);
  if (!batches.ok()) return unreadable(batches.status(), file.path);
  while (true) {
    if (auto going = ctx.check(); !going) return going.error();
    std::shared_ptr<arrow::RecordBatch> batch;
    if (auto read = (*batches)->ReadNext(&batch); !read.ok()) return unreadable(read, file.path);
    if (batch == nullptr) return {};
    GroupBatch out{number, batch->num_rows(), {}};
    std::vector<Columns> owners;  // of what the views borrow
    std::vector<std::shared_ptr<arrow::Array>> arrays;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const auto& name = schema.fields[wanted[i]].name;
      auto array = batch->GetColumnByName(name);
      if (array == nullptr) return internal("column '" + name + "' was not read");
      GroupColumn column;
      if (array->type_id() == arrow::Type::DICTIONARY) {
        const auto& dictionary = static_cast<const arrow::DictionaryArray&>(*array);
        const auto& codes = static_cast<const arrow::Int32Array&>(*dictionary.indices());
        column.codes = codes.raw_values();
        column.offset = codes.offset();
        if (codes.null_count() > 0) column.validity = codes.null_bitmap_data();
        arrays.push_back(array);
        array = dictionary.dictionary();
      }
      auto table = plain_table(arrow::Table::Make(
          arrow::schema({arrow::field(name, array->type())}), arrow::ArrayVector{array}));
      if (!table) return table.error().at(file.path.string());
      auto owner = Columns::from_table(*table);
      if (!owner) return owner.error().at(file.path.string());
      column.view = owner->batch().columns[0];
      owners.push_back(std::move(*owner));
      out.columns.push_back(column);
    }
    visit(worker, out);
  }
}

Result<void> GroupScan::run(const Context& ctx, const std::vector<std::size_t>& columns,
                            int threads, const Visit& visit, const Finished& finished) const {
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::optional<Error> failed;
  const auto fail = [&](Error error) {
    const std::scoped_lock lock(mutex);
    if (!failed) failed = std::move(error);
    next = groups();
  };
  const std::size_t used = std::min(workers(threads), std::max<std::size_t>(groups(), 1));
  parallel_for(
      used, 1,
      [&](std::size_t worker, std::size_t) {
        for (std::size_t group = next++; group < groups(); group = next++) {
          try {
            if (auto walked = impl_->walk(ctx, group, columns, worker, visit); !walked) {
              fail(walked.error());
              return;
            }
          } catch (const parquet::ParquetException& failure) {
            fail(invalid_argument(std::string("not a readable Parquet file: ") + failure.what()));
            return;
          }
          if (finished) finished(worker, group);
        }
      },
      static_cast<int>(used));
  if (failed) return *failed;
  return {};
}

}  // namespace slipway::data
