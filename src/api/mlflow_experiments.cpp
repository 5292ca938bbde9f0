#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;

Result<Json> create(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto location = params.text_or_empty("artifact_location");
  const auto tags = params.tags();
  if (params.problem()) return *params.problem();
  const auto made = services.tracking.create_experiment(name, tags, location);
  if (!made) return made.error();
  return Json{{"experiment_id", made->id.text()}};
}

Result<Json> get(Services& services, const Context&, Params& params) {
  const auto id = params.experiment_id();
  if (params.problem()) return *params.problem();
  const auto experiment = services.tracking.experiment(id);
  if (!experiment) return experiment.error();
  return Json{{"experiment", to_json(*experiment)}};
}

Result<Json> get_by_name(Services& services, const Context&, Params& params) {
  const auto name = params.text("experiment_name");
  if (params.problem()) return *params.problem();
  const auto experiment = services.tracking.experiment_by_name(name);
  if (!experiment) return experiment.error();
  return Json{{"experiment", to_json(*experiment)}};
}

Result<Json> search(Services& services, const Context& ctx, Params& params) {
  tracking::ExperimentSearch search;
  search.only = seen(ctx.principal, "experiment");
  search.filter = params.text_or_empty("filter");
  search.order_by = params.texts("order_by");
  search.view = params.view("view_type");
  search.max_results = params.integer("max_results", search.max_results);
  search.page = params.text_or_empty("page_token");
  if (params.problem()) return *params.problem();
  const auto page = services.tracking.search_experiments(search);
  if (!page) return page.error();
  Json experiments = Json::array();
  for (const auto& experiment : page->items) experiments.push_back(to_json(experiment));
  return with_page({{"experiments", std::move(experiments)}}, page->next_page);
}

Result<Json> update(Services& services, const Context&, Params& params) {
  const auto id = params.experiment_id();
  const auto name = params.maybe_text("new_name");
  if (params.problem()) return *params.problem();
  if (!name) return Json::object();
  return empty_or(services.tracking.rename_experiment(id, *name));
}

Result<Json> remove(Services& services, const Context&, Params& params) {
  const auto id = params.experiment_id();
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.delete_experiment(id));
}

Result<Json> restore(Services& services, const Context&, Params& params) {
  const auto id = params.experiment_id();
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.restore_experiment(id));
}

Result<Json> set_tag(Services& services, const Context&, Params& params) {
  const auto id = params.experiment_id();
  const auto key = params.text("key");
  const auto value = params.text_or_empty("value");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.set_experiment_tag(id, key, value));
}

Result<Json> delete_tag(Services& services, const Context&, Params& params) {
  const auto id = params.experiment_id();
  const auto key = params.text("key");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.delete_experiment_tag(id, key));
}

Result<Json> search_datasets(Services& services, const Context&, Params& params) {
  constexpr std::size_t kMostExperiments = 20;
  const auto texts = params.texts("experiment_ids");
  if (params.problem()) return *params.problem();
  if (texts.empty() || texts.size() > kMostExperiments) {
    return invalid_argument(fmt::format("experiment_ids names {} experiments: 1 to {} are wanted",
                                        texts.size(), kMostExperiments));
  }
  std::vector<tracking::ExperimentId> ids;
  for (const auto& text : texts) {
    if (const auto id = tracking::ExperimentId::parse(text)) ids.push_back(*id);
  }
  const auto datasets = services.tracking.search_datasets(ids);
  if (!datasets) return datasets.error();
  Json summaries = Json::array();
  for (const auto& dataset : *datasets) {
    Json summary = {{"experiment_id", dataset.experiment.text()},
                    {"name", dataset.name},
                    {"digest", dataset.digest}};
    if (!dataset.context.empty()) summary["context"] = dataset.context;
    summaries.push_back(std::move(summary));
  }
  return Json{{"dataset_summaries", std::move(summaries)}};
}

constexpr Endpoint kEndpoints[] = {
    {"POST", "experiments/create", Access::edit, create},
    {"GET", "experiments/get", Access::read, get},
    {"GET", "experiments/get-by-name", Access::read, get_by_name},
    {"POST", "experiments/search", Access::read, search},
    {"GET", "experiments/search", Access::read, search},
    {"POST", "experiments/search-datasets", Access::read, search_datasets},
    {"POST", "experiments/update", Access::edit, update},
    {"POST", "experiments/delete", Access::manage, remove},
    {"POST", "experiments/restore", Access::manage, restore},
    {"POST", "experiments/set-experiment-tag", Access::edit, set_tag},
    {"POST", "experiments/delete-experiment-tag", Access::edit, delete_tag},
};

}  // namespace

std::span<const Endpoint> experiment_endpoints() { return kEndpoints; }

}  // namespace slipway::api::mlflow
