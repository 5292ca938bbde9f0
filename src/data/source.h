// Where raw data stands: one file, a list of files or a glob, and how to read it. A Source is a
// plain declaration; Engine::add_source makes it a relation that SQL can name.
//   flights: {path: data/flights.csv, null_values: [NA], types: {time_hour: timestamp}}
//   weather: {path: "data/weather-*.parquet"}
// A value type; the functions here read the file system and hold nothing.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/context.h"
#include "base/json.h"
#include "base/spec.h"
#include "data/table.h"

namespace slipway::data {

struct Source {
  enum class Kind { csv, parquet, jsonl };
  Kind kind = Kind::csv;
  // Files or globs (* ? [abc]); all must have the same columns. CSV and JSONL may be gzipped (.gz).
  std::vector<std::string> paths;
  std::vector<std::string> null_values;  // CSV: beside the empty field
  std::map<std::string, Type>
      types;             // declared; the others are inferred from the first 100,000 rows
  char delimiter = ',';  // CSV

  // The kind by the file's ending: .csv .tsv .parquet .jsonl .ndjson, with .gz for the texts.
  static Result<Source> of_file(const std::filesystem::path& file);
  // {path | paths, format, null_values, types, delimiter}; relative paths are taken from `folder`.
  // Problems are left in the reader. Closing and finishing it stays with the caller, who may read
  // more keys.
  static Source read(SpecReader& reader, const std::filesystem::path& folder);
  Json to_json() const;
};

std::string_view to_string(Source::Kind kind);

// What the globs stand for: existing files, sorted. not_found names the path that matches nothing.
Result<std::vector<std::filesystem::path>> expand(const Source& source);

// A raw file's identity, for lineage.
struct FileFacts {
  std::string path;
  std::string sha256;
  std::int64_t size = 0;
  Time modified;
  Json to_json() const;  // without `modified`, which says nothing about the bytes
};
Result<std::vector<FileFacts>> file_facts(const Context& ctx, const Source& source);

}  // namespace slipway::data
