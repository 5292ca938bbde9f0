#include "features/pipeline.h"

#include <cmath>
#include <limits>
#include <set>

#include "base/guarded.h"
#include "base/hash.h"
#include "base/parallel.h"
#include "features/pipeline_internal.h"
#include "features/zone_internal.h"

namespace slipway::features {
namespace {

constexpr std::size_t kBlock = 256;  // rows of a block: its numbers stay in the first-level cache

// NaN in one form, and nothing infinite: the learner accepts no infinity, and equal results have
// equal bits.
float to_float(double value) {
  constexpr double kMost = std::numeric_limits<float>::max();
  if (std::isnan(value)) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(value > kMost ? kMost : (value < -kMost ? -kMost : value));
}

// What a thread works in, kept between calls.
struct Workspace {
  std::vector<double> numbers;            // [kept + flags, kBlock]
  std::vector<float> wide;                // [kBlock, all outputs], when some are not selected
  std::vector<data::ColumnView> columns;  // as Impl::read
  std::vector<double> looked_up;          // [kBlock, values of a view]
  std::vector<double> view_values;        // [views' columns, kBlock]
  std::vector<DerivedValues> derived;
  std::vector<data::ColumnView> derived_columns;
  ExpressionScratch scratch;
};

// The older form: no derived columns, no selection, and zones as plain offsets.
Json from_version_1(Json json) {
  json["version"] = kPipelineVersion;
  json["views"] = Json::array();
  json["derived"] = Json::array();
  json["selected"] = nullptr;
  for (Json& chain : json.at("chains")) {
    for (Json& stage : chain.at("stages")) {
      if (stage.at("op") != "datetime") continue;
      const int minutes = stage.at("offset_minutes").get<int>();
      const int size = std::abs(minutes);
      if (size > 24 * 60) throw std::invalid_argument("datetime has a zone beyond a day");
      stage["zone"] =
          Zone::fixed(fmt::format("{}{:02}:{:02}", minutes < 0 ? '-' : '+', size / 60, size % 60),
                      minutes * 60)
              .to_json();
      stage.erase("offset_minutes");
    }
  }
  return json;
}

}  // namespace

Shape first_shape(const data::Field& field, const std::string& suffix) {
  Shape shape;
  shape.type = field.type;
  shape.names = {field.name + suffix};
  return shape;
}

namespace {

// Zeros, and a 1 where `place` says.
template <class T>
void write_places(const T* places, std::size_t rows, std::size_t names, float* out,
                  std::size_t stride) {
  for (std::size_t i = 0; i < rows; ++i) {
    float* row = out + i * stride;
    std::fill_n(row, names, 0.0F);
    if (places[i] >= 0) row[static_cast<std::size_t>(places[i])] = 1;
  }
}

// Rows [begin, begin + rows) of what a chain made when it was fitted.
void write_trained(const Chain& chain, const TrainedColumns& trained, std::size_t begin,
                   std::size_t rows, float* out, std::size_t stride) {
  const std::size_t names = chain.shape.names.size();
  const float* column = trained.values.data() + begin;
  const auto copy = [&](std::size_t to) {
    for (std::size_t i = 0; i < rows; ++i) out[i * stride + to] = column[i];
    column += trained.rows;
  };
  if (chain.shape.onehot > 0) {
    write_places(column, rows, names, out, stride);
    column += trained.rows;
  } else {
    for (std::size_t k = 0; k < names; ++k) copy(k);
  }
  for (std::size_t k = 0; k < chain.shape.flags.size(); ++k) copy(names + k);
}

}  // namespace

void write_block(const Chain& chain, const Block& block, float* out, std::size_t stride) {
  const std::size_t names = chain.shape.names.size();
  if (!chain.stages.empty() && chain.stages.back()->writes()) {
    chain.stages.back()->write(block, out, stride);
  } else if (chain.shape.onehot > 0) {
    write_places(block.value(0).data(), block.rows, names, out, stride);
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

TrainedColumns trained_columns(const Chain& chain, const Block& block) {
  const std::size_t numbers = chain.shape.onehot > 0 ? 1 : chain.shape.names.size();
  TrainedColumns out;
  out.rows = block.rows;
  out.values.reserve((numbers + chain.shape.flags.size()) * block.rows);
  for (std::size_t k = 0; k < numbers; ++k) {
    for (const double value : block.value(k)) out.values.push_back(to_float(value));
  }
  for (std::size_t k = 0; k < chain.shape.flags.size(); ++k) {
    for (const double flag : block.flag(k)) out.values.push_back(static_cast<float>(flag));
  }
  return out;
}

Result<void> Pipeline::Impl::arrange() {
  std::set<std::string> seen;
  all_outputs.clear();
  for (Chain& chain : chains) {
    chain.begin = all_outputs.size();
    kept = std::max(kept, chain.kept);
    flags = std::max(flags, chain.shape.flags.size());
    for (const auto* names : {&chain.shape.names, &chain.shape.flags}) {
      for (const std::string& name : *names) {
        if (!seen.insert(name).second) {
          return invalid_argument(
              "two features are called '" + name +
              "'; give one of the entries a suffix, for example suffix: _binned");
        }
        all_outputs.push_back(name);
      }
    }
  }
  outputs = all_outputs;
  return {};
}

void Pipeline::Impl::set_views(std::vector<ViewUse> uses) {
  views = std::move(uses);
  view_specs.clear();
  read = inputs;
  for (const ViewUse& view : views) {
    view_specs.push_back(view.spec);
    for (const std::string& name : view.outputs)
      read.fields.push_back({name, data::Type::float64, true});
  }
}

Result<void> Pipeline::Impl::find_views(const ViewSource* source,
                                        std::vector<ViewPtr>& found) const {
  found.clear();
  for (const ViewUse& view : views) {
    ViewPtr live = source == nullptr ? nullptr : source->find(view.spec.name);
    if (live == nullptr) {
      return failed_precondition("the features look up in the view '" + view.spec.name +
                                 "' of dataset '" + view.spec.dataset +
                                 "', which is not materialised here");
    }
    if (live->digest() != view.digest) {
      return failed_precondition("the view '" + view.spec.name +
                                 "' that is materialised here is declared otherwise than the one "
                                 "the features were fitted with");
    }
    found.push_back(std::move(live));
  }
  return {};
}

void Pipeline::Impl::keep(std::vector<std::size_t> wanted) {
  std::vector<std::string> names;
  for (const std::size_t output : wanted) names.push_back(all_outputs[output]);
  std::vector<Chain> needed;
  for (Chain& chain : chains) {
    const auto first = std::lower_bound(wanted.begin(), wanted.end(), chain.begin);
    if (first != wanted.end() && *first < chain.begin + chain.width())
      needed.push_back(std::move(chain));
  }
  chains = std::move(needed);

  // What something still reads of the inputs, the views' columns and the derived ones, and where
  // it stands now.
  const std::size_t old_read = read.fields.size();
  std::vector<bool> used(old_read + derived.size(), false);
  for (const Chain& chain : chains) used[chain.input] = true;
  for (std::size_t d = 0; d < derived.size(); ++d) {
    if (!used[old_read + d]) continue;
    for (const std::size_t column : derived[d].expression.reads()) used[column] = true;
  }
  std::vector<ViewUse> needed_views;
  std::vector<std::size_t> old_places;  // of the columns of the views that stay
  std::size_t first = inputs.fields.size();
  for (ViewUse& view : views) {
    const std::size_t last = first + view.outputs.size();
    bool any = false;
    for (std::size_t column = first; column < last; ++column) any = any || used[column];
    if (any) {
      for (std::size_t column = first; column < last; ++column) old_places.push_back(column);
      for (const auto& [mine, theirs] : view.spec.keys) used[*inputs.index(mine)] = true;
      used[*inputs.index(view.spec.at)] = true;
      needed_views.push_back(std::move(view));
    }
    first = last;
  }
  std::vector<std::size_t> place(old_read + derived.size(), 0);
  data::Schema fields;
  for (std::size_t i = 0; i < inputs.fields.size(); ++i) {
    if (!used[i]) continue;
    place[i] = fields.fields.size();
    fields.fields.push_back(inputs.fields[i]);
  }
  inputs = std::move(fields);
  for (std::size_t i = 0; i < old_places.size(); ++i)
    place[old_places[i]] = inputs.fields.size() + i;
  set_views(std::move(needed_views));
  std::vector<DerivedColumn> columns;
  for (std::size_t d = 0; d < derived.size(); ++d) {
    if (!used[old_read + d]) continue;
    place[old_read + d] = read.fields.size() + columns.size();
    columns.push_back({derived[d].name, derived[d].expression.moved(place)});
  }
  for (Chain& chain : chains) chain.input = place[chain.input];
  derived = std::move(columns);
  (void)arrange();  // the names were distinct before
  selected.clear();
  if (names.size() == all_outputs.size()) return;
  for (std::size_t i = 0; i < all_outputs.size(); ++i) {
    if (selected.size() < names.size() && all_outputs[i] == names[selected.size()])
      selected.push_back(i);
  }
  outputs = std::move(names);
}

Json Pipeline::Impl::to_json() const {
  Json list = Json::array();
  for (const Chain& chain : chains) {
    Json stages = Json::array();
    for (const StagePtr& stage : chain.stages) stages.push_back(stage->to_json());
    list.push_back(
        {{"column", field_of(chain.input).name}, {"suffix", chain.suffix}, {"stages", stages}});
  }
  Json made = Json::array();
  for (const DerivedColumn& column : derived)
    made.push_back({{"name", column.name}, {"expression", column.expression.source()}});
  Json looked_up = Json::array();
  for (const ViewUse& view : views) looked_up.push_back(view.spec.to_json());
  return {{"version", kPipelineVersion},
          {"inputs", inputs.to_json()},
          {"views", looked_up},
          {"derived", made},
          {"chains", list},
          {"selected", selected.empty() ? Json() : Json(outputs)},
          {"outputs", outputs}};
}

void Pipeline::Impl::finish() {
  reads_numbers.assign(inputs.fields.size(), true);
  for (const Chain& chain : chains) {
    if (chain.input < inputs.fields.size() && chain.stages.front()->to_json().at("op") != "number")
      reads_numbers[chain.input] = false;
  }
  for (const ViewUse& view : views) {  // keys are found by their own values, too
    for (const auto& [mine, theirs] : view.spec.keys) reads_numbers[*inputs.index(mine)] = false;
  }
  digest = sha256_hex(canonical(to_json()));
}

Result<void> Pipeline::Impl::bind(const data::Batch& batch,
                                  std::vector<std::size_t>& places) const {
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

Result<void> Pipeline::Impl::run(const data::Batch& batch, std::span<const std::size_t> places,
                                 std::span<const ViewPtr> found, std::size_t begin, std::size_t end,
                                 float* out, std::span<const TrainedColumns> trained) const {
  thread_local Workspace work;
  const std::size_t own = inputs.fields.size();
  const std::size_t stride = all_outputs.size();
  if (work.numbers.size() < (kept + flags) * kBlock) work.numbers.resize((kept + flags) * kBlock);
  if (!selected.empty() && work.wide.size() < kBlock * stride) work.wide.resize(kBlock * stride);
  const bool more = !derived.empty() || !views.empty();  // than the batch's own columns
  if (more) {
    work.columns.clear();
    for (const std::size_t at : places) work.columns.push_back(batch.columns[at]);
    work.columns.resize(read.fields.size());
    work.view_values.resize((read.fields.size() - own) * kBlock);
    if (work.derived.size() < derived.size()) work.derived.resize(derived.size());
    work.derived_columns.resize(derived.size());
  }
  for (std::size_t row = begin; row < end; row += kBlock) {
    const std::size_t rows = std::min(kBlock, end - row);
    const auto first = static_cast<std::int64_t>(row);
    std::size_t column = own;
    for (const ViewPtr& view : found) {
      const std::size_t width = view->spec().values.size();
      work.looked_up.resize(rows * width);
      const data::Batch some = batch.slice(first, static_cast<std::int64_t>(rows));
      if (auto done = view->look_up(some, work.looked_up); !done) return done;
      for (std::size_t v = 0; v < width; ++v, ++column) {
        double* const values = work.view_values.data() + (column - own) * kBlock;
        for (std::size_t i = 0; i < rows; ++i) values[i] = work.looked_up[i * width + v];
        // Rows are counted from the batch's first, and these values begin with the block's.
        work.columns[column] = {.type = data::Type::float64,
                                .rows = first + static_cast<std::int64_t>(rows),
                                .offset = -first,
                                .values = values};
      }
    }
    for (std::size_t d = 0; d < derived.size(); ++d) {
      derived[d].expression.evaluate(work.columns, first, rows, work.scratch, work.derived[d]);
      work.derived_columns[d] =
          work.derived[d].view(derived[d].expression.type(), static_cast<std::int64_t>(rows));
    }
    float* const into = selected.empty() ? out + row * stride : work.wide.data();
    for (std::size_t c = 0; c < chains.size(); ++c) {
      const Chain& chain = chains[c];
      if (!trained.empty() && trained[c].rows > 0) {
        write_trained(chain, trained[c], row, rows, into + chain.begin, stride);
        continue;
      }
      const bool made = chain.input >= read.fields.size();
      Block block{made                ? &work.derived_columns[chain.input - read.fields.size()]
                  : chain.input < own ? &batch.columns[places[chain.input]]
                                      : &work.columns[chain.input],
                  made ? 0 : first,
                  rows,
                  rows,
                  work.numbers.data(),
                  work.numbers.data() + kept * kBlock};
      for (const StagePtr& stage : chain.stages) stage->apply(block);
      write_block(chain, block, into + chain.begin, stride);
    }
    for (std::size_t i = 0; i < (selected.empty() ? 0 : rows); ++i) {
      float* const to = out + (row + i) * selected.size();
      const float* const from = into + i * stride;
      for (std::size_t k = 0; k < selected.size(); ++k) to[k] = from[selected[k]];
    }
  }
  return {};
}

Result<Pipeline> Pipeline::from_json(const Json& saved_json) {
  const auto broken = [](const std::string& why) {
    return data_loss("the saved feature pipeline is broken: " + why);
  };
  try {
    const Json& version = saved_json.at("version");
    if (version != kPipelineVersion && version != 1) {
      return unimplemented("the feature pipeline has version " + version.dump() +
                           ", and this program reads versions 1 to " +
                           std::to_string(kPipelineVersion));
    }
    const Json json = version == 1 ? from_version_1(saved_json) : saved_json;
    auto impl = std::make_shared<Impl>();
    auto inputs = data::Schema::from_json(json.at("inputs"));
    if (!inputs) return broken(inputs.error().message);
    impl->inputs = std::move(*inputs);
    std::vector<ViewUse> uses;
    std::set<std::string> names;
    for (const data::Field& field : impl->inputs.fields) names.insert(field.name);
    for (const Json& saved : json.at("views")) {
      auto view = ViewSpec::from_json(saved);
      if (!view) return broken(view.error().message);
      for (const std::string& name : view->outputs()) {
        if (!names.insert(name).second) return broken("two columns are called '" + name + "'");
      }
      bool complete = impl->inputs.index(view->at).has_value();
      for (const auto& [mine, theirs] : view->keys)
        complete = complete && impl->inputs.index(mine).has_value();
      if (!complete)
        return broken("the inputs lack what the view '" + view->name + "' is asked by");
      uses.push_back({*view, view->digest(), view->outputs()});
    }
    impl->set_views(std::move(uses));
    data::Schema fields = impl->read;  // and the derived ones
    for (const Json& saved : json.at("derived")) {
      const auto name = saved.at("name").get<std::string>();
      auto expression = Expression::parse(saved.at("expression").get<std::string>(), impl->read);
      if (!expression) return broken("'" + name + "': " + expression.error().message);
      if (fields.index(name)) return broken("two columns are called '" + name + "'");
      fields.fields.push_back({name, expression->type(), true});
      impl->derived.push_back({name, std::move(*expression)});
    }
    for (const Json& saved : json.at("chains")) {
      Chain chain;
      const auto input = fields.find(saved.at("column").get<std::string>());
      if (!input) return broken(input.error().message);
      chain.input = *input;
      chain.suffix = saved.at("suffix").get<std::string>();
      chain.shape = first_shape(fields.fields[*input], chain.suffix);
      for (const Json& part : saved.at("stages")) {
        if (chain.shape.closed)
          return broken("a stage follows one that spreads its value over several outputs");
        auto stage = stage_from_json(part, chain.shape);
        if (!stage)
          return broken("column '" + fields.fields[*input].name + "': " + stage.error().message);
        (*stage)->advance(chain.shape);
        if (!chain.shape.closed) chain.kept = std::max(chain.kept, chain.shape.names.size());
        chain.stages.push_back(std::move(*stage));
      }
      if (chain.shape.raw)
        return broken("nothing reads column '" + fields.fields[*input].name + "'");
      impl->chains.push_back(std::move(chain));
    }
    if (const auto arranged = impl->arrange(); !arranged) return broken(arranged.error().message);
    if (const Json& chosen = json.at("selected"); !chosen.is_null()) {
      for (const Json& name : chosen) {
        const auto& all = impl->all_outputs;
        const auto from = impl->selected.empty() ? 0 : impl->selected.back() + 1;
        const auto found = std::find(all.begin() + static_cast<std::ptrdiff_t>(from), all.end(),
                                     name.get<std::string>());
        if (found == all.end()) return broken("it selects outputs that its chains do not give");
        impl->selected.push_back(static_cast<std::size_t>(found - all.begin()));
      }
      impl->outputs = chosen.get<std::vector<std::string>>();
      if (impl->selected.empty()) return broken("it selects no output");
    }
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
  thread_local std::vector<ViewPtr> found;
  if (auto bound = impl_->bind(batch, places); !bound) return bound;
  if (auto there = impl_->find_views(view_source_.get(), found); !there) return there;
  const auto rows = static_cast<std::size_t>(batch.rows);
  if (out.size() != rows * impl_->outputs.size()) {
    return invalid_argument("the matrix has room for " + std::to_string(out.size()) +
                            " numbers, and " + std::to_string(rows) + " rows of " +
                            std::to_string(impl_->outputs.size()) + " features are to be written");
  }
  if (rows <= kRowsPerTask) return impl_->run(batch, places, found, 0, rows, out.data());
  // This thread's, shared with the others: it waits until all are done.
  const std::span<const std::size_t> shared = places;
  const std::span<const ViewPtr> shared_views = found;
  Guarded<Result<void>> outcome;
  parallel_for(
      rows, kRowsPerTask,
      [&](std::size_t begin, std::size_t end) {
        auto done = impl_->run(batch, shared, shared_views, begin, end, out.data());
        if (!done) outcome.with([&](auto& value) { value = std::move(done); });
      },
      threads);
  return outcome.with([](const auto& value) { return value; });
}

const std::vector<ViewSpec>& Pipeline::views() const { return impl_->view_specs; }

Pipeline Pipeline::with_views(std::shared_ptr<const ViewSource> source) const {
  Pipeline out = *this;
  out.view_source_ = std::move(source);
  return out;
}

Result<StagePtr> stage_from_json(const Json& json, const Shape& shape) {
  const std::string op = json.at("op").get<std::string>();
  if (op == "onehot" || op == "ordinal" || op == "target_encode" || op == "frequency")
    return category_stage_from_json(json, shape);
  if (op == "hash" || op == "text_hash" || op == "tfidf")
    return text_stage_from_json(op, json, shape);
  if (op == "datetime") return datetime_stage_from_json(json, shape);
  if (op == "number") {
    if (!shape.raw || shape.type == data::Type::text)
      return invalid_argument("the column cannot be read as numbers here");
    return number_stage();
  }
  if (shape.raw) return invalid_argument(op + " comes before the column is read");
  auto stage = numeric_stage_from_json(op, json, shape);
  if (stage && *stage == nullptr) stage = scaling_stage_from_json(op, json, shape);
  if (stage && *stage == nullptr) return invalid_argument("no stage is called '" + op + "'");
  return stage;
}

}  // namespace slipway::features
