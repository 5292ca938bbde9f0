#include <cmath>

#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

Json stage_of(bool deleted) { return deleted ? "deleted" : "active"; }

Json model_links(std::span<const tracking::ModelLink> links, bool with_step) {
  Json list = Json::array();
  for (const auto& link : links) {
    Json one = {{"model_id", link.model_id}};
    if (with_step) one["step"] = link.step;
    list.push_back(std::move(one));
  }
  return list;
}

Json dataset_input(const tracking::DatasetInput& input) {
  return {{"dataset",
           {{"name", input.name},
            {"digest", input.digest},
            {"source_type", input.source_type},
            {"source", input.source},
            {"schema", input.schema},
            {"profile", input.profile}}},
          {"tags", tag_list(input.tags)}};
}

}  // namespace

Json tag_list(const tracking::Tags& tags) {
  Json list = Json::array();
  for (const auto& [key, value] : tags) list.push_back({{"key", key}, {"value", value}});
  return list;
}

Result<Json> empty_or(const Result<void>& result) {
  if (!result) return result.error();
  return Json::object();
}

Json with_page(Json answer, const std::string& next_page) {
  if (!next_page.empty()) answer["next_page_token"] = next_page;
  return answer;
}

Json to_json(const tracking::Experiment& experiment) {
  return {{"experiment_id", experiment.id.text()},
          {"name", experiment.name},
          {"artifact_location", experiment.artifact_location},
          {"lifecycle_stage", stage_of(experiment.deleted)},
          {"creation_time", experiment.created_ms},
          {"last_update_time", experiment.updated_ms},
          {"tags", tag_list(experiment.tags)}};
}

Json to_json(const tracking::Metric& metric) {
  return {{"key", metric.key},
          {"value", std::isnan(metric.value) ? Json("NaN") : Json(metric.value)},
          {"timestamp", metric.timestamp_ms},
          {"step", metric.step}};
}

Json run_info(const tracking::Run& run) {
  Json info = {{"run_id", run.id.value},
               {"run_uuid", run.id.value},
               {"run_name", run.name},
               {"experiment_id", run.experiment.text()},
               {"user_id", run.user},
               {"status", tracking::to_string(run.status)},
               {"start_time", run.start_ms},
               {"artifact_uri", run.artifact_uri},
               {"lifecycle_stage", stage_of(run.deleted)}};
  if (run.end_ms) info["end_time"] = *run.end_ms;
  return info;
}

Json to_json(const tracking::Run& run) {
  Json metrics = Json::array();
  for (const auto& metric : run.metrics) metrics.push_back(to_json(metric));
  Json params = Json::array();
  for (const auto& [key, value] : run.params) params.push_back({{"key", key}, {"value", value}});
  Json datasets = Json::array();
  for (const auto& input : run.datasets) datasets.push_back(dataset_input(input));
  return {{"info", run_info(run)},
          {"data",
           {{"metrics", std::move(metrics)},
            {"params", std::move(params)},
            {"tags", tag_list(run.tags)}}},
          {"inputs",
           {{"dataset_inputs", std::move(datasets)},
            {"model_inputs", model_links(run.model_inputs, false)}}},
          {"outputs", {{"model_outputs", model_links(run.model_outputs, true)}}}};
}

Json to_json(const registry::ModelVersion& version) {
  Json json = {{"name", version.model},
               {"version", std::to_string(version.number)},
               {"creation_timestamp", to_millis(version.created)},
               {"last_updated_timestamp", to_millis(version.updated)},
               {"user_id", version.user},
               {"current_stage", version.stage},
               {"description", version.description},
               {"source", version.source},
               {"run_id", version.run_id},
               {"status", version.status},
               {"aliases", version.aliases},
               {"tags", tag_list(version.tags)}};
  if (!version.model_id.empty()) json["model_id"] = version.model_id;
  return json;
}

Json to_json(const registry::RegisteredModel& model,
             std::span<const registry::ModelVersion> latest) {
  Json aliases = Json::array();
  for (const auto& [alias, number] : model.aliases) {
    aliases.push_back({{"alias", alias}, {"version", std::to_string(number)}});
  }
  Json versions = Json::array();
  for (const auto& version : latest) versions.push_back(to_json(version));
  return {{"name", model.name},
          {"description", model.description},
          {"creation_timestamp", to_millis(model.created)},
          {"last_updated_timestamp", to_millis(model.updated)},
          {"tags", tag_list(model.tags)},
          {"aliases", std::move(aliases)},
          {"latest_versions", std::move(versions)}};
}

}  // namespace slipway::api::mlflow
