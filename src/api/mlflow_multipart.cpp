// Uploads in parts and downloads by link, as MLflow's client does them with large files when
// MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD / _DOWNLOAD say so (mlflow.protos.mlflow_artifacts and
// mlflow/store/artifact/http_artifact_repo.py). There the links point at cloud storage; here they
// point back at this server. Parts and links are fetched without credentials: the upload's id and
// the link's signature stand for them.
#include "api/artifact_files_internal.h"
#include "blob/stream.h"

namespace slipway::api::mlflow {
namespace {

using server::Access;
using server::Request;
using server::Response;

// The address names the folder, and the body's "path" the file by its path on the caller's own
// machine, which may be Windows.
Result<std::string> target_of(const Request& request, const std::string& local) {
  const std::string name = local.substr(local.find_last_of("/\\") + 1);
  const std::string folder(request.param("folder"));
  return tracking::check_artifact_path(folder.empty() ? name : folder + "/" + name);
}

std::string percent_encoded(std::string_view path) {
  std::string out;
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '/' || c == '-' || c == '.' || c == '_' || c == '~';
    out += plain ? std::string(1, c) : fmt::format("%{:02X}", static_cast<unsigned char>(c));
  }
  return out;
}

class PartUpload final : public server::Upload {
 public:
  explicit PartUpload(std::unique_ptr<blob::Multipart::Part> part) : part_(std::move(part)) {}

  std::optional<Response> write(std::string_view bytes) override {
    const auto put = part_->append(bytes);
    if (put) return std::nullopt;
    part_.reset();
    return mlflow_error(put.error());
  }
  Response finish() override {
    const auto etag = part_->finish();
    if (!etag) return mlflow_error(etag.error());
    Response response = server::json_text(200, "{}");
    response.headers = {{"ETag", '"' + *etag + '"'}};
    return response;
  }

 private:
  std::unique_ptr<blob::Multipart::Part> part_;
};

struct Parts {
  std::shared_ptr<Services> services;
  blob::Multipart& multipart;
  const SignedLinks& links;

  Result<Json> create(const Request& request, Params& params) const {
    const auto local = params.text("path");
    const auto count = params.integer("num_parts", 1);
    if (params.problem()) return *params.problem();
    const auto target = target_of(request, local);
    if (!target) return target.error();
    const auto id = multipart.create(*target, static_cast<int>(std::clamp<std::int64_t>(
                                                  count, 0, std::numeric_limits<int>::max())));
    if (!id) return id.error();
    Json credentials = Json::array();
    const std::string base = origin_of(request) + std::string(kProxyPrefixes[0]) + "mpu-part/";
    for (std::int64_t part = 1; part <= count; ++part) {
      credentials.push_back({{"url", fmt::format("{}{}/{}", base, *id, part)},
                             {"part_number", part},
                             {"headers", Json::object()}});
    }
    return Json{{"upload_id", *id}, {"credentials", std::move(credentials)}};
  }

  Result<Json> complete(const Request& request, Params& params) const {
    const auto local = params.text("path");
    const auto id = params.text("upload_id");
    std::vector<blob::Multipart::PartRef> parts;
    for (auto& part : params.objects("parts")) {
      const auto number = part.integer("part_number");
      auto etag = part.text_or_empty("etag");
      parts.push_back(
          {static_cast<int>(std::clamp<std::int64_t>(number, 0, std::numeric_limits<int>::max())),
           std::move(etag)});
    }
    if (params.problem()) return *params.problem();
    const auto target = target_of(request, local);
    if (!target) return target.error();
    const auto ref = multipart.complete(id, *target, parts);
    if (!ref) return ref.error();
    return empty_or(services->tracking.put_file(*target, *ref));
  }

  Result<Json> abort(const Request& request, Params& params) const {
    const auto local = params.text("path");
    const auto id = params.text("upload_id");
    if (params.problem()) return *params.problem();
    const auto target = target_of(request, local);
    if (!target) return target.error();
    return empty_or(multipart.abort(id, *target));
  }

  std::variant<std::unique_ptr<server::Upload>, Response> part(const Request& request) const {
    const auto text = request.param("part");
    int number = 0;
    const auto end = std::from_chars(text.data(), text.data() + text.size(), number);
    if (end.ec != std::errc() || end.ptr != text.data() + text.size()) {
      return mlflow_error(
          invalid_argument(fmt::format("'{}' is no number of a part", text.substr(0, 40))));
    }
    if (auto room = room_for(services->store, request); !room) return mlflow_error(room.error());
    auto part = multipart.part(std::string(request.param("upload")), number);
    if (!part) return mlflow_error(part.error());
    return std::make_unique<PartUpload>(std::move(*part));
  }

  // The bytes are checked before the link is given: ranges alone could not tell that they are
  // right.
  Result<Json> presigned(const Request& request) const {
    const std::string path(request.param("path"));
    const auto file = services->tracking.file(path);
    if (!file) return file.error();
    const auto sound = blob::check_once(services->store, file->sha256);
    if (!sound) return sound.error();
    return Json{{"url", fmt::format("{}{}signed/{}?{}", origin_of(request), kProxyPrefixes[0],
                                    percent_encoded(path), links.sign(path))},
                {"headers", Json::object()},
                {"file_size", sound->size}};
  }

  Response by_link(const Request& request) const {
    const std::string path(request.param("path"));
    const auto allowed =
        links.check(path, request.query_value("expires"), request.query_value("signature"));
    if (!allowed) return mlflow_error(allowed.error());
    const auto file = services->tracking.file(path);
    if (!file) return mlflow_error(file.error());
    return send_file(*services, request, *file);
  }
};

Response answer(const Result<Json>& result) {
  return result ? server::json_text(200, result->dump()) : mlflow_error(result.error());
}

}  // namespace

void add_multipart_routes(server::Router& router, const std::shared_ptr<Services>& services,
                          blob::Multipart& multipart, const SignedLinks& links) {
  const auto parts = std::make_shared<const Parts>(Parts{services, multipart, links});
  using Operation = Result<Json> (Parts::*)(const Request&, Params&) const;
  const auto add_call = [&](std::string_view prefix, std::string_view name, Operation operation) {
    router.add("POST", fmt::format("{}mpu/{}/{{folder*}}", prefix, name), Access::edit,
               mlflow_error, [parts, operation](const Context&, const Request& request) {
                 auto params = Params::read(request);
                 return params ? answer(((*parts).*operation)(request, *params))
                               : mlflow_error(params.error());
               });
  };
  for (const std::string_view prefix : kProxyPrefixes) {
    add_call(prefix, "create", &Parts::create);
    add_call(prefix, "complete", &Parts::complete);
    add_call(prefix, "abort", &Parts::abort);
    router.add("GET", std::string(prefix) + "presigned/{path*}", Access::read, mlflow_error,
               [parts](const Context&, const Request& request) {
                 return answer(parts->presigned(request));
               });
  }
  router.add("GET", std::string(kProxyPrefixes[0]) + "signed/{path*}", Access::open, mlflow_error,
             [parts](const Context&, const Request& request) { return parts->by_link(request); });
  router.add_upload(
      "PUT", std::string(kProxyPrefixes[0]) + "mpu-part/{upload}/{part}", Access::open,
      mlflow_error,
      [parts](const Context&, const Request& request) { return parts->part(request); },
      kMostPartBytes);
}

}  // namespace slipway::api::mlflow
