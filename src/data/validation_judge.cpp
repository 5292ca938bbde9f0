// What a rule wanted against what was seen.
#include "data/expectation_sql_internal.h"

namespace slipway::data {

namespace {

std::string value_text(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string bounds_text(const Expectation& rule) {
  if (rule.min && rule.max) {
    if (*rule.min == *rule.max) return value_text(*rule.min);
    return fmt::format("{} {} and {}", rule.strict ? "strictly between" : "between",
                       value_text(*rule.min), value_text(*rule.max));
  }
  if (rule.min)
    return fmt::format("{} {}", rule.strict ? "over" : "at least", value_text(*rule.min));
  if (rule.max)
    return fmt::format("{} {}", rule.strict ? "under" : "at most", value_text(*rule.max));
  return "";
}

std::string list_text(const std::vector<Json>& values) {
  std::vector<std::string> texts;
  for (const auto& value : values) texts.push_back(value_text(value));
  return fmt::format("{}", fmt::join(texts, ", "));
}

double median_of(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

struct Band {
  double low = 0, high = 0;
  std::size_t seen = 0;
};

// The band a figure should fall in, or nothing when there are too few earlier ones.
std::optional<Band> band_of(const Learn& learn, const std::vector<double>& history) {
  const auto wanted = static_cast<std::size_t>(learn.last);
  const std::vector<double> latest(
      history.end() - static_cast<std::ptrdiff_t>(std::min(wanted, history.size())), history.end());
  if (std::ssize(latest) < learn.at_least) return std::nullopt;
  const double middle = median_of(latest);
  std::vector<double> apart;
  for (const double value : latest) apart.push_back(std::abs(value - middle));
  // 1.4826: of a normal law the median absolute deviation is 0.6745 standard deviations
  const double spread = std::max(1.4826 * median_of(apart), learn.slack * std::abs(middle));
  return Band{middle - learn.sigmas * spread, middle + learn.sigmas * spread, latest.size()};
}

// A bound as a number; of times as microseconds.
double bound_number(const Json& bound) {
  if (bound.is_number()) return bound.get<double>();
  const auto time = parse_time(bound.get<std::string>());
  return time ? static_cast<double>(to_micros(*time)) : std::numeric_limits<double>::quiet_NaN();
}

std::string figure_text(double figure, Type type) {
  if (type == Type::timestamp) return format_time(from_micros(static_cast<std::int64_t>(figure)));
  return fmt::format("{:.6g}", figure);
}

std::string figure_name(const Expectation& rule) {
  switch (rule.check) {
    case Check::aggregate:
      return rule.expression;
    case Check::association:
      return rule.measure;
    case Check::quantile:
      return fmt::format("quantile {:g}", rule.probability);
    default:
      return std::string(to_string(rule.check));
  }
}

bool is_count(Check check) {
  return check == Check::row_count || check == Check::distinct_count ||
         check == Check::column_count;
}

}  // namespace

std::string wanted_text(const Expectation& rule) {
  switch (rule.check) {
    case Check::not_null:
      return "not null";
    case Check::is_null:
      return "null";
    case Check::unique:
      return "unique";
    case Check::unique_in_row:
      return "all different in a row";
    case Check::equal_in_row:
      return "equal in a row";
    case Check::in_set:
      return "one of " + list_text(rule.values);
    case Check::pair_in_set:
      return "one of " + list_text(rule.values);
    case Check::not_in_set:
      return "none of " + list_text(rule.values);
    case Check::matches:
    case Check::not_matches:
    case Check::like:
    case Check::not_like: {
      const bool unwanted = rule.check == Check::not_matches || rule.check == Check::not_like;
      return fmt::format("{}of the form {}", unwanted ? "not " : "",
                         fmt::join(rule.patterns, rule.all ? " and " : " or "));
    }
    case Check::length:
      return "length " + bounds_text(rule);
    case Check::parses:
      return rule.format.empty() ? "readable as " + rule.as
                                 : fmt::format("a time of the form {}", rule.format);
    case Check::json_schema:
      return "JSON of the schema";
    case Check::increasing:
    case Check::decreasing:
      return fmt::format("{}{}", rule.strict ? "strictly " : "", to_string(rule.check));
    case Check::z_score:
      return fmt::format("within {} standard deviations of the mean", value_text(*rule.max));
    case Check::iqr:
      return fmt::format("within {} interquartile ranges of the quartiles", value_text(*rule.max));
    case Check::compare:
      return fmt::format("{} {}", rule.op, rule.to);
    case Check::row_sum:
      return "sum of the row " + bounds_text(rule);
    case Check::exists_in:
      return fmt::format("in {} of {}", fmt::join(rule.to_columns, "+"), rule.relation);
    case Check::sql:
      return rule.expression;
    default:
      return bounds_text(rule);
  }
}

void judge_rows(const Expectation& rule, RuleResult& result) {
  result.share = result.rows == 0
                     ? 0
                     : static_cast<double>(result.unexpected) / static_cast<double>(result.rows);
  result.ok = result.unexpected == 0 || 1 - result.share >= rule.mostly;
  result.set_aside = !result.ok && rule.quarantine && rule.mostly >= 1;
  result.message = "wanted " + wanted_text(rule);
  if (rule.mostly < 1) result.message += fmt::format(" in {:g} % of rows", rule.mostly * 100);
  if (!result.examples.empty()) result.message += "; saw " + list_text(result.examples);
}

void judge_figure(const Expectation& rule, Type type, double figure,
                  const ValidationOptions& options, RuleResult& result) {
  if (std::isnan(figure)) {
    result.message = "no rows to compute it from";
    return;
  }
  if (rule.check == Check::freshness) {
    const Time newest = from_micros(static_cast<std::int64_t>(figure));
    const auto age = *options.reference_time - newest;
    result.observed = format_time(newest);
    result.ok = age <= rule.within;
    result.message =
        fmt::format("newest is {}, wanted within {} of {}", format_time(newest),
                    format_duration(rule.within), format_time(*options.reference_time));
    return;
  }
  const bool time = type == Type::timestamp && takes_time_figure(rule.check);
  result.observed = time                   ? Json(figure_text(figure, type))
                    : is_count(rule.check) ? Json(static_cast<std::int64_t>(figure))
                                           : json_number(figure);
  result.ok = (!rule.min || figure >= bound_number(*rule.min)) &&
              (!rule.max || figure <= bound_number(*rule.max));
  const auto text = is_count(rule.check) ? fmt::format("{:.0f}", figure)
                                         : figure_text(figure, time ? type : Type::float64);
  result.message = fmt::format("{} is {}", figure_name(rule), text);
  if (rule.min || rule.max) result.message += ", wanted " + bounds_text(rule);
  if (!rule.learn) return;
  const auto found = options.history.find(rule.name);
  const std::vector<double> none;
  const auto& history = found == options.history.end() ? none : found->second;
  const auto band = band_of(*rule.learn, history);
  if (!band) {
    result.message += fmt::format("; {} earlier reports, {} are needed to learn a band",
                                  history.size(), rule.learn->at_least);
    return;
  }
  const bool inside = figure >= band->low && figure <= band->high;
  result.ok = result.ok && inside;
  result.message += fmt::format("; {} earlier reports expect {:.6g} to {:.6g}", band->seen,
                                band->low, band->high);
}

bool takes_time_figure(Check check) { return check == Check::min || check == Check::max; }

void judge_schema(const Expectation& rule, const Schema& schema, RuleResult& result) {
  std::vector<std::string> wrong;
  for (const auto& wanted : rule.types) {
    const auto at = schema.index(wanted.column);
    if (!at) {
      wrong.push_back("'" + wanted.column + "' is missing");
      continue;
    }
    const Type type = schema.fields[*at].type;
    if (std::find(wanted.types.begin(), wanted.types.end(), type) != wanted.types.end()) continue;
    std::vector<std::string_view> names;
    for (const Type each : wanted.types) names.push_back(to_string(each));
    wrong.push_back(fmt::format("'{}' is {}, wanted {}", wanted.column, to_string(type),
                                fmt::join(names, " or ")));
  }
  if (!rule.extra) {
    for (const auto& field : schema.fields) {
      const bool declared =
          std::any_of(rule.types.begin(), rule.types.end(),
                      [&](const TypeChoice& wanted) { return wanted.column == field.name; });
      if (!declared) wrong.push_back("'" + field.name + "' is not declared");
    }
  }
  result.ok = wrong.empty();
  result.message = fmt::format("{}", fmt::join(wrong, "; "));
}

void judge_columns(const Expectation& rule, const Schema& schema, RuleResult& result) {
  std::vector<std::string> wanted;
  for (const auto& value : rule.values)
    wanted.push_back(value.is_string() ? value.get<std::string>() : value.dump());
  const auto seen = schema.names();
  std::vector<std::string> wrong;
  const auto missing = [&](const auto& from, const auto& in, std::string_view what) {
    for (const auto& name : from) {
      if (std::find(in.begin(), in.end(), name) == in.end())
        wrong.push_back(fmt::format("'{}' {}", name, what));
    }
  };
  if (rule.match != "subset") missing(wanted, seen, "is missing");
  if (rule.match != "superset") missing(seen, wanted, "was not expected");
  if (rule.match == "ordered" && wrong.empty() && seen != wanted)
    wrong.push_back(
        fmt::format("the order is {}, wanted {}", fmt::join(seen, ", "), fmt::join(wanted, ", ")));
  result.observed = seen;
  result.ok = wrong.empty();
  result.message = fmt::format("{}", fmt::join(wrong, "; "));
}

void judge_values(const Expectation& rule, const std::vector<Json>& seen, RuleResult& result) {
  if (rule.check == Check::most_common) {
    result.observed = seen;
    result.ok = !seen.empty() && std::all_of(seen.begin(), seen.end(), [&](const Json& value) {
      return std::find(rule.values.begin(), rule.values.end(), value) != rule.values.end();
    });
    result.message =
        fmt::format("most common is {}, wanted one of {}",
                    seen.empty() ? "nothing" : list_text(seen), list_text(rule.values));
    return;
  }
  std::vector<Json> strangers;
  std::vector<Json> absent;
  for (const auto& value : seen) {
    if (std::find(rule.values.begin(), rule.values.end(), value) == rule.values.end())
      strangers.push_back(value);
  }
  for (const auto& value : rule.values) {
    if (std::find(seen.begin(), seen.end(), value) == seen.end()) absent.push_back(value);
  }
  if (rule.match == "superset") strangers.clear();
  if (rule.match == "subset") absent.clear();
  result.ok = strangers.empty() && absent.empty();
  result.examples = strangers;
  if (!strangers.empty()) result.message = "not expected: " + list_text(strangers);
  if (!absent.empty())
    result.message +=
        fmt::format("{}not seen: {}", result.message.empty() ? "" : "; ", list_text(absent));
}

}  // namespace slipway::data
