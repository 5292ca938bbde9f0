// A fitted pipeline from within: what fitting makes, JSON stores and transform() runs.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "features/expression_internal.h"
#include "features/pipeline.h"
#include "features/stage_internal.h"

namespace slipway::features {

inline constexpr int kPipelineVersion = 2;         // of the JSON
inline constexpr std::size_t kRowsPerTask = 4096;  // fewer: threads cost more than they give

// One column and what is done to it.
struct Chain {
  std::size_t input = 0;  // in inputs; behind them views' columns, then derived ones
  std::string suffix;     // of the names, as declared
  std::vector<StagePtr> stages;
  Shape shape;            // at the end
  std::size_t kept = 1;   // most numbers of a row at any time
  std::size_t begin = 0;  // of its outputs, before any selection

  std::size_t width() const { return shape.names.size() + shape.flags.size(); }
};

// What a chain made of the training rows while it was fitted, kept so that the training matrix need
// not compute it once more; for target encodings it is out of fold, which transform() cannot give.
// Empty for chains that are not kept.
struct TrainedColumns {
  std::size_t rows = 0;
  std::vector<float> values;  // [names, rows], or [1, rows] of places (onehot); then [flags, rows]
};

struct DerivedColumn {
  std::string name;
  Expression expression;  // over inputs and the views' columns
};

struct ViewUse {
  ViewSpec spec;
  std::string digest;
  std::vector<std::string> outputs;
};

struct Pipeline::Impl {
  data::Schema inputs;
  std::vector<ViewUse> views;
  std::vector<ViewSpec> view_specs;  // the same, for views()
  data::Schema read;                 // inputs, then the views' columns
  std::vector<DerivedColumn> derived;
  std::vector<Chain> chains;
  std::vector<std::string> all_outputs;  // of the chains
  std::vector<std::size_t> selected;     // of all_outputs, ascending; empty: all of them
  std::vector<std::string> outputs;
  std::size_t kept = 1;
  std::size_t flags = 0;
  std::vector<std::string> notes;
  std::string digest;
  std::vector<bool> reads_numbers;  // [inputs]: nothing takes the column's own values as categories

  data::Field field_of(std::size_t input) const {
    if (input < read.fields.size()) return read.fields[input];
    const DerivedColumn& column = derived[input - read.fields.size()];
    return {column.name, column.expression.type(), true};
  }
  void set_views(std::vector<ViewUse> uses);  // after inputs
  // The snapshots to look up in, in the order of the views.
  Result<void> find_views(const ViewSource* source, std::vector<ViewPtr>& found) const;
  // Places the chains' outputs one after another; an error when two have one name.
  Result<void> arrange();
  // Keeps these of all_outputs, and no chain, derived column or input that gives none of them.
  void keep(std::vector<std::size_t> wanted);
  Json to_json() const;
  void finish();  // all is in place: the digest
  // Where each input stands in the batch. The batch's types are the fitted ones, but integers serve
  // as reals.
  Result<void> bind(const data::Batch& batch, std::vector<std::size_t>& places) const;
  // Rows [begin, end) of the batch into their rows of `out`. Chains that have `trained` columns (of
  // this very batch) take their values from there.
  Result<void> run(const data::Batch& batch, std::span<const std::size_t> places,
                   std::span<const ViewPtr> found, std::size_t begin, std::size_t end, float* out,
                   std::span<const TrainedColumns> trained = {}) const;
};

// What flows into the first stage of a chain on this column.
Shape first_shape(const data::Field& field, const std::string& suffix);
TrainedColumns trained_columns(const Chain& chain, const Block& block);
// A block's numbers into the rows of the matrix, whose rows are `stride` apart.
void write_block(const Chain& chain, const Block& block, float* out, std::size_t stride);
// Which outputs of the training matrix stay.
Result<std::vector<std::size_t>> select_outputs(const Select& select, const Matrix& matrix,
                                                const Importance& importance,
                                                std::vector<std::string>& notes);

}  // namespace slipway::features
