#include "data/engine.h"

#include <arrow/api.h>
#include <arrow/c/bridge.h>

#include "base/file.h"
#include "base/parallel.h"
#include "data/engine_internal.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

Error arrow_error(const arrow::Status& status, std::string_view doing) {
  const Code code = status.IsOutOfMemory() ? Code::resource_exhausted : Code::internal;
  return {code, fmt::format("cannot {}: {}", doing, status.message())};
}

// What DuckDB calls its pieces of a result, brought to Arrow.
class ArrowReader {
 public:
  static Result<ArrowReader> open(duckdb_result* result) {
    ArrowReader reader;
    *reader.options_.out() = duckdb_result_get_arrow_options(result);
    const auto count = duckdb_column_count(result);
    std::vector<duck::LogicalType> types(count);
    std::vector<duckdb_logical_type> borrowed;
    std::vector<const char*> names;
    for (idx_t i = 0; i < count; ++i) {
      *types[i].out() = duckdb_column_logical_type(result, i);
      borrowed.push_back(types[i].get());
      names.push_back(duckdb_column_name(result, i));
    }
    ArrowSchema schema{};
    duck::ErrorData failed;
    *failed.out() = duckdb_to_arrow_schema(reader.options_.get(), borrowed.data(), names.data(),
                                           count, &schema);
    if (failed.get() != nullptr && duckdb_error_data_has_error(failed.get())) {
      return duck::translate(duckdb_error_data_message(failed.get()), {});
    }
    auto imported = arrow::ImportSchema(&schema);
    if (!imported.ok()) return arrow_error(imported.status(), "take over the result's schema");
    reader.schema_ = *imported;
    return reader;
  }

  Result<std::shared_ptr<arrow::RecordBatch>> convert(duckdb_data_chunk chunk) const {
    ArrowArray array{};
    duck::ErrorData failed;
    *failed.out() = duckdb_data_chunk_to_arrow(options_.get(), chunk, &array);
    if (failed.get() != nullptr && duckdb_error_data_has_error(failed.get())) {
      return duck::translate(duckdb_error_data_message(failed.get()), {});
    }
    auto batch = arrow::ImportRecordBatch(&array, schema_);
    if (!batch.ok()) return arrow_error(batch.status(), "take over rows of the result");
    return *batch;
  }
  const std::shared_ptr<arrow::Schema>& schema() const { return schema_; }

 private:
  duck::ArrowOptions options_;
  std::shared_ptr<arrow::Schema> schema_;
};

// One contiguous array per column, so that Columns::from_table has nothing to copy. Column by
// column: the pieces of one are freed before the next is joined.
Result<TablePtr> join_batches(const std::shared_ptr<arrow::Schema>& schema,
                              const std::vector<std::shared_ptr<arrow::RecordBatch>>& batches) {
  auto table = arrow::Table::FromRecordBatches(schema, batches);
  if (!table.ok()) return arrow_error(table.status(), "join the result's rows");
  auto joined = (*table)->CombineChunks();
  if (!joined.ok()) return arrow_error(joined.status(), "join the result's rows");
  return *joined;
}

}  // namespace

Result<void> EngineOptions::validate() const {
  if (memory_limit_mb < 64) {
    return invalid_argument(fmt::format("memory_limit_mb is at least 64, got {}", memory_limit_mb));
  }
  if (threads < 0)
    return invalid_argument(fmt::format("threads is 0 (all) or more, got {}", threads));
  return {};
}

struct Engine::Impl {
  duck::Database database;
  std::mutex mutex;
  std::vector<duck::Connection> idle;
  std::set<std::string> names;
  std::map<std::string, Source> sources;  // of the names that are views over files
  std::optional<TempDir> spool;           // files of what DuckDB does not read itself
  std::vector<std::string> secrets;       // values that no message may show
  fs::path temp;

  Result<fs::path> spool_folder() {
    const std::scoped_lock lock(mutex);
    if (!spool) {
      auto made = TempDir::create(temp, "spool");
      if (!made) return made.error();
      spool.emplace(std::move(*made));
    }
    return spool->path();
  }

  Error redacted(Error error) {
    const std::scoped_lock lock(mutex);
    for (const auto& secret : secrets) {
      if (secret.empty()) continue;
      for (auto at = error.message.find(secret); at != std::string::npos;
           at = error.message.find(secret, at)) {
        error.message.replace(at, secret.size(), "***");
        at += 3;
      }
    }
    return error;
  }

  // A connection for one call; it goes back to the idle ones afterwards.
  struct Lease {
    Impl* owner;
    duck::Connection connection;
    Lease(Impl* from, duck::Connection taken) : owner(from), connection(std::move(taken)) {}
    Lease(Lease&& other) noexcept
        : owner(std::exchange(other.owner, nullptr)), connection(std::move(other.connection)) {}
    Lease& operator=(Lease&&) = delete;
    ~Lease() {
      if (owner == nullptr) return;
      const std::scoped_lock lock(owner->mutex);
      owner->idle.push_back(std::move(connection));
    }
    duckdb_connection get() const { return connection.get(); }
  };

  Result<Lease> lease() {
    const std::scoped_lock lock(mutex);
    if (!idle.empty()) {
      duck::Connection connection = std::move(idle.back());
      idle.pop_back();
      return Lease(this, std::move(connection));
    }
    duck::Connection connection;
    if (duckdb_connect(database.get(), connection.out()) != DuckDBSuccess) {
      return internal("the SQL engine gives no connection");
    }
    return Lease(this, std::move(connection));
  }

  // What a failed query means: that it was no longer wanted, else DuckDB's report in our words.
  Error explain(const Context& ctx, duckdb_connection connection, const char* report,
                const duck::SqlText& text) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    const std::string_view said = report == nullptr ? "" : report;
    if (const auto bad = duck::bad_time(said); bad && !bad->column.empty()) {
      std::map<std::string, Source> searched;
      {
        const std::scoped_lock lock(mutex);
        searched = sources;
      }
      for (const auto& [name, source] : searched) {
        const auto place = duck::locate(connection, source, bad->column, bad->value);
        if (place) return invalid_argument(duck::not_a_time(*bad)).at(*place);
      }
    }
    return redacted(duck::translate(said, text));
  }
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Engine::~Engine() { impl_->idle.clear(); }

Result<std::unique_ptr<Engine>> Engine::open(const EngineOptions& options) {
  if (auto valid = options.validate(); !valid) return valid.error();
  const fs::path temp = options.temp_dir.empty() ? fs::temp_directory_path() : options.temp_dir;
  duck::Config config;
  if (duckdb_create_config(config.out()) != DuckDBSuccess)
    return internal("the SQL engine gives no configuration");
  const int threads = options.threads > 0 ? options.threads : default_threads();
  const std::pair<const char*, std::string> settings[] = {
      {"memory_limit", std::to_string(options.memory_limit_mb) + "MiB"},
      {"threads", std::to_string(threads)},
      {"temp_directory", temp.string()},
      {"autoinstall_known_extensions", "false"},
      {"autoload_known_extensions", "false"},
      {"allow_community_extensions", "false"},
      {"allow_persistent_secrets", "false"},
      {"preserve_insertion_order", "true"},
  };
  for (const auto& [key, value] : settings) {
    if (duckdb_set_config(config.get(), key, value.c_str()) != DuckDBSuccess) {
      return internal(fmt::format("the SQL engine refuses {} = {}", key, value));
    }
  }
  auto impl = std::make_unique<Impl>();
  impl->temp = temp;
  char* reason = nullptr;
  if (duckdb_open_ext(nullptr, impl->database.out(), config.get(), &reason) != DuckDBSuccess) {
    const std::string text = reason == nullptr ? "no reason given" : reason;
    duckdb_free(reason);
    return internal("the SQL engine does not start: " + text);
  }
  {
    auto lease = impl->lease();
    if (!lease) return lease.error();
    // An as-of join by nested loop is chosen for a left side that is estimated small: minutes when
    // that is wrong.
    std::string setup =
        "SET GLOBAL errors_as_json = true; SET GLOBAL TimeZone = 'UTC'; "
        "SET GLOBAL asof_loop_join_threshold = 0;";
    if (!options.allowed_folders.empty()) {
      std::vector<std::string> folders = {quote_text(temp.string())};
      for (const auto& folder : options.allowed_folders)
        folders.push_back(quote_text(fs::absolute(folder).string()));
      setup += fmt::format(
          "SET GLOBAL allowed_directories = [{}]; SET GLOBAL enable_external_access = false;",
          fmt::join(folders, ", "));
    }
    if (auto done = duck::run(lease->get(), setup); !done) return done.error();
  }
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Result<void> Engine::add_source(const std::string& name, const Source& source) {
  auto added = add_source(Context{}, name, source);
  return added ? Result<void>() : Result<void>(added.error());
}

Result<AddedSource> Engine::add_source(const Context& ctx, const std::string& name,
                                       const Source& source) {
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  const auto spool = impl_->spool_folder();
  if (!spool) return spool.error();
  const duck::Watch watch(ctx, lease->get());
  std::vector<std::string> secrets;
  const auto reached = duck::reach(ctx, lease->get(), source, *spool, secrets);
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->secrets.insert(impl_->secrets.end(), secrets.begin(), secrets.end());
  }
  if (!reached) return impl_->redacted(reached.error());
  const auto body = duck::source_sql(lease->get(), *reached);
  if (!body) return impl_->redacted(body.error());
  auto made =
      duck::run(lease->get(), "CREATE OR REPLACE VIEW " + quote_name(name) + " AS " + *body);
  if (!made) return impl_->redacted(made.error());
  const std::scoped_lock lock(impl_->mutex);
  impl_->names.insert(name);
  impl_->sources[name] = source;
  return AddedSource{reached->offsets};
}

Result<std::vector<FileFacts>> Engine::facts(const Context& ctx, const Source& source) {
  if (is_local_files(source)) return file_facts(ctx, source);
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  const duck::Watch watch(ctx, lease->get());
  std::vector<std::string> secrets;
  auto facts = duck::remote_facts(ctx, lease->get(), source, secrets);
  {
    const std::scoped_lock lock(impl_->mutex);
    impl_->secrets.insert(impl_->secrets.end(), secrets.begin(), secrets.end());
  }
  if (!facts) return impl_->redacted(facts.error());
  return facts;
}

Result<void> Engine::add_table(const std::string& name, const TablePtr& table) {
  const auto schema = schema_of(table);  // refuses types that are none of the five
  if (!schema) return schema.error();
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  auto reader = std::make_shared<arrow::TableBatchReader>(table);
  ArrowArrayStream stream{};
  if (auto exported = arrow::ExportRecordBatchReader(reader, &stream); !exported.ok()) {
    return arrow_error(exported, "hand a table to the SQL engine");
  }
  const std::string staged = "slipway staged " + name;
  const auto scanned = duckdb_arrow_scan(lease->get(), staged.c_str(),
                                         reinterpret_cast<duckdb_arrow_stream>(&stream));
  Result<void> made = internal("the SQL engine does not take table '" + name + "'");
  if (scanned == DuckDBSuccess) {
    std::vector<std::string> columns;
    for (const auto& field : schema->fields) {
      columns.push_back(fmt::format("CAST({0} AS {1}) AS {0}", quote_name(field.name),
                                    duck::sql_type(field.type)));
    }
    made = duck::run(lease->get(),
                     fmt::format("CREATE OR REPLACE TABLE {} AS SELECT {} FROM {}",
                                 quote_name(name), fmt::join(columns, ", "), quote_name(staged)));
    auto dropped = duck::run(lease->get(), "DROP VIEW IF EXISTS " + quote_name(staged));
    if (made && !dropped) made = dropped;
  }
  if (stream.release != nullptr) stream.release(&stream);
  if (!made) return made;
  const std::scoped_lock lock(impl_->mutex);
  impl_->names.insert(name);
  impl_->sources.erase(name);
  return {};
}

std::vector<std::string> Engine::relations() const {
  const std::scoped_lock lock(impl_->mutex);
  return {impl_->names.begin(), impl_->names.end()};
}

std::optional<Source> Engine::source_of(const std::string& name) const {
  const std::scoped_lock lock(impl_->mutex);
  const auto found = impl_->sources.find(name);
  if (found == impl_->sources.end()) return std::nullopt;
  return found->second;
}

Result<void> Engine::define(const std::string& name, const std::string& sql,
                            const SqlOrigin& origin) {
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  const auto user_sql = duck::first_statement(sql);
  const auto bound = duck::bind_select(lease->get(), sql, {user_sql, 0, origin});
  if (!bound) return impl_->redacted(bound.error());
  const auto head = "CREATE OR REPLACE VIEW " + quote_name(name) + " AS ";
  auto made =
      duck::run(lease->get(), head + std::string(user_sql), {user_sql, head.size(), origin});
  if (!made) return impl_->redacted(made.error());
  const std::scoped_lock lock(impl_->mutex);
  impl_->names.insert(name);
  impl_->sources.erase(name);
  return {};
}

Result<Schema> Engine::describe(const std::string& sql, const SqlOrigin& origin) {
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  const auto bound = duck::bind_select(lease->get(), sql, {sql, 0, origin});
  if (!bound) return bound.error();
  Schema schema;
  for (const auto& column : bound->columns)
    schema.fields.push_back({column.name, column.target.type, true});
  return schema;
}

Result<TablePtr> Engine::query(const Context& ctx, const std::string& sql,
                               const SqlOrigin& origin) {
  if (auto wanted = ctx.check(); !wanted) return wanted.error();
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  const auto bound = duck::bind_select(lease->get(), sql, {sql, 0, origin});
  if (!bound) return impl_->redacted(bound.error());
  const auto user_sql = duck::first_statement(sql);
  const auto wrapped = duck::wrap(user_sql, bound->columns);
  const duck::SqlText text{user_sql, wrapped.begin, origin};
  const auto failed = [&](const char* report) {
    return impl_->explain(ctx, lease->get(), report, text);
  };

  const duck::Watch watch(ctx, lease->get());
  duck::Prepared prepared;
  if (duckdb_prepare(lease->get(), wrapped.sql.c_str(), prepared.out()) != DuckDBSuccess) {
    return failed(duckdb_prepare_error(prepared.get()));
  }
  duck::Pending pending;
  if (duckdb_pending_prepared_streaming(prepared.get(), pending.out()) != DuckDBSuccess) {
    return failed(duckdb_pending_error(pending.get()));
  }
  duck::QueryResult result;
  if (duckdb_execute_pending(pending.get(), result.get()) != DuckDBSuccess) {
    return failed(duckdb_result_error(result.get()));
  }
  const auto reader = ArrowReader::open(result.get());
  if (!reader) return reader.error();
  std::vector<std::shared_ptr<arrow::RecordBatch>> batches;
  while (true) {
    duck::Chunk chunk;
    *chunk.out() = duckdb_fetch_chunk(*result.get());
    if (chunk.get() == nullptr) break;
    if (duckdb_data_chunk_get_size(chunk.get()) == 0) continue;
    auto batch = reader->convert(chunk.get());
    if (!batch) return batch.error();
    batches.push_back(std::move(*batch));
  }
  if (const char* report = duckdb_result_error(result.get()); report != nullptr && *report != 0)
    return failed(report);
  if (auto wanted = ctx.check(); !wanted) return wanted.error();
  return join_batches(reader->schema(), batches);
}

Result<std::int64_t> Engine::write_parquet(const Context& ctx, const std::string& sql,
                                           const fs::path& file, const SqlOrigin& origin) {
  if (auto wanted = ctx.check(); !wanted) return wanted.error();
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  const auto bound = duck::bind_select(lease->get(), sql, {sql, 0, origin});
  if (!bound) return impl_->redacted(bound.error());
  const auto user_sql = duck::first_statement(sql);
  auto wrapped = duck::wrap(user_sql, bound->columns);
  constexpr std::string_view kCopy = "COPY (";
  const auto copy = fmt::format("{}{}\n) TO {} (FORMAT parquet, COMPRESSION zstd)", kCopy,
                                wrapped.sql, quote_text(file.string()));
  const duck::Watch watch(ctx, lease->get());
  duck::QueryResult result;
  if (duckdb_query(lease->get(), copy.c_str(), result.get()) != DuckDBSuccess) {
    std::error_code ignored;
    fs::remove(file, ignored);
    return impl_->explain(ctx, lease->get(), duckdb_result_error(result.get()),
                          {user_sql, wrapped.begin + kCopy.size(), origin});
  }
  return duck::single_integer(result.get());
}

Result<void> Engine::execute(const std::string& sql) {
  auto lease = impl_->lease();
  if (!lease) return lease.error();
  return duck::run(lease->get(), sql, {sql, 0});
}

std::string quote_name(std::string_view name) {
  std::string quoted = "\"";
  for (const char c : name) quoted.append(c == '"' ? 2 : 1, c);
  return quoted + '"';
}

std::string quote_text(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) quoted.append(c == '\'' ? 2 : 1, c);
  return quoted + '\'';
}

}  // namespace slipway::data
