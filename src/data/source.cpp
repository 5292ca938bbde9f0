#include "data/source.h"

#include <glob.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"

namespace slipway::data {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kKindNames[] = {"csv",   "parquet", "jsonl",   "json",
                                           "arrow", "excel",   "sqlite",  "postgres",
                                           "mysql", "delta",   "iceberg", "kafka"};

// ".csv" of "a.csv.gz".
std::string ending_of(std::string path) {
  if (const auto query = path.find('?'); is_url(path) && query != std::string::npos)
    path.resize(query);
  for (const std::string_view packed : {".gz", ".zst"}) {
    if (path.ends_with(packed)) path.resize(path.size() - packed.size());
  }
  return fs::path(path).extension().string();
}

std::optional<Source::Kind> kind_of_path(const std::string& path) {
  using Kind = Source::Kind;
  static const std::pair<std::string_view, Kind> kSchemes[] = {{"postgres://", Kind::postgres},
                                                               {"postgresql://", Kind::postgres},
                                                               {"mysql://", Kind::mysql},
                                                               {"kafka://", Kind::kafka}};
  for (const auto& [scheme, kind] : kSchemes) {
    if (path.starts_with(scheme)) return kind;
  }
  static const std::map<std::string, Kind, std::less<>> kEndings = {
      {".csv", Kind::csv},         {".tsv", Kind::csv},       {".txt", Kind::csv},
      {".parquet", Kind::parquet}, {".pq", Kind::parquet},    {".jsonl", Kind::jsonl},
      {".ndjson", Kind::jsonl},    {".json", Kind::json},     {".arrow", Kind::arrow},
      {".arrows", Kind::arrow},    {".feather", Kind::arrow}, {".ipc", Kind::arrow},
      {".xlsx", Kind::excel},      {".sqlite", Kind::sqlite}, {".sqlite3", Kind::sqlite},
      {".db", Kind::sqlite}};
  const auto found = kEndings.find(ending_of(path));
  if (found == kEndings.end()) return std::nullopt;
  return found->second;
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

// The files of the source's kind in a folder and all below it. Names that begin with '_' or '.' are
// not data by the custom of Hive and Spark.
Result<std::vector<fs::path>> expand_folder(const fs::path& folder, Source::Kind kind) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (fs::recursive_directory_iterator at(folder, failed), end; !failed && at != end;
       at.increment(failed)) {
    const auto name = at->path().filename().string();
    if (name.starts_with('_') || name.starts_with('.')) {
      if (at->is_directory()) at.disable_recursion_pending();
      continue;
    }
    if (at->is_regular_file() && kind_of_path(name) == kind) files.push_back(at->path());
  }
  if (failed) return errno_error(failed.value(), "list", folder);
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    return not_found(
        fmt::format("folder '{}' holds no {} files", folder.string(), to_string(kind)));
  }
  return files;
}

}  // namespace

std::string_view to_string(Source::Kind kind) { return kKindNames[static_cast<std::size_t>(kind)]; }

bool is_url(std::string_view path) { return path.find("://") != std::string_view::npos; }

bool is_database(Source::Kind kind) {
  return kind == Source::Kind::sqlite || kind == Source::Kind::postgres ||
         kind == Source::Kind::mysql;
}

bool is_local_files(const Source& source) {
  using Kind = Source::Kind;
  switch (source.kind) {
    case Kind::postgres:
    case Kind::mysql:
    case Kind::delta:
    case Kind::iceberg:
    case Kind::kafka:
      return false;
    default:
      return std::none_of(source.paths.begin(), source.paths.end(),
                          [](const std::string& path) { return is_url(path) || path == "-"; });
  }
}

Result<Source> Source::of_file(const fs::path& file) {
  const auto kind = kind_of_path(file.string());
  if (!kind) {
    return invalid_argument(
        "'" + file.string() +
        "' has none of the known endings: .csv .tsv .txt .jsonl .ndjson .json (each also .gz or "
        ".zst), .parquet .pq .arrow .feather .xlsx .sqlite .db");
  }
  Source source;
  source.kind = *kind;
  source.paths = {file.string()};
  if (ending_of(file.string()) == ".tsv") source.csv.delimiter = '\t';
  return source;
}

namespace {

// A key that holds one character; `tab` may stand for it by name.
std::optional<char> one_character(SpecReader& reader, std::string_view key) {
  if (!reader.has(key)) return std::nullopt;
  const auto text = reader.text(key);
  if (text == "tab" || text == "\\t") return '\t';
  if (text.size() == 1) return text.front();
  reader.problem(key, fmt::format("{} is one character, got '{}'", key, text));
  return std::nullopt;
}

CsvDialect read_dialect(SpecReader& reader) {
  CsvDialect csv;
  csv.delimiter = one_character(reader, "delimiter");
  csv.quote = one_character(reader, "quote");
  csv.escape = one_character(reader, "escape");
  if (const auto comment = one_character(reader, "comment")) csv.comment = std::string(1, *comment);
  csv.encoding = reader.one_of("encoding", {"utf-8", "latin-1", "utf-16"}, "");
  csv.decimal = reader.one_of("decimal", {".", ","}, ".").front();
  csv.header = reader.boolean("header", true);
  csv.skip = reader.integer("skip", 0);
  if (csv.skip < 0) reader.problem("skip", "skip is a number of lines, 0 or more");
  return csv;
}

std::map<std::string, std::string> read_texts(SpecReader& reader, std::string_view key,
                                              const std::vector<std::string>& allowed) {
  std::map<std::string, std::string> texts;
  if (!reader.has(key)) return texts;
  auto object = reader.object(key);
  for (const auto& name : object.keys()) {
    const Json value = object.json(name);
    texts[name] = value.is_string() ? value.get<std::string>() : value.dump();
    if (std::find(allowed.begin(), allowed.end(), name) != allowed.end()) continue;
    const auto near = nearest(name, allowed);
    object.problem(name, fmt::format("'{}' is none of {}{}", name, fmt::join(allowed, ", "),
                                     near ? "; did you mean '" + *near + "'?" : ""));
  }
  return texts;
}

bool is_reference(std::string_view text) {
  return text.starts_with("env:") || text.starts_with("file:");
}

// The part between "://" and the next '/' holds user:password@.
bool has_password(std::string_view url) {
  const auto begin = url.find("://");
  if (begin == std::string_view::npos) return false;
  const auto authority = url.substr(begin + 3, url.find('/', begin + 3) - begin - 3);
  const auto at = authority.rfind('@');
  return at != std::string_view::npos &&
         authority.substr(0, at).find(':') != std::string_view::npos;
}

void read_access(SpecReader& reader, Source& source) {
  source.credentials = read_texts(reader, "credentials",
                                  {"user", "password", "key_id", "secret", "session_token",
                                   "account_name", "account_key", "connection_string", "token"});
  for (const auto& [name, reference] : source.credentials) {
    if (is_reference(reference)) continue;
    reader.problem("credentials", "'" + name +
                                      "' has to name where the value is, env:NAME or file:PATH: a "
                                      "secret does not belong in a pipeline file");
  }
  source.options = read_texts(reader, "options",
                              {"region", "endpoint", "ssl", "url_style", "timeout", "retries",
                               "from", "group_wait", "sslmode", "payload"});
  for (const auto& path : source.paths) {
    if (has_password(path)) {
      reader.problem("path",
                     "a password stands in the URL; write credentials: {password: env:NAME}");
    }
  }
  source.table = reader.text(source.kind == Source::Kind::excel ? "sheet" : "table", "");
  source.query = reader.text("query", "");
  source.range = reader.text("range", "");
  if (is_database(source.kind)) {
    if (source.table.empty() == source.query.empty())
      reader.problem("", "a database needs either a 'table' or a 'query'");
    if (source.paths.size() > 1) reader.problem("paths", "a database is one path");
    if (source.kind == Source::Kind::sqlite && !source.query.empty())
      reader.problem("query", "SQLite is read by table; the step's SQL can do the rest");
  } else if (!source.query.empty()) {
    reader.problem("query", "only a database takes a query");
  }
}

}  // namespace

Source Source::read(SpecReader& reader, const fs::path& folder) {
  Source source;
  const std::string key = reader.has("paths") ? "paths" : "path";
  for (const auto& path : reader.texts(key)) {
    // a relative path of a declaration is meant from where the declaration stands
    const bool as_it_is = is_url(path) || path == "-" || is_reference(path);
    source.paths.push_back(as_it_is ? path : (folder / path).lexically_normal().string());
  }
  if (source.paths.empty())
    reader.problem(key, "a source needs a path: a file, a glob, a folder or a URL");
  const auto guess = source.paths.empty() ? std::nullopt : kind_of_path(source.paths.front());
  std::vector<std::string> names(std::begin(kKindNames), std::end(kKindNames));
  const auto format = reader.one_of("format", names, guess ? std::string(to_string(*guess)) : "");
  for (std::size_t i = 0; i < std::size(kKindNames); ++i) {
    if (format == kKindNames[i]) source.kind = static_cast<Kind>(i);
  }
  if (format.empty() && !source.paths.empty()) {
    reader.problem(key,
                   fmt::format("the ending of '{}' does not tell the format; declare format: {}",
                               source.paths.front(), fmt::join(names, ", ")));
  }
  source.null_values = reader.texts("null_values");
  source.csv = read_dialect(reader);
  if (!source.csv.delimiter && !source.paths.empty() && ending_of(source.paths.front()) == ".tsv")
    source.csv.delimiter = '\t';
  source.time_zone = reader.text("time_zone", "");
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
  read_access(reader, source);
  return source;
}

Json Source::to_json() const {
  Json json = {{"format", to_string(kind)}, {"paths", paths}};
  if (!null_values.empty()) json["null_values"] = null_values;
  if (csv.delimiter && *csv.delimiter != ',') json["delimiter"] = std::string(1, *csv.delimiter);
  if (csv.quote) json["quote"] = std::string(1, *csv.quote);
  if (csv.escape) json["escape"] = std::string(1, *csv.escape);
  if (!csv.comment.empty()) json["comment"] = csv.comment;
  if (!csv.encoding.empty()) json["encoding"] = csv.encoding;
  if (csv.decimal != '.') json["decimal"] = std::string(1, csv.decimal);
  if (!csv.header) json["header"] = false;
  if (csv.skip != 0) json["skip"] = csv.skip;
  if (!time_zone.empty()) json["time_zone"] = time_zone;
  if (!table.empty()) json["table"] = table;
  if (!query.empty()) json["query"] = query;
  if (!range.empty()) json["range"] = range;
  for (const auto& [column, type] : types) json["types"][column] = to_string(type);
  for (const auto& [name, value] : options) json["options"][name] = value;
  for (const auto& [partition, offset] : offsets) json["offsets"][partition] = offset;
  return json;
}

Result<std::vector<fs::path>> expand(const Source& source) {
  if (source.paths.empty()) return invalid_argument("a source needs at least one path");
  std::vector<fs::path> files;
  std::set<fs::path> seen;
  const auto add = [&](const fs::path& file) {
    if (seen.insert(file).second) files.push_back(file);
  };
  for (const auto& path : source.paths) {
    std::error_code failed;
    const auto status = fs::status(path, failed);
    if (fs::is_regular_file(status)) {
      add(path);
    } else if (fs::is_directory(status)) {
      const auto found = expand_folder(path, source.kind);
      if (!found) return found.error();
      for (const auto& file : *found) add(file);
    } else if (is_glob(path)) {
      const auto found = expand_glob(path);
      if (!found) return found.error();
      for (const auto& file : *found) add(file);
    } else if (failed && failed != std::errc::no_such_file_or_directory) {
      return errno_error(failed.value(), "read", path);
    } else {
      return not_found("file '" + path + "' does not exist");
    }
  }
  return files;
}

Result<std::string> read_reference(const std::string& reference) {
  if (reference.starts_with("env:")) {
    const auto name = reference.substr(4);
    const char* value = std::getenv(name.c_str());  // NOLINT(concurrency-mt-unsafe): set by nobody
    if (value == nullptr || *value == 0) {
      return failed_precondition("the environment variable " + name +
                                 ", which holds a credential, is not set");
    }
    return std::string(value);
  }
  if (reference.starts_with("file:")) {
    auto text = read_file(reference.substr(5));
    if (!text) return text.error().at("credential " + reference);
    while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
    return text;
  }
  return invalid_argument("a credential is named as env:NAME or file:PATH");
}

Json FileFacts::to_json() const {
  Json json = {{"path", path}, {"size", size}};
  if (!sha256.empty()) json["sha256"] = sha256;
  if (!etag.empty()) json["etag"] = etag;
  return json;
}

Result<std::vector<FileFacts>> file_facts(const Context& ctx, const Source& source) {
  const auto files = expand(source);
  if (!files) return files.error();
  const auto watch = FileWatch::begin(*files);
  if (!watch) return watch.error();
  std::vector<FileFacts> facts;
  for (std::size_t i = 0; i < files->size(); ++i) {
    if (auto wanted = ctx.check(); !wanted) return wanted.error();
    auto digest = sha256_file_hex((*files)[i]);
    if (!digest) return digest.error();
    facts.push_back(
        {(*files)[i].string(), std::move(*digest), watch->size(i), watch->modified(i), ""});
  }
  if (auto same = watch->unchanged(); !same) return same.error();
  return facts;
}

namespace {

Result<struct stat> stat_of(const fs::path& file) {
  struct stat found{};
  if (::stat(file.c_str(), &found) != 0) return errno_error(errno, "look at", file);
  return found;
}

Time modified_at(const struct stat& found) {
  return from_micros(static_cast<std::int64_t>(found.st_mtim.tv_sec) * 1'000'000 +
                     found.st_mtim.tv_nsec / 1'000);
}

}  // namespace

Result<FileWatch> FileWatch::begin(const std::vector<fs::path>& files) {
  FileWatch watch;
  for (const auto& file : files) {
    const auto found = stat_of(file);
    if (!found) return found.error();
    watch.noted_.push_back({file, found->st_size, modified_at(*found), found->st_ino});
  }
  return watch;
}

Result<void> FileWatch::unchanged() const {
  for (const auto& noted : noted_) {
    const auto found = stat_of(noted.file);
    if (found && found->st_size == noted.size && modified_at(*found) == noted.modified &&
        found->st_ino == noted.inode)
      continue;
    return failed_precondition(fmt::format(
        "'{}' was {} while it was read, so what was read may be part old and part new; run again "
        "when nobody writes to it",
        noted.file.string(), found ? "changed" : "removed"));
  }
  return {};
}

}  // namespace slipway::data
