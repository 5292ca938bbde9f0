// The evaluation as a person reads it in a terminal.
#include "evaluation/evaluation.h"

namespace slipway::evaluation {

namespace {

std::string grouped(std::int64_t number) {
  std::string text = std::to_string(number);
  for (std::size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, ",");
  }
  return text;
}

std::string four(const std::map<std::string, double>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? "-" : fmt::format("{:.4f}", found->second);
}

// Columns a UTF-8 text takes on screen, for the characters used here: one per code point.
std::size_t screen_width(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

using Row = std::vector<std::string>;

// The first column to the left, the others to the right, under a header; control characters never
// reach the terminal.
std::string table(std::vector<Row> rows, int width) {
  std::vector<std::size_t> widths;
  for (auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      for (char& c : row[i]) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
      }
      if (widths.size() <= i) widths.push_back(0);
      widths[i] = std::max(widths[i], screen_width(row[i]));
    }
  }
  // Columns that no longer fit are dropped from the right.
  std::size_t shown = 0;
  for (std::size_t used = 0; shown < widths.size(); ++shown) {
    used += widths[shown] + 2;
    if (shown > 0 && used > static_cast<std::size_t>(std::max(width, 0))) break;
  }
  std::string text;
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t i = 0; i < std::min(shown, row.size()); ++i) {
      const std::string pad(widths[i] - screen_width(row[i]), ' ');
      line += "  " + (i == 0 ? row[i] + pad : pad + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string verdict(const Comparison& one) {
  if (!one.undefined.empty()) return "undefined: " + one.undefined;
  if (one.low > 0) return "better";
  if (one.high < 0) return "worse";
  return "no clear difference";
}

}  // namespace

std::string Evaluation::render_text(int width) const {
  const bool binary = task == "binary";
  std::string text = grouped(rows) + " rows";
  if (rows > 0) {
    text +=
        binary ? fmt::format(", {:.1f} % positive, mean score {:.1f} %", 100 * label_rate,
                             100 * mean_score)
               : fmt::format(", mean label {:.4g}, mean prediction {:.4g}", label_rate, mean_score);
  }
  text += "\n\n";
  std::vector<Row> rows_of_metrics = {
      {"metric", "value", fmt::format("{:g} % interval", 100 * confidence), "naive"}};
  if (!champion_name.empty()) rows_of_metrics[0].push_back(champion_name);
  std::vector<std::string> names;
  for (const Metric metric : kBinaryMetrics) names.emplace_back(to_string(metric));
  for (const Metric metric : kRegressionMetrics) names.emplace_back(to_string(metric));
  for (const auto& name : names) {
    if (!metrics.contains(name)) continue;
    const auto interval = intervals.find(name);
    Row row = {name, four(metrics, name),
               interval == intervals.end() || std::isnan(interval->second.low)
                   ? "-"
                   : fmt::format("{:.4f} .. {:.4f}", interval->second.low, interval->second.high),
               four(naive, name)};
    if (!champion_name.empty()) row.push_back(four(champion, name));
    rows_of_metrics.push_back(std::move(row));
  }
  text += table(std::move(rows_of_metrics), width);
  for (const auto& [name, reason] : undefined)
    text += "  " + name + " is undefined: " + reason + "\n";

  if (!versus_champion.empty()) {
    text += "\nAgainst " + champion_name + " (improvement; positive is better)\n";
    std::vector<Row> lines = {{"metric", "improvement", "interval", "P(better)", "verdict"}};
    for (const auto& one : versus_champion) {
      lines.push_back({std::string(to_string(one.metric)), fmt::format("{:+.4f}", one.improvement),
                       fmt::format("{:+.4f} .. {:+.4f}", one.low, one.high),
                       fmt::format("{:.3f}", one.p_better), verdict(one)});
    }
    text += table(std::move(lines), width);
  }
  if (binary && rows > 0) {
    text += fmt::format("\nConfusion at threshold {:g}\n", threshold);
    text +=
        table({{"", "predicted 0", "predicted 1"},
               {"label 0", grouped(confusion.true_negative), grouped(confusion.false_positive)},
               {"label 1", grouped(confusion.false_negative), grouped(confusion.true_positive)}},
              width);
    text += "\nCalibration\n";
    std::vector<Row> lines = {{"scores", "rows", "mean score", "label rate"}};
    for (const auto& bin : calibration) {
      if (bin.rows == 0) continue;
      lines.push_back({fmt::format("{:.2f} .. {:.2f}", bin.low, bin.high), grouped(bin.rows),
                       fmt::format("{:.3f}", bin.mean_score),
                       fmt::format("{:.3f}", bin.label_rate)});
    }
    text += table(std::move(lines), width);
  }
  if (!slices.empty()) {
    text += "\nSlices\n";
    const std::vector<std::string> shown = binary
                                               ? std::vector<std::string>{"auc", "log_loss", "ece"}
                                               : std::vector<std::string>{"rmse", "mae", "r2"};
    std::vector<Row> lines = {{"slice", "rows", "label mean", "score mean"}};
    lines[0].insert(lines[0].end(), shown.begin(), shown.end());
    for (const auto& slice : slices) {
      Row row = {slice.column + " = " + slice.value, grouped(slice.rows),
                 fmt::format("{:.3f}", slice.label_rate), fmt::format("{:.3f}", slice.mean_score)};
      for (const auto& name : shown) row.push_back(four(slice.metrics, name));
      lines.push_back(std::move(row));
    }
    text += table(std::move(lines), width);
  }
  return text;
}

}  // namespace slipway::evaluation
