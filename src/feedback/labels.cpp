#include "feedback/labels.h"

#include <cmath>

#include "feedback/migrations.h"
#include "feedback/queries.h"

namespace slipway::feedback {

Result<std::unique_ptr<LabelStore>> LabelStore::open(db::Database& db, const Clock& clock) {
  if (auto ready = db.migrate("feedback", kMigrations); !ready) return ready.error();
  return std::unique_ptr<LabelStore>(new LabelStore(db, clock));
}

Result<void> LabelStore::add(const std::string& deployment, std::span<const Label> labels) {
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::string which =
        "label " + std::to_string(i + 1) + " of " + std::to_string(labels.size());
    if (labels[i].prediction_id.empty()) return invalid_argument(which + " has no prediction id");
    if (!std::isfinite(labels[i].value)) return invalid_argument(which + " is not a number");
  }
  const std::int64_t received = to_micros(clock_.now());
  return db_.write([&](db::Transaction& tx) -> Result<void> {
    for (const Label& label : labels) {
      if (auto put = tx.run(sql::put_label, label.prediction_id, deployment, label.value,
                            to_micros(label.time), received);
          !put)
        return put;
    }
    return {};
  });
}

Result<std::vector<std::optional<double>>> LabelStore::labels(const std::string&,
                                                              std::span<const std::string> ids) {
  auto found = find(ids, std::nullopt);
  if (!found) return found.error();
  std::vector<std::optional<double>> values;
  values.reserve(found->size());
  for (const auto& label : *found)
    values.push_back(label ? std::optional(label->value) : std::nullopt);
  return values;
}

Result<std::vector<std::optional<Label>>> LabelStore::find(std::span<const std::string> ids,
                                                           std::optional<Time> until) const {
  return db_.read([&](db::Connection& connection) -> Result<std::vector<std::optional<Label>>> {
    std::vector<std::optional<Label>> found(ids.size());
    for (std::size_t i = 0; i < ids.size(); ++i) {
      auto rows = connection.query(sql::find_label, ids[i]);
      if (!rows) return rows.error();
      if (!rows->next()) {
        if (auto status = rows->status(); !status) return status.error();
        continue;
      }
      const Time time = from_micros(rows->integer(1));
      if (!until || time <= *until) found[i] = Label{ids[i], rows->real(0), time};
    }
    return found;
  });
}

Result<std::int64_t> LabelStore::count(const std::string& deployment) const {
  return db_.read([&](db::Connection& connection) -> Result<std::int64_t> {
    auto rows = connection.query(sql::count_labels, deployment);
    if (!rows) return rows.error();
    if (!rows->next())
      return rows->status() ? internal("labels cannot be counted") : rows->status().error();
    return rows->integer(0);
  });
}

}  // namespace slipway::feedback
