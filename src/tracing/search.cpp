// Searching traces with MLflow's filter language.
#include <algorithm>

#include "tracing/tracing_internal.h"
#include "tracking/filter.h"

namespace slipway::tracing {
namespace {

using tracking::Comparison;
using tracking::Name;
using tracking::Op;
using tracking::SqlText;

struct Column {
  std::string_view name;
  std::string_view column;
  bool numeric;
};
constexpr Column kColumns[] = {
    {"request_id", "t.id", false},
    {"trace_id", "t.id", false},
    {"client_request_id", "t.client_request_id", false},
    {"status", "t.state", false},
    {"timestamp", "t.start_ms", true},
    {"timestamp_ms", "t.start_ms", true},
    {"execution_time", "t.duration_ms", true},
    {"execution_time_ms", "t.duration_ms", true},
    {"end_time", "(t.start_ms + coalesce(t.duration_ms, 0))", true},
    {"end_time_ms", "(t.start_ms + coalesce(t.duration_ms, 0))", true},
    {"experiment_id", "t.experiment_id", true},
};
constexpr Column kSpanColumns[] = {
    {"name", "name", false}, {"type", "type", false}, {"status", "status", false}};

const Column* find(std::span<const Column> columns, std::string_view name) {
  const auto at = std::ranges::find(columns, name, &Column::name);
  return at == columns.end() ? nullptr : &*at;
}

bool is_attribute(std::string_view scope) {
  return scope.empty() || scope == "attribute" || scope == "attributes" || scope == "trace";
}
bool is_tag(std::string_view scope) { return scope == "tag" || scope == "tags"; }
bool is_metadata(std::string_view scope) {
  return scope == "metadata" || scope == "request_metadata";
}

// "name" and "run_id" are attributes to those who search, and stored as a tag and as metadata.
Name resolved(const Name& name) {
  if (!is_attribute(name.scope)) return name;
  if (name.key == "name") return {.scope = "tags", .key = std::string(kNameTag)};
  if (name.key == "run_id") return {.scope = "metadata", .key = std::string(kSourceRun)};
  return name;
}

Error unknown(const Name& name) {
  std::string known;
  for (const auto& column : kColumns) known += fmt::format("{}, ", column.name);
  return invalid_argument(fmt::format(
      "'{}' of traces cannot be searched: they have {}name, run_id, prompt, text, tags.<key>, "
      "metadata.<key>, span.<attribute>, feedback.<name>, expectation.<name> and issue.id",
      cut(name.text(), 100), known));
}

// Rows of a table of keys and values that belong to the trace.
Result<void> add_keyed(SqlText& query, std::string_view table, const Comparison& comparison) {
  const bool absent = comparison.op == Op::is_null;
  query.add(absent ? " AND t.seq NOT IN (SELECT trace FROM " : " AND t.seq IN (SELECT trace FROM ")
      .add(table)
      .add(" WHERE key = ?")
      .bind(std::string_view(comparison.name.key));
  if (!absent && comparison.op != Op::is_not_null) {
    query.add(" AND ");
    if (auto added = query.compare_text("value", comparison); !added) return added;
  }
  query.add(")");
  return {};
}

// A trace belongs to the run it came from, and to those it was linked to.
Result<void> add_run(SqlText& query, const Comparison& comparison) {
  if (comparison.op != Op::eq && comparison.op != Op::in) {
    return add_keyed(query, "trace_metadata", comparison);
  }
  query.add(" AND (t.seq IN (SELECT trace FROM trace_metadata WHERE key = ? AND ").bind(kSourceRun);
  if (auto added = query.compare_text("value", comparison); !added) return added;
  query.add(") OR t.seq IN (SELECT trace FROM trace_runs WHERE ");
  if (auto added = query.compare_text("run_id", comparison); !added) return added;
  query.add("))");
  return {};
}

// What is said about a trace and still counts; one that is text is compared as text.
Result<void> add_assessment(SqlText& query, const Comparison& comparison) {
  const auto& scope = comparison.name.scope;
  if (scope == "issue" && comparison.name.key != "id") return unknown(comparison.name);
  const bool absent = comparison.op == Op::is_null;
  query
      .add(absent ? " AND t.seq NOT IN (SELECT trace FROM trace_assessments WHERE kind = ?"
                  : " AND t.seq IN (SELECT trace FROM trace_assessments WHERE kind = ?")
      .bind(std::string_view(scope))
      .add(" AND valid = 1 AND ");
  if (scope == "issue") {
    if (auto added = query.compare_text("name", comparison); !added) return added;
    query.add(")");
    return {};
  }
  query.add("name = ?").bind(std::string_view(comparison.name.key));
  if (!absent && comparison.op != Op::is_not_null) {
    query.add(" AND ");
    const bool number = std::holds_alternative<double>(comparison.value);
    auto added = number ? query.compare_number("number", comparison)
                        : query.compare_text("value", comparison);
    if (!added) return added;
  }
  query.add(")");
  return {};
}

std::string json_text(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

// Attributes are a list in the span's JSON, and are found by its text: exactly this pair of key and
// value, or a text that is like it.
Result<void> add_span_attribute(SqlText& query, const Comparison& comparison,
                                std::string attribute) {
  std::erase(attribute, '`');
  const auto* wanted = std::get_if<std::string>(&comparison.value);
  const bool like = comparison.op == Op::like || comparison.op == Op::ilike;
  if (wanted == nullptr || (!like && comparison.op != Op::eq)) {
    return invalid_argument(fmt::format(
        "'span.attributes.{}' is compared with a text by =, LIKE or ILIKE", cut(attribute, 100)));
  }
  const std::string before = fmt::format("\"key\":{},\"value\":{{", json_text(attribute));
  const std::string value = json_text(*wanted);
  if (like) {
    Comparison of_content = comparison;
    of_content.value = fmt::format("%{}\"string_value\":{}%", before, value);
    return query.compare_text("content", of_content);
  }
  query.add("(");
  std::string_view between = "";
  for (const std::string_view kind : {"string_value", "int_value"}) {
    const std::string pair = fmt::format("{}\"{}\":{}}}", before, kind, value);
    // Holds the text: without it, it is another one.
    query.add(between).add("replace(content, ?, '') <> content").bind(std::string_view(pair));
    between = " OR ";
  }
  query.add(")");
  return {};
}

// All that is asked of spans has to be true of one span.
Result<void> add_span(SqlText& query, const Comparison& comparison) {
  query.add(" AND ");
  const auto& key = comparison.name.key;
  constexpr std::string_view kAttributes = "attributes.";
  if (key.starts_with(kAttributes)) {
    return add_span_attribute(query, comparison, key.substr(kAttributes.size()));
  }
  if (key == "content") return query.compare_text("content", comparison);
  const auto* column = find(kSpanColumns, key);
  if (column == nullptr) return unknown(comparison.name);
  return query.compare_text(column->column, comparison);
}

Result<void> add_condition(SqlText& query, const Comparison& asked) {
  Comparison comparison = asked;
  comparison.name = resolved(asked.name);
  const auto& [scope, key] = comparison.name;
  if (is_metadata(scope) && key == kSourceRun) return add_run(query, comparison);
  if (is_metadata(scope)) return add_keyed(query, "trace_metadata", comparison);
  if (is_tag(scope)) return add_keyed(query, "trace_tags", comparison);
  if (scope == "feedback" || scope == "expectation" || scope == "issue") {
    return add_assessment(query, comparison);
  }
  if (!is_attribute(scope)) return unknown(asked.name);
  if (key == "prompt") {
    query.add(" AND t.seq IN (SELECT trace FROM trace_prompts WHERE ");
    if (auto added = query.compare_text("prompt", comparison); !added) return added;
    query.add(")");
    return {};
  }
  const auto* column = find(kColumns, key);
  if (column == nullptr) return unknown(asked.name);
  query.add(" AND ");
  return column->numeric ? query.compare_number(column->column, comparison)
                         : query.compare_text(column->column, comparison);
}

bool is_of_spans(const Name& name) {
  return name.scope == "span" || (is_attribute(name.scope) && name.key == "text");
}

Result<void> add_filter(SqlText& query, std::span<const Comparison> filter) {
  bool any_of_spans = false;
  for (const auto& comparison : filter) {
    if (is_of_spans(comparison.name)) {
      any_of_spans = true;
    } else if (auto added = add_condition(query, comparison); !added) {
      return added;
    }
  }
  if (!any_of_spans) return {};
  query.add(" AND t.seq IN (SELECT trace FROM trace_spans WHERE 1 = 1");
  for (const auto& comparison : filter) {
    if (!is_of_spans(comparison.name)) continue;
    Comparison of_span = comparison;
    if (comparison.name.key == "text" && comparison.name.scope != "span") {
      of_span.name = {.scope = "span", .key = "content"};
    }
    if (auto added = add_span(query, of_span); !added) return added;
  }
  query.add(")");
  return {};
}

// One ORDER BY term and the comma after it; traces without the value come last.
Result<void> add_order(SqlText& query, const std::string& text) {
  const auto order = tracking::parse_order(text);
  if (!order) return order.error();
  const Name name = resolved(order->name);
  const std::string_view direction = order->descending ? " DESC, " : ", ";
  if (is_tag(name.scope) || is_metadata(name.scope)) {
    const auto add_value = [&] {
      query
          .add(is_tag(name.scope) ? "(SELECT value FROM trace_tags WHERE trace = t.seq AND key = ?)"
                                  : "(SELECT value FROM trace_metadata WHERE trace = t.seq AND "
                                    "key = ?)")
          .bind(std::string_view(name.key));
    };
    query.add("CASE WHEN ");
    add_value();
    query.add(" IS NULL THEN 1 ELSE 0 END, ");
    add_value();
    query.add(direction);
    return {};
  }
  const auto* column = is_attribute(name.scope) ? find(kColumns, name.key) : nullptr;
  if (column == nullptr) return unknown(order->name);
  query.add("CASE WHEN ")
      .add(column->column)
      .add(" IS NULL THEN 1 ELSE 0 END, ")
      .add(column->column)
      .add(direction);
  return {};
}

}  // namespace

Result<tracking::Page<TraceInfo>> Traces::search(const Search& search) const {
  if (auto checked = tracking::check_page_size(search.max_results, impl_->limits.page); !checked) {
    return checked.error();
  }
  std::string list = "[";
  for (const auto& id : search.experiments) {
    list += fmt::format("{}{}", list.size() > 1 ? "," : "", id.value);
  }
  list += "]";
  std::string identity = fmt::format("traces|{}|{}", list, search.filter);
  SqlText query;
  query.add("SELECT t.id FROM traces t WHERE t.experiment_id IN (SELECT value FROM json_each(?))")
      .bind(std::string_view(list));
  const auto filter = tracking::parse_filter(search.filter);
  if (!filter) return filter.error();
  if (auto added = add_filter(query, *filter); !added) return added.error();
  query.add(" ORDER BY ");
  for (const auto& text : search.order_by) {
    identity += "|" + text;
    if (auto added = add_order(query, text); !added) return added.error();
  }
  const auto offset = tracking::read_page_token(search.page, identity);
  if (!offset) return offset.error();
  query.add("t.start_ms DESC, t.id LIMIT ? OFFSET ?").bind(search.max_results + 1).bind(*offset);

  return impl_->db.read([&](db::Connection& c) -> Result<tracking::Page<TraceInfo>> {
    std::vector<std::string> ids;
    {
      auto rows = query.run(c);
      if (!rows) return rows.error();
      while (rows->next()) ids.push_back(rows->text(0));
      if (auto status = rows->status(); !status) return status.error();
    }
    tracking::Page<TraceInfo> page;
    if (std::ssize(ids) > search.max_results) {
      ids.pop_back();
      page.next_page = tracking::make_page_token(*offset + search.max_results, identity);
    }
    for (const auto& id : ids) {
      auto row = load(c, id);
      if (!row) return row.error();
      if (auto completed = complete(c, *row); !completed) return completed.error();
      page.items.push_back(std::move(row->info));
    }
    return page;
  });
}

}  // namespace slipway::tracing
