// Statements and sources on one DuckDB connection.
#include "base/spec.h"
#include "data/engine_internal.h"

namespace slipway::data::duck {

namespace fs = std::filesystem;

namespace {

constexpr int kFewRows = 2'048;
constexpr int kSampleRows = 102'400;  // looked at for the types of columns that declare none

std::string list_of(const std::vector<fs::path>& files) {
  std::vector<std::string> quoted;
  for (const auto& file : files) quoted.push_back(quote_text(file.string()));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

// How a column of a CSV or JSON file is read, and brought to its plain type. Declared times and
// times with an offset are read as text: the reader itself would drop the offset (TIMESTAMP) or
// turn what is no time into null (with time zone).
struct Reading {
  std::string name;
  std::string type;   // of the reader
  std::string plain;  // the expression over it
};

Reading reading_of(const Column& found, const std::map<std::string, Type>& declared) {
  const auto given = declared.find(found.name);
  const auto name = quote_name(found.name);
  const Type type = given != declared.end() ? given->second : found.target.type;
  if (type == Type::timestamp &&
      (given != declared.end() || found.raw == DUCKDB_TYPE_TIMESTAMP_TZ)) {
    return {found.name, "VARCHAR",
            fmt::format("CAST(CAST({0} AS TIMESTAMP WITH TIME ZONE) AS TIMESTAMP) AS {0}", name)};
  }
  const std::string read(found.raw == DUCKDB_TYPE_DATE && type == Type::timestamp ? "DATE"
                                                                                  : sql_type(type));
  return {found.name, read, fmt::format("CAST({0} AS {1}) AS {0}", name, sql_type(type))};
}

std::string select_plain(const std::vector<Reading>& columns, const std::string& from) {
  std::vector<std::string> parts;
  for (const auto& column : columns) parts.push_back(column.plain);
  return fmt::format("SELECT {} FROM {}", fmt::join(parts, ", "), from);
}

// {'a': 'BIGINT', …}
std::string struct_of(const std::vector<Reading>& columns) {
  std::vector<std::string> parts;
  for (const auto& column : columns) {
    parts.push_back(quote_text(column.name) + ": " + quote_text(column.type));
  }
  return fmt::format("{{{}}}", fmt::join(parts, ", "));
}

Result<void> check_declared(const std::map<std::string, Type>& declared,
                            const std::vector<std::string>& names, const fs::path& file) {
  for (const auto& [column, type] : declared) {
    if (std::find(names.begin(), names.end(), column) != names.end()) continue;
    const auto near = nearest(column, names);
    return invalid_argument(
        fmt::format("{}: types declares column '{}', which the file does not have{}", file.string(),
                    column, near ? "; did you mean '" + *near + "'?" : ""));
  }
  return {};
}

// Columns of a relation, before it is brought to the plain types.
Result<std::vector<Column>> columns_of(duckdb_connection connection, const std::string& from) {
  auto bound = bind_select(connection, "SELECT * FROM " + from, {});
  if (!bound) return bound.error();
  return std::move(bound->columns);
}

// The fields of a CSV header line.
std::vector<std::string> split_header(std::string_view line, char delimiter) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == '"') {
      if (quoted && i + 1 < line.size() && line[i + 1] == '"') {
        fields.back() += line[++i];
      } else {
        quoted = !quoted;
      }
    } else if (c == delimiter && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

Result<std::vector<std::string>> csv_header(duckdb_connection connection, const fs::path& file,
                                            char delimiter) {
  // Each line as one field: the delimiter is a character that no text file holds.
  const auto lines = texts(
      connection,
      fmt::format(
          "SELECT line FROM read_csv({}, auto_detect = false, columns = {{'line': 'VARCHAR'}}, "
          "header = false, "
          "delim = '\x01', quote = '', escape = '', comment = '', strict_mode = false) LIMIT 1",
          quote_text(file.string())));
  if (!lines) return lines.error();
  if (lines->empty() || lines->front().empty()) {
    return invalid_argument(file.string() + ": the file does not begin with a header line");
  }
  auto header = split_header(lines->front(), delimiter);
  std::set<std::string> seen;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (header[i].empty()) {
      return invalid_argument(
          fmt::format("{}:1: column {} of the header has no name", file.string(), i + 1));
    }
    if (!seen.insert(header[i]).second) {
      return invalid_argument(
          fmt::format("{}:1: column '{}' stands twice in the header", file.string(), header[i]));
    }
  }
  return header;
}

std::vector<Reading> as_text(const std::vector<std::string>& header) {
  std::vector<Reading> columns;
  for (const auto& name : header) columns.push_back({name, "VARCHAR", ""});
  return columns;
}

// Everything about the form of a CSV file is declared, nothing guessed.
std::string csv_dialect(const Source& source) {
  std::vector<std::string> nulls = {"''"};
  for (const auto& text : source.null_values) nulls.push_back(quote_text(text));
  return fmt::format(
      "delim = {}, quote = '\"', escape = '\"', comment = '', header = true, skip = 0, strict_mode "
      "= true, "
      "null_padding = false, nullstr = [{}]",
      quote_text(std::string(1, source.delimiter)), fmt::join(nulls, ", "));
}

Result<std::string> csv_sql(duckdb_connection connection, const Source& source,
                            const std::vector<fs::path>& files) {
  std::vector<std::string> header;
  for (const auto& file : files) {
    auto names = csv_header(connection, file, source.delimiter);
    if (!names) return names.error();
    if (header.empty()) {
      header = std::move(*names);
    } else if (*names != header) {
      return invalid_argument(fmt::format(
          "{}:1: the header differs from that of {}; files of one source have the same columns "
          "in the same order",
          file.string(), files.front().string()));
    }
  }
  if (auto known = check_declared(source.types, header, files.front()); !known)
    return known.error();

  const auto dialect = csv_dialect(source);
  std::vector<Reading> declared;
  for (const auto& [name, type] : source.types) {
    declared.push_back(reading_of({name, {type, ""}, DUCKDB_TYPE_VARCHAR}, source.types));
  }
  const auto sniffed = columns_of(
      connection,
      fmt::format("read_csv({}, {}, sample_size = {}{})", list_of(files), dialect, kSampleRows,
                  declared.empty() ? "" : ", types = " + struct_of(declared)));
  if (!sniffed || sniffed->size() != header.size()) {
    // The sniffer only says that it gave up. Reading every field as text names the line.
    auto read = texts(connection, fmt::format("SELECT max(length(COLUMNS(*))) FROM read_csv({}, "
                                              "auto_detect = false, columns = {}, {})",
                                              list_of(files), struct_of(as_text(header)), dialect));
    if (!read) return read.error();
    if (!sniffed) return sniffed.error();
    return invalid_argument(fmt::format("{}: not a table of {} columns separated by '{}'",
                                        files.front().string(), header.size(), source.delimiter));
  }
  std::vector<Reading> reading;
  for (const auto& column : *sniffed) reading.push_back(reading_of(column, source.types));
  // Detection stays on, over a few rows, though nothing is left to detect: without it the reader
  // estimates a handful of rows, and the optimizer plans joins for those.
  return select_plain(reading, fmt::format("read_csv({}, columns = {}, {}, sample_size = {})",
                                           list_of(files), struct_of(reading), dialect, kFewRows));
}

Result<std::string> jsonl_sql(duckdb_connection connection, const Source& source,
                              const std::vector<fs::path>& files) {
  const auto list = list_of(files);
  const auto found = columns_of(
      connection,
      fmt::format(
          "read_json({}, format = 'newline_delimited', sample_size = {}, union_by_name = true)",
          list, kSampleRows));
  if (!found) return found.error();
  std::vector<std::string> names;
  for (const auto& column : *found) names.push_back(column.name);
  if (auto known = check_declared(source.types, names, files.front()); !known) return known.error();
  std::vector<Reading> reading;
  for (const auto& column : *found) reading.push_back(reading_of(column, source.types));
  return select_plain(reading,
                      fmt::format("read_json({}, format = 'newline_delimited', columns = {})", list,
                                  struct_of(reading)));
}

Result<std::string> parquet_sql(duckdb_connection connection, const Source& source,
                                const std::vector<fs::path>& files) {
  const auto from = "read_parquet(" + list_of(files) + ")";
  auto found = columns_of(connection, from);
  if (!found) return found.error().at(files.front().string());
  std::vector<std::string> names;
  for (const auto& column : *found) names.push_back(column.name);
  if (auto known = check_declared(source.types, names, files.front()); !known) return known.error();
  std::vector<Reading> reading;
  for (const auto& column : *found) {
    const auto given = source.types.find(column.name);
    const Type type = given != source.types.end() ? given->second : column.target.type;
    reading.push_back(
        {column.name, "",
         fmt::format("CAST({0} AS {1}) AS {0}", quote_name(column.name), sql_type(type))});
  }
  return select_plain(reading, from);
}

}  // namespace

std::string_view first_statement(std::string_view sql) {
  std::size_t i = 0;
  const auto skip_to = [&](std::string_view end) {
    const auto at = sql.find(end, i);
    i = at == std::string_view::npos ? sql.size() : at + end.size();
  };
  while (i < sql.size()) {
    const char c = sql[i];
    if (c == ';') return sql.substr(0, i);
    ++i;
    if (c == '\'' || c == '"') {
      skip_to(std::string_view(&c, 1));
    } else if (c == '-' && i < sql.size() && sql[i] == '-') {
      skip_to("\n");
    } else if (c == '/' && i < sql.size() && sql[i] == '*') {
      ++i;
      skip_to("*/");
    } else if (c == '$' && i < sql.size() && sql[i] == '$') {
      ++i;
      skip_to("$$");
    }
  }
  return sql;
}

Result<Bound> bind_select(duckdb_connection connection, std::string_view sql) {
  return bind_select(connection, sql, {sql, 0});
}

Result<Bound> bind_select(duckdb_connection connection, std::string_view sql,
                          const SqlText& place) {
  const std::string text(sql);
  Statements statements;
  const auto count = duckdb_extract_statements(connection, text.c_str(), statements.out());
  if (count == 0) {
    const char* report = duckdb_extract_statements_error(statements.get());
    if (report != nullptr && *report != 0) return translate(report, place);
    return invalid_argument("the SQL is empty; a SELECT is wanted");
  }
  if (count > 1)
    return invalid_argument(
        fmt::format("the SQL holds {} statements; one SELECT is wanted", count));
  Bound bound;
  if (duckdb_prepare_extracted_statement(connection, statements.get(), 0, bound.statement.out()) !=
      DuckDBSuccess) {
    const char* report = duckdb_prepare_error(bound.statement.get());
    return translate(report == nullptr ? "" : report, place);
  }
  if (duckdb_prepared_statement_type(bound.statement.get()) != DUCKDB_STATEMENT_TYPE_SELECT) {
    return invalid_argument("the SQL is not a SELECT; a SELECT is wanted");
  }
  if (duckdb_nparams(bound.statement.get()) > 0) {
    return invalid_argument("the SQL has parameters (? or $1), which nothing fills in");
  }
  const auto columns = duckdb_prepared_statement_column_count(bound.statement.get());
  std::set<std::string> seen;
  for (idx_t i = 0; i < columns; ++i) {
    const char* held = duckdb_prepared_statement_column_name(bound.statement.get(), i);
    std::string name = held == nullptr ? "" : held;
    duckdb_free(const_cast<char*>(held));
    if (!seen.insert(name).second) {
      return invalid_argument("column '" + name +
                              "' stands twice in the result; rename one of them with AS");
    }
    const auto raw = duckdb_prepared_statement_column_type(bound.statement.get(), i);
    bound.columns.push_back({std::move(name), target_of(raw), raw});
  }
  return bound;
}

Wrapped wrap(std::string_view sql, const std::vector<Column>& columns) {
  std::vector<std::string> outer;
  std::vector<std::string> inner;
  for (const auto& column : columns) {
    const auto name = quote_name(column.name);
    outer.push_back(column.target.cast.empty()
                        ? name
                        : fmt::format("CAST({0} AS {1}) AS {0}", name, column.target.cast));
    inner.push_back(name);
  }
  const auto head = fmt::format("SELECT {} FROM (", fmt::join(outer, ", "));
  // the line break ends a comment in the user's last line
  return {fmt::format("{}{}\n) AS t({})", head, sql, fmt::join(inner, ", ")), head.size()};
}

Result<void> run(duckdb_connection connection, const std::string& sql, const SqlText& text) {
  QueryResult result;
  if (duckdb_query(connection, sql.c_str(), result.get()) == DuckDBSuccess) return {};
  const char* report = duckdb_result_error(result.get());
  return translate(report == nullptr ? "" : report, text);
}

Result<std::vector<std::string>> texts(duckdb_connection connection, const std::string& sql) {
  QueryResult result;
  if (duckdb_query(connection, sql.c_str(), result.get()) != DuckDBSuccess) {
    const char* report = duckdb_result_error(result.get());
    return translate(report == nullptr ? "" : report, {});
  }
  std::vector<std::string> values;
  while (true) {
    Chunk chunk;
    *chunk.out() = duckdb_fetch_chunk(*result.get());
    if (chunk.get() == nullptr) return values;
    const auto column = duckdb_data_chunk_get_vector(chunk.get(), 0);
    auto* validity = duckdb_vector_get_validity(column);
    const bool is_text = duckdb_column_type(result.get(), 0) == DUCKDB_TYPE_VARCHAR;
    for (idx_t row = 0; row < duckdb_data_chunk_get_size(chunk.get()); ++row) {
      values.emplace_back();
      if (!is_text || (validity != nullptr && !duckdb_validity_row_is_valid(validity, row)))
        continue;
      auto& text = static_cast<duckdb_string_t*>(duckdb_vector_get_data(column))[row];
      values.back().assign(duckdb_string_t_data(&text), duckdb_string_t_length(text));
    }
  }
}

Result<std::int64_t> single_integer(duckdb_result* result) {
  Chunk chunk;
  *chunk.out() = duckdb_fetch_chunk(*result);
  if (chunk.get() == nullptr || duckdb_data_chunk_get_size(chunk.get()) == 0) {
    return internal("the SQL engine did not tell the number of rows");
  }
  return static_cast<std::int64_t*>(
      duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk.get(), 0)))[0];
}

Result<std::string> source_sql(duckdb_connection connection, const Source& source) {
  const auto files = expand(source);
  if (!files) return files.error();
  for (const auto& file : *files) {
    std::error_code failed;
    if (fs::file_size(file, failed) == 0 && !failed) {
      return invalid_argument(fmt::format("file '{}' is empty; {}", file.string(),
                                          source.kind == Source::Kind::csv
                                              ? "a CSV file has at least a header line"
                                              : "it has no columns"));
    }
  }
  switch (source.kind) {
    case Source::Kind::csv:
      return csv_sql(connection, source, *files);
    case Source::Kind::parquet:
      return parquet_sql(connection, source, *files);
    case Source::Kind::jsonl:
      return jsonl_sql(connection, source, *files);
  }
  return internal("unknown kind of source");
}

std::optional<std::string> locate(duckdb_connection connection, const Source& source,
                                  const std::string& column, const std::string& text) {
  if (source.kind != Source::Kind::csv) return std::nullopt;
  const auto files = expand(source);
  if (!files) return std::nullopt;
  for (const auto& file : *files) {
    const auto header = csv_header(connection, file, source.delimiter);
    if (!header || std::find(header->begin(), header->end(), column) == header->end()) continue;
    const auto lines = texts(
        connection,
        fmt::format("SELECT CAST(line AS VARCHAR) FROM (SELECT {0} AS v, row_number() OVER () + 1 "
                    "AS line FROM "
                    "read_csv({1}, columns = {2}, {3}, parallel = false)) WHERE v = {4} LIMIT 1",
                    quote_name(column), quote_text(file.string()), struct_of(as_text(*header)),
                    csv_dialect(source), quote_text(text)));
    if (lines && !lines->empty()) return file.string() + ":" + lines->front();
  }
  return std::nullopt;
}

}  // namespace slipway::data::duck
