#include "tracking/filter.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

#include "base/hash.h"
#include "base/json.h"

namespace slipway::tracking {
namespace {

constexpr std::size_t kLongestFilter = 50'000;  // characters
constexpr std::size_t kMostComparisons = 100;   // joins of one query
constexpr std::size_t kLongestPattern = 1'000;  // LIKE's cost grows with its square
constexpr std::size_t kMostListed = 10'000;     // values of one IN

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
bool is_word(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '-' || c == '/' || c == '+' || static_cast<unsigned char>(c) >= 0x80;
}
std::string lower(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return out;
}

// Reads one filter or order text from left to right. Every method leaves the cursor behind what it
// has read.
class Reader {
 public:
  Reader(std::string_view text, std::string_view what) : text_(text), what_(what) {}

  bool at_end() {
    skip_space();
    return at_ == text_.size();
  }
  std::size_t place() {
    skip_space();
    return at_ + 1;
  }
  // "filter, character 14: expected a number, found 'x'"
  Error expected(std::string_view wanted) {
    skip_space();
    std::string found = "the end";
    if (at_ < text_.size()) {
      std::size_t end = at_;
      while (end < text_.size() && !is_space(text_[end]) && end - at_ < 40) ++end;
      found = fmt::format("'{}'", text_.substr(at_, end - at_));
    }
    return invalid_argument(
        fmt::format("{}, character {}: expected {}, found {}", what_, at_ + 1, wanted, found));
  }

  // The word if it comes next, whatever its case. Whole words only.
  bool accept_word(std::string_view word) {
    skip_space();
    if (text_.size() - at_ < word.size()) return false;
    if (lower(text_.substr(at_, word.size())) != lower(word)) return false;
    if (at_ + word.size() < text_.size() && is_word(text_[at_ + word.size()])) return false;
    at_ += word.size();
    return true;
  }
  bool accept_symbol(std::string_view symbol) {
    skip_space();
    if (!text_.substr(at_).starts_with(symbol)) return false;
    at_ += symbol.size();
    return true;
  }

  Result<Name> name() {
    skip_space();
    Name name;
    if (at_ < text_.size() && !is_quote(text_[at_])) {
      const std::string bare = word();
      if (bare.empty()) return expected("a name such as metrics.auc");
      const std::size_t dot = bare.find('.');
      if (dot == std::string::npos) {
        name.key = bare;
        return name;
      }
      name.scope = lower(bare.substr(0, dot));
      name.key = bare.substr(dot + 1);
      if (!name.key.empty()) return name;
      if (at_ == text_.size() || !is_quote(text_[at_])) return expected("a key after '.'");
    }
    auto key = quoted();
    if (!key) return key.error();
    if (name.scope.empty() && at_ < text_.size() && text_[at_] == '.') {  // `metrics`.auc
      name.scope = lower(*key);
      ++at_;
      key = at_ < text_.size() && is_quote(text_[at_]) ? quoted() : Result<std::string>(word());
      if (!key) return key.error();
    }
    if (key->empty()) return expected("a key that is not empty");
    name.key = *std::move(key);
    return name;
  }

  // '…' or "…" or `…`; the quote doubled stands for itself.
  Result<std::string> quoted() {
    skip_space();
    if (at_ == text_.size() || !is_quote(text_[at_])) return expected("a quoted text");
    const std::size_t start = at_;
    const char quote = text_[at_++];
    std::string out;
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c != quote) {
        out += c;
      } else if (at_ < text_.size() && text_[at_] == quote) {
        out += quote;
        ++at_;
      } else {
        return out;
      }
    }
    at_ = start;
    return expected("a text whose quote is closed");
  }

  Result<double> number() {
    skip_space();
    std::string_view rest = text_.substr(at_);
    if (rest.starts_with('+')) rest.remove_prefix(1);
    double value = 0;
    const auto [end, problem] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    const auto after = static_cast<std::size_t>(end - text_.data());
    if (problem != std::errc{} || !std::isfinite(value) ||
        (after < text_.size() && is_word(text_[after]))) {
      return expected("a number or a quoted text");
    }
    at_ = after;
    return value;
  }

  bool next_is_quote() {
    skip_space();
    return at_ < text_.size() && text_[at_] != '`' && is_quote(text_[at_]);
  }

 private:
  std::string word() {
    const std::size_t start = at_;
    while (at_ < text_.size() && is_word(text_[at_])) ++at_;
    return std::string(text_.substr(start, at_ - start));
  }
  static bool is_quote(char c) { return c == '\'' || c == '"' || c == '`'; }
  void skip_space() {
    while (at_ < text_.size() && is_space(text_[at_])) ++at_;
  }

  std::string_view text_;
  std::string_view what_;
  std::size_t at_ = 0;
};

std::optional<Op> read_op(Reader& reader) {
  struct Spelling {
    std::string_view text;
    Op op;
  };
  // The longer first: "<=" before "<".
  static constexpr Spelling kSymbols[] = {{"!=", Op::ne}, {"<>", Op::ne}, {">=", Op::ge},
                                          {"<=", Op::le}, {"==", Op::eq}, {"=", Op::eq},
                                          {">", Op::gt},  {"<", Op::lt}};
  for (const auto& [text, op] : kSymbols) {
    if (reader.accept_symbol(text)) return op;
  }
  if (reader.accept_word("LIKE")) return Op::like;
  if (reader.accept_word("ILIKE")) return Op::ilike;
  if (reader.accept_word("IN")) return Op::in;
  if (reader.accept_word("NOT")) {
    if (reader.accept_word("IN")) return Op::not_in;
    return std::nullopt;
  }
  if (reader.accept_word("IS")) {
    const bool negated = reader.accept_word("NOT");
    if (!reader.accept_word("NULL")) return std::nullopt;
    return negated ? Op::is_not_null : Op::is_null;
  }
  return std::nullopt;
}

Result<std::vector<std::string>> read_list(Reader& reader) {
  if (!reader.accept_symbol("(")) return reader.expected("'(' after IN");
  std::vector<std::string> values;
  do {
    auto value = reader.quoted();
    if (!value) return value.error();
    if (values.size() == kMostListed) {
      return invalid_argument(fmt::format("filter: IN takes at most {} values", kMostListed));
    }
    values.push_back(*std::move(value));
  } while (reader.accept_symbol(","));
  if (!reader.accept_symbol(")")) return reader.expected("',' or ')' in the list of IN");
  return values;
}

Result<Comparison> read_comparison(Reader& reader) {
  Comparison comparison;
  comparison.place = reader.place();
  auto name = reader.name();
  if (!name) return name.error();
  comparison.name = *std::move(name);
  const auto op = read_op(reader);
  if (!op) {
    return reader.expected("one of = != > >= < <= LIKE, ILIKE, IN, NOT IN, IS NULL, IS NOT NULL");
  }
  comparison.op = *op;
  if (*op == Op::is_null || *op == Op::is_not_null) return comparison;
  if (*op == Op::in || *op == Op::not_in) {
    auto values = read_list(reader);
    if (!values) return values.error();
    comparison.value = *std::move(values);
  } else if (reader.next_is_quote()) {
    auto value = reader.quoted();
    if (!value) return value.error();
    comparison.value = *std::move(value);
  } else {
    auto value = reader.number();
    if (!value) return value.error();
    comparison.value = *value;
  }
  return comparison;
}

// "50%_[x]" as LIKE reads it -> "50*?[[]x]" as GLOB does.
std::string like_to_glob(std::string_view pattern) {
  std::string glob;
  for (const char c : pattern) {
    switch (c) {
      case '%':
        glob += '*';
        break;
      case '_':
        glob += '?';
        break;
      case '*':
        glob += "[*]";
        break;
      case '?':
        glob += "[?]";
        break;
      case '[':
        glob += "[[]";
        break;
      default:
        glob += c;
    }
  }
  return glob;
}

std::string_view sql_op(Op op) { return op == Op::ne ? "<>" : to_string(op); }

}  // namespace

std::string_view to_string(Op op) {
  switch (op) {
    case Op::eq:
      return "=";
    case Op::ne:
      return "!=";
    case Op::gt:
      return ">";
    case Op::ge:
      return ">=";
    case Op::lt:
      return "<";
    case Op::le:
      return "<=";
    case Op::like:
      return "LIKE";
    case Op::ilike:
      return "ILIKE";
    case Op::in:
      return "IN";
    case Op::not_in:
      return "NOT IN";
    case Op::is_null:
      return "IS NULL";
    case Op::is_not_null:
      return "IS NOT NULL";
  }
  return "?";
}

Result<std::vector<Comparison>> parse_filter(std::string_view text) {
  if (text.size() > kLongestFilter) {
    return invalid_argument(
        fmt::format("filter has {} characters; at most {} are read", text.size(), kLongestFilter));
  }
  Reader reader(text, "filter");
  std::vector<Comparison> comparisons;
  if (reader.at_end()) return comparisons;
  while (true) {
    auto comparison = read_comparison(reader);
    if (!comparison) return comparison.error();
    comparisons.push_back(*std::move(comparison));
    if (comparisons.size() > kMostComparisons) {
      return invalid_argument(fmt::format("filter has more than {} comparisons", kMostComparisons));
    }
    if (reader.at_end()) return comparisons;
    if (!reader.accept_word("AND")) return reader.expected("AND or the end (there is no OR)");
  }
}

Result<Order> parse_order(std::string_view text) {
  Reader reader(text, "order_by");
  auto name = reader.name();
  if (!name) return name.error();
  Order order{.name = *std::move(name)};
  if (reader.accept_word("DESC")) {
    order.descending = true;
  } else {
    reader.accept_word("ASC");
  }
  if (!reader.at_end()) return reader.expected("ASC, DESC or the end");
  return order;
}

SqlText& SqlText::bind(std::string_view value) {
  values_.push_back(db::bind(std::string_view(owned_.emplace_back(value))));
  return *this;
}

SqlText& SqlText::bind(double value) {
  values_.push_back(db::bind(value));
  return *this;
}

SqlText& SqlText::bind(std::int64_t value) {
  values_.push_back(db::bind(value));
  return *this;
}

Result<void> SqlText::compare_text(std::string_view column, const Comparison& comparison) {
  const auto refuse = [&](std::string_view wanted) {
    return invalid_argument(fmt::format("filter, character {}: {} {} needs {}", comparison.place,
                                        comparison.name.text(), to_string(comparison.op), wanted));
  };
  switch (comparison.op) {
    case Op::eq:
    case Op::ne:
    case Op::like:
    case Op::ilike: {
      const auto* value = std::get_if<std::string>(&comparison.value);
      if (value == nullptr) return refuse("a quoted text, for example 'abc'");
      if (comparison.op == Op::eq || comparison.op == Op::ne) {
        add(column).add(" ").add(sql_op(comparison.op)).add(" ?").bind(*value);
        return {};
      }
      if (value->size() > kLongestPattern) {
        return refuse(fmt::format("a pattern of at most {} characters", kLongestPattern));
      }
      if (comparison.op == Op::like) {
        add(column).add(" GLOB ?").bind(like_to_glob(*value));
      } else {
        add(column).add(" LIKE ?").bind(*value);
      }
      return {};
    }
    case Op::in:
    case Op::not_in: {
      const auto& values = std::get<std::vector<std::string>>(comparison.value);
      Json list = Json::array();
      for (const auto& value : values) list.push_back(value);
      add(column).add(comparison.op == Op::in ? " IN " : " NOT IN ");
      add("(SELECT value FROM json_each(?))")
          .bind(list.dump(-1, ' ', false, Json::error_handler_t::replace));
      return {};
    }
    default:
      return invalid_argument(fmt::format(
          "filter, character {}: {} is a text: it takes =, !=, LIKE, ILIKE, IN or NOT IN, not {}",
          comparison.place, comparison.name.text(), to_string(comparison.op)));
  }
}

Result<void> SqlText::compare_number(std::string_view column, const Comparison& comparison) {
  const auto* value = std::get_if<double>(&comparison.value);
  if (value == nullptr || comparison.op > Op::le) {
    return invalid_argument(
        fmt::format("filter, character {}: {} is a number: it takes =, !=, >, >=, < or <= and a "
                    "number without quotes",
                    comparison.place, comparison.name.text()));
  }
  add(column).add(" ").add(sql_op(comparison.op)).add(" ?").bind(*value);
  return {};
}

Result<db::Rows> SqlText::run(db::Connection& connection) const {
  return connection.query_values(text_, values_);
}

std::string make_page_token(std::int64_t offset, std::string_view search) {
  return to_base64(fmt::format("{}:{:016x}", offset, hash64(search)));
}

Result<std::int64_t> read_page_token(std::string_view token, std::string_view search) {
  if (token.empty()) return std::int64_t{0};
  const auto text = from_base64(token);
  std::int64_t offset = -1;
  if (text) {
    const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), offset);
    const std::string_view rest(end, text->data() + text->size());
    if (problem != std::errc{} || offset < 0) {
      offset = -1;
    } else if (rest != fmt::format(":{:016x}", hash64(search))) {
      return invalid_argument(
          "page_token belongs to another search: pass it with the same filter, order_by and view");
    }
  }
  if (offset < 0) return invalid_argument(fmt::format("page_token '{}' is not one of ours", token));
  return offset;
}

Result<void> check_page_size(std::int64_t max_results, std::int64_t most) {
  if (max_results >= 1 && max_results <= most) return {};
  return invalid_argument(fmt::format(
      "Invalid value {} for parameter 'max_results' supplied: it must be between 1 and {}",
      max_results, most));
}

}  // namespace slipway::tracking
