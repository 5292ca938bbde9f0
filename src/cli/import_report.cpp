#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "cli/import_internal.h"

namespace slipway::cli {

std::string environment_value(const char* name) {
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): read once, at start
  return value == nullptr ? "" : value;
}

std::string size_text(std::int64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "kB", "MB", "GB", "TB"};
  double value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1000 && unit + 1 < std::size(kUnits)) {
    value /= 1000;
    ++unit;
  }
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

void ImportLine::show(const transfer::ImportProgress& at) {
  if (isatty(STDERR_FILENO) == 0) return;
  constexpr int kWidth = 24;
  std::string bar;
  if (at.total_runs > 0) {
    const auto done = static_cast<int>(kWidth * std::min(at.runs, at.total_runs) / at.total_runs);
    bar = fmt::format("[{}{}] {}/{} runs", std::string(static_cast<std::size_t>(done), '#'),
                      std::string(static_cast<std::size_t>(kWidth - done), '.'), at.runs,
                      at.total_runs);
  } else {
    bar = fmt::format("{} runs", at.runs);
  }
  std::cerr << "\r\033[K" << bar << "  " << at.points << " points  " << at.files << " files ("
            << size_text(at.bytes) << ")  " << at.what.substr(0, 30) << std::flush;
  shown_ = true;
}

void ImportLine::clear() {
  if (shown_) std::cerr << "\r\033[K" << std::flush;
}

int show_import(const Globals& globals, const transfer::ImportReport& report) {
  TextTable table({"KIND", "MLFLOW", "SLIPWAY", ""});
  for (const transfer::ImportRow& row : report.rows) {
    table.add({row.kind, std::to_string(row.source), std::to_string(row.target),
               row.source == row.target ? green("same") : red("DIFFERS")});
  }
  print(globals, table, report.to_json());
  if (globals.json) return report.matches() ? 0 : kExitNo;
  for (const std::string& note : report.notes) std::cout << dim("note: " + note) << "\n";
  for (const std::string& problem : report.problems)
    std::cout << red("problem: ") << problem << "\n";
  if (report.problem_count > std::ssize(report.problems))
    std::cout << "… and " << report.problem_count - std::ssize(report.problems) << " more\n";
  if (report.matches()) {
    std::cout << green("All is here.") << " " << report.new_runs << " runs were new.\n";
    return 0;
  }
  std::cout << red("Not all is here.")
            << " Run the same command again: what is complete is not brought over twice.\n";
  return kExitNo;
}

}  // namespace slipway::cli
