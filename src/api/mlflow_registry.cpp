#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;

Result<Json> model_answer(Services& services, const Result<registry::RegisteredModel>& model) {
  if (!model) return model.error();
  const auto latest = services.registry.latest_by_stage(model->name);
  if (!latest) return latest.error();
  return Json{{"registered_model", to_json(*model, *latest)}};
}

Result<Json> version_answer(const Result<registry::ModelVersion>& version) {
  if (!version) return version.error();
  return Json{{"model_version", to_json(*version)}};
}

Result<Json> create_model(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto description = params.text_or_empty("description");
  const auto tags = params.tags();
  if (params.problem()) return *params.problem();
  return model_answer(services, services.registry.create_model(ctx, name, description, tags));
}

Result<Json> get_model(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  if (params.problem()) return *params.problem();
  return model_answer(services, services.registry.model(name));
}

Result<Json> rename_model(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto new_name = params.text("new_name");
  if (params.problem()) return *params.problem();
  return model_answer(services, services.registry.rename_model(ctx, name, new_name));
}

Result<Json> update_model(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto description = params.text_or_empty("description");
  if (params.problem()) return *params.problem();
  return model_answer(services, services.registry.describe_model(ctx, name, description));
}

Result<Json> delete_model(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.delete_model(ctx, name));
}

registry::Search read_search(Params& params, std::int64_t default_size) {
  registry::Search search;
  search.filter = params.text_or_empty("filter");
  search.order_by = params.texts("order_by");
  search.max_results = params.integer("max_results", default_size);
  search.page = params.text_or_empty("page_token");
  return search;
}

Result<Json> search_models(Services& services, const Context&, Params& params) {
  const auto search = read_search(params, 100);
  if (params.problem()) return *params.problem();
  const auto page = services.registry.search_models(search);
  if (!page) return page.error();
  Json models = Json::array();
  for (const auto& model : page->items) {
    const auto latest = services.registry.latest_by_stage(model.name);
    if (!latest) return latest.error();
    models.push_back(to_json(model, *latest));
  }
  return with_page({{"registered_models", std::move(models)}}, page->next_page);
}

Result<Json> latest_versions(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto stages = params.texts("stages");
  if (params.problem()) return *params.problem();
  const auto latest = services.registry.latest_by_stage(name);
  if (!latest) return latest.error();
  Json versions = Json::array();
  for (const auto& version : *latest) {
    const bool wanted = stages.empty() || std::ranges::find(stages, version.stage) != stages.end();
    if (wanted) versions.push_back(to_json(version));
  }
  return Json{{"model_versions", std::move(versions)}};
}

Result<Json> set_model_tag(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto key = params.text("key");
  const auto value = params.text_or_empty("value");
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.set_model_tag(name, key, value));
}

Result<Json> delete_model_tag(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto key = params.text("key");
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.delete_model_tag(name, key));
}

Result<Json> get_alias(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto alias = params.text("alias");
  if (params.problem()) return *params.problem();
  return version_answer(services.registry.find_by_alias(name, alias));
}

Result<Json> set_alias(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto alias = params.text("alias");
  const auto version = params.version();
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.set_alias(ctx, name, alias, version));
}

Result<Json> delete_alias(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto alias = params.text("alias");
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.delete_alias(ctx, name, alias));
}

Result<Json> create_version(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  registry::VersionSpec spec;
  spec.source = params.text("source");
  spec.run_id = params.text_or_empty("run_id");
  spec.description = params.text_or_empty("description");
  spec.model_id = params.text_or_empty("model_id");
  spec.tags = params.tags();
  if (params.problem()) return *params.problem();
  return version_answer(services.registry.create_version(ctx, name, spec));
}

Result<Json> get_version(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto version = params.version();
  if (params.problem()) return *params.problem();
  return version_answer(services.registry.version(name, version));
}

Result<Json> update_version(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto version = params.version();
  const auto description = params.text_or_empty("description");
  if (params.problem()) return *params.problem();
  return version_answer(services.registry.describe_version(ctx, name, version, description));
}

Result<Json> delete_version(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto version = params.version();
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.delete_version(ctx, name, version));
}

Result<Json> transition_stage(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  const auto version = params.version();
  const auto stage = params.text("stage");
  const auto archive = params.flag("archive_existing_versions", false);
  if (params.problem()) return *params.problem();
  return version_answer(services.registry.set_stage(ctx, name, version, stage, archive));
}

Result<Json> search_versions(Services& services, const Context&, Params& params) {
  const auto search = read_search(params, 10'000);
  if (params.problem()) return *params.problem();
  const auto page = services.registry.search_versions(search);
  if (!page) return page.error();
  Json versions = Json::array();
  for (const auto& version : page->items) versions.push_back(to_json(version));
  return with_page({{"model_versions", std::move(versions)}}, page->next_page);
}

Result<Json> download_uri(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto version = params.version();
  if (params.problem()) return *params.problem();
  const auto found = services.registry.version(name, version);
  if (!found) return found.error();
  return Json{{"artifact_uri", found->source}};
}

Result<Json> set_version_tag(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto version = params.version();
  const auto key = params.text("key");
  const auto value = params.text_or_empty("value");
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.set_version_tag(name, version, key, value));
}

Result<Json> delete_version_tag(Services& services, const Context&, Params& params) {
  const auto name = params.text("name");
  const auto version = params.version();
  const auto key = params.text("key");
  if (params.problem()) return *params.problem();
  return empty_or(services.registry.delete_version_tag(name, version, key));
}

constexpr Endpoint kEndpoints[] = {
    {"POST", "registered-models/create", Access::edit, create_model},
    {"GET", "registered-models/get", Access::read, get_model},
    {"POST", "registered-models/rename", Access::manage, rename_model},
    {"PATCH", "registered-models/update", Access::edit, update_model},
    {"DELETE", "registered-models/delete", Access::manage, delete_model},
    {"GET", "registered-models/search", Access::read, search_models},
    {"POST", "registered-models/get-latest-versions", Access::read, latest_versions},
    {"GET", "registered-models/get-latest-versions", Access::read, latest_versions},
    {"POST", "registered-models/set-tag", Access::edit, set_model_tag},
    {"DELETE", "registered-models/delete-tag", Access::edit, delete_model_tag},
    {"GET", "registered-models/alias", Access::read, get_alias},
    {"POST", "registered-models/alias", Access::manage, set_alias},
    {"DELETE", "registered-models/alias", Access::manage, delete_alias},
    {"POST", "model-versions/create", Access::edit, create_version},
    {"GET", "model-versions/get", Access::read, get_version},
    {"PATCH", "model-versions/update", Access::edit, update_version},
    {"DELETE", "model-versions/delete", Access::manage, delete_version},
    {"POST", "model-versions/transition-stage", Access::manage, transition_stage},
    {"GET", "model-versions/search", Access::read, search_versions},
    {"GET", "model-versions/get-download-uri", Access::read, download_uri},
    {"POST", "model-versions/set-tag", Access::edit, set_version_tag},
    {"DELETE", "model-versions/delete-tag", Access::edit, delete_version_tag},
};

}  // namespace

std::span<const Endpoint> registry_endpoints() { return kEndpoints; }

}  // namespace slipway::api::mlflow
