#include "tracking/ownership.h"

#include "db/database.h"
#include "tracking/queries.h"

namespace slipway::tracking {

Result<ExperimentId> Ownership::find(std::string_view sql, const std::string& key,
                                     std::string_view what) const {
  return db_.read([&](db::Connection& c) -> Result<ExperimentId> {
    auto rows = c.query(sql, key);
    if (!rows) return rows.error();
    if (rows->next()) return ExperimentId{rows->integer(0)};
    if (auto status = rows->status(); !status) return status.error();
    return not_found(fmt::format("there is no {} '{}'", what, key));
  });
}

Result<ExperimentId> Ownership::of_run(const std::string& id) const {
  return find(sql::experiment_of_run, id, "run");
}

Result<ExperimentId> Ownership::of_logged_model(const std::string& id) const {
  return find(sql::experiment_of_logged_model, id, "logged model");
}

Result<ExperimentId> Ownership::of_name(const std::string& experiment) const {
  return find(sql::experiment_of_name, experiment, "experiment");
}

}  // namespace slipway::tracking
