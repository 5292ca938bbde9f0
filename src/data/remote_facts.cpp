// What identifies remote objects: size, time and etag. DuckDB tells the first two as a relation;
// the etag it keeps to itself but for its log of HTTP requests.
#include <charconv>

#include "data/source_internal.h"

namespace slipway::data::duck {

namespace {

std::string part_of(std::string_view& line) {
  const auto end = line.find('\x1f');
  std::string part(line.substr(0, end));
  line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  return part;
}

}  // namespace

Result<std::vector<FileFacts>> remote_facts(const Context& ctx, duckdb_connection connection,
                                            const Source& source,
                                            std::vector<std::string>& secrets) {
  if (std::none_of(source.paths.begin(), source.paths.end(), is_url) || is_database(source.kind) ||
      source.kind == Source::Kind::kafka || source.kind == Source::Kind::delta ||
      source.kind == Source::Kind::iceberg) {
    return std::vector<FileFacts>{};
  }
  const auto reached = reach(ctx, connection, source, {}, secrets);
  if (!reached) return reached.error();
  if (auto logging = run(connection, "CALL enable_logging('HTTP')"); !logging)
    return logging.error();
  const auto lines =
      texts(connection, fmt::format("SELECT concat_ws(chr(31), filename, size, "
                                    "coalesce(epoch_us(last_modified), 0)) FROM read_blob({})",
                                    list_of(reached->files)));
  const auto etags =
      texts(connection,
            "SELECT concat_ws(chr(31), request.url, list_filter(map_entries(response.headers), "
            "lambda entry: lower(entry.key) = 'etag')[1].value) FROM duckdb_logs_parsed('HTTP') "
            "WHERE response IS NOT NULL");
  auto quiet = run(connection, "CALL disable_logging(); CALL truncate_duckdb_logs();");
  if (!lines) return lines.error();
  if (!etags) return etags.error();
  if (!quiet) return quiet.error();
  std::vector<FileFacts> facts;
  for (std::string_view line : *lines) {
    FileFacts fact;
    fact.path = part_of(line);
    const auto size = part_of(line);
    const auto micros = part_of(line);
    std::from_chars(size.data(), size.data() + size.size(), fact.size);
    std::int64_t modified = 0;
    std::from_chars(micros.data(), micros.data() + micros.size(), modified);
    fact.modified = from_micros(modified);
    const auto authority = fact.path.find("://") + 3;
    const auto key = fact.path.substr(std::min(fact.path.find('/', authority), fact.path.size()));
    for (std::string_view entry : *etags) {
      const auto url = part_of(entry);
      if (!entry.empty() && url.ends_with(key)) fact.etag = std::string(entry);
    }
    facts.push_back(std::move(fact));
  }
  std::sort(facts.begin(), facts.end(),
            [](const FileFacts& a, const FileFacts& b) { return a.path < b.path; });
  return facts;
}

}  // namespace slipway::data::duck
