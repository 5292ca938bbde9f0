// A stored thing as the answer to GET and HEAD: what the caller has already is not sent again (304,
// 412), and one range of bytes may be asked for (206, 416). RFC 9110, sections 13 and 14.
//   return server::content_answer(request, {.etag = sha256, .size = size, .open = [=](auto from,
//   auto count) { return open_blob(from, count); }});
// Conditions are compared by the ETag alone: a thing without a time of change has no Last-Modified.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "server/http.h"

namespace slipway::server {

struct Content {
  std::string etag;  // without quotation marks; strong: the same tag, the same bytes
  std::uint64_t size = 0;
  std::string content_type = "application/octet-stream";
  std::vector<std::pair<std::string, std::string>> headers{};
  // Called once, unless nothing is to be sent. The whole is from = 0, count = size.
  std::function<Result<std::shared_ptr<Body>>(std::uint64_t from, std::uint64_t count)> open;
};

// `errors` makes the answer when `open` fails.
Response content_answer(const Request& request, Content content, ErrorForm errors);

struct ByteRange {
  std::uint64_t from = 0;
  std::uint64_t count = 0;
  bool operator==(const ByteRange&) const = default;
};
struct Unsatisfiable {};
// A Range header of a thing with `size` bytes: the range; nothing when the whole is to be sent (no
// header, another unit, several ranges, nonsense); Unsatisfiable when it begins behind the end.
std::variant<std::monostate, ByteRange, Unsatisfiable> parse_range(std::string_view header,
                                                                   std::uint64_t size);
// Whether If-Match or If-None-Match ("*", or tags with commas between them) names the tag. A weak
// tag counts only for If-None-Match (section 8.8.3.2).
bool names_tag(std::string_view header, std::string_view etag, bool weak_counts);

}  // namespace slipway::server
