#include <algorithm>

#include "db/postgres_url.h"
#include "transfer/mlflow_import.h"

namespace slipway::transfer {

// The source is noted in the database, the audit log and jobs: it must not hold a password.
Result<void> ImportOptions::validate() const {
  if (db::is_postgres_url(source)) {
    const auto url = db::parse_postgres_url(source);
    if (!url) return url.error();
    if (!url->password.empty()) {
      return invalid_argument(
          "the URL of the database holds a password: leave it out and set PGPASSWORD, or name a "
          "file with ?passfile=");
    }
  }
  const std::size_t scheme_end = source.find("://");
  if (source.starts_with("http") && scheme_end != std::string::npos &&
      source.substr(scheme_end + 3, source.find('/', scheme_end + 3) - scheme_end - 3).find('@') !=
          std::string::npos) {
    return invalid_argument(
        "the URL holds a user name or password: give them in MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD");
  }
  for (const std::string_view scheme :
       {"http://", "https://", "sqlite:///", "postgresql://", "postgres://"}) {
    if (source.starts_with(scheme) && source.size() > scheme.size()) return {};
  }
  return invalid_argument(fmt::format(
      "'{}' is no place to import from: wanted http://HOST:PORT of a running MLflow server, or its "
      "database as sqlite:///FILE or postgresql://USER@HOST/NAME",
      source));
}

bool ImportReport::matches() const {
  return problem_count == 0 &&
         std::ranges::all_of(rows, [](const ImportRow& row) { return row.source == row.target; });
}

Json ImportReport::to_json() const {
  Json list = Json::array();
  for (const ImportRow& row : rows)
    list.push_back({{"kind", row.kind}, {"source", row.source}, {"target", row.target}});
  return {{"matches", matches()}, {"counts", list}, {"new_runs", new_runs},
          {"problems", problems}, {"notes", notes}, {"problem_count", problem_count}};
}

ImportReport ImportReport::from_json(const Json& json) {
  ImportReport report;
  report.new_runs = json.value("new_runs", std::int64_t{0});
  report.problem_count = json.value("problem_count", std::int64_t{0});
  report.problems = json.value("problems", std::vector<std::string>());
  report.notes = json.value("notes", std::vector<std::string>());
  for (const Json& row : json.value("counts", Json::array())) {
    report.rows.push_back({row.value("kind", ""), row.value("source", std::int64_t{0}),
                           row.value("target", std::int64_t{0})});
  }
  return report;
}

}  // namespace slipway::transfer
