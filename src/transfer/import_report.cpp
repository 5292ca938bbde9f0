#include <algorithm>

#include "transfer/mlflow_import.h"

namespace slipway::transfer {

Result<void> ImportOptions::validate() const {
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
