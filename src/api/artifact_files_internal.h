// What the files of the artifact interface share: sending a stored file, and taking one.
#pragma once
#include <memory>
#include <string>
#include <string_view>

#include "api/mlflow_internal.h"
#include "api/signed_links.h"
#include "blob/multipart.h"
#include "blob/store.h"

namespace slipway::api::mlflow {

// S3's own limits, of a file and of one part of it.
inline constexpr std::uint64_t kMostFileBytes = std::uint64_t{5} << 40;
inline constexpr std::uint64_t kMostPartBytes = std::uint64_t{5} << 30;

// Both address forms of MLflow's artifact proxy.
inline constexpr std::string_view kProxyPrefixes[] = {"/api/2.0/mlflow-artifacts/",
                                                      "/ajax-api/2.0/mlflow-artifacts/"};

// The file as an attachment, so that nothing anyone uploaded is shown as a page of this site; with
// ranges and conditions by its SHA-256. The bytes are checked on their way.
server::Response send_file(Services& services, const server::Request& request,
                           const tracking::Artifact& file);

// The SHA-256 the caller says its body has, in lower-case hexadecimal; "" when it says none.
// Headers: X-Content-SHA256 (hexadecimal), or Repr-Digest / Content-Digest of RFC 9530 with
// sha-256.
Result<std::string> said_digest(const server::Request& request);
// storage_full when the body announced by Content-Length is larger than the free space.
Result<void> room_for(const blob::Store& store, const server::Request& request);
// 200 {} with the blob's ETag and X-Content-SHA256.
server::Response stored_answer(const blob::Ref& ref);

// "http://host:port" as the caller named this server.
std::string origin_of(const server::Request& request);

void add_multipart_routes(server::Router& router, const std::shared_ptr<Services>& services,
                          blob::Multipart& multipart, const SignedLinks& links);
void add_attachment_routes(server::Router& router, const std::shared_ptr<Services>& services);

}  // namespace slipway::api::mlflow
