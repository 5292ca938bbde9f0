#include <zlib.h>

#include "server/encoding.h"
#include "server/encoding_internal.h"

namespace slipway::server {
namespace {

constexpr std::size_t kStep = std::size_t{64} * 1024;
constexpr int kEither = 15 + 32;  // zlib's largest window, and its mark for gzip or zlib

struct Inflater {
  Inflater() { ready = inflateInit2(&stream, kEither) == Z_OK; }
  ~Inflater() {
    if (ready) inflateEnd(&stream);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};
  bool ready = false;
};

}  // namespace

Coding coding_of(const Request& request) {
  std::string name(request.header("content-encoding"));
  if (name.empty()) return Coding::none;
  for (char& c : name) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  if (name == "identity") return Coding::none;
  return name == "gzip" || name == "x-gzip" || name == "deflate" ? Coding::packed : Coding::unknown;
}

std::optional<BadBody> unpack_body(Request& request, std::uint64_t most) {
  Inflater inflater;
  if (!inflater.ready) return BadBody{500, internal("zlib cannot start")};
  z_stream& stream = inflater.stream;
  std::string plain;
  stream.next_in = reinterpret_cast<Bytef*>(request.body.data());
  stream.avail_in = static_cast<uInt>(request.body.size());  // at most the server's limit
  while (true) {
    const std::size_t have = plain.size();
    plain.resize(have + kStep);
    stream.next_out = reinterpret_cast<Bytef*>(plain.data() + have);
    stream.avail_out = static_cast<uInt>(kStep);
    const int result = inflate(&stream, Z_NO_FLUSH);
    plain.resize(have + kStep - stream.avail_out);
    if (plain.size() > most) {
      return BadBody{413, invalid_argument(fmt::format(
                              "the body of the request unpacks to more than {} bytes; send it in "
                              "parts",
                              most))};
    }
    if (result == Z_STREAM_END) {
      if (stream.avail_in == 0) break;
      // Members may follow one another (RFC 1952, section 2.2).
      if (inflateReset(&stream) != Z_OK) return BadBody{500, internal("zlib cannot go on")};
      continue;
    }
    if (result != Z_OK) {
      return BadBody{400, invalid_argument(fmt::format(
                              "the body of the request is not sound gzip or deflate, as its "
                              "Content-Encoding says it is: {}",
                              stream.msg != nullptr ? stream.msg : "it ends too early"))};
    }
  }
  request.body = std::move(plain);
  std::erase_if(request.headers, [](const auto& header) {
    return header.first == "content-encoding" || header.first == "content-length";
  });
  return std::nullopt;
}

bool accepts_gzip(std::string_view accept_encoding) {
  while (!accept_encoding.empty()) {
    const std::size_t comma = std::min(accept_encoding.find(','), accept_encoding.size());
    std::string_view one = accept_encoding.substr(0, comma);
    accept_encoding.remove_prefix(std::min(comma + 1, accept_encoding.size()));
    while (one.starts_with(' ')) one.remove_prefix(1);
    const bool refused = one.ends_with("q=0") || one.ends_with("q=0.0");
    if (one.starts_with("gzip") && !refused) return true;
  }
  return false;
}

void pack_body(Response& response) {
  z_stream stream{};
  constexpr int kGzip = 15 + 16;
  if (deflateInit2(&stream, Z_BEST_SPEED, Z_DEFLATED, kGzip, 8, Z_DEFAULT_STRATEGY) != Z_OK) return;
  std::string packed(deflateBound(&stream, static_cast<uLong>(response.body.size())), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(response.body.data());
  stream.avail_in = static_cast<uInt>(response.body.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  const bool whole = deflate(&stream, Z_FINISH) == Z_STREAM_END;
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  if (!whole || packed.size() >= response.body.size()) return;
  response.body = std::move(packed);
  response.headers.emplace_back("Content-Encoding", "gzip");
  response.headers.emplace_back("Vary", "Accept-Encoding");
}

}  // namespace slipway::server
