#include "data/expectation_sql_internal.h"

#include "base/hash.h"

namespace slipway::data {

namespace {

constexpr std::string_view kRowNumber = "slipway row";

std::string present(const std::vector<std::string>& columns) {
  std::vector<std::string> conditions;
  for (const auto& column : columns) conditions.push_back(quote_name(column) + " IS NOT NULL");
  return fmt::format("({})", fmt::join(conditions, " AND "));
}

std::string quoted_columns(const std::vector<std::string>& columns) {
  std::vector<std::string> names;
  for (const auto& column : columns) names.push_back(quote_name(column));
  return fmt::format("{}", fmt::join(names, ", "));
}

// Not null, and of fractions not NaN or infinite: those are left out of figures, which they would
// swallow.
std::string numbers_in(const Schema& schema, const std::vector<std::string>& columns) {
  std::vector<std::string> conditions;
  for (const auto& column : columns) {
    const bool fraction = schema.fields[*schema.index(column)].type == Type::float64;
    conditions.push_back(fraction ? fmt::format("coalesce(isfinite({}), false)", quote_name(column))
                                  : quote_name(column) + " IS NOT NULL");
  }
  return fmt::format("({})", fmt::join(conditions, " AND "));
}

// One value for the key, also when it has several columns.
std::string key_of(const std::vector<std::string>& columns) {
  const auto list = quoted_columns(columns);
  return columns.size() == 1 ? list : "row(" + list + ")";
}

}  // namespace

RuleCompiler::RuleCompiler(const Context& ctx, Engine& engine, std::string from, Schema schema,
                           const ValidationOptions& options)
    : ctx_(ctx),
      engine_(engine),
      from_(std::move(from)),
      schema_(std::move(schema)),
      options_(options) {}

Result<CompiledRule> RuleCompiler::compile(const Expectation& rule) {
  for (const auto& column : rule.columns) {
    if (const auto found = schema_.find(column); !found) return found.error();
  }
  if (!rule.where.empty()) {
    if (auto bound = bind(rule.where, "where"); !bound) return bound.error();
  }
  auto compiled = compile_check(rule);
  if (!compiled) return compiled.error();
  if (!rule.where.empty()) {
    compiled->looked_at = fmt::format("(({}\n) AND {})", rule.where, compiled->looked_at);
    compiled->of_values = false;
  }
  return compiled;
}

// An expression of the user's has to make sense by itself; a mistake in it is told apart from the
// rest.
Result<void> RuleCompiler::bind(const std::string& expression, std::string_view key) {
  const auto described = engine_.describe(fmt::format("SELECT ({}\n) FROM {}", expression, from_));
  if (described) return {};
  auto error = described.error();
  // the place is one in our own text
  if (error.message.starts_with("SQL")) error.message.erase(0, error.message.find(": ") + 2);
  return error.at(fmt::format("{} \"{}\"", key, expression));
}

std::string RuleCompiler::with_rows(const std::string& query) const {
  std::string text = query;
  constexpr std::string_view kRows = "{rows}";
  for (auto at = text.find(kRows); at != std::string::npos; at = text.find(kRows, at)) {
    text.replace(at, kRows.size(), from_);
    at += from_.size();
  }
  return text;
}

Result<Schema> RuleCompiler::other(const std::string& relation) const {
  const auto known = engine_.relations();
  if (std::find(known.begin(), known.end(), relation) != known.end())
    return engine_.describe("SELECT * FROM " + quote_name(relation));
  const auto near = nearest(relation, known);
  return invalid_argument(
      fmt::format("relation '{}' is not there{}; name the data to compare with (pipeline: "
                  "`relations`; command line: --with {}=FILE)",
                  relation, near ? "; did you mean '" + *near + "'?" : "", relation));
}

std::string RuleCompiler::table_name(const Expectation& rule, std::string_view what) const {
  return fmt::format("slipway {} {}", what,
                     sha256_hex(from_ + '\n' + rule.name + '\n' + rule.where).substr(0, 16));
}

Result<std::string> RuleCompiler::literal(const Json& value, const std::string& column) const {
  const Type type = type_of(column);
  const auto refuse = [&](std::string_view wanted) {
    return invalid_argument(fmt::format("column '{}' is {}: it compares with {}, got {}", column,
                                        to_string(type), wanted, value.dump()));
  };
  switch (type) {
    case Type::int64:
    case Type::float64:
      if (!value.is_number()) return refuse("numbers");
      // as written; a fraction as DOUBLE, for decimals of DuckDB's would narrow the column
      return value.is_number_float() ? fmt::format("CAST({} AS DOUBLE)", value.dump())
                                     : value.dump();
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

Result<void> RuleCompiler::want_text(const std::string& column) const {
  if (type_of(column) == Type::text) return {};
  return invalid_argument("column '" + column + "' is not text");
}

Result<void> RuleCompiler::want_number(const std::string& column) const {
  if (type_of(column) != Type::text && type_of(column) != Type::timestamp) return {};
  return invalid_argument("column '" + column + "' is not a number");
}

Result<CompiledRule> RuleCompiler::compile_check(const Expectation& rule) {
  if (is_row_check(rule.check)) return compile_rows(rule);
  return compile_figure(rule);
}

Result<CompiledRule> RuleCompiler::compile_rows(const Expectation& rule) {
  const std::string name = rule.columns.empty() ? "" : rule.columns.front();
  const std::string column = quote_name(name);
  CompiledRule sql;
  sql.of_values = rule.columns.size() == 1;
  if (!rule.columns.empty()) sql.looked_at = present(rule.columns);
  switch (rule.check) {
    case Check::not_null:
      sql.bad = fmt::format("NOT {}", present(rule.columns));
      sql.looked_at = "true";
      return sql;
    case Check::is_null:
      sql.bad = column + " IS NOT NULL";
      sql.looked_at = "true";
      return sql;
    case Check::unique:
      sql.keys = quoted_columns(rule.columns);
      sql.of_values = false;
      // every row of a group of equal keys is bad: which one is right cannot be known
      sql.bad = fmt::format("{} IN (SELECT {} FROM {})", key_of(rule.columns), key_of(rule.columns),
                            quote_name(table_name(rule, "keys")));
      return sql;
    case Check::equal_in_row: {
      std::vector<std::string> equal;
      for (std::size_t i = 1; i < rule.columns.size(); ++i)
        equal.push_back(
            fmt::format("{} = {}", quote_name(rule.columns[i - 1]), quote_name(rule.columns[i])));
      sql.bad = fmt::format("NOT ({})", fmt::join(equal, " AND "));
      if (auto bound = bind(sql.bad, "columns"); !bound) return bound.error();
      return sql;
    }
    case Check::unique_in_row: {
      std::vector<std::string> equal;
      for (std::size_t i = 0; i < rule.columns.size(); ++i) {
        for (std::size_t j = i + 1; j < rule.columns.size(); ++j) {
          equal.push_back(fmt::format("coalesce({} = {}, false)", quote_name(rule.columns[i]),
                                      quote_name(rule.columns[j])));
        }
      }
      sql.bad = fmt::format("({})", fmt::join(equal, " OR "));
      sql.looked_at = "true";
      if (auto bound = bind(sql.bad, "columns"); !bound) return bound.error();
      return sql;
    }
    case Check::range:
      return compile_range(rule);
    case Check::in_set:
    case Check::not_in_set:
    case Check::pair_in_set:
      return compile_set(rule);
    case Check::matches:
    case Check::not_matches:
    case Check::like:
    case Check::not_like:
      return compile_patterns(rule);
    case Check::length: {
      if (auto text = want_text(name); !text) return text.error();
      std::vector<std::string> outside;
      if (rule.min) outside.push_back(fmt::format("length({}) < {}", column, rule.min->dump()));
      if (rule.max) outside.push_back(fmt::format("length({}) > {}", column, rule.max->dump()));
      sql.bad = fmt::format("({})", fmt::join(outside, " OR "));
      return sql;
    }
    case Check::parses:
      if (auto text = want_text(name); !text) return text.error();
      if (!rule.format.empty()) {
        sql.bad = fmt::format("try_strptime({}, {}) IS NULL", column, quote_text(rule.format));
        if (auto bound = bind(sql.bad, "format"); !bound) return bound.error();
      } else if (rule.as == "json") {
        sql.bad = fmt::format("NOT json_valid({})", column);
      } else if (rule.as == "int64") {  // a cast alone would round 1.5
        sql.bad = fmt::format(
            "NOT (regexp_full_match({0}, '[+-]?[0-9]+') AND try_cast({0} AS BIGINT) IS NOT NULL)",
            column);
      } else {
        const auto* type = rule.as == "timestamp" ? "TIMESTAMP"
                           : rule.as == "float64" ? "DOUBLE"
                                                  : "BOOLEAN";
        sql.bad = fmt::format("try_cast({} AS {}) IS NULL", column, type);
      }
      return sql;
    case Check::json_schema:
      return compile_json_schema(rule);
    case Check::increasing:
    case Check::decreasing:
      return compile_order(rule);
    case Check::z_score:
    case Check::iqr:
      return compile_outliers(rule);
    case Check::compare: {
      const auto to = schema_.index(rule.to) ? quote_name(rule.to) : "(" + rule.to + "\n)";
      const auto holds = fmt::format("({} {} {})", column, rule.op, to);
      if (auto bound = bind(holds, "compare"); !bound) return bound.error();
      return CompiledRule{.looked_at = holds + " IS NOT NULL", .bad = "NOT " + holds};
    }
    case Check::row_sum:
      return compile_row_sum(rule);
    case Check::exists_in:
      return compile_exists(rule);
    case Check::sql:
      if (auto bound = bind(rule.expression, "expression"); !bound) return bound.error();
      return CompiledRule{.bad = fmt::format("NOT ({}\n)", rule.expression)};
    default:
      return internal("a check of rows is not compiled");
  }
}

Result<CompiledRule> RuleCompiler::compile_range(const Expectation& rule) const {
  const std::string column = quote_name(rule.columns.front());
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
  return CompiledRule{.looked_at = present(rule.columns),
                      .bad = fmt::format("({})", fmt::join(outside, " OR ")),
                      .of_values = true};
}

// What is usual is found first, by one query; then it is a range.
Result<CompiledRule> RuleCompiler::compile_outliers(const Expectation& rule) const {
  const auto& name = rule.columns.front();
  if (auto number = want_number(name); !number) return number.error();
  const auto column = fmt::format("CAST({} AS DOUBLE)", quote_name(name));
  // J. Tukey, "Exploratory data analysis" (1977): so many interquartile ranges off the quartiles
  const auto figures =
      rule.check == Check::iqr
          ? fmt::format("quantile_cont({0}, 0.25) AS a, quantile_cont({0}, 0.75) AS b", column)
          : fmt::format("avg({0}) AS a, stddev_samp({0}) AS b", column);
  const auto found = fetch_columns(
      ctx_, engine_,
      fmt::format("SELECT {} FROM {} WHERE {}{}", figures, from_, numbers_in(schema_, rule.columns),
                  rule.where.empty() ? "" : " AND (" + rule.where + "\n)"));
  if (!found) return found.error();
  const double a = found->batch().columns[0].number(0);
  const double b = found->batch().columns[1].number(0);
  CompiledRule sql{.looked_at = present(rule.columns), .bad = "false", .of_values = true};
  if (std::isnan(a) || std::isnan(b)) return sql;  // no rows, or one
  const double times = rule.max->get<double>();
  const double low = rule.check == Check::iqr ? a - times * (b - a) : a - times * b;
  const double high = rule.check == Check::iqr ? b + times * (b - a) : a + times * b;
  sql.bad =
      fmt::format("({0} < CAST({1} AS DOUBLE) OR {0} > CAST({2} AS DOUBLE))", column, low, high);
  return sql;
}

Result<CompiledRule> RuleCompiler::compile_set(const Expectation& rule) const {
  std::vector<std::string> members;
  for (const auto& value : rule.values) {
    if (rule.check != Check::pair_in_set) {
      auto text = literal(value, rule.columns.front());
      if (!text) return text.error();
      members.push_back(std::move(*text));
      continue;
    }
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < rule.columns.size(); ++i) {
      auto text = literal(value.at(i), rule.columns[i]);
      if (!text) return text.error();
      parts.push_back(std::move(*text));
    }
    members.push_back(fmt::format("row({})", fmt::join(parts, ", ")));
  }
  return CompiledRule{
      .looked_at = present(rule.columns),
      .bad = fmt::format("{} {}IN ({})", key_of(rule.columns),
                         rule.check == Check::not_in_set ? "" : "NOT ", fmt::join(members, ", ")),
      .of_values = rule.columns.size() == 1};
}

Result<CompiledRule> RuleCompiler::compile_patterns(const Expectation& rule) {
  if (auto text = want_text(rule.columns.front()); !text) return text.error();
  const auto column = quote_name(rule.columns.front());
  const bool regex = rule.check == Check::matches || rule.check == Check::not_matches;
  std::vector<std::string> found;
  for (const auto& each : rule.patterns) {
    const auto pattern = quote_text(each);
    if (!regex) {
      found.push_back(fmt::format("{} LIKE {}", column, pattern));
      continue;
    }
    const auto* function = rule.part ? "regexp_matches" : "regexp_full_match";
    const auto sound =
        engine_.query(ctx_, fmt::format("SELECT {}('', {}) AS m", function, pattern));
    if (!sound) return sound.error().at("pattern " + pattern);
    found.push_back(fmt::format("{}({}, {})", function, column, pattern));
  }
  const bool unwanted = rule.check == Check::not_matches || rule.check == Check::not_like;
  return CompiledRule{.looked_at = present(rule.columns),
                      .bad = fmt::format("{}({})", unwanted ? "" : "NOT ",
                                         fmt::join(found, rule.all ? " AND " : " OR ")),
                      .of_values = true};
}

Result<CompiledRule> RuleCompiler::compile_order(const Expectation& rule) const {
  const auto column = quote_name(rule.columns.front());
  for (const auto& each : rule.order_by) {
    if (const auto found = schema_.find(each); !found) return found.error();
  }
  CompiledRule sql;
  const auto before = table_name(rule, "before");
  const auto order = rule.order_by.empty() ? quote_name(kRowNumber) : quoted_columns(rule.order_by);
  sql.added.emplace_back(before,
                         fmt::format("lag({} IGNORE NULLS) OVER (ORDER BY {})", column, order));
  sql.numbers_rows = rule.order_by.empty();
  sql.looked_at = fmt::format("({} IS NOT NULL AND {} IS NOT NULL)", column, quote_name(before));
  const auto* op =
      rule.check == Check::increasing ? (rule.strict ? ">" : ">=") : (rule.strict ? "<" : "<=");
  sql.bad = fmt::format("NOT ({} {} {})", column, op, quote_name(before));
  return sql;
}

Result<CompiledRule> RuleCompiler::compile_row_sum(const Expectation& rule) const {
  std::vector<std::string> terms;
  for (const auto& column : rule.columns) {
    if (auto number = want_number(column); !number) return number.error();
    terms.push_back(fmt::format("CAST({} AS DOUBLE)", quote_name(column)));
  }
  const auto sum = fmt::format("({})", fmt::join(terms, " + "));
  std::vector<std::string> outside;
  // sums of decimal fractions miss their value by rounding: 0.1 + 0.2 is 0.3
  constexpr std::string_view kSlack = "1e-9 * greatest(1, abs(CAST({0} AS DOUBLE)))";
  const auto slack = [&](const Json& bound) {
    return fmt::format(fmt::runtime(kSlack), bound.dump());
  };
  if (rule.min)
    outside.push_back(fmt::format("{} < {} - {}", sum, rule.min->dump(), slack(*rule.min)));
  if (rule.max)
    outside.push_back(fmt::format("{} > {} + {}", sum, rule.max->dump(), slack(*rule.max)));
  return CompiledRule{.looked_at = present(rule.columns),
                      .bad = fmt::format("({})", fmt::join(outside, " OR "))};
}

Result<CompiledRule> RuleCompiler::compile_exists(const Expectation& rule) const {
  const auto schema = other(rule.relation);
  if (!schema) return schema.error();
  for (std::size_t i = 0; i < rule.columns.size(); ++i) {
    const auto at = schema->find(rule.to_columns[i]);
    if (!at) return at.error().at("relation '" + rule.relation + "'");
    if (schema->fields[*at].type != type_of(rule.columns[i])) {
      return invalid_argument(
          fmt::format("column '{}' is {}, and '{}' of '{}' is {}: they do not compare",
                      rule.columns[i], to_string(type_of(rule.columns[i])), rule.to_columns[i],
                      rule.relation, to_string(schema->fields[*at].type)));
    }
  }
  CompiledRule sql;
  const auto found = table_name(rule, "found");
  sql.added.emplace_back(found, fmt::format("{} IN (SELECT {} FROM {} WHERE {})",
                                            key_of(rule.columns), key_of(rule.to_columns),
                                            quote_name(rule.relation), present(rule.to_columns)));
  sql.looked_at = present(rule.columns);
  sql.bad = fmt::format("NOT {}", quote_name(found));
  return sql;
}

// Distinct values are looked at here, by the library; rows are then found by value.
Result<CompiledRule> RuleCompiler::compile_json_schema(const Expectation& rule) {
  const auto& name = rule.columns.front();
  if (auto text = want_text(name); !text) return text.error();
  const auto column = quote_name(name);
  const auto distinct =
      fetch_columns(ctx_, engine_,
                    fmt::format("SELECT DISTINCT {0} FROM {1} WHERE {0} IS NOT NULL{2}", column,
                                from_, rule.where.empty() ? "" : " AND (" + rule.where + "\n)"));
  if (!distinct) return distinct.error();
  std::vector<std::string> texts;
  for (std::int64_t row = 0; row < distinct->rows(); ++row)
    texts.emplace_back(distinct->batch().columns[0].text(row));
  const auto bad = not_of_schema(rule.document, texts);
  if (!bad) return bad.error();
  BatchBuilder builder({{{name, Type::text}}});
  for (const auto at : *bad) builder.append_text(0, texts[at]);
  const auto table = builder.to_table();
  if (!table) return table.error();
  const auto holds = table_name(rule, "json");
  if (auto added = engine_.add_table(holds, *table); !added) return added.error();
  return CompiledRule{.looked_at = present(rule.columns),
                      .bad = fmt::format("{0} IN (SELECT {0} FROM {1})", column, quote_name(holds)),
                      .of_values = true};
}

Result<CompiledRule> RuleCompiler::compile_figure(const Expectation& rule) {
  const std::string name = rule.columns.empty() ? "" : rule.columns.front();
  const std::string column = quote_name(name);
  CompiledRule sql;
  sql.of_values = rule.columns.size() == 1;
  if (!rule.columns.empty()) sql.looked_at = present(rule.columns);
  const auto of_numbers = [&](std::string_view function,
                              std::string_view more = "") -> Result<CompiledRule> {
    if (auto number = want_number(name); !number) return number.error();
    sql.looked_at = numbers_in(schema_, rule.columns);
    sql.figure = fmt::format("{}(CAST({} AS DOUBLE){}){}", function, column, more, kFilterMark);
    return sql;
  };
  switch (rule.check) {
    case Check::row_count:
      sql.figure = fmt::format("count(*){}", kFilterMark);
      if (!rule.relation.empty()) {
        if (auto there = other(rule.relation); !there) return there.error();
      }
      return sql;
    case Check::null_share:
      sql.looked_at = "true";
      sql.figure = fmt::format("avg(CAST({} IS NULL AS INTEGER)){}", column, kFilterMark);
      return sql;
    case Check::distinct_count:
      sql.figure = fmt::format("count(DISTINCT {}){}", column, kFilterMark);
      return sql;
    case Check::distinct_share:
      sql.figure = fmt::format("CAST(count(DISTINCT {0}){1} AS DOUBLE) / nullif(count({0}){1}, 0)",
                               column, kFilterMark);
      return sql;
    case Check::min:
    case Check::max: {
      const auto* function = rule.check == Check::min ? "min" : "max";
      if (type_of(name) != Type::timestamp) return of_numbers(function);
      sql.figure = fmt::format("{}(epoch_us({})){}", function, column, kFilterMark);
      return sql;
    }
    case Check::mean:
      return of_numbers("avg");
    case Check::sum:
      return of_numbers("sum");
    case Check::stddev:
      return of_numbers("stddev_samp");
    case Check::median:
      return of_numbers("quantile_cont", ", 0.5");
    case Check::quantile:
      return of_numbers("quantile_cont", fmt::format(", {}", rule.probability));
    case Check::freshness:
      if (type_of(name) != Type::timestamp)
        return invalid_argument("column '" + name + "' is not a timestamp");
      if (!options_.reference_time)
        return invalid_argument(
            "freshness needs a reference time, which this caller does not give");
      sql.figure = fmt::format("max(epoch_us({})){}", column, kFilterMark);
      return sql;
    case Check::aggregate:
      if (auto bound = bind(rule.expression, "expression"); !bound) return bound.error();
      sql.query = fmt::format("SELECT CAST(({}\n) AS DOUBLE) AS n FROM {}{}", rule.expression,
                              from_, rule.where.empty() ? "" : " WHERE " + rule.where + "\n");
      return sql;
    case Check::association:
      return compile_association(rule);
    case Check::drift:
      if (auto there = other(rule.relation); !there) return there.error();
      return sql;
    default:
      sql.of_values = false;
      return sql;
  }
}

Result<CompiledRule> RuleCompiler::compile_association(const Expectation& rule) const {
  const auto a = quote_name(rule.columns[0]);
  const auto b = quote_name(rule.columns[1]);
  CompiledRule sql;
  sql.looked_at =
      rule.measure == "cramers_v" ? present(rule.columns) : numbers_in(schema_, rule.columns);
  const auto where =
      fmt::format("{}{}", sql.looked_at, rule.where.empty() ? "" : " AND (" + rule.where + "\n)");
  if (rule.measure == "cramers_v") {
    // H. Cramer, "Mathematical methods of statistics" (1946): chi-square / n is
    // sum(n_ij^2 / (n_i n_j)) - 1
    sql.query = fmt::format(
        "WITH c AS (SELECT {0} AS a, {1} AS b, count(*) AS n FROM {2} WHERE {3} GROUP BY 1, 2), "
        "r AS (SELECT a, sum(n) AS n FROM c GROUP BY a), k AS (SELECT b, sum(n) AS n FROM c GROUP "
        "BY b) SELECT CAST(sqrt(greatest(0, sum(CAST(c.n AS DOUBLE) * c.n / (CAST(r.n AS DOUBLE) * "
        "k.n)) - 1) / nullif(least((SELECT count(*) FROM r), (SELECT count(*) FROM k)) - 1, 0)) AS "
        "DOUBLE) AS n FROM c JOIN r USING (a) JOIN k USING (b)",
        a, b, from_, where);
    return sql;
  }
  for (const auto& column : rule.columns) {
    if (auto number = want_number(column); !number) return number.error();
  }
  if (rule.measure == "pearson") {
    sql.figure = fmt::format("corr(CAST({} AS DOUBLE), CAST({} AS DOUBLE)){}", a, b, kFilterMark);
    return sql;
  }
  // Spearman: the correlation of ranks, ties by their mean rank
  sql.query = fmt::format(
      "SELECT corr(a, b) AS n FROM (SELECT rank() OVER (ORDER BY {0}) + (count(*) OVER (PARTITION "
      "BY "
      "{0}) - 1) / 2.0 AS a, rank() OVER (ORDER BY {1}) + (count(*) OVER (PARTITION BY {1}) - 1) / "
      "2.0 AS b FROM {2} WHERE {3})",
      a, b, from_, where);
  return sql;
}

}  // namespace slipway::data
