#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

Json stage_of(bool deleted) { return deleted ? "deleted" : "active"; }

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
  if (!version.run_link.empty()) json["run_link"] = version.run_link;
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
