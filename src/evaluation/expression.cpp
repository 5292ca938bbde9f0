#include "evaluation/expression.h"

#include "base/spec.h"

namespace slipway::evaluation {

namespace {

enum class Op {
  number,
  name,
  add,
  subtract,
  multiply,
  divide,
  negate,
  absolute,
  minimum,
  maximum,
  less,
  less_equal,
  greater,
  greater_equal,
  equal,
  not_equal,
  all_of,
  any_of,
  negation,
};

bool is_comparison(Op op) { return op >= Op::less && op <= Op::not_equal; }

struct Token {
  enum class Kind { number, name, symbol, end, bad } kind = Kind::end;
  std::string text;       // as written; of a name: without backticks
  double value = 0;       // of a number
  std::size_t begin = 0;  // offsets into the text
  std::size_t end = 0;
};

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

// What a reader sees for a token in a message.
std::string shown(const Token& token) {
  return token.kind == Token::Kind::end ? "the end" : "'" + token.text + "'";
}

}  // namespace

struct Expression::Node {
  Op op = Op::number;
  bool condition = false;
  double value = 0;
  std::string name;
  std::vector<std::unique_ptr<const Node>> parts;
  std::size_t begin = 0;  // the text it was read from, parentheses included
  std::size_t end = 0;

  std::optional<double> number(const Lookup& lookup) const;
  std::optional<bool> test(const Lookup& lookup) const;
  void collect_names(std::vector<std::string>& names) const {
    if (op == Op::name && std::find(names.begin(), names.end(), name) == names.end()) {
      names.push_back(name);
    }
    for (const auto& part : parts) part->collect_names(names);
  }
};

std::optional<double> Expression::Node::number(const Lookup& lookup) const {
  if (op == Op::number) return value;
  if (op == Op::name) {
    const auto found = lookup(name);
    return found && std::isfinite(*found) ? found : std::nullopt;
  }
  std::optional<double> result;
  for (const auto& part : parts) {
    const auto operand = part->number(lookup);
    if (!operand) return std::nullopt;
    if (!result) {
      result = op == Op::negate ? -*operand : op == Op::absolute ? std::abs(*operand) : *operand;
      continue;
    }
    switch (op) {
      case Op::add:
        *result += *operand;
        break;
      case Op::subtract:
        *result -= *operand;
        break;
      case Op::multiply:
        *result *= *operand;
        break;
      case Op::divide:
        *result /= *operand;
        break;
      case Op::minimum:
        *result = std::min(*result, *operand);
        break;
      default:
        *result = std::max(*result, *operand);
        break;
    }
  }
  return result && std::isfinite(*result) ? result : std::nullopt;
}

std::optional<bool> Expression::Node::test(const Lookup& lookup) const {
  if (op == Op::all_of || op == Op::any_of) {
    const bool deciding = op == Op::any_of;
    bool unknown = false;
    for (const auto& part : parts) {
      const auto holds = part->test(lookup);
      if (!holds) {
        unknown = true;
      } else if (*holds == deciding) {
        return deciding;
      }
    }
    if (unknown) return std::nullopt;
    return !deciding;
  }
  if (op == Op::negation) {
    const auto holds = parts[0]->test(lookup);
    if (!holds) return std::nullopt;
    return !*holds;
  }
  const auto left = parts[0]->number(lookup);
  const auto right = parts[1]->number(lookup);
  if (!left || !right) return std::nullopt;
  switch (op) {
    case Op::less:
      return *left < *right;
    case Op::less_equal:
      return *left <= *right;
    case Op::greater:
      return *left > *right;
    case Op::greater_equal:
      return *left >= *right;
    case Op::equal:
      return *left == *right;
    default:
      return *left != *right;
  }
}

// Recursive descent over
//   condition := conjunction ("or" conjunction)*     conjunction := negation ("and" negation)*
//   negation := "not" negation | comparison          comparison := sum (("<" | "<=" | …) sum)?
//   sum := product (("+" | "-") product)*            product := unary (("*" | "/") unary)*
//   unary := "-" unary | primary                     primary := number | name | name "(" sum, … ")"
//   | "(" condition ")"
class ExpressionParser {
 public:
  explicit ExpressionParser(std::string_view text) : text_(text) { advance(); }

  Result<Expression> parse(bool condition) {
    auto root = alternatives();
    if (!root) return root.error();
    if (token_.kind != Token::Kind::end) {
      const std::string wanted =
          (*root)->condition ? "'and', 'or' or the end" : "an operator or the end";
      return expected(wanted, {"and", "or"});
    }
    if ((*root)->condition != condition) return wrong_type(**root, condition);
    Expression expression;
    expression.text_ = text_;
    expression.names_ = std::move(names_);
    expression.name_columns_ = std::move(name_columns_);
    expression.root_ = std::move(*root);
    return expression;
  }

 private:
  using Node = Expression::Node;
  using NodePtr = std::unique_ptr<Node>;

  Error error_at(std::size_t offset, const std::string& message) const {
    return invalid_argument("column " + std::to_string(offset + 1) + " of '" + std::string(text_) +
                            "': " + message);
  }
  Error expected(const std::string& wanted, const std::vector<std::string>& words) const {
    if (token_.kind == Token::Kind::bad) return error_at(token_.begin, token_.text);
    std::string message = "expected " + wanted + ", found " + shown(token_);
    if (token_.kind == Token::Kind::name) {
      if (const auto near = nearest(token_.text, words)) {
        message += "; did you mean '" + *near + "'?";
      }
    }
    return error_at(token_.begin, message);
  }
  Error wrong_type(const Node& node, bool wants_condition) const {
    const std::string part(text_.substr(node.begin, node.end - node.begin));
    return error_at(node.begin,
                    wants_condition
                        ? "'" + part + "' is a number, a condition is wanted: compare it, as in '" +
                              part + " >= 0.5'"
                        : "'" + part + "' is a condition, a number is wanted");
  }

  void advance() {
    last_end_ = token_.end;
    token_ = next();
  }
  Token next();
  Token bad(std::size_t begin, std::string message) {
    position_ = text_.size();
    return {Token::Kind::bad, std::move(message), 0, begin, text_.size()};
  }
  bool take_symbol(std::string_view symbol) {
    if (token_.kind != Token::Kind::symbol || token_.text != symbol) return false;
    advance();
    return true;
  }
  bool take_word(std::string_view word) {
    if (token_.kind != Token::Kind::name || token_.text != word || text_[token_.begin] == '`') {
      return false;
    }
    advance();
    return true;
  }

  Result<NodePtr> alternatives() { return chain(Op::any_of, "or", &ExpressionParser::conjunction); }
  Result<NodePtr> conjunction() { return chain(Op::all_of, "and", &ExpressionParser::negation); }
  Result<NodePtr> chain(Op op, std::string_view word, Result<NodePtr> (ExpressionParser::*part)());
  Result<NodePtr> negation();
  Result<NodePtr> comparison();
  Result<NodePtr> sum() {
    return arithmetic({{"+", Op::add}, {"-", Op::subtract}}, &ExpressionParser::product);
  }
  Result<NodePtr> product() {
    return arithmetic({{"*", Op::multiply}, {"/", Op::divide}}, &ExpressionParser::unary);
  }
  using Operators = std::initializer_list<std::pair<std::string_view, Op>>;
  Result<NodePtr> arithmetic(Operators operators, Result<NodePtr> (ExpressionParser::*part)());
  Result<NodePtr> unary();
  Result<NodePtr> primary();
  Result<NodePtr> call(Op op, const Token& name);
  Result<NodePtr> name_node(const Token& token);

  NodePtr make(Op op, std::size_t begin) const {
    auto node = std::make_unique<Node>();
    node->op = op;
    node->condition = op >= Op::less;
    node->begin = begin;
    node->end = last_end_;
    return node;
  }

  // Counts nesting while it lives.
  struct Depth {
    explicit Depth(int& counter) : level(counter) { ++level; }
    ~Depth() { --level; }
    Depth(const Depth&) = delete;
    Depth& operator=(const Depth&) = delete;
    int& level;
  };
  Error too_deep() const {
    return error_at(token_.begin,
                    "nested more than " + std::to_string(Expression::kMaxDepth) + " deep");
  }

  std::string_view text_;
  std::size_t position_ = 0;
  std::size_t last_end_ = 0;
  Token token_;
  int depth_ = 0;
  std::vector<std::string> names_;
  std::vector<std::size_t> name_columns_;
};

Token ExpressionParser::next() {
  while (position_ < text_.size() && std::string_view(" \t\r\n").contains(text_[position_])) {
    ++position_;
  }
  const std::size_t begin = position_;
  if (begin == text_.size()) return {Token::Kind::end, "", 0, begin, begin};
  const char first = text_[begin];
  if (is_digit(first) || (first == '.' && begin + 1 < text_.size() && is_digit(text_[begin + 1]))) {
    double value = 0;
    const auto [stop, failure] =
        std::from_chars(text_.data() + begin, text_.data() + text_.size(), value);
    if (failure != std::errc{}) return bad(begin, "this number is out of range");
    position_ = static_cast<std::size_t>(stop - text_.data());
    if (position_ < text_.size() && is_letter(text_[position_])) {
      return bad(begin, "a number and a name run into each other; put an operator between them");
    }
    return {Token::Kind::number, std::string(text_.substr(begin, position_ - begin)), value, begin,
            position_};
  }
  if (is_letter(first) || first == '`') {
    std::string name;
    while (true) {  // one part of a dotted name
      if (position_ < text_.size() && text_[position_] == '`') {
        const std::size_t close = text_.find('`', position_ + 1);
        if (close == std::string_view::npos) return bad(position_, "this backtick is never closed");
        name += text_.substr(position_ + 1, close - position_ - 1);
        position_ = close + 1;
      } else {
        const std::size_t part = position_;
        while (position_ < text_.size() &&
               (is_letter(text_[position_]) || is_digit(text_[position_]))) {
          ++position_;
        }
        if (position_ == part) return bad(part, "a name ends in a dot");
        name += text_.substr(part, position_ - part);
      }
      if (position_ >= text_.size() || text_[position_] != '.') break;
      name += '.';
      ++position_;
    }
    return {Token::Kind::name, std::move(name), 0, begin, position_};
  }
  for (const std::string_view symbol :
       {"<=", ">=", "==", "!=", "<", ">", "+", "-", "*", "/", "(", ")", ","}) {
    if (text_.substr(begin).starts_with(symbol)) {
      position_ = begin + symbol.size();
      return {Token::Kind::symbol, std::string(symbol), 0, begin, position_};
    }
  }
  if (first == '=') return bad(begin, "'=' is not an operator; equality is written '=='");
  if (first == '&' || first == '|' || first == '!') {
    return bad(begin, "write 'and', 'or', 'not' in words");
  }
  const auto byte = static_cast<unsigned char>(first);
  if (byte < 0x20 || byte >= 0x7f) {
    return bad(begin, fmt::format("unexpected byte 0x{:02x}; names with other than ASCII letters, "
                                  "digits and '_' go into backticks",
                                  byte));
  }
  return bad(begin, std::string("unexpected character '") + first + "'");
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::chain(
    Op op, std::string_view word, Result<NodePtr> (ExpressionParser::*part)()) {
  auto first = (this->*part)();
  if (!first) return first;
  const std::size_t begin = (*first)->begin;
  std::vector<NodePtr> parts;
  parts.push_back(std::move(*first));
  while (take_word(word)) {
    auto another = (this->*part)();
    if (!another) return another;
    parts.push_back(std::move(*another));
  }
  if (parts.size() == 1) return std::move(parts[0]);
  auto node = make(op, begin);
  for (auto& one : parts) {
    if (!one->condition) return wrong_type(*one, true);
    node->parts.push_back(std::move(one));
  }
  return node;
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::negation() {
  const std::size_t begin = token_.begin;
  if (!take_word("not")) return comparison();
  const Depth depth(depth_);
  if (depth_ > Expression::kMaxDepth) return too_deep();
  auto inner = negation();
  if (!inner) return inner;
  if (!(*inner)->condition) return wrong_type(**inner, true);
  auto node = make(Op::negation, begin);
  node->parts.push_back(std::move(*inner));
  return node;
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::comparison() {
  auto left = sum();
  if (!left) return left;
  static const std::map<std::string, Op, std::less<>> kOperators = {
      {"<", Op::less},           {"<=", Op::less_equal}, {">", Op::greater},
      {">=", Op::greater_equal}, {"==", Op::equal},      {"!=", Op::not_equal}};
  const auto is_operator = [&] {
    return token_.kind == Token::Kind::symbol && kOperators.contains(token_.text);
  };
  if (!is_operator()) return left;
  const Op op = kOperators.at(token_.text);
  advance();
  auto right = sum();
  if (!right) return right;
  if (is_operator()) {
    return error_at(token_.begin,
                    "comparisons do not chain; write 'a < b and b < c' instead of 'a < b < c'");
  }
  for (const auto& side : {&*left, &*right}) {
    if ((**side).condition) return wrong_type(**side, false);
  }
  auto node = make(op, (*left)->begin);
  node->parts.push_back(std::move(*left));
  node->parts.push_back(std::move(*right));
  return node;
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::arithmetic(
    Operators operators, Result<NodePtr> (ExpressionParser::*part)()) {
  auto left = (this->*part)();
  // The tree of a chain leans left; its height is bounded by the length of the text, which is
  // capped.
  while (left && token_.kind == Token::Kind::symbol) {
    const auto found = std::find_if(operators.begin(), operators.end(),
                                    [&](const auto& one) { return one.first == token_.text; });
    if (found == operators.end()) break;
    advance();
    auto right = (this->*part)();
    if (!right) return right;
    for (const auto& side : {&*left, &*right}) {
      if ((**side).condition) return wrong_type(**side, false);
    }
    auto node = make(found->second, (*left)->begin);
    node->parts.push_back(std::move(*left));
    node->parts.push_back(std::move(*right));
    left = std::move(node);
  }
  return left;
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::unary() {
  const std::size_t begin = token_.begin;
  if (!take_symbol("-")) return primary();
  const Depth depth(depth_);
  if (depth_ > Expression::kMaxDepth) return too_deep();
  auto inner = unary();
  if (!inner) return inner;
  if ((*inner)->condition) return wrong_type(**inner, false);
  auto node = make(Op::negate, begin);
  node->parts.push_back(std::move(*inner));
  return node;
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::primary() {
  const Token token = token_;
  if (token.kind == Token::Kind::number) {
    advance();
    auto node = make(Op::number, token.begin);
    node->value = token.value;
    return node;
  }
  if (token.kind == Token::Kind::name) {
    const bool quoted = text_[token.begin] == '`';
    if (!quoted && (token.text == "and" || token.text == "or" || token.text == "not")) {
      return expected("a number, a name or '('", {});
    }
    advance();
    if (token_.kind == Token::Kind::symbol && token_.text == "(") {
      static const std::map<std::string, Op, std::less<>> kFunctions = {
          {"abs", Op::absolute}, {"min", Op::minimum}, {"max", Op::maximum}};
      const auto function = kFunctions.find(token.text);
      if (function == kFunctions.end()) {
        return error_at(token.begin, "unknown function '" + token.text +
                                         "'; there are abs(x), min(a, b) and max(a, b)");
      }
      return call(function->second, token);
    }
    return name_node(token);
  }
  if (take_symbol("(")) {
    const Depth depth(depth_);
    if (depth_ > Expression::kMaxDepth) return too_deep();
    auto inner = alternatives();
    if (!inner) return inner;
    if (!take_symbol(")")) return expected("')'", {"and", "or"});
    (*inner)->begin = token.begin;
    (*inner)->end = last_end_;
    return inner;
  }
  return expected("a number, a name or '('", {});
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::call(Op op, const Token& name) {
  advance();  // "("
  const Depth depth(depth_);
  if (depth_ > Expression::kMaxDepth) return too_deep();
  std::vector<NodePtr> arguments;
  do {
    auto argument = sum();
    if (!argument) return argument;
    if ((*argument)->condition) return wrong_type(**argument, false);
    arguments.push_back(std::move(*argument));
  } while (take_symbol(","));
  if (!take_symbol(")")) return expected("',' or ')'", {});
  const bool one = op == Op::absolute;
  if (one != (arguments.size() == 1)) {
    return error_at(name.begin, name.text +
                                    (one ? " takes one number" : " takes two numbers or more") +
                                    ", found " + std::to_string(arguments.size()));
  }
  auto node = make(op, name.begin);
  for (auto& argument : arguments) node->parts.push_back(std::move(argument));
  return node;
}

Result<std::unique_ptr<Expression::Node>> ExpressionParser::name_node(const Token& token) {
  if (std::find(names_.begin(), names_.end(), token.text) == names_.end()) {
    names_.push_back(token.text);
    name_columns_.push_back(token.begin);
  }
  auto node = make(Op::name, token.begin);
  node->name = token.text;
  return node;
}

bool Vocabulary::has(std::string_view name) const {
  return std::find(names.begin(), names.end(), name) != names.end() ||
         std::any_of(prefixes.begin(), prefixes.end(), [&](const std::string& prefix) {
           return name.size() > prefix.size() && name.starts_with(prefix);
         });
}

Result<Expression> Expression::parse(std::string_view text, bool condition) {
  if (text.size() > kMaxLength) {
    return invalid_argument("the expression has " + std::to_string(text.size()) +
                            " characters; at most " + std::to_string(kMaxLength) + " are allowed");
  }
  return ExpressionParser(text).parse(condition);
}

Result<Expression> Expression::parse_condition(std::string_view text) { return parse(text, true); }
Result<Expression> Expression::parse_number(std::string_view text) { return parse(text, false); }

Result<void> Expression::check_names(const Vocabulary& vocabulary) const {
  for (std::size_t i = 0; i < names_.size(); ++i) {
    if (vocabulary.has(names_[i])) continue;
    std::string message = "column " + std::to_string(name_columns_[i] + 1) + " of '" + text_ +
                          "': nothing is called '" + names_[i] + "'";
    if (const auto near = nearest(names_[i], vocabulary.names)) {
      message += "; did you mean '" + *near + "'?";
    } else {
      message += "; known names: " + fmt::format("{}", fmt::join(vocabulary.names, ", "));
    }
    return invalid_argument(message);
  }
  return {};
}

std::optional<bool> Expression::test(const Lookup& lookup) const {
  return root_->condition ? root_->test(lookup) : std::nullopt;
}

std::optional<double> Expression::number(const Lookup& lookup) const {
  return root_->condition ? std::nullopt : root_->number(lookup);
}

std::vector<Expression::Clause> Expression::clauses(const Lookup& lookup) const {
  std::vector<Clause> clauses;
  const auto add = [&](const Node& node) {
    Clause clause;
    clause.text = text_.substr(node.begin, node.end - node.begin);
    node.collect_names(clause.names);
    clause.holds = node.test(lookup);
    if (is_comparison(node.op)) {
      clause.left = node.parts[0]->number(lookup);
      clause.right = node.parts[1]->number(lookup);
    }
    clauses.push_back(std::move(clause));
  };
  if (!root_->condition) return clauses;
  if (root_->op != Op::all_of) {
    add(*root_);
  } else {
    for (const auto& part : root_->parts) add(*part);
  }
  return clauses;
}

}  // namespace slipway::evaluation
