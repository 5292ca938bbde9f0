#include <set>

#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using tracking::Metric;

Result<Json> create(Services& services, const Context& ctx, Params& params) {
  tracking::RunSpec spec;
  if (params.maybe_text("experiment_id")) spec.experiment = params.experiment_id();
  spec.name = params.text_or_empty("run_name");
  spec.user = params.text_or_empty("user_id");
  spec.start_ms = params.maybe_integer("start_time");
  spec.tags = params.tags();
  if (params.problem()) return *params.problem();
  const auto run = services.tracking.create_run(ctx, spec);
  if (!run) return run.error();
  return Json{{"run", to_json(*run)}};
}

Result<Json> get(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  if (params.problem()) return *params.problem();
  const auto run = services.tracking.run(id);
  if (!run) return run.error();
  return Json{{"run", to_json(*run)}};
}

Result<Json> update(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  tracking::RunUpdate update;
  if (const auto text = params.maybe_text("status")) {
    const auto status = tracking::parse_run_status(*text);
    if (!status) return status.error();
    update.status = *status;
  }
  update.end_ms = params.maybe_integer("end_time");
  update.name = params.maybe_text("run_name");
  if (update.name && update.name->empty()) update.name.reset();
  if (params.problem()) return *params.problem();
  const auto run = services.tracking.update_run(id, update);
  if (!run) return run.error();
  return Json{{"run_info", run_info(*run)}};
}

Result<Json> remove(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.delete_run(id));
}

Result<Json> restore(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.restore_run(id));
}

Result<Json> search(Services& services, const Context&, Params& params) {
  tracking::RunSearch search;
  for (const auto& text : params.texts("experiment_ids")) {
    const auto id = tracking::ExperimentId::parse(text);
    if (id) search.experiments.push_back(*id);  // as MLflow: an unknown one has no runs
  }
  search.filter = params.text_or_empty("filter");
  search.order_by = params.texts("order_by");
  search.view = params.view("run_view_type");
  search.max_results = params.integer("max_results", search.max_results);
  search.page = params.text_or_empty("page_token");
  if (params.problem()) return *params.problem();
  const auto page = services.tracking.search_runs(search);
  if (!page) return page.error();
  Json runs = Json::array();
  for (const auto& run : page->items) runs.push_back(to_json(run));
  return with_page({{"runs", std::move(runs)}}, page->next_page);
}

Metric read_metric(Params& params) {
  return {.key = params.text("key"),
          .value = params.number("value"),
          .timestamp_ms = params.integer("timestamp"),
          .step = params.integer("step", 0)};
}

Result<Json> log_metric(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto metric = read_metric(params);
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.log_metric(id, metric));
}

Result<Json> log_param(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto key = params.text("key");
  const auto value = params.text_or_empty("value");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.log_param(id, key, value));
}

Result<Json> log_batch(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  tracking::Batch batch;
  for (auto& metric : params.objects("metrics")) batch.metrics.push_back(read_metric(metric));
  for (auto& param : params.objects("params")) {
    auto key = param.text("key");
    batch.params.push_back({std::move(key), param.text_or_empty("value")});
  }
  for (auto& tag : params.objects("tags")) {
    auto key = tag.text("key");
    batch.tags.push_back({std::move(key), tag.text_or_empty("value")});
  }
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.log_batch(id, batch));
}

Result<Json> set_tag(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto key = params.text("key");
  const auto value = params.text_or_empty("value");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.set_tag(id, key, value));
}

Result<Json> delete_tag(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto key = params.text("key");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.delete_tag(id, key));
}

std::vector<tracking::ModelLink> read_models(Params& params) {
  std::vector<tracking::ModelLink> models;
  for (auto& model : params.objects("models")) {
    models.push_back({.model_id = model.text("model_id"), .step = model.integer("step", 0)});
  }
  return models;
}

Result<Json> log_inputs(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  std::vector<tracking::DatasetInput> datasets;
  for (auto& input : params.objects("datasets")) {
    auto dataset = input.object("dataset");
    datasets.push_back({.name = dataset.text("name"),
                        .digest = dataset.text("digest"),
                        .source_type = dataset.text_or_empty("source_type"),
                        .source = dataset.text_or_empty("source"),
                        .schema = dataset.text_or_empty("schema"),
                        .profile = dataset.text_or_empty("profile"),
                        .tags = input.tags()});
  }
  const auto models = read_models(params);
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.log_inputs(id, datasets, models));
}

Result<Json> log_outputs(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto models = read_models(params);
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.log_outputs(id, models));
}

Result<Json> log_model(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto text = params.text("model_json");
  if (params.problem()) return *params.problem();
  const auto model = parse_json(text, "model_json");
  if (!model) return model.error();
  for (const std::string_view field : {"artifact_path", "flavors", "utc_time_created", "run_id"}) {
    if (!model->is_object() || !model->contains(field)) {
      return invalid_argument(fmt::format("model_json lacks the field '{}'", field));
    }
  }
  return empty_or(services.tracking.record_model(id, *model));
}

Result<Json> get_history(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto key = params.text("metric_key");
  const auto most = params.integer("max_results", 0);
  const auto token = params.text_or_empty("page_token");
  if (params.problem()) return *params.problem();
  const auto page = services.tracking.metric_history(id, key, most, token);
  if (!page) return page.error();
  Json metrics = Json::array();
  for (const auto& metric : page->items) metrics.push_back(to_json(metric));
  return with_page({{"metrics", std::move(metrics)}}, page->next_page);
}

// Evenly spaced out of all steps of all runs, always with each run's last: enough to draw the
// curves.
std::set<std::int64_t> sample_steps(const std::vector<std::vector<Metric>>& histories,
                                    std::int64_t most) {
  std::set<std::int64_t> all;
  for (const auto& history : histories) {
    for (const auto& metric : history) all.insert(metric.step);
  }
  if (std::ssize(all) <= most) return all;
  const std::vector<std::int64_t> steps(all.begin(), all.end());
  std::set<std::int64_t> sampled;
  for (std::int64_t i = 0; i < most; ++i) {
    sampled.insert(steps[static_cast<std::size_t>(i * std::ssize(steps) / most)]);
  }
  for (const auto& history : histories) {
    const auto last = std::ranges::max_element(history, {}, &Metric::step);
    if (last != history.end()) sampled.insert(last->step);
  }
  return sampled;
}

Result<Json> get_history_interval(Services& services, const Context&, Params& params) {
  constexpr std::size_t kMostRuns = 100;
  constexpr std::int64_t kMostPoints = 2500;
  const auto ids = params.texts("run_ids");
  const auto key = params.text("metric_key");
  const auto from = params.integer("start_step", std::numeric_limits<std::int64_t>::min());
  const auto to = params.integer("end_step", std::numeric_limits<std::int64_t>::max());
  const auto most = params.integer("max_results", kMostPoints);
  if (params.problem()) return *params.problem();
  if (ids.empty() || ids.size() > kMostRuns) {
    return invalid_argument(
        fmt::format("run_ids has {} runs: 1 to {} are answered", ids.size(), kMostRuns));
  }
  if (most < 1 || most > kMostPoints) {
    return invalid_argument(
        fmt::format("max_results must be between 1 and {}, not {}", kMostPoints, most));
  }
  std::vector<std::vector<Metric>> histories;
  for (const auto& id : ids) {
    auto page = services.tracking.metric_history({id}, key);
    if (!page) return page.error();
    std::erase_if(page->items, [&](const Metric& m) { return m.step < from || m.step > to; });
    histories.push_back(std::move(page->items));
  }
  const auto steps = sample_steps(histories, most);
  Json metrics = Json::array();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    for (const auto& metric : histories[i]) {
      if (!steps.contains(metric.step)) continue;
      Json point = to_json(metric);
      point["run_id"] = ids[i];
      metrics.push_back(std::move(point));
    }
  }
  return Json{{"metrics", std::move(metrics)}};
}

Result<Json> list_artifacts(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto path = params.text_or_empty("path");
  if (params.problem()) return *params.problem();
  const auto run = services.tracking.run(id);
  if (!run) return run.error();
  const auto artifacts = services.tracking.list_artifacts(id, path);
  if (!artifacts) return artifacts.error();
  Json files = Json::array();
  for (const auto& artifact : *artifacts) {
    Json file = {{"path", artifact.path}, {"is_dir", artifact.is_folder}};
    if (!artifact.is_folder) file["file_size"] = artifact.size;
    files.push_back(std::move(file));
  }
  return Json{{"root_uri", run->artifact_uri}, {"files", std::move(files)}};
}

constexpr Endpoint kEndpoints[] = {
    {"POST", "runs/create", Access::edit, create},
    {"GET", "runs/get", Access::read, get},
    {"POST", "runs/update", Access::edit, update},
    {"POST", "runs/delete", Access::edit, remove},
    {"POST", "runs/restore", Access::edit, restore},
    {"POST", "runs/search", Access::read, search},
    {"POST", "runs/log-metric", Access::edit, log_metric},
    {"POST", "runs/log-parameter", Access::edit, log_param},
    {"POST", "runs/log-batch", Access::edit, log_batch},
    {"POST", "runs/set-tag", Access::edit, set_tag},
    {"POST", "runs/delete-tag", Access::edit, delete_tag},
    {"POST", "runs/log-inputs", Access::edit, log_inputs},
    {"POST", "runs/outputs", Access::edit, log_outputs},
    {"POST", "runs/log-model", Access::edit, log_model},
    {"GET", "metrics/get-history", Access::read, get_history},
    {"GET", "metrics/get-history-bulk-interval", Access::read, get_history_interval},
    {"GET", "artifacts/list", Access::read, list_artifacts},
};

}  // namespace

std::span<const Endpoint> run_endpoints() { return kEndpoints; }

}  // namespace slipway::api::mlflow
