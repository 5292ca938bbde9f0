// A small language for columns made of columns, checked against a schema before any row is seen.
//   auto speed = Expression::parse("distance / (air_time / 60)", schema);
//   speed->evaluate(columns, begin, rows, scratch, out);
// Two kinds of value: numbers (doubles; booleans are 0 and 1; timestamps enter by functions such as
// hour(t)) and texts. Missing spreads: an operation with a missing operand is missing, but for
// and/or (three-valued), coalesce, if and is_missing. No result is infinite: it is missing instead.
// There are no loops and no calls out, so an expression ends after as many operations as it has
// nodes, at most kMostNodes a row. Immutable; evaluate() is thread-safe with a scratch per thread.
#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "data/table.h"

namespace slipway::features {

inline constexpr std::size_t kMostExpression = 4096;  // bytes of source
inline constexpr std::size_t kMostNodes = 512;
inline constexpr std::size_t kExpressionBlock = 256;  // rows at once

// The values of one node for a block of rows.
struct TextCell {
  std::string_view text;
  bool missing = true;
};

// What evaluate() works in: kept by the caller, who gives it to one call at a time.
class ExpressionScratch {
 public:
  std::span<double> numbers(std::size_t slot);
  std::span<TextCell> texts(std::size_t slot);
  std::string& keep();  // an empty text that lives until reset()
  void reset() { used_ = 0; }

 private:
  std::vector<std::array<double, kExpressionBlock>> numbers_;
  std::vector<std::array<TextCell, kExpressionBlock>> texts_;
  std::deque<std::string> kept_;
  std::size_t used_ = 0;
};

// A derived column's values for some rows, in the layout of a ColumnView.
struct DerivedValues {
  std::vector<double> numbers;
  std::string bytes;
  std::vector<std::int32_t> offsets;
  std::vector<std::uint8_t> validity;
  data::ColumnView view(data::Type type, std::int64_t rows) const;
};

enum class Op : std::uint8_t;

class Expression {
 public:
  // invalid_argument points at the column of the source where it stops making sense.
  static Result<Expression> parse(std::string_view source, const data::Schema& schema);

  const std::string& source() const { return source_; }
  data::Type type() const { return text_ ? data::Type::text : data::Type::float64; }
  const std::vector<std::size_t>& reads() const {
    return reads_;
  }  // fields of the schema, ascending
  // The same expression over a schema in which field i of the old one stands at place[i].
  Expression moved(std::span<const std::size_t> place) const;

  // Rows [begin, begin + rows) of `columns` (of the schema) into `out`, whose row 0 is `begin`.
  void evaluate(std::span<const data::ColumnView> columns, std::int64_t begin, std::size_t rows,
                ExpressionScratch& scratch, DerivedValues& out) const;

 private:
  friend class ExpressionParser;
  struct Node {
    Op op;
    bool text = false;                           // the kind of its value
    std::array<std::int32_t, 3> of{-1, -1, -1};  // operands: nodes before this one
    std::size_t column = 0;
    double number = 0;
    std::string constant;
    std::vector<std::int32_t> more;  // operands of functions with any number of them
  };
  void run(const Node& node, std::size_t slot, std::span<const data::ColumnView> columns,
           std::int64_t begin, std::size_t rows, ExpressionScratch& scratch) const;
  void run_text(const Node& node, std::size_t slot, std::span<const data::ColumnView> columns,
                std::int64_t begin, std::size_t rows, ExpressionScratch& scratch) const;
  std::string source_;
  bool text_ = false;
  std::vector<Node> nodes_;  // operands before what they are used by; the last is the result
  std::vector<std::size_t> reads_;
};

enum class Op : std::uint8_t {
  number,
  constant_text,
  column_number,
  column_text,
  column_time,  // only below functions of times: an integer column kept as it is
  // numbers
  add,
  subtract,
  multiply,
  divide,
  modulo,
  power,
  negate,
  less,
  less_equal,
  greater,
  greater_equal,
  equal,
  not_equal,
  logical_and,
  logical_or,
  logical_not,
  choose,
  coalesce,
  is_missing,
  abs,
  sqrt,
  exp,
  log,
  log1p,
  log2,
  log10,
  sin,
  cos,
  floor,
  ceil,
  round,
  sign,
  least,
  greatest,
  clip,
  seconds,  // since 1970, UTC
  hour,
  dow,
  day,
  month,
  year,
  // texts to numbers
  text_equal,
  text_not_equal,
  text_is_missing,
  length,
  starts_with,
  ends_with,
  contains,
  to_number,
  // to texts
  choose_text,
  coalesce_text,
  lower,
  upper,
  trim,
  concat,
  substring,
  cross,
  to_text,
};

}  // namespace slipway::features
