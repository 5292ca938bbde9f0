#include "data/knowledge.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using namespace std::chrono_literals;

constexpr const char* kFlights = R"(
known:
  decision: -1h
  columns: {carrier: -30d, temp: -1h, dep_delay: 0m, arr_delay: label}
)";

Knowledge flights() {
  const auto doc = SpecDocument::parse(kFlights, "p.yaml");
  EXPECT_TRUE(ok(doc));
  SpecReader reader(*doc);
  auto knowledge = Knowledge::read(reader, "known");
  EXPECT_TRUE(ok(reader.finish()));
  return knowledge;
}

TEST(Knowledge, LetsFeaturesPassThatAreKnownAtTheDecision) {
  EXPECT_TRUE(ok(flights().check_features({"carrier", "temp", "not_declared"})));
}

TEST(Knowledge, NamesEveryFeatureFromTheFuture) {
  const auto checked = flights().check_features({"carrier", "dep_delay", "arr_delay"});
  EXPECT_TRUE(failed_with(checked, Code::invalid_argument));
  const auto message = message_of(checked);
  EXPECT_NE(message.find("'dep_delay' becomes known at the event time"), std::string::npos)
      << message;
  EXPECT_NE(message.find("'arr_delay' becomes known with the label"), std::string::npos) << message;
  EXPECT_NE(message.find("before the event time"), std::string::npos) << message;
  EXPECT_EQ(message.find("carrier"), std::string::npos) << message;
}

TEST(Knowledge, TakesTheDefaultForOtherColumns) {
  auto knowledge = flights();
  knowledge.otherwise = 5min;
  EXPECT_TRUE(failed_with(knowledge.check_features({"not_declared"}), Code::invalid_argument));
}

TEST(Knowledge, ComplainsOfColumnsThatDoNotExist) {
  const Schema schema{{{"carrier", Type::text},
                       {"temp", Type::float64},
                       {"dep_dely", Type::int64},
                       {"arr_delay", Type::int64}}};
  const auto checked = flights().check_schema(schema);
  EXPECT_TRUE(failed_with(checked, Code::invalid_argument));
  EXPECT_NE(message_of(checked).find("did you mean 'dep_dely'"), std::string::npos);
}

TEST(Knowledge, DeclaresNothingWhenItIsMissing) {
  const auto doc = SpecDocument::parse("a: 1\n", "p.yaml");
  SpecReader reader(*doc);
  EXPECT_TRUE(ok(Knowledge::read(reader, "known").check_features({"a", "b"})));
}

TEST(ParseOffset, ReadsSignedDurations) {
  const std::pair<const char*, Duration> rows[] = {{"-1h", -1h}, {"+30m", 30min}, {"2d", 48h},
                                                   {"0m", 0h},   {"0", 0h},       {"-1d12h", -36h}};
  for (const auto& [text, want] : rows) {
    const auto offset = parse_offset(text);
    ASSERT_TRUE(ok(offset)) << text;
    EXPECT_EQ(*offset, want) << text;
  }
  for (const char* text : {"", "-", "1", "--1h", "soon"}) EXPECT_FALSE(parse_offset(text)) << text;
}

}  // namespace
}  // namespace slipway::data
