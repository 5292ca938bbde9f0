#include "models/batch_file.h"

#include <arrow/api.h>
#include <arrow/csv/writer.h>
#include <arrow/io/memory.h>
#include <fcntl.h>
#include <parquet/arrow/writer.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "base/spec.h"
#include "models/batch_rows_internal.h"
#include "models/parquet_splice_internal.h"

namespace slipway::models {
namespace {

constexpr int kJournalVersion = 1;
constexpr std::chrono::milliseconds kSyncEvery{500};

Error arrow_failed(const arrow::Status& status, std::string_view doing) {
  if (status.IsOutOfMemory())
    return resource_exhausted("no memory left while " + std::string(doing));
  return internal(std::string(doing) + ": " + status.message());
}

// ---- one piece

// What the model takes, with whole numbers and flags as reals where it takes reals.
class ModelColumns {
 public:
  static Result<ModelColumns> of(const data::Schema& inputs, const data::Batch& batch) {
    ModelColumns out;
    out.schema_ = std::make_unique<data::Schema>();
    out.batch_.rows = batch.rows;
    for (const data::Field& field : inputs.fields) {
      const auto at = batch.schema->find(field.name);
      if (!at) return at.error();
      data::ColumnView column = batch.columns[*at];
      if (column.type != field.type) {
        const bool widens =
            field.type == data::Type::float64 &&
            (column.type == data::Type::int64 || column.type == data::Type::boolean);
        if (!widens) {
          return invalid_argument(fmt::format("column '{}' holds {}, and the model takes {}",
                                              field.name, to_string(column.type),
                                              to_string(field.type)));
        }
        auto& reals = out.made_.emplace_back(static_cast<std::size_t>(batch.rows));
        for (std::int64_t row = 0; row < batch.rows; ++row)
          reals[static_cast<std::size_t>(row)] = column.number(row);  // null is NaN: missing, too
        column = {.type = data::Type::float64, .rows = batch.rows, .values = reals.data()};
      }
      out.schema_->fields.push_back(field);
      out.batch_.columns.push_back(column);
    }
    out.batch_.schema = out.schema_.get();
    return out;
  }
  const data::Batch& batch() const { return batch_; }

 private:
  std::unique_ptr<data::Schema> schema_;
  std::deque<std::vector<double>> made_;
  data::Batch batch_;
};

std::shared_ptr<arrow::Array> real_column(std::span<const double> numbers, std::size_t width,
                                          std::size_t at) {
  const std::size_t rows = numbers.size() / width;
  auto buffer = arrow::AllocateBuffer(static_cast<std::int64_t>(rows * sizeof(double)));
  if (!buffer.ok()) return nullptr;
  std::shared_ptr<arrow::Buffer> owned = std::move(*buffer);
  auto* into = reinterpret_cast<double*>(owned->mutable_data());
  for (std::size_t row = 0; row < rows; ++row) into[row] = numbers[row * width + at];
  return std::make_shared<arrow::DoubleArray>(static_cast<std::int64_t>(rows), owned);
}

struct Piece {
  std::int64_t rows = 0;
  std::string bytes;      // to be appended
  std::string row_group;  // Parquet: offsets from the bytes' front
  std::string footer;
};

class PieceMaker {
 public:
  PieceMaker(const Servable& model, const BatchFileOptions& options)
      : model_(model), options_(options), as_csv_(options.output.extension() == ".csv") {
    const std::size_t width = model.width();
    for (std::size_t k = 0; k < width; ++k)
      added_.push_back(width == 1 ? options.score : fmt::format("{}_{}", options.score, k));
    if (!options.contributions) return;
    std::vector<std::string> features = model.explained();
    features.emplace_back("base");
    for (std::size_t k = 0; k < width; ++k) {
      for (const std::string& feature : features)
        added_.push_back(width == 1 ? "contribution_" + feature
                                    : fmt::format("contribution_{}_{}", k, feature));
    }
  }

  Result<void> check(const arrow::Schema& schema) const {
    if (options_.contributions && model_.explained().empty())
      return invalid_argument("this model cannot tell what its features contribute: trees can");
    for (const data::Field& field : model_.inputs().fields) {
      if (schema.GetFieldIndex(field.name) >= 0) continue;
      const auto near = nearest(field.name, schema.field_names());
      return invalid_argument(fmt::format("'{}' has no column '{}', which the model takes{}",
                                          options_.input.string(), field.name,
                                          near ? "; there is '" + *near + "'" : std::string()));
    }
    for (const std::string& name : options_.keep) {
      if (schema.GetFieldIndex(name) < 0)
        return invalid_argument(
            fmt::format("'{}' has no column '{}' to keep", options_.input.string(), name));
    }
    for (const std::string& name : added_) {
      if (kept(name) && schema.GetFieldIndex(name) >= 0) {
        return invalid_argument(
            fmt::format("'{}' has a column '{}' already: name another with "
                        "--score",
                        options_.input.string(), name));
      }
    }
    return {};
  }

  // `first`: a CSV begins with its heading.
  Result<Piece> make(const std::shared_ptr<arrow::Table>& table, bool first) const {
    auto columns = data::Columns::from_table(table);
    if (!columns) return columns.error();
    const auto takes = ModelColumns::of(model_.inputs(), columns->batch());
    if (!takes) return takes.error();
    const auto rows = static_cast<std::size_t>(table->num_rows());
    const std::size_t width = model_.width();
    std::vector<double> numbers(rows * width);
    if (auto done = model_.predict(takes->batch(), numbers, 1); !done) return done.error();
    std::vector<double> contributions;
    if (options_.contributions) {
      contributions.resize(rows * width * (model_.explained().size() + 1));
      if (auto done = model_.contributions(takes->batch(), contributions); !done)
        return done.error();
    }
    arrow::FieldVector fields;
    arrow::ChunkedArrayVector arrays;
    for (int i = 0; i < table->num_columns(); ++i) {
      if (!kept(table->field(i)->name())) continue;
      fields.push_back(table->field(i));
      arrays.push_back(table->column(i));
    }
    const std::size_t more = added_.size() - width;
    for (std::size_t k = 0; k < added_.size(); ++k) {
      auto array =
          k < width ? real_column(numbers, width, k) : real_column(contributions, more, k - width);
      if (array == nullptr) return resource_exhausted("no memory left for the scores");
      fields.push_back(arrow::field(added_[k], arrow::float64(), false));
      arrays.push_back(std::make_shared<arrow::ChunkedArray>(std::move(array)));
    }
    return encode(
        *arrow::Table::Make(arrow::schema(std::move(fields)), std::move(arrays), table->num_rows()),
        first);
  }

 private:
  bool kept(const std::string& name) const {
    return options_.keep.empty() || std::ranges::find(options_.keep, name) != options_.keep.end();
  }

  Result<Piece> encode(const arrow::Table& table, bool first) const {
    Piece piece{.rows = table.num_rows()};
    auto stream = arrow::io::BufferOutputStream::Create(1 << 20);
    if (!stream.ok()) return arrow_failed(stream.status(), "writing scores");
    if (as_csv_) {
      auto options = arrow::csv::WriteOptions::Defaults();
      options.include_header = first;
      options.quoting_style = arrow::csv::QuotingStyle::Needed;
      if (auto done = arrow::csv::WriteCSV(table, options, stream->get()); !done.ok())
        return arrow_failed(done, "writing scores");
    } else {
      parquet::WriterProperties::Builder properties;
      properties.compression(arrow::Compression::SNAPPY);
      for (const std::string& name : added_) properties.disable_dictionary(name);
      parquet::ArrowWriterProperties::Builder arrow_properties;
      arrow_properties.store_schema();
      if (auto done = parquet::arrow::WriteTable(table, arrow::default_memory_pool(), *stream,
                                                 std::max<std::int64_t>(1, piece.rows),
                                                 properties.build(), arrow_properties.build());
          !done.ok()) {
        return arrow_failed(done, "writing scores");
      }
    }
    auto buffer = (*stream)->Finish();
    if (!buffer.ok()) return arrow_failed(buffer.status(), "writing scores");
    const std::string_view bytes(reinterpret_cast<const char*>((*buffer)->data()),
                                 static_cast<std::size_t>((*buffer)->size()));
    if (as_csv_) {
      piece.bytes = bytes;
      return piece;
    }
    auto part = split_parquet(bytes);
    if (!part) return part.error();
    if (part->row_groups.size() > 1) return internal("a piece became several row groups");
    piece.bytes = part->data;
    piece.footer = std::move(part->footer);
    if (!part->row_groups.empty()) piece.row_group = std::move(part->row_groups.front());
    return piece;
  }

  const Servable& model_;
  const BatchFileOptions& options_;
  bool as_csv_;
  std::vector<std::string> added_;
};

// ---- what is on the disk

Result<void> write_all(int file, std::string_view bytes, const std::filesystem::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) return errno_error(errno, "writing", path);
    if (written > 0) bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

// OUTPUT.partial and OUTPUT.journal. The journal's first line says what is being made; each
// further one accounts for a piece whose bytes are on the disk.
class PartialFile {
 public:
  static Result<std::unique_ptr<PartialFile>> open(const BatchFileOptions& options, bool parquet,
                                                   const Json& identity) {
    auto file = std::unique_ptr<PartialFile>(new PartialFile(options.output, parquet));
    auto lock = FileLock::acquire(file->output_.string() + ".lock",
                                  "the output '" + options.output.string() + "'");
    if (!lock) return lock.error();
    file->lock_.emplace(std::move(*lock));
    file->resume(identity);
    file->data_ = ::open(file->partial_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (file->data_ < 0) return errno_error(errno, "opening", file->partial_);
    if (ftruncate(file->data_, file->end_) != 0 || lseek(file->data_, file->end_, SEEK_SET) < 0)
      return errno_error(errno, "cutting", file->partial_);
    // The journal anew, with what holds: a torn last line goes.
    std::string text = identity.dump() + "\n";
    for (const std::string& line : file->lines_) text += line + "\n";
    if (auto written = write_file_atomic(file->journal_, text); !written) return written.error();
    file->log_ = ::open(file->journal_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file->log_ < 0) return errno_error(errno, "opening", file->journal_);
    if (parquet && file->end_ == 0) {
      if (auto begun = write_all(file->data_, kParquetMagic, file->partial_); !begun)
        return begun.error();
      file->end_ = static_cast<std::int64_t>(kParquetMagic.size());
    }
    return file;
  }
  ~PartialFile() {
    if (data_ >= 0) close(data_);
    if (log_ >= 0) close(log_);
  }
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  std::int64_t rows() const { return rows_; }

  Result<void> append(const Piece& piece) {
    Json line = {{"rows", piece.rows}};
    if (parquet_) {
      const auto shift = end_ - static_cast<std::int64_t>(kParquetMagic.size());
      auto group = shifted(piece.row_group, shift);
      if (!group) return group.error();
      line["group"] = to_base64(*group);
      if (footer_.empty()) {
        footer_ = piece.footer;
        line["footer"] = to_base64(footer_);
      }
      groups_.push_back(std::move(*group));
    }
    if (auto written = write_all(data_, piece.bytes, partial_); !written) return written;
    end_ += static_cast<std::int64_t>(piece.bytes.size());
    rows_ += piece.rows;
    line["end"] = end_;
    pending_ += line.dump() + "\n";
    if (std::chrono::steady_clock::now() - synced_ < kSyncEvery) return {};
    return sync();
  }

  Result<void> sync() {
    synced_ = std::chrono::steady_clock::now();
    if (fdatasync(data_) != 0) return errno_error(errno, "writing", partial_);
    if (auto written = write_all(log_, pending_, journal_); !written) return written;
    pending_.clear();
    if (fdatasync(log_) != 0) return errno_error(errno, "writing", journal_);
    return {};
  }

  // `empty`: a piece of no rows, for a file that has none.
  Result<void> finish(const Piece& empty) {
    if (parquet_) {
      auto end = parquet_end(footer_.empty() ? empty.footer : footer_, groups_, rows_);
      if (!end) return end.error();
      if (auto written = write_all(data_, *end, partial_); !written) return written;
    } else if (rows_ == 0) {
      if (auto written = write_all(data_, empty.bytes, partial_); !written) return written;
    }
    if (fsync(data_) != 0) return errno_error(errno, "writing", partial_);
    if (auto moved = rename_durable(partial_, output_); !moved) return moved;
    std::error_code ignored;
    std::filesystem::remove(journal_, ignored);
    std::filesystem::remove(output_.string() + ".lock", ignored);
    return {};
  }

 private:
  PartialFile(const std::filesystem::path& output, bool parquet)
      : output_(output),
        partial_(output.string() + ".partial"),
        journal_(output.string() + ".journal"),
        parquet_(parquet) {}

  // Takes over the pieces of a run before that made the same thing.
  void resume(const Json& identity) {
    const auto text = read_file(journal_);
    std::error_code error;
    const auto size = std::filesystem::file_size(partial_, error);
    if (!text || error) return;
    std::string_view rest = *text;
    const auto next_line = [&]() -> std::optional<std::string> {
      const std::size_t end = rest.find('\n');
      if (end == std::string_view::npos) return std::nullopt;
      std::string line(rest.substr(0, end));
      rest.remove_prefix(end + 1);
      return line;
    };
    const auto head = next_line();
    if (!head || *head != identity.dump()) return;
    while (const auto line = next_line()) {
      const auto json = parse_json(*line, "journal");
      if (!json || !json->is_object()) return;
      const auto end = json->value("end", std::int64_t{-1});
      const auto rows = json->value("rows", std::int64_t{-1});
      if (end < end_ || rows < 0 || static_cast<std::uintmax_t>(end) > size) return;
      if (parquet_) {
        const auto group = from_base64(json->value("group", std::string()));
        const auto footer = from_base64(json->value("footer", std::string()));
        if (!group || !footer) return;
        if (!footer->empty()) footer_ = *footer;
        groups_.push_back(*group);
      }
      end_ = end;
      rows_ += rows;
      lines_.push_back(*line);
    }
  }

  std::filesystem::path output_, partial_, journal_;
  bool parquet_;
  std::optional<FileLock> lock_;
  int data_ = -1;
  int log_ = -1;
  std::int64_t end_ = 0;
  std::int64_t rows_ = 0;
  std::string footer_;
  std::vector<std::string> groups_;
  std::vector<std::string> lines_;  // of runs before
  std::string pending_;
  std::chrono::steady_clock::time_point synced_ = std::chrono::steady_clock::now();
};

// A run goes on only with the same input, model and options.
Result<Json> identity_of(const BatchFileOptions& options) {
  struct stat facts{};
  if (stat(options.input.c_str(), &facts) != 0) {
    if (errno == ENOENT) return not_found("file '" + options.input.string() + "' does not exist");
    return errno_error(errno, "looking at", options.input);
  }
  return Json{{"version", kJournalVersion},
              {"input", std::filesystem::absolute(options.input).string()},
              {"bytes", facts.st_size},
              {"changed", facts.st_mtim.tv_sec * 1'000'000'000 + facts.st_mtim.tv_nsec},
              {"model", options.model_digest},
              {"keep", options.keep},
              {"score", options.score},
              {"contributions", options.contributions},
              {"nulls", options.null_values},
              {"piece", kPieceRows}};
}

}  // namespace

Result<BatchFileReport> predict_file(const Context& ctx, const Servable& model,
                                     const BatchFileOptions& options,
                                     const BatchProgress& progress) {
  const auto ending = options.output.extension();
  if (ending != ".parquet" && ending != ".csv")
    return invalid_argument("'" + options.output.string() + "' has to end in .parquet or .csv");
  std::error_code same;
  if (std::filesystem::equivalent(options.input, options.output, same))
    return invalid_argument("the output '" + options.output.string() + "' is the input");
  const auto identity = identity_of(options);
  if (!identity) return identity.error();
  const PieceMaker maker(model, options);
  // The columns are looked at before anything is written.
  auto rows = open_rows(options, model.inputs(), 0);
  if (!rows) return rows.error();
  if (auto fits = maker.check(*(*rows)->schema()); !fits) return fits.error();
  auto file = PartialFile::open(options, ending == ".parquet", *identity);
  if (!file) return file.error();
  BatchFileReport report{.rows = 0, .resumed_rows = (*file)->rows()};
  if (report.resumed_rows > 0) {
    rows = open_rows(options, model.inputs(), report.resumed_rows);
    if (!rows) return rows.error();
  }

  const auto at_once =
      static_cast<std::size_t>(options.threads > 0 ? options.threads : default_threads());
  std::deque<std::future<Result<Piece>>> under_way;
  const auto take_first = [&]() -> Result<void> {
    auto piece = under_way.front().get();
    under_way.pop_front();
    if (!piece) return piece.error();
    if (auto appended = (*file)->append(*piece); !appended) return appended;
    if (progress) progress((*file)->rows(), (*rows)->rows());
    return {};
  };
  bool first = report.resumed_rows == 0;
  const auto read_on = [&]() -> Result<void> {
    while (true) {
      if (auto wanted = ctx.check(); !wanted) return wanted;
      auto table = (*rows)->next();
      if (!table) return table.error();
      if (*table == nullptr) break;
      while (under_way.size() >= at_once) {
        if (auto taken = take_first(); !taken) return taken;
      }
      under_way.push_back(
          std::async(std::launch::async, [&maker, piece = *std::move(table), heading = first] {
            return maker.make(piece, heading);
          }));
      first = false;
    }
    while (!under_way.empty()) {
      if (auto taken = take_first(); !taken) return taken;
    }
    return {};
  };
  auto done = read_on();
  for (auto& piece : under_way) piece.wait();
  if (!done) {
    // What is done stays for the next run.
    if (auto kept = (*file)->sync(); !kept) return kept.error();
    return done.error();
  }
  Piece empty;
  if ((*file)->rows() == 0) {
    auto none = arrow::Table::MakeEmpty((*rows)->schema());
    if (!none.ok()) return arrow_failed(none.status(), "writing scores");
    auto made = maker.make(*none, true);
    if (!made) return made.error();
    empty = std::move(*made);
  }
  if (auto finished = (*file)->finish(empty); !finished) return finished.error();
  report.rows = (*file)->rows();
  return report;
}

}  // namespace slipway::models
