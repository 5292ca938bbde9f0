// Files of runs, logged models and model versions as MLflow's pages fetch them: named by their
// owner and a path below it, always as attachments.
#include "api/artifact_files_internal.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using server::Request;
using server::Response;

Result<tracking::Artifact> below(Services& services, const std::string& uri,
                                 const std::string& path) {
  const auto root = tracking::artifact_root(uri);
  if (!root) return root.error();
  const auto checked = tracking::check_artifact_path(path);
  if (!checked) return checked.error();
  return services.tracking.file(*root + "/" + *checked);
}

Response of_run(Services& services, const Request& request) {
  auto params = Params::read(request);
  if (!params) return mlflow_error(params.error());
  const auto run = params->run_id();
  const auto path = params->text("path");
  if (params->problem()) return mlflow_error(*params->problem());
  const auto file = services.tracking.artifact(run, path);
  return file ? send_file(services, request, *file) : mlflow_error(file.error());
}

Response of_version(Services& services, const Request& request) {
  auto params = Params::read(request);
  if (!params) return mlflow_error(params.error());
  const auto name = params->text("name");
  const auto number = params->version();
  const auto path = params->text("path");
  if (params->problem()) return mlflow_error(*params->problem());
  const auto version = services.registry.version(name, number);
  if (!version) return mlflow_error(version.error());
  const auto file = below(services, version->download_uri(), path);
  return file ? send_file(services, request, *file) : mlflow_error(file.error());
}

Response of_logged_model(Services& services, const Request& request) {
  auto params = Params::read(request);
  if (!params) return mlflow_error(params.error());
  const auto id = params->text("model_id");
  const auto path = params->text("artifact_file_path");
  if (params->problem()) return mlflow_error(*params->problem());
  const auto model = services.tracking.logged_model(id);
  if (!model) return mlflow_error(model.error());
  const auto file = below(services, model->artifact_uri, path);
  return file ? send_file(services, request, *file) : mlflow_error(file.error());
}

// The children of one folder, named from the model's root on.
Response list_logged_model(Services& services, const Request& request) {
  auto params = Params::read(request);
  if (!params) return mlflow_error(params.error());
  const auto id = params->text("model_id");
  const auto folder = params->text_or_empty("artifact_directory_path");
  if (params->problem()) return mlflow_error(*params->problem());
  const auto model = services.tracking.logged_model(id);
  if (!model) return mlflow_error(model.error());
  const auto root = tracking::artifact_root(model->artifact_uri);
  if (!root) return mlflow_error(root.error());
  std::string whole = *root;
  if (!folder.empty()) {
    const auto checked = tracking::check_artifact_path(folder);
    if (!checked) return mlflow_error(checked.error());
    whole += "/" + *checked;
  }
  const auto children = services.tracking.list_files(whole);
  if (!children) return mlflow_error(children.error());
  Json files = Json::array();
  for (const auto& child : *children) {
    Json file = {{"path", child.path.substr(root->size() + 1)}, {"is_dir", child.is_folder}};
    if (!child.is_folder) file["file_size"] = child.size;
    files.push_back(std::move(file));
  }
  return server::json_text(
      200, Json{{"root_uri", model->artifact_uri}, {"files", std::move(files)}}.dump());
}

}  // namespace

void add_attachment_routes(server::Router& router, const std::shared_ptr<Services>& services) {
  using Answer = Response (*)(Services&, const Request&);
  const auto add = [&](std::string path, Answer answer) {
    router.add("GET", std::move(path), Access::read, mlflow_error,
               [services, answer](const Context&, const Request& request) {
                 return answer(*services, request);
               });
  };
  add("/get-artifact", of_run);
  add("/model-versions/get-artifact", of_version);
  for (const std::string_view prefix : {"/api/2.0/mlflow/", "/ajax-api/2.0/mlflow/"}) {
    const std::string models = std::string(prefix) + "logged-models/{model_id}/artifacts/";
    add(models + "directories", list_logged_model);
    add(models + "files", of_logged_model);
  }
}

}  // namespace slipway::api::mlflow
