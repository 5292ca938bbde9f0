// The declaration of a feature pipeline: which columns go through which chain of transforms.
//   features:
//     - columns: [temp, dewp, "late_*"]          # names or patterns with *
//       apply: [impute: {strategy: median, indicator: true}, standardize]
//     - columns: carrier
//       apply: [onehot: {min_share: 0.01}]
//     - columns: dest
//       apply: [target_encode: {smoothing: 20, folds: 5}]
//     - columns: time_hour
//       apply: [datetime: {parts: [hour, dow, month], cyclical: [hour], zone: "-05:00"}]
//     - types: [boolean]                         # columns of a type that no entry names
//       apply: [passthrough]
// Each transform takes what the one before it gives; spec.cpp has one table of their names and
// options. A value type: holds nothing but the declaration, and the place it came from for
// messages.
#pragma once
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "data/table.h"

namespace slipway::features {

// A missing number or category is replaced; `indicator` adds an output that is 1 where it was.
struct Impute {
  enum class How { mean, median, constant, most_frequent };
  How how = How::median;
  Json value;  // of constant
  bool indicator = false;
};
// (x - mean) / standard deviation (population form, as scikit-learn's StandardScaler).
struct Standardize {
  bool center = true;
  bool scale = true;
};
// Into [low, high]; as quantiles of the training data when `quantiles`.
struct Clip {
  std::optional<double> low;
  std::optional<double> high;
  bool quantiles = false;
};
// log(1 + x); x <= -1 has none and becomes missing.
struct Log1p {};
// A number as it is.
struct Passthrough {};
// The index of the bin: bins of equal counts, of equal width, or between given edges.
struct Bucketize {
  std::size_t bins = 10;
  bool equal_width = false;
  std::vector<double> edges;  // ascending; a value equal to an edge belongs to the bin above it
};
// One output per category. A category with a smaller share than min_share, or beyond the
// max_categories most frequent, shares one "rare" output. A category never seen in training counts
// as rare, as none (all zeros), or has its own output.
struct OneHot {
  enum class Unknown { rare, zeros, bucket };
  double min_share = 0;
  std::size_t max_categories = 100;
  Unknown unknown = Unknown::rare;
};
// The position in `order`, else in sorted order; missing and unseen categories become missing.
struct Ordinal {
  std::vector<Json> order;
};
// The category's mean target, drawn towards the overall mean by `smoothing` imagined rows: (sum +
// smoothing * mean) / (count + smoothing). D. Micci-Barreca, "A preprocessing scheme for
// high-cardinality categorical attributes" (2001). A training row is encoded without the rows of
// its own fold, so that it never sees its own target.
struct TargetEncode {
  double smoothing = 20;
  std::size_t folds = 5;
};
// Calendar parts of a timestamp in a fixed zone; those in `cyclical` as sine and cosine of their
// turn.
struct DateTime {
  enum class Part { minute, hour, dow, day, doy, month, year };
  std::vector<Part> parts;
  std::vector<Part> cyclical;
  std::int32_t offset_minutes = 0;  // of the zone, east of UTC
};

using Transform = std::variant<Impute, Standardize, Clip, Log1p, Passthrough, Bucketize, OneHot,
                               Ordinal, TargetEncode, DateTime>;

std::string_view name_of(const Transform& transform);  // "target_encode"
std::string_view name_of(DateTime::Part part);         // "dow"

struct Selection {
  std::vector<std::string> columns;  // names or patterns
  std::vector<data::Type> types;     // every column of these types that no selection names
  std::vector<std::string> except;
  std::string suffix;  // of the output names, when a column is used twice
  std::vector<Transform> apply;
  std::string place;  // "pipeline.yaml:12:5"
};

// One column and its chain.
struct Binding {
  std::size_t column = 0;     // in the schema it was bound to
  std::size_t selection = 0;  // in the spec
};

struct PipelineSpec {
  std::vector<Selection> selections;
  Json declared;  // as written: what the spec is hashed by

  // From a list at `key`; problems go to the reader.
  static PipelineSpec read(SpecReader& reader, std::string_view key = "features");
  static Result<PipelineSpec> from_json(const Json& list, const std::string& name = "features");

  // The columns each selection means, in the order of the outputs. Every problem (unknown column, a
  // transform that cannot take the column's type) is a line of one invalid_argument error.
  Result<std::vector<Binding>> bind(const data::Schema& schema) const;
};

}  // namespace slipway::features
