// `evaluate`: a bundle on labelled rows it was not trained on, beside a naive model and the current
// champion.
//   evaluate:
//     bundle: ${steps.train.bundle}
//     run_id: ${steps.train.run_id}        # gets the metrics
//     dataset: ${steps.validate.dataset}
//     window: {column: time_hour, from: …, until: …}
//     target: late
//     slices: [carrier, origin]
//     champion: late@champion              # none yet: said so, and no error
#include "evaluation/evaluation.h"
#include "steps/common_internal.h"

namespace slipway::steps {
namespace {

struct EvaluateSpec {
  RowsSpec rows;
  std::string bundle, run_id, target, champion;
  std::vector<std::string> slices;
  evaluation::EvaluateOptions options;
  static EvaluateSpec read(SpecReader& reader) {
    EvaluateSpec spec;
    spec.rows = RowsSpec::read(reader);
    spec.bundle = reader.text("bundle");
    spec.run_id = reader.text("run_id", "");
    spec.target = reader.text("target");
    spec.champion = reader.text("champion", "");
    spec.slices = reader.texts("slices");
    spec.options.draws = static_cast<int>(reader.integer("draws", 200));
    spec.options.threshold = reader.number("threshold", 0.5);
    spec.options.min_slice_rows = reader.integer("min_slice_rows", 100);
    if (!spec.champion.empty() && spec.champion.find('@') == std::string::npos) {
      reader.problem("champion", "'" + spec.champion + "' has no alias: write model@alias");
    }
    return spec;
  }
};

class EvaluateStep final : public pipeline::StepKind {
 public:
  explicit EvaluateStep(const Services& services) : services_(services) {}
  std::string_view name() const override { return "evaluate"; }
  Result<void> check(SpecReader& config) const override {
    EvaluateSpec::read(config);
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"evaluation", "metrics", "champion", "run_id"}};
  }
  Result<Json> fingerprint(const Context&, const pipeline::StepInputs& in) const override {
    auto champion = find_champion(in.config.json().value("champion", ""));
    if (!champion) return champion.error();
    // Being the champion itself is like having none: there is nobody else to compare with.
    const bool rival = *champion && (*champion)->digest != in.config.json().value("bundle", "");
    return Json{{"champion", rival ? (*champion)->digest : ""}};
  }

  Result<pipeline::StepResult> run(const Context& ctx,
                                   const pipeline::StepCall& call) const override {
    SpecReader reader = call.config.reader();
    EvaluateSpec spec = EvaluateSpec::read(reader);
    if (auto sound = reader.finish(); !sound) return sound.error();
    auto bundle = open_bundle(services_, spec.bundle, call.work_dir);
    if (!bundle) return bundle.error();
    auto table = load_rows(ctx, services_, spec.rows, call.work_dir);
    if (!table) return table.error();
    auto columns = data::Columns::from_table(*table);
    if (!columns) return columns.error();
    const data::Batch batch = columns->batch();
    auto labels = numbers_of(batch, spec.target);
    if (!labels) return labels.error();
    call.progress(0.3, "scoring");
    auto scores = score(*bundle, batch);
    if (!scores) return scores.error();

    auto champion = find_champion(spec.champion);
    if (!champion) return champion.error();
    std::vector<double> champion_scores;
    if (*champion && (*champion)->digest != spec.bundle) {
      auto rival = open_bundle(services_, (*champion)->digest, call.work_dir);
      if (!rival) return rival.error();
      auto rival_scores = score(*rival, batch);
      if (!rival_scores) return rival_scores.error().at("champion " + spec.champion);
      champion_scores = std::move(*rival_scores);
      spec.options.champion_scores = champion_scores;
      spec.options.champion_name =
          (*champion)->model + " version " + std::to_string((*champion)->number);
    }
    for (const std::string& slice : spec.slices) {
      auto view = columns->column(slice);
      if (!view) return view.error().at(call.config.place("slices"));
      spec.options.slices.push_back({slice, *view});
    }
    spec.options.seed = call.seed;
    call.progress(0.5, "measuring");
    auto result = bundle->is_classifier()
                      ? evaluation::evaluate_binary(*labels, *scores, spec.options)
                      : evaluation::evaluate_regression(*labels, *scores, spec.options);
    if (!result) return result.error();
    call.log.line(result->render_text());
    return report(call, spec, *result, *champion);
  }

 private:
  static Result<std::vector<double>> score(const models::Bundle& bundle, const data::Batch& batch) {
    data::Schema schema;
    auto inputs = select(batch, bundle.inputs(), schema);
    if (!inputs) return inputs.error();
    std::vector<double> scores(static_cast<std::size_t>(batch.rows));
    if (auto done = bundle.predict(*inputs, scores); !done) return done.error();
    return scores;
  }

  Result<std::optional<registry::ModelVersion>> find_champion(const std::string& name) const {
    if (name.empty()) return std::optional<registry::ModelVersion>{};
    const auto at = name.find('@');
    auto version = services_.registry.find_by_alias(name.substr(0, at), name.substr(at + 1));
    if (version) return std::optional(std::move(*version));
    if (version.error().code == Code::not_found) return std::optional<registry::ModelVersion>{};
    return version.error();
  }

  Result<pipeline::StepResult> report(const pipeline::StepCall&, const EvaluateSpec& spec,
                                      const evaluation::Evaluation& result,
                                      const std::optional<registry::ModelVersion>& champion) const {
    auto stored = services_.blobs.put_bytes(canonical(result.to_json()));
    if (!stored) return stored.error();
    if (!spec.run_id.empty()) {
      const tracking::RunId run{spec.run_id};
      tracking::Batch metrics;
      const std::int64_t now = to_millis(services_.clock.now());
      for (const auto& [key, value] : result.metrics)
        metrics.metrics.push_back({"test_" + key, value, now, 0});
      if (auto logged = services_.tracking.log_batch(run, metrics); !logged) return logged.error();
      if (auto logged = services_.tracking.log_artifact(run, "evaluation.json", *stored); !logged)
        return logged.error();
    }
    pipeline::StepResult step;
    step.artifacts.push_back({"evaluation.json", stored->sha256, stored->size});
    Json metrics = Json::object();
    for (const auto& [key, value] : result.metrics) metrics[key] = value;
    step.outputs = {
        {"evaluation", stored->sha256},
        {"metrics", metrics},
        {"run_id", spec.run_id},
        {"champion", champion ? Json(champion->model + "/" + std::to_string(champion->number))
                              : Json(nullptr)}};
    step.summary = std::to_string(result.rows) + " rows";
    for (const char* key : {"auc", "log_loss", "ece", "rmse"}) {
      const auto found = result.metrics.find(key);
      if (found == result.metrics.end()) continue;
      step.summary += fmt::format(", {} {:.4f}", key, found->second);
      if (const auto interval = result.intervals.find(key); interval != result.intervals.end()) {
        step.summary +=
            fmt::format(" [{:.4f}, {:.4f}]", interval->second.low, interval->second.high);
      }
      if (const auto rival = result.champion.find(key); rival != result.champion.end())
        step.summary += fmt::format(" (champion {:.4f})", rival->second);
    }
    return step;
  }

  Services services_;
};

}  // namespace

std::unique_ptr<pipeline::StepKind> make_evaluate(const Services& services) {
  return std::make_unique<EvaluateStep>(services);
}

}  // namespace slipway::steps
