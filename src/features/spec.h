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
//     - expression: distance / planned_minutes   # a column made of others
//       as: speed
//       apply: [impute: median]
//     - cross: [origin, carrier]                 # pairs as categories: "EWR|UA"
//       apply: [onehot: {min_share: 0.01}]
//     - polynomial: {columns: [temp, humid], degree: 2}
//       apply: [impute: mean, standardize]
//     - select: {by: mutual_information, keep: 40}   # of all outputs; at the end
// Each transform takes what the one before it gives; spec_transforms.cpp has one table of their
// names and options. A value type: holds nothing but the declaration, and the place it came from
// for messages.
#pragma once
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "base/spec.h"
#include "data/table.h"
#include "features/view.h"

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
// The index of the bin: bins of equal counts, of equal width, the leaves of a decision tree grown
// on the target (variance for numbers, which for labels 0 and 1 is Gini's), or between given edges.
struct Bucketize {
  enum class By { quantile, width, tree };
  std::size_t bins = 10;
  By by = By::quantile;
  std::size_t min_rows = 1;   // in a leaf of the tree
  std::vector<double> edges;  // ascending; a value equal to an edge belongs to the bin above it
};
// From [smallest, largest] of the training data to [low, high].
struct MinMax {
  double low = 0;
  double high = 1;
  bool clip = false;  // what lies outside of what training saw
};
// (x - median) / (quantile high - quantile low).
struct Robust {
  double low = 0.25;
  double high = 0.75;
  bool center = true;
  bool scale = true;
};
// The share of training values below x, or the normal deviate of that share; linear between
// `quantiles` landmarks.
struct QuantileMap {
  std::size_t quantiles = 1000;
  bool normal = false;
};
// I.-K. Yeo, R. Johnson, "A new family of power transformations" (2000), by maximum likelihood.
struct Power {
  bool standardize = true;
};
// log(x + offset) to the base e, 2 or 10; what has no logarithm becomes missing.
struct Log {
  double offset = 0;
  int base = 0;  // 0: e
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
// Calendar parts of a timestamp on the clocks of a zone; those in `cyclical` as sine and cosine of
// their turn.
struct DateTime {
  enum class Part { minute, hour, dow, day, doy, month, year };
  std::vector<Part> parts;
  std::vector<Part> cyclical;
  std::string zone = "UTC";  // or "-05:00", or "America/New_York" with its summer times
};
// How often the category occurs among the training rows, as a share of them or a count; 0 for one
// that never did.
struct Frequency {
  bool counts = false;
};
// Categories into a fixed number of outputs by their hash (K. Weinberger et al., "Feature hashing
// for large scale multitask learning", 2009): +1 or -1, or always +1 without `sign`.
struct Hash {
  std::size_t buckets = 32;
  bool sign = true;
};
// How a text becomes terms, as scikit-learn's CountVectorizer does it: `word` takes runs of two or
// more letters, digits and underscores; `chars` runs of characters of the text, in which white
// space in a row is one blank; `chars_in_words` the same within words padded by a blank on both
// sides.
struct Analyzer {
  enum class Unit { word, chars, chars_in_words };
  Unit unit = Unit::word;
  std::size_t least = 1;  // of units in a term
  std::size_t most = 1;
  bool lowercase = true;
};
// Terms of a text counted into a fixed number of outputs by their hash.
struct TextHash {
  Analyzer analyzer;
  std::size_t buckets = 256;
  bool sign = true;
  bool normalize = true;  // to length 1
};
// Terms by how often they occur here and how rarely elsewhere: count * (ln((1 + rows) / (1 + rows
// with the term)) + 1), the vector scaled to length 1.
struct TfIdf {
  Analyzer analyzer;
  std::size_t max_terms = 200;  // the most frequent ones
  std::size_t min_rows = 2;     // with the term
  bool sublinear = false;       // 1 + ln(count) for the count
  bool weigh = true;            // else plain counts
  bool normalize = true;
};

using Transform = std::variant<Impute, Standardize, Clip, Log1p, Passthrough, Bucketize, OneHot,
                               Ordinal, TargetEncode, DateTime, MinMax, Robust, QuantileMap, Power,
                               Log, Frequency, Hash, TextHash, TfIdf>;

std::string_view name_of(const Transform& transform);  // "target_encode"
std::string_view name_of(DateTime::Part part);         // "dow"

// A column made of others, row by row (expression_internal.h has the language).
struct Derive {
  std::string name;
  std::string expression;
  std::string place;
};

// Which outputs stay, by what they tell on the training rows: all whose variance is above `above`,
// or the `keep` best by variance, by mutual information with the target (over at most 64 bins), or
// by the gain a boosted model draws from them (FitOptions::importance).
struct Select {
  enum class By { variance, mutual_information, importance };
  By by = By::variance;
  std::size_t keep = 0;  // 0: all that pass `above`
  double above = 0;
  std::string place;
};

struct Selection {
  std::vector<std::string> columns;  // names or patterns
  std::vector<std::size_t> derived;  // of the spec's derived columns
  std::vector<data::Type> types;     // every column of these types that no selection names
  std::vector<std::string> except;
  std::string suffix;  // of the output names, when a column is used twice
  std::vector<Transform> apply;
  std::string place;  // "pipeline.yaml:12:5"
};

// One column and its chain.
struct Binding {
  // In the schema it was bound to; behind it the views' columns, and behind those the derived ones.
  std::size_t column = 0;
  std::size_t selection = 0;  // in the spec
};

struct PipelineSpec {
  std::vector<ViewSpec> views;  // whose columns features are made of, too
  std::vector<Selection> selections;
  std::vector<Derive> derived;
  std::vector<Select> selects;
  Json declared;  // as written: what the spec is hashed by

  // From a list at `key`, and the views at "views" beside it; problems go to the reader.
  static PipelineSpec read(SpecReader& reader, std::string_view key = "features");
  static Result<PipelineSpec> from_json(const Json& list, const std::string& name = "features");

  // The columns each selection means, in the order of the outputs. Every problem (unknown column, a
  // transform that cannot take the column's type) is a line of one invalid_argument error.
  Result<std::vector<Binding>> bind(const data::Schema& schema) const;
  // The schema with the views' columns behind its own.
  Result<data::Schema> with_views(const data::Schema& schema) const;
  // Names of the schema's columns that any feature reads: those of expressions, and the keys and
  // times by which views are asked, among them.
  Result<std::vector<std::string>> reads(const data::Schema& schema) const;
};

}  // namespace slipway::features
