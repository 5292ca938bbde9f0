// `performance`: what a deployment answered against the labels that came back, by month or week,
// the versions in shadow beside it. Computed from the prediction log, not from anything kept along
// the way.
#include <iostream>

#include "cli/command_internal.h"
#include "evaluation/metrics.h"

namespace slipway::cli {
namespace {

struct PerformanceFlags {
  std::string deployment;
  std::string by = "month";
  std::string shadow;
};

struct Pairs {
  std::vector<double> labels, scores, shadow_labels, shadow_scores;
  std::vector<double> rival_scores;  // the primary's on the rows that the shadow answered too
  std::set<std::int64_t> versions;
};

std::string period_of(Time time, const std::string& by) {
  if (by == "month") return format_time(time).substr(0, 7);
  const Time week = monitoring::window_at(time, std::chrono::days(7)).start;
  return format_time(week).substr(0, 10);
}

std::string figure(double value) {
  return std::isfinite(value) ? fmt::format("{:.4f}", value) : "-";
}

Result<std::map<std::string, Pairs>> gather(Home& home, const PerformanceFlags& flags) {
  auto primary = home.predictions().read(
      flags.deployment, Time::min(), Time::max(),
      {.columns = {"id", "time", "version", "score"}, .role = serving::Role::primary});
  if (!primary) return primary.error();
  auto columns = data::Columns::from_table(*primary);
  if (!columns) return columns.error();
  std::unordered_map<std::string, double> shadows;
  if (!flags.shadow.empty()) {
    auto table = home.predictions().read(
        flags.deployment, Time::min(), Time::max(),
        {.columns = {"id", "alias", "score"}, .role = serving::Role::shadow});
    if (!table) return table.error();
    auto rows = data::Columns::from_table(*table);
    if (!rows) return rows.error();
    const data::Batch batch = rows->batch();
    for (std::int64_t row = 0; row < batch.rows; ++row) {
      if (batch.columns[1].text(row) == flags.shadow && !batch.columns[2].is_null(row))
        shadows[std::string(batch.columns[0].text(row))] = batch.columns[2].real(row);
    }
  }
  const data::Batch batch = columns->batch();
  std::vector<std::string> ids;
  for (std::int64_t row = 0; row < batch.rows; ++row) ids.emplace_back(batch.columns[0].text(row));
  auto labels = home.labels().find(ids, std::nullopt);
  if (!labels) return labels.error();
  std::map<std::string, Pairs> periods;
  for (std::int64_t row = 0; row < batch.rows; ++row) {
    const auto i = static_cast<std::size_t>(row);
    if (!(*labels)[i] || batch.columns[3].is_null(row)) continue;
    Pairs& pairs = periods[period_of(from_micros(batch.columns[1].integer(row)), flags.by)];
    pairs.versions.insert(batch.columns[2].integer(row));
    pairs.labels.push_back((*labels)[i]->value);
    pairs.scores.push_back(batch.columns[3].real(row));
    if (const auto found = shadows.find(ids[i]); found != shadows.end()) {
      pairs.shadow_labels.push_back((*labels)[i]->value);
      pairs.shadow_scores.push_back(found->second);
      pairs.rival_scores.push_back(batch.columns[3].real(row));
    }
  }
  return periods;
}

int show(const Globals& globals, Home& home, const PerformanceFlags& flags) {
  auto periods = gather(home, flags);
  if (!periods) return fail(periods.error());
  const bool shadow = !flags.shadow.empty();
  std::vector<std::string> heading = {flags.by == "month" ? "MONTH" : "WEEK OF",
                                      "LABELLED",
                                      "RATE",
                                      "MEAN SCORE",
                                      "AUC",
                                      "LOG LOSS",
                                      "VERSIONS"};
  if (shadow)
    heading.insert(heading.end(), {flags.shadow + " AUC", flags.shadow + " LOG LOSS", "AUC GAIN",
                                   "LOG LOSS GAIN"});
  TextTable table(heading);
  Json all = Json::array();
  for (const auto& [period, pairs] : *periods) {
    auto measured = evaluation::Binary::of(pairs.labels, pairs.scores);
    if (!measured) return fail(measured.error());
    std::string versions;
    for (const std::int64_t version : pairs.versions)
      versions += (versions.empty() ? "" : ",") + std::to_string(version);
    const double auc = evaluation::auc(*measured);
    const double loss = evaluation::log_loss(*measured);
    std::vector<std::string> row = {period,
                                    std::to_string(pairs.labels.size()),
                                    figure(measured->label_rate()),
                                    figure(measured->mean_score()),
                                    figure(auc),
                                    figure(loss),
                                    versions};
    Json json = {{"period", period},
                 {"labelled", pairs.labels.size()},
                 {"label_rate", json_number(measured->label_rate())},
                 {"mean_score", json_number(measured->mean_score())},
                 {"auc", json_number(auc)},
                 {"log_loss", json_number(loss)},
                 {"versions", pairs.versions}};
    if (shadow) {
      auto other = evaluation::Binary::of(pairs.shadow_labels, pairs.shadow_scores);
      auto same = evaluation::Binary::of(pairs.shadow_labels, pairs.rival_scores);
      if (!other) return fail(other.error());
      if (!same) return fail(same.error());
      const double other_auc = evaluation::auc(*other);
      const double other_loss = evaluation::log_loss(*other);
      const auto signed_figure = [](double value) {
        return std::isfinite(value) ? fmt::format("{:+.4f}", value) : std::string("-");
      };
      row.insert(row.end(), {figure(other_auc), figure(other_loss),
                             signed_figure(evaluation::auc(*same) - other_auc),
                             signed_figure(other_loss - evaluation::log_loss(*same))});
      json["shadow"] = {{"alias", flags.shadow},
                        {"rows", pairs.shadow_labels.size()},
                        {"auc", json_number(other_auc)},
                        {"log_loss", json_number(other_loss)}};
    }
    table.add(std::move(row));
    all.push_back(std::move(json));
  }
  return print(globals, table, all);
}

}  // namespace

void add_performance(CLI::App& app, Globals& globals) {
  auto flags = std::make_shared<PerformanceFlags>();
  CLI::App* command = app.add_subcommand(
      "performance", "What a deployment answered against the labels that came back");
  command->add_option("deployment", flags->deployment, "Its name")->required();
  command->add_option("--by", flags->by, "month or week")
      ->check(CLI::IsMember({"month", "week"}))
      ->capture_default_str();
  command->add_option("--shadow", flags->shadow,
                      "An alias in shadow to set beside it, such as baseline");
  command->add_flag("--json", globals.json, "Print JSON");
  command->footer("Example: slipway performance late --by month --shadow baseline");
  command->callback([flags, &globals] {
    globals.exit_code = with_home(globals, {.create = false},
                                  [&](Home& home) { return show(globals, home, *flags); });
  });
}

}  // namespace slipway::cli
