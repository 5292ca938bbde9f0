#include "features/spec.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

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

// "UTC", "Z", "+05:30", "-0500": minutes east of UTC.
std::optional<std::int32_t> parse_zone(std::string_view text) {
  if (text == "UTC" || text == "Z") return 0;
  if (text.size() < 3 || (text[0] != '+' && text[0] != '-')) return std::nullopt;
  const int sign = text[0] == '-' ? -1 : 1;
  std::string digits;
  for (const char c : text.substr(1)) {
    if (c != ':') digits += c;
  }
  if (digits.size() != 4 || digits.find_first_not_of("0123456789") != std::string::npos) {
    return std::nullopt;
  }
  const int hours = std::stoi(digits.substr(0, 2));
  const int minutes = std::stoi(digits.substr(2));
  if (hours > 14 || minutes > 59) return std::nullopt;
  return sign * (hours * 60 + minutes);
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
  out.equal_width = options.one_of("by", {"quantile", "width"}, "quantile") == "width";
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
  const std::string zone = options.text("zone", "UTC");
  if (const auto offset = parse_zone(zone)) {
    out.offset_minutes = *offset;
  } else {
    options.problem(
        "zone", "'" + zone + "' is no zone known here: UTC or a fixed offset such as \"-05:00\"");
  }
  return out;
}

// What a transform takes: numbers, the raw value as a category (or numbers, further down a chain),
// or a raw timestamp.
enum class Takes { numbers, category, timestamp };

struct TransformKind {
  std::string_view name;
  Takes takes;
  std::string_view short_option;  // what a bare value stands for: `impute: median`
  Transform (*read)(SpecReader&);
};

// One line per transform. The order is that of the variant Transform.
constexpr TransformKind kKinds[] = {
    {"impute", Takes::numbers, "strategy", read_impute},
    {"standardize", Takes::numbers, "", read_standardize},
    {"clip", Takes::numbers, "", read_clip},
    {"log1p", Takes::numbers, "", [](SpecReader&) -> Transform { return Log1p{}; }},
    {"passthrough", Takes::numbers, "", [](SpecReader&) -> Transform { return Passthrough{}; }},
    {"bucketize", Takes::numbers, "bins", read_bucketize},
    {"onehot", Takes::category, "max_categories", read_onehot},
    {"ordinal", Takes::category, "order", read_ordinal},
    {"target_encode", Takes::category, "smoothing", read_target_encode},
    {"datetime", Takes::timestamp, "parts", read_datetime},
};
static_assert(std::size(kKinds) == std::variant_size_v<Transform>);

std::optional<Transform> read_transform(SpecReader& entry, const Json& item, std::size_t number) {
  const bool bare = item.is_string();
  if (!bare && !(item.is_object() && item.size() == 1)) {
    entry.problem("apply",
                  "transform " + std::to_string(number) +
                      " must be a name (standardize) or one name with options (impute: median)");
    return std::nullopt;
  }
  const std::string name = bare ? item.get<std::string>() : item.begin().key();
  const auto* kind = std::find_if(std::begin(kKinds), std::end(kKinds),
                                  [&](const TransformKind& k) { return k.name == name; });
  if (kind == std::end(kKinds)) {
    std::vector<std::string> names;
    for (const TransformKind& k : kKinds) names.emplace_back(k.name);
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

// Whether `text` fits a pattern in which * stands for any characters.
bool matches(std::string_view pattern, std::string_view text) {
  std::size_t p = 0;
  std::size_t t = 0;
  std::size_t star = std::string_view::npos;
  std::size_t resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() && pattern[p] == text[t]) {
      ++p;
      ++t;
    } else if (star != std::string_view::npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  return pattern.find_first_not_of('*', p) == std::string_view::npos;
}

// Why the chain cannot take a column of this type, or nothing.
std::string misfit(const std::vector<Transform>& chain, data::Type type) {
  bool raw = true;  // nothing but an impute went before
  for (std::size_t i = 0; i < chain.size(); ++i) {
    const TransformKind& kind = kKinds[chain[i].index()];
    const std::string name(kind.name);
    const bool last = i + 1 == chain.size();
    if (kind.takes == Takes::timestamp) {
      if (!raw || i > 0) return name + " must come first: it reads the timestamp itself";
      if (type != data::Type::timestamp) {
        return name + " needs a timestamp; read the column as one at ingestion (types: timestamp)";
      }
      raw = false;
    } else if (kind.takes == Takes::category) {
      if (name == "onehot" && !last) return "onehot gives zeros and ones: nothing can follow it";
      raw = false;
    } else if (name == "impute" && raw && i == 0 && !last &&
               kKinds[chain[1].index()].takes == Takes::category) {
      const auto how = std::get<Impute>(chain[0]).how;
      const bool averages = how == Impute::How::mean || how == Impute::How::median;
      if (averages && (type == data::Type::text || type == data::Type::timestamp)) {
        return "impute: only most_frequent or a constant can fill " + std::string(to_string(type));
      }
    } else {
      if (raw && type == data::Type::text) {
        return name + " needs numbers; begin with onehot, ordinal or target_encode";
      }
      if (raw && type == data::Type::timestamp) return name + " needs numbers; begin with datetime";
      raw = false;
    }
    const auto* impute = std::get_if<Impute>(&chain[i]);
    if (impute != nullptr && impute->indicator && i > 0 &&
        kKinds[chain[0].index()].takes == Takes::timestamp) {
      return "an indicator after datetime would stand for several numbers; leave it out";
    }
  }
  return "";
}

}  // namespace

std::string_view name_of(const Transform& transform) { return kKinds[transform.index()].name; }

std::string_view name_of(DateTime::Part part) {
  for (const auto& [value, word] : kParts) {
    if (value == part) return word;
  }
  return "";
}

PipelineSpec PipelineSpec::read(SpecReader& reader, std::string_view key) {
  PipelineSpec spec;
  spec.declared = reader.json(key);
  if (!spec.declared.is_array() || spec.declared.empty()) {
    reader.problem(key, "needs a list of {columns, apply} entries, one at least");
    return spec;
  }
  for (SpecReader& entry : reader.list(key)) {
    Selection selection;
    selection.place = entry.place();
    selection.columns = entry.texts("columns");
    for (const std::string& word : entry.texts("types")) {
      if (const auto type = data::parse_type(word)) {
        selection.types.push_back(*type);
      } else {
        entry.problem("types", type.error().message);
      }
    }
    if (selection.columns.empty() && selection.types.empty()) {
      entry.problem("", "an entry names its columns (names or patterns), or their types");
    }
    selection.except = entry.texts("except");
    selection.suffix = entry.text("suffix", "");
    Json chain = entry.json("apply");
    if (chain.is_string() || chain.is_object()) chain = Json::array({chain});
    if (!chain.is_array() || chain.empty()) {
      entry.problem("apply",
                    "needs the transforms, in order, for example [impute: median, standardize]");
      chain = Json::array();
    }
    for (std::size_t i = 0; i < chain.size(); ++i) {
      if (auto transform = read_transform(entry, chain[i], i + 1)) {
        selection.apply.push_back(std::move(*transform));
      }
    }
    entry.close();
    spec.selections.push_back(std::move(selection));
  }
  return spec;
}

Result<PipelineSpec> PipelineSpec::from_json(const Json& list, const std::string& name) {
  const SpecDocument document = SpecDocument::from_json(Json{{"features", list}}, name);
  SpecReader reader(document);
  PipelineSpec spec = read(reader);
  if (const auto read = reader.finish(); !read) return read.error();
  return spec;
}

Result<std::vector<Binding>> PipelineSpec::bind(const data::Schema& schema) const {
  std::vector<Binding> bindings;
  std::string problems;
  const auto problem = [&](const Selection& selection, const std::string& message) {
    problems += (problems.empty() ? "" : "\n") +
                (selection.place.empty() ? message : selection.place + ": " + message);
  };
  const auto excepted = [](const Selection& selection, const std::string& name) {
    return std::any_of(selection.except.begin(), selection.except.end(),
                       [&](const std::string& pattern) { return matches(pattern, name); });
  };
  std::vector<bool> named(schema.fields.size(), false);
  std::vector<std::vector<std::size_t>> chosen(selections.size());
  for (std::size_t s = 0; s < selections.size(); ++s) {
    for (const std::string& pattern : selections[s].columns) {
      bool found = false;
      for (std::size_t c = 0; c < schema.fields.size(); ++c) {
        const std::string& name = schema.fields[c].name;
        if (!matches(pattern, name)) continue;
        found = true;
        if (excepted(selections[s], name)) continue;
        named[c] = true;
        auto& mine = chosen[s];
        if (std::find(mine.begin(), mine.end(), c) == mine.end()) mine.push_back(c);
      }
      if (found) continue;
      const auto near = nearest(pattern, schema.names());
      problem(selections[s],
              "no column " +
                  std::string(pattern.find('*') == std::string::npos ? "is called" : "fits") +
                  " '" + pattern + "'" + (near ? "; did you mean '" + *near + "'?" : ""));
    }
  }
  for (std::size_t s = 0; s < selections.size(); ++s) {
    const Selection& selection = selections[s];
    for (std::size_t c = 0; c < schema.fields.size(); ++c) {
      const auto& types = selection.types;
      if (named[c] || std::find(types.begin(), types.end(), schema.fields[c].type) == types.end() ||
          excepted(selection, schema.fields[c].name)) {
        continue;
      }
      chosen[s].push_back(c);
    }
    for (const std::size_t c : chosen[s]) {
      const data::Field& field = schema.fields[c];
      if (const std::string why = misfit(selection.apply, field.type); !why.empty()) {
        problem(selection,
                "column '" + field.name + "' (" + std::string(to_string(field.type)) + "): " + why);
      }
      bindings.push_back({c, s});
    }
  }
  if (!problems.empty()) return invalid_argument(problems);
  if (bindings.empty()) return invalid_argument("the feature pipeline selects no column at all");
  return bindings;
}

}  // namespace slipway::features
