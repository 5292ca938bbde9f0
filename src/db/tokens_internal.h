// SQL as tokens, without comments and space. Thread rule: pure functions.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace slipway::db {

struct Token {
  enum class Kind { word, number, text, quoted, blob, parameter, symbol };
  Kind kind;
  std::string text;   // as written; of a blob its hexadecimal digits
  std::string lower;  // of a word
  int number = 0;     // of "?12"; 0: of "?"
};

// invalid_argument when a quote or a comment has no end.
Result<std::vector<Token>> tokenize(std::string_view sql);

// Whether the token is that word (written in capitals), symbol or number.
bool is(const Token& token, std::string_view word);

// The statements of a script, comments and all, cut at the semicolons between them. BEGIN … END of
// a trigger stays whole.
std::vector<std::string> split_statements(std::string_view script);

}  // namespace slipway::db
