// Reports as JSON and as text.
#include "data/validation.h"

namespace slipway::data {

bool Report::ok() const {
  return std::all_of(rules.begin(), rules.end(), [](const RuleResult& rule) {
    return rule.ok || rule.warn_only || rule.set_aside;
  });
}

Json Report::to_json() const {
  Json list = Json::array();
  for (const auto& rule : rules) {
    Json item = {{"name", rule.name},
                 {"check", to_string(rule.check)},
                 {"columns", rule.columns},
                 {"severity", rule.warn_only ? "warn" : "error"},
                 {"on_fail", rule.quarantine ? "quarantine" : "stop"},
                 {"ok", rule.ok},
                 {"rows", rule.rows},
                 {"unexpected", rule.unexpected},
                 {"share", rule.share},
                 {"examples", rule.examples},
                 {"message", rule.message}};
    if (!rule.observed.is_null()) item["observed"] = rule.observed;
    list.push_back(std::move(item));
  }
  return {{"ok", ok()}, {"rows", rows}, {"quarantined", quarantined}, {"rules", std::move(list)}};
}

std::string render_text(const Report& report) {
  std::vector<std::array<std::string, 5>> lines = {{"", "check", "rows", "unexpected", "seen"}};
  std::size_t failed = 0;
  for (const auto& rule : report.rules) {
    const std::string_view mark = rule.ok          ? "ok"
                                  : rule.set_aside ? "aside"
                                  : rule.warn_only ? "warn"
                                                   : "FAIL";
    if (!rule.ok) ++failed;
    const auto share = rule.unexpected > 0
                           ? fmt::format("{} ({:.2g} %)", rule.unexpected, rule.share * 100)
                           : std::to_string(rule.unexpected);
    lines.push_back({std::string(mark), rule.name, std::to_string(rule.rows),
                     is_row_check(rule.check) ? share : "-",
                     rule.ok && rule.observed.is_null() ? "" : rule.message});
  }
  std::array<std::size_t, 5> widths{};
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    auto row = fmt::format("{:<{}}  {:<{}}  {:>{}}  {:>{}}  {}", line[0], widths[0], line[1],
                           widths[1], line[2], widths[2], line[3], widths[3], line[4]);
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  text += fmt::format("{} of {} checks passed on {} rows", report.rules.size() - failed,
                      report.rules.size(), report.rows);
  if (report.quarantined > 0) text += fmt::format("; {} rows set aside", report.quarantined);
  return text + (report.ok() ? "\n" : ": not valid\n");
}

}  // namespace slipway::data
