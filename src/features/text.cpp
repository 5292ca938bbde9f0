#include <utf8proc.h>

#include <bit>
#include <cstring>

#include "features/text_internal.h"

namespace slipway::features {
namespace {

// The next code point from `at` on, which moves behind it; -1 for a byte that is not UTF-8.
std::int32_t next_code(std::string_view text, std::size_t& at) {
  utf8proc_int32_t code = -1;
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at);
  const auto size = utf8proc_iterate(bytes, static_cast<utf8proc_ssize_t>(text.size() - at), &code);
  if (size <= 0) {
    ++at;
    return -1;
  }
  at += static_cast<std::size_t>(size);
  return code;
}

void append_code(std::string& out, std::int32_t code) {
  utf8proc_uint8_t buffer[4];
  const auto size = utf8proc_encode_char(code, buffer);
  out.append(reinterpret_cast<const char*>(buffer), static_cast<std::size_t>(size));
}

// What Python's \w matches: letters, digits and numbers of every kind, and the underscore.
bool is_word(std::int32_t code) {
  if (code < 0x80) {
    return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') ||
           (code >= '0' && code <= '9') || code == '_';
  }
  switch (utf8proc_category(code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return true;
    default:
      return false;
  }
}

// What Python's \s matches, outside of controls nobody writes.
bool is_space(std::int32_t code) {
  if (code < 0x80)
    return code == ' ' || (code >= 9 && code <= 13) || (code >= 0x1C && code <= 0x1F);
  if (code == 0x85) return true;
  const auto category = utf8proc_category(code);
  return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
         category == UTF8PROC_CATEGORY_ZP;
}

}  // namespace

void append_cased(std::string& out, std::string_view text, bool lower) {
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t begin = at;
    const auto byte = static_cast<unsigned char>(text[at]);
    if (byte < 0x80) {
      ++at;
      const bool changes = lower ? byte >= 'A' && byte <= 'Z' : byte >= 'a' && byte <= 'z';
      out += static_cast<char>(changes ? byte ^ 0x20 : byte);
      continue;
    }
    const std::int32_t code = next_code(text, at);
    if (code < 0) {
      out.append(text.substr(begin, at - begin));
    } else {
      append_code(out, lower ? utf8proc_tolower(code) : utf8proc_toupper(code));
    }
  }
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\n\v\f";
  const std::size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::size_t code_points(std::string_view text) {
  std::size_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

std::uint32_t murmur3(std::string_view bytes, std::uint32_t seed) {
  constexpr std::uint32_t kFirst = 0xcc9e2d51;
  constexpr std::uint32_t kSecond = 0x1b873593;
  const auto scramble = [](std::uint32_t word) { return std::rotl(word * kFirst, 15) * kSecond; };
  std::uint32_t hash = seed;
  const std::size_t words = bytes.size() / 4;
  for (std::size_t i = 0; i < words; ++i) {
    std::uint32_t word;
    std::memcpy(&word, bytes.data() + 4 * i, 4);
    hash = std::rotl(hash ^ scramble(word), 13) * 5 + 0xe6546b64;
  }
  std::uint32_t rest = 0;
  for (std::size_t i = bytes.size() - words * 4; i-- > 0;)
    rest = rest << 8 | static_cast<unsigned char>(bytes[words * 4 + i]);
  hash ^= scramble(rest);
  hash ^= static_cast<std::uint32_t>(bytes.size());
  hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
  hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
  return hash ^ (hash >> 16);
}

void TermFinder::split(const Analyzer& analyzer, std::string_view text) {
  text_.clear();
  begins_.clear();
  ends_.clear();
  runs_.clear();
  joins_ = analyzer.unit == Analyzer::Unit::word;
  const auto unit = [&](std::size_t begin, std::size_t end) {
    begins_.push_back(static_cast<std::uint32_t>(begin));
    ends_.push_back(static_cast<std::uint32_t>(end));
  };
  if (analyzer.unit == Analyzer::Unit::word) {
    if (analyzer.lowercase) {
      append_cased(text_, text, /*lower=*/true);
    } else {
      text_ = text;
    }
    std::size_t begin = 0;
    std::size_t letters = 0;
    for (std::size_t at = 0; at <= text_.size();) {
      const std::size_t here = at;
      const bool inside = at < text_.size() && is_word(next_code(text_, at));
      if (inside) {
        if (letters++ == 0) begin = here;
        continue;
      }
      if (letters >= 2) unit(begin, here);
      letters = 0;
      if (here >= text_.size()) break;
    }
    runs_.push_back({0, begins_.size()});
    return;
  }
  // Characters: white space is one blank; within words, each word stands between two blanks.
  const bool in_words = analyzer.unit == Analyzer::Unit::chars_in_words;
  const auto end_word = [&](std::size_t first) {
    if (begins_.size() == first) return;
    unit(text_.size(), text_.size() + 1);
    text_ += ' ';
    runs_.push_back({first, begins_.size() - first});
  };
  std::size_t first = 0;
  std::size_t space_size = 0;
  std::size_t spaces = 0;  // in a row, just before `at`
  const auto end_spaces = [&](std::size_t end) {
    if (spaces == 0 || in_words) return;
    // Two or more are one blank; one alone stays what it is.
    const std::size_t begin = text_.size();
    text_.append(spaces == 1 ? text.substr(end - space_size, space_size) : " ");
    unit(begin, text_.size());
  };
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t from = at;
    const std::int32_t code = next_code(text, at);
    if (code >= 0 && is_space(code)) {
      if (in_words && spaces == 0) {
        end_word(first);
        first = begins_.size();
      }
      ++spaces;
      space_size = at - from;
      continue;
    }
    end_spaces(from);
    spaces = 0;
    if (in_words && begins_.size() == first) {
      unit(text_.size(), text_.size() + 1);
      text_ += ' ';
    }
    const std::size_t begin = text_.size();
    if (analyzer.lowercase) {
      append_cased(text_, text.substr(from, at - from), /*lower=*/true);
    } else {
      text_.append(text.substr(from, at - from));
    }
    unit(begin, text_.size());
  }
  if (in_words) {
    end_word(first);
  } else {
    end_spaces(text.size());
    runs_.push_back({0, begins_.size()});
  }
}

std::string_view TermFinder::piece(std::size_t first, std::size_t count) {
  const std::string_view text = text_;
  if (!joins_ || count == 1)
    return text.substr(begins_[first], ends_[first + count - 1] - begins_[first]);
  joined_.clear();
  for (std::size_t i = first; i < first + count; ++i) {
    if (i > first) joined_ += ' ';
    joined_.append(text.substr(begins_[i], ends_[i] - begins_[i]));
  }
  return joined_;
}

}  // namespace slipway::features
