// Metric histories: whole, of many runs, and sampled for curves.
#include "api/json_writer_internal.h"
#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

using tracking::Metric;

constexpr std::size_t kMostRuns = 100;
constexpr std::int64_t kMostBulkPoints = 25'000;
constexpr std::int64_t kMostSampled = 2'500;

// run: of many; empty: the caller knows it.
void write(JsonWriter& json, const Metric& metric, std::string_view run) {
  json.begin('{').name("key").text(metric.key).name("value").number(metric.value);
  json.name("timestamp").number(metric.timestamp_ms).name("step").number(metric.step);
  if (!run.empty()) json.name("run_id").text(run);
  json.end('}');
}

Result<std::vector<std::string>> check_runs(std::vector<std::string> ids, std::string_view name) {
  if (ids.empty()) {
    return invalid_argument(fmt::format("Missing value for required parameter '{}'", name));
  }
  if (ids.size() > kMostRuns) {
    return invalid_argument(fmt::format("{} names {} runs: at most {} are answered at once", name,
                                        ids.size(), kMostRuns));
  }
  return ids;
}

Result<std::string> get_history(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto key = params.text("metric_key");
  const auto most = params.integer("max_results", 0);
  const auto token = params.text_or_empty("page_token");
  if (params.problem()) return *params.problem();
  const auto page = services.tracking.metric_history(id, key, most, token);
  if (!page) return page.error();
  std::string out;
  out.reserve(64 + page->items.size() * (80 + key.size()));
  JsonWriter json(out);
  json.begin('{').name("metrics").begin('[');
  for (const auto& metric : page->items) write(json, metric, {});
  json.end(']');
  if (!page->next_page.empty()) json.name("next_page_token").text(page->next_page);
  json.end('}');
  return out;
}

// By run, then as in each history, cut off where it is enough.
Result<std::string> get_history_bulk(Services& services, const Context&, Params& params) {
  auto ids = check_runs(params.texts("run_id"), "run_id");
  if (!ids) return ids.error();
  const auto key = params.text("metric_key");
  auto left = std::min(params.integer("max_results", kMostBulkPoints), kMostBulkPoints);
  if (params.problem()) return *params.problem();
  if (left < 1) return invalid_argument("max_results must be at least 1");
  std::ranges::sort(*ids);
  const auto doubled = std::ranges::unique(*ids);
  ids->erase(doubled.begin(), doubled.end());
  std::string out;
  JsonWriter json(out);
  json.begin('{').name("metrics").begin('[');
  for (const auto& id : *ids) {
    if (left == 0) break;
    const auto page = services.tracking.metric_history({id}, key, left);
    if (!page && page.error().code == Code::not_found) continue;
    if (!page) return page.error();
    for (const auto& metric : page->items) write(json, metric, id);
    left -= std::ssize(page->items);
  }
  json.end(']').end('}');
  return out;
}

Result<std::string> get_history_interval(Services& services, const Context&, Params& params) {
  const auto ids = check_runs(params.texts("run_ids"), "run_ids");
  if (!ids) return ids.error();
  const auto key = params.text("metric_key");
  const auto first = params.maybe_integer("start_step");
  const auto last = params.maybe_integer("end_step");
  const auto most = params.integer("max_results", kMostSampled);
  if (params.problem()) return *params.problem();
  if (first.has_value() != last.has_value()) {
    return invalid_argument("start_step and end_step belong together: give both or neither");
  }
  if (first && *first > *last) {
    return invalid_argument(
        fmt::format("end_step is {}, less than start_step, which is {}", *last, *first));
  }
  if (most < 1 || most > kMostSampled) {
    return invalid_argument(
        fmt::format("max_results must be between 1 and {}, not {}", kMostSampled, most));
  }
  tracking::StepRange range;
  if (first) range = {.first = *first, .last = *last};
  std::string out;
  JsonWriter json(out);
  json.begin('{').name("metrics").begin('[');
  for (const auto& id : *ids) {
    const auto sample = services.tracking.sample_history({id}, key, most, range);
    if (!sample) return sample.error();
    for (const auto& metric : *sample) write(json, metric, id);
  }
  json.end(']').end('}');
  return out;
}

constexpr Endpoint kEndpoints[] = {
    {.method = "GET",
     .path = "metrics/get-history",
     .access = server::Access::read,
     .text = get_history},
    {.method = "GET",
     .path = "metrics/get-history-bulk",
     .access = server::Access::read,
     .text = get_history_bulk},
    {.method = "GET",
     .path = "metrics/get-history-bulk-interval",
     .access = server::Access::read,
     .text = get_history_interval},
};

}  // namespace

std::span<const Endpoint> history_endpoints() { return kEndpoints; }

}  // namespace slipway::api::mlflow
