#include "steps/learning_internal.h"

namespace slipway::steps {
namespace {

class LoadedViews final : public features::ViewSource {
 public:
  void add(features::ViewPtr view) { views_.push_back(std::move(view)); }
  features::ViewPtr find(const std::string& name) const override {
    for (const features::ViewPtr& view : views_) {
      if (view->spec().name == name) return view;
    }
    return nullptr;
  }

 private:
  std::vector<features::ViewPtr> views_;
};

// The gains of a short boosting on the training matrix.
Result<std::vector<double>> gains_of(const Context& ctx, training::TrainerSpec trainer,
                                     const features::Matrix& matrix) {
  constexpr int kRounds = 50;  // a ranking needs no more
  trainer.rounds = std::min(trainer.rounds, kRounds);
  trainer.early_stopping_rounds = 0;
  const auto trained = training::train(ctx, trainer, matrix);
  if (!trained) return trained.error();
  std::map<std::string, double> by_name;
  for (const auto& [name, gain] : trained->importance) by_name[name] = gain;
  std::vector<double> gains;
  for (const std::string& name : matrix.names) gains.push_back(by_name[name]);
  return gains;
}

}  // namespace

LearningSpec LearningSpec::read(SpecReader& reader) {
  LearningSpec spec;
  spec.rows = RowsSpec::read(reader);
  spec.target = reader.text("target");
  spec.features = features::PipelineSpec::read(reader, "features");
  spec.known = data::Knowledge::read(reader, "known");
  SpecReader trainer = reader.object("trainer");
  spec.trainer = training::TrainerSpec::read(trainer);
  spec.validation_share = reader.number("validation_share", 0.2);
  if (!(spec.validation_share > 0 && spec.validation_share < 0.9)) {
    reader.problem(
        "validation_share",
        "'validation_share' is the share of the newest rows to validate on: between 0 and 0.9");
    spec.validation_share = 0.2;
  }
  return spec;
}

Result<LearningRows> LearningRows::load(const Context& ctx, const Services& services,
                                        const LearningSpec& spec,
                                        const std::filesystem::path& work_dir) {
  auto ref = services.datasets.resolve(spec.rows.dataset);
  if (!ref) return ref.error();
  auto table = load_rows(ctx, services, spec.rows, work_dir);
  if (!table) return table.error();
  auto columns = data::Columns::from_table(*table);
  if (!columns) return columns.error();
  const data::Schema& schema = columns->schema();
  if (!schema.index(spec.target)) {
    auto missing = schema.find(spec.target);
    return missing.error().at("target");
  }
  if (auto sound = spec.known.check_schema(schema); !sound) return sound.error();
  auto used = spec.features.reads(schema);
  if (!used) return used.error();
  if (std::find(used->begin(), used->end(), spec.target) != used->end()) {
    return invalid_argument("the target '" + spec.target + "' is among the features: take it out");
  }
  if (auto known = spec.known.check_features(*used); !known) return known.error();
  auto views = std::make_unique<LoadedViews>();
  for (const features::ViewSpec& view : spec.features.views) {
    auto loaded = features::load_view(ctx, services.datasets, view,
                                      view.version.empty() ? view.dataset : view.version);
    if (!loaded) return loaded.error();
    views->add(std::move(*loaded));
  }
  auto labels = numbers_of(columns->batch(), spec.target);
  if (!labels) return labels.error();
  const auto held_out = static_cast<std::int64_t>(
      std::llround(static_cast<double>(columns->rows()) * spec.validation_share));
  const std::int64_t split = columns->rows() - held_out;
  if (held_out < 1 || split < 1) {
    return failed_precondition("the dataset '" + ref->name + "' has " +
                               std::to_string(columns->rows()) +
                               " rows in this window: too few to hold some out for validation");
  }
  return LearningRows(std::move(*columns), std::move(*labels), split, *ref, std::move(views));
}

Result<features::Matrix> to_matrix(const features::Pipeline& pipeline, const data::Batch& batch,
                                   std::span<const double> labels) {
  features::Matrix matrix;
  matrix.rows = static_cast<std::size_t>(batch.rows);
  matrix.names = pipeline.outputs();
  matrix.cols = matrix.names.size();
  matrix.values.resize(matrix.rows * matrix.cols);
  if (auto done = pipeline.transform(batch, matrix.values); !done) return done.error();
  matrix.labels.assign(labels.begin(), labels.end());
  return matrix;
}

Result<training::TrainerSpec> trainer_of(const LearningSpec& spec, const Json& overrides,
                                         std::uint64_t seed, const std::string& place) {
  Json declared = spec.trainer.to_json();
  if (overrides.is_object()) declared.update(overrides);
  if (declared.value("seed", std::uint64_t{0}) == 0) declared["seed"] = seed % 2147483647;
  return training::TrainerSpec::from_json(declared, place);
}

Result<FittedRows> fit_rows(const Context& ctx, const LearningSpec& spec, const data::Batch& batch,
                            std::span<const double> labels, const features::ViewSource& views,
                            std::uint64_t seed) {
  features::FitOptions options{.seed = seed, .views = &views};
  options.importance = [&](const features::Matrix& matrix) {
    return gains_of(ctx, spec.trainer, matrix);
  };
  auto fitted = features::Pipeline::fit_transform(ctx, spec.features, batch, labels, options);
  if (!fitted) return fitted.error();
  FittedRows result{fitted->pipeline, {}};
  result.matrix.rows = static_cast<std::size_t>(batch.rows);
  result.matrix.names = fitted->pipeline.outputs();
  result.matrix.cols = result.matrix.names.size();
  result.matrix.values = std::move(fitted->matrix);
  result.matrix.labels.assign(labels.begin(), labels.end());
  return result;
}

Result<Prepared> prepare(const Context& ctx, const LearningSpec& spec, const LearningRows& rows,
                         std::uint64_t seed) {
  auto fitted = fit_rows(ctx, spec, rows.first(), rows.first_labels(), rows.views(), seed);
  if (!fitted) return fitted.error();
  auto validation = to_matrix(fitted->pipeline, rows.last(), rows.last_labels());
  if (!validation) return validation.error();
  return Prepared{fitted->pipeline, std::move(fitted->matrix), std::move(*validation)};
}

}  // namespace slipway::steps
