// CSV: the header, the dialect and the types of columns, settled before a row is read.
// The form is RFC 4180's with what people do to it; DuckDB's sniffer finds delimiter and quote
// (https://duckdb.org/docs/stable/data/csv/auto_detection), everything else is declared or fixed.
#include <unistd.h>

#include <fstream>

#include "base/spec.h"
#include "data/source_internal.h"

namespace slipway::data::duck {

namespace fs = std::filesystem;

namespace {

// Rows looked at for numbers that would lose something: leading zeros, digits beyond a double.
constexpr int kRowsOfDigits = 20'480;

// The dialect with nothing left open.
struct Settled {
  char delimiter = ',';
  char quote = '"';
  char escape = '"';
  std::string encoding = "utf-8";
  std::string compression;  // empty: by the file's ending
};

// The fields of a CSV header line.
std::vector<std::string> split_header(std::string_view line, const Settled& dialect) {
  std::vector<std::string> fields(1);
  bool quoted = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (c == dialect.quote) {
      if (quoted && i + 1 < line.size() && line[i + 1] == dialect.quote) {
        fields.back() += line[++i];
      } else {
        quoted = !quoted;
      }
    } else if (c == dialect.delimiter && !quoted) {
      fields.emplace_back();
    } else {
      fields.back() += c;
    }
  }
  return fields;
}

std::string options_of_file(const Settled& dialect) {
  std::string options = ", encoding = " + quote_text(dialect.encoding);
  if (!dialect.compression.empty()) options += ", compression = " + quote_text(dialect.compression);
  return options;
}

// The line that holds the header. Each line is read as one field: the delimiter is a character that
// no text file holds.
Result<std::string> first_line_of(duckdb_connection connection, const fs::path& file,
                                  const Source& source, const Settled& dialect) {
  const auto lines = texts(
      connection,
      fmt::format(
          "SELECT line FROM read_csv({}, auto_detect = false, columns = {{'line': 'VARCHAR'}}, "
          "header = false, skip = {}, delim = '\x01', quote = '', escape = '', comment = {}, "
          "strict_mode = false, hive_partitioning = false{}) LIMIT 1",
          quote_text(file.string()), source.csv.skip, quote_text(source.csv.comment),
          options_of_file(dialect)));
  if (!lines) return lines.error();
  if (lines->empty() || lines->front().empty()) {
    return invalid_argument(file.string() + ": the file does not begin with a header line");
  }
  return lines->front();
}

// The header's names.
Result<std::vector<std::string>> csv_header(duckdb_connection connection, const fs::path& file,
                                            const Source& source, const Settled& dialect) {
  const auto line = first_line_of(connection, file, source, dialect);
  if (!line) return line.error();
  auto header = split_header(*line, dialect);
  if (!source.csv.header) {
    for (std::size_t i = 0; i < header.size(); ++i) header[i] = fmt::format("column{}", i);
    return header;
  }
  const auto place = fmt::format("{}:{}", file.string(), source.csv.skip + 1);
  std::set<std::string> seen;
  for (std::size_t i = 0; i < header.size(); ++i) {
    if (header[i].empty()) {
      return invalid_argument(fmt::format("{}: column {} of the header has no name", place, i + 1));
    }
    if (!seen.insert(header[i]).second) {
      return invalid_argument(
          fmt::format("{}: column '{}' stands twice in the header", place, header[i]));
    }
  }
  return header;
}

std::vector<Reading> as_text(const std::vector<std::string>& header) {
  std::vector<Reading> columns;
  for (const auto& name : header) columns.push_back({name, "VARCHAR", ""});
  return columns;
}

std::string csv_dialect(const Source& source, const Settled& dialect) {
  std::vector<std::string> nulls = {"''"};
  for (const auto& text : source.null_values) nulls.push_back(quote_text(text));
  const auto one = [](char c) { return quote_text(std::string(1, c)); };
  return fmt::format(
      "delim = {}, quote = {}, escape = {}, comment = {}, header = {}, skip = {}, "
      "decimal_separator = {}, strict_mode = true, null_padding = false, nullstr = [{}]{}",
      one(dialect.delimiter), one(dialect.quote), one(dialect.escape),
      quote_text(source.csv.comment), source.csv.header ? "true" : "false", source.csv.skip,
      one(source.csv.decimal), fmt::join(nulls, ", "), options_of_file(dialect));
}

// The first bytes of a local file say how it is packed and encoded, whatever its name.
void look_at_marks(const fs::path& file, const Source& source, Settled& dialect) {
  std::ifstream in(file, std::ios::binary);
  char bytes[4] = {};
  in.read(bytes, sizeof bytes);
  const std::string_view mark(bytes, static_cast<std::size_t>(in.gcount()));
  if (mark.starts_with("\x1f\x8b")) dialect.compression = "gzip";
  if (mark.starts_with("\x28\xb5\x2f\xfd")) dialect.compression = "zstd";
  const bool utf16 = mark.starts_with("\xff\xfe") || mark.starts_with("\xfe\xff");
  if (utf16 && source.csv.encoding.empty()) dialect.encoding = "utf-16";
}

// Not named when there is none: the sniffer takes an empty comment for something else than none.
std::string comment_of(const Source& source) {
  return source.csv.comment.empty() ? "" : ", comment = " + quote_text(source.csv.comment);
}

// Of the usual delimiters, the one that the line holds most of.
char most_frequent(std::string_view line) {
  char best = ',';
  for (const char c : {',', ';', '\t', '|'}) {
    if (std::count(line.begin(), line.end(), c) > std::count(line.begin(), line.end(), best))
      best = c;
  }
  return best;
}

Settled settle(duckdb_connection connection, const Source& source, const fs::path& file) {
  Settled dialect;
  if (!source.csv.encoding.empty()) dialect.encoding = source.csv.encoding;
  if (!is_url(file.string())) look_at_marks(file, source, dialect);
  std::optional<char> delimiter = source.csv.delimiter;
  std::optional<char> quote = source.csv.quote;
  if (!delimiter) {
    // The sniffer looks at rows, and takes a character that is nowhere when they are ragged.
    const auto line = first_line_of(connection, file, source, dialect);
    const auto sniffed =
        texts(connection,
              fmt::format("SELECT Delimiter || Quote FROM sniff_csv({}, header = {}, skip = {}, "
                          "sample_size = {}{}{})",
                          quote_text(file.string()), source.csv.header ? "true" : "false",
                          source.csv.skip, kFewRows, comment_of(source), options_of_file(dialect)));
    if (line && sniffed && sniffed->size() == 1 && !sniffed->front().empty() &&
        line->find(sniffed->front().front()) != std::string::npos) {
      delimiter = sniffed->front().front();
      const auto rest = std::string_view(sniffed->front()).substr(1);
      if (!quote && rest.size() == 1) quote = rest.front();
    } else if (line) {
      delimiter = most_frequent(*line);
    }
  }
  dialect.delimiter = delimiter.value_or(',');
  dialect.quote = quote.value_or('"');
  dialect.escape = source.csv.escape.value_or(dialect.quote);
  return dialect;
}

// Columns that were taken for numbers and hold texts such as "007", or integers too long for a
// double: as numbers they would be other values.
Result<std::set<std::string>> digits_to_keep(duckdb_connection connection,
                                             const std::vector<Column>& columns,
                                             const Source& source, const std::string& reader) {
  std::vector<const Column*> asked;
  std::vector<std::string> parts;
  for (const auto& column : columns) {
    if (source.types.contains(column.name)) continue;
    if (column.target.type != Type::int64 && column.target.type != Type::float64) continue;
    asked.push_back(&column);
    const auto name = quote_name(column.name);
    auto part = fmt::format(
        "coalesce(bool_or(starts_with({0}, '0') AND substr({0}, 2, 1) BETWEEN '0' AND '9'), false)",
        name);
    if (column.target.type == Type::float64) {
      part += fmt::format(
          " OR coalesce(bool_or(length({0}) > 17 AND NOT regexp_matches({0}, "
          "'[^0-9+-]')), false)",
          name);
    }
    parts.push_back(fmt::format("CASE WHEN {} THEN '1' ELSE '0' END", part));
  }
  std::set<std::string> keep;
  if (asked.empty()) return keep;
  const auto found =
      texts(connection, fmt::format("SELECT concat({}) FROM (SELECT * FROM {} LIMIT {})",
                                    fmt::join(parts, ", "), reader, kRowsOfDigits));
  if (!found) return found.error();
  for (std::size_t i = 0; i < asked.size() && !found->empty(); ++i) {
    if (found->front()[i] == '1') keep.insert(asked[i]->name);
  }
  return keep;
}

}  // namespace

Result<std::string> csv_sql(duckdb_connection connection, const Source& source,
                            const std::vector<fs::path>& files) {
  const auto settled = settle(connection, source, files.front());
  std::vector<std::string> header;
  for (const auto& file : files) {
    auto names = csv_header(connection, file, source, settled);
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
  const auto partitions = partitions_of(files);
  if (!partitions) return partitions.error();
  auto names = header;
  for (const auto& column : partitions->columns) names.push_back(column.name);
  if (auto known = check_declared(source.types, names, files.front().string()); !known)
    return known.error();

  const auto dialect = csv_dialect(source, settled) + hive_types(*partitions);
  std::vector<Reading> declared;
  for (const auto& [name, type] : source.types) {
    if (std::find(header.begin(), header.end(), name) != header.end())
      declared.push_back(reading_of({name, {type, ""}, DUCKDB_TYPE_VARCHAR}, source));
  }
  const auto sniffed = columns_of(
      connection,
      fmt::format("read_csv({}, {}, sample_size = {}{})", list_of(files), dialect, kSampleRows,
                  declared.empty() ? "" : ", types = " + struct_of(declared)));
  const auto text_reader = fmt::format("read_csv({}, auto_detect = false, columns = {}, {})",
                                       list_of(files), struct_of(as_text(header)), dialect);
  if (!sniffed || sniffed->size() != names.size()) {
    // The sniffer only says that it gave up. Reading every field as text names the line.
    auto read = texts(connection, "SELECT max(length(COLUMNS(*))) FROM " + text_reader);
    if (!read) return read.error();
    if (!sniffed) return sniffed.error();
    return invalid_argument(fmt::format("{}: not a table of {} columns separated by '{}'",
                                        files.front().string(), header.size(), settled.delimiter));
  }
  auto columns = *sniffed;
  for (std::size_t i = header.size(); i < columns.size(); ++i)
    columns[i] = partitions->columns[i - header.size()];
  const std::vector<Column> fields(columns.begin(),
                                   columns.begin() + static_cast<std::ptrdiff_t>(header.size()));
  const auto keep = digits_to_keep(connection, fields, source, text_reader);
  if (!keep) return keep.error();
  std::vector<Reading> reading;
  for (auto column : columns) {
    if (keep->contains(column.name)) column = {column.name, {Type::text, ""}, DUCKDB_TYPE_VARCHAR};
    reading.push_back(reading_of(column, source));
  }
  const std::vector<Reading> in_file(reading.begin(),
                                     reading.begin() + static_cast<std::ptrdiff_t>(header.size()));
  // Detection stays on, over a few rows, though nothing is left to detect: without it the reader
  // estimates a handful of rows, and the optimizer plans joins for those. (With comments, DuckDB's
  // detection does not take declared columns.)
  const auto detection = source.csv.comment.empty() ? fmt::format("sample_size = {}", kFewRows)
                                                    : std::string("auto_detect = false");
  return select_plain(reading, fmt::format("read_csv({}, columns = {}, {}, {})", list_of(files),
                                           struct_of(in_file), dialect, detection));
}

std::optional<std::string> locate(duckdb_connection connection, const Source& source,
                                  const std::string& column, const std::string& text) {
  if (source.kind != Source::Kind::csv || !is_local_files(source)) return std::nullopt;
  const auto files = expand(source);
  if (!files) return std::nullopt;
  const auto settled = settle(connection, source, files->front());
  for (const auto& file : *files) {
    const auto header = csv_header(connection, file, source, settled);
    if (!header || std::find(header->begin(), header->end(), column) == header->end()) continue;
    const auto lines =
        texts(connection,
              fmt::format(
                  "SELECT CAST(line AS VARCHAR) FROM (SELECT {0} AS v, row_number() OVER () + {1} "
                  "AS line FROM read_csv({2}, columns = {3}, {4}, parallel = false, "
                  "hive_partitioning = false)) WHERE v = {5} LIMIT 1",
                  quote_name(column), source.csv.skip + (source.csv.header ? 1 : 0),
                  quote_text(file.string()), struct_of(as_text(*header)),
                  csv_dialect(source, settled), quote_text(text)));
    if (lines && !lines->empty()) return file.string() + ":" + lines->front();
  }
  return std::nullopt;
}

}  // namespace slipway::data::duck
