#include "server/content.h"

#include <charconv>

namespace slipway::server {
namespace {

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

// Figures only. What is too large for 64 bits is behind any end.
std::optional<std::uint64_t> number(std::string_view text) {
  if (text.empty() || text.find_first_not_of("0123456789") != std::string_view::npos)
    return std::nullopt;
  std::uint64_t value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  return result.ec == std::errc() ? value : std::numeric_limits<std::uint64_t>::max();
}

Response without_body(int status) { return {.status = status, .content_type = "", .headers = {}}; }

}  // namespace

std::variant<std::monostate, ByteRange, Unsatisfiable> parse_range(std::string_view header,
                                                                   std::uint64_t size) {
  header = trimmed(header);
  if (!header.starts_with("bytes=") || header.find(',') != std::string_view::npos) return {};
  const std::string_view range = trimmed(header.substr(6));
  const std::size_t dash = range.find('-');
  if (dash == std::string_view::npos) return {};
  const auto first = number(trimmed(range.substr(0, dash)));
  const auto last = number(trimmed(range.substr(dash + 1)));
  const bool no_last = trimmed(range.substr(dash + 1)).empty();
  if (dash == 0) {  // the last so many bytes
    if (!last) return {};
    if (*last == 0 || size == 0) return Unsatisfiable{};
    const std::uint64_t count = std::min(*last, size);
    return ByteRange{size - count, count};
  }
  if (!first || (!last && !no_last) || (last && *last < *first)) return {};
  if (*first >= size) return Unsatisfiable{};
  const std::uint64_t end = last ? std::min(*last, size - 1) : size - 1;
  return ByteRange{*first, end - *first + 1};
}

bool names_tag(std::string_view header, std::string_view etag, bool weak_counts) {
  header = trimmed(header);
  if (header == "*") return true;
  while (!header.empty()) {
    const bool weak = header.starts_with("W/");
    if (weak) header.remove_prefix(2);
    if (!header.starts_with('"')) return false;
    const std::size_t end = header.find('"', 1);
    if (end == std::string_view::npos) return false;
    if (header.substr(1, end - 1) == etag && (!weak || weak_counts)) return true;
    header = trimmed(header.substr(end + 1));
    if (header.starts_with(',')) header = trimmed(header.substr(1));
  }
  return false;
}

Response content_answer(const Request& request, Content content, ErrorForm errors) {
  const std::string quoted = '"' + content.etag + '"';
  const auto with_headers = [&](Response response) {
    response.headers.emplace_back("ETag", quoted);
    response.headers.emplace_back("Accept-Ranges", "bytes");
    for (auto& header : content.headers) response.headers.push_back(std::move(header));
    return response;
  };
  if (const auto wanted = request.header("if-match");
      !wanted.empty() && !names_tag(wanted, content.etag, false)) {
    return with_headers(without_body(412));
  }
  if (const auto known = request.header("if-none-match");
      !known.empty() && names_tag(known, content.etag, true)) {
    return with_headers(without_body(304));
  }
  Response response{.status = 200, .content_type = content.content_type};
  std::uint64_t from = 0;
  std::uint64_t count = content.size;
  // If-Range: the whole when the thing is another by now. A date cannot be compared: the whole.
  const auto if_range = request.header("if-range");
  if (request.method == "GET" && (if_range.empty() || trimmed(if_range) == quoted)) {
    const auto range = parse_range(request.header("range"), content.size);
    if (std::holds_alternative<Unsatisfiable>(range)) {
      response = without_body(416);
      response.headers.emplace_back("Content-Range", fmt::format("bytes */{}", content.size));
      return with_headers(std::move(response));
    }
    if (const auto* part = std::get_if<ByteRange>(&range); part != nullptr) {
      from = part->from;
      count = part->count;
      response.status = 206;
      response.headers.emplace_back(
          "Content-Range", fmt::format("bytes {}-{}/{}", from, from + count - 1, content.size));
    }
  }
  auto body = content.open(from, count);
  if (!body) return errors(body.error());
  response.stream = std::move(*body);
  return with_headers(std::move(response));
}

}  // namespace slipway::server
