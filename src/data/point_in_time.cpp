#include "data/point_in_time.h"

#include "data/engine.h"
#include "data/knowledge.h"

namespace slipway::data {

std::vector<std::pair<std::string, std::string>> read_join_keys(SpecReader& reader,
                                                                std::string_view key) {
  std::vector<std::pair<std::string, std::string>> keys;
  const Json value = reader.json(key);
  if (value.is_string()) {
    keys.emplace_back(value.get<std::string>(), value.get<std::string>());
  } else if (value.is_array()) {
    for (const auto& each : value) {
      if (each.is_string()) keys.emplace_back(each.get<std::string>(), each.get<std::string>());
    }
  } else if (value.is_object()) {
    for (const auto& [left, right] : value.items()) {
      if (right.is_string()) keys.emplace_back(left, right.get<std::string>());
    }
  }
  if (keys.empty())
    reader.problem(key, fmt::format("{} is a column, a list, or {{left: right}}", key));
  return keys;
}

PointInTime PointInTime::read(SpecReader& reader) {
  PointInTime join;
  join.with = reader.text("with");
  if (reader.has("by")) join.keys = read_join_keys(reader, "by");
  join.at = reader.text("at");
  join.event = reader.text("event");
  const auto known = reader.text("known", "");
  if (!known.empty()) {
    if (const auto offset = parse_offset(known)) {
      join.known_after = *offset;
    } else {
      join.known_column = known;
    }
  }
  if (reader.has("ttl")) join.ttl = reader.duration("ttl", Duration{0});
  join.columns = reader.texts("columns");
  join.prefix = reader.text("prefix", "");
  return join;
}

Result<std::string> PointInTime::sql(const std::string& left, const Schema& left_schema,
                                     const Schema& right_schema) const {
  const auto need = [](const Schema& schema, const std::string& column,
                       const std::string& relation) -> Result<void> {
    if (const auto found = schema.find(column); !found)
      return found.error().at("'" + relation + "'");
    return {};
  };
  std::set<std::string> used = {event, known_column};
  if (auto found = need(left_schema, at, "the rows"); !found) return found.error();
  if (auto found = need(right_schema, event, with); !found) return found.error();
  if (!known_column.empty()) {
    if (auto found = need(right_schema, known_column, with); !found) return found.error();
  }
  std::string partition;
  std::string condition;
  for (const auto& [mine, theirs] : keys) {
    if (auto found = need(left_schema, mine, "the rows"); !found) return found.error();
    if (auto found = need(right_schema, theirs, with); !found) return found.error();
    used.insert(theirs);
    partition += (partition.empty() ? "" : ", ") + quote_name(theirs);
    condition += fmt::format("l.{} = r.{} AND ", quote_name(mine), quote_name(theirs));
  }
  std::vector<std::string> taken = columns;
  if (taken.empty()) {
    for (const auto& name : right_schema.names()) {
      if (!used.contains(name)) taken.push_back(name);
    }
  }
  std::string selected;
  std::string ties;
  for (const auto& column : taken) {
    if (auto found = need(right_schema, column, with); !found) return found.error();
    const auto name = prefix + column;
    if (left_schema.index(name)) {
      return invalid_argument(fmt::format(
          "column '{}' stands on both sides; give a prefix, or name the columns to take", name));
    }
    auto value = "r." + quote_name(column);
    if (ttl) {
      value = fmt::format("CASE WHEN l.{} - r.\"slipway event\" <= to_microseconds({}) THEN {} END",
                          quote_name(at), ttl->count(), value);
    }
    selected += fmt::format(", {} AS {}", value, quote_name(name));
    ties += ", " + quote_name(column);
  }
  const auto moment = "CAST(" + quote_name(event) + " AS TIMESTAMP)";
  const auto known = known_column.empty()
                         ? fmt::format("{} + to_microseconds({})", moment, known_after.count())
                         : "CAST(" + quote_name(known_column) + " AS TIMESTAMP)";
  const auto by = partition.empty() ? "" : "PARTITION BY " + partition;
  const auto by_usable =
      (partition.empty() ? "" : partition + ", ") + std::string("\"slipway usable\"");
  // A row counts from when it is both known and past. Of those that count, only one that is newer
  // than all that counted before ever wins; the rest can go, and what is left is a plain as-of
  // join.
  return fmt::format(
      "WITH known AS (SELECT *, {event} AS \"slipway event\", {known} AS \"slipway known\", "
      "greatest({event}, {known}) AS \"slipway usable\" FROM {right} "
      "WHERE {event} IS NOT NULL AND ({known}) IS NOT NULL), "
      "ranked AS (SELECT *, max(\"slipway event\") OVER ({by} ORDER BY \"slipway usable\") AS "
      "\"slipway newest\" FROM known), "
      "winners AS (SELECT * FROM ranked WHERE \"slipway event\" = \"slipway newest\" QUALIFY "
      "row_number() OVER (PARTITION BY {by_usable} ORDER BY \"slipway known\" DESC{ties}) = 1) "
      "SELECT l.*{selected} FROM {left} l ASOF LEFT JOIN winners r ON {condition}"
      "r.\"slipway usable\" <= CAST(l.{at} AS TIMESTAMP)",
      fmt::arg("event", moment), fmt::arg("known", known), fmt::arg("right", quote_name(with)),
      fmt::arg("by", by), fmt::arg("by_usable", by_usable), fmt::arg("ties", ties),
      fmt::arg("selected", selected), fmt::arg("left", quote_name(left)),
      fmt::arg("condition", condition), fmt::arg("at", quote_name(at)));
}

}  // namespace slipway::data
