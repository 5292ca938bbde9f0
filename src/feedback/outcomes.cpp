#include "feedback/outcomes.h"

namespace slipway::feedback {
namespace {

double badness_of(double score, double label, double threshold) {
  if (label == 0 || label == 1) return (score >= threshold ? 1.0 : 0.0) == label ? 0 : 1;
  return std::min(1.0, std::abs(score - label));
}

}  // namespace

Result<std::vector<serving::Outcome>> outcomes_of(const serving::PredictionLog& log,
                                                  const LabelStore& labels,
                                                  const serving::Deployment& deployment,
                                                  Time from) {
  std::vector<serving::Outcome> outcomes;
  auto table =
      log.read(deployment.name, from, Time::max(),
               {.columns = {"id", "time", "version", "score"}, .role = serving::Role::primary});
  if (!table) {
    if (table.error().code == Code::not_found) return outcomes;
    return table.error();
  }
  auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  const data::Batch batch = columns->batch();
  std::vector<std::string> ids;
  ids.reserve(static_cast<std::size_t>(batch.rows));
  for (std::int64_t row = 0; row < batch.rows; ++row) ids.emplace_back(batch.columns[0].text(row));
  auto found = labels.find(ids, std::nullopt);
  if (!found) return found.error();
  for (std::int64_t row = 0; row < batch.rows; ++row) {
    const auto& label = (*found)[static_cast<std::size_t>(row)];
    if (!label || batch.columns[3].is_null(row)) continue;
    outcomes.push_back(
        {.time = from_micros(batch.columns[1].integer(row)),
         .version = batch.columns[2].integer(row),
         .badness = badness_of(batch.columns[3].real(row), label->value, deployment.threshold)});
  }
  return outcomes;
}

}  // namespace slipway::feedback
