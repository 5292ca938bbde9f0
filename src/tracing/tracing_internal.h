// What the files of the trace store share: its parts, and reading whole rows.
#pragma once
#include <string>
#include <string_view>

#include "db/database.h"
#include "tracing/tracing.h"

namespace slipway::tracing {

struct Traces::Impl {
  db::Database& db;
  const Clock& clock;
  IdSource& ids;
  Limits limits;
};

struct Row {
  std::int64_t seq = 0;
  bool recorded = false;
  TraceInfo info;  // without tags, metadata and assessments, unless complete() was asked
};
Result<Row> load(db::Connection& connection, const std::string& id);
Result<void> complete(db::Connection& connection, Row& row);

// The first `most` characters, never half of one.
std::string cut(std::string_view utf8, std::size_t most);
Result<void> check_key(std::string_view what, std::string_view key, const Limits& limits);

// Writes a trace's assessment as it stands in `json`.
Result<void> write_assessment(db::Transaction& tx, std::int64_t seq, const Assessment& assessment);
// The message as the store keeps it: with its ids and times, and nothing that is too large.
Result<Assessment> new_assessment(const Limits& limits, const std::string& trace_id, Json json,
                                  Time now, std::string id);

}  // namespace slipway::tracing
