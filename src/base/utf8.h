// Whether bytes are UTF-8 text (RFC 3629): no overlong forms, no surrogates, nothing above
// U+10FFFF.
#pragma once
#include <string>
#include <string_view>

namespace slipway {

bool is_utf8(std::string_view text);
// Appends one code point, which must be a scalar value.
void append_utf8(std::string& out, char32_t code);

}  // namespace slipway
