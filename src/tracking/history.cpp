// Reading what was logged: metric histories, samples of them for curves, and the datasets of runs.
#include "tracking/metric_store_internal.h"
#include "tracking/queries.h"
#include "tracking/tracking_internal.h"

namespace slipway::tracking {
namespace {

std::vector<Metric> to_metrics(const std::string& key, std::span<const Point> points) {
  std::vector<Metric> metrics;
  metrics.reserve(points.size());
  for (const Point& point : points) {
    metrics.push_back(
        {.key = key, .value = point.value, .timestamp_ms = point.timestamp_ms, .step = point.step});
  }
  return metrics;
}

}  // namespace

Result<Page<Metric>> Tracking::metric_history(const RunId& id, const std::string& key,
                                              std::int64_t max_results,
                                              const std::string& page) const {
  if (max_results < 0) {
    return invalid_argument(fmt::format("max_results is {}, must not be negative", max_results));
  }
  const std::string identity = fmt::format("history|{}|{}", id.value, key);
  const auto offset = read_page_token(page, identity);
  if (!offset) return offset.error();
  return impl_->db.read([&](db::Connection& c) -> Result<Page<Metric>> {
    const auto row = find_run(c, id);
    if (!row) return row.error();
    // One more than asked for tells whether a page follows.
    const bool all = max_results == 0 || max_results == std::numeric_limits<std::int64_t>::max();
    auto points = read_points(c, row->seq, key, *offset, all ? -1 : max_results + 1);
    if (!points) return points.error();
    Page<Metric> history;
    if (!all && std::ssize(*points) > max_results) {
      points->pop_back();
      history.next_page = make_page_token(*offset + max_results, identity);
    }
    history.items = to_metrics(key, *points);
    return history;
  });
}

Result<std::vector<Metric>> Tracking::sample_history(const RunId& id, const std::string& key,
                                                     std::int64_t most,
                                                     const StepRange& range) const {
  if (most < 1) return invalid_argument(fmt::format("{} points are asked for, at least 1", most));
  return impl_->db.read([&](db::Connection& c) -> Result<std::vector<Metric>> {
    const auto row = find_run(c, id);
    if (!row && row.error().code == Code::not_found) return std::vector<Metric>();
    if (!row) return row.error();
    auto points = read_points(c, row->seq, key);
    if (!points) return points.error();
    std::erase_if(*points, [&](const Point& point) {
      return point.step < range.first || point.step > range.last;
    });
    return to_metrics(key, sample_points(*std::move(points), static_cast<std::size_t>(most)));
  });
}

Result<std::vector<DatasetSummary>> Tracking::search_datasets(
    std::span<const ExperimentId> experiments, std::int64_t most) const {
  std::vector<std::int64_t> ids;
  for (const auto& id : experiments) ids.push_back(id.value);
  return impl_->db.read([&](db::Connection& c) -> Result<std::vector<DatasetSummary>> {
    auto rows = c.query(sql::search_datasets, json_list(ids), most);
    if (!rows) return rows.error();
    std::vector<DatasetSummary> datasets;
    while (rows->next()) {
      datasets.push_back({.experiment = ExperimentId{rows->integer(0)},
                          .name = rows->text(1),
                          .digest = rows->text(2),
                          .context = rows->text(3)});
    }
    if (auto status = rows->status(); !status) return status.error();
    return datasets;
  });
}

}  // namespace slipway::tracking
