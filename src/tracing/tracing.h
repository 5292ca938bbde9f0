// Traces: what a program did for one request, as a tree of spans, with tags, and with what people
// said about it. Spans come by OpenTelemetry's protocol as they end, the trace's own record by
// MLflow's when its root ends; either may be first.
//   auto spans = read_otlp(body);
//   auto logged = traces.log_spans(experiment, *spans);
//   auto page = traces.search({.experiments = {experiment}, .filter = "trace.status = 'ERROR'"});
// Spans and records may be sent again: the last one counts. Thread-safe. Calls block on the
// database: make them from the worker pool. A call that fails has changed nothing.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/ids.h"
#include "base/result.h"
#include "tracing/types.h"

namespace slipway::db {
class Database;
class Transaction;
}  // namespace slipway::db

namespace slipway::tracing {

struct Limits {
  std::size_t spans_per_call = 10'000;
  std::int64_t spans_per_trace = 50'000;
  std::size_t key_characters = 250;
  std::size_t value_characters =
      8000;  // of tags and metadata: longer values are cut, as MLflow does
  std::size_t preview_characters = 10'000;  // likewise
  std::size_t assessment_bytes = 100'000;
  std::int64_t assessments_per_trace = 1000;
  std::int64_t page = 500;
  std::size_t ids_per_call = 1000;
};

// The spans of an ExportTraceServiceRequest (opentelemetry-proto v1: collector/trace/v1 and
// trace/v1), in their order. invalid_argument when the bytes are something else.
Result<std::vector<Span>> read_otlp(std::string_view message, std::size_t most_spans = 10'000);

// filter: attributes (status, timestamp_ms, execution_time_ms, end_time_ms, request_id,
// client_request_id, name, run_id, prompt, text; also with "trace." or "attributes."), tags.<key>,
// metadata.<key>, span.name|type|status|content|attributes.<key>, feedback.<name>,
// expectation.<name>, issue.id.
struct Search {
  std::vector<tracking::ExperimentId> experiments;
  std::string filter;
  std::vector<std::string> order_by;  // ties: newest first
  std::int64_t max_results = 100;
  std::string page;
};

struct Deletion {
  tracking::ExperimentId experiment;
  std::vector<std::string> ids;          // these; or
  std::optional<std::int64_t> until_ms;  // what began then or before, oldest first
  std::optional<std::int64_t> most;
};

struct PromptVersion {
  std::string name, version;
};

// Removes every trace of an experiment that goes for good, in the transaction in which it does.
Result<void> purge(db::Transaction& tx, tracking::ExperimentId experiment);

class Traces {
 public:
  // All outlive the store. Experiments are tracking's: who calls has looked them up.
  static Result<std::unique_ptr<Traces>> open(db::Database& db, const Clock& clock, IdSource& ids,
                                              const Limits& limits = {});
  ~Traces();

  // Makes the traces that are not known yet. run_id, when given, is noted as their source run.
  Result<void> log_spans(tracking::ExperimentId experiment, std::span<const Span> spans,
                         const std::string& run_id = {});
  // The trace's own record; spans that were logged stay.
  Result<TraceInfo> put(const TraceInfo& info, const std::string& artifact_location);
  Result<TraceInfo> info(const std::string& id) const;
  Result<tracking::ExperimentId> experiment_of(const std::string& id) const;
  // not_found while fewer spans have come than the record says, unless partial.
  Result<Trace> trace(const std::string& id, bool partial = false) const;
  // In the order of the ids; what is unknown or not complete is left out.
  Result<std::vector<Trace>> traces(std::span<const std::string> ids) const;
  Result<std::vector<TraceInfo>> infos(std::span<const std::string> ids) const;
  Result<tracking::Page<TraceInfo>> search(const Search& search) const;

  Result<void> set_tag(const std::string& id, const std::string& key, const std::string& value);
  Result<void> delete_tag(const std::string& id, const std::string& key);
  Result<std::int64_t> remove(const Deletion& deletion);  // how many
  Result<void> link_to_run(std::span<const std::string> ids, const std::string& run_id);
  Result<void> link_prompts(const std::string& id, std::span<const PromptVersion> prompts);

  // `json` is MLflow's Assessment message. One that `overrides` another makes that one not valid.
  Result<Assessment> create_assessment(const std::string& trace_id, const Json& json);
  Result<Assessment> assessment(const std::string& trace_id, const std::string& id) const;
  // Replaces the members `fields` names; metadata is merged.
  Result<Assessment> update_assessment(const std::string& trace_id, const std::string& id,
                                       const Json& json, std::span<const std::string> fields);
  Result<void> delete_assessment(const std::string& trace_id, const std::string& id);

 private:
  struct Impl;
  explicit Traces(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace slipway::tracing
