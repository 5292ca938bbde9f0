// Fitting: each column's chain over all training rows, then the matrix they become.
#include <sys/mman.h>

#include <cmath>
#include <limits>
#include <numeric>

#include "base/guarded.h"
#include "base/parallel.h"
#include "features/matrix.h"
#include "features/pipeline_internal.h"
#include "features/spec_internal.h"

namespace slipway::features {
namespace {

bool is_category(const Transform& transform) {
  return std::holds_alternative<OneHot>(transform) || std::holds_alternative<Ordinal>(transform) ||
         std::holds_alternative<TargetEncode>(transform) ||
         std::holds_alternative<Frequency>(transform);
}

Result<StagePtr> fit_stage(const Transform& transform, const Impute* fill, FitBlock& fit) {
  struct Fit {
    const Impute* fill;
    FitBlock& fit;
    Result<StagePtr> operator()(const Impute& spec) const { return fit_impute(spec, fit); }
    Result<StagePtr> operator()(const Standardize& spec) const {
      return fit_standardize(spec, fit);
    }
    Result<StagePtr> operator()(const Clip& spec) const { return fit_clip(spec, fit); }
    Result<StagePtr> operator()(const Log1p&) const { return fit_log1p(fit); }
    Result<StagePtr> operator()(const Passthrough&) const { return StagePtr(); }
    Result<StagePtr> operator()(const Bucketize& spec) const { return fit_bucketize(spec, fit); }
    Result<StagePtr> operator()(const OneHot& spec) const { return fit_onehot(spec, fill, fit); }
    Result<StagePtr> operator()(const Ordinal& spec) const { return fit_ordinal(spec, fill, fit); }
    Result<StagePtr> operator()(const TargetEncode& spec) const {
      return fit_target_encode(spec, fill, fit);
    }
    Result<StagePtr> operator()(const DateTime& spec) const { return fit_datetime(spec, fit); }
    Result<StagePtr> operator()(const MinMax& spec) const { return fit_minmax(spec, fit); }
    Result<StagePtr> operator()(const Robust& spec) const { return fit_robust(spec, fit); }
    Result<StagePtr> operator()(const QuantileMap& spec) const { return fit_quantile(spec, fit); }
    Result<StagePtr> operator()(const Power& spec) const { return fit_power(spec, fit); }
    Result<StagePtr> operator()(const Log& spec) const { return fit_log(spec, fit); }
    Result<StagePtr> operator()(const Frequency& spec) const {
      return fit_frequency(spec, fill, fit);
    }
    Result<StagePtr> operator()(const Hash& spec) const { return fit_hash(spec, fit); }
    Result<StagePtr> operator()(const TextHash& spec) const { return fit_text_hash(spec, fit); }
    Result<StagePtr> operator()(const TfIdf& spec) const { return fit_tfidf(spec, fit); }
  };
  return std::visit(Fit{fill, fit}, transform);
}

// Most numbers a chain keeps of a row: one, but for the parts of a time.
std::size_t kept_by(const std::vector<Transform>& transforms) {
  const auto* time = std::get_if<DateTime>(&transforms.front());
  return time == nullptr ? 1
                         : std::max<std::size_t>(1, time->parts.size() + 2 * time->cyclical.size());
}

struct FittedChain {
  Chain chain;
  TrainedColumns trained;  // when a matrix is wanted
  std::vector<std::string> notes;
};

Result<FittedChain> fit_chain(const Selection& selection, const data::Field& field,
                              const data::ColumnView& column, std::span<const double> target,
                              std::uint64_t seed, bool keep) {
  const auto rows = static_cast<std::size_t>(column.rows);
  FittedChain out;
  out.chain.suffix = selection.suffix;
  out.chain.kept = kept_by(selection.apply);
  std::size_t flags = 0;
  for (const Transform& transform : selection.apply) {
    const auto* impute = std::get_if<Impute>(&transform);
    flags += impute != nullptr && impute->indicator ? 1 : 0;
  }
  // The parts of a time are many, and as a rule nothing that is fitted follows them.
  const bool only_time =
      selection.apply.size() == 1 && std::holds_alternative<DateTime>(selection.apply[0]);
  // Every stage writes its numbers before another reads them.
  const auto values =
      std::make_unique_for_overwrite<double[]>(only_time ? 0 : rows * out.chain.kept);
  const auto flag_values = std::make_unique_for_overwrite<double[]>(rows * flags);
  FitBlock fit;
  fit.block = {&column, 0, rows, rows, only_time ? nullptr : values.get(), flag_values.get()};
  fit.shape = first_shape(field, selection.suffix);
  fit.target = target;
  fit.seed = seed;
  fit.notes = &out.notes;
  const auto place = [&](const Error& error) {
    const Error named = error.at("column '" + field.name + "'");
    return selection.place.empty() ? named : named.at(selection.place);
  };
  const Impute* fill = nullptr;
  for (std::size_t i = 0; i < selection.apply.size(); ++i) {
    const Transform& transform = selection.apply[i];
    if (const auto* impute = std::get_if<Impute>(&transform);
        impute != nullptr && i == 0 && selection.apply.size() > 1 &&
        is_category(selection.apply[1]) &&
        (impute->how == Impute::How::constant || impute->how == Impute::How::most_frequent)) {
      fill =
          impute;  // the category stage fills, so that the column's own values stay its categories
      continue;
    }
    if (fit.shape.raw && kind_of(transform).takes == Takes::numbers) {
      StagePtr numbers = number_stage();
      numbers->apply(fit.block);
      numbers->advance(fit.shape);
      out.chain.stages.push_back(std::move(numbers));
    }
    auto stage = fit_stage(transform, fill, fit);
    if (!stage) return place(stage.error());
    fill = nullptr;
    if (*stage != nullptr) out.chain.stages.push_back(std::move(*stage));
  }
  bool any = fit.shape.closed || only_time;  // those have looked themselves
  for (std::size_t k = 0; k < fit.shape.names.size() && !any; ++k) {
    const auto numbers = fit.block.value(k);
    any = std::any_of(numbers.begin(), numbers.end(),
                      [](double value) { return !std::isnan(value); });
  }
  if (!any) {
    return place(failed_precondition(
        "no training row has a value here; leave the column out, or impute a constant"));
  }
  out.chain.shape = std::move(fit.shape);
  const bool writes = !out.chain.stages.empty() && out.chain.stages.back()->writes();
  if (keep && !only_time && !writes) out.trained = trained_columns(out.chain, fit.block);
  return out;
}

// The derived columns of the training rows.
struct Made {
  std::vector<Expression> expressions;
  std::vector<data::Field> fields;
  std::vector<DerivedValues> values;
  std::vector<data::ColumnView> columns;  // views of the values
};

// The training rows with the views' columns behind their own.
struct Widened {
  data::Schema schema;
  std::vector<ViewPtr> views;
  std::vector<std::vector<double>> values;  // of the views' columns
  data::Batch batch;                        // borrows schema and values
};

Result<void> widen(const Context& ctx, const PipelineSpec& spec, const data::Batch& train,
                   const FitOptions& options, Widened& out) {
  auto schema = spec.with_views(*train.schema);
  if (!schema) return schema.error();
  out.schema = std::move(*schema);
  out.batch = train;
  out.batch.schema = &out.schema;
  const auto rows = static_cast<std::size_t>(train.rows);
  for (const ViewSpec& wanted : spec.views) {
    ViewPtr view = options.views == nullptr ? nullptr : options.views->find(wanted.name);
    if (view == nullptr || view->digest() != wanted.digest()) {
      return failed_precondition("the view '" + wanted.name +
                                 "' was not built before fitting, or is another");
    }
    const std::size_t width = wanted.values.size();
    std::vector<double> found(rows * width);
    Guarded<Result<void>> outcome;
    parallel_for(
        rows, kRowsPerTask,
        [&](std::size_t begin, std::size_t end) {
          if (ctx.cancelled()) return;
          auto done = view->look_up(
              train.slice(static_cast<std::int64_t>(begin), static_cast<std::int64_t>(end - begin)),
              std::span(found).subspan(begin * width, (end - begin) * width));
          if (!done) outcome.with([&](auto& value) { value = std::move(done); });
        },
        options.threads);
    if (auto done = outcome.with([](const auto& value) { return value; }); !done) return done;
    if (auto sought = ctx.check(); !sought) return sought;
    for (std::size_t v = 0; v < width; ++v) {
      std::vector<double> column(rows);
      for (std::size_t row = 0; row < rows; ++row) column[row] = found[row * width + v];
      out.values.push_back(std::move(column));
    }
    out.views.push_back(std::move(view));
  }
  for (const std::vector<double>& column : out.values) {
    out.batch.columns.push_back(
        {.type = data::Type::float64, .rows = train.rows, .values = column.data()});
  }
  return {};
}

// The views a pipeline was fitted with.
class FittedViews final : public ViewSource {
 public:
  explicit FittedViews(std::vector<ViewPtr> views) : views_(std::move(views)) {}
  ViewPtr find(const std::string& name) const override {
    for (const ViewPtr& view : views_) {
      if (view->spec().name == name) return view;
    }
    return nullptr;
  }

 private:
  std::vector<ViewPtr> views_;
};

Result<Made> derive(const Context& ctx, const PipelineSpec& spec, const data::Batch& train,
                    int threads) {
  auto expressions = compile(spec, *train.schema);
  if (!expressions) return expressions.error();
  Made out;
  out.expressions = std::move(*expressions);
  out.values.resize(out.expressions.size());
  parallel_for(
      out.expressions.size(), 1,
      [&](std::size_t begin, std::size_t end) {
        ExpressionScratch scratch;
        for (std::size_t d = begin; d < end; ++d) {
          if (ctx.cancelled()) return;
          out.expressions[d].evaluate(train.columns, 0, static_cast<std::size_t>(train.rows),
                                      scratch, out.values[d]);
        }
      },
      threads);
  if (const auto wanted = ctx.check(); !wanted) return wanted.error();
  for (std::size_t d = 0; d < out.expressions.size(); ++d) {
    if (out.values[d].bytes.size() > std::numeric_limits<std::int32_t>::max()) {
      return invalid_argument("the texts of '" + spec.derived[d].name +
                              "' come to more than 2 GiB; shorten them, or fit on fewer rows");
    }
    out.fields.push_back({spec.derived[d].name, out.expressions[d].type(), true});
    out.columns.push_back(out.values[d].view(out.expressions[d].type(), train.rows));
  }
  return out;
}

// Room for a matrix. The kernel hands out memory a page at a time when it is first touched; large
// pages make that some hundred times fewer. Where it has none, nothing changes.
void allocate(std::vector<float>& matrix, std::size_t size) {
  constexpr std::uintptr_t kLargePage = std::uintptr_t{1} << 21;
  matrix.reserve(size);
  const auto begin =
      (reinterpret_cast<std::uintptr_t>(matrix.data()) + kLargePage - 1) & ~(kLargePage - 1);
  const auto end = reinterpret_cast<std::uintptr_t>(matrix.data() + size) & ~(kLargePage - 1);
  if (begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
  matrix.resize(size);
}

// Only these columns of the matrix, in place.
void narrow(Matrix& matrix, const std::vector<std::size_t>& kept) {
  std::size_t to = 0;
  for (std::size_t row = 0; row < matrix.rows; ++row) {
    for (const std::size_t column : kept)
      matrix.values[to++] = matrix.values[row * matrix.cols + column];
  }
  std::vector<std::string> names;
  for (const std::size_t column : kept) names.push_back(std::move(matrix.names[column]));
  matrix.names = std::move(names);
  matrix.cols = kept.size();
  matrix.values.resize(to);
}

}  // namespace

Result<Fitted> Pipeline::fit_all(const Context& ctx, const PipelineSpec& spec,
                                 const data::Batch& train, std::span<const double> target,
                                 const FitOptions& options, bool with_matrix) {
  if (train.schema == nullptr || train.columns.size() != train.schema->fields.size()) {
    return invalid_argument("the training batch has columns that its schema does not describe");
  }
  const auto rows = static_cast<std::size_t>(train.rows);
  if (rows == 0)
    return failed_precondition(
        "the training data has no rows: there is nothing to fit features on");
  if (!target.empty() && target.size() != rows) {
    return invalid_argument("the target has " + std::to_string(target.size()) + " values for " +
                            std::to_string(rows) + " training rows");
  }
  for (std::size_t row = 0; row < target.size(); ++row) {
    if (std::isfinite(target[row])) continue;
    return invalid_argument("the target of training row " + std::to_string(row) +
                            " is missing or infinite; drop rows without a label before fitting");
  }
  const auto bindings = spec.bind(*train.schema);
  if (!bindings) return bindings.error();
  Widened wide;
  if (auto done = widen(ctx, spec, train, options, wide); !done) return done.error();
  auto made = derive(ctx, spec, wide.batch, options.threads);
  if (!made) return made.error();
  const std::size_t own = wide.schema.fields.size();
  const auto column_of = [&](std::size_t column) -> const data::ColumnView& {
    return column < own ? wide.batch.columns[column] : made->columns[column - own];
  };
  const auto field_of = [&](std::size_t column) {
    return column < own ? wide.schema.fields[column] : made->fields[column - own];
  };

  const bool matrix_wanted = with_matrix || !spec.selects.empty();
  std::vector<std::optional<Result<FittedChain>>> fits(bindings->size());
  parallel_for(
      bindings->size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          if (ctx.cancelled()) continue;
          const Binding& binding = (*bindings)[i];
          fits[i] = fit_chain(spec.selections[binding.selection], field_of(binding.column),
                              column_of(binding.column), target, options.seed, matrix_wanted);
        }
      },
      options.threads);
  if (const auto wanted = ctx.check(); !wanted) return wanted.error();

  // The inputs are the columns that chains, expressions and views read, in the order of the batch.
  auto impl = std::make_shared<Impl>();
  const std::size_t raw = train.schema->fields.size();
  std::vector<bool> used(raw, false);
  const auto use = [&](std::size_t column) {
    if (column < raw) used[column] = true;
  };
  for (const Binding& binding : *bindings) use(binding.column);
  for (const Expression& expression : made->expressions) {
    for (const std::size_t column : expression.reads()) use(column);
  }
  std::vector<ViewUse> uses;
  for (const ViewSpec& view : spec.views) {
    for (const auto& [mine, theirs] : view.keys) use(*train.schema->index(mine));
    use(*train.schema->index(view.at));
    uses.push_back({view, view.digest(), view.outputs()});
  }
  std::vector<std::size_t> place(own + made->columns.size());
  for (std::size_t column = 0; column < raw; ++column) {
    if (!used[column]) continue;
    place[column] = impl->inputs.fields.size();
    impl->inputs.fields.push_back(train.schema->fields[column]);
  }
  impl->set_views(std::move(uses));
  for (std::size_t column = raw; column < own; ++column)
    place[column] = impl->inputs.fields.size() + column - raw;
  for (std::size_t d = 0; d < made->columns.size(); ++d) {
    place[own + d] = impl->read.fields.size() + d;
    impl->derived.push_back({made->fields[d].name, made->expressions[d].moved(place)});
  }

  std::vector<TrainedColumns> trained;
  Error problems;  // all of them, a line each, under the first one's code
  for (std::size_t i = 0; i < fits.size(); ++i) {
    Result<FittedChain>& fit = *fits[i];
    if (!fit) {
      problems = {problems.message.empty() ? fit.error().code : problems.code,
                  problems.message + (problems.message.empty() ? "" : "\n") + fit.error().message};
      continue;
    }
    fit->chain.input = place[(*bindings)[i].column];
    impl->chains.push_back(std::move(fit->chain));
    trained.push_back(std::move(fit->trained));
    for (std::string& note : fit->notes) impl->notes.push_back(std::move(note));
  }
  if (!problems.message.empty()) return problems;
  if (const auto arranged = impl->arrange(); !arranged) return arranged.error();
  impl->finish();

  Fitted fitted{Pipeline(impl), {}};
  if (!wide.views.empty())
    fitted.pipeline.view_source_ = std::make_shared<const FittedViews>(wide.views);
  if (!matrix_wanted) return fitted;
  const std::size_t cols = impl->outputs.size();
  allocate(fitted.matrix, rows * cols);
  std::vector<std::size_t> places;
  Guarded<Result<void>> outcome;
  if (const auto bound = impl->bind(train, places); !bound) return bound.error();
  parallel_for(
      rows, kRowsPerTask,
      [&](std::size_t begin, std::size_t end) {
        if (ctx.cancelled()) return;
        auto done = impl->run(train, places, wide.views, begin, end, fitted.matrix.data(), trained);
        if (!done) outcome.with([&](auto& value) { value = std::move(done); });
      },
      options.threads);
  if (auto done = outcome.with([](const auto& value) { return value; }); !done) return done.error();
  if (const auto wanted = ctx.check(); !wanted) return wanted.error();
  if (spec.selects.empty()) return fitted;

  Matrix matrix;
  matrix.rows = rows;
  matrix.cols = cols;
  matrix.values = std::move(fitted.matrix);
  matrix.labels.assign(target.begin(), target.end());
  matrix.names = impl->outputs;
  std::vector<std::size_t> wanted(cols);
  std::iota(wanted.begin(), wanted.end(), 0);
  for (const Select& select : spec.selects) {
    if (const auto sought = ctx.check(); !sought) return sought.error();
    const auto kept = select_outputs(select, matrix, options.importance, impl->notes);
    if (!kept) return select.place.empty() ? kept.error() : kept.error().at(select.place);
    narrow(matrix, *kept);
    std::vector<std::size_t> fewer;
    for (const std::size_t i : *kept) fewer.push_back(wanted[i]);
    wanted = std::move(fewer);
  }
  impl->keep(wanted);
  impl->finish();
  if (with_matrix) {
    fitted.matrix = std::move(matrix.values);
  } else {
    fitted.matrix.clear();
  }
  return fitted;
}

Result<Pipeline> Pipeline::fit(const Context& ctx, const PipelineSpec& spec,
                               const data::Batch& train, std::span<const double> target,
                               const FitOptions& options) {
  auto fitted = fit_all(ctx, spec, train, target, options, /*with_matrix=*/false);
  if (!fitted) return fitted.error();
  return std::move(fitted->pipeline);
}

Result<Fitted> Pipeline::fit_transform(const Context& ctx, const PipelineSpec& spec,
                                       const data::Batch& train, std::span<const double> target,
                                       const FitOptions& options) {
  return fit_all(ctx, spec, train, target, options, /*with_matrix=*/true);
}
}  // namespace slipway::features
