#include "tuning/study.h"

#include "base/rng.h"
#include "tuning/tpe_internal.h"

namespace slipway::tuning {

namespace {

constexpr std::pair<Trial::State, std::string_view> kStates[] = {
    {Trial::State::running, "running"},
    {Trial::State::complete, "complete"},
    {Trial::State::pruned, "pruned"},
    {Trial::State::failed, "failed"}};

// So that less is better, whatever the direction.
double cost(Direction direction, double value) {
  return direction == Direction::minimize ? value : -value;
}

// Of a trial's reports up to a step: the last value, if there is one.
std::optional<double> value_at(const Trial& trial, std::int64_t step) {
  std::optional<double> value;
  for (const auto& [at, reported] : trial.reports) {
    if (at > step) break;
    value = reported;
  }
  return value;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

}  // namespace

std::string_view to_string(Trial::State state) {
  for (const auto& [value, name] : kStates) {
    if (value == state) return name;
  }
  return "unknown";
}

Result<void> StudySettings::validate() const {
  if (startup_trials < 1)
    return invalid_argument(fmt::format("startup_trials is {}; at least 1", startup_trials));
  if (warmup_steps < 0)
    return invalid_argument(fmt::format("warmup_steps is {}; at least 0", warmup_steps));
  if (min_trials < 1)
    return invalid_argument(fmt::format("min_trials is {}; at least 1", min_trials));
  return {};
}

StudySettings StudySettings::read(SpecReader& reader, StudySettings defaults) {
  StudySettings settings = defaults;
  const StudySettings& d = defaults;
  settings.direction =
      reader.one_of("direction", {"minimize", "maximize"},
                    d.direction == Direction::minimize ? "minimize" : "maximize") == "maximize"
          ? Direction::maximize
          : Direction::minimize;
  settings.sampler = reader.one_of("sampler", {"random", "tpe"},
                                   d.sampler == Sampler::tpe ? "tpe" : "random") == "tpe"
                         ? Sampler::tpe
                         : Sampler::random;
  settings.pruner = reader.one_of("pruner", {"none", "median"},
                                  d.pruner == Pruner::none ? "none" : "median") == "median"
                        ? Pruner::median
                        : Pruner::none;
  const auto whole = [&](std::string_view key, std::int64_t otherwise, std::int64_t least) {
    const std::int64_t value = reader.integer(key, otherwise);
    if (value >= least && value <= 1'000'000) return value;
    reader.problem(key, fmt::format("{} is {}; {} to 1000000 is allowed", key, value, least));
    return otherwise;
  };
  settings.startup_trials = static_cast<int>(whole("startup_trials", d.startup_trials, 1));
  settings.warmup_steps = whole("warmup_steps", d.warmup_steps, 0);
  settings.min_trials = static_cast<int>(whole("min_trials", d.min_trials, 1));
  settings.seed =
      static_cast<std::uint64_t>(reader.integer("seed", static_cast<std::int64_t>(d.seed)));
  return settings;
}

Json StudySettings::to_json() const {
  return {{"direction", direction == Direction::minimize ? "minimize" : "maximize"},
          {"sampler", sampler == Sampler::tpe ? "tpe" : "random"},
          {"startup_trials", startup_trials},
          {"pruner", pruner == Pruner::median ? "median" : "none"},
          {"warmup_steps", warmup_steps},
          {"min_trials", min_trials},
          {"seed", static_cast<std::int64_t>(seed)}};
}

Result<Study> Study::open(Space space, StudySettings settings) {
  if (space.size() == 0)
    return invalid_argument("the search space has no parameters; declare at least one");
  if (auto valid = settings.validate(); !valid) return valid.error();
  return Study(std::move(space), settings);
}

Trial Study::ask() {
  if (!interrupted_.empty()) {
    const auto number = static_cast<std::size_t>(interrupted_.front());
    interrupted_.erase(interrupted_.begin());
    return trials_[number];
  }
  Trial trial;
  trial.number = static_cast<std::int64_t>(trials_.size());
  trial.params = space_.params_at(suggest(trial.number));
  // From the parameters, not from the suggestion: the same bits as after a reading of the JSON.
  points_.push_back(*space_.point_of(trial.params));
  trials_.push_back(trial);
  return trial;
}

std::vector<double> Study::suggest(std::int64_t number) const {
  Rng rng = Rng(settings_.seed).child("trial", static_cast<std::uint64_t>(number));
  std::vector<std::size_t> ranked;  // trials that say something, best first
  std::vector<std::size_t> running;
  for (std::size_t i = 0; i < trials_.size(); ++i) {
    const Trial& trial = trials_[i];
    if (trial.state == Trial::State::running) running.push_back(i);
    const bool ranks = trial.state == Trial::State::complete ||
                       (trial.state == Trial::State::pruned && !trial.reports.empty());
    if (ranks) ranked.push_back(i);
  }
  if (settings_.sampler == Sampler::random || std::ssize(ranked) < settings_.startup_trials) {
    std::vector<double> point;
    for (const auto& parameter : space_.parameters()) {
      point.push_back(parameter.kind == Parameter::Kind::choice
                          ? static_cast<double>(rng.below(parameter.choices.size()))
                          : rng.uniform());
    }
    return point;
  }
  // Complete before pruned; of the pruned, those that got further, then those that were better
  // there.
  const auto key = [&](std::size_t i) {
    const Trial& trial = trials_[i];
    if (trial.state == Trial::State::complete) {
      return std::tuple(0, std::int64_t{0}, cost(settings_.direction, *trial.value), i);
    }
    return std::tuple(1, -trial.reports.back().first,
                      cost(settings_.direction, trial.reports.back().second), i);
  };
  // The best tenth, at most 25. Trials still running count as bad, so that parallel askers spread
  // out.
  const std::size_t best = std::min<std::size_t>((ranked.size() + 9) / 10, 25);
  std::nth_element(ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(best) - 1,
                   ranked.end(), [&](std::size_t a, std::size_t b) { return key(a) < key(b); });
  std::vector<std::size_t> parts[2] = {
      {ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(best)},
      {ranked.begin() + static_cast<std::ptrdiff_t>(best), ranked.end()}};
  parts[1].insert(parts[1].end(), running.begin(), running.end());
  std::vector<const std::vector<double>*> points[2];
  for (const int side : {0, 1}) {
    std::sort(parts[side].begin(), parts[side].end());
    for (const std::size_t i : parts[side]) points[side].push_back(&points_[i]);
  }
  return tpe_suggest(space_, points[0], points[1], rng);
}

Result<Trial*> Study::running(std::int64_t number) {
  if (number < 0 || number >= std::ssize(trials_)) {
    return not_found(
        fmt::format("trial {} was never asked for; there are {}", number, trials_.size()));
  }
  Trial* trial = &trials_[static_cast<std::size_t>(number)];
  if (trial->state != Trial::State::running) {
    return failed_precondition(
        fmt::format("trial {} has ended already: {}", number, to_string(trial->state)));
  }
  std::erase(interrupted_, number);
  return trial;
}

Result<void> Study::tell(std::int64_t number, double value) {
  if (!std::isfinite(value)) return fail(number, fmt::format("its value is {}", value));
  auto trial = running(number);
  if (!trial) return trial.error();
  (*trial)->value = value;
  (*trial)->state = Trial::State::complete;
  return {};
}

Result<bool> Study::report(std::int64_t number, std::int64_t step, double value) {
  auto trial = running(number);
  if (!trial) return trial.error();
  auto& reports = (*trial)->reports;
  if (!reports.empty() && step <= reports.back().first) {
    return invalid_argument(fmt::format("trial {} reports step {} after step {}; steps must ascend",
                                        number, step, reports.back().first));
  }
  // A loss that has left the numbers is the worst there is.
  if (!std::isfinite(value)) {
    value = settings_.direction == Direction::minimize ? std::numeric_limits<double>::max()
                                                       : std::numeric_limits<double>::lowest();
  }
  reports.emplace_back(step, value);
  return settings_.pruner == Pruner::median && should_prune(**trial);
}

bool Study::should_prune(const Trial& trial) const {
  const std::int64_t step = trial.reports.back().first;
  if (step < settings_.warmup_steps) return false;
  std::vector<double> others;
  for (const Trial& other : trials_) {
    if (other.state != Trial::State::complete) continue;
    if (const auto value = value_at(other, step))
      others.push_back(cost(settings_.direction, *value));
  }
  if (std::ssize(others) < settings_.min_trials) return false;
  double best = std::numeric_limits<double>::infinity();
  for (const auto& [at, value] : trial.reports)
    best = std::min(best, cost(settings_.direction, value));
  return best > median(std::move(others));
}

Result<void> Study::prune(std::int64_t number) {
  auto trial = running(number);
  if (!trial) return trial.error();
  (*trial)->state = Trial::State::pruned;
  return {};
}

Result<void> Study::fail(std::int64_t number, std::string reason) {
  auto trial = running(number);
  if (!trial) return trial.error();
  (*trial)->state = Trial::State::failed;
  (*trial)->reason = std::move(reason);
  return {};
}

std::int64_t Study::finished() const {
  return std::count_if(trials_.begin(), trials_.end(),
                       [](const Trial& trial) { return trial.state != Trial::State::running; });
}

const Trial* Study::best() const {
  const Trial* best = nullptr;
  for (const Trial& trial : trials_) {
    if (trial.state != Trial::State::complete) continue;
    if (best == nullptr ||
        cost(settings_.direction, *trial.value) < cost(settings_.direction, *best->value)) {
      best = &trial;
    }
  }
  return best;
}

Json Study::to_json() const {
  Json trials = Json::array();
  for (const Trial& trial : trials_) {
    trials.push_back({{"params", trial.params},
                      {"state", std::string(to_string(trial.state))},
                      {"value", trial.value ? Json(*trial.value) : Json()},
                      {"reports", trial.reports},
                      {"reason", trial.reason}});
  }
  return {{"space", space_.to_json()},
          {"settings", settings_.to_json()},
          {"trials", std::move(trials)}};
}

Result<Study> Study::from_json(const Json& json) {
  try {
    auto space = Space::from_json(json.at("space"));
    if (!space) return space.error();
    const SpecDocument document = SpecDocument::from_json(json.at("settings"), "study settings");
    SpecReader reader(document);
    const StudySettings settings = StudySettings::read(reader, {});
    if (auto sound = reader.finish(); !sound) return sound.error();
    Study study(std::move(*space), settings);
    for (const Json& one : json.at("trials")) {
      Trial trial;
      trial.number = std::ssize(study.trials_);
      trial.params = one.at("params");
      const auto state = one.at("state").get<std::string>();
      const auto known = std::find_if(std::begin(kStates), std::end(kStates),
                                      [&](const auto& pair) { return pair.second == state; });
      if (known == std::end(kStates))
        return invalid_argument("trial state '" + state + "' is unknown");
      trial.state = known->first;
      if (!one.at("value").is_null()) trial.value = one.at("value").get<double>();
      if ((trial.state == Trial::State::complete) != trial.value.has_value()) {
        return invalid_argument(fmt::format("trial {} is {} but its value is {}", trial.number,
                                            state, one["value"].dump()));
      }
      trial.reason = one.at("reason").get<std::string>();
      if (trial.state == Trial::State::running) {
        study.interrupted_.push_back(trial.number);  // begins anew, without its reports
      } else {
        trial.reports = one.at("reports").get<std::vector<std::pair<std::int64_t, double>>>();
      }
      auto point = study.space_.point_of(trial.params);
      if (!point) return point.error().at(fmt::format("trial {}", trial.number));
      study.points_.push_back(std::move(*point));
      study.trials_.push_back(std::move(trial));
    }
    return study;
  } catch (const Json::exception& failure) {
    return invalid_argument(std::string("this is not a study: ") + failure.what());
  }
}

}  // namespace slipway::tuning
