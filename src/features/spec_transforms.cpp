// The transforms by name, each with a reader of its options.
#include <algorithm>
#include <cmath>
#include <set>

#include "features/spec_internal.h"
#include "features/zone_internal.h"

namespace slipway::features {
namespace {

using Part = DateTime::Part;

constexpr std::pair<Part, std::string_view> kParts[] = {
    {Part::minute, "minute"}, {Part::hour, "hour"},   {Part::dow, "dow"},  {Part::day, "day"},
    {Part::doy, "doy"},       {Part::month, "month"}, {Part::year, "year"}};

constexpr std::pair<Impute::How, std::string_view> kStrategies[] = {
    {Impute::How::mean, "mean"},
    {Impute::How::median, "median"},
    {Impute::How::constant, "constant"},
    {Impute::How::most_frequent, "most_frequent"}};

template <class Table>
std::vector<std::string> words(const Table& table) {
  std::vector<std::string> out;
  for (const auto& [value, word] : table) out.emplace_back(word);
  return out;
}

template <class Table>
auto value_of(const Table& table, std::string_view word) {
  for (const auto& [value, name] : table) {
    if (name == word) return value;
  }
  return table[0].first;  // the reader has already noted the word as a problem
}

double share(SpecReader& options, std::string_view key, double otherwise) {
  const double value = options.number(key, otherwise);
  if (!(value >= 0 && value <= 1)) options.problem(key, "a share lies between 0 and 1");
  return value;
}

std::size_t count(SpecReader& options, std::string_view key, std::int64_t otherwise,
                  std::int64_t least, std::int64_t most) {
  const std::int64_t value = options.integer(key, otherwise);
  if (value < least || value > most) {
    options.problem(key, "needs " + std::to_string(least) + " to " + std::to_string(most));
  }
  return static_cast<std::size_t>(std::clamp(value, least, most));
}

Transform read_impute(SpecReader& options) {
  Impute out;
  const bool constant = options.has("value");
  const std::string how =
      options.one_of("strategy", words(kStrategies), constant ? "constant" : "median");
  out.how = value_of(kStrategies, how);
  out.value = options.json("value");
  out.indicator = options.boolean("indicator", false);
  if (out.how == Impute::How::constant && (out.value.is_null() || out.value.is_structured())) {
    options.problem("value",
                    "a constant needs a value (a number, a text, or true/false), for example "
                    "{strategy: constant, value: 0}");
  }
  if (out.how != Impute::How::constant && constant) {
    options.problem("value", "only strategy constant takes a value; this one is " + how);
  }
  return out;
}

Transform read_standardize(SpecReader& options) {
  Standardize out;
  out.center = options.boolean("center", true);
  out.scale = options.boolean("scale", true);
  return out;
}

Transform read_clip(SpecReader& options) {
  Clip out;
  const bool plain = options.has("low") || options.has("high");
  out.quantiles = options.has("low_quantile") || options.has("high_quantile");
  if (plain == out.quantiles) {
    options.problem("", "clip needs low and/or high, or low_quantile and/or high_quantile");
  }
  const auto limit = [&](std::string_view key) -> std::optional<double> {
    if (!options.has(key)) return std::nullopt;
    const double value = options.number(key);
    if (out.quantiles && !(value >= 0 && value <= 1)) {
      options.problem(key, "a quantile lies between 0 and 1");
    }
    return value;
  };
  out.low = limit(out.quantiles ? "low_quantile" : "low");
  out.high = limit(out.quantiles ? "high_quantile" : "high");
  if (out.low && out.high && !(*out.low < *out.high)) {
    options.problem("", "clip needs its low below its high");
  }
  return out;
}

Transform read_bucketize(SpecReader& options) {
  Bucketize out;
  if (options.has("edges")) {
    const Json edges = options.json("edges");
    if (edges.is_array()) {
      for (const Json& edge : edges) {
        const double value = edge.is_number() ? edge.get<double>() : std::nan("");
        if (!std::isfinite(value) || (!out.edges.empty() && value <= out.edges.back())) {
          options.problem("edges", "edges are ascending numbers; " + edge.dump() + " is not one");
          break;
        }
        out.edges.push_back(value);
      }
    }
    if (out.edges.empty()) options.problem("edges", "needs a list of ascending numbers");
    if (options.has("bins") || options.has("by")) {
      options.problem("edges", "give either edges, or bins and by");
    }
    return out;
  }
  const std::int64_t bins = options.integer("bins", 10);
  if (bins < 2 || bins > 10'000) options.problem("bins", "needs 2 to 10000 bins");
  out.bins = static_cast<std::size_t>(std::clamp<std::int64_t>(bins, 2, 10'000));
  const std::string by = options.one_of("by", {"quantile", "width", "tree"}, "quantile");
  out.by = by == "width"  ? Bucketize::By::width
           : by == "tree" ? Bucketize::By::tree
                          : Bucketize::By::quantile;
  if (options.has("min_rows") && out.by != Bucketize::By::tree) {
    options.problem("min_rows", "only bins by tree have leaves with a least number of rows");
  }
  out.min_rows = count(options, "min_rows", 1, 1, 1'000'000'000);
  return out;
}

Transform read_onehot(SpecReader& options) {
  OneHot out;
  out.min_share = options.number("min_share", 0);
  if (!(out.min_share >= 0 && out.min_share < 1)) {
    options.problem("min_share", "a share lies between 0 and 1");
  }
  const std::int64_t most = options.integer("max_categories", 100);
  if (most < 1 || most > 100'000) options.problem("max_categories", "needs 1 to 100000");
  out.max_categories = static_cast<std::size_t>(std::clamp<std::int64_t>(most, 1, 100'000));
  const std::string unknown = options.one_of("unknown", {"rare", "zeros", "bucket"}, "rare");
  out.unknown = unknown == "zeros"    ? OneHot::Unknown::zeros
                : unknown == "bucket" ? OneHot::Unknown::bucket
                                      : OneHot::Unknown::rare;
  return out;
}

Transform read_ordinal(SpecReader& options) {
  Ordinal out;
  const Json order = options.json("order");
  if (order.is_null()) return out;
  std::set<Json> seen;
  for (const Json& item : order.is_array() ? order : Json::array()) {
    if (item.is_structured() || item.is_null() || !seen.insert(item).second) {
      options.problem("order", "needs a list of distinct values; " + item.dump() + " is not one");
      break;
    }
    out.order.push_back(item);
  }
  if (out.order.empty()) options.problem("order", "needs a list of values, lowest first");
  return out;
}

Transform read_target_encode(SpecReader& options) {
  TargetEncode out;
  out.smoothing = options.number("smoothing", 20);
  if (!(out.smoothing >= 0) || !std::isfinite(out.smoothing)) {
    options.problem("smoothing", "needs a number of rows, 0 or more");
  }
  const std::int64_t folds = options.integer("folds", 5);
  if (folds < 2 || folds > 100) options.problem("folds", "needs 2 to 100 folds");
  out.folds = static_cast<std::size_t>(std::clamp<std::int64_t>(folds, 2, 100));
  return out;
}

Transform read_datetime(SpecReader& options) {
  DateTime out;
  const auto parts = [&](std::string_view key) {
    std::vector<Part> list;
    const auto valid = words(kParts);
    for (const std::string& word : options.texts(key)) {
      if (std::find(valid.begin(), valid.end(), word) == valid.end()) {
        const auto near = nearest(word, valid);
        options.problem(key, "no part of a time is called '" + word + "'" +
                                 (near ? "; did you mean '" + *near + "'?"
                                       : "; there are minute, hour, dow, day, doy, month, year"));
        continue;
      }
      list.push_back(value_of(kParts, word));
    }
    return list;
  };
  out.parts = parts("parts");
  out.cyclical = parts("cyclical");
  if (!options.has("parts") && !options.has("cyclical")) {
    out.parts = {Part::hour, Part::dow, Part::month};
  }
  if (std::find(out.cyclical.begin(), out.cyclical.end(), Part::year) != out.cyclical.end()) {
    options.problem("cyclical", "a year does not come round again");
  }
  out.zone = options.text("zone", "UTC");
  if (const auto zone = Zone::find(out.zone); !zone) options.problem("zone", zone.error().message);
  return out;
}

Transform read_winsorize(SpecReader& options) {
  const double each = options.number("share", 0.01);
  if (!(each > 0 && each < 0.5)) {
    options.problem("share", "the share cut off on each side lies between 0 and 0.5");
  }
  return Clip{each, 1 - each, true};
}

Transform read_minmax(SpecReader& options) {
  MinMax out;
  out.low = options.number("low", 0);
  out.high = options.number("high", 1);
  out.clip = options.boolean("clip", false);
  if (!(out.low < out.high)) options.problem("", "minmax needs its low below its high");
  return out;
}

Transform read_robust(SpecReader& options) {
  Robust out;
  out.low = share(options, "low_quantile", 0.25);
  out.high = share(options, "high_quantile", 0.75);
  out.center = options.boolean("center", true);
  out.scale = options.boolean("scale", true);
  if (!(out.low < out.high)) {
    options.problem("", "robust needs its low_quantile below its high_quantile");
  }
  return out;
}

Transform read_quantile(SpecReader& options) {
  QuantileMap out;
  out.quantiles = count(options, "quantiles", 1000, 2, 10'000);
  out.normal = options.one_of("to", {"uniform", "normal"}, "uniform") == "normal";
  return out;
}

Transform read_power(SpecReader& options) { return Power{options.boolean("standardize", true)}; }

Transform read_log(SpecReader& options) {
  Log out;
  out.offset = options.number("offset", 0);
  const std::string base = options.one_of("base", {"e", "2", "10"}, "e");
  out.base = base == "2" ? 2 : (base == "10" ? 10 : 0);
  return out;
}

Transform read_frequency(SpecReader& options) {
  return Frequency{options.one_of("as", {"share", "count"}, "share") == "count"};
}

Transform read_hash(SpecReader& options) {
  Hash out;
  out.buckets = count(options, "buckets", 32, 1, 4096);
  out.sign = options.boolean("sign", true);
  return out;
}

Analyzer read_analyzer(SpecReader& options) {
  Analyzer out;
  const std::string unit = options.one_of("analyzer", {"word", "chars", "chars_in_words"}, "word");
  out.unit = unit == "chars"            ? Analyzer::Unit::chars
             : unit == "chars_in_words" ? Analyzer::Unit::chars_in_words
                                        : Analyzer::Unit::word;
  out.lowercase = options.boolean("lowercase", true);
  const Json ngrams = options.json("ngrams");
  const auto size = [](const Json& json) {
    return json.is_number_integer() ? json.get<std::int64_t>() : -1;
  };
  if (!ngrams.is_null()) {
    const bool pair = ngrams.is_array() && ngrams.size() == 2;
    const std::int64_t least = size(pair ? ngrams[0] : ngrams);
    const std::int64_t most = size(pair ? ngrams[1] : ngrams);
    if (least < 1 || most < least || most > 10) {
      options.problem("ngrams", "needs a number of units, or two as [1, 2], of 1 to 10");
    } else {
      out.least = static_cast<std::size_t>(least);
      out.most = static_cast<std::size_t>(most);
    }
  }
  return out;
}

Transform read_text_hash(SpecReader& options) {
  TextHash out;
  out.analyzer = read_analyzer(options);
  out.buckets = count(options, "buckets", 256, 1, 4096);
  out.sign = options.boolean("sign", true);
  out.normalize = options.boolean("normalize", true);
  return out;
}

Transform read_tfidf(SpecReader& options) {
  TfIdf out;
  out.analyzer = read_analyzer(options);
  out.max_terms = count(options, "max_terms", 200, 1, 4096);
  out.min_rows = count(options, "min_rows", 2, 1, 1'000'000'000);
  out.sublinear = options.boolean("sublinear", false);
  out.weigh = options.boolean("weigh", true);
  out.normalize = options.boolean("normalize", true);
  return out;
}

// The order is that of the variant Transform.
constexpr TransformKind kKinds[] = {
    {"impute", Takes::numbers, "strategy", read_impute},
    {"standardize", Takes::numbers, "", read_standardize},
    {"clip", Takes::numbers, "", read_clip},
    {"log1p", Takes::numbers, "", [](SpecReader&) -> Transform { return Log1p{}; }},
    {"passthrough", Takes::numbers, "", [](SpecReader&) -> Transform { return Passthrough{}; }},
    {"bucketize", Takes::numbers, "bins", read_bucketize},
    {"onehot", Takes::category, "max_categories", read_onehot, true},
    {"ordinal", Takes::category, "order", read_ordinal},
    {"target_encode", Takes::category, "smoothing", read_target_encode},
    {"datetime", Takes::timestamp, "parts", read_datetime},
    {"minmax", Takes::numbers, "", read_minmax},
    {"robust", Takes::numbers, "", read_robust},
    {"quantile", Takes::numbers, "to", read_quantile},
    {"power", Takes::numbers, "", read_power},
    {"log", Takes::numbers, "base", read_log},
    {"frequency", Takes::category, "as", read_frequency},
    {"hash", Takes::category, "buckets", read_hash, true},
    {"text_hash", Takes::text, "buckets", read_text_hash, true},
    {"tfidf", Takes::text, "max_terms", read_tfidf, true},
};
static_assert(std::size(kKinds) == std::variant_size_v<Transform>);

// Other names for the same.
constexpr TransformKind kAliases[] = {
    {"winsorize", Takes::numbers, "share", read_winsorize},
    {"bins", Takes::numbers, "bins", read_bucketize},
};

const TransformKind* kind_named(std::string_view name) {
  for (const TransformKind& kind : kKinds) {
    if (kind.name == name) return &kind;
  }
  for (const TransformKind& kind : kAliases) {
    if (kind.name == name) return &kind;
  }
  return nullptr;
}

}  // namespace

const TransformKind& kind_of(const Transform& transform) { return kKinds[transform.index()]; }

std::optional<Transform> read_transform(SpecReader& entry, const Json& item, std::size_t number) {
  const bool bare = item.is_string();
  if (!bare && !(item.is_object() && item.size() == 1)) {
    entry.problem("apply",
                  "transform " + std::to_string(number) +
                      " must be a name (standardize) or one name with options (impute: median)");
    return std::nullopt;
  }
  const std::string name = bare ? item.get<std::string>() : item.begin().key();
  const TransformKind* kind = kind_named(name);
  if (kind == nullptr) {
    std::vector<std::string> names;
    for (const TransformKind& k : kKinds) names.emplace_back(k.name);
    for (const TransformKind& k : kAliases) names.emplace_back(k.name);
    const auto near = nearest(name, names);
    std::string all;
    for (const std::string& each : names) all += (all.empty() ? "" : ", ") + each;
    entry.problem("apply", "no transform is called '" + name + "'" +
                               (near ? "; did you mean '" + *near + "'?" : "; there are " + all));
    return std::nullopt;
  }
  Json options = bare || item.begin()->is_null() ? Json::object() : *item.begin();
  if (options.is_boolean() && options.get<bool>()) options = Json::object();
  if (!options.is_object()) {
    if (kind->short_option.empty()) {
      entry.problem("apply", name + " takes no value: write it bare or with named options");
      return std::nullopt;
    }
    const bool number_for_impute = name == "impute" && !options.is_string();
    options = Json{{number_for_impute ? "value" : std::string(kind->short_option), options}};
  }
  const auto document =
      std::make_shared<const SpecDocument>(SpecDocument::from_json(std::move(options), name));
  SpecReader reader(document, "");
  Transform transform = kind->read(reader);
  if (const auto read = reader.finish(); !read) {
    entry.problem("apply", read.error().message);
    return std::nullopt;
  }
  return transform;
}

std::string_view name_of(const Transform& transform) { return kind_of(transform).name; }

std::string_view name_of(DateTime::Part part) {
  for (const auto& [value, word] : kParts) {
    if (value == part) return word;
  }
  return "";
}

}  // namespace slipway::features
