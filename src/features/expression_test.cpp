#include "features/expression_internal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "features/pipeline.h"
#include "support/odd_rows.h"
#include "support/support.h"

namespace slipway::features {
namespace {

using data::Type;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

data::Schema schema() {
  return {{{"a", Type::float64, true},
           {"b", Type::int64, true},
           {"yes", Type::boolean, true},
           {"s", Type::text, true},
           {"t", Type::timestamp, true},
           {"odd name", Type::float64, true}}};
}

// One row: a, b, yes, s, t, `odd name`; JSON null is missing.
class ExpressionTest : public ::testing::Test {
 protected:
  static Json evaluate(const std::string& source, const Json& row) {
    data::BatchBuilder builder(schema());
    for (std::size_t c = 0; c < 6; ++c) EXPECT_TRUE(ok(builder.append_json(c, row[c])));
    const auto expression = Expression::parse(source, schema());
    EXPECT_TRUE(ok(expression)) << source;
    if (!expression) return "failed";
    const auto batch = builder.batch();
    ExpressionScratch scratch;
    DerivedValues out;
    expression->evaluate(batch->columns, 0, 1, scratch, out);
    const auto view = out.view(expression->type(), 1);
    if (expression->type() == Type::text)
      return view.is_null(0) ? Json() : Json(std::string(view.text(0)));
    return std::isnan(view.real(0)) ? Json() : Json(view.real(0));
  }
};

TEST_F(ExpressionTest, ComputesWhatItSays) {
  const Json row = {2.5, 7, true, " Ünïted|1 ", "2013-03-10T17:45:00Z", -4.0};
  const std::vector<std::pair<std::string, Json>> rows = {
      {"a + b * 2", 16.5},
      {"(a + b) * 2", 19.0},
      {"-a ** 2", -6.25},
      {"2 ** 3 ** 2 + 0*a", 512.0},
      {"b % 4 - -b % 4", 2.0},  // the remainder has the divisor's sign
      {"a / 0", nullptr},
      {"log(`odd name`)", nullptr},
      {"sqrt(abs(`odd name`))", 2.0},
      {"exp(1000) * a", nullptr},
      {"a < b and yes", 1.0},
      {"not (a < b) or b == 7", 1.0},
      {"b in [1, 7, 9]", 1.0},
      {"b not in [1, 7, 9]", 0.0},
      {"if(yes, a, b)", 2.5},
      {"min(a, b, 1) + max(a, b)", 8.0},
      {"clip(b, 0, 5)", 5.0},
      {"round(a) + floor(a) + ceil(a) + sign(`odd name`)", 7.0},
      {"hour(t) * 100 + day(t)", 1710.0},
      {"year(t) + month(t) + dow(t)", 2022.0},
      {"seconds(t)", 1362937500.0},
      {"length(s)", 10.0},
      {"lower(trim(s))", "ünïted|1"},
      {"upper(s)", " ÜNÏTED|1 "},
      {"substring(trim(s), 2, 3)", "nït"},
      {"substring(s, 9)", "1 "},
      {"starts_with(s, ' Ü') + contains(s, 'ted') + ends_with(s, 'x')", 2.0},
      {"number(substring(s, 9)) + 1", 2.0},
      {"number(s)", nullptr},
      {"concat(s, '/', b)", " Ünïted|1 /7"},
      {"cross(trim(s), b, yes)", "Ünïted\\|1|7|1"},
      {"text(a)", "2.5"},
      {"if(s == ' Ünïted|1 ', 'x', s)", "x"},
      {"'it''s' != s", 1.0},
      {"1e3 + .5 + a", 1003.0},
  };
  for (const auto& [source, want] : rows) {
    SCOPED_TRACE(source);
    const Json got = evaluate(source, row);
    if (want.is_number()) {
      ASSERT_TRUE(got.is_number()) << got;
      EXPECT_DOUBLE_EQ(got.get<double>(), want.get<double>());
    } else {
      EXPECT_EQ(got, want);
    }
  }
}

TEST_F(ExpressionTest, SpreadsWhatIsMissing) {
  const Json row = {nullptr, 1, nullptr, nullptr, nullptr, 1.0};
  const std::vector<std::pair<std::string, Json>> rows = {
      {"a + b", nullptr},
      {"a == a", nullptr},
      {"a < 1 and b == 2", 0.0},
      {"a < 1 and b == 1", nullptr},
      {"a < 1 or b == 1", 1.0},
      {"coalesce(a, b)", 1.0},
      {"coalesce(s, 'none')", "none"},
      {"is_missing(a) + is_missing(s) + is_missing(b) + is_missing(t)", 3.0},
      {"if(yes, 1, 2) + b", nullptr},
      {"min(a, b)", nullptr},
      {"concat(s, b)", nullptr},
      {"if(b == 1, missing, b)", nullptr},
      {"hour(t)", nullptr},
      {"a ** 0", nullptr},
  };
  for (const auto& [source, want] : rows) {
    SCOPED_TRACE(source);
    EXPECT_EQ(evaluate(source, row), want);
  }
}

TEST_F(ExpressionTest, PointsAtWhereItStopsMakingSense) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"a + bb", "column 5: no column is called 'bb'"},
      {"distnce / 2", "column 1: no column"},
      {"a +", "the expression ends"},
      {"(a + b", "')' was expected"},
      {"a b", "column 3: 'b' does not belong here"},
      {"sqr(a)", "did you mean 'sqrt'?"},
      {"sqrt(a, b)", "takes 1 arguments, and there are 2"},
      {"a + s", "column 5: + takes numbers, and this is a text"},
      {"t + 1", "this is a timestamp"},
      {"t", "no feature as it stands"},
      {"s == 1", "compares a text with a number"},
      {"a < b < 3", "do not chain"},
      {"1 + 2", "reads no column"},
      {"a & b", "'&' means nothing here"},
      {"'open + a", "is never closed"},
      {"1e999 + a", "beyond what a double can hold"},
      {"12ab + a", "an operator is missing"},
      {"if(a, 1, s)", "both values of if"},
      {"hour(a)", "takes a column of timestamps"},
      {"ü + nö", "column 1"},
      {std::string(200, '(') + "a" + std::string(200, ')'), "nested too deeply"},
      {std::string(3000, '-') + "a", "nested too deeply"},
      {std::string(5000, 'a'), "4096 are the most"},
      {"a\xFF", "not UTF-8"},
      {"", "the expression ends"},
  };
  for (const auto& [source, message] : rows) {
    SCOPED_TRACE(source.substr(0, 60));
    EXPECT_THAT(message_of(Expression::parse(source, schema())), HasSubstr(message));
  }
  std::string sum = "a";
  for (int i = 0; i < 600; ++i) sum += "+a";
  EXPECT_THAT(message_of(Expression::parse(sum, schema())), HasSubstr("more than 512 parts"));
  // The caret stands under the place, whatever characters stand before it.
  EXPECT_THAT(message_of(Expression::parse("length('ü') + xx", schema())),
              HasSubstr("\n    length('ü') + xx\n                  ^"));
}

TEST_F(ExpressionTest, IsAColumnOfAPipelineLikeAnyOther) {
  const auto spec = PipelineSpec::from_json(*parse_json(R"json([
    {"expression": "dist / (1 + month)", "as": "pace", "apply": [{"impute": "median"}, "standardize"]},
    {"expression": "concat(lower(carrier), hour(when))", "as": "slot", "apply": [{"hash": 8}]},
    {"cross": ["carrier", "month"], "apply": [{"onehot": {"min_share": 0.02}}]},
    {"polynomial": {"columns": ["temp", "gust"], "degree": 2}, "apply": [{"impute": "mean"}, "standardize"]}])json"));
  ASSERT_TRUE(ok(spec));
  data::BatchBuilder train(test::odd_schema());
  Rng rng(3);
  test::append_odd_rows(train, rng, 3000, /*wild=*/false);
  EXPECT_THAT(*spec->reads(test::odd_schema()),
              ::testing::ElementsAre("temp", "dist", "carrier", "when", "gust", "month"));
  const auto pipeline = Pipeline::fit({}, *spec, *train.batch(), {});
  ASSERT_TRUE(ok(pipeline));
  EXPECT_THAT(pipeline->inputs().names(),
              ::testing::ElementsAre("temp", "dist", "carrier", "when", "gust", "month"));
  EXPECT_THAT(pipeline->outputs(),
              ::testing::IsSupersetOf({"pace", "slot.hash7", "temp^2", "temp*gust"}));
  const auto wrong =
      PipelineSpec::from_json(*parse_json(R"json([{"expression": "dist / mnth", "as": "x"}])json"));
  EXPECT_THAT(message_of(wrong->bind(test::odd_schema())), HasSubstr("did you mean 'month'?"));
}

}  // namespace
}  // namespace slipway::features
