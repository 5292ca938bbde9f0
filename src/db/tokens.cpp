#include "db/tokens_internal.h"

#include <algorithm>

namespace slipway::db {
namespace {

bool is_word_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }
char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

constexpr std::string_view kLongSymbols[] = {"<>", "!=", ">=", "<=",  "==", "||",
                                             "<<", ">>", "::", "->>", "->"};

// Walks over a text; the place after the token, or nothing at its end.
class Lexer {
 public:
  explicit Lexer(std::string_view sql) : sql_(sql) {}

  // False at the end.
  Result<bool> next(Token& token) {
    if (auto skipped = skip(); !skipped) return skipped.error();
    begin_ = at_;
    if (at_ == sql_.size()) return false;
    const char c = sql_[at_];
    token = {};
    if ((c == 'x' || c == 'X') && at_ + 1 < sql_.size() && sql_[at_ + 1] == '\'') {
      ++at_;
      token.kind = Token::Kind::blob;
      if (auto read = quoted('\'', token); !read) return read.error();
      token.text = token.text.substr(1, token.text.size() - 2);
      return true;
    }
    if (is_word_start(c)) {
      while (at_ < sql_.size() && (is_word_start(sql_[at_]) || is_digit(sql_[at_]))) ++at_;
      token.kind = Token::Kind::word;
      token.text = sql_.substr(begin_, at_ - begin_);
      token.lower = token.text;
      std::ranges::transform(token.lower, token.lower.begin(), lower);
      return true;
    }
    if (is_digit(c) || (c == '.' && at_ + 1 < sql_.size() && is_digit(sql_[at_ + 1]))) {
      while (at_ < sql_.size() &&
             (is_digit(sql_[at_]) || sql_[at_] == '.' || is_word_start(sql_[at_]) ||
              ((sql_[at_] == '-' || sql_[at_] == '+') && lower(sql_[at_ - 1]) == 'e'))) {
        ++at_;
      }
      token.kind = Token::Kind::number;
      token.text = sql_.substr(begin_, at_ - begin_);
      return true;
    }
    if (c == '\'' || c == '"' || c == '`') {
      token.kind = c == '\'' ? Token::Kind::text : Token::Kind::quoted;
      if (auto read = quoted(c, token); !read) return read.error();
      if (c == '`') {
        token.text.front() = '"';
        token.text.back() = '"';
      }
      token.lower = token.kind == Token::Kind::quoted ? token.text.substr(1, token.text.size() - 2)
                                                      : std::string();
      return true;
    }
    if (c == '?') {
      ++at_;
      token.kind = Token::Kind::parameter;
      while (at_ < sql_.size() && is_digit(sql_[at_]) && token.number < 100'000)
        token.number = token.number * 10 + (sql_[at_++] - '0');
      token.text = sql_.substr(begin_, at_ - begin_);
      return true;
    }
    token.kind = Token::Kind::symbol;
    at_ += 1;
    for (const auto symbol : kLongSymbols) {
      if (sql_.substr(begin_).starts_with(symbol)) {
        at_ = begin_ + symbol.size();
        break;
      }
    }
    token.text = sql_.substr(begin_, at_ - begin_);
    return true;
  }

  std::size_t end() const { return at_; }

 private:
  Result<void> skip() {
    while (at_ < sql_.size()) {
      const std::string_view rest = sql_.substr(at_);
      if (rest[0] == ' ' || rest[0] == '\t' || rest[0] == '\n' || rest[0] == '\r') {
        ++at_;
      } else if (rest.starts_with("--")) {
        at_ = std::min(sql_.find('\n', at_), sql_.size());
      } else if (rest.starts_with("/*")) {
        const auto end = sql_.find("*/", at_ + 2);
        if (end == std::string_view::npos)
          return invalid_argument("a comment in a statement has no end");
        at_ = end + 2;
      } else {
        break;
      }
    }
    return {};
  }

  // The quote doubled stands for itself.
  Result<void> quoted(char quote, Token& token) {
    const std::size_t begin = at_++;
    while (at_ < sql_.size()) {
      if (sql_[at_++] != quote) continue;
      if (at_ < sql_.size() && sql_[at_] == quote) {
        ++at_;
        continue;
      }
      token.text = sql_.substr(begin, at_ - begin);
      return {};
    }
    return invalid_argument("a quote in a statement is not closed: " +
                            std::string(sql_.substr(begin, 60)));
  }

  std::string_view sql_;
  std::size_t at_ = 0;
  std::size_t begin_ = 0;
};

}  // namespace

Result<std::vector<Token>> tokenize(std::string_view sql) {
  std::vector<Token> tokens;
  Lexer lexer(sql);
  Token token;
  while (true) {
    const auto more = lexer.next(token);
    if (!more) return more.error();
    if (!*more) return tokens;
    tokens.push_back(std::move(token));
  }
}

bool is(const Token& token, std::string_view word) {
  if (token.kind != Token::Kind::word) {
    return (token.kind == Token::Kind::symbol || token.kind == Token::Kind::number) &&
           token.text == word;
  }
  return std::ranges::equal(token.lower, word, {}, {}, lower);
}

std::vector<std::string> split_statements(std::string_view script) {
  std::vector<std::string> statements;
  Lexer lexer(script);
  Token token;
  std::size_t begin = 0;
  bool trigger = false;  // its body has semicolons of its own
  std::vector<std::string> first;
  bool ended = false;
  const auto finish = [&](std::size_t end) {
    if (!first.empty()) statements.emplace_back(script.substr(begin, end - begin));
    begin = end;
    first.clear();
    trigger = false;
    ended = false;
  };
  while (true) {
    const auto more = lexer.next(token);
    if (!more || !*more) break;  // what is not closed fails when it is translated
    if (token.text == ";" && token.kind == Token::Kind::symbol) {
      if (!trigger || ended) finish(lexer.end());
      continue;
    }
    if (first.size() < 3) first.push_back(token.lower);
    trigger =
        first[0] == "create" && std::ranges::find(first, std::string("trigger")) != first.end();
    ended = token.lower == "end";
  }
  finish(script.size());
  return statements;
}

}  // namespace slipway::db
