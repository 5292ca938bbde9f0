// Reading of files that may be hostile into JSON values, with limits on depth and size.
#pragma once
#include <string_view>

#include "base/json.h"
#include "base/result.h"

namespace slipway::models {

// JSON when the text begins like it, else UBJSON (https://ubjson.org, draft 12; XGBoost's default
// form). A value of n bytes has at most 2 n + 16 parts and is at most 64 deep, so memory stays a
// small multiple of n.
Result<Json> read_json_or_ubjson(std::string_view bytes);

}  // namespace slipway::models
