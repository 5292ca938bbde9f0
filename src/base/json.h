// JSON: nlohmann's type under our name, and parsing that returns an error with a place instead of
// throwing.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway {

using Json = nlohmann::json;  // objects are sorted by key: dump() of equal values is equal text

// Depth is capped at 200; `what` names the text in the message.
Result<Json> parse_json(std::string_view text, std::string_view what = "JSON");
// Sorted keys, no spaces, shortest round-trip numbers: the form that is hashed and signed (RFC 8785
// for the values we use).
std::string canonical(const Json& value);
// Doubles as JSON allows them: NaN and infinities become null.
Json json_number(double value);

}  // namespace slipway
