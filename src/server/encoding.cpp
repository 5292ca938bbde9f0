#include <zlib.h>

#include "server/encoding_internal.h"

namespace slipway::server {
namespace {

constexpr std::size_t kStep = std::size_t{64} * 1024;
constexpr int kGzipOnly = 15 + 16;  // zlib's largest window, and its mark for gzip

struct Inflater {
  Inflater() { ready = inflateInit2(&stream, kGzipOnly) == Z_OK; }
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
  return name == "gzip" || name == "x-gzip" ? Coding::gzip : Coding::unknown;
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
                              "the body of the request is not sound gzip, as its Content-Encoding "
                              "says it is: {}",
                              stream.msg != nullptr ? stream.msg : "it ends too early"))};
    }
  }
  request.body = std::move(plain);
  std::erase_if(request.headers, [](const auto& header) {
    return header.first == "content-encoding" || header.first == "content-length";
  });
  return std::nullopt;
}

}  // namespace slipway::server
