#include "serving/rollout.h"

#include <fmt/ranges.h>
namespace slipway::serving {
namespace {

constexpr std::size_t kMostStages = 20;

void plus(ArmCounts& total, const ArmCounts& more) {
  total.requests += more.requests;
  total.failures += more.failures;
  total.slow += more.slow;
}

// What goes by now, beside what was evidence: which of the guards says "worse".
std::optional<std::string> alarm(const Rollout& rollout) {
  const int guards = 1 + (rollout.spec.slow_us > 0 ? 1 : 0) + (rollout.spec.labels ? 1 : 0);
  const double wanted = std::log(guards / rollout.spec.alpha);  // Bonferroni's
  struct Guard {
    const char* what;
    const Evidence& evidence;
  };
  for (const Guard& guard : {Guard{"it fails more often", rollout.errors},
                             Guard{"it is slow more often", rollout.latency},
                             Guard{"it is wrong more often", rollout.quality}}) {
    if (guard.evidence.log_value() < wanted) continue;
    return fmt::format("{} than {} times version {}: evidence {:.3g}, {:.3g} is enough (alpha {})",
                       guard.what, rollout.spec.tolerance, rollout.control_version,
                       std::exp(guard.evidence.log_value()), std::exp(wanted), rollout.spec.alpha);
  }
  return std::nullopt;
}

// The evidence of labels is made anew each time: a label may be corrected.
void weigh_outcomes(Rollout& rollout, const std::vector<Outcome>& outcomes) {
  rollout.quality = {};
  rollout.labelled = 0;
  for (const Outcome& outcome : outcomes) {
    const bool candidate = outcome.version == rollout.candidate_version;
    if (!candidate && outcome.version != rollout.control_version) continue;
    const auto later = std::ranges::upper_bound(rollout.stage_began, outcome.time);
    if (later == rollout.stage_began.begin()) continue;
    const auto stage = static_cast<std::size_t>(later - rollout.stage_began.begin()) - 1;
    ++rollout.labelled;
    rollout.quality.add(candidate, outcome.badness,
                        null_share(rollout.spec.stages[stage], rollout.spec.tolerance));
  }
}

}  // namespace

std::string_view to_string(RolloutState state) {
  switch (state) {
    case RolloutState::running:
      return "running";
    case RolloutState::paused:
      return "paused";
    case RolloutState::promoting:
      return "promoting";
    case RolloutState::rolling_back:
      return "rolling_back";
    case RolloutState::promoted:
      return "promoted";
    case RolloutState::rolled_back:
      return "rolled_back";
    case RolloutState::aborted:
      return "aborted";
  }
  return "aborted";
}

Json ArmCounts::to_json() const {
  return {{"requests", requests}, {"failures", failures}, {"slow", slow}};
}

Result<void> RolloutSpec::validate() const {
  if (candidate.empty()) return invalid_argument("a rollout needs the alias of its candidate");
  if (stages.empty() || stages.size() > kMostStages) {
    return invalid_argument(
        fmt::format("a rollout has 1 to {} stages, this has {}", kMostStages, stages.size()));
  }
  double before = 0;
  for (const double stage : stages) {
    if (!(stage > before && stage < 1)) {
      return invalid_argument(fmt::format(
          "a rollout's stages are shares that grow, above 0 and below 1 (after the last the "
          "candidate is promoted); found {}",
          fmt::join(stages, ", ")));
    }
    before = stage;
  }
  if (min_requests < 0 || min_time.count() < 0 || slow_us < 0)
    return invalid_argument("a rollout's min_requests, min_time and slow_us are not negative");
  if (!(alpha > 0 && alpha < 1))
    return invalid_argument(fmt::format("alpha is {}, wanted above 0 and below 1", alpha));
  if (!(tolerance >= 1 && tolerance <= 100))
    return invalid_argument(fmt::format("tolerance is {}, wanted 1 to 100", tolerance));
  return {};
}

Json RolloutSpec::to_json() const {
  return {{"candidate", candidate},
          {"stages", stages},
          {"min_requests", min_requests},
          {"min_time", fmt::format("{}us", min_time.count())},
          {"alpha", alpha},
          {"tolerance", tolerance},
          {"slow_us", slow_us},
          {"labels", labels}};
}

RolloutSpec RolloutSpec::read(SpecReader& reader) {
  RolloutSpec spec;
  spec.candidate = reader.text("candidate", spec.candidate);
  if (const Json stages = reader.json("stages"); !stages.is_null()) {
    spec.stages.clear();
    const bool numbers = stages.is_array() && std::ranges::all_of(stages, [](const Json& stage) {
                           return stage.is_number();
                         });
    if (numbers) {
      spec.stages = stages.get<std::vector<double>>();
    } else {
      reader.problem("stages", "has to be a list of shares, such as [0.01, 0.1, 0.5]");
    }
  }
  spec.min_requests = reader.integer("min_requests", spec.min_requests);
  spec.min_time = reader.duration("min_time", spec.min_time);
  spec.alpha = reader.number("alpha", spec.alpha);
  spec.tolerance = reader.number("tolerance", spec.tolerance);
  spec.slow_us = reader.integer("slow_us", spec.slow_us);
  spec.labels = reader.boolean("labels", spec.labels);
  if (auto sound = spec.validate(); !sound) {
    reader.problem("", sound.error().message);
    spec.stages = RolloutSpec{}.stages;  // what is read on must have one
  }
  return spec;
}

Json Rollout::to_json() const {
  Json began = Json::array();
  for (const Time time : stage_began) began.push_back(format_time(time));
  return {{"id", id},
          {"deployment", deployment},
          {"state", to_string(state)},
          {"started", format_time(started)},
          {"updated", format_time(updated)},
          {"spec", spec.to_json()},
          {"control_version", control_version},
          {"candidate_version", candidate_version},
          {"stage", stage},
          {"weight", open()                            ? weight()
                     : state == RolloutState::promoted ? 1.0
                                                       : 0.0},
          {"stage_began", began},
          {"stage_requests", stage_requests},
          {"control", control.to_json()},
          {"candidate", candidate.to_json()},
          {"labelled", labelled},
          {"evidence",
           {{"errors", std::exp(errors.log_value())},
            {"latency", std::exp(latency.log_value())},
            {"labels", std::exp(quality.log_value())}}},
          {"reason", reason}};
}

Rollout advance(Rollout rollout, const RolloutObservation& seen, Time now) {
  const double share = null_share(rollout.weight(), rollout.spec.tolerance);
  plus(rollout.control, seen.control);
  plus(rollout.candidate, seen.candidate);
  rollout.stage_requests += seen.candidate.requests + seen.candidate.failures;
  rollout.errors.add_many(seen.candidate.failures, seen.control.failures, share);
  if (rollout.spec.slow_us > 0)
    rollout.latency.add_many(seen.candidate.slow, seen.control.slow, share);
  if (rollout.spec.labels && seen.outcomes) weigh_outcomes(rollout, *seen.outcomes);

  if (auto worse = alarm(rollout)) {
    rollout.state = RolloutState::rolling_back;
    rollout.reason = std::move(*worse);
    return rollout;
  }
  if (rollout.state != RolloutState::running ||
      rollout.stage_requests < rollout.spec.min_requests ||
      now - rollout.stage_began.back() < rollout.spec.min_time)
    return rollout;
  if (rollout.stage + 1 == rollout.spec.stages.size()) {
    rollout.state = RolloutState::promoting;
    rollout.reason = fmt::format("not shown to be worse in {} requests and {} labels",
                                 rollout.candidate.requests, rollout.labelled);
    return rollout;
  }
  ++rollout.stage;
  rollout.stage_began.push_back(now);
  rollout.stage_requests = 0;
  rollout.reason = fmt::format("not shown to be worse in stage {}", rollout.stage);
  return rollout;
}

ArmCounts counts_of(const VersionStats& stats, std::int64_t slow_us) {
  ArmCounts counts{.requests = stats.requests.load(), .failures = stats.failures.load()};
  if (slow_us <= 0) return counts;
  const auto above = std::ranges::upper_bound(kLatencyBounds, slow_us);
  for (auto bucket = static_cast<std::size_t>(above - kLatencyBounds.begin());
       bucket < stats.buckets.size(); ++bucket)
    counts.slow += stats.buckets[bucket].load();
  return counts;
}

}  // namespace slipway::serving
