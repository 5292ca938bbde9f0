#include "api/json_writer_internal.h"
#include "api/mlflow_internal.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;

// {"run": …}
std::string one_run(const tracking::Run& run) {
  std::string out;
  JsonWriter json(out);
  json.begin('{').name("run");
  write_run(json, run);
  json.end('}');
  return out;
}

Result<std::string> create(Services& services, const Context& ctx, Params& params) {
  tracking::RunSpec spec;
  if (params.maybe_text("experiment_id")) spec.experiment = params.experiment_id();
  spec.name = params.text_or_empty("run_name");
  // Whoever is known to ask; without authentication, whoever the client says it is.
  spec.user = params.text_or_empty("user_id");
  if (ctx.principal.visibility != nullptr) spec.user = ctx.principal.name;
  spec.start_ms = params.maybe_integer("start_time");
  spec.tags = params.tags();
  if (params.problem()) return *params.problem();
  const auto run = services.tracking.create_run(ctx, spec);
  if (!run) return run.error();
  return one_run(*run);
}

Result<std::string> get(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  if (params.problem()) return *params.problem();
  const auto run = services.tracking.run(id);
  if (!run) return run.error();
  return one_run(*run);
}

Result<std::string> update(Services& services, const Context&, Params& params) {
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
  std::string out;
  JsonWriter json(out);
  json.begin('{').name("run_info");
  write_run_info(json, *run);
  json.end('}');
  return out;
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

Result<std::string> search(Services& services, const Context&, Params& params) {
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
  std::string out;
  JsonWriter json(out);
  json.begin('{').name("runs").begin('[');
  for (const auto& run : page->items) write_run(json, run);
  json.end(']');
  if (!page->next_page.empty()) json.name("next_page_token").text(page->next_page);
  json.end('}');
  return out;
}

Result<Json> log_param(Services& services, const Context&, Params& params) {
  const auto id = params.run_id();
  const auto key = params.text("key");
  const auto value = params.text_or_empty("value");
  if (params.problem()) return *params.problem();
  return empty_or(services.tracking.log_param(id, key, value));
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
    {.method = "POST", .path = "runs/create", .access = Access::edit, .text = create},
    {.method = "GET", .path = "runs/get", .access = Access::read, .text = get},
    {.method = "POST", .path = "runs/update", .access = Access::edit, .text = update},
    {"POST", "runs/delete", Access::manage, remove},
    {"POST", "runs/restore", Access::manage, restore},
    {.method = "POST", .path = "runs/search", .access = Access::read, .text = search},
    {"POST", "runs/log-parameter", Access::edit, log_param},
    {"POST", "runs/set-tag", Access::edit, set_tag},
    {"POST", "runs/delete-tag", Access::edit, delete_tag},
    {"POST", "runs/log-inputs", Access::edit, log_inputs},
    {"POST", "runs/outputs", Access::edit, log_outputs},
    {"POST", "runs/log-model", Access::edit, log_model},
    {"GET", "artifacts/list", Access::read, list_artifacts},
};

}  // namespace

std::span<const Endpoint> run_endpoints() { return kEndpoints; }

}  // namespace slipway::api::mlflow
