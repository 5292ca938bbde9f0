#include <gtest/gtest.h>

#include <cmath>

#include "api/json_cursor_internal.h"
#include "base/json.h"
#include "base/rng.h"

namespace slipway::api {
namespace {

// The value at the cursor, for comparison with the other parser.
Json value_at(JsonCursor& json) {
  switch (json.kind()) {
    case JsonCursor::Kind::object: {
      Json object = Json::object();
      json.begin_object();
      for (std::string_view key; json.next_key(key);) {
        const std::string name(key);
        object[name] = value_at(json);
      }
      return object;
    }
    case JsonCursor::Kind::array: {
      Json array = Json::array();
      json.begin_array();
      while (json.next_item()) array.push_back(value_at(json));
      return array;
    }
    case JsonCursor::Kind::string: {
      std::string_view text;
      json.read_string(text);
      return text;
    }
    case JsonCursor::Kind::number: {
      JsonCursor::Number number;
      json.read_number(number);
      if (number.is_integer) return number.integer;
      return number.real;
    }
    case JsonCursor::Kind::boolean: {
      bool value = false;
      json.read_boolean(value);
      return value;
    }
    case JsonCursor::Kind::null:
      json.read_null();
      return nullptr;
    case JsonCursor::Kind::none:
      break;
  }
  return nullptr;
}

TEST(JsonCursor, ReadsWhatTheOtherParserReads) {
  for (const std::string text : {
           R"({"a":[1,-2,3.5,1e3,-0.25E-2,true,false,null,"x"],"b":{"c":{}},"d":[[],[[]]],"":""})",
           R"( [ 1 , { "k" : [ ] } , "" ] )",
           R"("\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\udee0 gr)"
           "\xC3\xBC"
           R"(\n")",
           "0",
           "-0",
           "9223372036854775807",
           "-9223372036854775808",
           "9223372036854775808.0",
           "0.1",
           "1e-7",
           "123456789012345678901234567890.0",
           "[\t1\r\n]",
           "1e-999",
       }) {
    SCOPED_TRACE(text);
    JsonCursor json(text, 32);
    const Json value = value_at(json);
    ASSERT_TRUE(json.finish()) << json.error().message;
    EXPECT_EQ(value, Json::parse(text));
    JsonCursor skipping(text, 32);
    EXPECT_TRUE(skipping.skip() && skipping.finish());
  }
  JsonCursor large("18446744073709551616", 1);
  JsonCursor::Number number;
  ASSERT_TRUE(large.read_number(number));
  EXPECT_FALSE(number.is_integer);
  EXPECT_EQ(number.real, std::ldexp(1, 64));
}

TEST(JsonCursor, RefusesWhatIsNoJson) {
  for (const std::string text : {"",
                                 " ",
                                 "{",
                                 "[",
                                 "]",
                                 "[1",
                                 "[1,",
                                 "[1,]",
                                 "[,1]",
                                 "{\"a\"}",
                                 "{\"a\":}",
                                 "{\"a\":1,}",
                                 "{a:1}",
                                 "{\"a\":1 \"b\":2}",
                                 "[1 2]",
                                 "01",
                                 "-",
                                 "1.",
                                 ".5",
                                 "1e",
                                 "1e+",
                                 "+1",
                                 "--1",
                                 "0x1",
                                 "NaN",
                                 "Infinity",
                                 "nul",
                                 "tru",
                                 "falsch",
                                 "\"",
                                 "\"\\x\"",
                                 "\"\\u12\"",
                                 "\"\\ud800\"",
                                 "\"\\ud800\\u0041\"",
                                 "\"\\udc00\"",
                                 "\"\n\"",
                                 "\"\xFF\"",
                                 "\"\xC3\"",
                                 "\"a\\n\xED\xA0\x80\"",
                                 "'a'",
                                 "1 1",
                                 "{} x",
                                 "1e999",
                                 "[[1]",
                                 "{\"a\":[}",
                                 "\xEF\xBB\xBF{}"}) {
    SCOPED_TRACE(text);
    JsonCursor json(text, 32);
    EXPECT_FALSE(json.skip() && json.finish());
    EXPECT_FALSE(json.ok());
  }
}

TEST(JsonCursor, StopsAtTheDepthItWasGiven) {
  const auto nested = [](std::size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  const std::string fits = nested(32);
  const std::string deeper = nested(33);
  const std::string endless(1'000'000, '[');
  EXPECT_TRUE(JsonCursor(fits, 32).skip());
  EXPECT_FALSE(JsonCursor(deeper, 32).skip());
  EXPECT_FALSE(JsonCursor(endless, 32).skip());
}

TEST(JsonCursor, DoublesComeBackToTheBit) {
  Rng rng(3);
  for (int i = 0; i < 20'000; ++i) {
    std::uint64_t bits = rng();
    double value = 0;
    std::memcpy(&value, &bits, sizeof value);
    if (!std::isfinite(value)) continue;
    const std::string text = fmt::format("{}", value);
    JsonCursor json(text, 1);
    JsonCursor::Number number;
    ASSERT_TRUE(json.read_number(number)) << text;
    ASSERT_EQ(number.real, value) << text;
  }
}

// Damaged texts: never a crash, and the same verdict as the other parser's.
TEST(JsonCursor, AgreesWithTheOtherParserOnDamagedTexts) {
  const std::string whole =
      R"({"id":"a\u00e9\n","inputs":[{"name":"x","shape":[2,1],"data":[[1.5e3],[null]]},{"b":true,"c":-0.0}],"z":"\ud83d\udee0"})";
  Rng rng(4);
  for (int i = 0; i < 50'000; ++i) {
    std::string text = whole;
    for (std::uint64_t edits = 1 + rng.below(3); edits > 0; --edits) {
      const std::size_t at = rng.below(text.size());
      switch (rng.below(3)) {
        case 0:
          text[at] = static_cast<char>(rng.below(256));
          break;
        case 1:
          text.erase(at, 1 + rng.below(4));
          break;
        default:
          text.insert(at, 1, "{}[]\",:0-9eE.\\untf "[rng.below(19)]);
      }
      if (text.empty()) break;
    }
    JsonCursor json(text, 32);
    const bool mine = json.skip() && json.finish();
    const Json other = Json::parse(text, nullptr, false);
    ASSERT_EQ(mine, !other.is_discarded()) << text;
  }
}

}  // namespace
}  // namespace slipway::api
