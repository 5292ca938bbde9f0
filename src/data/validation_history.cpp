// Figures of earlier versions, for rules that learn their bands.
#include "base/clock.h"
#include "data/profile.h"
#include "data/validation.h"

namespace slipway::data {

namespace {

std::optional<double> figure_in_report(const Expectation& rule, const Json& report) {
  if (!report.is_object()) return std::nullopt;
  const auto rules = report.find("rules");
  if (rules == report.end() || !rules->is_array()) return std::nullopt;
  for (const auto& each : *rules) {
    if (!each.is_object() || each.value("name", Json()) != Json(rule.name)) continue;
    const auto observed = each.find("observed");
    if (observed == each.end()) return std::nullopt;
    if (observed->is_number()) return observed->get<double>();
    if (!observed->is_string()) return std::nullopt;  // else the least or the greatest time
    const auto time = parse_time(observed->get_ref<const std::string&>());
    if (time) return static_cast<double>(to_micros(*time));
  }
  return std::nullopt;
}

std::optional<double> figure_in_profile(const Expectation& rule, const Profile& profile) {
  if (!rule.where.empty()) return std::nullopt;
  if (rule.check == Check::row_count) return static_cast<double>(profile.rows);
  if (rule.check == Check::column_count) return static_cast<double>(profile.columns.size());
  const auto* column = rule.columns.empty() ? nullptr : profile.find(rule.columns.front());
  if (column == nullptr) return std::nullopt;
  const auto present = static_cast<double>(column->rows - column->nulls);
  switch (rule.check) {
    case Check::null_share:
      return column->null_share();
    case Check::min:
      return column->min;
    case Check::max:
      return column->max;
    case Check::mean:
      return column->mean;
    case Check::stddev:
      return column->stddev;
    case Check::sum:
      if (!column->mean) return std::nullopt;
      return *column->mean * (present - static_cast<double>(column->not_finite));
    case Check::distinct_count:
      return static_cast<double>(column->distinct);
    case Check::distinct_share:
      if (present == 0) return std::nullopt;
      return static_cast<double>(column->distinct) / present;
    case Check::median:
    case Check::quantile: {
      const double wanted = rule.check == Check::median ? 0.5 : rule.probability;
      for (const auto& [p, value] : column->quantiles) {
        if (p == wanted) return value;
      }
      return std::nullopt;
    }
    default:
      return std::nullopt;
  }
}

}  // namespace

std::map<std::string, std::vector<double>> history_of(const std::vector<Expectation>& expectations,
                                                      const std::vector<EarlierVersion>& versions) {
  std::map<std::string, std::vector<double>> history;
  for (const auto& version : versions) {
    const auto profile = version.profile.is_object() ? Profile::from_json(version.profile)
                                                     : Result<Profile>(not_found("no profile"));
    for (const auto& rule : expectations) {
      if (!rule.learn) continue;
      auto figure = figure_in_report(rule, version.report);
      if (!figure && profile) figure = figure_in_profile(rule, *profile);
      if (figure) history[rule.name].push_back(*figure);
    }
  }
  return history;
}

}  // namespace slipway::data
