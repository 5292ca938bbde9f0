#include "cli/progress_internal.h"

#include <iostream>

namespace slipway::cli {
namespace {

std::string shown(pipeline::StepState state) {
  const std::string text(pipeline::to_string(state));
  if (state == pipeline::StepState::failed || state == pipeline::StepState::refused)
    return red(text);
  if (state == pipeline::StepState::succeeded || state == pipeline::StepState::cached)
    return green(text);
  return dim(text);
}

}  // namespace

void Progress::run_started(const pipeline::RunReport& run) {
  if (!quiet_) {
    std::cout << "run " << run.id.substr(0, 12) << " of pipeline " << run.pipeline << "\n"
              << std::flush;
  }
}

void Progress::step_progress(const std::string& step, double fraction, std::string_view what) {
  if (quiet_ || !colours()) return;
  std::cout << "\r\033[K" << dim(fmt::format("  {} {:3.0f} %  {}", step, fraction * 100, what))
            << std::flush;
}

void Progress::step_retrying(const pipeline::StepReport& step, Duration in) {
  if (!quiet_)
    std::cout << fmt::format("  {} is tried again in {}: {}\n", step.name, format_duration(in),
                             step.error);
}

void Progress::step_ended(const pipeline::StepReport& step) {
  if (quiet_) return;
  if (colours()) std::cout << "\r\033[K";
  std::cout << fmt::format(
      "  {:<12} {:<10} {:>9}  {}\n", step.name, shown(step.state),
      step.state == pipeline::StepState::cached ? "" : format_duration(step.duration),
      step.error.empty() ? step.summary : step.error);
  if (step.state != pipeline::StepState::succeeded && !step.why.empty())
    std::cout << dim("               " + step.why) << "\n";
  std::cout << std::flush;
}

int show_outcome(const Globals& globals, const pipeline::RunReport& report) {
  if (globals.json) {
    std::cout << to_json(report).dump(2) << "\n";
  } else {
    std::cout << fmt::format(
        "{} in {}\n", pipeline::to_string(report.state),
        format_duration(report.ended.value_or(report.started) - report.started));
  }
  switch (report.state) {
    case pipeline::RunState::succeeded:
      return 0;
    case pipeline::RunState::refused:
      return kExitNo;
    case pipeline::RunState::cancelled:
      return 130;
    default:
      if (!report.error.empty()) std::cerr << "error: " << report.error << "\n";
      return 1;
  }
}

}  // namespace slipway::cli
