// W3C Trace Context (https://www.w3.org/TR/trace-context/): the header traceparent,
// "00-<32 hex digits: trace>-<16 hex digits: span>-<2 hex digits: flags>".
#pragma once
#include <string>
#include <string_view>

namespace slipway::api {

// Whether it is well-formed: lower case, neither trace nor span all zeros, not version ff.
bool is_traceparent(std::string_view text);
inline std::string_view trace_id(std::string_view traceparent) { return traceparent.substr(3, 32); }
inline std::string_view span_id(std::string_view traceparent) { return traceparent.substr(36, 16); }
inline bool is_sampled(std::string_view traceparent) {
  const char low = traceparent[54];
  return ((low <= '9' ? low - '0' : low - 'a' + 10) & 1) != 0;
}

}  // namespace slipway::api
