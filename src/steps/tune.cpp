// `tune`: a search for training parameters. Every trial is a child run; the best parameters go on
// to `train`.
//   tune:
//     dataset/window/target/features/known/trainer/validation_share: as in train
//     space: {learning_rate: {low: 0.03, high: 0.3, log: true}, max_depth: {low: 3, high: 8}}
//     study: {sampler: tpe, pruner: median}
//     trials: 12
//     metric: log_loss             # of the held-out rows
#include "evaluation/metrics.h"
#include "steps/learning_internal.h"
#include "tuning/study.h"

namespace slipway::steps {
namespace {

struct TuneSpec {
  LearningSpec learning;
  std::optional<tuning::Space> space;
  tuning::StudySettings study;
  std::int64_t trials = 20;
  std::int64_t max_rows = 0;
  static TuneSpec read(SpecReader& reader) {
    TuneSpec spec;
    spec.learning = LearningSpec::read(reader);
    spec.space = tuning::Space::read(reader, "space");
    SpecReader study = reader.object("study");
    spec.study = tuning::StudySettings::read(
        study, {.direction = tuning::Direction::minimize, .pruner = tuning::Pruner::median});
    study.close();
    spec.trials = reader.integer("trials", 20);
    if (spec.trials < 1 || spec.trials > 100000)
      reader.problem("trials", "'trials' has to be between 1 and 100000");
    spec.max_rows = reader.integer("max_rows", 0);
    return spec;
  }
};

class TuneStep final : public pipeline::StepKind {
 public:
  explicit TuneStep(const Services& services) : services_(services) {}
  std::string_view name() const override { return "tune"; }
  Result<void> check(SpecReader& config) const override {
    TuneSpec::read(config);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"params", "value", "metric", "trials", "pruned", "run_id"}};
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    TuneSpec spec = TuneSpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    if (spec.study.seed == 0) spec.study.seed = call.seed;
    spec.study.direction = spec.learning.trainer.higher_is_better() ? tuning::Direction::maximize
                                                                    : tuning::Direction::minimize;
    auto study = tuning::Study::open(*spec.space, spec.study);
    if (!study) return study.error();

    auto rows = LearningRows::load(ctx, services_, spec.learning, call.work_dir);
    if (!rows) return rows.error();
    auto prepared = prepare(ctx, spec.learning, *rows, call.seed);
    if (!prepared) return prepared.error();
    if (spec.max_rows > 0 && static_cast<std::size_t>(spec.max_rows) < prepared->train.rows)
      keep_newest(prepared->train, static_cast<std::size_t>(spec.max_rows));

    auto parent = TrackedRun::start(ctx, services_, call, call.config.step());
    if (!parent) return parent.error();
    if (auto used = parent->used_dataset(services_, rows->dataset(), "tuning"); !used)
      return used.error();
    int pruned = 0;
    while (study->finished() < spec.trials) {
      if (auto wanted = ctx.check(); !wanted) return wanted.error();
      const tuning::Trial trial = study->ask();
      auto outcome = run_trial(ctx, call, spec, *study, trial, *prepared, parent->id().value);
      if (!outcome) return outcome.error();
      pruned += *outcome ? 0 : 1;
      call.progress(
          static_cast<double>(study->finished()) / static_cast<double>(spec.trials),
          fmt::format("trial {} of {}, best {}", study->finished(), spec.trials,
                      study->best() == nullptr ? std::string("none yet")
                                               : fmt::format("{:.5f}", *study->best()->value)));
    }
    const tuning::Trial* best = study->best();
    if (best == nullptr)
      return failed_precondition("no trial of " + std::to_string(spec.trials) +
                                 " was completed: see the child runs of " + parent->id().value);
    if (auto logged = parent->params({{"best", best->params}, {"study", spec.study.to_json()}});
        !logged)
      return logged.error();
    const std::string metric = spec.learning.trainer.metric_name();
    if (auto logged = parent->metrics({{"best_" + metric, *best->value}}); !logged)
      return logged.error();
    if (auto done = parent->finish(); !done) return done.error();

    pipeline::StepResult result;
    result.outputs = {{"params", best->params}, {"value", *best->value},
                      {"metric", metric},       {"trials", spec.trials},
                      {"pruned", pruned},       {"run_id", parent->id().value}};
    result.summary = fmt::format("{} trials ({} pruned), best {} {:.5f} with {}", spec.trials,
                                 pruned, metric, *best->value, best->params.dump());
    return result;
  }

 private:
  static void keep_newest(features::Matrix& matrix, std::size_t rows) {
    const std::size_t drop = matrix.rows - rows;
    matrix.values.erase(matrix.values.begin(),
                        matrix.values.begin() + static_cast<std::ptrdiff_t>(drop * matrix.cols));
    matrix.labels.erase(matrix.labels.begin(),
                        matrix.labels.begin() + static_cast<std::ptrdiff_t>(drop));
    matrix.rows = rows;
  }

  // True when the trial was completed, false when it was pruned or failed.
  Result<bool> run_trial(const Context& ctx, const pipeline::StepCall& call, const TuneSpec& spec,
                         tuning::Study& study, const tuning::Trial& trial, const Prepared& prepared,
                         const std::string& parent) const {
    auto run =
        TrackedRun::start(ctx, services_, call, "trial " + std::to_string(trial.number), parent);
    if (!run) return run.error();
    auto trainer = trainer_of(spec.learning, trial.params, call.seed, call.config.place("space"));
    if (!trainer) return trainer.error();
    if (auto logged = run->params(trainer->to_json()); !logged) return logged.error();
    bool prune = false;
    double best = std::numeric_limits<double>::quiet_NaN();
    const bool higher = trainer->higher_is_better();
    auto trained = training::train(
        ctx, *trainer, prepared.train, &prepared.validation, [&](int round, double metric) {
          if (std::isnan(best) || (higher ? metric > best : metric < best)) best = metric;
          if (round % 10 != 0 || round == 0) return false;
          auto told = study.report(trial.number, round, metric);
          prune = told && *told;
          return prune;
        });
    if (!trained) {
      if (trained.error().code == Code::cancelled) return trained.error();
      if (auto told = study.fail(trial.number, trained.error().message); !told) return told.error();
      return false;
    }
    const std::string metric = trainer->metric_name();
    if (auto logged = run->metrics({{"validation_" + metric, best}}); !logged)
      return logged.error();
    auto told = prune ? study.prune(trial.number) : study.tell(trial.number, best);
    if (!told) return told.error();
    if (auto tagged =
            services_.tracking.set_tag(run->id(), "slipway.trial", prune ? "pruned" : "complete");
        !tagged)
      return tagged.error();
    if (auto done = run->finish(); !done) return done.error();
    return !prune;
  }

  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_tune(const Services& services) {
  return std::make_unique<TuneStep>(services);
}

}  // namespace slipway::steps
