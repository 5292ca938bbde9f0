// A validation report as one page. Its size depends on the number of rules only: a rule shows a few
// examples, each cut.
#include "data/html_internal.h"
#include "data/validation.h"

namespace slipway::data {

namespace {

std::string rule_row(const RuleResult& rule) {
  const auto [mark, kind] = rule.ok          ? std::pair{"passed", "good"}
                            : rule.set_aside ? std::pair{"set aside", "warn"}
                            : rule.warn_only ? std::pair{"warning", "warn"}
                                             : std::pair{"failed", "bad"};
  std::string unexpected = "–";
  if (is_row_check(rule.check)) {
    unexpected = html::grouped(rule.unexpected);
    if (rule.unexpected > 0) {
      unexpected += fmt::format(
          "<div class=\"dim\">{:.3g} %</div><div class=\"share\"><i style=\"width:{:.1f}%\"></i>"
          "</div>",
          rule.share * 100, std::max(1.0, rule.share * 100));
    }
  }
  std::string seen;
  if (!rule.examples.empty()) {
    for (const auto& value : rule.examples) {
      const auto text = value.is_string()
                            ? value.get<std::string>()
                            : value.dump(-1, ' ', false, Json::error_handler_t::replace);
      seen += "<code>" + html::clipped(text, 60) + "</code> ";
    }
  }
  std::string message = rule.message;  // the examples stand apart
  if (const auto at = message.find("; saw "); at != std::string::npos && !seen.empty())
    message.resize(at);
  std::string columns;
  for (const auto& column : rule.columns)
    columns += (columns.empty() ? "" : ", ") + html::clipped(column, 40);
  return fmt::format(
      "<tr><td class=\"mark {}\">{}</td><td>{}<div class=\"dim\">{}{}{}</div></td><td "
      "class=\"n\">{}</td><td class=\"n\">{}</td><td>{}{}{}</td></tr>\n",
      kind, mark, html::clipped(rule.name, 120), to_string(rule.check),
      columns.empty() ? "" : " of ", columns, html::grouped(rule.rows), unexpected,
      html::clipped(message, 400), seen.empty() ? "" : "<div class=\"dim\">such as ",
      seen.empty() ? "" : seen + "</div>");
}

}  // namespace

std::string render_html(const Report& report, const std::string& title) {
  // what failed comes first
  std::vector<const RuleResult*> rules;
  for (const auto& rule : report.rules) rules.push_back(&rule);
  const auto rank = [](const RuleResult* rule) {
    return rule->ok ? 3 : rule->set_aside ? 1 : rule->warn_only ? 2 : 0;
  };
  std::stable_sort(rules.begin(), rules.end(),
                   [&](const auto* a, const auto* b) { return rank(a) < rank(b); });
  const auto count = [&](int wanted) {
    return std::count_if(rules.begin(), rules.end(),
                         [&](const auto* rule) { return rank(rule) == wanted; });
  };
  std::string body =
      html::tiles({{"verdict", report.ok() ? "valid" : "not valid", report.ok() ? "good" : "bad"},
                   {"rows", html::grouped(report.rows), ""},
                   {"rules", html::grouped(std::ssize(report.rules)), ""},
                   {"failed", html::grouped(count(0)), count(0) > 0 ? "bad" : ""},
                   {"warnings", html::grouped(count(2)), count(2) > 0 ? "warn" : ""},
                   {"rows set aside", html::grouped(report.quarantined),
                    report.quarantined > 0 ? "warn" : ""}});
  body +=
      "<h2>Rules</h2>\n<table><tr><th></th><th>rule</th><th class=\"n\">rows looked at</th><th "
      "class=\"n\">unexpected</th><th>wanted and seen</th></tr>\n";
  std::size_t shown = 0;
  for (; shown < rules.size(); ++shown) {
    const auto row = rule_row(*rules[shown]);
    if (body.size() + row.size() > html::kMostBytes) break;
    body += row;
  }
  body += "</table>\n";
  if (shown < rules.size()) {
    body += fmt::format("<p class=\"dim\">{} more rules: see the JSON report.</p>\n",
                        rules.size() - shown);
  }
  return html::page(title, body);
}

}  // namespace slipway::data
