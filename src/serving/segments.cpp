#include <arrow/api.h>
#include <arrow/io/file.h>
#include <fcntl.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/writer.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "serving/segments_internal.h"

namespace slipway::serving {
namespace {

namespace fs = std::filesystem;

// Small enough that find() reads little, large enough that columns compress.
constexpr std::int64_t kRowGroup = 8192;
// Those of a row without inputs.
constexpr int kPlainColumns = 7 + static_cast<int>(PredictionLog::kTraceColumns.size());

Error arrow_error(const arrow::Status& status, std::string_view doing, const fs::path& path) {
  const std::string message = fmt::format("{} '{}': {}", doing, path.string(), status.ToString());
  if (status.IsOutOfMemory()) return resource_exhausted(message);
  return status.IsIOError() ? unavailable(message) : data_loss(message);
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

fs::path ids_path(const fs::path& segment) { return fs::path(segment).replace_extension(".ids"); }

Result<void> write_ids(const fs::path& path, std::vector<std::uint64_t> hashes) {
  std::ranges::sort(hashes);
  return write_file_atomic(
      path, {reinterpret_cast<const char*>(hashes.data()), hashes.size() * sizeof(std::uint64_t)});
}

// Catches what Parquet throws (the library mixes statuses and exceptions).
template <class F>
auto guarded(std::string_view doing, const fs::path& path, F&& body) -> std::invoke_result_t<F> {
  try {
    return body();
  } catch (const std::exception& e) {
    return data_loss(fmt::format("{} '{}': {}", doing, path.string(), e.what()));
  }
}

Result<std::unique_ptr<parquet::arrow::FileReader>> open_parquet(const fs::path& path) {
  auto file = arrow::io::MemoryMappedFile::Open(path.string(), arrow::io::FileMode::READ);
  if (!file.ok()) return arrow_error(file.status(), "cannot open predictions", path);
  auto reader = parquet::arrow::OpenFile(*file, arrow::default_memory_pool());
  if (!reader.ok()) return arrow_error(reader.status(), "cannot read predictions", path);
  (*reader)->set_use_threads(false);
  return std::move(*reader);
}

Result<std::shared_ptr<arrow::Schema>> schema_in(parquet::arrow::FileReader& reader,
                                                 const fs::path& path) {
  std::shared_ptr<arrow::Schema> schema;
  if (auto status = reader.GetSchema(&schema); !status.ok()) {
    return arrow_error(status, "cannot read predictions", path);
  }
  return schema;
}

// Calls visit(index of the row in the table, value) over a column of int64 storage.
template <class F>
void each_integer(const arrow::ChunkedArray& column, F&& visit) {
  std::int64_t row = 0;
  for (const auto& chunk : column.chunks()) {
    const auto& data = *chunk->data();
    const auto* values = data.GetValues<std::int64_t>(1);
    for (std::int64_t i = 0; i < chunk->length(); ++i) visit(row++, values[i]);
  }
}

// Times mostly grow, so the rows in the range are a few runs, each a slice without a copy.
Result<data::TablePtr> filter_by_time(const data::TablePtr& table, Time from, Time to) {
  const auto column = table->GetColumnByName("time");
  std::vector<data::TablePtr> runs;
  std::int64_t begin = -1;
  const std::int64_t low = to_micros(from);
  const std::int64_t high = to_micros(to);
  each_integer(*column, [&](std::int64_t row, std::int64_t time) {
    const bool inside = time >= low && time < high;
    if (inside && begin < 0) begin = row;
    if (!inside && begin >= 0) {
      runs.push_back(table->Slice(begin, row - begin));
      begin = -1;
    }
  });
  if (begin >= 0) runs.push_back(table->Slice(begin));
  if (runs.empty()) return table->Slice(0, 0);
  if (runs.size() == 1) return runs.front();
  auto joined = arrow::ConcatenateTables(runs);
  if (!joined.ok()) return internal("cannot join predictions: " + joined.status().ToString());
  return *joined;
}

}  // namespace

std::uint64_t id_hash(std::string_view id) { return hash64(id); }

Result<std::shared_ptr<const IdFile>> IdFile::open(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) return errno_error(errno, "cannot open ids", path);
  struct stat status{};
  if (::fstat(file.get(), &status) != 0) return errno_error(errno, "cannot read ids", path);
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size == 0) return std::shared_ptr<const IdFile>(new IdFile({}));
  void* bytes = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
  if (bytes == MAP_FAILED) return errno_error(errno, "cannot map ids", path);
  return std::shared_ptr<const IdFile>(
      new IdFile({static_cast<const std::uint64_t*>(bytes), size / sizeof(std::uint64_t)}));
}

IdFile::~IdFile() {
  if (!hashes_.empty()) ::munmap(const_cast<std::uint64_t*>(hashes_.data()), hashes_.size_bytes());
}

// Interpolation search: hashes are uniform, so the value says about where it stands (Perl, Itai,
// Avni, "Interpolation search - a log log N search", CACM 21(7), 1978).
bool IdFile::contains(std::uint64_t hash) const {
  std::size_t low = 0;
  std::size_t high = hashes_.size();  // the value is in [low, high), if anywhere
  while (low < high) {
    const std::uint64_t first = hashes_[low];
    const std::uint64_t last = hashes_[high - 1];
    if (hash < first || hash > last) return false;
    if (first == last) return true;
    const auto step = static_cast<std::size_t>(
        static_cast<double>(high - 1 - low) *
        (static_cast<double>(hash - first) / static_cast<double>(last - first)));
    const std::size_t middle = std::min(low + step, high - 1);
    if (hashes_[middle] == hash) return true;
    if (hashes_[middle] < hash) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return false;
}

std::optional<Segment> parse_segment(const fs::path& path) {
  if (path.extension() != ".parquet") return std::nullopt;
  const std::string name = path.stem().string();
  long long number = 0;
  long long part = 0;
  long long first = 0;
  long long last = 0;
  long long rows = 0;
  std::array<char, 16> role{};
  int used = 0;
  // NOLINTNEXTLINE(cert-err34-c): out-of-range numbers only come from foreign files, whose rows
  // then do not add up
  if (std::sscanf(name.c_str(), "%lld-%lld_%15[a-z]_%lld_%lld_%lld%n", &number, &part, role.data(),
                  &first, &last, &rows, &used) != 6 ||
      static_cast<std::size_t>(used) != name.size()) {
    return std::nullopt;
  }
  const std::string_view role_name(role.data());
  if (role_name != "primary" && role_name != "shadow") return std::nullopt;
  return Segment{.path = path,
                 .file_number = number,
                 .part = part,
                 .role = role_name == "primary" ? Role::primary : Role::shadow,
                 .first = from_micros(first),
                 .last = from_micros(last),
                 .rows = rows};
}

struct SegmentWriter::Impl {
  Impl(fs::path place, std::int64_t file_number, std::int64_t part, Role rows_role,
       const data::Schema& schema)
      : folder(std::move(place)),
        name(fmt::format("{:08}-{:03}", file_number, part)),
        role(rows_role),
        rows(schema) {}

  Result<void> open();
  Result<void> write();
  fs::path temporary() const { return folder / ("." + name + ".tmp"); }

  const fs::path folder;
  const std::string name;
  const Role role;
  data::BatchBuilder rows;
  std::shared_ptr<arrow::io::FileOutputStream> file;
  std::unique_ptr<parquet::arrow::FileWriter> writer;
  std::int64_t first = std::numeric_limits<std::int64_t>::max();
  std::int64_t last = std::numeric_limits<std::int64_t>::min();
  std::int64_t count = 0;
  std::vector<std::uint64_t> hashes;  // of primary ids
};

Result<void> SegmentWriter::Impl::open() {
  return guarded("cannot write predictions", temporary(), [&]() -> Result<void> {
    auto stream = arrow::io::FileOutputStream::Open(temporary().string());
    if (!stream.ok()) return arrow_error(stream.status(), "cannot write predictions", temporary());
    file = *stream;
    auto empty = rows.to_table();
    if (!empty) return empty.error();
    parquet::WriterProperties::Builder properties;
    properties.compression(parquet::Compression::ZSTD)->max_row_group_length(kRowGroup);
    auto opened = parquet::arrow::FileWriter::Open(
        *(*empty)->schema(), arrow::default_memory_pool(), file, properties.build());
    if (!opened.ok()) return arrow_error(opened.status(), "cannot write predictions", temporary());
    writer = std::move(*opened);
    return {};
  });
}

Result<void> SegmentWriter::Impl::write() {
  auto batch = rows.batch();
  if (!batch) return batch.error();
  for (std::int64_t row = 0; row < batch->rows; ++row) {
    const std::int64_t time = batch->columns[1].integer(row);
    first = std::min(first, time);
    last = std::max(last, time);
    if (role == Role::primary) hashes.push_back(id_hash(batch->columns[0].text(row)));
  }
  count += batch->rows;
  auto table = rows.to_table();
  if (!table) return table.error();
  auto written = guarded("cannot write predictions", temporary(), [&]() -> Result<void> {
    if (auto status = writer->WriteTable(**table, kRowGroup); !status.ok()) {
      return arrow_error(status, "cannot write predictions", temporary());
    }
    return {};
  });
  rows.clear();
  return written;
}

Result<std::unique_ptr<SegmentWriter>> SegmentWriter::create(const fs::path& folder,
                                                             std::int64_t file_number,
                                                             std::int64_t part, Role role,
                                                             const data::Schema& schema) {
  auto impl = std::make_unique<Impl>(folder, file_number, part, role, schema);
  if (auto opened = impl->open(); !opened) return opened.error();
  return std::unique_ptr<SegmentWriter>(new SegmentWriter(std::move(impl)));
}

SegmentWriter::SegmentWriter(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

SegmentWriter::~SegmentWriter() {
  std::error_code ignored;
  fs::remove(impl_->temporary(), ignored);
}

data::BatchBuilder& SegmentWriter::rows() { return impl_->rows; }

Result<void> SegmentWriter::flush() {
  if (impl_->rows.rows(0) < kRowGroup) return {};
  return impl_->write();
}

Result<Segment> SegmentWriter::finish() {
  Impl& impl = *impl_;
  if (impl.rows.rows(0) > 0) {
    if (auto written = impl.write(); !written) return written.error();
  }
  const fs::path temporary = impl.temporary();
  auto closed = guarded("cannot write predictions", temporary, [&]() -> Result<void> {
    auto status = impl.writer->Close();
    if (status.ok()) status = impl.file->Close();
    if (!status.ok()) return arrow_error(status, "cannot write predictions", temporary);
    return fsync_path(temporary);
  });
  if (!closed) return closed.error();
  const fs::path path =
      impl.folder / fmt::format("{}_{}_{}_{}_{}.parquet", impl.name, to_string(impl.role),
                                impl.first, impl.last, impl.count);
  if (impl.role == Role::primary) {
    if (auto written = write_ids(ids_path(path), std::move(impl.hashes)); !written)
      return written.error();
  }
  if (auto renamed = rename_durable(temporary, path); !renamed) return renamed.error();
  Segment segment = *parse_segment(path);
  if (auto opened = open_ids(segment, true); !opened) return opened.error();
  return segment;
}

Result<void> open_ids(Segment& segment, bool may_write) {
  if (segment.role != Role::primary) return {};
  const fs::path path = ids_path(segment.path);
  auto ids = IdFile::open(path);
  if (ids && (*ids)->size() == static_cast<std::size_t>(segment.rows)) {
    segment.ids = std::move(*ids);
    return {};
  }
  if (!may_write) {
    return failed_precondition(fmt::format(
        "'{}' is missing or has the wrong size; the server makes it anew when it starts",
        path.string()));
  }
  auto table = read_segment(segment, Time::min(), Time::max(), {"id"});
  if (!table) return table.error();
  std::vector<std::uint64_t> hashes;
  for (const auto& chunk : (*table)->column(0)->chunks()) {
    const auto& texts = static_cast<const arrow::StringArray&>(*chunk);
    for (std::int64_t i = 0; i < texts.length(); ++i) hashes.push_back(id_hash(texts.GetView(i)));
  }
  if (hashes.size() != static_cast<std::size_t>(segment.rows)) {
    return data_loss(fmt::format("'{}' has {} rows, its name says {}", segment.path.string(),
                                 hashes.size(), segment.rows));
  }
  if (auto written = write_ids(path, std::move(hashes)); !written) return written;
  auto again = IdFile::open(path);
  if (!again) return again.error();
  segment.ids = std::move(*again);
  return {};
}

Result<data::TablePtr> read_segment(const Segment& segment, Time from, Time to,
                                    const std::vector<std::string>& columns) {
  return guarded("cannot read predictions", segment.path, [&]() -> Result<data::TablePtr> {
    auto reader = open_parquet(segment.path);
    if (!reader) return reader.error();
    const bool filter = !segment.whole(from, to);
    std::vector<int> wanted;
    auto schema = schema_in(**reader, segment.path);
    if (!schema) return schema.error();
    for (int i = 0; i < (*schema)->num_fields(); ++i) {
      const std::string& name = (*schema)->field(i)->name();
      if (columns.empty() || std::ranges::find(columns, name) != columns.end() ||
          (filter && name == "time")) {
        wanted.push_back(i);
      }
    }
    auto table = (*reader)->ReadTable(wanted);
    if (!table.ok()) return arrow_error(table.status(), "cannot read predictions", segment.path);
    if (!filter) return *table;
    return filter_by_time(*table, from, to);
  });
}

Result<data::TablePtr> read_segment_schema(const Segment& segment) {
  return guarded("cannot read predictions", segment.path, [&]() -> Result<data::TablePtr> {
    auto reader = open_parquet(segment.path);
    if (!reader) return reader.error();
    auto schema = schema_in(**reader, segment.path);
    if (!schema) return schema.error();
    auto table = arrow::Table::MakeEmpty(*schema);
    if (!table.ok()) return arrow_error(table.status(), "cannot read predictions", segment.path);
    return *table;
  });
}

Result<std::optional<data::TablePtr>> find_in_segment(const Segment& segment, std::string_view id) {
  using Found = std::optional<data::TablePtr>;
  return guarded("cannot read predictions", segment.path, [&]() -> Result<Found> {
    auto reader = open_parquet(segment.path);
    if (!reader) return reader.error();
    for (int group = 0; group < (*reader)->num_row_groups(); ++group) {
      auto ids = (*reader)->ReadRowGroup(group, std::vector<int>{0});
      if (!ids.ok()) return arrow_error(ids.status(), "cannot read predictions", segment.path);
      std::int64_t row = 0;
      for (const auto& chunk : (*ids)->column(0)->chunks()) {
        const auto& texts = static_cast<const arrow::StringArray&>(*chunk);
        for (std::int64_t i = 0; i < texts.length(); ++i, ++row) {
          if (texts.GetView(i) != id) continue;
          auto table = (*reader)->ReadRowGroup(group);
          if (!table.ok())
            return arrow_error(table.status(), "cannot read predictions", segment.path);
          return Found((*table)->Slice(row, 1));
        }
      }
    }
    return Found{};
  });
}

Result<data::TablePtr> unite(const std::vector<data::TablePtr>& tables,
                             const std::vector<std::string>& columns) {
  // Names in the order of the newest table that has inputs, then what only older ones have.
  std::vector<std::shared_ptr<arrow::Field>> fields;
  std::unordered_set<std::string> seen;
  std::vector<data::TablePtr> by_width = tables;
  std::ranges::reverse(by_width);
  std::ranges::stable_partition(
      by_width, [](const auto& table) { return table->num_columns() > kPlainColumns; });
  for (const auto& table : by_width) {
    for (const auto& field : table->schema()->fields()) {
      if (seen.insert(field->name()).second)
        fields.push_back(field->WithMetadata(nullptr)->WithNullable(true));
    }
  }
  if (!columns.empty()) {
    std::vector<std::shared_ptr<arrow::Field>> chosen;
    for (const auto& name : columns) {
      const auto found =
          std::ranges::find(fields, name, [](const auto& field) { return field->name(); });
      if (found != fields.end()) chosen.push_back(*found);
    }
    fields = std::move(chosen);
  }
  const auto schema = arrow::schema(fields);
  std::vector<data::TablePtr> same;
  same.reserve(tables.size());
  for (const auto& table : tables) {
    std::vector<std::shared_ptr<arrow::ChunkedArray>> arrays;
    arrays.reserve(fields.size());
    for (const auto& field : fields) {
      auto array = table->GetColumnByName(field->name());
      if (array == nullptr || !array->type()->Equals(*field->type())) {
        auto nulls = arrow::MakeArrayOfNull(field->type(), table->num_rows());
        if (!nulls.ok())
          return internal("cannot make an empty column: " + nulls.status().ToString());
        array = std::make_shared<arrow::ChunkedArray>(*nulls);
      }
      arrays.push_back(std::move(array));
    }
    same.push_back(arrow::Table::Make(schema, std::move(arrays), table->num_rows()));
  }
  auto joined = arrow::ConcatenateTables(same);
  if (!joined.ok()) return internal("cannot join predictions: " + joined.status().ToString());
  return *joined;
}

}  // namespace slipway::serving
