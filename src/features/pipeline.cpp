#include "features/pipeline.h"

#include <cmath>
#include <limits>
#include <set>

#include "base/hash.h"
#include "base/parallel.h"
#include "features/stage_internal.h"

namespace slipway::features {
namespace {

constexpr int kVersion = 1;
constexpr std::size_t kBlock = 256;  // rows of a block: its numbers stay in the first-level cache
constexpr std::size_t kRowsPerTask = 4096;  // below this, threads cost more than they give

// One column and what is done to it.
struct Chain {
  std::size_t input = 0;  // in inputs()
  std::string suffix;     // of the names, as declared
  std::vector<StagePtr> stages;
  Shape shape;            // at the end
  std::size_t kept = 1;   // most numbers of a row at any time
  std::size_t begin = 0;  // of its outputs

  std::size_t width() const { return shape.names.size() + shape.flags.size(); }
};

Shape first_shape(const data::Field& field, const std::string& suffix) {
  Shape shape;
  shape.type = field.type;
  shape.names = {field.name + suffix};
  return shape;
}

// NaN in one form, and nothing infinite: the learner accepts no infinity, and equal results have
// equal bits.
float to_float(double value) {
  constexpr double kMost = std::numeric_limits<float>::max();
  if (std::isnan(value)) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(value > kMost ? kMost : (value < -kMost ? -kMost : value));
}

// A block's numbers into the rows of the matrix, whose rows are `stride` apart.
void write(const Chain& chain, const Block& block, float* out, std::size_t stride) {
  const std::size_t names = chain.shape.names.size();
  if (chain.shape.onehot > 0) {
    const auto places = block.value(0);
    for (std::size_t i = 0; i < block.rows; ++i) {
      float* row = out + i * stride;
      std::fill_n(row, names, 0.0F);
      if (places[i] >= 0) row[static_cast<std::size_t>(places[i])] = 1;
    }
  } else {
    for (std::size_t k = 0; k < names; ++k) {
      const auto values = block.value(k);
      for (std::size_t i = 0; i < block.rows; ++i) out[i * stride + k] = to_float(values[i]);
    }
  }
  for (std::size_t k = 0; k < chain.shape.flags.size(); ++k) {
    const auto flags = block.flag(k);
    for (std::size_t i = 0; i < block.rows; ++i)
      out[i * stride + names + k] = static_cast<float>(flags[i]);
  }
}

bool is_category(const Transform& transform) {
  return std::holds_alternative<OneHot>(transform) || std::holds_alternative<Ordinal>(transform) ||
         std::holds_alternative<TargetEncode>(transform);
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
    if (fit.shape.raw && !is_category(transform) && !std::holds_alternative<DateTime>(transform)) {
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
  bool any = fit.shape.onehot > 0 || only_time;  // those have looked themselves
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
    write(out.chain, fit.block, out.out_of_fold.data(), out.chain.width());
  }
  return out;
}

}  // namespace

struct Pipeline::Impl {
  data::Schema inputs;
  std::vector<std::string> outputs;
  std::vector<Chain> chains;
  std::size_t kept = 1;
  std::size_t flags = 0;
  std::vector<std::string> notes;
  std::string digest;

  // Places the chains' outputs one after another; an error when two have one name.
  Result<void> arrange() {
    std::set<std::string> seen;
    for (Chain& chain : chains) {
      chain.begin = outputs.size();
      kept = std::max(kept, chain.kept);
      flags = std::max(flags, chain.shape.flags.size());
      for (const auto* names : {&chain.shape.names, &chain.shape.flags}) {
        for (const std::string& name : *names) {
          if (!seen.insert(name).second) {
            return invalid_argument(
                "two features are called '" + name +
                "'; give one of the entries a suffix, for example suffix: _binned");
          }
          outputs.push_back(name);
        }
      }
    }
    return {};
  }

  Json to_json() const {
    Json list = Json::array();
    for (const Chain& chain : chains) {
      Json stages = Json::array();
      for (const StagePtr& stage : chain.stages) stages.push_back(stage->to_json());
      list.push_back({{"column", inputs.fields[chain.input].name},
                      {"suffix", chain.suffix},
                      {"stages", stages}});
    }
    return {{"version", kVersion},
            {"inputs", inputs.to_json()},
            {"chains", list},
            {"outputs", outputs}};
  }

  void finish() { digest = sha256_hex(canonical(to_json())); }

  // Where each input stands in the batch. The batch's types are the fitted ones, but integers serve
  // as reals.
  Result<void> bind(const data::Batch& batch, std::vector<std::size_t>& places) const {
    if (batch.schema == nullptr || batch.columns.size() != batch.schema->fields.size()) {
      return invalid_argument("the batch has " + std::to_string(batch.columns.size()) +
                              " columns, which its schema does not describe");
    }
    places.clear();
    const auto& fields = batch.schema->fields;
    for (std::size_t i = 0; i < inputs.fields.size(); ++i) {
      const data::Field& wanted = inputs.fields[i];
      std::size_t at = i;  // as a rule the batch was built from inputs()
      if (at >= fields.size() || fields[at].name != wanted.name) {
        const auto found = batch.schema->find(wanted.name);
        if (!found) return found.error().at("feature pipeline");
        at = *found;
      }
      const data::ColumnView& column = batch.columns[at];
      const bool fits =
          column.type == wanted.type || (column.type == data::Type::int64 &&
                                         wanted.type == data::Type::float64 && reads_numbers[i]);
      if (!fits) {
        return invalid_argument(
            "column '" + wanted.name + "' is " + std::string(to_string(column.type)) +
            ", but the features were fitted on " + std::string(to_string(wanted.type)));
      }
      if (column.rows < batch.rows) {
        return invalid_argument("column '" + wanted.name + "' has " + std::to_string(column.rows) +
                                " of " + std::to_string(batch.rows) + " rows");
      }
      places.push_back(at);
    }
    return {};
  }

  // Rows [begin, end) of the batch into their rows of `out`.
  void run(const data::Batch& batch, std::span<const std::size_t> places, std::size_t begin,
           std::size_t end, float* out) const {
    thread_local std::vector<double> scratch;
    if (scratch.size() < (kept + flags) * kBlock) scratch.resize((kept + flags) * kBlock);
    for (std::size_t row = begin; row < end; row += kBlock) {
      const std::size_t rows = std::min(kBlock, end - row);
      for (const Chain& chain : chains) {
        Block block{&batch.columns[places[chain.input]],
                    static_cast<std::int64_t>(row),
                    rows,
                    rows,
                    scratch.data(),
                    scratch.data() + kept * kBlock};
        for (const StagePtr& stage : chain.stages) stage->apply(block);
        write(chain, block, out + row * outputs.size() + chain.begin, outputs.size());
      }
    }
  }

  void note_readers() {
    reads_numbers.assign(inputs.fields.size(), true);
    for (const Chain& chain : chains) {
      if (chain.stages.front()->to_json().at("op") != "number") reads_numbers[chain.input] = false;
    }
  }

  std::vector<bool>
      reads_numbers;  // [inputs]: no chain takes the column's own values as categories
};

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

  std::vector<std::optional<Result<FittedChain>>> fits(bindings->size());
  parallel_for(
      bindings->size(), 1,
      [&](std::size_t begin, std::size_t end) {
        for (std::size_t i = begin; i < end; ++i) {
          if (ctx.cancelled()) continue;
          const Binding& binding = (*bindings)[i];
          fits[i] =
              fit_chain(spec.selections[binding.selection], train.schema->fields[binding.column],
                        train.columns[binding.column], target, options.seed);
        }
      },
      options.threads);
  if (const auto wanted = ctx.check(); !wanted) return wanted.error();

  auto impl = std::make_shared<Impl>();
  std::vector<std::size_t> used;
  for (const Binding& binding : *bindings) used.push_back(binding.column);
  std::sort(used.begin(), used.end());
  used.erase(std::unique(used.begin(), used.end()), used.end());
  for (const std::size_t column : used) impl->inputs.fields.push_back(train.schema->fields[column]);

  std::vector<std::vector<float>> out_of_fold;
  Error problems;  // all of them, a line each, under the first one's code
  for (std::size_t i = 0; i < fits.size(); ++i) {
    Result<FittedChain>& fit = *fits[i];
    if (!fit) {
      problems = {problems.message.empty() ? fit.error().code : problems.code,
                  problems.message + (problems.message.empty() ? "" : "\n") + fit.error().message};
      continue;
    }
    const std::size_t column = (*bindings)[i].column;
    fit->chain.input =
        static_cast<std::size_t>(std::lower_bound(used.begin(), used.end(), column) - used.begin());
    impl->chains.push_back(std::move(fit->chain));
    out_of_fold.push_back(std::move(fit->out_of_fold));
    for (std::string& note : fit->notes) impl->notes.push_back(std::move(note));
  }
  if (!problems.message.empty()) return problems;
  impl->note_readers();
  if (const auto arranged = impl->arrange(); !arranged) return arranged.error();
  impl->finish();

  Fitted fitted{Pipeline(impl), {}};
  if (!with_matrix) return fitted;
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

Result<Pipeline> Pipeline::from_json(const Json& json) {
  const auto broken = [](const std::string& why) {
    return data_loss("the saved feature pipeline is broken: " + why);
  };
  try {
    if (json.at("version") != kVersion) {
      return unimplemented("the feature pipeline has version " + json.at("version").dump() +
                           ", and this program reads version " + std::to_string(kVersion));
    }
    auto impl = std::make_shared<Impl>();
    auto inputs = data::Schema::from_json(json.at("inputs"));
    if (!inputs) return broken(inputs.error().message);
    impl->inputs = std::move(*inputs);
    for (const Json& saved : json.at("chains")) {
      Chain chain;
      const auto input = impl->inputs.find(saved.at("column").get<std::string>());
      if (!input) return broken(input.error().message);
      chain.input = *input;
      chain.suffix = saved.at("suffix").get<std::string>();
      chain.shape = first_shape(impl->inputs.fields[*input], chain.suffix);
      for (const Json& part : saved.at("stages")) {
        if (chain.shape.onehot > 0) return broken("a stage follows onehot");
        auto stage = stage_from_json(part, chain.shape);
        if (!stage)
          return broken("column '" + impl->inputs.fields[*input].name +
                        "': " + stage.error().message);
        (*stage)->advance(chain.shape);
        if (chain.shape.onehot == 0) chain.kept = std::max(chain.kept, chain.shape.names.size());
        chain.stages.push_back(std::move(*stage));
      }
      if (chain.shape.raw)
        return broken("nothing reads column '" + impl->inputs.fields[*input].name + "'");
      impl->chains.push_back(std::move(chain));
    }
    impl->note_readers();
    if (const auto arranged = impl->arrange(); !arranged) return broken(arranged.error().message);
    if (impl->outputs.empty() || json.at("outputs") != Json(impl->outputs)) {
      return broken("its outputs are not those its chains give");
    }
    impl->finish();
    return Pipeline(std::move(impl));
  } catch (const std::exception& e) {
    return broken(e.what());
  }
}

Json Pipeline::to_json() const { return impl_->to_json(); }
const std::string& Pipeline::digest() const { return impl_->digest; }
const data::Schema& Pipeline::inputs() const { return impl_->inputs; }
const std::vector<std::string>& Pipeline::outputs() const { return impl_->outputs; }
const std::vector<std::string>& Pipeline::notes() const { return impl_->notes; }

Result<void> Pipeline::transform(const data::Batch& batch, std::span<float> out,
                                 int threads) const {
  thread_local std::vector<std::size_t> places;
  if (auto bound = impl_->bind(batch, places); !bound) return bound;
  const auto rows = static_cast<std::size_t>(batch.rows);
  if (out.size() != rows * impl_->outputs.size()) {
    return invalid_argument("the matrix has room for " + std::to_string(out.size()) +
                            " numbers, and " + std::to_string(rows) + " rows of " +
                            std::to_string(impl_->outputs.size()) + " features are to be written");
  }
  if (rows <= kRowsPerTask) {
    impl_->run(batch, places, 0, rows, out.data());
    return {};
  }
  const std::span<const std::size_t> shared = places;  // this thread's: it waits until all are done
  parallel_for(
      rows, kRowsPerTask,
      [&](std::size_t begin, std::size_t end) {
        impl_->run(batch, shared, begin, end, out.data());
      },
      threads);
  return {};
}

Result<StagePtr> stage_from_json(const Json& json, const Shape& shape) {
  const std::string op = json.at("op").get<std::string>();
  if (op == "onehot" || op == "ordinal" || op == "target_encode")
    return category_stage_from_json(json, shape);
  if (op == "datetime") return datetime_stage_from_json(json, shape);
  if (op == "number") {
    if (!shape.raw || shape.type == data::Type::text)
      return invalid_argument("the column cannot be read as numbers here");
    return number_stage();
  }
  if (shape.raw) return invalid_argument(op + " comes before the column is read");
  auto stage = numeric_stage_from_json(op, json, shape);
  if (stage && *stage == nullptr) return invalid_argument("no stage is called '" + op + "'");
  return stage;
}

}  // namespace slipway::features
