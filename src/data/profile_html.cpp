// A profile as one page. Its size depends on the number of columns only, and of those a few hundred
// are shown in full.
#include "base/clock.h"
#include "data/html_internal.h"
#include "data/profile.h"

namespace slipway::data {

namespace {

constexpr std::size_t kMostNotesBytes = 200'000;
constexpr std::size_t kMostPairs = 40;

std::string number_cell(const ColumnProfile& column, double value) {
  if (column.type == Type::timestamp)
    return format_time(from_micros(static_cast<std::int64_t>(value))).substr(0, 16);
  return fmt::format("{:.6g}", value);
}

std::string value_cell(const Json& value, std::size_t limit) {
  const auto text = value.is_string() ? value.get<std::string>()
                    : value.is_number_float()
                        ? fmt::format("{:.6g}", value.get<double>())
                        : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.empty() ? "<i>empty</i>" : html::clipped(text, limit);
}

std::string notes_list(const ColumnProfile& column) {
  if (column.notes.empty()) return "";
  std::string out = "<ul class=\"notes warn\">";
  for (const auto& note : column.notes) out += "<li>" + html::clipped(note, 300) + "</li>";
  return out + "</ul>";
}

std::string chart(const ColumnProfile& column) {
  if (column.histogram) {
    std::vector<std::string> labels;
    const auto& bars = *column.histogram;
    const double width = (bars.high - bars.low) / static_cast<double>(bars.counts.size());
    for (std::size_t i = 0; i < bars.counts.size(); ++i) {
      const double low = bars.low + static_cast<double>(i) * width;
      labels.push_back(number_cell(column, low) + " to " + number_cell(column, low + width));
    }
    return html::bars(bars.counts, labels);
  }
  std::vector<std::int64_t> counts;
  std::vector<std::string> labels;
  for (const auto& [value, count] : column.top) {
    counts.push_back(count);
    auto text = value.is_string() ? value.get<std::string>() : value.dump();
    labels.push_back(text.substr(0, 80));
  }
  return html::bars(counts, labels);
}

std::string card(const ColumnProfile& column) {
  std::string facts;
  const auto fact = [&](std::string_view name, const std::string& value) {
    facts += fmt::format("<dt>{}</dt><dd>{}</dd>", name, value);
  };
  fact("null",
       fmt::format("{} ({:.3g} %)", html::grouped(column.nulls), column.null_share() * 100));
  fact("distinct", (column.distinct_exact ? "" : "about ") + html::grouped(column.distinct));
  if (column.type == Type::text) {
    fact("length",
         fmt::format("{} to {}, mean {:.1f}", column.shortest, column.longest, column.mean_length));
  } else if (column.min && column.max) {
    fact("range", number_cell(column, *column.min) + " to " + number_cell(column, *column.max));
    if (column.mean && column.type != Type::timestamp)
      fact("mean", fmt::format("{:.6g} ± {:.4g}", *column.mean, column.stddev.value_or(0)));
    std::string quartiles;
    for (const auto& [p, value] : column.quantiles) {
      if (p == 0.25 || p == 0.5 || p == 0.75)
        quartiles += (quartiles.empty() ? "" : " · ") + number_cell(column, value);
    }
    if (column.type != Type::boolean) fact("quartiles", quartiles);
    if (column.zeros > 0 && column.type != Type::boolean)
      fact("zeros", html::grouped(column.zeros));
  }
  std::string top;
  for (std::size_t i = 0; i < std::min<std::size_t>(5, column.top.size()); ++i) {
    top += fmt::format("<code>{}</code> {} ", value_cell(column.top[i].first, 40),
                       html::grouped(column.top[i].second));
  }
  if (!top.empty()) fact("most frequent", top);
  return fmt::format(
      "<div class=\"card\"><h3>{}</h3><span class=\"dim\">{}</span>{}<dl>{}</dl>{}</div>\n",
      html::clipped(column.name, 80), to_string(column.type), chart(column), facts,
      notes_list(column));
}

}  // namespace

std::string render_html(const Profile& profile, const std::string& title) {
  std::size_t suspicious = 0;
  std::int64_t nulls = 0;
  std::int64_t cells = 0;
  for (const auto& column : profile.columns) {
    suspicious += column.notes.empty() ? 0 : 1;
    nulls += column.nulls;
    cells += column.rows;
  }
  std::string body =
      html::tiles({{"rows", html::grouped(profile.rows), ""},
                   {"columns", html::grouped(std::ssize(profile.columns)), ""},
                   {"of all values null",
                    fmt::format("{:.2g} %", cells == 0 ? 0.0
                                                       : 100 * static_cast<double>(nulls) /
                                                             static_cast<double>(cells)),
                    ""},
                   {"columns to look at", html::grouped(static_cast<std::int64_t>(suspicious)),
                    suspicious > 0 ? "warn" : "good"}});
  if (suspicious > 0) {
    body += "<h2>Suspicious</h2>\n<table>";
    for (const auto& column : profile.columns) {
      if (column.notes.empty()) continue;
      if (body.size() > kMostNotesBytes) break;  // the cards below tell the rest
      body += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", html::clipped(column.name, 80),
                          notes_list(column));
    }
    body += "</table>\n";
  }
  body += "<h2>Columns</h2>\n<div class=\"cards\">";
  std::size_t shown = 0;
  for (; shown < profile.columns.size(); ++shown) {
    const auto next = card(profile.columns[shown]);
    if (body.size() + next.size() > html::kMostBytes) break;
    body += next;
  }
  body += "</div>\n";
  if (shown < profile.columns.size()) {
    body += fmt::format("<p class=\"dim\">{} more columns: see the JSON.</p>\n",
                        profile.columns.size() - shown);
  }
  if (!profile.associations.empty()) {
    body += fmt::format(
        "<h2>Columns that hang together <span class=\"dim\">(from {} rows)</span></h2>\n<table><tr>"
        "<th>columns</th><th>measure</th><th class=\"n\">strength</th><th class=\"n\">by rank</th>"
        "</tr>\n",
        html::grouped(profile.sampled));
    for (std::size_t i = 0; i < std::min(kMostPairs, profile.associations.size()); ++i) {
      const auto& each = profile.associations[i];
      body += fmt::format(
          "<tr><td>{} · {}</td><td>{}</td><td class=\"n\">{:.3f}</td><td "
          "class=\"n\">{}</td></tr>\n",
          html::clipped(each.a, 60), html::clipped(each.b, 60), each.measure, each.value,
          each.rank ? fmt::format("{:.3f}", *each.rank) : "");
    }
    body += "</table>\n";
  }
  return html::page(title, body);
}

}  // namespace slipway::data
