#include "api/json_writer_internal.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>

#include "base/json.h"

namespace slipway::api {
namespace {

std::string text_of(std::string_view text) {
  std::string out;
  JsonWriter(out).text(text);
  return out;
}
std::string number_of(double value) {
  std::string out;
  JsonWriter(out).number(value);
  return out;
}

TEST(JsonWriter, PutsCommasWhereTheyBelong) {
  std::string out;
  JsonWriter json(out);
  json.begin('{').name("a").begin('[').number(std::int64_t{-1}).text("[").begin('{').end('}');
  json.end(']').name("b").flag(true).name("c").begin('[').end(']').end('}');
  EXPECT_EQ(out, R"({"a":[-1,"[",{}],"b":true,"c":[]})");
}

TEST(JsonWriter, TextsReadBackAsTheyWere) {
  std::mt19937 random(5);
  const std::string_view pieces[] = {"\"", "\\", "\n",     "\t",   "\x01",
                                     "ä",  "𝛼",  "plain ", "\x7f", "/"};
  for (int round = 0; round < 500; ++round) {
    std::string text;
    for (int i = static_cast<int>(random() % 12); i > 0; --i) text += pieces[random() % 10];
    EXPECT_EQ(Json::parse(text_of(text)).get<std::string>(), text);
  }
  EXPECT_EQ(Json::parse(text_of("a\xff")).get<std::string>(), "a\xEF\xBF\xBD");
}

TEST(JsonWriter, NumbersReadBackToTheLastBit) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 5000; ++round) {
    const double value = std::bit_cast<double>(random());
    if (!std::isfinite(value)) continue;
    const Json back = Json::parse(number_of(value));
    EXPECT_TRUE(back.is_number_float()) << number_of(value);
    EXPECT_EQ(back.get<double>(), value);
  }
  EXPECT_EQ(number_of(3), "3.0");
  EXPECT_EQ(number_of(std::nan("")), R"("NaN")");
  EXPECT_EQ(number_of(-INFINITY), R"("-Infinity")");
}

}  // namespace
}  // namespace slipway::api
