// Which experiment a run or a logged model belongs to, which decides who may see and change it.
//   auto experiment = ownership.of_run(run_id);
// Answers never change while a thing exists, so they may be kept. Deleted things have their
// experiment still. Thread-safe. Calls block on the database.
#pragma once
#include <string>

#include "base/result.h"
#include "tracking/types.h"

namespace slipway::db {
class Database;
}

namespace slipway::tracking {

class Ownership {
 public:
  explicit Ownership(const db::Database& db) : db_(db) {}    // outlives it
  Result<ExperimentId> of_run(const std::string& id) const;  // not_found
  Result<ExperimentId> of_logged_model(const std::string& id) const;
  Result<ExperimentId> of_name(const std::string& experiment) const;  // also of a deleted one

 private:
  Result<ExperimentId> find(std::string_view sql, const std::string& key,
                            std::string_view what) const;
  const db::Database& db_;
};

}  // namespace slipway::tracking
