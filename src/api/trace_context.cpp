#include "api/trace_context.h"

#include <algorithm>

namespace slipway::api {

bool is_traceparent(std::string_view text) {
  constexpr std::size_t kLength = 55;
  if (text.size() < kLength) return false;
  // Later versions may add fields behind another dash.
  const bool first_version = text.starts_with("00");
  if (text.starts_with("ff") || (first_version && text.size() != kLength) ||
      (text.size() > kLength && text[kLength] != '-'))
    return false;
  for (std::size_t i = 0; i < kLength; ++i) {
    const bool dash = i == 2 || i == 35 || i == 52;
    const bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f');
    if (dash ? text[i] != '-' : !hex) return false;
  }
  const auto zeros = [](std::string_view part) {
    return std::ranges::all_of(part, [](char c) { return c == '0'; });
  };
  return !zeros(trace_id(text)) && !zeros(span_id(text));
}

}  // namespace slipway::api
