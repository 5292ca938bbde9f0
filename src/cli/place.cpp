#include "base/file.h"
#include "base/json.h"
#include "cli/place_internal.h"
#include "db/postgres_url.h"

namespace slipway::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPlaceFile = "database.json";

Result<std::string> read_url(const fs::path& home) {
  const auto text = read_file(home / kPlaceFile);
  if (!text) return text.error();
  const auto json = parse_json(*text, (home / kPlaceFile).string());
  if (!json) return json.error();
  const auto url = json->find("url");
  if (!json->is_object() || url == json->end() || !url->is_string()) {
    return invalid_argument("'" + (home / kPlaceFile).string() +
                            "' names no database: write {\"url\": \"postgresql://…\"}");
  }
  return url->get<std::string>();
}

}  // namespace

Result<Place> find_place(const fs::path& home, const std::string& wanted) {
  std::error_code problem;
  const bool has_file = fs::exists(home / "slipway.db", problem);
  const bool has_url = fs::exists(home / kPlaceFile, problem);
  if (wanted.empty() && !has_url) return Place{home / "slipway.db", {}, has_file};
  std::string url = wanted;
  if (wanted.empty()) {
    auto kept = read_url(home);
    if (!kept) return kept.error();
    url = *std::move(kept);
  }
  const auto parsed = db::parse_postgres_url(url);
  if (!parsed) return parsed.error();
  if (!wanted.empty() && has_url) {
    const auto kept = read_url(home);
    if (!kept) return kept.error();
    if (*kept != parsed->without_password) {
      return failed_precondition("the home '" + home.string() + "' keeps its metadata in '" +
                                 *kept + "', not in '" + parsed->without_password +
                                 "': if the same database has moved, change " + kPlaceFile);
    }
  }
  if (!has_url && has_file) {
    return failed_precondition("the home '" + home.string() +
                               "' keeps its metadata in slipway.db: name another home with --home "
                               "to begin with PostgreSQL");
  }
  return Place{parsed->full, parsed->without_password, has_url};
}

Result<void> remember_place(const fs::path& home, const Place& place) {
  if (place.url.empty() || place.known) return {};
  return write_file_atomic(home / kPlaceFile, Json{{"url", place.url}}.dump(2) + "\n");
}

}  // namespace slipway::cli
