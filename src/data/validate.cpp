// Runs expectations: every row check and aggregate becomes some columns of one SELECT, so that the
// data is scanned once; a uniqueness check is one GROUP BY of its own.
#include "data/validation_internal.h"

namespace slipway::data {

namespace {

// An expectation as SQL over one row.
struct Compiled {
  std::string looked_at;  // condition: the row counts for this check
  std::string bad;        // condition: and is not as expected. Empty: not a row check
  std::string aggregate;  // the figure of an aggregate check
  std::string keys;       // unique: the compound key
};

class Compiler {
 public:
  Compiler(Engine& engine, std::string from, Schema schema, const ValidationOptions& options)
      : engine_(engine), from_(std::move(from)), schema_(std::move(schema)), options_(options) {}

  Result<Compiled> compile(const Expectation& rule) {
    for (const auto& column : rule.columns) {
      if (const auto found = schema_.find(column); !found) return found.error();
    }
    if (!rule.where.empty()) {
      if (auto bound = bind(rule.where, "where"); !bound) return bound.error();
    }
    auto compiled = compile_check(rule);
    if (!compiled) return compiled.error();
    if (!rule.where.empty()) {
      const auto& inner = compiled->looked_at;
      compiled->looked_at =
          fmt::format("(({}\n) AND {})", rule.where, inner.empty() ? "true" : inner);
    } else if (compiled->looked_at.empty()) {
      compiled->looked_at = "true";
    }
    return compiled;
  }

  const std::string& from() const { return from_; }
  const Schema& schema() const { return schema_; }

 private:
  // An expression of the user's has to make sense by itself; a mistake in it is told apart from the
  // rest.
  Result<void> bind(const std::string& expression, std::string_view key) {
    const auto described =
        engine_.describe(fmt::format("SELECT ({}\n) FROM {}", expression, from_));
    if (described) return {};
    auto error = described.error();
    // the place is one in our own text
    if (error.message.starts_with("SQL")) error.message.erase(0, error.message.find(": ") + 2);
    return error.at(fmt::format("{} \"{}\"", key, expression));
  }

  Type type_of(const std::string& column) const {
    return schema_.fields[*schema_.index(column)].type;
  }

  // A declared value as SQL that compares with the column.
  Result<std::string> literal(const Json& value, const std::string& column) const {
    const Type type = type_of(column);
    const auto refuse = [&](std::string_view wanted) {
      return invalid_argument(fmt::format("column '{}' is {}: it compares with {}, got {}", column,
                                          to_string(type), wanted, value.dump()));
    };
    switch (type) {
      case Type::int64:
      case Type::float64:
        if (!value.is_number()) return refuse("numbers");
        return value.dump();
      case Type::boolean:
        if (!value.is_boolean()) return refuse("true and false");
        return value.get<bool>() ? "true" : "false";
      case Type::text:
        if (!value.is_string()) return refuse("texts");
        return quote_text(value.get_ref<const std::string&>());
      case Type::timestamp: {
        const auto time = value.is_string() ? parse_time(value.get_ref<const std::string&>())
                                            : Result<Time>(invalid_argument(""));
        if (!time) return refuse("times such as \"2013-04-01T05:00:00Z\"");
        return fmt::format("make_timestamp({})", to_micros(*time));
      }
    }
    return refuse("nothing");
  }

  Result<Compiled> compile_check(const Expectation& rule) {
    const std::string name = rule.columns.empty() ? "" : rule.columns.front();
    const std::string column = quote_name(name);
    const std::string present = column + " IS NOT NULL";
    switch (rule.check) {
      case Check::not_null: {
        std::vector<std::string> nulls;
        for (const auto& each : rule.columns) nulls.push_back(quote_name(each) + " IS NULL");
        return Compiled{.bad = fmt::format("({})", fmt::join(nulls, " OR "))};
      }
      case Check::unique:
        return compile_unique(rule);
      case Check::range:
        return compile_range(rule, column, present);
      case Check::in_set: {
        std::vector<std::string> values;
        for (const auto& value : rule.values) {
          auto text = literal(value, name);
          if (!text) return text.error();
          values.push_back(std::move(*text));
        }
        return Compiled{.looked_at = present,
                        .bad = fmt::format("{} NOT IN ({})", column, fmt::join(values, ", "))};
      }
      case Check::matches: {
        if (type_of(name) != Type::text)
          return invalid_argument("column '" + name + "' is not text");
        const auto pattern = quote_text(rule.pattern);
        const auto sound = engine_.query({}, "SELECT regexp_full_match('', " + pattern + ") AS m");
        if (!sound) return sound.error().at("pattern " + pattern);
        return Compiled{.looked_at = present,
                        .bad = fmt::format("NOT regexp_full_match({}, {})", column, pattern)};
      }
      case Check::compare: {
        const auto to = schema_.index(rule.to) ? quote_name(rule.to) : "(" + rule.to + "\n)";
        const auto holds = fmt::format("({} {} {})", column, rule.op, to);
        if (auto bound = bind(holds, "compare"); !bound) return bound.error();
        return Compiled{.looked_at = holds + " IS NOT NULL", .bad = "NOT " + holds};
      }
      case Check::sql: {
        if (auto bound = bind(rule.expression, "expression"); !bound) return bound.error();
        return Compiled{.bad = fmt::format("NOT ({}\n)", rule.expression)};
      }
      case Check::schema:
        return Compiled{};
      case Check::row_count:
        return Compiled{.aggregate = "count(*)"};
      case Check::null_share:
        return Compiled{.aggregate = fmt::format("avg(CAST({} IS NULL AS INTEGER))", column)};
      case Check::distinct_count:
        return Compiled{.looked_at = present,
                        .aggregate = fmt::format("count(DISTINCT {})", column)};
      case Check::freshness:
        if (type_of(name) != Type::timestamp)
          return invalid_argument("column '" + name + "' is not a timestamp");
        if (!options_.reference_time)
          return invalid_argument(
              "freshness needs a reference time, which this caller does not give");
        return Compiled{.looked_at = present,
                        .aggregate = fmt::format("max(epoch_us({}))", column)};
      case Check::mean:
      case Check::sum:
      case Check::stddev: {
        if (type_of(name) == Type::text || type_of(name) == Type::timestamp) {
          return invalid_argument("column '" + name + "' is not a number");
        }
        const auto* function = rule.check == Check::mean  ? "avg"
                               : rule.check == Check::sum ? "sum"
                                                          : "stddev_samp";
        return Compiled{.looked_at = present,
                        .aggregate = fmt::format("{}(CAST({} AS DOUBLE))", function, column)};
      }
    }
    return internal("unknown check");
  }

  Result<Compiled> compile_range(const Expectation& rule, const std::string& column,
                                 const std::string& present) const {
    std::vector<std::string> outside;
    const auto add = [&](const std::optional<Json>& bound, std::string_view op) -> Result<void> {
      if (!bound) return {};
      const auto text = literal(*bound, rule.columns.front());
      if (!text) return text.error();
      outside.push_back(fmt::format("{} {} {}", column, op, *text));
      return {};
    };
    if (auto added = add(rule.min, rule.strict ? "<=" : "<"); !added) return added.error();
    if (auto added = add(rule.max, rule.strict ? ">=" : ">"); !added) return added.error();
    if (type_of(rule.columns.front()) == Type::float64)
      outside.push_back(fmt::format("isnan({})", column));
    return Compiled{.looked_at = present, .bad = fmt::format("({})", fmt::join(outside, " OR "))};
  }

  Result<Compiled> compile_unique(const Expectation& rule) const {
    std::vector<std::string> names;
    std::vector<std::string> present;
    for (const auto& each : rule.columns) {
      names.push_back(quote_name(each));
      present.push_back(names.back() + " IS NOT NULL");
    }
    Compiled compiled{.looked_at = fmt::format("({})", fmt::join(present, " AND ")),
                      .keys = fmt::format("{}", fmt::join(names, ", "))};
    const auto where = rule.where.empty() ? "" : fmt::format("({}\n) AND ", rule.where);
    // every row of a group of equal keys is bad: which one is right cannot be known
    const auto key = names.size() == 1 ? names.front() : "row(" + compiled.keys + ")";
    compiled.bad =
        fmt::format("{} IN (SELECT {} FROM {} WHERE {}{} GROUP BY {} HAVING count(*) > 1)", key,
                    key, from_, where, compiled.looked_at, compiled.keys);
    return compiled;
  }

  Engine& engine_;
  std::string from_;
  Schema schema_;
  const ValidationOptions& options_;
};

Json json_of(const ColumnView& view, std::int64_t row) {
  if (view.is_null(row)) return nullptr;
  switch (view.type) {
    case Type::boolean:
      return view.boolean(row);
    case Type::int64:
      return view.integer(row);
    case Type::float64:
      return json_number(view.real(row));
    case Type::text:
      return view.text(row);
    case Type::timestamp:
      return format_time(from_micros(view.integer(row)));
  }
  return nullptr;
}

Result<Columns> fetch(const Context& ctx, Engine& engine, const std::string& sql) {
  const auto table = engine.query(ctx, sql);
  if (!table) return table.error();
  return Columns::from_table(*table);
}

// Up to `limit` distinct bad values, of checks that have one column to show.
Result<std::vector<Json>> examples_of(const Context& ctx, Engine& engine, const std::string& from,
                                      const Expectation& rule, const Compiled& compiled,
                                      std::size_t limit) {
  if (limit == 0 || rule.columns.empty() || rule.check == Check::not_null)
    return std::vector<Json>{};
  std::string shown = quote_name(rule.columns.front());
  if (rule.check == Check::unique && rule.columns.size() > 1)
    shown = fmt::format("concat_ws(' | ', {})", compiled.keys);
  const auto found =
      fetch(ctx, engine,
            fmt::format("SELECT DISTINCT {} AS v FROM {} WHERE {} AND {} ORDER BY v LIMIT {}",
                        shown, from, compiled.looked_at, compiled.bad, limit));
  if (!found) return found.error();
  std::vector<Json> values;
  for (std::int64_t row = 0; row < found->rows(); ++row)
    values.push_back(json_of(found->batch().columns[0], row));
  return values;
}

std::string bounds_text(const Expectation& rule) {
  if (rule.min && rule.max) {
    return fmt::format("{} {} and {}", rule.strict ? "strictly between" : "between",
                       rule.min->dump(), rule.max->dump());
  }
  if (rule.min) return fmt::format("{} {}", rule.strict ? "over" : "at least", rule.min->dump());
  return fmt::format("{} {}", rule.strict ? "under" : "at most", rule.max->dump());
}

std::string wanted_text(const Expectation& rule) {
  switch (rule.check) {
    case Check::not_null:
      return "not null";
    case Check::unique:
      return "unique";
    case Check::in_set:
      return "one of " + Json(rule.values).dump();
    case Check::matches:
      return "of the form " + rule.pattern;
    case Check::compare:
      return fmt::format("{} {}", rule.op, rule.to);
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
  if (!result.examples.empty()) {
    std::vector<std::string> shown;
    for (const auto& value : result.examples)
      shown.push_back(value.dump(-1, ' ', false, Json::error_handler_t::replace));
    result.message += fmt::format("; saw {}", fmt::join(shown, ", "));
  }
}

// `figure` is NaN when there was no row to compute it from.
void judge_aggregate(const Expectation& rule, double figure, const ValidationOptions& options,
                     RuleResult& result) {
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
  result.observed = json_number(figure);
  if (rule.check == Check::row_count || rule.check == Check::distinct_count)
    result.observed = static_cast<std::int64_t>(figure);
  result.ok = (!rule.min || figure >= rule.min->get<double>()) &&
              (!rule.max || figure <= rule.max->get<double>());
  result.message =
      fmt::format("{} is {:.6g}, wanted {}", to_string(rule.check), figure, bounds_text(rule));
}

void judge_schema(const Expectation& rule, const Schema& schema, RuleResult& result) {
  std::vector<std::string> wrong;
  for (const auto& field : rule.types) {
    const auto at = schema.index(field.name);
    if (!at) {
      wrong.push_back("'" + field.name + "' is missing");
    } else if (schema.fields[*at].type != field.type) {
      wrong.push_back(fmt::format("'{}' is {}, wanted {}", field.name,
                                  to_string(schema.fields[*at].type), to_string(field.type)));
    }
  }
  if (!rule.extra) {
    for (const auto& field : schema.fields) {
      const bool declared =
          std::any_of(rule.types.begin(), rule.types.end(),
                      [&](const Field& wanted) { return wanted.name == field.name; });
      if (!declared) wrong.push_back("'" + field.name + "' is not declared");
    }
  }
  result.ok = wrong.empty();
  result.message = wrong.empty() ? "" : fmt::format("{}", fmt::join(wrong, "; "));
}

// The rows without and with reasons to be set aside.
void split_rows(const Compiler& compiler, const std::vector<Expectation>& rules,
                const std::vector<Compiled>& compiled, Validation& validation) {
  std::vector<std::string> reasons;
  std::vector<std::string> bad;
  bool declared = false;
  for (std::size_t i = 0; i < rules.size(); ++i) {
    if (!rules[i].quarantine) continue;
    declared = true;
    if (validation.report.rules[i].unexpected == 0) continue;
    bad.push_back(
        fmt::format("coalesce({} AND {}, false)", compiled[i].looked_at, compiled[i].bad));
    reasons.push_back(
        fmt::format("CASE WHEN {} THEN {} END", bad.back(), quote_text(rules[i].name)));
  }
  validation.clean_sql = "SELECT * FROM " + compiler.from();
  if (!declared) return;
  if (bad.empty()) {
    validation.quarantine_sql =
        fmt::format("SELECT *, '' AS quarantine_reasons FROM {} WHERE false", compiler.from());
    return;
  }
  validation.clean_sql += fmt::format(" WHERE NOT ({})", fmt::join(bad, " OR "));
  validation.quarantine_sql =
      fmt::format("SELECT *, concat_ws('; ', {}) AS quarantine_reasons FROM {} WHERE {}",
                  fmt::join(reasons, ", "), compiler.from(), fmt::join(bad, " OR "));
}

// One SELECT with two numbers for each check but the schema's: rows looked at, and bad rows or the
// figure.
Result<void> scan(const Context& ctx, Engine& engine, const std::string& from,
                  const std::vector<Expectation>& rules, const std::vector<Compiled>& compiled,
                  const ValidationOptions& options, Report& report) {
  std::vector<std::string> numbers = {"CAST(count(*) AS DOUBLE) AS n"};
  for (std::size_t i = 0; i < rules.size(); ++i) {
    numbers.push_back(
        fmt::format("CAST(count(*) FILTER ({}) AS DOUBLE) AS c{}", compiled[i].looked_at, i));
    if (rules[i].check == Check::unique || rules[i].check == Check::schema) {
      numbers.push_back(fmt::format("0.0 AS u{}", i));
    } else if (!compiled[i].bad.empty()) {
      numbers.push_back(fmt::format("CAST(count(*) FILTER ({} AND {}) AS DOUBLE) AS u{}",
                                    compiled[i].looked_at, compiled[i].bad, i));
    } else {
      numbers.push_back(fmt::format("CAST({} FILTER ({}) AS DOUBLE) AS u{}", compiled[i].aggregate,
                                    compiled[i].looked_at, i));
    }
  }
  const auto counted =
      fetch(ctx, engine, fmt::format("SELECT {} FROM {}", fmt::join(numbers, ", "), from));
  if (!counted) return counted.error();
  const auto batch = counted->batch();
  report.rows = static_cast<std::int64_t>(batch.columns[0].number(0));
  for (std::size_t i = 0; i < rules.size(); ++i) {
    auto& result = report.rules[i];
    result.rows = static_cast<std::int64_t>(batch.columns[1 + 2 * i].number(0));
    const double number = batch.columns[2 + 2 * i].number(0);
    if (is_row_check(rules[i].check)) {
      result.unexpected = static_cast<std::int64_t>(number);
    } else if (rules[i].check != Check::schema) {
      judge_aggregate(rules[i], number, options, result);
    }
  }
  return {};
}

Result<std::int64_t> count_duplicates(const Context& ctx, Engine& engine, const std::string& from,
                                      const Compiled& compiled) {
  const auto counted = fetch(
      ctx, engine,
      fmt::format(
          "SELECT coalesce(sum(n), 0) AS n FROM (SELECT count(*) AS n FROM {} WHERE {} GROUP BY "
          "{} HAVING count(*) > 1)",
          from, compiled.looked_at, compiled.keys));
  if (!counted) return counted.error();
  return counted->batch().columns[0].integer(0);
}

}  // namespace

Result<Validation> validate(const Context& ctx, Engine& engine, const std::string& relation,
                            const std::vector<Expectation>& expectations,
                            const ValidationOptions& options) {
  const auto relations = engine.relations();
  const bool named = std::find(relations.begin(), relations.end(), relation) != relations.end();
  const auto from = named ? quote_name(relation) : "(" + relation + "\n)";
  auto schema = engine.describe(named ? "SELECT * FROM " + from : relation);
  if (!schema) return schema.error();
  Compiler compiler(engine, from, std::move(*schema), options);

  Validation validation;
  std::vector<Compiled> compiled;
  for (const auto& rule : expectations) {
    auto sql = compiler.compile(rule);
    if (!sql) return sql.error().at("check '" + rule.name + "'");
    compiled.push_back(std::move(*sql));
    validation.report.rules.push_back({.name = rule.name,
                                       .check = rule.check,
                                       .columns = rule.columns,
                                       .warn_only = rule.warn_only,
                                       .quarantine = rule.quarantine});
  }
  auto scanned = scan(ctx, engine, from, expectations, compiled, options, validation.report);
  if (!scanned) return scanned.error();
  for (std::size_t i = 0; i < expectations.size(); ++i) {
    auto& result = validation.report.rules[i];
    if (expectations[i].check == Check::schema)
      judge_schema(expectations[i], compiler.schema(), result);
    if (!is_row_check(expectations[i].check)) continue;
    if (expectations[i].check == Check::unique) {
      const auto duplicates = count_duplicates(ctx, engine, from, compiled[i]);
      if (!duplicates) return duplicates.error();
      result.unexpected = *duplicates;
    }
    if (result.unexpected > 0) {
      auto examples =
          examples_of(ctx, engine, from, expectations[i], compiled[i], options.examples);
      if (!examples) return examples.error();
      result.examples = std::move(*examples);
    }
    judge_rows(expectations[i], result);
  }
  split_rows(compiler, expectations, compiled, validation);
  if (!validation.quarantine_sql.empty()) {
    const auto counted =
        fetch(ctx, engine, "SELECT count(*) AS n FROM (" + validation.quarantine_sql + "\n)");
    if (!counted) return counted.error();
    validation.report.quarantined = counted->batch().columns[0].integer(0);
  }
  return validation;
}

}  // namespace slipway::data
