// Arrow types from elsewhere, brought to the five.
#include <arrow/api.h>
#include <gtest/gtest.h>

#include "data/arrow_internal.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::ok;

template <class Builder, class Value>
std::shared_ptr<arrow::Array> array_of(const std::vector<std::optional<Value>>& values,
                                       Builder&& builder = Builder()) {
  for (const auto& value : values) {
    EXPECT_TRUE((value ? builder.Append(*value) : builder.AppendNull()).ok());
  }
  return builder.Finish().ValueOrDie();
}

TablePtr table_with(const std::shared_ptr<arrow::Array>& array) {
  return arrow::Table::Make(arrow::schema({arrow::field("x", array->type())}), {array});
}

Columns brought(const std::shared_ptr<arrow::Array>& array) {
  auto columns = Columns::from_table(table_with(array));
  EXPECT_TRUE(ok(columns));
  return std::move(*columns);
}

TEST(Columns, BringsNarrowIntegersToInt64) {
  const auto columns = brought(array_of<arrow::Int16Builder, std::int16_t>({-3, std::nullopt, 7}));
  const auto view = columns.batch().columns[0];
  EXPECT_EQ(view.type, Type::int64);
  EXPECT_EQ(view.integer(0), -3);
  EXPECT_TRUE(view.is_null(1));
  EXPECT_EQ(view.integer(2), 7);
}

TEST(Columns, RefusesUnsignedIntegersThatDoNotFit) {
  const auto big = array_of<arrow::UInt64Builder, std::uint64_t>({1, ~std::uint64_t{0}});
  EXPECT_FALSE(Columns::from_table(table_with(big)));
}

TEST(Columns, BringsFloatsAndDecimalsToFloat64) {
  EXPECT_EQ(brought(array_of<arrow::FloatBuilder, float>({0.5F})).batch().columns[0].real(0), 0.5);
  auto decimals = array_of<arrow::Decimal128Builder, arrow::Decimal128>(
      {arrow::Decimal128(-1234)}, arrow::Decimal128Builder(arrow::decimal128(10, 2)));
  EXPECT_EQ(brought(decimals).batch().columns[0].real(0), -12.34);
}

TEST(Columns, BringsDatesAndTimesToMicroseconds) {
  constexpr std::int64_t kDay = 86'400'000'000;
  EXPECT_EQ(
      brought(array_of<arrow::Date32Builder, std::int32_t>({-2})).batch().columns[0].integer(0),
      -2 * kDay);
  const auto at = [](arrow::TimeUnit::type unit, std::int64_t value) {
    arrow::TimestampBuilder builder(arrow::timestamp(unit, "UTC"), arrow::default_memory_pool());
    EXPECT_TRUE(builder.Append(value).ok());
    return brought(builder.Finish().ValueOrDie()).batch().columns[0].integer(0);
  };
  EXPECT_EQ(at(arrow::TimeUnit::SECOND, 5), 5'000'000);
  EXPECT_EQ(at(arrow::TimeUnit::MILLI, -5), -5'000);
  EXPECT_EQ(at(arrow::TimeUnit::MICRO, 5), 5);
  EXPECT_EQ(at(arrow::TimeUnit::NANO, 1'999), 1);
  EXPECT_EQ(at(arrow::TimeUnit::NANO, -1), -1) << "rounds towards the past";
}

TEST(Columns, BringsEveryKindOfTextToText) {
  using Texts = std::vector<std::optional<std::string>>;
  const Texts texts = {"UA", std::nullopt, "a text too long for the short form of a view"};
  for (const auto& array : {array_of<arrow::LargeStringBuilder, std::string>(texts),
                            array_of<arrow::StringViewBuilder, std::string>(texts)}) {
    const auto columns = brought(array);
    EXPECT_EQ(columns.batch().columns[0].text(0), "UA");
    EXPECT_TRUE(columns.batch().columns[0].is_null(1));
    EXPECT_EQ(columns.batch().columns[0].text(2), *texts[2]);
  }
  arrow::StringDictionary32Builder coded;
  for (const auto* text : {"UA", "AA", "UA"}) ASSERT_TRUE(coded.Append(text).ok());
  ASSERT_TRUE(coded.AppendNull().ok());
  const auto columns = brought(coded.Finish().ValueOrDie());
  EXPECT_EQ(columns.batch().columns[0].text(2), "UA");
  EXPECT_TRUE(columns.batch().columns[0].is_null(3));
  EXPECT_TRUE(brought(std::make_shared<arrow::NullArray>(2)).batch().columns[0].is_null(1));
}

TEST(Columns, ReadsSlicesOfArrays) {
  const auto whole = array_of<arrow::StringBuilder, std::string>({"a", "b", std::nullopt, "d"});
  const auto columns = brought(whole->Slice(1, 3));
  const auto view = columns.batch().columns[0];
  EXPECT_EQ(view.text(0), "b");
  EXPECT_TRUE(view.is_null(1));
  EXPECT_EQ(view.text(2), "d");
}

TEST(Columns, NamesTheColumnOfATypeItCannotTake) {
  const auto binary = array_of<arrow::BinaryBuilder, std::string>({"\x01"});
  const auto refused = Columns::from_table(table_with(binary));
  EXPECT_TRUE(failed_with(refused, Code::invalid_argument));
  EXPECT_NE(test::message_of(refused).find("'x'"), std::string::npos);
}

TEST(PlainTable, DropsTimeZonesSoThatEqualTimesHaveEqualTypes) {
  arrow::TimestampBuilder builder(arrow::timestamp(arrow::TimeUnit::MICRO, "UTC"),
                                  arrow::default_memory_pool());
  ASSERT_TRUE(builder.Append(5).ok());
  const auto plain = plain_table(table_with(builder.Finish().ValueOrDie()));
  ASSERT_TRUE(ok(plain));
  EXPECT_TRUE((*plain)->schema()->field(0)->type()->Equals(*arrow_type(Type::timestamp)));
}

}  // namespace
}  // namespace slipway::data
