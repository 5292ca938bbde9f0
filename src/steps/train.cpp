// `train`: features fitted and a model trained on a window of a dataset version, into a bundle.
//   train:
//     dataset: ${steps.validate.dataset}
//     window: {column: time_hour, until: ${params.train_until}}
//     target: late
//     features: [ … ]              # features/spec.h
//     known: { … }                 # data/knowledge.h: a feature from the future is an error
//     trainer: {algorithm: xgboost, rounds: 200}
//     params: ${steps.tune.params} # laid over trainer
//     validation_share: 0.2        # the newest rows, to find the number of rounds and the
//     reference metrics refit: true                  # then once more on all rows
#include "evaluation/evaluation.h"
#include "monitoring/reference.h"
#include "steps/learning_internal.h"

namespace slipway::steps {
namespace {

struct TrainSpec {
  LearningSpec learning;
  Json params;
  std::string model;
  bool refit = true;
  static TrainSpec read(SpecReader& reader) {
    TrainSpec spec;
    spec.learning = LearningSpec::read(reader);
    spec.params = reader.json("params");
    spec.model = reader.text("model", "model");
    spec.refit = reader.boolean("refit", true);
    return spec;
  }
};

// Gains of matrix columns ("carrier=UA", "time_hour.hour") summed by the raw column they come from.
std::map<std::string, double> importance_by_input(const training::Trained& trained,
                                                  const features::Pipeline& pipeline) {
  std::map<std::string, double> sums;
  for (const auto& [output, gain] : trained.importance) {
    const data::Field* best = nullptr;
    for (const data::Field& field : pipeline.inputs().fields) {
      if (output.starts_with(field.name) &&
          (best == nullptr || field.name.size() > best->name.size()))
        best = &field;
    }
    if (best != nullptr) sums[best->name] += gain;
  }
  return sums;
}

Json versions_of(const features::Pipeline& fitted, const features::ViewSource& views) {
  Json versions = Json::object();
  for (const features::ViewSpec& view : fitted.views())
    versions[view.name] = views.find(view.name)->version();
  return versions;
}

class TrainStep final : public pipeline::StepKind {
 public:
  explicit TrainStep(const Services& services) : services_(services) {}
  std::string_view name() const override { return "train"; }
  Result<void> check(SpecReader& config) const override {
    TrainSpec::read(config);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"bundle", "run_id", "rounds", "rows", "validation", "dataset"}};
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    TrainSpec spec = TrainSpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    auto trainer = trainer_of(spec.learning, spec.params, call.seed, call.config.place("trainer"));
    if (!trainer) return trainer.error();
    const Json trainer_json = trainer->to_json();

    call.progress(0, "loading rows");
    auto rows = LearningRows::load(ctx, services_, spec.learning, call.work_dir);
    if (!rows) return rows.error();
    auto run = TrackedRun::start(ctx, services_, call, call.config.step());
    if (!run) return run.error();
    if (auto logged = run->params(trainer_json); !logged) return logged.error();
    if (auto used = run->used_dataset(services_, rows->dataset(), "training"); !used)
      return used.error();

    call.progress(0.1, "fitting features");
    auto prepared = prepare(ctx, spec.learning, *rows, call.seed);
    if (!prepared) return prepared.error();
    const auto on_round = [&](int round, double metric) {
      if (round % 10 == 0) {
        call.progress(0.15 + 0.4 * round / std::max(1, trainer->rounds),
                      fmt::format("round {}: {} {:.4f}", round, trainer->metric_name(), metric));
      }
      return false;
    };
    auto trained = training::train(ctx, *trainer, prepared->train, &prepared->validation, on_round);
    if (!trained) return trained.error();
    if (auto logged = log_curve(*run, *trained); !logged) return logged.error();

    // The reference metrics come from rows the model has not seen; only then may it learn from them
    // too.
    auto held_out = score_held_out(*trained, *prepared, call.seed);
    if (!held_out) return held_out.error();
    features::Pipeline fitted = prepared->pipeline;
    if (spec.refit) {
      call.progress(0.6, "training on all rows");
      training::TrainerSpec again = *trainer;
      again.early_stopping_rounds = 0;
      if (trained->kind == "xgboost") again.rounds = std::max(1, trained->rounds);
      *prepared = Prepared{fitted, {}, {}};  // the memory is needed
      auto whole =
          fit_rows(ctx, spec.learning, rows->all(), rows->labels(), rows->views(), call.seed);
      if (!whole) return whole.error();
      auto final_model = training::train(ctx, again, whole->matrix);
      if (!final_model) return final_model.error();
      fitted = whole->pipeline;
      *trained = std::move(*final_model);
    }
    for (const std::string& note : fitted.notes()) call.log.line("note: " + note);
    // What the model was trained on is what it will be asked with, from now on.
    for (const features::ViewSpec& view : fitted.views()) {
      auto switched =
          services_.views.materialise(ctx, view, rows->views().find(view.name)->version());
      if (!switched) return switched.error();
      call.log.line("view '" + view.name + "' is looked up in " + switched->version);
    }
    call.progress(0.85, "writing the bundle");
    auto bundle =
        store_bundle(ctx, call, spec, *rows, fitted, *trained, *held_out, *run, trainer_json);
    if (!bundle) return bundle.error();

    std::map<std::string, double> metrics;
    for (const auto& [key, value] : held_out->metrics) metrics["validation_" + key] = value;
    if (auto logged = run->metrics(metrics); !logged) return logged.error();
    if (auto done = run->finish(); !done) return done.error();

    pipeline::StepResult result;
    Json shown = Json::object();
    for (const auto& [key, value] : held_out->metrics) shown[key] = value;
    result.outputs = {{"bundle", bundle->sha256},  {"run_id", run->id().value},
                      {"rounds", trained->rounds}, {"rows", rows->all().rows},
                      {"validation", shown},       {"dataset", rows->dataset().text()}};
    result.artifacts.push_back({"bundle", bundle->sha256, bundle->size, true});
    result.summary = fmt::format("{} rows, {} features, {} rounds", rows->all().rows,
                                 fitted.outputs().size(), trained->rounds);
    for (const char* key : {"auc", "log_loss", "rmse"}) {
      if (held_out->metrics.contains(key))
        result.summary += fmt::format(", validation {} {:.4f}", key, held_out->metrics.at(key));
    }
    return result;
  }

 private:
  static Result<void> log_curve(TrackedRun& run, const training::Trained& trained) {
    std::vector<std::pair<std::int64_t, double>> points;
    for (std::size_t round = 0; round < trained.validation.size(); ++round) {
      if (round % 5 != 0 && round + 1 != trained.validation.size()) continue;
      points.emplace_back(static_cast<std::int64_t>(round), trained.validation[round]);
    }
    return run.curve("validation_" + trained.metric, points);
  }

  static Result<evaluation::Evaluation> score_held_out(const training::Trained& trained,
                                                       const Prepared& prepared,
                                                       std::uint64_t seed) {
    auto model = models::load_model(trained.kind, trained.model);
    if (!model) return model.error();
    std::vector<double> scores(prepared.validation.rows);
    if (auto done = (*model)->predict(prepared.validation.values, prepared.validation.rows, scores);
        !done)
      return done.error();
    const evaluation::EvaluateOptions options{.draws = 0, .seed = seed};
    return (*model)->is_classifier()
               ? evaluation::evaluate_binary(prepared.validation.labels, scores, options)
               : evaluation::evaluate_regression(prepared.validation.labels, scores, options);
  }

  Result<blob::Ref> store_bundle(const Context& ctx, const pipeline::StepCall& call,
                                 const TrainSpec& spec, const LearningRows& rows,
                                 const features::Pipeline& fitted, const training::Trained& trained,
                                 const evaluation::Evaluation& held_out, TrackedRun& run,
                                 const Json& trainer_json) const {
    data::Schema schema;
    auto inputs = select(rows.all(), fitted.inputs(), schema);
    if (!inputs) return inputs.error();
    auto model = models::load_model(trained.kind, trained.model);
    if (!model) return model.error();
    auto matrix = to_matrix(fitted, *inputs, rows.labels());
    if (!matrix) return matrix.error();
    std::vector<double> scores(matrix->rows);
    if (auto done = (*model)->predict(matrix->values, matrix->rows, scores); !done)
      return done.error();
    *matrix = {};
    auto reference = monitoring::Reference::build(*inputs, scores);
    if (!reference) return reference.error();
    reference->metrics = held_out.metrics;
    reference->metrics["label_rate"] = held_out.label_rate;
    reference->metrics["mean_score"] = held_out.mean_score;
    reference->importance = importance_by_input(trained, fitted);

    models::BundleParts parts{.name = spec.model,
                              .model_uuid = services_.ids.next(),
                              .run_id = run.id().value,
                              .created = services_.clock.now(),
                              .target = spec.learning.target,
                              .kind = trained.kind,
                              .model = trained.model,
                              .pipeline = fitted,
                              .sample = &*inputs};
    parts.reference_profile = reference->to_json();
    parts.metrics = held_out.to_json();
    parts.provenance = {{"dataset", rows.dataset().text()},
                        {"rows", rows.all().rows},
                        {"features_sha256", fitted.digest()},
                        {"views", versions_of(fitted, rows.views())},
                        {"trainer", trainer_json},
                        {"seed", call.seed},
                        {"code_commit", code_commit(call.config.folder())},
                        {"pipeline", call.pipeline},
                        {"pipeline_run", call.run_id},
                        {"params", call.params},
                        {"window",
                         {{"column", spec.learning.rows.time_column},
                          {"from", spec.learning.rows.from},
                          {"until", spec.learning.rows.until}}}};
    const auto folder = call.work_dir / "bundle";
    if (auto written = models::write_bundle(folder, parts); !written) return written.error();
    auto stored = services_.blobs.put_tree(folder);
    if (!stored) return stored.error();
    if (auto logged = services_.tracking.log_artifact_tree(run.id(), "model", services_.blobs,
                                                           stored->sha256);
        !logged)
      return logged.error();
    const governance::Node dataset{governance::NodeType::dataset, rows.dataset().text()};
    governance::Node made{governance::NodeType::run, run.id().value};
    made.facts = {{"name", run.run().name},
                  {"pipeline_run", call.run_id},
                  {"code_commit", parts.provenance["code_commit"]},
                  {"bundle", stored->sha256}};
    if (auto noted = services_.lineage.record(ctx, {dataset, made, "train"}); !noted)
      return noted.error();
    return stored;
  }

  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_train(const Services& services) {
  return std::make_unique<TrainStep>(services);
}

}  // namespace slipway::steps
