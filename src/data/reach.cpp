// What a source needs before SQL can read it: DuckDB's signed extensions, loaded from the folder
// beside its library and never downloaded; secrets, which go into DuckDB's memory only; attached
// databases. Credentials: https://duckdb.org/docs/stable/configuration/secrets_manager
#include <dlfcn.h>
#include <unistd.h>

#include "base/file.h"

#include "data/source_internal.h"
#include "data/spool_internal.h"

namespace slipway::data::duck {

namespace fs = std::filesystem;

namespace {

using Kind = Source::Kind;

// Beside libduckdb itself, wherever that is.
Result<fs::path> extension_folder() {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&duckdb_open_ext), &info) == 0 ||
      info.dli_fname == nullptr) {
    return internal("the folder of libduckdb is not known");
  }
  std::error_code failed;
  const auto library = fs::canonical(info.dli_fname, failed);
  if (failed) return errno_error(failed.value(), "find", info.dli_fname);
  return library.parent_path() / "duckdb_extensions";
}

Result<void> load_extension(duckdb_connection connection, const std::string& name) {
  const auto folder = extension_folder();
  if (!folder) return folder.error();
  const auto file = *folder / (name + ".duckdb_extension");
  if (std::error_code ignored; !fs::exists(file, ignored)) {
    return failed_precondition(
        fmt::format("this source needs DuckDB's extension '{}', which is not "
                    "installed: '{}' is missing",
                    name, file.string()));
  }
  // SQLite's extension brings an SQLite of its own under the same names as the one this program
  // links; loaded like this, it uses its own.
  if (name == "sqlite_scanner") {
#if defined(__SANITIZE_ADDRESS__)
    return unimplemented("a build with AddressSanitizer cannot read SQLite databases as sources");
#else
    if (::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND) == nullptr)
      return internal(fmt::format("cannot load '{}': {}", file.string(), ::dlerror()));
#endif
  }
  return run(connection, "LOAD " + quote_text(file.string()));
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): set by nobody
  return value == nullptr ? "" : value;
}

// scheme://[user@]host[:port]/path[?key=value&...]
struct Url {
  std::string scheme, user, host, port, path;
  std::map<std::string, std::string> query;
};

Url split_url(std::string_view text) {
  Url url;
  const auto colon = text.find("://");
  url.scheme = text.substr(0, colon);
  text.remove_prefix(std::min(text.size(), colon + 3));
  if (const auto mark = text.find('?'); mark != std::string_view::npos) {
    auto rest = text.substr(mark + 1);
    while (!rest.empty()) {
      const auto pair = rest.substr(0, rest.find('&'));
      rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
      const auto equals = pair.find('=');
      url.query[std::string(pair.substr(0, equals))] =
          equals == std::string_view::npos ? "" : std::string(pair.substr(equals + 1));
    }
    text = text.substr(0, mark);
  }
  const auto slash = text.find('/');
  if (slash != std::string_view::npos) url.path = text.substr(slash + 1);
  text = text.substr(0, slash);
  if (const auto at = text.rfind('@'); at != std::string_view::npos) {
    url.user = text.substr(0, at);
    text.remove_prefix(at + 1);
  }
  if (const auto port = text.rfind(':'); port != std::string_view::npos) {
    url.port = text.substr(port + 1);
    text = text.substr(0, port);
  }
  url.host = text;
  return url;
}

class Reacher {
 public:
  Reacher(const Context& ctx, duckdb_connection connection, const Source& source,
          const fs::path& spool, std::vector<std::string>& secrets)
      : ctx_(ctx), connection_(connection), source_(source), spool_(spool), secrets_(secrets) {
    reached_.source = source;
  }

  Result<Reached> run_all() {
    if (source_.paths.empty()) return invalid_argument("a source needs at least one path");
    if (auto read = read_credentials(); !read) return read.error();
    reached_.shown = source_.paths.front();
    auto done = is_database(source_.kind)     ? reach_database()
                : source_.kind == Kind::kafka ? reach_kafka()
                : source_.kind == Kind::delta || source_.kind == Kind::iceberg
                    ? reach_table_format()
                    : reach_files();
    if (!done) return done.error();
    return std::move(reached_);
  }

  Result<void> reach_urls() {
    std::set<std::string> prefixes;
    for (const auto& path : source_.paths) {
      if (!is_url(path)) continue;
      const auto url = split_url(path);
      const auto prefix = url.scheme + "://" + url.host + (url.port.empty() ? "" : ":" + url.port);
      if (!prefixes.insert(prefix).second) continue;
      if (auto done = reach_url(url, prefix); !done) return done;
    }
    return {};
  }

  Result<void> read_credentials() {
    for (const auto& [name, reference] : source_.credentials) {
      auto value = read_reference(reference);
      if (!value) return value.error();
      secrets_.push_back(*value);
      values_[name] = std::move(*value);
    }
    return {};
  }

 private:
  std::string option(const std::string& name, const std::string& otherwise = {}) const {
    const auto found = source_.options.find(name);
    return found == source_.options.end() ? otherwise : found->second;
  }
  // A credential, else the environment's.
  std::string credential(const std::string& name, const char* variable = nullptr) {
    const auto found = values_.find(name);
    if (found != values_.end()) return found->second;
    auto value = variable == nullptr ? "" : environment(variable);
    if (!value.empty()) secrets_.push_back(value);
    return value;
  }

  Result<void> secret(const std::string& type, const std::string& scope,
                      const std::vector<std::pair<std::string, std::string>>& values) {
    std::string text;
    for (const auto& [key, value] : values) {
      if (!value.empty()) text += fmt::format(", {} {}", key, quote_text(value));
    }
    if (!scope.empty()) text += ", SCOPE " + quote_text(scope);
    return run(connection_, fmt::format("CREATE OR REPLACE TEMPORARY SECRET {} (TYPE {}{})",
                                        quote_name("slipway " + type + " " + scope), type, text));
  }

  Result<void> reach_url(const Url& url, const std::string& prefix) {
    if (url.scheme == "az" || url.scheme == "azure" || url.scheme == "abfss") {
      if (auto loaded = load_extension(connection_, "azure"); !loaded) return loaded;
      auto connection_string = credential("connection_string", "AZURE_STORAGE_CONNECTION_STRING");
      if (connection_string.empty() && !credential("account_key").empty()) {
        connection_string = fmt::format("AccountName={};AccountKey={}", credential("account_name"),
                                        credential("account_key"));
        if (!option("endpoint").empty()) connection_string += ";BlobEndpoint=" + option("endpoint");
      }
      return secret("azure", prefix, {{"CONNECTION_STRING", connection_string}});
    }
    if (auto loaded = load_extension(connection_, "httpfs"); !loaded) return loaded;
    const auto settings = fmt::format("SET GLOBAL http_timeout = {}; SET GLOBAL http_retries = {};",
                                      std::atoi(option("timeout", "30").c_str()),
                                      std::atoi(option("retries", "5").c_str()));
    if (auto set = run(connection_, settings); !set) return set;
    if (url.scheme == "http" || url.scheme == "https") {
      const auto token = credential("token");
      return token.empty() ? Result<void>() : secret("http", prefix, {{"BEARER_TOKEN", token}});
    }
    if (url.scheme != "s3" && url.scheme != "gs" && url.scheme != "gcs" && url.scheme != "r2") {
      return invalid_argument(
          fmt::format("'{}': the scheme is none of s3, gs, az, abfss, http and https", prefix));
    }
    const bool gcs = url.scheme != "s3" && url.scheme != "r2";
    auto endpoint = option("endpoint", gcs ? "" : environment("AWS_ENDPOINT_URL"));
    std::string ssl = option("ssl");
    for (const std::string scheme : {"https://", "http://"}) {
      if (!endpoint.starts_with(scheme)) continue;
      endpoint = endpoint.substr(scheme.size());
      if (ssl.empty()) ssl = scheme == "https://" ? "true" : "false";
    }
    auto region = option("region", environment("AWS_REGION"));
    if (region.empty()) region = environment("AWS_DEFAULT_REGION");
    return secret(
        gcs ? "gcs" : "s3", prefix,
        {{"KEY_ID", credential("key_id", gcs ? nullptr : "AWS_ACCESS_KEY_ID")},
         {"SECRET", credential("secret", gcs ? nullptr : "AWS_SECRET_ACCESS_KEY")},
         {"SESSION_TOKEN", credential("session_token", gcs ? nullptr : "AWS_SESSION_TOKEN")},
         {"REGION", region},
         {"ENDPOINT", endpoint},
         {"USE_SSL", ssl},
         {"URL_STYLE", option("url_style", endpoint.empty() ? "" : "path")}});
  }

  Result<void> reach_files() {
    if (source_.kind == Kind::excel) {
      if (auto loaded = load_extension(connection_, "excel"); !loaded) return loaded;
    }
    const bool remote = std::any_of(source_.paths.begin(), source_.paths.end(), is_url);
    if (remote && (source_.kind == Kind::arrow || source_.kind == Kind::excel)) {
      return unimplemented(fmt::format("{} files are read from this machine only; '{}' is remote",
                                       to_string(source_.kind), source_.paths.front()));
    }
    if (remote) {
      if (auto done = reach_urls(); !done) return done;
      for (const auto& path : source_.paths) {
        if (auto found = expand_url(path); !found) return found;
      }
      return {};
    }
    if (source_.paths.front() == "-") {
      auto spooled = spool_input(ctx_, STDIN_FILENO, source_, spool_);
      if (!spooled) return spooled.error();
      reached_.files = {*spooled};
    } else {
      auto files = expand(source_);
      if (!files) return files.error();
      reached_.files = std::move(*files);
    }
    for (const auto& file : reached_.files) {
      std::error_code failed;
      if (fs::file_size(file, failed) == 0 && !failed) {
        return invalid_argument(fmt::format("file '{}' is empty; {}", file.string(),
                                            source_.kind == Kind::csv
                                                ? "a CSV file has at least a header line"
                                                : "it has no columns"));
      }
      if (auto sound = check_packed(file); !sound) return sound;
      if (source_.kind == Kind::csv) {
        if (auto sound = check_lines(file); !sound) return sound;
      }
    }
    if (source_.kind != Kind::arrow) return {};
    for (std::size_t i = 0; i < reached_.files.size(); ++i) {
      auto converted = spool_arrow(ctx_, reached_.files[i], spool_);
      if (!converted) return converted.error();
      reached_.files[i] = *converted;
    }
    return {};
  }

  Result<void> expand_url(const std::string& path) {
    if (!is_url(path) || path.starts_with("http")) {
      reached_.files.emplace_back(path);
      return {};
    }
    if (path.find_first_of("*?[") == std::string::npos && !path.ends_with("/")) {
      reached_.files.emplace_back(path);
      return {};
    }
    const auto pattern =
        path.ends_with("/") ? fmt::format("{}**/*.{}*", path, to_string(source_.kind)) : path;
    const auto found = texts(
        connection_, fmt::format("SELECT file FROM glob({}) ORDER BY file", quote_text(pattern)));
    if (!found) return found.error().at(path);
    if (found->empty()) return not_found("no object matches '" + pattern + "'");
    for (const auto& file : *found) reached_.files.emplace_back(file);
    return {};
  }

  Result<std::string> database_path() {
    const auto& path = source_.paths.front();
    if (!path.starts_with("env:") && !path.starts_with("file:")) return path;
    auto value = read_reference(path);  // DATABASE_URL and its like
    if (value) secrets_.push_back(*value);
    return value;
  }

  Result<void> reach_database() {
    const auto path = database_path();
    if (!path) return path.error();
    const bool sqlite = source_.kind == Kind::sqlite;
    const std::string type(to_string(source_.kind));
    if (auto loaded = load_extension(connection_, type + "_scanner"); !loaded) return loaded;
    std::string target = *path;
    std::string options = "TYPE " + type + ", READ_ONLY";
    std::string schema = "main";
    if (!sqlite) {
      auto url = split_url(*path);
      schema = source_.kind == Kind::postgres ? "public" : url.path;
      std::string password =
          credential("password", source_.kind == Kind::postgres ? "PGPASSWORD" : "MYSQL_PWD");
      if (const auto colon = url.user.find(':'); colon != std::string::npos) {
        password = url.user.substr(colon + 1);  // of a whole URL behind a reference
        secrets_.push_back(password);
        url.user.resize(colon);
      }
      if (const auto user = credential("user"); !user.empty()) url.user = user;
      if (url.host.empty() && url.query.contains("host")) url.host = url.query["host"];
      const auto scope = fmt::format("{} {}", url.host, url.path);
      auto made = secret(type, "",
                         {{"HOST", url.host},
                          {"PORT", url.port},
                          {"DATABASE", url.path},
                          {"USER", url.user},
                          {"PASSWORD", password}});
      if (!made) return made;
      options += ", SECRET " + quote_name("slipway " + type + " ");
      target = source_.kind == Kind::postgres ? "connect_timeout=10" : "";
      const auto mode =
          option("sslmode", url.query.contains("sslmode") ? url.query["sslmode"] : "");
      if (!mode.empty() && source_.kind == Kind::postgres) target += " sslmode=" + mode;
      reached_.shown = fmt::format("{}://{}{}/{}", type, url.host,
                                   url.port.empty() ? "" : ":" + url.port, url.path);
    } else if (std::error_code ignored; !fs::exists(*path, ignored)) {
      return not_found("file '" + *path + "' does not exist");
    }
    static std::atomic<std::int64_t> last{0};
    const auto alias = fmt::format("slipway source {}", ++last);
    auto attached = run(connection_, fmt::format("ATTACH {} AS {} ({})", quote_text(target),
                                                 quote_name(alias), options));
    if (!attached) {
      auto error = attached.error().at(reached_.shown);
      if (error.code == Code::invalid_argument) error.code = Code::unavailable;
      return error;
    }
    if (!source_.query.empty()) {
      reached_.relation =
          fmt::format("{}_query({}, {})", type, quote_text(alias), quote_text(source_.query));
      return {};
    }
    auto table = source_.table;
    if (const auto dot = table.find('.'); dot != std::string::npos) {
      schema = table.substr(0, dot);
      table = table.substr(dot + 1);
    }
    reached_.relation =
        fmt::format("{}.{}.{}", quote_name(alias), quote_name(schema), quote_name(table));
    reached_.shown += "/" + source_.table;
    return {};
  }

  Result<void> reach_table_format() {
    if (auto done = reach_urls(); !done) return done;
    const bool delta = source_.kind == Kind::delta;
    for (const char* extension : {"avro", delta ? "delta" : "iceberg"}) {
      if (auto loaded = load_extension(connection_, extension); !loaded) return loaded;
    }
    reached_.relation =
        fmt::format("{}_scan({})", delta ? "delta" : "iceberg", quote_text(source_.paths.front()));
    return {};
  }

  Result<void> reach_kafka() {
    const auto url = split_url(source_.paths.front());
    const auto topic = url.path;
    // of several brokers, split_url takes the last port apart
    const auto brokers = url.host + (url.port.empty() ? "" : ":" + url.port);
    std::map<std::string, std::string> settings;
    if (const auto user = credential("user"); !user.empty()) {
      settings = {{"security.protocol", option("ssl") == "false" ? "sasl_plaintext" : "sasl_ssl"},
                  {"sasl.mechanism", "SCRAM-SHA-256"},
                  {"sasl.username", user},
                  {"sasl.password", credential("password")}};
    }
    auto spooled = spool_kafka(ctx_,
                               {brokers, topic, settings, source_.offsets,
                                std::chrono::seconds(std::atoi(option("timeout", "30").c_str()))},
                               spool_);
    if (!spooled) return spooled.error();
    reached_.files = {spooled->file};
    reached_.offsets = std::move(spooled->offsets);
    return {};
  }

  const Context& ctx_;
  duckdb_connection connection_;
  const Source& source_;
  const fs::path& spool_;
  std::vector<std::string>& secrets_;
  std::map<std::string, std::string> values_;
  Reached reached_;
};

}  // namespace

Result<Reached> reach(const Context& ctx, duckdb_connection connection, const Source& source,
                      const fs::path& spool, std::vector<std::string>& secrets) {
  return Reacher(ctx, connection, source, spool, secrets).run_all();
}

}  // namespace slipway::data::duck
