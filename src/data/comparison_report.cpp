// Comparisons as JSON, text and a page.
#include "data/comparison.h"
#include "data/html_internal.h"

namespace slipway::data {

namespace {

std::string type_text(const std::optional<Type>& type) {
  return type ? std::string(to_string(*type)) : "";
}

std::string schema_change(const ColumnChange& column) {
  if (!column.before) return "added, " + type_text(column.after);
  if (!column.after) return "removed, was " + type_text(column.before);
  if (column.before != column.after)
    return type_text(column.before) + " became " + type_text(column.after);
  return "";
}

std::string distribution_change(const ColumnChange& column) {
  std::string text;
  if (column.shifted)
    text = fmt::format("distribution moved: {:.1f} %, PSI {:.3f}, p {:.2g}", column.effect * 100,
                       column.psi, column.p);
  if (column.nulls_shifted)
    text += fmt::format("{}nulls {:.2f} % became {:.2f} %", text.empty() ? "" : "; ",
                        column.nulls_before * 100, column.nulls_after * 100);
  return text;
}

std::string example_text(const Json& value) {
  auto text = value.is_string() ? value.get<std::string>()
                                : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 40 ? text.substr(0, 37) + "..." : text;
}

std::string key_text(const ChangedValue& change) {
  std::vector<std::string> parts;
  for (const auto& part : change.key) parts.push_back(example_text(part));
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace

bool Comparison::same() const {
  return rows_before == rows_after && only_before == 0 && only_after == 0 && changed == 0 &&
         std::all_of(columns.begin(), columns.end(), [](const auto& column) {
           return column.before == column.after && column.effect == 0 &&
                  column.nulls_before == column.nulls_after;
         });
}

Json Comparison::to_json() const {
  Json list = Json::array();
  for (const auto& column : columns) {
    Json item = {{"name", column.name},
                 {"before", column.before ? Json(to_string(*column.before)) : Json()},
                 {"after", column.after ? Json(to_string(*column.after)) : Json()}};
    if (column.before == column.after) {
      item.update({{"effect", column.effect},
                   {"psi", column.psi},
                   {"p", column.p},
                   {"null_share_before", column.nulls_before},
                   {"null_share_after", column.nulls_after},
                   {"nulls_p", column.nulls_p},
                   {"shifted", column.shifted},
                   {"nulls_shifted", column.nulls_shifted}});
      if (matched) item["changed"] = column.changed;
    }
    list.push_back(std::move(item));
  }
  Json json = {{"same", same()},
               {"rows_before", rows_before},
               {"rows_after", rows_after},
               {"columns", std::move(list)}};
  if (!matched) return json;
  json["rows"] = {{"removed", only_before}, {"added", only_after}, {"changed", changed}};
  json["examples"] = Json::array();
  for (const auto& change : examples) {
    json["examples"].push_back({{"key", change.key},
                                {"column", change.column},
                                {"before", change.before},
                                {"after", change.after}});
  }
  return json;
}

std::string render_text(const Comparison& comparison) {
  if (comparison.same()) return fmt::format("no difference in {} rows\n", comparison.rows_before);
  std::string text =
      fmt::format("rows: {} became {}\n", comparison.rows_before, comparison.rows_after);
  if (comparison.matched) {
    text += fmt::format("by key: {} removed, {} added, {} changed\n", comparison.only_before,
                        comparison.only_after, comparison.changed);
  }
  for (const auto& column : comparison.columns) {
    std::vector<std::string> parts;
    if (auto schema = schema_change(column); !schema.empty()) parts.push_back(std::move(schema));
    if (column.changed > 0) parts.push_back(fmt::format("{} values changed", column.changed));
    if (auto moved = distribution_change(column); !moved.empty()) parts.push_back(std::move(moved));
    if (!parts.empty()) text += fmt::format("  {}: {}\n", column.name, fmt::join(parts, "; "));
  }
  for (const auto& change : comparison.examples) {
    text += fmt::format("  e.g. ({}) {}: {} became {}\n", key_text(change), change.column,
                        example_text(change.before), example_text(change.after));
  }
  return text;
}

std::string render_html(const Comparison& comparison, const std::string& title) {
  std::vector<html::Tile> tiles = {{"rows before", html::grouped(comparison.rows_before), ""},
                                   {"rows after", html::grouped(comparison.rows_after), ""}};
  if (comparison.matched) {
    tiles.push_back({"removed", html::grouped(comparison.only_before), ""});
    tiles.push_back({"added", html::grouped(comparison.only_after), ""});
    tiles.push_back({"changed", html::grouped(comparison.changed), ""});
  }
  std::string body = html::tiles(tiles);
  body +=
      "<h2>Columns</h2>\n<table><tr><th>column</th><th>type</th><th class=\"n\">values changed</th>"
      "<th class=\"n\">moved</th><th class=\"n\">PSI</th><th "
      "class=\"n\">p</th><th>what</th></tr>\n";
  for (const auto& column : comparison.columns) {
    if (body.size() > html::kMostBytes) break;
    const auto schema = schema_change(column);
    const auto moved = distribution_change(column);
    body += fmt::format(
        "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2f} %</td><td "
        "class=\"n\">{:.3f}</td><td class=\"n\">{:.2g}</td><td class=\"{}\">{}{}{}</td></tr>\n",
        html::clipped(column.name, 80), type_text(column.after ? column.after : column.before),
        comparison.matched ? html::grouped(column.changed) : "–", column.effect * 100, column.psi,
        column.p, schema.empty() && moved.empty() ? "dim" : "warn", schema,
        schema.empty() || moved.empty() ? "" : "; ", moved);
  }
  body += "</table>\n";
  if (!comparison.examples.empty()) {
    body +=
        "<h2>Changed values, for example</h2>\n<table><tr><th>key</th><th>column</th><th>before"
        "</th><th>after</th></tr>\n";
    for (const auto& change : comparison.examples) {
      body += fmt::format(
          "<tr><td>{}</td><td>{}</td><td><code>{}</code></td><td><code>{}</code></td>"
          "</tr>\n",
          html::clipped(key_text(change), 120), html::clipped(change.column, 80),
          html::clipped(example_text(change.before), 60),
          html::clipped(example_text(change.after), 60));
    }
    body += "</table>\n";
  }
  return html::page(title, body);
}

}  // namespace slipway::data
