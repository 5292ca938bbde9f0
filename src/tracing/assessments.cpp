#include <algorithm>

#include "tracing/queries.h"
#include "tracing/tracing_internal.h"

namespace slipway::tracing {
namespace {

std::string text_of(const Json& json, const char* name) {
  const auto at = json.find(name);
  return at != json.end() && at->is_string() ? at->get<std::string>() : std::string();
}

// "feedback", "expectation" or "issue"; empty when the message has none of these.
std::string_view kind_of(const Json& json) {
  for (const char* kind : {"feedback", "expectation", "issue"}) {
    if (json.contains(kind) && json[kind].is_object()) return kind;
  }
  return {};
}

// The value that searches compare. MLflow writes what is no plain value as text of JSON.
Json value_of(const Json& json) {
  const auto kind = kind_of(json);
  if (kind.empty()) return nullptr;
  const auto& said = json[std::string(kind)];
  if (said.contains("value")) return said["value"];
  if (said.contains("serialized_value") && said["serialized_value"].is_object()) {
    return text_of(said["serialized_value"], "value");
  }
  return nullptr;
}

Result<Assessment> load_assessment(db::Connection& connection, const Row& row,
                                   const std::string& id) {
  auto rows = connection.query(sql::find_assessment, row.seq, id);
  if (!rows) return rows.error();
  if (rows->next()) return Assessment{rows->text(0), Json::parse(rows->view(1), nullptr, false)};
  if (auto status = rows->status(); !status) return status.error();
  return not_found(
      fmt::format("Assessment with ID '{}' not found for trace '{}'", cut(id, 100), row.info.id));
}

// Says of another assessment of the trace that it counts, or no longer does.
Result<void> set_valid(db::Transaction& tx, const Row& row, const std::string& id, bool valid) {
  auto other = load_assessment(tx, row, id);
  if (!other) return other.error();
  other->json["valid"] = valid;
  return write_assessment(tx, row.seq, *other);
}

Result<void> check(const Json& json, const Limits& limits) {
  if (!json.is_object()) return invalid_argument("an assessment has to be an object");
  if (text_of(json, "assessment_name").empty()) {
    return invalid_argument("an assessment needs a text `assessment_name`");
  }
  if (kind_of(json).empty()) {
    return invalid_argument("an assessment needs one of `feedback`, `expectation` and `issue`");
  }
  const auto size = json.dump(-1, ' ', false, Json::error_handler_t::replace).size();
  if (size > limits.assessment_bytes) {
    return invalid_argument(fmt::format("an assessment has at most {} bytes, this one {}",
                                        limits.assessment_bytes, size));
  }
  return {};
}

}  // namespace

Result<Assessment> new_assessment(const Limits& limits, const std::string& trace_id, Json json,
                                  Time now, std::string id) {
  if (auto checked = check(json, limits); !checked) return checked.error();
  Assessment assessment{.id = std::move(id), .json = std::move(json)};
  assessment.json["assessment_id"] = assessment.id;
  assessment.json["trace_id"] = trace_id;
  for (const char* time : {"create_time", "last_update_time"}) {
    if (text_of(assessment.json, time).empty()) {
      assessment.json[time] = format_time(from_millis(to_millis(now)));
    }
  }
  assessment.json["valid"] = true;
  return assessment;
}

Result<void> write_assessment(db::Transaction& tx, std::int64_t seq, const Assessment& assessment) {
  const auto& json = assessment.json;
  const Json value = value_of(json);
  const auto created = parse_time(text_of(json, "create_time"));
  if (!created) return created.error().at("create_time");
  std::optional<double> number;
  if (value.is_number()) number = value.get<double>();
  const std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  const std::string name = text_of(json, "assessment_name");
  return tx.run(sql::upsert_assessment, seq, assessment.id, kind_of(json), name, text, number,
                json.value("valid", true), text_of(json, "overrides"), to_millis(*created),
                json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

Result<Assessment> Traces::create_assessment(const std::string& trace_id, const Json& json) {
  auto made =
      new_assessment(impl_->limits, trace_id, json, impl_->clock.now(), "a-" + impl_->ids.next());
  if (!made) return made;
  return impl_->db.write([&](db::Transaction& tx) -> Result<Assessment> {
    const auto row = load(tx, trace_id);
    if (!row) return row.error();
    {
      auto count = tx.query(sql::count_assessments, row->seq);
      if (!count) return count.error();
      if (count->next() && count->integer(0) >= impl_->limits.assessments_per_trace) {
        return resource_exhausted(
            fmt::format("a trace has at most {} assessments", impl_->limits.assessments_per_trace));
      }
    }
    if (const auto overridden = text_of(made->json, "overrides"); !overridden.empty()) {
      if (auto set = set_valid(tx, *row, overridden, false); !set) return set.error();
    }
    if (auto put = write_assessment(tx, row->seq, *made); !put) return put.error();
    return *made;
  });
}

Result<Assessment> Traces::assessment(const std::string& trace_id, const std::string& id) const {
  return impl_->db.read([&](db::Connection& c) -> Result<Assessment> {
    const auto row = load(c, trace_id);
    if (!row) return row.error();
    return load_assessment(c, *row, id);
  });
}

Result<Assessment> Traces::update_assessment(const std::string& trace_id, const std::string& id,
                                             const Json& json,
                                             std::span<const std::string> fields) {
  static constexpr std::string_view kMay[] = {"assessment_name", "feedback", "expectation",
                                              "rationale", "metadata"};
  for (const auto& field : fields) {
    if (std::ranges::find(kMay, field) == std::end(kMay)) {
      return invalid_argument(fmt::format("'{}' of an assessment cannot be changed: only {}",
                                          cut(field, 60), fmt::join(kMay, ", ")));
    }
  }
  return impl_->db.write([&](db::Transaction& tx) -> Result<Assessment> {
    const auto row = load(tx, trace_id);
    if (!row) return row.error();
    auto known = load_assessment(tx, *row, id);
    if (!known) return known;
    const auto kind = std::string(kind_of(known->json));
    for (const auto& field : fields) {
      const auto value = json.find(field);
      if (value == json.end()) continue;
      if ((field == "feedback" || field == "expectation") && field != kind) {
        return invalid_argument(
            fmt::format("the assessment holds {}: it does not become {}", kind, field));
      }
      if (field == "metadata" && value->is_object() && known->json.contains("metadata")) {
        known->json["metadata"].update(*value);
      } else {
        known->json[field] = *value;
      }
    }
    known->json["last_update_time"] = format_time(from_millis(to_millis(impl_->clock.now())));
    if (auto checked = check(known->json, impl_->limits); !checked) return checked.error();
    if (auto put = write_assessment(tx, row->seq, *known); !put) return put.error();
    return known;
  });
}

Result<void> Traces::delete_assessment(const std::string& trace_id, const std::string& id) {
  return impl_->db.write([&](db::Transaction& tx) -> Result<void> {
    const auto row = load(tx, trace_id);
    if (!row) return row.error();
    const auto known = load_assessment(tx, *row, id);
    if (!known && known.error().code == Code::not_found) return {};  // as MLflow
    if (!known) return known.error();
    if (const auto overridden = text_of(known->json, "overrides"); !overridden.empty()) {
      auto set = set_valid(tx, *row, overridden, true);
      if (!set && set.error().code != Code::not_found) return set;
    }
    return tx.run(sql::delete_assessment, row->seq, id);
  });
}

}  // namespace slipway::tracing
