#include "data/validation.h"

#include "data/validation_internal.h"

namespace slipway::data {

namespace {

constexpr std::string_view kCheckNames[] = {"not_null",       "unique",    "range",   "in_set",
                                            "matches",        "schema",    "compare", "row_count",
                                            "null_share",     "mean",      "sum",     "stddev",
                                            "distinct_count", "freshness", "sql"};

bool takes_many_columns(Check check) { return check == Check::not_null || check == Check::unique; }
bool takes_no_column(Check check) {
  return check == Check::schema || check == Check::row_count || check == Check::sql;
}

std::optional<Json> optional_value(SpecReader& reader, std::string_view key) {
  if (!reader.has(key)) return std::nullopt;
  return reader.json(key);
}

void read_bounds(SpecReader& reader, Expectation& expectation) {
  expectation.min = optional_value(reader, "min");
  expectation.max = optional_value(reader, "max");
  if (!expectation.min && !expectation.max) reader.problem("", "give min, max or both");
  for (const auto* key : {"min", "max"}) {
    const auto& bound = std::string_view(key) == "min" ? expectation.min : expectation.max;
    const bool good =
        !bound || bound->is_number() || (expectation.check == Check::range && bound->is_string());
    if (!good)
      reader.problem(
          key, "is a number" +
                   std::string(expectation.check == Check::range ? ", a time or a text" : ""));
  }
}

void read_schema(SpecReader& reader, Expectation& expectation) {
  expectation.extra = reader.boolean("extra", true);
  auto types = reader.object("types");
  for (const auto& column : types.keys()) {
    const auto type = parse_type(types.text(column));
    if (type) {
      expectation.types.push_back({column, *type, true});
    } else {
      types.problem(column, type.error().message);
    }
  }
  if (expectation.types.empty())
    reader.problem("types", "name the columns and their types: {late: int64}");
}

void read_details(SpecReader& reader, Expectation& expectation) {
  switch (expectation.check) {
    case Check::range:
      expectation.strict = reader.boolean("strict", false);
      [[fallthrough]];
    case Check::row_count:
    case Check::null_share:
    case Check::mean:
    case Check::sum:
    case Check::stddev:
    case Check::distinct_count:
      read_bounds(reader, expectation);
      return;
    case Check::in_set: {
      const auto values = reader.json("values");
      if (!values.is_array() || values.empty()) {
        reader.problem("values", "values is a list of at least one value");
        return;
      }
      expectation.values.assign(values.begin(), values.end());
      return;
    }
    case Check::matches:
      expectation.pattern = reader.text("pattern");
      return;
    case Check::schema:
      read_schema(reader, expectation);
      return;
    case Check::compare:
      expectation.op = reader.one_of("op", {"<", "<=", "=", "!=", ">=", ">"}, "");
      if (expectation.op.empty()) reader.problem("op", "op is one of < <= = != >= >");
      expectation.to = reader.text("to");
      return;
    case Check::freshness:
      expectation.within = reader.duration("within", Duration{0});
      if (expectation.within.count() <= 0)
        reader.problem("within", "within is a duration such as 2d");
      return;
    case Check::sql:
      expectation.expression = reader.text("expression");
      return;
    case Check::not_null:
    case Check::unique:
      return;
  }
}

std::string default_name(const Expectation& expectation) {
  if (expectation.check == Check::sql) return expectation.expression;
  if (expectation.check == Check::compare) {
    return fmt::format("{} {} {}", expectation.columns.front(), expectation.op, expectation.to);
  }
  if (expectation.columns.empty()) return std::string(to_string(expectation.check));
  return fmt::format("{} {}", fmt::join(expectation.columns, "+"), to_string(expectation.check));
}

}  // namespace

std::string_view to_string(Check check) { return kCheckNames[static_cast<std::size_t>(check)]; }

bool is_row_check(Check check) {
  switch (check) {
    case Check::not_null:
    case Check::unique:
    case Check::range:
    case Check::in_set:
    case Check::matches:
    case Check::compare:
    case Check::sql:
      return true;
    default:
      return false;
  }
}

std::vector<Expectation> read_expectations(SpecReader& reader, std::string_view key) {
  std::vector<Expectation> expectations;
  std::set<std::string> names;
  for (auto& item : reader.list(key)) {
    Expectation expectation;
    const std::vector<std::string> known(std::begin(kCheckNames), std::end(kCheckNames));
    if (!item.has("check"))
      item.problem("check",
                   fmt::format("check is missing; the checks are {}", fmt::join(known, ", ")));
    const auto check = item.one_of("check", known, known.front());
    const auto at = std::find(known.begin(), known.end(), check);
    if (at == known.end()) continue;
    expectation.check = static_cast<Check>(at - known.begin());
    if (!takes_no_column(expectation.check)) {
      const std::string columns = item.has("columns") ? "columns" : "column";
      expectation.columns = item.texts(columns);
      if (expectation.columns.empty()) {
        item.problem(columns, fmt::format("check {} needs a column", check));
        expectation.columns = {""};
      }
      if (expectation.columns.size() > 1 && !takes_many_columns(expectation.check)) {
        item.problem(columns, fmt::format("check {} takes one column", check));
      }
    }
    read_details(item, expectation);
    expectation.name = item.text("name", default_name(expectation));
    expectation.warn_only = item.one_of("severity", {"error", "warn"}, "error") == "warn";
    expectation.where = item.text("where", "");
    if (is_row_check(expectation.check)) {
      expectation.quarantine =
          item.one_of("on_fail", {"stop", "quarantine"}, "stop") == "quarantine";
      expectation.mostly = item.number("mostly", 1.0);
      if (!(expectation.mostly > 0 && expectation.mostly <= 1))
        item.problem("mostly", "mostly is over 0 and at most 1");
    }
    if (!names.insert(expectation.name).second) {
      item.problem("name",
                   "'" + expectation.name + "' stands twice; give one of the two checks a name");
    }
    item.close();
    expectations.push_back(std::move(expectation));
  }
  return expectations;
}

bool Report::ok() const {
  return std::all_of(rules.begin(), rules.end(), [](const RuleResult& rule) {
    return rule.ok || rule.warn_only || rule.set_aside;
  });
}

Json Report::to_json() const {
  Json list = Json::array();
  for (const auto& rule : rules) {
    Json item = {{"name", rule.name},
                 {"check", to_string(rule.check)},
                 {"columns", rule.columns},
                 {"severity", rule.warn_only ? "warn" : "error"},
                 {"on_fail", rule.quarantine ? "quarantine" : "stop"},
                 {"ok", rule.ok},
                 {"rows", rule.rows},
                 {"unexpected", rule.unexpected},
                 {"share", rule.share},
                 {"examples", rule.examples},
                 {"message", rule.message}};
    if (!rule.observed.is_null()) item["observed"] = rule.observed;
    list.push_back(std::move(item));
  }
  return {{"ok", ok()}, {"rows", rows}, {"quarantined", quarantined}, {"rules", std::move(list)}};
}

std::string render_text(const Report& report) {
  std::vector<std::array<std::string, 5>> lines = {{"", "check", "rows", "unexpected", "seen"}};
  std::size_t failed = 0;
  for (const auto& rule : report.rules) {
    const std::string_view mark = rule.ok          ? "ok"
                                  : rule.set_aside ? "aside"
                                  : rule.warn_only ? "warn"
                                                   : "FAIL";
    if (!rule.ok) ++failed;
    const auto share = rule.unexpected > 0
                           ? fmt::format("{} ({:.2g} %)", rule.unexpected, rule.share * 100)
                           : std::to_string(rule.unexpected);
    lines.push_back({std::string(mark), rule.name, std::to_string(rule.rows),
                     is_row_check(rule.check) ? share : "-",
                     rule.ok && rule.observed.is_null() ? "" : rule.message});
  }
  std::array<std::size_t, 5> widths{};
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string text;
  for (const auto& line : lines) {
    auto row = fmt::format("{:<{}}  {:<{}}  {:>{}}  {:>{}}  {}", line[0], widths[0], line[1],
                           widths[1], line[2], widths[2], line[3], widths[3], line[4]);
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  text += fmt::format("{} of {} checks passed on {} rows", report.rules.size() - failed,
                      report.rules.size(), report.rows);
  if (report.quarantined > 0) text += fmt::format("; {} rows set aside", report.quarantined);
  return text + (report.ok() ? "\n" : ": not valid\n");
}

}  // namespace slipway::data
