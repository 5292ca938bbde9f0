// One fitted transform in the chain of one column, as the pipeline runs it.
// A stage works on a block of rows, column by column in doubles, and each row's result depends on
// that row alone: so a batch, a slice of it and a single row give the same bits. Stages are
// immutable once fitted; apply() is thread-safe.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "data/table.h"
#include "features/spec.h"

namespace slipway::features {

inline constexpr double kMissing = std::numeric_limits<double>::quiet_NaN();

// The rows at work in one chain.
struct Block {
  const data::ColumnView* column = nullptr;
  std::int64_t begin = 0;  // of the block's first row in the column
  std::size_t rows = 0;
  std::size_t stride = 0;    // between two numbers of one row: >= rows
  double* values = nullptr;  // [kept, stride]: what the chain has made so far; NaN is missing
  double* flags = nullptr;   // [flags, stride]: indicators

  std::span<double> value(std::size_t index) const { return {values + index * stride, rows}; }
  std::span<double> flag(std::size_t index) const { return {flags + index * stride, rows}; }
};

// What flows between two stages, known without any row.
struct Shape {
  bool raw = true;  // the column itself: no stage has read it yet
  data::Type type = data::Type::float64;
  std::vector<std::string> names;  // of the numbers a row has here
  std::vector<std::string> flags;  // of the indicators
  std::size_t onehot =
      0;  // when > 0: the first number is the place of a 1 among `names` (-1: none), and the last
  bool closed = false;  // nothing can follow: a stage writes the outputs itself, or onehot does
};

class Stage {
 public:
  virtual ~Stage() = default;
  virtual void apply(Block& block) const = 0;
  // A stage of very many outputs is the last of its chain and writes a row's outputs into the
  // matrix, whose rows are `stride` apart, instead of keeping them in the block.
  virtual bool writes() const { return false; }
  virtual void write(const Block& block, float* out, std::size_t stride) const {
    (void)block;
    (void)out;
    (void)stride;
  }
  virtual void advance(
      Shape& shape) const = 0;       // from the shape before this stage to the one after
  virtual Json to_json() const = 0;  // {"op": …}
};
using StagePtr = std::unique_ptr<const Stage>;

// The whole training column on its way down a chain.
struct FitBlock {
  Block block;  // all rows; holds what a model is trained on (out-of-fold target encodings)
  Shape shape;
  std::span<const double> target;             // [rows], or empty
  std::uint64_t seed = 0;                     // of the folds of target encodings
  std::vector<std::string>* notes = nullptr;  // remarks for the person who fits
};

// Fit on the training rows, apply to them, advance the shape. `fill` is an impute that stood before
// a category stage.
Result<StagePtr> fit_impute(const Impute& spec, FitBlock& fit);
Result<StagePtr> fit_standardize(const Standardize& spec, FitBlock& fit);
Result<StagePtr> fit_clip(const Clip& spec, FitBlock& fit);
Result<StagePtr> fit_log1p(FitBlock& fit);
Result<StagePtr> fit_bucketize(const Bucketize& spec, FitBlock& fit);
Result<StagePtr> fit_onehot(const OneHot& spec, const Impute* fill, FitBlock& fit);
Result<StagePtr> fit_ordinal(const Ordinal& spec, const Impute* fill, FitBlock& fit);
Result<StagePtr> fit_target_encode(const TargetEncode& spec, const Impute* fill, FitBlock& fit);
Result<StagePtr> fit_datetime(const DateTime& spec, FitBlock& fit);
Result<StagePtr> fit_minmax(const MinMax& spec, FitBlock& fit);
Result<StagePtr> fit_robust(const Robust& spec, FitBlock& fit);
Result<StagePtr> fit_quantile(const QuantileMap& spec, FitBlock& fit);
Result<StagePtr> fit_power(const Power& spec, FitBlock& fit);
Result<StagePtr> fit_log(const Log& spec, FitBlock& fit);
Result<StagePtr> fit_frequency(const Frequency& spec, const Impute* fill, FitBlock& fit);
Result<StagePtr> fit_hash(const Hash& spec, FitBlock& fit);
Result<StagePtr> fit_text_hash(const TextHash& spec, FitBlock& fit);
Result<StagePtr> fit_tfidf(const TfIdf& spec, FitBlock& fit);
// (x - center) / scale, under the names that its JSON has.
struct CenterWords {
  const char* op;
  const char* center;
};
inline constexpr CenterWords kStandardize{"standardize", "mean"};
inline constexpr CenterWords kRobust{"robust", "center"};
StagePtr center_stage(const CenterWords& words, std::vector<double> centers,
                      std::vector<double> scales);
// The column as numbers: null, NaN and infinities become missing.
StagePtr number_stage();

// From what to_json() gave, for a place in the chain where `shape` flows. Throws nlohmann's
// exceptions on wrong types; the pipeline turns them into an error.
Result<StagePtr> stage_from_json(const Json& json, const Shape& shape);
// The parts of stage_from_json, by file; nothing when the op is not theirs.
Result<StagePtr> numeric_stage_from_json(const std::string& op, const Json& json,
                                         const Shape& shape);
Result<StagePtr> scaling_stage_from_json(const std::string& op, const Json& json,
                                         const Shape& shape);
Result<StagePtr> text_stage_from_json(const std::string& op, const Json& json, const Shape& shape);
Result<StagePtr> category_stage_from_json(const Json& json, const Shape& shape);
Result<StagePtr> datetime_stage_from_json(const Json& json, const Shape& shape);

// Quantile by linear interpolation between order statistics (type 7 of R. Hyndman, Y. Fan, "Sample
// quantiles in statistical packages", 1996; numpy's default). `sorted` is not empty.
double quantile(std::span<const double> sorted, double q);
// Edges between the leaves of a tree that cuts `values` so that `target` varies least within them.
std::vector<double> tree_edges(std::span<const double> values, std::span<const double> target,
                               std::size_t leaves, std::size_t least);
// Where the normal distribution has this share below: 0 < share < 1.
double normal_deviate(double share);
// A parameter as JSON and back: missing (NaN) is null.
Json number_or_null(double value);
double number_or_nan(const Json& json);
// The list under `key`, a number for each of `width` columns. Throws invalid_argument on others.
std::vector<double> numbers_under(const Json& json, const char* key, std::size_t width);

}  // namespace slipway::features
