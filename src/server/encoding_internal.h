// Request bodies that were packed with gzip or deflate (RFC 9110, section 8.4.1): what MLflow's,
// OpenTelemetry's and Triton's clients use.
#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "server/http.h"

namespace slipway::server {

enum class Coding { none, packed, unknown };
Coding coding_of(const Request& request);  // by its Content-Encoding

struct BadBody {
  int status;  // 413 or 400
  Error error;
};
// Unpacks the body in place and removes the header. Never keeps more than `most` bytes: what would
// unpack to more is refused with 413 as soon as that shows.
std::optional<BadBody> unpack_body(Request& request, std::uint64_t most);

}  // namespace slipway::server
