#include "base/utf8.h"

#include <gtest/gtest.h>

#include "base/rng.h"

namespace slipway {
namespace {

TEST(Utf8, KnowsWhatIsWellFormed) {
  for (const std::string_view text : {"", "plain", "exactly8", "gr\xC3\xBC\xC3\x9F", "\xE2\x82\xAC",
                                      "\xF0\x9F\x9B\xA0", "\xED\x9F\xBF", "\xF4\x8F\xBF\xBF",
                                      ("12345678\xC3\xA9"
                                       "12345678")}) {
    EXPECT_TRUE(is_utf8(text)) << text;
  }
  for (const std::string_view text :
       {"\x80", "\xC3", "\xC0\xAF", "\xE0\x80\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xFF", "\xE2\x82", "12345678\xC3", "\xC3\x28"}) {
    EXPECT_FALSE(is_utf8(text));
  }
}

TEST(Utf8, WhatIsAppendedIsWellFormed) {
  Rng rng(8);
  std::string text;
  for (int i = 0; i < 20'000; ++i) {
    auto code = static_cast<char32_t>(rng.below(0x110000 - 0x800));
    if (code >= 0xD800) code += 0x800;
    text.clear();
    append_utf8(text, code);
    ASSERT_TRUE(is_utf8(text)) << static_cast<std::uint32_t>(code);
    text.pop_back();
    ASSERT_EQ(is_utf8(text), text.empty());
  }
}

}  // namespace
}  // namespace slipway
