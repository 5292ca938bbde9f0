// From source to checked nodes: a lexer, a recursive descent over the grammar, and one table of
// functions. Precedence, loosest first: or, and, not, comparisons and in, + -, * / %, unary -, **.
#include <charconv>
#include <cmath>
#include <map>

#include "base/spec.h"
#include "base/utf8.h"
#include "features/expression_internal.h"

namespace slipway::features {
namespace {

constexpr int kDeepest = 64;  // of parentheses and operators within one another

enum class Kind { number, text, boolean, time, any, same };

struct FunctionKind {
  std::string_view name;
  Op op;
  Kind argument;
  std::size_t least;
  std::size_t most;
  bool gives_text;
};

constexpr std::size_t kMany = 64;

constexpr FunctionKind kFunctions[] = {
    {"abs", Op::abs, Kind::number, 1, 1, false},
    {"sqrt", Op::sqrt, Kind::number, 1, 1, false},
    {"exp", Op::exp, Kind::number, 1, 1, false},
    {"log", Op::log, Kind::number, 1, 1, false},
    {"log1p", Op::log1p, Kind::number, 1, 1, false},
    {"log2", Op::log2, Kind::number, 1, 1, false},
    {"log10", Op::log10, Kind::number, 1, 1, false},
    {"sin", Op::sin, Kind::number, 1, 1, false},
    {"cos", Op::cos, Kind::number, 1, 1, false},
    {"floor", Op::floor, Kind::number, 1, 1, false},
    {"ceil", Op::ceil, Kind::number, 1, 1, false},
    {"round", Op::round, Kind::number, 1, 1, false},
    {"sign", Op::sign, Kind::number, 1, 1, false},
    {"min", Op::least, Kind::number, 2, kMany, false},
    {"max", Op::greatest, Kind::number, 2, kMany, false},
    {"clip", Op::clip, Kind::number, 3, 3, false},
    {"seconds", Op::seconds, Kind::time, 1, 1, false},
    {"hour", Op::hour, Kind::time, 1, 1, false},
    {"dow", Op::dow, Kind::time, 1, 1, false},
    {"day", Op::day, Kind::time, 1, 1, false},
    {"month", Op::month, Kind::time, 1, 1, false},
    {"year", Op::year, Kind::time, 1, 1, false},
    {"length", Op::length, Kind::text, 1, 1, false},
    {"starts_with", Op::starts_with, Kind::text, 2, 2, false},
    {"ends_with", Op::ends_with, Kind::text, 2, 2, false},
    {"contains", Op::contains, Kind::text, 2, 2, false},
    {"number", Op::to_number, Kind::text, 1, 1, false},
    {"lower", Op::lower, Kind::text, 1, 1, true},
    {"upper", Op::upper, Kind::text, 1, 1, true},
    {"trim", Op::trim, Kind::text, 1, 1, true},
    {"is_missing", Op::is_missing, Kind::any, 1, 1, false},
    {"coalesce", Op::coalesce, Kind::same, 2, kMany, false},
    {"if", Op::choose, Kind::any, 3, 3, false},
    {"concat", Op::concat, Kind::any, 2, kMany, true},
    {"cross", Op::cross, Kind::any, 2, kMany, true},
    {"substring", Op::substring, Kind::any, 2, 3, true},
    {"text", Op::to_text, Kind::any, 1, 1, true},
};

bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool is_digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

class ExpressionParser {
 public:
  ExpressionParser(std::string_view source, const data::Schema& schema)
      : source_(source), schema_(schema) {}

  Result<Expression> parse() {
    if (source_.size() > kMostExpression) {
      return invalid_argument("the expression has " + std::to_string(source_.size()) + " bytes; " +
                              std::to_string(kMostExpression) + " are the most");
    }
    if (!is_utf8(source_)) return invalid_argument("the expression is not UTF-8");
    next();
    const int root = either();
    if (!failed_ && token_.kind != Token::Is::end) {
      fail(token_.at, "'" + std::string(token_.text) +
                          "' does not belong here; an operator such as + or and was expected");
    }
    if (!failed_ && is_time(root)) {
      fail(0, "a timestamp is no feature as it stands; take seconds(t), hour(t), dow(t), … of it");
    }
    if (failed_) return invalid_argument(message_);
    out_.source_ = source_;
    out_.text_ = node(root).text;
    std::sort(out_.reads_.begin(), out_.reads_.end());
    out_.reads_.erase(std::unique(out_.reads_.begin(), out_.reads_.end()), out_.reads_.end());
    if (out_.reads_.empty())
      return invalid_argument("the expression reads no column: it is the same in every row");
    return std::move(out_);
  }

 private:
  struct Token {
    enum class Is { number, text, name, sign, end } kind = Is::end;
    std::string_view text;
    std::string value;  // of a text or a quoted name
    bool quoted = false;
    double numeric = 0;
    std::size_t at = 0;
  };
  using Node = Expression::Node;

  const Node& node(int index) const { return out_.nodes_[static_cast<std::size_t>(index)]; }
  bool is_time(int index) const { return !failed_ && node(index).op == Op::column_time; }

  // The first failure wins; from there on everything is a placeholder.
  int fail(std::size_t at, const std::string& why) {
    if (failed_) return 0;
    failed_ = true;
    std::size_t column = 1;
    for (std::size_t i = 0; i < at && i < source_.size(); ++i)
      column += (static_cast<unsigned char>(source_[i]) & 0xC0) != 0x80 ? 1 : 0;
    std::string line(source_);
    for (char& c : line) c = c == '\n' || c == '\t' || c == '\r' ? ' ' : c;
    message_ = "expression, column " + std::to_string(column) + ": " + why + "\n    " + line +
               "\n    " + std::string(column - 1, ' ') + "^";
    token_ = {};
    at_ = source_.size();
    if (out_.nodes_.empty()) out_.nodes_.push_back({.op = Op::number});
    return 0;
  }

  void next() {
    while (at_ < source_.size() && (source_[at_] == ' ' || source_[at_] == '\t' ||
                                    source_[at_] == '\n' || source_[at_] == '\r'))
      ++at_;
    token_ = {};
    token_.at = at_;
    if (at_ >= source_.size()) return;
    const char c = source_[at_];
    const char after = at_ + 1 < source_.size() ? source_[at_ + 1] : '\0';
    if (is_digit(c) || (c == '.' && is_digit(after))) return number();
    if (c == '\'' || c == '"' || c == '`') return quoted(c);
    if (is_name_start(c)) {
      std::size_t end = at_ + 1;
      while (end < source_.size() &&
             (is_name_start(source_[end]) || is_digit(source_[end]) || source_[end] == '.'))
        ++end;
      token_.kind = Token::Is::name;
      token_.text = source_.substr(at_, end - at_);
      token_.value = token_.text;
      at_ = end;
      return;
    }
    static constexpr std::string_view kSigns[] = {"**", "<=", ">=", "==", "!=", "+", "-", "*", "/",
                                                  "%",  "<",  ">",  "=",  "(",  ")", ",", "[", "]"};
    for (const std::string_view sign : kSigns) {
      if (!source_.substr(at_).starts_with(sign)) continue;
      token_.kind = Token::Is::sign;
      token_.text = source_.substr(at_, sign.size());
      at_ += sign.size();
      return;
    }
    fail(at_, std::string("'") + c + "' means nothing here");
  }

  void number() {
    const char* begin = source_.data() + at_;
    const char* end = source_.data() + source_.size();
    const auto [stop, error] = std::from_chars(begin, end, token_.numeric);
    if (error != std::errc{} || !std::isfinite(token_.numeric)) {
      fail(at_, "this number is beyond what a double can hold");
      return;
    }
    if (stop < end && is_name_start(*stop)) {
      fail(static_cast<std::size_t>(stop - source_.data()),
           "a number ends here, and a name begins; an operator is missing");
      return;
    }
    token_.kind = Token::Is::number;
    token_.text = source_.substr(at_, static_cast<std::size_t>(stop - begin));
    at_ += token_.text.size();
  }

  // 'text' or "text"; `column name`. The quote itself is written twice.
  void quoted(char quote) {
    std::size_t end = at_ + 1;
    for (;; ++end) {
      if (end >= source_.size()) {
        fail(at_, std::string("this ") + quote + " is never closed");
        return;
      }
      if (source_[end] != quote) {
        token_.value += source_[end];
      } else if (end + 1 < source_.size() && source_[end + 1] == quote) {
        token_.value += source_[++end];
      } else {
        break;
      }
    }
    token_.kind = quote == '`' ? Token::Is::name : Token::Is::text;
    token_.quoted = true;
    token_.text = source_.substr(at_, end + 1 - at_);
    at_ = end + 1;
  }

  bool sign(std::string_view text) const {
    return token_.kind == Token::Is::sign && token_.text == text;
  }
  bool word(std::string_view text) const {
    return token_.kind == Token::Is::name && !token_.quoted && token_.text == text;
  }
  bool take(std::string_view text) {
    if (!sign(text)) return false;
    next();
    return true;
  }
  std::string found() const {
    return token_.kind == Token::Is::end ? std::string("the expression ends")
                                         : "there is '" + std::string(token_.text) + "'";
  }
  void expect(std::string_view text) {
    if (!take(text)) fail(token_.at, "'" + std::string(text) + "' was expected, but " + found());
  }

  int add(Node made, std::size_t at) {
    if (failed_) return 0;
    if (out_.nodes_.size() >= kMostNodes) {
      return fail(at, "the expression has more than " + std::to_string(kMostNodes) +
                          " parts; split it into several");
    }
    out_.nodes_.push_back(std::move(made));
    return static_cast<int>(out_.nodes_.size()) - 1;
  }

  // Checks what an operand is; `what` names the operator for the message.
  bool numeric(int operand, std::size_t at, std::string_view what) {
    if (failed_) return false;
    if (node(operand).text) {
      fail(at,
           std::string(what) + " takes numbers, and this is a text; number(…) reads a text as one");
    } else if (is_time(operand)) {
      fail(at, std::string(what) +
                   " takes numbers, and this is a timestamp; take seconds(t), hour(t), … of it");
    }
    return !failed_;
  }
  int binary(Op op, int left, std::size_t left_at, int right, std::size_t right_at,
             std::string_view what) {
    if (!numeric(left, left_at, what) || !numeric(right, right_at, what)) return 0;
    return add({.op = op, .of = {left, right, -1}}, left_at);
  }

  int either() {
    std::size_t at = token_.at;
    int left = both();
    while (word("or")) {
      next();
      const std::size_t right_at = token_.at;
      const int right = both();
      left = binary(Op::logical_or, left, at, right, right_at, "or");
    }
    return left;
  }
  int both() {
    std::size_t at = token_.at;
    int left = negation();
    while (word("and")) {
      next();
      const std::size_t right_at = token_.at;
      const int right = negation();
      left = binary(Op::logical_and, left, at, right, right_at, "and");
    }
    return left;
  }
  int negation() {
    if (!word("not")) return comparison();
    const Depth depth(*this);
    if (failed_) return 0;
    next();
    const std::size_t at = token_.at;
    const int operand = negation();
    if (!numeric(operand, at, "not")) return 0;
    return add({.op = Op::logical_not, .of = {operand, -1, -1}}, at);
  }

  int compare(Op op, int left, std::size_t left_at, int right, std::size_t right_at,
              std::string_view what) {
    if (failed_) return 0;
    const bool equality = op == Op::equal || op == Op::not_equal;
    if (equality && node(left).text && node(right).text) {
      return add(
          {.op = op == Op::equal ? Op::text_equal : Op::text_not_equal, .of = {left, right, -1}},
          left_at);
    }
    if (node(left).text != node(right).text) {
      return fail(right_at, std::string(what) + " compares a " +
                                (node(left).text ? "text with a number" : "number with a text") +
                                "; number(…) and text(…) turn one into the other");
    }
    return binary(op, left, left_at, right, right_at, what);
  }

  int comparison() {
    const std::size_t at = token_.at;
    int left = sum();
    static constexpr std::pair<std::string_view, Op> kComparisons[] = {
        {"<", Op::less},   {"<=", Op::less_equal}, {">", Op::greater},   {">=", Op::greater_equal},
        {"==", Op::equal}, {"=", Op::equal},       {"!=", Op::not_equal}};
    for (const auto& [text, op] : kComparisons) {
      if (!sign(text)) continue;
      next();
      const std::size_t right_at = token_.at;
      const int right = sum();
      left = compare(op, left, at, right, right_at, text);
      for (const auto& [again, unused] : kComparisons) {
        if (sign(again)) return fail(token_.at, "comparisons do not chain; join them with and");
      }
      return left;
    }
    const bool negated = word("not");
    if (!negated && !word("in")) return left;
    next();
    if (negated && !word("in"))
      return fail(token_.at, "'in' was expected after not, but " + found());
    if (negated) next();
    int any = -1;
    expect("[");
    do {
      const std::size_t right_at = token_.at;
      const int one = compare(Op::equal, left, at, sum(), right_at, "in");
      any = any < 0 ? one : binary(Op::logical_or, any, at, one, right_at, "in");
    } while (!failed_ && take(","));
    expect("]");
    return negated && !failed_ ? add({.op = Op::logical_not, .of = {any, -1, -1}}, at) : any;
  }

  int sum() {
    const std::size_t at = token_.at;
    int left = term();
    while (sign("+") || sign("-")) {
      const Op op = sign("+") ? Op::add : Op::subtract;
      const std::string_view what = token_.text;
      next();
      const std::size_t right_at = token_.at;
      const int right = term();
      left = binary(op, left, at, right, right_at, what);
    }
    return left;
  }
  int term() {
    const std::size_t at = token_.at;
    int left = unary();
    while (sign("*") || sign("/") || sign("%")) {
      const Op op = sign("*") ? Op::multiply : sign("/") ? Op::divide : Op::modulo;
      const std::string_view what = token_.text;
      next();
      const std::size_t right_at = token_.at;
      const int right = unary();
      left = binary(op, left, at, right, right_at, what);
    }
    return left;
  }
  int unary() {
    if (!sign("-")) return power();
    const Depth depth(*this);
    if (failed_) return 0;
    next();
    const std::size_t at = token_.at;
    const int operand = unary();
    if (!numeric(operand, at, "-")) return 0;
    return add({.op = Op::negate, .of = {operand, -1, -1}}, at);
  }
  int power() {
    const std::size_t at = token_.at;
    const int base = primary();
    if (!sign("**")) return base;
    const Depth depth(*this);
    if (failed_) return 0;
    next();
    const std::size_t right_at = token_.at;
    const int exponent = unary();
    return binary(Op::power, base, at, exponent, right_at, "**");
  }

  int primary() {
    const Depth depth(*this);
    if (failed_) return 0;
    const Token token = token_;
    if (token.kind == Token::Is::number) {
      next();
      return add({.op = Op::number, .number = token.numeric}, token.at);
    }
    if (token.kind == Token::Is::text) {
      next();
      return add({.op = Op::constant_text, .text = true, .constant = token.value}, token.at);
    }
    if (take("(")) {
      const int inner = either();
      expect(")");
      return inner;
    }
    if (token.kind != Token::Is::name) {
      return fail(token.at, "a number, a column, a function or '(' was expected, but " + found());
    }
    next();
    if (!token.quoted && sign("(")) return function(token);
    if (!token.quoted && (token.text == "true" || token.text == "false")) {
      return add({.op = Op::number, .number = token.text == "true" ? 1.0 : 0.0}, token.at);
    }
    if (!token.quoted && (token.text == "missing" || token.text == "null") &&
        !schema_.index(token.value)) {
      return add({.op = Op::number, .number = std::nan("")}, token.at);
    }
    const auto column = schema_.index(token.value);
    if (!column) {
      const auto near = nearest(token.value, schema_.names());
      return fail(token.at, "no column is called '" + token.value + "'" +
                                (near ? "; did you mean '" + *near + "'?" : ""));
    }
    const data::Type type = schema_.fields[*column].type;
    out_.reads_.push_back(*column);
    const bool text = type == data::Type::text;
    return add({.op = text                            ? Op::column_text
                      : type == data::Type::timestamp ? Op::column_time
                                                      : Op::column_number,
                .text = text,
                .column = *column},
               token.at);
  }

  int function(const Token& name) {
    const auto* kind =
        std::find_if(std::begin(kFunctions), std::end(kFunctions),
                     [&](const FunctionKind& each) { return each.name == name.text; });
    if (kind == std::end(kFunctions)) {
      std::vector<std::string> names;
      for (const FunctionKind& each : kFunctions) names.emplace_back(each.name);
      const auto near = nearest(name.value, names);
      return fail(name.at, "no function is called '" + name.value + "'" +
                               (near ? "; did you mean '" + *near + "'?" : ""));
    }
    expect("(");
    std::vector<std::int32_t> arguments;
    std::vector<std::size_t> places;
    if (!sign(")")) {
      do {
        places.push_back(token_.at);
        arguments.push_back(either());
      } while (!failed_ && take(","));
    }
    expect(")");
    if (failed_) return 0;
    if (arguments.size() < kind->least || arguments.size() > kind->most) {
      const std::string wanted =
          kind->least == kind->most ? std::to_string(kind->least)
          : kind->most == kMany     ? std::to_string(kind->least) + " or more"
                                : std::to_string(kind->least) + " to " + std::to_string(kind->most);
      return fail(name.at, std::string(kind->name) + " takes " + wanted +
                               " arguments, and there are " + std::to_string(arguments.size()));
    }
    return call(*kind, name.at, arguments, places);
  }

  int call(const FunctionKind& kind, std::size_t at, std::vector<std::int32_t>& arguments,
           const std::vector<std::size_t>& places) {
    Node made{.op = kind.op, .text = kind.gives_text};
    const auto text_of = [&](std::size_t i) { return node(arguments[i]).text; };
    for (std::size_t i = 0; i < arguments.size(); ++i) {
      if (kind.argument == Kind::number && !numeric(arguments[i], places[i], kind.name)) return 0;
      if (kind.argument == Kind::text && !text_of(i)) {
        return fail(places[i],
                    std::string(kind.name) + " takes texts; text(…) turns a number into one");
      }
      if (kind.argument == Kind::time && !is_time(arguments[i])) {
        return fail(places[i], std::string(kind.name) + " takes a column of timestamps");
      }
      if (kind.argument == Kind::same && text_of(i) != text_of(0)) {
        return fail(places[i], std::string(kind.name) + " takes either numbers or texts, not both");
      }
      if ((kind.argument == Kind::same || kind.argument == Kind::any) && is_time(arguments[i]) &&
          kind.op != Op::is_missing) {
        return fail(places[i], std::string(kind.name) +
                                   " takes no timestamp; take seconds(t), hour(t), … of it");
      }
    }
    if (kind.op == Op::coalesce && text_of(0)) made = {.op = Op::coalesce_text, .text = true};
    if (kind.op == Op::is_missing && text_of(0)) made.op = Op::text_is_missing;
    if (kind.op == Op::choose) {
      if (!numeric(arguments[0], places[0], "the condition of if")) return 0;
      if (text_of(1) != text_of(2)) {
        return fail(places[2], "both values of if must be numbers, or both texts");
      }
      if (text_of(1)) made = {.op = Op::choose_text, .text = true};
    }
    if (kind.op == Op::substring) {
      if (!text_of(0)) return fail(places[0], "substring takes a text first");
      for (std::size_t i = 1; i < arguments.size(); ++i) {
        if (!numeric(arguments[i], places[i], "substring")) return 0;
      }
    }
    if (kind.op == Op::concat || kind.op == Op::cross) {
      for (std::size_t i = 0; i < arguments.size(); ++i) {
        if (!text_of(i))
          arguments[i] =
              add({.op = Op::to_text, .text = true, .of = {arguments[i], -1, -1}}, places[i]);
      }
    }
    if (kind.op == Op::to_text && text_of(0)) return arguments[0];
    if (kind.most == kMany) {
      made.more = arguments;
    } else {
      std::copy(arguments.begin(), arguments.end(), made.of.begin());
    }
    return add(std::move(made), at);
  }

  // Refuses what stands too deep, so that no source can exhaust the stack.
  class Depth {
   public:
    explicit Depth(ExpressionParser& parser) : parser_(parser) {
      if (++parser.depth_ > kDeepest)
        parser.fail(parser.token_.at, "the expression is nested too deeply");
    }
    ~Depth() { --parser_.depth_; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;

   private:
    ExpressionParser& parser_;
  };

  std::string_view source_;
  const data::Schema& schema_;
  std::size_t at_ = 0;
  Token token_;
  int depth_ = 0;
  bool failed_ = false;
  std::string message_;
  Expression out_;
};

Result<Expression> Expression::parse(std::string_view source, const data::Schema& schema) {
  return ExpressionParser(source, schema).parse();
}

Expression Expression::moved(std::span<const std::size_t> place) const {
  Expression out = *this;
  for (Node& node : out.nodes_) {
    if (node.op == Op::column_number || node.op == Op::column_text || node.op == Op::column_time)
      node.column = place[node.column];
  }
  for (std::size_t& column : out.reads_) column = place[column];
  std::sort(out.reads_.begin(), out.reads_.end());
  return out;
}

}  // namespace slipway::features
