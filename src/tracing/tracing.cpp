#include "tracing/tracing.h"

#include <algorithm>

#include "tracing/migrations.h"
#include "tracing/queries.h"
#include "tracing/tracing_internal.h"

namespace slipway::tracing {
namespace {

std::string id_of(const Span& span) { return "tr-" + span.trace_id; }

// What the spans of one call say about one trace.
struct Gathered {
  std::vector<const Span*> spans;
  const Span* root = nullptr;
  std::int64_t start_ns = 0, end_ns = 0;
};

std::map<std::string, Gathered> by_trace(std::span<const Span> spans) {
  std::map<std::string, Gathered> traces;
  for (const auto& span : spans) {
    auto& trace = traces[id_of(span)];
    if (trace.spans.empty() || span.start_ns < trace.start_ns) trace.start_ns = span.start_ns;
    trace.end_ns = std::max(trace.end_ns, span.end_ns);
    if (span.parent_id.empty()) trace.root = &span;
    trace.spans.push_back(&span);
  }
  return traces;
}

// What spans can tell of a trace whose own record has not come.
void describe(TraceInfo& info, const Gathered& from, bool known, const Limits& limits) {
  const std::int64_t start_ms = from.start_ns / 1'000'000;
  const std::int64_t end_ms =
      std::max(from.end_ns / 1'000'000, known ? info.start_ms + info.duration_ms.value_or(0) : 0);
  info.start_ms = known ? std::min(info.start_ms, start_ms) : start_ms;
  if (from.end_ns > 0 || info.duration_ms)
    info.duration_ms = std::max<std::int64_t>(end_ms - info.start_ms, 0);
  if (from.root == nullptr || from.root->end_ns == 0) return;
  info.state = from.root->status == "ERROR" ? "ERROR" : "OK";
  info.request_preview = cut(from.root->inputs, limits.preview_characters);
  info.response_preview = cut(from.root->outputs, limits.preview_characters);
}

Result<void> write_row(db::Transaction& tx, const Row& row) {
  const auto& info = row.info;
  return tx.run(sql::update_trace, row.seq, info.client_request_id, info.request_preview,
                info.response_preview, info.start_ms, info.duration_ms, info.state, row.recorded);
}

// The row of a trace, made when it is not there.
Result<Row> find_or_make(db::Transaction& tx, const TraceInfo& info, bool& known) {
  auto row = load(tx, info.id);
  known = static_cast<bool>(row);
  if (known || row.error().code != Code::not_found) return row;
  auto inserted = tx.run(sql::insert_trace, info.id, info.experiment.value, info.client_request_id,
                         info.request_preview, info.response_preview, info.start_ms,
                         info.duration_ms, info.state, false);
  if (!inserted) return inserted.error();
  return Row{.seq = tx.last_row_id(), .recorded = false, .info = info};
}

Result<std::int64_t> count(db::Connection& connection, std::string_view statement,
                           std::int64_t seq) {
  auto rows = connection.query(statement, seq);
  if (!rows) return rows.error();
  if (rows->next()) return rows->integer(0);
  if (auto status = rows->status(); !status) return status.error();
  return 0;
}

Result<void> check_experiment(const Row& row, tracking::ExperimentId experiment) {
  if (row.info.experiment == experiment) return {};
  return failed_precondition(fmt::format("trace '{}' belongs to experiment {}, not {}", row.info.id,
                                         row.info.experiment.value, experiment.value));
}

// How many spans the trace's record says there are; 0: it does not say.
std::int64_t spans_said(const TraceInfo& info) {
  const auto stats = info.metadata.find(std::string(kSizeStats));
  if (stats == info.metadata.end()) return 0;
  const auto json = Json::parse(stats->second, nullptr, false);
  if (!json.is_object() || !json.contains("num_spans")) return 0;
  return json["num_spans"].is_number_integer() ? json["num_spans"].get<std::int64_t>() : 0;
}

Result<std::vector<Json>> load_spans(db::Connection& connection, std::int64_t seq) {
  auto rows = connection.query(sql::spans, seq);
  if (!rows) return rows.error();
  std::vector<Json> spans;
  while (rows->next()) spans.push_back(Json::parse(rows->view(0), nullptr, false));
  if (auto status = rows->status(); !status) return status.error();
  return spans;
}

Result<void> check_many(std::size_t size, const Limits& limits) {
  if (size <= limits.ids_per_call) return {};
  return invalid_argument(
      fmt::format("one call names at most {} traces, this one {}", limits.ids_per_call, size));
}

}  // namespace

std::string cut(std::string_view utf8, std::size_t most) {
  std::size_t characters = 0;
  for (std::size_t i = 0; i < utf8.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(utf8[i]) & 0xC0) != 0x80;
    if (begins && characters++ == most) return std::string(utf8.substr(0, i));
  }
  return std::string(utf8);
}

Result<void> check_key(std::string_view what, std::string_view key, const Limits& limits) {
  const auto control = [](unsigned char c) { return c < 0x20 || c == 0x7f; };
  if (!key.empty() && cut(key, limits.key_characters).size() == key.size() &&
      std::ranges::none_of(key, control)) {
    return {};
  }
  return invalid_argument(
      fmt::format("the key '{}' of a trace's {} has to have 1 to {} characters, none of them "
                  "control characters",
                  cut(key, 60), what, limits.key_characters));
}

Result<Row> load(db::Connection& connection, const std::string& id) {
  auto rows = connection.query(sql::find_trace, id);
  if (!rows) return rows.error();
  if (!rows->next()) {
    if (auto status = rows->status(); !status) return status.error();
    return not_found(fmt::format("Trace with ID '{}' not found", cut(id, 100)));
  }
  return Row{.seq = rows->integer(0),
             .recorded = rows->integer(9) != 0,
             .info = {.id = rows->text(1),
                      .experiment = tracking::ExperimentId{rows->integer(2)},
                      .client_request_id = rows->text(3),
                      .request_preview = rows->text(4),
                      .response_preview = rows->text(5),
                      .start_ms = rows->integer(6),
                      .duration_ms = rows->maybe_integer(7),
                      .state = rows->text(8)}};
}

Result<void> complete(db::Connection& connection, Row& row) {
  auto tags = connection.query(sql::tags, row.seq);
  if (!tags) return tags.error();
  while (tags->next()) row.info.tags[tags->text(0)] = tags->text(1);
  if (auto status = tags->status(); !status) return status;
  auto metadata = connection.query(sql::metadata, row.seq);
  if (!metadata) return metadata.error();
  while (metadata->next()) row.info.metadata[metadata->text(0)] = metadata->text(1);
  if (auto status = metadata->status(); !status) return status;
  auto assessments = connection.query(sql::assessments, row.seq);
  if (!assessments) return assessments.error();
  while (assessments->next()) {
    row.info.assessments.push_back(
        {assessments->text(0), Json::parse(assessments->view(1), nullptr, false)});
  }
  return assessments->status();
}

Traces::Traces(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Traces::~Traces() = default;

Result<std::unique_ptr<Traces>> Traces::open(db::Database& db, const Clock& clock, IdSource& ids,
                                             const Limits& limits) {
  if (auto migrated = db.migrate("tracing", kMigrations); !migrated) return migrated.error();
  return std::unique_ptr<Traces>(new Traces(std::make_unique<Impl>(Impl{db, clock, ids, limits})));
}

Result<void> Traces::log_spans(tracking::ExperimentId experiment, std::span<const Span> spans,
                               const std::string& run_id) {
  const auto& limits = impl_->limits;
  if (spans.size() > limits.spans_per_call) {
    return resource_exhausted(
        fmt::format("one call carries at most {} spans", limits.spans_per_call));
  }
  const auto traces = by_trace(spans);
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    for (const auto& [id, gathered] : traces) {
      TraceInfo fresh{.id = id, .experiment = experiment};
      describe(fresh, gathered, false, limits);
      bool known = false;
      auto row = find_or_make(tx, fresh, known);
      if (!row) return row.error();
      if (auto same = check_experiment(*row, experiment); !same) return same;
      if (known && !row->recorded) {
        describe(row->info, gathered, true, limits);
        if (auto put = write_row(tx, *row); !put) return put;
      }
      auto set = tx.run(sql::upsert_tag, row->seq, kSpansLocationTag, "TRACKING_STORE");
      if (!set) return set;
      if (!row->recorded && gathered.root != nullptr) {
        auto named = tx.run(sql::upsert_tag, row->seq, kNameTag,
                            cut(gathered.root->name, limits.key_characters));
        if (!named) return named;
      }
      if (!run_id.empty()) {
        auto noted = tx.run(sql::upsert_metadata, row->seq, kSourceRun, run_id);
        if (!noted) return noted;
      }
      for (const Span* span : gathered.spans) {
        auto put = tx.run(sql::upsert_span, row->seq, span->span_id, span->parent_id, span->name,
                          span->type, span->status, span->start_ns, span->end_ns,
                          span->json.dump(-1, ' ', false, Json::error_handler_t::replace));
        if (!put) return put;
      }
      const auto total = count(tx, sql::count_spans, row->seq);
      if (!total) return total.error();
      if (*total > limits.spans_per_trace) {
        return resource_exhausted(
            fmt::format("trace '{}' has {} spans, at most {}", id, *total, limits.spans_per_trace));
      }
    }
    return {};
  });
}

Result<TraceInfo> Traces::put(const TraceInfo& info, const std::string& artifact_location) {
  const auto& limits = impl_->limits;
  if (!info.id.starts_with("tr-") || info.id.size() > 50) {
    return invalid_argument(fmt::format(
        "a trace id is 'tr-' and 32 hexadecimal characters, found '{}'", cut(info.id, 60)));
  }
  for (const auto& [key, value] : info.tags) {
    if (auto checked = check_key("tag", key, limits); !checked) return checked.error();
  }
  for (const auto& [key, value] : info.metadata) {
    if (auto checked = check_key("metadata", key, limits); !checked) return checked.error();
  }
  std::vector<Assessment> assessments;
  for (const auto& [id, json] : info.assessments) {
    auto made = new_assessment(limits, info.id, json, impl_->clock.now(),
                               id.empty() ? "a-" + impl_->ids.next() : id);
    if (!made) return made.error();
    assessments.push_back(std::move(*made));
  }
  return impl_->db.write([&](db::Transaction& tx) -> Result<TraceInfo> {
    bool known = false;
    auto row = find_or_make(tx, info, known);
    if (!row) return row.error();
    if (auto same = check_experiment(*row, info.experiment); !same) return same.error();
    row->recorded = true;
    row->info.client_request_id = info.client_request_id;
    row->info.request_preview = cut(info.request_preview, limits.preview_characters);
    row->info.response_preview = cut(info.response_preview, limits.preview_characters);
    row->info.start_ms = info.start_ms;
    row->info.duration_ms = info.duration_ms;
    row->info.state = info.state;
    if (auto put = write_row(tx, *row); !put) return put.error();
    for (const auto& [key, value] : info.tags) {
      if (key == kSpansLocationTag) continue;  // the store knows where the spans are
      auto set = tx.run(sql::upsert_tag, row->seq, key, cut(value, limits.value_characters));
      if (!set) return set.error();
    }
    if (!artifact_location.empty()) {
      auto set = tx.run(sql::upsert_tag, row->seq, kArtifactLocationTag, artifact_location);
      if (!set) return set.error();
    }
    for (const auto& [key, value] : info.metadata) {
      auto set = tx.run(sql::upsert_metadata, row->seq, key, cut(value, limits.value_characters));
      if (!set) return set.error();
    }
    for (const auto& assessment : assessments) {
      if (auto put = write_assessment(tx, row->seq, assessment); !put) return put.error();
    }
    row = load(tx, info.id);
    if (!row) return row.error();
    if (auto completed = complete(tx, *row); !completed) return completed.error();
    return std::move(row->info);
  });
}

Result<TraceInfo> Traces::info(const std::string& id) const {
  return impl_->db.read([&](db::Connection& c) -> Result<TraceInfo> {
    auto row = load(c, id);
    if (!row) return row.error();
    if (auto completed = complete(c, *row); !completed) return completed.error();
    return std::move(row->info);
  });
}

Result<tracking::ExperimentId> Traces::experiment_of(const std::string& id) const {
  return impl_->db.read([&](db::Connection& c) -> Result<tracking::ExperimentId> {
    const auto row = load(c, id);
    if (!row) return row.error();
    return row->info.experiment;
  });
}

Result<Trace> Traces::trace(const std::string& id, bool partial) const {
  return impl_->db.read([&](db::Connection& c) -> Result<Trace> {
    auto row = load(c, id);
    if (!row) return row.error();
    if (auto completed = complete(c, *row); !completed) return completed.error();
    auto spans = load_spans(c, row->seq);
    if (!spans) return spans.error();
    if (!partial && std::ssize(*spans) < spans_said(row->info)) {
      return not_found(
          fmt::format("Trace with ID {} is not fully exported yet: {} of {} spans have come", id,
                      spans->size(), spans_said(row->info)));
    }
    return Trace{std::move(row->info), std::move(*spans)};
  });
}

Result<std::vector<Trace>> Traces::traces(std::span<const std::string> ids) const {
  if (auto checked = check_many(ids.size(), impl_->limits); !checked) return checked.error();
  std::vector<Trace> found;
  for (const auto& id : ids) {
    auto one = trace(id);
    if (!one && one.error().code == Code::not_found) continue;
    if (!one) return one.error();
    found.push_back(std::move(*one));
  }
  return found;
}

Result<std::vector<TraceInfo>> Traces::infos(std::span<const std::string> ids) const {
  if (auto checked = check_many(ids.size(), impl_->limits); !checked) return checked.error();
  std::vector<TraceInfo> found;
  for (const auto& id : ids) {
    auto one = info(id);
    if (!one && one.error().code == Code::not_found) continue;
    if (!one) return one.error();
    found.push_back(std::move(*one));
  }
  return found;
}

Result<void> Traces::set_tag(const std::string& id, const std::string& key,
                             const std::string& value) {
  if (auto checked = check_key("tag", key, impl_->limits); !checked) return checked;
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, id);
    if (!row) return row.error();
    return tx.run(sql::upsert_tag, row->seq, key, cut(value, impl_->limits.value_characters));
  });
}

Result<void> Traces::delete_tag(const std::string& id, const std::string& key) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, id);
    if (!row) return row.error();
    if (auto run = tx.run(sql::delete_tag, row->seq, key); !run) return run;
    if (tx.changes() == 1) return {};
    return not_found(fmt::format("No tag with name '{}' in trace '{}'", cut(key, 100), id));
  });
}

Result<std::int64_t> Traces::remove(const Deletion& deletion) {
  const bool by_id = !deletion.ids.empty();
  if (by_id == deletion.until_ms.has_value()) {
    return invalid_argument("either `max_timestamp_millis` or `request_ids` has to be given");
  }
  if (by_id && deletion.most) {
    return invalid_argument("`max_traces` goes with `max_timestamp_millis` only");
  }
  if (deletion.most && *deletion.most <= 0) {
    return invalid_argument("`max_traces` has to be positive");
  }
  if (auto checked = check_many(deletion.ids.size(), impl_->limits); !checked) {
    return checked.error();
  }
  return impl_->db.write([&](db::Transaction& tx) -> Result<std::int64_t> {
    std::vector<std::int64_t> doomed;
    for (const auto& id : deletion.ids) {
      const auto row = load(tx, id);
      if (!row && row.error().code != Code::not_found) return row.error();
      if (row && row->info.experiment == deletion.experiment) doomed.push_back(row->seq);
    }
    if (!by_id) {
      auto rows = tx.query(sql::oldest, deletion.experiment.value, *deletion.until_ms,
                           deletion.most.value_or(std::numeric_limits<std::int64_t>::max()));
      if (!rows) return rows.error();
      while (rows->next()) doomed.push_back(rows->integer(0));
      if (auto status = rows->status(); !status) return status.error();
    }
    for (const std::int64_t seq : doomed) {
      if (auto run = tx.run(sql::delete_trace, seq); !run) return run.error();
    }
    return std::ssize(doomed);
  });
}

Result<void> purge(db::Transaction& tx, tracking::ExperimentId experiment) {
  return tx.run(sql::delete_of_experiment, experiment.value);
}

Result<void> Traces::link_to_run(std::span<const std::string> ids, const std::string& run_id) {
  if (auto checked = check_many(ids.size(), impl_->limits); !checked) return checked;
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    for (const auto& id : ids) {
      const auto row = load(tx, id);
      if (!row) return row.error();
      if (auto run = tx.run(sql::link_run, row->seq, run_id); !run) return run;
    }
    return {};
  });
}

Result<void> Traces::link_prompts(const std::string& id, std::span<const PromptVersion> prompts) {
  if (auto checked = check_many(prompts.size(), impl_->limits); !checked) return checked;
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, id);
    if (!row) return row.error();
    for (const auto& [name, version] : prompts) {
      auto run = tx.run(sql::link_prompt, row->seq, fmt::format("{}/{}", name, version));
      if (!run) return run;
    }
    // The tag is where MLflow's client looks.
    Json list = Json::array();
    {
      auto rows = tx.query(sql::prompts, row->seq);
      if (!rows) return rows.error();
      while (rows->next()) {
        const std::string prompt = rows->text(0);
        const auto slash = prompt.rfind('/');
        list.push_back({{"name", prompt.substr(0, slash)}, {"version", prompt.substr(slash + 1)}});
      }
      if (auto status = rows->status(); !status) return status;
    }
    return tx.run(sql::upsert_tag, row->seq, kPromptsTag, list.dump());
  });
}

}  // namespace slipway::tracing
