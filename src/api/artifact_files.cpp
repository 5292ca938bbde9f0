#include "api/artifact_files_internal.h"
#include "base/hash.h"
#include "blob/stream.h"
#include "server/content.h"

namespace slipway::api::mlflow {
namespace {

using server::Request;
using server::Response;

// A blob, or a part of one, as the body of an answer.
class BlobBody final : public server::Body {
 public:
  explicit BlobBody(std::unique_ptr<blob::Reader> reader) : reader_(std::move(reader)) {}
  std::uint64_t size() const override { return static_cast<std::uint64_t>(reader_->size()); }
  Result<std::size_t> read(std::span<char> into) override { return reader_->read(into); }

 private:
  std::unique_ptr<blob::Reader> reader_;
};

// RFC 6266, section 4.3: the name for old readers, and the name in UTF-8 (RFC 8187).
std::string attachment(std::string_view path) {
  const std::string_view name = path.substr(path.rfind('/') + 1);
  std::string plain;
  std::string encoded;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    plain += byte < 0x20 || byte > 0x7E || c == '"' || c == '\\' ? '_' : c;
    if (letter || c == '-' || c == '.' || c == '_') {
      encoded += c;
    } else {
      encoded += fmt::format("%{:02X}", byte);
    }
  }
  std::string value = fmt::format("attachment; filename=\"{}\"", plain);
  if (encoded != name) value += "; filename*=UTF-8''" + encoded;
  return value;
}

Result<std::string> digest_of_field(std::string_view field) {
  // sha-256=:base64:, perhaps among others
  const std::size_t begin = field.find("sha-256=:");
  if (begin == std::string_view::npos) return std::string();
  const std::string_view rest = field.substr(begin + 9);
  const auto bytes = from_base64(rest.substr(0, rest.find(':')));
  if (!bytes || bytes->size() != 32) {
    return invalid_argument("the digest in the header is not sha-256=:BASE64: of 32 bytes");
  }
  return to_hex({reinterpret_cast<const std::uint8_t*>(bytes->data()), bytes->size()});
}

}  // namespace

Response send_file(Services& services, const Request& request, const tracking::Artifact& file) {
  server::Content content{.etag = file.sha256,
                          .size = static_cast<std::uint64_t>(file.size),
                          .headers = {{"Content-Disposition", attachment(file.path)},
                                      {"Cache-Control", "private, no-cache"}}};
  content.open = [&](std::uint64_t from,
                     std::uint64_t count) -> Result<std::shared_ptr<server::Body>> {
    const bool whole = count == static_cast<std::uint64_t>(file.size);
    auto reader =
        whole ? blob::Reader::open(services.store, file.sha256)
              : blob::Reader::open(services.store, file.sha256, static_cast<std::int64_t>(from),
                                   static_cast<std::int64_t>(count));
    if (!reader) return reader.error();
    if (whole && (*reader)->size() != file.size) {
      return data_loss(fmt::format("blob {} is damaged: it has {} bytes, and {} were stored",
                                   file.sha256, (*reader)->size(), file.size));
    }
    return std::shared_ptr<server::Body>(std::make_shared<BlobBody>(std::move(*reader)));
  };
  return server::content_answer(request, std::move(content), mlflow_error);
}

Result<std::string> said_digest(const Request& request) {
  std::string hex(request.header("x-content-sha256"));
  if (!hex.empty()) {
    for (char& c : hex) {
      if (c >= 'A' && c <= 'F') c = static_cast<char>(c - 'A' + 'a');
    }
    if (blob::is_digest(hex)) return hex;
    return invalid_argument(
        fmt::format("X-Content-SHA256 is '{}', wanted 64 hexadecimal characters",
                    std::string_view(hex).substr(0, 80)));
  }
  auto digest = digest_of_field(request.header("repr-digest"));
  if (digest && digest->empty()) digest = digest_of_field(request.header("content-digest"));
  return digest;
}

Result<void> room_for(const blob::Store& store, const Request& request) {
  std::uint64_t wanted = 0;
  const auto text = request.header("content-length");
  std::from_chars(text.data(), text.data() + text.size(), wanted);
  std::error_code unknown;
  const auto space = std::filesystem::space(store.root(), unknown);
  if (unknown || wanted <= space.available) return {};
  return storage_full(
      fmt::format("the file has {} bytes, and {} are free where artifacts are kept ('{}'): make "
                  "room there, then upload again",
                  wanted, space.available, store.root().string()));
}

Response stored_answer(const blob::Ref& ref) {
  Response response = server::json_text(200, "{}");
  response.headers = {{"ETag", '"' + ref.sha256 + '"'}, {"X-Content-SHA256", ref.sha256}};
  return response;
}

std::string origin_of(const Request& request) {
  const auto forwarded = request.header("x-forwarded-proto");
  const bool secure = request.secure || forwarded == "https";
  return fmt::format("{}://{}", secure ? "https" : "http", request.header("host"));
}

}  // namespace slipway::api::mlflow
