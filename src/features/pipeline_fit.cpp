// Fitting: each column's chain over all training rows, then the matrix they become.
#include <cmath>
#include <limits>
#include <numeric>

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
  std::vector<float> out_of_fold;  // [rows, width] when the chain encodes the target
  std::vector<std::string> notes;
};

Result<FittedChain> fit_chain(const Selection& selection, const data::Field& field,
                              const data::ColumnView& column, std::span<const double> target,
                              std::uint64_t seed) {
  const auto rows = static_cast<std::size_t>(column.rows);
  FittedChain out;
  out.chain.suffix = selection.suffix;
  out.chain.kept = kept_by(selection.apply);
  std::size_t flags = 0;
  bool encodes_target = false;
  for (const Transform& transform : selection.apply) {
    const auto* impute = std::get_if<Impute>(&transform);
    flags += impute != nullptr && impute->indicator ? 1 : 0;
    encodes_target |= std::holds_alternative<TargetEncode>(transform);
  }
  // The parts of a time are many, and as a rule nothing that is fitted follows them.
  const bool only_time =
      selection.apply.size() == 1 && std::holds_alternative<DateTime>(selection.apply[0]);
  std::vector<double> values(only_time ? 0 : rows * out.chain.kept);
  std::vector<double> flag_values(rows * flags);
  FitBlock fit;
  fit.block = {&column, 0, rows, rows, only_time ? nullptr : values.data(), flag_values.data()};
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
  if (encodes_target) {
    out.out_of_fold.resize(rows * out.chain.width());
    write_block(out.chain, fit.block, out.out_of_fold.data(), out.chain.width());
  }
  return out;
}

// The derived columns of the training rows.
struct Made {
  std::vector<Expression> expressions;
  std::vector<data::Field> fields;
  std::vector<DerivedValues> values;
  std::vector<data::ColumnView> columns;  // views of the values
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
  auto made = derive(ctx, spec, train, options.threads);
  if (!made) return made.error();
  const std::size_t own = train.schema->fields.size();
  const auto column_of = [&](std::size_t column) -> const data::ColumnView& {
    return column < own ? train.columns[column] : made->columns[column - own];
  };
  const auto field_of = [&](std::size_t column) {
    return column < own ? train.schema->fields[column] : made->fields[column - own];
  };

  std::vector<std::optional<Result<FittedChain>>> fits(bindings->size());
  parallel_for(
      bindings->size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          if (ctx.cancelled()) continue;
          const Binding& binding = (*bindings)[i];
          fits[i] = fit_chain(spec.selections[binding.selection], field_of(binding.column),
                              column_of(binding.column), target, options.seed);
        }
      },
      options.threads);
  if (const auto wanted = ctx.check(); !wanted) return wanted.error();

  // The inputs are the columns that chains and expressions read, in the order of the batch.
  auto impl = std::make_shared<Impl>();
  std::vector<bool> used(own, false);
  for (const Binding& binding : *bindings) {
    if (binding.column < own) used[binding.column] = true;
  }
  for (const Expression& expression : made->expressions) {
    for (const std::size_t column : expression.reads()) used[column] = true;
  }
  std::vector<std::size_t> place(own + made->columns.size());
  for (std::size_t column = 0; column < own; ++column) {
    if (!used[column]) continue;
    place[column] = impl->inputs.fields.size();
    impl->inputs.fields.push_back(train.schema->fields[column]);
  }
  for (std::size_t d = 0; d < made->columns.size(); ++d) {
    place[own + d] = impl->inputs.fields.size() + d;
    impl->derived.push_back({made->fields[d].name, made->expressions[d].moved(place)});
  }

  std::vector<std::vector<float>> out_of_fold;
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
    out_of_fold.push_back(std::move(fit->out_of_fold));
    for (std::string& note : fit->notes) impl->notes.push_back(std::move(note));
  }
  if (!problems.message.empty()) return problems;
  if (const auto arranged = impl->arrange(); !arranged) return arranged.error();
  impl->finish();

  Fitted fitted{Pipeline(impl), {}};
  if (!with_matrix && spec.selects.empty()) return fitted;
  const std::size_t cols = impl->outputs.size();
  fitted.matrix.resize(rows * cols);
  if (const auto done = fitted.pipeline.transform(train, fitted.matrix, options.threads); !done)
    return done.error();
  for (std::size_t c = 0; c < out_of_fold.size(); ++c) {
    const Chain& chain = impl->chains[c];
    const std::vector<float>& values = out_of_fold[c];
    for (std::size_t row = 0; row < (values.empty() ? 0 : rows); ++row) {
      std::copy_n(values.data() + row * chain.width(), chain.width(),
                  fitted.matrix.data() + row * cols + chain.begin);
    }
  }
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
