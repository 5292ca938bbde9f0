// OTLP's other encoding: the same messages as JSON, as OpenTelemetry's exporters in browsers and
// their "http/json" send them.
#pragma once
#include <string>
#include <string_view>

#include "base/result.h"

namespace slipway::tracing {

// The ExportTraceServiceRequest in protobuf's wire format, for read_otlp(), which checks it.
// Members that carry no span are left out.
Result<std::string> otlp_from_json(std::string_view text);

}  // namespace slipway::tracing
