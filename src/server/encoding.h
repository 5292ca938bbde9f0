// Answers packed with gzip, for handlers whose answers are worth it (RFC 9110, section 8.4.1.3).
//   if (accepts_gzip(request.header("accept-encoding"))) pack_body(response);
// Pure; any thread.
#pragma once
#include <string_view>

#include "server/http.h"

namespace slipway::server {

// Whether an Accept-Encoding header takes gzip: it is named, and not with q=0.
bool accepts_gzip(std::string_view accept_encoding);
// Packs the body in place and says so in the headers; leaves it when that saves nothing.
void pack_body(Response& response);

}  // namespace slipway::server
