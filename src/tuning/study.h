// A search for good parameters by ask and tell.
//   auto study = Study::open(space, {.direction = Direction::minimize, .seed = 7});
//   while (study->finished() < 50) {
//     const Trial trial = study->ask();
//     for (step …) if (study->report(trial.number, step, loss)) { study->prune(trial.number); … }
//     study->tell(trial.number, loss);
//   }
//   study->best()->params
// Suggestions depend only on the seed, the trial's number and what has been told: a study read back
// from its JSON goes on as if it had never stopped, and hands out the trials that were running then
// once more, first. TPE: J. Bergstra, R. Bardenet, Y. Bengio, B. Kégl, "Algorithms for
// hyper-parameter optimization" (NeurIPS 2011), with multivariate kernels: S. Falkner, A. Klein, F.
// Hutter, "BOHB" (ICML 2018). Median pruning: D. Golovin et al., "Google Vizier" (KDD 2017),
// section 3.2.2. Not thread-safe; an ask costs less than 1 ms at 1,000 trials.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "tuning/space.h"

namespace slipway::tuning {

enum class Direction { minimize, maximize };
enum class Sampler { random, tpe };
enum class Pruner { none, median };

struct StudySettings {
  Direction direction = Direction::minimize;
  Sampler sampler = Sampler::tpe;
  int startup_trials = 10;  // random ones before TPE begins
  Pruner pruner = Pruner::none;
  std::int64_t warmup_steps = 5;  // reports before this step never prune
  int min_trials = 4;             // finished trials that the median needs
  std::uint64_t seed = 0;

  Result<void> validate() const;
  // Keys direction, sampler, startup_trials, pruner, warmup_steps, min_trials, seed of the reader's
  // object, all with defaults; those given here stand for missing ones. Problems are noted in the
  // reader.
  static StudySettings read(SpecReader& reader, StudySettings defaults);
  Json to_json() const;
};

struct Trial {
  enum class State { running, complete, pruned, failed };
  std::int64_t number = 0;  // from 0
  Json params = Json::object();
  State state = State::running;
  std::optional<double> value;                           // of a complete trial
  std::vector<std::pair<std::int64_t, double>> reports;  // (step, value), steps ascending
  std::string reason;                                    // why it failed
};
std::string_view to_string(Trial::State state);

class Study {
 public:
  static Result<Study> open(Space space, StudySettings settings);
  // From to_json(); data that is not a study's is invalid_argument.
  static Result<Study> from_json(const Json& json);
  Json to_json() const;

  // The next trial, running from now on.
  Trial ask();
  // Completes a trial. A value that is not finite makes it a failed one. not_found for a number
  // never asked for, failed_precondition when the trial has ended already (here and below).
  Result<void> tell(std::int64_t number, double value);
  // An intermediate value; steps must ascend. True: this trial is not worth going on with.
  Result<bool> report(std::int64_t number, std::int64_t step, double value);
  // Ends a trial as pruned: its last report ranks it below all complete ones.
  Result<void> prune(std::int64_t number);
  Result<void> fail(std::int64_t number, std::string reason);

  const Space& space() const { return space_; }
  const StudySettings& settings() const { return settings_; }
  const std::vector<Trial>& trials() const { return trials_; }
  std::int64_t finished() const;  // trials no longer running
  // The best complete trial, the earliest of equals; nullptr when there is none.
  const Trial* best() const;

 private:
  Study(Space space, StudySettings settings) : space_(std::move(space)), settings_(settings) {}
  Result<Trial*> running(std::int64_t number);
  std::vector<double> suggest(std::int64_t number) const;
  bool should_prune(const Trial& trial) const;

  Space space_;
  StudySettings settings_;
  std::vector<Trial> trials_;
  std::vector<std::vector<double>> points_;  // of trials_, in the space's coordinates
  std::vector<std::int64_t>
      interrupted_;  // running when the study was written: handed out again, first to last
};

}  // namespace slipway::tuning
