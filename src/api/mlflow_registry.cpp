#include <charconv>

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

registry::Search read_search(const Context& ctx, Params& params, std::int64_t default_size) {
  registry::Search search;
  search.only = seen(ctx.principal, "model");
  search.filter = params.text_or_empty("filter");
  search.order_by = params.texts("order_by");
  search.max_results = params.integer("max_results", default_size);
  search.page = params.text_or_empty("page_token");
  return search;
}

Result<Json> search_models(Services& services, const Context& ctx, Params& params) {
  const auto search = read_search(ctx, params, 100);
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
  // Nobody can set an alias "latest": to clients it is the newest version.
  constexpr std::string_view kLatest = "latest";
  const bool latest = std::ranges::equal(
      alias, kLatest, {}, [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return version_answer(latest ? services.registry.latest_version(name)
                               : services.registry.find_by_alias(name, alias));
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

// "models:/late/3", "models:/late@champion" or "models:/late/latest" in pieces; nothing for a
// logged model's "models:/m-…".
struct NamedVersion {
  std::string model, version, alias;
};
std::optional<NamedVersion> named_version(std::string_view rest) {
  if (const auto at = rest.find('@'); at != std::string_view::npos) {
    return NamedVersion{std::string(rest.substr(0, at)), {}, std::string(rest.substr(at + 1))};
  }
  if (const auto slash = rest.find('/'); slash != std::string_view::npos) {
    return NamedVersion{
        std::string(rest.substr(0, slash)), std::string(rest.substr(slash + 1)), {}};
  }
  return {};
}

Result<registry::ModelVersion> find_version(Services& services, const NamedVersion& name) {
  if (!name.alias.empty()) return services.registry.find_by_alias(name.model, name.alias);
  if (name.version == "latest") return services.registry.latest_version(name.model);
  std::int64_t number = 0;
  const char* end = name.version.data() + name.version.size();
  const auto [read, problem] = std::from_chars(name.version.data(), end, number);
  if (problem != std::errc{} || read != end) {
    return invalid_argument(fmt::format("'{}' is no version of model '{}'",
                                        name.version.substr(0, 40), name.model.substr(0, 256)));
  }
  return services.registry.version(name.model, number);
}

// One of the ids a call gives, or that of what the source names: they must not differ.
Result<void> take(std::string_view what, std::string& given, const std::string& named) {
  if (given.empty()) given = named;
  if (given == named || named.empty()) return {};
  return invalid_argument(
      fmt::format("the {} '{}' is not that of the source, '{}'", what, given.substr(0, 64), named));
}

// What the source names is looked up once, now: a version keeps its files and its lineage whatever
// becomes of the model it was made from.
Result<void> resolve_source(Services& services, registry::VersionSpec& spec) {
  constexpr std::string_view kModels = "models:/";
  constexpr std::string_view kRuns = "runs:/";
  const std::string_view source = spec.source;
  if (source.starts_with(kRuns)) {
    const auto run = source.substr(kRuns.size());
    return take("run_id", spec.run_id, std::string(run.substr(0, run.find('/'))));
  }
  if (source.starts_with(kModels)) {
    const auto rest = source.substr(kModels.size());
    if (rest.empty() || rest.front() == '/') return {};  // names nothing: the registry refuses it
    if (const auto name = named_version(rest)) {
      const auto version = find_version(services, *name);
      if (!version) return version.error();
      if (registry::is_prompt(version->tags)) {
        return invalid_argument("Prompt versions cannot be used as model version sources");
      }
      spec.source = fmt::format("models:/{}/{}", version->model, version->number);
      spec.storage = version->download_uri();
      if (auto same = take("run_id", spec.run_id, version->run_id); !same) return same;
      return take("model_id", spec.model_id, version->model_id);
    }
    const auto model = services.tracking.logged_model(std::string(rest));
    if (!model) return model.error();
    spec.storage = model->artifact_uri;
    if (auto same = take("run_id", spec.run_id, model->run_id); !same) return same;
    return take("model_id", spec.model_id, model->id);
  }
  if (!spec.model_id.empty() && spec.run_id.empty()) {
    const auto model = services.tracking.logged_model(spec.model_id);
    if (!model) return model.error();
    spec.run_id = model->run_id;
  }
  return {};
}

// The logged model's tag by which MLflow's pages find the versions made from it.
Result<void> note_version(Services& services, const registry::ModelVersion& version) {
  const std::string key = "mlflow.modelVersions";
  const auto model = services.tracking.logged_model(version.model_id);
  if (!model) return model.error();
  Json versions = Json::array();
  if (const auto known = model->tags.find(key); known != model->tags.end()) {
    versions = Json::parse(known->second, nullptr, false);
    if (!versions.is_array()) versions = Json::array();
  }
  versions.push_back({{"name", version.model}, {"version", std::to_string(version.number)}});
  const auto set =
      services.tracking.set_logged_model_tags(version.model_id, {{key, versions.dump()}});
  if (!set) return set.error();
  return {};
}

Result<Json> create_version(Services& services, const Context& ctx, Params& params) {
  const auto name = params.text("name");
  registry::VersionSpec spec;
  spec.source = params.text("source");
  spec.run_id = params.text_or_empty("run_id");
  spec.description = params.text_or_empty("description");
  spec.model_id = params.text_or_empty("model_id");
  spec.run_link = params.text_or_empty("run_link");
  spec.tags = params.tags();
  if (params.problem()) return *params.problem();
  if (auto resolved = resolve_source(services, spec); !resolved) return resolved.error();
  const auto version = services.registry.create_version(ctx, name, spec);
  if (version && !version->model_id.empty()) {
    if (auto noted = note_version(services, *version); !noted) return noted.error();
  }
  return version_answer(version);
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

Result<Json> search_versions(Services& services, const Context& ctx, Params& params) {
  const auto search = read_search(ctx, params, 10'000);
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
  return Json{{"artifact_uri", found->download_uri()}};
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
