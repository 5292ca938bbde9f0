// Where raw data stands, and how to read it. A Source is a plain declaration; Engine::add_source
// makes it a relation that SQL can name.
//   flights: {path: data/flights.csv, null_values: [NA], types: {time_hour: timestamp}}
//   weather: {path: "s3://raw/weather-*.parquet", credentials: {key_id: env:KEY, secret:
//   env:SECRET}} events:  {path: data/events/, format: parquet}        # a folder partitioned by
//   key=value orders:  {path: "postgres://db.local/shop", table: orders, credentials: {password:
//   env:PGPASS}}
// A secret never stands in a declaration: it is named (env:NAME, file:PATH) and read when the
// source is opened. A value type; the functions here read the file system and hold nothing.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/spec.h"
#include "data/table.h"

namespace slipway::data {

// How the fields of a CSV file are told apart. What is not declared is found by DuckDB's sniffer
// (the delimiter and the quote) or stands as here.
struct CsvDialect {
  std::optional<char> delimiter, quote, escape;
  std::string comment;    // one character that begins a comment; empty: none
  std::string encoding;   // "utf-8", "latin-1", "utf-16"; empty: UTF-8, or UTF-16 by its mark
  char decimal = '.';     // ',' of "1,5"
  bool header = true;     // false: columns are column0, column1, ...
  std::int64_t skip = 0;  // lines before the header
  bool operator==(const CsvDialect&) const = default;
};

struct Source {
  enum class Kind {
    csv,
    parquet,
    jsonl,
    json,   // one array of objects, or objects one after the other
    arrow,  // Arrow IPC: file or stream
    excel,  // .xlsx
    sqlite,
    postgres,
    mysql,
    delta,
    iceberg,
    kafka,
  };
  Kind kind = Kind::csv;
  // Files, globs (* ? [abc]), folders, or URLs (s3:// gs:// az:// http(s)://); "-": standard input.
  // All must have the same columns. Texts may be compressed (.gz, .zst). Databases and Kafka have
  // one: postgres://host:port/database, mysql://..., kafka://host:port,host:port/topic.
  std::vector<std::string> paths;
  std::vector<std::string> null_values;  // CSV: beside the empty field
  std::map<std::string, Type>
      types;  // declared; the others are inferred from the first 100,000 rows
  CsvDialect csv;
  std::string time_zone;  // of times without an offset, such as Europe/Berlin; empty: UTC
  std::string table;      // of a database; of Excel: the sheet
  std::string query;      // of a database, in its own SQL, instead of a table
  std::string range;      // Excel: cells such as A1:F200
  std::map<std::string, std::string> credentials;  // user, password, key_id, ... -> reference
  std::map<std::string, std::string> options;      // region, endpoint, ssl, url_style, ...
  std::map<std::string, std::int64_t> offsets;     // Kafka: of the partitions, where to go on

  // The kind by the file's ending: .csv .tsv .parquet .jsonl .json .arrow .xlsx .sqlite ..., texts
  // with .gz or .zst; of a URL with the scheme of a database by that.
  static Result<Source> of_file(const std::filesystem::path& file);
  // {path | paths, format, null_values, types, delimiter, ...}; relative paths are taken from
  // `folder`. Problems are left in the reader. Closing and finishing it stays with the caller, who
  // may read more keys.
  static Source read(SpecReader& reader, const std::filesystem::path& folder);
  Json to_json() const;  // references of credentials by name only
};

std::string_view to_string(Source::Kind kind);
bool is_url(std::string_view path);
bool is_database(Source::Kind kind);
// True for files of this machine, whose bytes identify the rows; not of folders of a table format.
bool is_local_files(const Source& source);

// What the paths stand for: existing files of this machine, each once, in the order of the paths;
// those of a glob or a folder by name. not_found names the
// path that matches nothing.
Result<std::vector<std::filesystem::path>> expand(const Source& source);

// The value behind "env:NAME" or "file:PATH" (without the line break at its end). Errors name the
// reference, never the value.
Result<std::string> read_reference(const std::string& reference);

// A raw file's identity, for lineage.
struct FileFacts {
  std::string path;
  std::string sha256;  // empty of a remote object, which has an etag instead
  std::int64_t size = 0;
  Time modified;
  std::string etag;
  Json to_json() const;  // without `modified`, which says nothing about the bytes
};
Result<std::vector<FileFacts>> file_facts(const Context& ctx, const Source& source);

// Tells a file that was replaced or written to while it was read.
class FileWatch {
 public:
  // Notes size, time and inode of each file.
  static Result<FileWatch> begin(const std::vector<std::filesystem::path>& files);
  // failed_precondition naming the first file that is not the one noted.
  Result<void> unchanged() const;
  Time modified(std::size_t file) const { return noted_[file].modified; }
  std::int64_t size(std::size_t file) const { return noted_[file].size; }

 private:
  struct Noted {
    std::filesystem::path file;
    std::int64_t size = 0;
    Time modified;
    std::uint64_t inode = 0;
  };
  std::vector<Noted> noted_;
};

}  // namespace slipway::data
