// Labels: the truth about a prediction, sent back later under the prediction's id.
//   auto added = labels.add("flights", {{id, 1.0, arrived}});     // returns when durable
// The newest label by its own time counts; the same label again changes nothing. Thread-safe; calls
// block on the database.
#pragma once
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/clock.h"
#include "db/database.h"
#include "monitoring/monitor.h"

namespace slipway::feedback {

struct Label {
  std::string prediction_id;
  double value = 0;  // finite
  Time time;         // when it was known
};

class LabelStore final : public monitoring::LabelSource {
 public:
  static Result<std::unique_ptr<LabelStore>> open(db::Database& db, const Clock& clock);
  // All or none. invalid_argument tells which one is wrong.
  Result<void> add(const std::string& deployment, std::span<const Label> labels);
  Result<std::vector<std::optional<double>>> labels(const std::string& deployment,
                                                    std::span<const std::string> ids) override;
  // The same, of labels known at or before a time, with their times.
  Result<std::vector<std::optional<Label>>> find(std::span<const std::string> ids,
                                                 std::optional<Time> until) const;
  Result<std::int64_t> count(const std::string& deployment) const;

 private:
  LabelStore(db::Database& db, const Clock& clock) : db_(db), clock_(clock) {}
  db::Database& db_;
  const Clock& clock_;
};

}  // namespace slipway::feedback
