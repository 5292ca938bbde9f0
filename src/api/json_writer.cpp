#include <charconv>
#include <cmath>

#include "api/json_writer_internal.h"
#include "base/json.h"
#include "base/utf8.h"

namespace slipway::api {
namespace {

bool is_plain(char c) { return static_cast<unsigned char>(c) >= 0x20 && c != '"' && c != '\\'; }

}  // namespace

JsonWriter& JsonWriter::text(std::string_view text) {
  comma();
  if (!is_utf8(text)) {
    out_ += Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
    return *this;
  }
  out_.push_back('"');
  std::size_t done = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (is_plain(text[at])) continue;
    out_ += text.substr(done, at - done);
    done = at + 1;
    const char c = text[at];
    if (c == '"' || c == '\\') {
      out_.push_back('\\');
      out_.push_back(c);
    } else if (c == '\n') {
      out_ += "\\n";
    } else {
      fmt::format_to(std::back_inserter(out_), "\\u{:04x}", static_cast<unsigned char>(c));
    }
  }
  out_ += text.substr(done);
  out_.push_back('"');
  return *this;
}

JsonWriter& JsonWriter::number(std::int64_t value) {
  comma();
  char digits[24];
  const auto [end, problem] = std::to_chars(digits, digits + sizeof(digits), value);
  out_.append(digits, end);
  return *this;
}

JsonWriter& JsonWriter::number(double value) {
  comma();
  if (!std::isfinite(value)) {
    out_ += std::isnan(value) ? "\"NaN\"" : value > 0 ? "\"Infinity\"" : "\"-Infinity\"";
    return *this;
  }
  char digits[32];  // the shortest text that reads back the same takes at most 24
  const auto [end, problem] = std::to_chars(digits, digits + sizeof(digits), value);
  const std::string_view written(digits, end);
  out_ += written;
  if (written.find_first_of(".e") == std::string_view::npos) out_ += ".0";
  return *this;
}

}  // namespace slipway::api
