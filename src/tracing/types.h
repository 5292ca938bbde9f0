// What the trace store keeps, in the terms of MLflow 3 and OpenTelemetry. Values do not change
// after construction.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "tracking/types.h"

namespace slipway::tracing {

using Tags = std::map<std::string, std::string>;

inline constexpr std::string_view kNameTag = "mlflow.traceName";
inline constexpr std::string_view kSpansLocationTag = "mlflow.trace.spansLocation";
inline constexpr std::string_view kArtifactLocationTag = "mlflow.artifactLocation";
inline constexpr std::string_view kPromptsTag = "mlflow.linkedPrompts";
inline constexpr std::string_view kSourceRun = "mlflow.sourceRun";        // metadata
inline constexpr std::string_view kSizeStats = "mlflow.trace.sizeStats";  // metadata, JSON

// A span as OTLP has it. `json` is the whole of it, in protobuf's JSON form with the field names of
// opentelemetry-proto ("start_time_unix_nano").
struct Span {
  std::string trace_id;   // 32 hexadecimal characters
  std::string span_id;    // 16
  std::string parent_id;  // empty: the root
  std::string name;
  std::string type;    // MLflow's: "LLM", "UNKNOWN" …
  std::string status;  // "UNSET", "OK", "ERROR"
  std::int64_t start_ns = 0;
  std::int64_t end_ns = 0;      // 0: not over
  std::string inputs, outputs;  // as they may be shown; empty when not said
  Json json;
};

// What somebody, or a program, said about a trace: feedback, an expectation, or an issue. `json` is
// MLflow's Assessment message; ids and times in it are the store's.
struct Assessment {
  std::string id;  // "a-" and 32 hexadecimal characters
  Json json;
};

struct TraceInfo {
  std::string id;  // "tr-" and the trace id in hexadecimal
  tracking::ExperimentId experiment;
  std::string client_request_id;
  std::string request_preview, response_preview;
  std::int64_t start_ms = 0;
  std::optional<std::int64_t> duration_ms;
  std::string state = "IN_PROGRESS";  // or OK, ERROR, STATE_UNSPECIFIED
  Tags metadata;                      // of whoever traced; does not change
  Tags tags;
  std::vector<Assessment> assessments;  // oldest first
};

struct Trace {
  TraceInfo info;
  std::vector<Json> spans;  // Span::json, the root first, then by start
};

}  // namespace slipway::tracing
