#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using tracking::LoggedModel;
using tracking::ModelStatus;

struct StatusName {
  ModelStatus status;
  std::string_view name;
};
constexpr StatusName kStatusNames[] = {{ModelStatus::pending, "LOGGED_MODEL_PENDING"},
                                       {ModelStatus::ready, "LOGGED_MODEL_READY"},
                                       {ModelStatus::failed, "LOGGED_MODEL_UPLOAD_FAILED"}};

Json to_json(const LoggedModel& model) {
  std::string_view status;
  for (const auto& row : kStatusNames) {
    if (row.status == model.status) status = row.name;
  }
  Json params = Json::array();
  for (const auto& [key, value] : model.params) params.push_back({{"key", key}, {"value", value}});
  Json metrics = Json::array();
  for (const auto& point : model.metrics) {
    Json metric = {
        {"key", point.metric.key},
        {"value", std::isnan(point.metric.value) ? Json("NaN") : Json(point.metric.value)},
        {"timestamp", point.metric.timestamp_ms},
        {"step", point.metric.step},
        {"model_id", point.model_id},
        {"run_id", point.run_id}};
    if (!point.dataset_name.empty()) metric["dataset_name"] = point.dataset_name;
    if (!point.dataset_digest.empty()) metric["dataset_digest"] = point.dataset_digest;
    metrics.push_back(std::move(metric));
  }
  return {{"info",
           {{"model_id", model.id},
            {"experiment_id", model.experiment.text()},
            {"name", model.name},
            {"creation_timestamp_ms", model.created_ms},
            {"last_updated_timestamp_ms", model.updated_ms},
            {"artifact_uri", model.artifact_uri},
            {"status", status},
            {"model_type", model.type},
            {"source_run_id", model.run_id},
            {"tags", tag_list(model.tags)}}},
          {"data", {{"params", std::move(params)}, {"metrics", std::move(metrics)}}}};
}

Result<Json> answer(const Result<LoggedModel>& model) {
  if (!model) return model.error();
  return Json{{"model", to_json(*model)}};
}

std::vector<tracking::Param> read_params(Params& params) {
  std::vector<tracking::Param> list;
  for (auto& param : params.objects("params")) {
    auto key = param.text("key");
    list.push_back({std::move(key), param.text_or_empty("value")});
  }
  return list;
}

Result<Json> create(Services& services, const Context&, Params& params) {
  tracking::LoggedModelSpec spec;
  spec.experiment = params.experiment_id();
  spec.name = params.text_or_empty("name");
  spec.type = params.text_or_empty("model_type");
  spec.run_id = params.text_or_empty("source_run_id");
  spec.params = read_params(params);
  spec.tags = params.tags();
  if (params.problem()) return *params.problem();
  return answer(services.tracking.create_logged_model(spec));
}

Result<Json> get(Services& services, const Context&, Params& params) {
  const auto id = params.text("model_id");
  const bool also_deleted = params.flag("allow_deleted", false);
  if (params.problem()) return *params.problem();
  return answer(services.tracking.logged_model(id, also_deleted));
}

Result<Json> finalize(Services& services, const Context&, Params& params) {
  const auto id = params.text("model_id");
  const auto text = params.text("status");
  if (params.problem()) return *params.problem();
  for (const auto& row : kStatusNames) {
    if (row.name == text) {
      return answer(services.tracking.finalize_logged_model(id, row.status));
    }
  }
  return invalid_argument(fmt::format(
      "status '{}' is none of LOGGED_MODEL_PENDING, LOGGED_MODEL_READY, LOGGED_MODEL_UPLOAD_FAILED",
      text));
}

Result<Json> remove(Services& services, const Context&, Params& params) {
  const auto id = params.text("model_id");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.delete_logged_model(id));
}

tracking::LoggedModelSearch::Dataset read_dataset(Params& params) {
  return {.name = params.text_or_empty("dataset_name"),
          .digest = params.text_or_empty("dataset_digest")};
}

Result<Json> search(Services& services, const Context&, Params& params) {
  tracking::LoggedModelSearch search;
  for (const auto& text : params.texts("experiment_ids")) {
    const auto id = tracking::ExperimentId::parse(text);
    if (id) search.experiments.push_back(*id);  // an unknown one has no models
  }
  search.filter = params.text_or_empty("filter");
  for (auto& dataset : params.objects("datasets")) search.datasets.push_back(read_dataset(dataset));
  for (auto& order : params.objects("order_by")) {
    search.order_by.push_back({.field = order.text("field_name"),
                               .descending = !order.flag("ascending", true),
                               .dataset = read_dataset(order)});
  }
  search.max_results = params.integer("max_results", search.max_results);
  search.page = params.text_or_empty("page_token");
  if (params.problem()) return *params.problem();
  const auto page = services.tracking.search_logged_models(search);
  if (!page) return page.error();
  Json models = Json::array();
  for (const auto& model : page->items) models.push_back(to_json(model));
  return with_page({{"models", std::move(models)}}, page->next_page);
}

Result<Json> set_tags(Services& services, const Context&, Params& params) {
  const auto id = params.text("model_id");
  const auto tags = params.tags();
  if (params.problem()) return *params.problem();
  return answer(services.tracking.set_logged_model_tags(id, tags));
}

Result<Json> delete_tag(Services& services, const Context&, Params& params) {
  const auto id = params.text("model_id");
  const auto key = params.text("tag_key");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.delete_logged_model_tag(id, key));
}

Result<Json> log_params(Services& services, const Context&, Params& params) {
  const auto id = params.text("model_id");
  const auto list = read_params(params);
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.log_logged_model_params(id, list));
}

constexpr Endpoint kEndpoints[] = {
    {"POST", "logged-models", Access::edit, create},
    {"POST", "logged-models/search", Access::read, search},
    {"GET", "logged-models/{model_id}", Access::read, get},
    {"PATCH", "logged-models/{model_id}", Access::edit, finalize},
    {"DELETE", "logged-models/{model_id}", Access::manage, remove},
    {"PATCH", "logged-models/{model_id}/tags", Access::edit, set_tags},
    {"DELETE", "logged-models/{model_id}/tags/{tag_key}", Access::edit, delete_tag},
    {"POST", "logged-models/{model_id}/params", Access::edit, log_params},
};

}  // namespace

std::span<const Endpoint> logged_model_endpoints() { return kEndpoints; }

}  // namespace slipway::api::mlflow
