// Reading expectations: which keys each check takes, and what is wrong with them.
#include "data/validation.h"

namespace slipway::data {

namespace {

enum class Takes { no_column, one, many, two, rest };  // rest: at least two

struct CheckKind {
  std::string_view name;
  Takes takes;
  bool of_rows;
};

constexpr CheckKind kChecks[] = {
    {"not_null", Takes::many, true},
    {"is_null", Takes::one, true},
    {"unique", Takes::many, true},
    {"unique_in_row", Takes::rest, true},
    {"equal_in_row", Takes::rest, true},
    {"range", Takes::one, true},
    {"in_set", Takes::one, true},
    {"not_in_set", Takes::one, true},
    {"matches", Takes::one, true},
    {"not_matches", Takes::one, true},
    {"like", Takes::one, true},
    {"not_like", Takes::one, true},
    {"length", Takes::one, true},
    {"parses", Takes::one, true},
    {"json_schema", Takes::one, true},
    {"increasing", Takes::one, true},
    {"decreasing", Takes::one, true},
    {"z_score", Takes::one, true},
    {"iqr", Takes::one, true},
    {"compare", Takes::one, true},
    {"pair_in_set", Takes::two, true},
    {"row_sum", Takes::many, true},
    {"exists_in", Takes::many, true},
    {"sql", Takes::no_column, true},
    {"row_count", Takes::no_column, false},
    {"column_count", Takes::no_column, false},
    {"null_share", Takes::one, false},
    {"min", Takes::one, false},
    {"max", Takes::one, false},
    {"mean", Takes::one, false},
    {"median", Takes::one, false},
    {"sum", Takes::one, false},
    {"stddev", Takes::one, false},
    {"quantile", Takes::one, false},
    {"distinct_count", Takes::one, false},
    {"distinct_share", Takes::one, false},
    {"aggregate", Takes::no_column, false},
    {"association", Takes::two, false},
    {"drift", Takes::one, false},
    {"freshness", Takes::one, false},
    {"schema", Takes::no_column, false},
    {"columns", Takes::no_column, false},
    {"distinct_values", Takes::one, false},
    {"most_common", Takes::one, false},
    {"no_rows", Takes::no_column, false},
    {"same_result", Takes::no_column, false},
};
static_assert(std::size(kChecks) == static_cast<std::size_t>(Check::same_result) + 1);

const CheckKind& kind_of(Check check) { return kChecks[static_cast<std::size_t>(check)]; }

std::vector<std::string> check_names() {
  std::vector<std::string> names;
  for (const auto& kind : kChecks) names.emplace_back(kind.name);
  return names;
}

std::optional<Json> optional_value(SpecReader& reader, std::string_view key) {
  if (!reader.has(key)) return std::nullopt;
  return reader.json(key);
}

std::optional<double> optional_number(SpecReader& reader, std::string_view key) {
  if (!reader.has(key)) return std::nullopt;
  return reader.number(key);
}

bool takes_times(Check check) {
  return check == Check::range || check == Check::min || check == Check::max;
}

// min, max, or equals for both.
void read_bounds(SpecReader& reader, Expectation& rule, bool needed = true) {
  rule.min = optional_value(reader, "min");
  rule.max = optional_value(reader, "max");
  if (const auto equals = optional_value(reader, "equals")) {
    if (rule.min || rule.max)
      reader.problem("equals", "equals stands for min and max: give either");
    rule.min = rule.max = equals;
  }
  if (needed && !rule.min && !rule.max && !rule.learn) {
    reader.problem("", "give min, max or both (or equals)");
  }
  for (const auto* key : {"min", "max"}) {
    const auto& bound = std::string_view(key) == "min" ? rule.min : rule.max;
    if (!bound || bound->is_number() || (takes_times(rule.check) && bound->is_string())) continue;
    const auto* times = rule.check == Check::range ? ", a time or a text"
                        : takes_times(rule.check)  ? " or a time"
                                                   : "";
    reader.problem(reader.has(key) ? key : "equals", std::string("is a number") + times);
  }
}

// A figure's bounds, declared or learned.
void read_figure_bounds(SpecReader& reader, Expectation& rule) {
  if (reader.has("learn")) {
    auto learn = reader.object("learn");
    Learn band;
    band.last = learn.integer("last", band.last);
    band.at_least = learn.integer("at_least", band.at_least);
    band.sigmas = learn.number("sigmas", band.sigmas);
    band.slack = learn.number("slack", band.slack);
    if (band.at_least < 2) learn.problem("at_least", "at_least is 2 or more");
    if (band.last < band.at_least) learn.problem("last", "last is not less than at_least");
    if (!(band.sigmas > 0)) learn.problem("sigmas", "sigmas is over 0");
    if (!(band.slack >= 0)) learn.problem("slack", "slack is 0 or more");
    learn.close();
    rule.learn = band;
  }
  read_bounds(reader, rule);
}

std::vector<Json> read_values(SpecReader& reader, std::string_view key) {
  const auto values = reader.json(key);
  if (values.is_array() && !values.empty()) return {values.begin(), values.end()};
  reader.problem(reader.has(key) ? key : "",
                 fmt::format("{} is a list of at least one value", key));
  return {};
}

void read_patterns(SpecReader& reader, Expectation& rule) {
  rule.patterns = reader.texts(reader.has("patterns") ? "patterns" : "pattern");
  if (rule.patterns.empty()) reader.problem("", "the key 'pattern' is missing");
  rule.all = reader.one_of("match", {"any", "all"}, "any") == "all";
  if (rule.check == Check::matches || rule.check == Check::not_matches)
    rule.part = reader.boolean("part", false);
}

void read_schema(SpecReader& reader, Expectation& rule) {
  rule.extra = reader.boolean("extra", true);
  auto types = reader.object("types");
  for (const auto& column : types.keys()) {
    TypeChoice choice{column, {}};
    for (const auto& text : types.texts(column)) {
      const auto type = parse_type(text);
      if (type) {
        choice.types.push_back(*type);
      } else {
        types.problem(column, type.error().message);
      }
    }
    if (!choice.types.empty()) rule.types.push_back(std::move(choice));
  }
  if (rule.types.empty())
    reader.problem("types", "name the columns and their types: {late: int64}");
}

void read_pairs(SpecReader& reader, Expectation& rule) {
  rule.values = read_values(reader, "values");
  for (const auto& pair : rule.values) {
    if (pair.is_array() && pair.size() == rule.columns.size()) continue;
    reader.problem("values", fmt::format("each value is a list of {}, one for each column, got {}",
                                         rule.columns.size(), pair.dump()));
    return;
  }
}

void read_drift(SpecReader& reader, Expectation& rule) {
  rule.relation = reader.text("relation");
  rule.measure = reader.one_of(
      "measure", {"ks", "chi_square", "psi", "wasserstein", "js", "kl", "total_variation"}, "");
  if (rule.measure.empty()) {
    reader.problem("measure",
                   "measure is one of ks, chi_square, psi, wasserstein, js, kl, total_variation");
  }
  rule.min_p = optional_number(reader, "min_p");
  if (rule.min_p) {
    if (rule.measure != "ks" && rule.measure != "chi_square")
      reader.problem("min_p", "only ks and chi_square give a p-value");
    if (!(*rule.min_p > 0 && *rule.min_p < 1)) reader.problem("min_p", "min_p is between 0 and 1");
  }
  rule.max = optional_value(reader, "max");
  if (rule.max && !rule.max->is_number()) reader.problem("max", "is a number");
  if (!rule.max && !rule.min_p) {
    reader.problem("",
                   "give max (of the distance), or min_p for ks and chi_square, or both: with "
                   "both it fails only when the change is significant and large");
  }
}

void read_details(SpecReader& reader, Expectation& rule) {
  switch (rule.check) {
    case Check::not_null:
    case Check::is_null:
    case Check::unique:
    case Check::unique_in_row:
    case Check::equal_in_row:
      return;
    case Check::range:
      rule.strict = reader.boolean("strict", false);
      read_bounds(reader, rule);
      return;
    case Check::in_set:
    case Check::not_in_set:
    case Check::most_common:
      rule.values = read_values(reader, "values");
      return;
    case Check::matches:
    case Check::not_matches:
    case Check::like:
    case Check::not_like:
      read_patterns(reader, rule);
      return;
    case Check::length:
    case Check::row_sum:
      read_bounds(reader, rule);
      return;
    case Check::parses:
      rule.as = reader.one_of("as", {"timestamp", "int64", "float64", "boolean", "json"}, "");
      if (rule.as.empty())
        reader.problem("as", "as is one of timestamp, int64, float64, boolean, json");
      rule.format = reader.text("format", "");
      if (!rule.format.empty() && rule.as != "timestamp")
        reader.problem("format", "a format belongs to as: timestamp");
      return;
    case Check::json_schema:
      rule.document = reader.json("schema");
      if (!rule.document.is_object())
        reader.problem("schema", "schema is a JSON Schema (a mapping)");
      return;
    case Check::increasing:
    case Check::decreasing:
      rule.strict = reader.boolean("strict", false);
      rule.order_by = reader.texts("order_by");
      return;
    case Check::z_score:
    case Check::iqr:
      rule.max = Json(reader.number("max"));
      if (!(rule.max->get<double>() > 0)) reader.problem("max", "max is over 0");
      return;
    case Check::compare:
      rule.op = reader.one_of("op", {"<", "<=", "=", "!=", ">=", ">"}, "");
      if (rule.op.empty()) reader.problem("op", "op is one of < <= = != >= >");
      rule.to = reader.text("to");
      return;
    case Check::pair_in_set:
      read_pairs(reader, rule);
      return;
    case Check::exists_in:
      rule.relation = reader.text("relation");
      rule.to_columns = reader.texts("to");
      if (rule.to_columns.empty()) rule.to_columns = rule.columns;
      if (rule.to_columns.size() != rule.columns.size())
        reader.problem("to", fmt::format("names {} columns for {}", rule.to_columns.size(),
                                         rule.columns.size()));
      return;
    case Check::sql:
      rule.expression = reader.text("expression");
      return;
    case Check::row_count:
      rule.relation = reader.text("same_as", "");
      if (!rule.relation.empty()) return;
      read_figure_bounds(reader, rule);
      return;
    case Check::aggregate:
      rule.expression = reader.text("expression");
      read_figure_bounds(reader, rule);
      return;
    case Check::quantile:
      rule.probability = reader.number("at");
      if (!(rule.probability >= 0 && rule.probability <= 1))
        reader.problem("at", "at is between 0 and 1");
      read_figure_bounds(reader, rule);
      return;
    case Check::association:
      rule.measure = reader.one_of("measure", {"pearson", "spearman", "cramers_v"}, "");
      if (rule.measure.empty())
        reader.problem("measure", "measure is one of pearson, spearman, cramers_v");
      read_figure_bounds(reader, rule);
      return;
    case Check::column_count:
    case Check::null_share:
    case Check::min:
    case Check::max:
    case Check::mean:
    case Check::median:
    case Check::sum:
    case Check::stddev:
    case Check::distinct_count:
    case Check::distinct_share:
      read_figure_bounds(reader, rule);
      return;
    case Check::drift:
      read_drift(reader, rule);
      return;
    case Check::freshness:
      rule.within = reader.duration("within", Duration{0});
      if (rule.within.count() <= 0) reader.problem("within", "within is a duration such as 2d");
      return;
    case Check::schema:
      read_schema(reader, rule);
      return;
    case Check::columns:
      rule.values = read_values(reader, "names");
      rule.match = reader.one_of("match", {"equal", "ordered", "subset", "superset"}, "equal");
      return;
    case Check::distinct_values:
      rule.values = read_values(reader, "values");
      rule.match = reader.one_of("match", {"equal", "subset", "superset"}, "equal");
      return;
    case Check::no_rows:
      rule.query = reader.text("query");
      return;
    case Check::same_result:
      rule.query = reader.text("query");
      rule.other = reader.text("other");
      return;
  }
}

void read_columns(SpecReader& reader, Expectation& rule) {
  const auto& kind = kind_of(rule.check);
  if (kind.takes == Takes::no_column) return;
  const std::string key = reader.has("columns") ? "columns" : "column";
  rule.columns = reader.texts(key);
  const auto count = rule.columns.size();
  if (count == 0) {
    reader.problem(key, fmt::format("check {} needs a column", kind.name));
    rule.columns = {""};
  } else if (kind.takes == Takes::one && count != 1) {
    reader.problem(key, fmt::format("check {} takes one column", kind.name));
  } else if (kind.takes == Takes::two && count != 2) {
    reader.problem(key, fmt::format("check {} takes two columns", kind.name));
  } else if (kind.takes == Takes::rest && count < 2) {
    reader.problem(key, fmt::format("check {} takes at least two columns", kind.name));
  }
}

std::string default_name(const Expectation& rule) {
  switch (rule.check) {
    case Check::sql:
    case Check::aggregate:
      return rule.expression;
    case Check::no_rows:
    case Check::same_result:
      return rule.query;
    case Check::compare:
      return fmt::format("{} {} {}", rule.columns.front(), rule.op, rule.to);
    case Check::quantile:
      return fmt::format("{} quantile {:g}", rule.columns.front(), rule.probability);
    case Check::drift:
      return fmt::format("{} {} against {}", rule.columns.front(), rule.measure, rule.relation);
    case Check::association:
      return fmt::format("{} {}", fmt::join(rule.columns, "+"), rule.measure);
    case Check::exists_in:
      return fmt::format("{} exists_in {}", fmt::join(rule.columns, "+"), rule.relation);
    default:
      break;
  }
  if (rule.columns.empty()) return std::string(to_string(rule.check));
  return fmt::format("{} {}", fmt::join(rule.columns, "+"), to_string(rule.check));
}

}  // namespace

std::string_view to_string(Check check) { return kind_of(check).name; }
bool is_row_check(Check check) { return kind_of(check).of_rows; }

std::vector<Expectation> read_expectations(SpecReader& reader, std::string_view key) {
  std::vector<Expectation> rules;
  std::set<std::string> names;
  const auto known = check_names();
  for (auto& item : reader.list(key)) {
    Expectation rule;
    if (!item.has("check"))
      item.problem("check",
                   fmt::format("check is missing; the checks are {}", fmt::join(known, ", ")));
    const auto check = item.one_of("check", known, known.front());
    const auto at = std::find(known.begin(), known.end(), check);
    if (at == known.end()) continue;
    rule.check = static_cast<Check>(at - known.begin());
    read_columns(item, rule);
    read_details(item, rule);
    rule.name = item.text("name", default_name(rule));
    rule.warn_only = item.one_of("severity", {"error", "warn"}, "error") == "warn";
    rule.where = item.text("where", "");
    if (is_row_check(rule.check)) {
      rule.quarantine = item.one_of("on_fail", {"stop", "quarantine"}, "stop") == "quarantine";
      rule.mostly = item.number("mostly", 1.0);
      if (!(rule.mostly > 0 && rule.mostly <= 1))
        item.problem("mostly", "mostly is over 0 and at most 1");
    }
    if (!names.insert(rule.name).second) {
      item.problem("name", "'" + rule.name + "' stands twice; give one of the two checks a name");
    }
    item.close();
    rules.push_back(std::move(rule));
  }
  return rules;
}

}  // namespace slipway::data
