// MLflow's artifact proxy: a tree of files under …/mlflow-artifacts/artifacts/, whose bytes are in
// the blob store. Files of any size pass through in pieces.
#include "api/artifact_files_internal.h"
#include "blob/stream.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using server::Request;
using server::Response;

Response download(Services& services, const Request& request) {
  const auto file = services.tracking.file(std::string(request.param("path")));
  if (!file) return mlflow_error(file.error());
  return send_file(services, request, *file);
}

// One file on its way into the store. It gets its path when all of it is there, durably.
class FileUpload final : public server::Upload {
 public:
  FileUpload(std::shared_ptr<Services> services, std::string path, std::string digest,
             std::unique_ptr<blob::Writer> writer)
      : services_(std::move(services)),
        path_(std::move(path)),
        digest_(std::move(digest)),
        writer_(std::move(writer)) {}

  std::optional<Response> write(std::string_view bytes) override {
    const auto put = writer_->append(bytes);
    if (put) return std::nullopt;
    writer_.reset();  // gives the disk back what was written
    return mlflow_error(put.error());
  }

  Response finish() override {
    const bool empty = writer_->size() == 0;
    const auto ref = writer_->commit(digest_);
    if (!ref && empty && ref.error().code == Code::invalid_argument) {
      return mlflow_error(not_found(
          fmt::format("there are no bytes with the SHA-256 {} here yet: send them", digest_)));
    }
    if (!ref) return mlflow_error(ref.error());
    const auto put = services_->tracking.put_file(path_, *ref);
    if (!put) return mlflow_error(put.error());
    return stored_answer(*ref);
  }

 private:
  const std::shared_ptr<Services> services_;
  const std::string path_;
  const std::string digest_;  // the caller's, or empty
  std::unique_ptr<blob::Writer> writer_;
};

// When the caller says the SHA-256 and the bytes are here already, they need not be sent: with
// "Expect: 100-continue" or an empty body this is the whole upload. Only whoever may read all files
// is believed: to others a digest would open files that are none of theirs.
std::variant<std::unique_ptr<server::Upload>, Response> upload(
    const std::shared_ptr<Services>& services, const Context& ctx, const Request& request) {
  auto path = tracking::check_artifact_path(request.param("path"));
  if (!path) return mlflow_error(path.error());
  auto digest = said_digest(request);
  if (!digest) return mlflow_error(digest.error());
  const bool reads_all = !seen(ctx.principal, "experiment").has_value();
  if (!digest->empty() && reads_all) {
    const auto known = blob::keep(services->store, *digest);
    if (known) {
      const auto put = services->tracking.put_file(*path, *known);
      return put ? stored_answer(*known) : mlflow_error(put.error());
    }
  }
  if (auto room = room_for(services->store, request); !room) return mlflow_error(room.error());
  auto writer = blob::Writer::open(services->store);
  if (!writer) return mlflow_error(writer.error());
  return std::make_unique<FileUpload>(services, std::move(*path), std::move(*digest),
                                      std::move(*writer));
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

}  // namespace

void add_artifact_routes(server::Router& router, const std::shared_ptr<Services>& services,
                         const MlflowExtras& extras) {
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
      {"DELETE", "artifacts/{path*}", Access::edit, remove},
  };
  for (const std::string_view prefix : kProxyPrefixes) {
    for (const auto& route : kRoutes) {
      router.add(std::string(route.method), std::string(prefix) + std::string(route.path),
                 route.access, mlflow_error,
                 [services, answer = route.answer](const Context&, const Request& request) {
                   return answer(*services, request);
                 });
    }
    router.add_upload(
        "PUT", std::string(prefix) + "artifacts/{path*}", Access::edit, mlflow_error,
        [services](const Context& ctx, const Request& request) {
          return upload(services, ctx, request);
        },
        kMostFileBytes);
  }
  add_attachment_routes(router, services);
  if (extras.multipart != nullptr && extras.links != nullptr)
    add_multipart_routes(router, services, *extras.multipart, *extras.links);
}

}  // namespace slipway::api::mlflow
