#include <charconv>
#include <cmath>
#include <cstdlib>

#include "api/json_cursor_internal.h"
#include "base/utf8.h"

namespace slipway::api {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

int hex(char c) {
  if (is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

bool JsonCursor::problem(std::string_view what) {
  if (problem_.empty()) problem_ = fmt::format("{} at byte {}", what, at_);
  return false;
}

void JsonCursor::space() {
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\r' && c != '\t') return;
    ++at_;
  }
}

JsonCursor::Kind JsonCursor::kind() {
  if (!ok()) return Kind::none;
  space();
  if (at_ < text_.size()) {
    switch (text_[at_]) {
      case '{':
        return Kind::object;
      case '[':
        return Kind::array;
      case '"':
        return Kind::string;
      case 't':
      case 'f':
        return Kind::boolean;
      case 'n':
        return Kind::null;
      default:
        if (text_[at_] == '-' || is_digit(text_[at_])) return Kind::number;
    }
  }
  problem("a value is missing");
  return Kind::none;
}

bool JsonCursor::expect(char c, std::string_view what) {
  if (!ok()) return false;
  space();
  if (at_ >= text_.size() || text_[at_] != c) return problem(what);
  ++at_;
  return true;
}

bool JsonCursor::open(char c, std::string_view what) {
  if (!expect(c, what)) return false;
  if (++depth_ > max_depth_)
    return problem(fmt::format("nesting of more than {} levels", max_depth_));
  first_ = true;
  return true;
}

bool JsonCursor::next(char close, std::string_view what) {
  if (!ok()) return false;
  space();
  if (at_ < text_.size() && text_[at_] == close) {
    ++at_;
    --depth_;
    first_ = false;  // of the container around, something was there: this one
    return false;
  }
  if (std::exchange(first_, false)) return true;
  return expect(',', what);
}

bool JsonCursor::begin_object() { return open('{', "an object is missing"); }
bool JsonCursor::begin_array() { return open('[', "an array is missing"); }
bool JsonCursor::next_item() { return next(']', "',' or ']' is missing"); }
bool JsonCursor::next_key(std::string_view& key) {
  return next('}', "',' or '}' is missing") && read_string(key) && expect(':', "':' is missing");
}

bool JsonCursor::read_string(std::string_view& value) {
  if (!expect('"', "a string is missing")) return false;
  std::size_t begin = at_;
  bool ascii = true;
  bool copied = false;
  while (at_ < text_.size()) {
    const auto c = static_cast<unsigned char>(text_[at_]);
    if (c == '"') {
      value = text_.substr(begin, at_ - begin);
      if (!ascii && !is_utf8(value)) return problem("a string is not UTF-8");
      if (copied) {
        decoded_.append(value);
        value = decoded_;
      }
      ++at_;
      return true;
    }
    if (c == '\\') {
      if (!std::exchange(copied, true)) decoded_.clear();
      const auto piece = text_.substr(begin, at_ - begin);
      if (!ascii && !is_utf8(piece)) return problem("a string is not UTF-8");
      decoded_.append(piece);
      if (!escape()) return false;
      begin = at_;
      continue;
    }
    if (c < 0x20) return problem("a control character in a string");
    if (c >= 0x80) ascii = false;
    ++at_;
  }
  return problem("a string does not end");
}

// At a backslash; appends what the escape stands for.
bool JsonCursor::escape() {
  const auto code_unit = [&](char32_t& unit) {
    if (text_.size() - at_ < 4) return false;
    unit = 0;
    for (int i = 0; i < 4; ++i) {
      const int digit = hex(text_[at_++]);
      if (digit < 0) return false;
      unit = unit * 16 + static_cast<char32_t>(digit);
    }
    return true;
  };
  ++at_;
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  switch (c) {
    case '"':
    case '\\':
    case '/':
      decoded_.push_back(c);
      return true;
    case 'b':
      decoded_.push_back('\b');
      return true;
    case 'f':
      decoded_.push_back('\f');
      return true;
    case 'n':
      decoded_.push_back('\n');
      return true;
    case 'r':
      decoded_.push_back('\r');
      return true;
    case 't':
      decoded_.push_back('\t');
      return true;
    case 'u': {
      char32_t code = 0;
      if (!code_unit(code)) return problem("a \\u without four hexadecimal digits");
      if (code >= 0xD800 && code < 0xDC00) {
        char32_t low = 0;
        if (text_.substr(at_, 2) != "\\u") return problem("half a surrogate pair");
        at_ += 2;
        if (!code_unit(low) || low < 0xDC00 || low > 0xDFFF)
          return problem("half a surrogate pair");
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
      } else if (code >= 0xDC00 && code <= 0xDFFF) {
        return problem("half a surrogate pair");
      }
      append_utf8(decoded_, code);
      return true;
    }
    default:
      return problem("an unknown escape in a string");
  }
}

bool JsonCursor::read_number(Number& value) {
  if (!ok()) return false;
  space();
  const char* const begin = text_.data() + at_;
  const char* const end = text_.data() + text_.size();
  const char* p = begin;
  const auto digits = [&] {
    const char* const start = p;
    while (p < end && is_digit(*p)) ++p;
    return p > start;
  };
  if (p < end && *p == '-') ++p;
  const bool zero = p < end && *p == '0';
  if (zero) ++p;
  if (!zero && !digits()) return problem("a number is missing");
  bool integer = true;
  if (p < end && *p == '.') {
    integer = false;
    ++p;
    if (!digits()) return problem("a number ends with its point");
  }
  if (p < end && (*p == 'e' || *p == 'E')) {
    integer = false;
    ++p;
    if (p < end && (*p == '+' || *p == '-')) ++p;
    if (!digits()) return problem("a number has an exponent without digits");
  }
  if (p < end && is_digit(*p)) return problem("a number begins with 0");
  value.is_integer = false;
  if (integer) {
    const auto [stop, failure] = std::from_chars(begin, p, value.integer);
    value.is_integer = failure == std::errc() && stop == p;
    value.real = static_cast<double>(value.integer);
  }
  if (!value.is_integer) {
    if (std::from_chars(begin, p, value.real).ec != std::errc()) {
      // Too large, or so small that it is zero: strtod tells which.
      value.real = std::strtod(std::string(begin, p).c_str(), nullptr);
      if (std::isinf(value.real)) return problem("a number that no 64-bit float can hold");
    }
  }
  at_ += static_cast<std::size_t>(p - begin);
  return true;
}

bool JsonCursor::literal(std::string_view word) {
  if (text_.substr(at_, word.size()) != word) return problem("an unknown word");
  at_ += word.size();
  return true;
}

bool JsonCursor::read_boolean(bool& value) {
  if (kind() != Kind::boolean) return problem("a boolean is missing");
  value = text_[at_] == 't';
  return literal(value ? "true" : "false");
}

bool JsonCursor::read_null() {
  if (kind() != Kind::null) return problem("null is missing");
  return literal("null");
}

bool JsonCursor::skip() {
  switch (kind()) {
    case Kind::object: {
      std::string_view key;
      if (!begin_object()) return false;
      while (next_key(key) && skip()) {
      }
      return ok();
    }
    case Kind::array:
      if (!begin_array()) return false;
      while (next_item() && skip()) {
      }
      return ok();
    case Kind::string: {
      std::string_view text;
      return read_string(text);
    }
    case Kind::number: {
      Number number;
      return read_number(number);
    }
    case Kind::boolean: {
      bool value = false;
      return read_boolean(value);
    }
    case Kind::null:
      return read_null();
    case Kind::none:
      return false;
  }
  return false;
}

std::string_view JsonCursor::take() {
  space();
  const std::size_t begin = at_;
  return skip() ? text_.substr(begin, at_ - begin) : std::string_view();
}

bool JsonCursor::finish() {
  if (!ok()) return false;
  space();
  if (at_ < text_.size()) return problem("something follows the end of the JSON");
  return true;
}

}  // namespace slipway::api
