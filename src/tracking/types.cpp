#include "tracking/types.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace slipway::tracking {
namespace {
struct StatusName {
  RunStatus status;
  std::string_view name;
};
constexpr std::array<StatusName, 5> kStatusNames = {{{RunStatus::running, "RUNNING"},
                                                     {RunStatus::scheduled, "SCHEDULED"},
                                                     {RunStatus::finished, "FINISHED"},
                                                     {RunStatus::failed, "FAILED"},
                                                     {RunStatus::killed, "KILLED"}}};
}  // namespace

Result<ExperimentId> ExperimentId::parse(std::string_view text) {
  ExperimentId id;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), id.value);
  if (problem != std::errc{} || end != text.data() + text.size() || id.value < 0) {
    // Any text may be asked for; only numbers were ever given out.
    return not_found("No Experiment with id=" + std::string(text.substr(0, 100)) + " exists");
  }
  return id;
}

std::string_view to_string(RunStatus status) {
  for (const auto& row : kStatusNames) {
    if (row.status == status) return row.name;
  }
  return "RUNNING";
}

Result<RunStatus> parse_run_status(std::string_view text) {
  for (const auto& row : kStatusNames) {
    if (row.name == text) return row.status;
  }
  return invalid_argument("status '" + std::string(text.substr(0, 100)) +
                          "' is none of RUNNING, SCHEDULED, FINISHED, FAILED, KILLED");
}

const Metric* Run::metric(std::string_view key) const {
  const auto found = std::ranges::find(metrics, key, &Metric::key);
  return found == metrics.end() ? nullptr : &*found;
}

const std::string* Run::param(std::string_view key) const {
  const auto found = std::ranges::find(params, key, &Param::key);
  return found == params.end() ? nullptr : &found->value;
}

}  // namespace slipway::tracking
