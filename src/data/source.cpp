#include "data/source.h"

#include <glob.h>

#include "base/file.h"
#include "base/hash.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kKindNames[] = {"csv", "parquet", "jsonl"};

std::optional<Source::Kind> kind_of_ending(std::string path) {
  if (path.ends_with(".gz")) path.resize(path.size() - 3);
  const auto ending = fs::path(path).extension().string();
  if (ending == ".csv" || ending == ".tsv" || ending == ".txt") return Source::Kind::csv;
  if (ending == ".parquet" || ending == ".pq") return Source::Kind::parquet;
  if (ending == ".jsonl" || ending == ".ndjson") return Source::Kind::jsonl;
  return std::nullopt;
}

bool is_tab_separated(const std::string& path) {
  return path.ends_with(".tsv") || path.ends_with(".tsv.gz");
}

bool is_glob(std::string_view path) { return path.find_first_of("*?[") != std::string_view::npos; }

Result<std::vector<fs::path>> expand_glob(const std::string& pattern) {
  glob_t found{};
  const int status = ::glob(pattern.c_str(), GLOB_ERR, nullptr, &found);
  std::vector<fs::path> files;
  if (status == 0) {
    for (std::size_t i = 0; i < found.gl_pathc; ++i) {
      fs::path file(found.gl_pathv[i]);
      if (std::error_code ignored; fs::is_regular_file(file, ignored))
        files.push_back(std::move(file));
    }
  }
  ::globfree(&found);
  if (status == GLOB_NOMATCH || (status == 0 && files.empty())) {
    return not_found("no file matches '" + pattern + "'");
  }
  if (status != 0) return unavailable("cannot list the files of '" + pattern + "'");
  return files;
}

}  // namespace

std::string_view to_string(Source::Kind kind) { return kKindNames[static_cast<std::size_t>(kind)]; }

Result<Source> Source::of_file(const fs::path& file) {
  const auto kind = kind_of_ending(file.string());
  if (!kind) {
    return invalid_argument(
        "'" + file.string() +
        "' has none of the known endings .csv .tsv .parquet .jsonl .ndjson (.csv.gz, .jsonl.gz)");
  }
  Source source;
  source.kind = *kind;
  source.paths = {file.string()};
  if (is_tab_separated(file.string())) source.delimiter = '\t';
  return source;
}

Source Source::read(SpecReader& reader, const fs::path& folder) {
  Source source;
  const std::string key = reader.has("paths") ? "paths" : "path";
  for (const auto& path : reader.texts(key)) {
    // a relative path of a declaration is meant from where the declaration stands
    source.paths.push_back((folder / path).lexically_normal().string());
  }
  if (source.paths.empty()) reader.problem(key, "a source needs a path: a file or a glob");
  const auto guess = source.paths.empty() ? std::nullopt : kind_of_ending(source.paths.front());
  const auto format = reader.one_of("format", {"csv", "parquet", "jsonl"},
                                    guess ? std::string(to_string(*guess)) : "");
  for (std::size_t i = 0; i < std::size(kKindNames); ++i) {
    if (format == kKindNames[i]) source.kind = static_cast<Kind>(i);
  }
  if (format.empty() && !source.paths.empty()) {
    reader.problem(key, "the ending of '" + source.paths.front() +
                            "' does not tell the format; declare format: csv, parquet or jsonl");
  }
  source.null_values = reader.texts("null_values");
  const bool tabs = !source.paths.empty() && is_tab_separated(source.paths.front());
  const auto delimiter = reader.text("delimiter", tabs ? "\t" : ",");
  if (delimiter.size() == 1) {
    source.delimiter = delimiter.front();
  } else {
    reader.problem("delimiter", "delimiter is one character, got '" + delimiter + "'");
  }
  if (reader.has("types")) {
    auto types = reader.object("types");
    for (const auto& column : types.keys()) {
      const auto type = parse_type(types.text(column));
      if (type) {
        source.types[column] = *type;
      } else {
        types.problem(column, type.error().message);
      }
    }
  }
  return source;
}

Json Source::to_json() const {
  Json json = {{"format", to_string(kind)}, {"paths", paths}};
  if (!null_values.empty()) json["null_values"] = null_values;
  if (kind == Kind::csv && delimiter != ',') json["delimiter"] = std::string(1, delimiter);
  for (const auto& [column, type] : types) json["types"][column] = to_string(type);
  return json;
}

Result<std::vector<fs::path>> expand(const Source& source) {
  if (source.paths.empty()) return invalid_argument("a source needs at least one path");
  std::set<fs::path> files;
  for (const auto& path : source.paths) {
    std::error_code failed;
    const auto status = fs::status(path, failed);
    if (fs::is_regular_file(status)) {
      files.insert(path);
    } else if (fs::is_directory(status)) {
      return invalid_argument("'" + path + "' is a folder; name its files, for example '" +
                              (fs::path(path) / "*.csv").string() + "'");
    } else if (is_glob(path)) {
      const auto found = expand_glob(path);
      if (!found) return found.error();
      files.insert(found->begin(), found->end());
    } else if (failed && failed != std::errc::no_such_file_or_directory) {
      return errno_error(failed.value(), "read", path);
    } else {
      return not_found("file '" + path + "' does not exist");
    }
  }
  return std::vector<fs::path>(files.begin(), files.end());
}

Json FileFacts::to_json() const { return {{"path", path}, {"sha256", sha256}, {"size", size}}; }

Result<std::vector<FileFacts>> file_facts(const Context& ctx, const Source& source) {
  const auto files = expand(source);
  if (!files) return files.error();
  std::vector<FileFacts> facts;
  for (const auto& file : *files) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    auto digest = sha256_file_hex(file);
    if (!digest) return digest.error();
    std::error_code failed;
    const auto size = fs::file_size(file, failed);
    if (failed) return errno_error(failed.value(), "read the size of", file);
    const auto written = fs::last_write_time(file, failed);
    if (failed) return errno_error(failed.value(), "read the time of", file);
    const auto modified =
        std::chrono::time_point_cast<Duration>(std::chrono::file_clock::to_sys(written));
    facts.push_back({file.string(), std::move(*digest), static_cast<std::int64_t>(size), modified});
  }
  return facts;
}

}  // namespace slipway::data
