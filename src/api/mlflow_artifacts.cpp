// MLflow's artifact proxy: a tree of files under …/mlflow-artifacts/artifacts/, whose bytes are in
// the blob store.
#include "api/mlflow_internal.h"
#include "blob/store.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using server::Request;
using server::Response;

Response download(Services& services, const Request& request) {
  const auto file = services.tracking.file(std::string(request.param("path")));
  if (!file) return mlflow_error(file.error());
  auto bytes = services.store.read(file->sha256);
  if (!bytes) return mlflow_error(bytes.error());
  // Uploaded by anyone: to be kept, never to be shown as a page of this site.
  return {.status = 200,
          .content_type = "application/octet-stream",
          .body = *std::move(bytes),
          .headers = {{"x-content-type-options", "nosniff"},
                      {"content-disposition", "attachment"},
                      {"etag", fmt::format("\"{}\"", file->sha256)}}};
}

Response upload(Services& services, const Request& request) {
  const std::string path(request.param("path"));
  if (auto checked = tracking::check_artifact_path(path); !checked) {
    return mlflow_error(checked.error());
  }
  const auto blob = services.store.put_bytes(request.body);
  if (!blob) return mlflow_error(blob.error());
  const auto put = services.tracking.put_file(path, *blob);
  if (!put) return mlflow_error(put.error());
  return server::json_text(200, "{}");
}

Response remove(Services& services, const Request& request) {
  const auto deleted = services.tracking.delete_files(std::string(request.param("path")));
  if (!deleted) return mlflow_error(deleted.error());
  return server::json_text(200, "{}");
}

Response list(Services& services, const Request& request) {
  const auto files = services.tracking.list_files(std::string(request.query_value("path")));
  if (!files) return mlflow_error(files.error());
  Json list = Json::array();
  for (const auto& file : *files) {
    // Names only: the client joins them to the folder it asked for.
    Json entry = {{"path", file.path.substr(file.path.rfind('/') + 1)}, {"is_dir", file.is_folder}};
    if (!file.is_folder) entry["file_size"] = file.size;
    list.push_back(std::move(entry));
  }
  return server::json_text(200, Json{{"files", std::move(list)}}.dump());
}

// The client then sends the file in one piece.
Response no_multipart(Services&, const Request&) {
  return mlflow_error(unimplemented("files are uploaded and downloaded in one piece"));
}

}  // namespace

void add_artifact_routes(server::Router& router, const std::shared_ptr<Services>& services) {
  using Answer = Response (*)(Services&, const Request&);
  struct Route {
    std::string_view method;
    std::string_view path;
    Access access;
    Answer answer;
  };
  static constexpr Route kRoutes[] = {
      {"GET", "artifacts", Access::read, list},
      {"GET", "artifacts/{path*}", Access::read, download},
      {"PUT", "artifacts/{path*}", Access::edit, upload},
      {"DELETE", "artifacts/{path*}", Access::edit, remove},
      {"POST", "mpu/{path*}", Access::edit, no_multipart},
      {"GET", "presigned/{path*}", Access::read, no_multipart},
  };
  for (const std::string_view prefix :
       {"/api/2.0/mlflow-artifacts/", "/ajax-api/2.0/mlflow-artifacts/"}) {
    for (const auto& route : kRoutes) {
      router.add(std::string(route.method), std::string(prefix) + std::string(route.path),
                 route.access, mlflow_error,
                 [services, answer = route.answer](const Context&, const Request& request) {
                   return answer(*services, request);
                 });
    }
  }
}

}  // namespace slipway::api::mlflow
