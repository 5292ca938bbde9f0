// Any bytes as an expression: refused with a message, or evaluated within its bounds, with the same
// bits row by row as over the block.
#include "features/expression_internal.h"

#include <cstring>

#include "base/rng.h"
#include "support/odd_rows.h"

using namespace slipway;  // NOLINT: one file, one function

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const data::Schema schema = test::odd_schema();
  static const data::BatchBuilder rows = [] {
    data::BatchBuilder builder(schema);
    Rng rng(1);
    test::append_odd_rows(builder, rng, 300);
    return builder;
  }();
  const std::string_view source(reinterpret_cast<const char*>(data), size);
  const auto expression = features::Expression::parse(source, schema);
  if (!expression) {
    if (expression.error().message.empty()) std::abort();
    return 0;
  }
  const auto batch = rows.batch();
  features::ExpressionScratch scratch;
  features::DerivedValues whole;
  features::DerivedValues one;
  expression->evaluate(batch->columns, 0, 300, scratch, whole);
  const auto all = whole.view(expression->type(), 300);
  for (std::int64_t row : {0, 7, 255, 256, 299}) {
    expression->evaluate(batch->columns, row, 1, scratch, one);
    const auto alone = one.view(expression->type(), 1);
    if (expression->type() == data::Type::text) {
      if (alone.is_null(0) != all.is_null(row)) std::abort();
      if (!alone.is_null(0) && alone.text(0) != all.text(row)) std::abort();
    } else {
      const double a = alone.real(0);
      const double b = all.real(row);
      if (a != b && !(a != a && b != b)) std::abort();
    }
  }
  return 0;
}
