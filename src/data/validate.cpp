// Runs expectations. Over Parquet files, columns are counted in one pass of our own, and rules of
// one column are judged on its distinct values; the other rules become columns of one SELECT.
#include "base/hash.h"
#include "data/column_facts_internal.h"
#include "data/expectation_sql_internal.h"

namespace slipway::data {

namespace {

// Keys are held in memory while they are compared: 16 bytes a row. With more rows, SQL does it,
// which spills.
constexpr std::int64_t kMostKeyRows = 32'000'000;

class ValidationRun {
 public:
  ValidationRun(const Context& ctx, Engine& engine, const std::vector<Expectation>& rules,
                const ValidationOptions& options, std::string from, Schema schema)
      : ctx_(ctx),
        engine_(engine),
        rules_(rules),
        options_(options),
        compiler_(ctx, engine, std::move(from), std::move(schema), options) {}

  Result<Validation> run(const std::optional<Source>& source) {
    for (const auto& rule : rules_) {
      auto sql = compiler_.compile(rule);
      if (!sql) return sql.error().at("check '" + rule.name + "'");
      compiled_.push_back(std::move(*sql));
      report().rules.push_back({.name = rule.name,
                                .check = rule.check,
                                .columns = rule.columns,
                                .warn_only = rule.warn_only,
                                .quarantine = rule.quarantine});
    }
    done_.assign(rules_.size(), false);
    if (source && source->kind == Source::Kind::parquet) {
      if (auto fused = use_facts(*source); !fused) return fused.error();
    }
    if (auto found = find_duplicates(); !found) return found.error();
    if (auto scanned = scan_rows(); !scanned) return scanned.error();
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (auto judged = judge(i); !judged)
        return judged.error().at("check '" + rules_[i].name + "'");
    }
    split_rows();
    if (auto counted = count_quarantined(); !counted) return counted.error();
    return std::move(validation_);
  }

 private:
  Report& report() { return validation_.report; }
  const std::string& from() const { return compiler_.from(); }

  // The rows with the columns that some rules' conditions refer to.
  std::string extended_from(const std::vector<std::size_t>& rules) const {
    std::vector<std::string> added;
    bool numbered = false;
    for (const auto i : rules) {
      for (const auto& [name, expression] : compiled_[i].added)
        added.push_back(fmt::format("{} AS {}", expression, quote_name(name)));
      numbered = numbered || compiled_[i].numbers_rows;
    }
    if (added.empty()) return from();
    const auto base =
        numbered
            ? fmt::format("(SELECT *, row_number() OVER () AS \"slipway row\" FROM {})", from())
            : from();
    return fmt::format("(SELECT *, {} FROM {})", fmt::join(added, ", "), base);
  }

  static std::string filtered(const CompiledRule& rule) {
    std::string figure = rule.figure;
    const auto filter = fmt::format(" FILTER ({})", rule.looked_at);
    for (auto at = figure.find(kFilterMark); at != std::string::npos;
         at = figure.find(kFilterMark, at)) {
      figure.replace(at, kFilterMark.size(), filter);
      at += filter.size();
    }
    return figure;
  }

  // The one pass over Parquet files: which columns, which keys.
  Result<void> use_facts(const Source& source) {
    std::set<std::string> names;
    std::vector<std::size_t> key_rules;
    bool counts_rows = false;
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (compiled_[i].of_values) names.insert(rules_[i].columns.front());
      if (rules_[i].check == Check::unique && rules_[i].where.empty()) key_rules.push_back(i);
      if (rules_[i].check == Check::not_null && rules_[i].where.empty())
        names.insert(rules_[i].columns.begin(), rules_[i].columns.end());
      counts_rows = counts_rows || rules_[i].check == Check::row_count;
    }
    if (names.empty() && key_rules.empty() && !counts_rows) return {};
    // declared types and zones make other values of what the file holds
    if (!source.types.empty() || !source.time_zone.empty()) return {};
    auto files = expand(source);
    if (!files) return {};  // not on this machine: SQL reads it
    auto scan = GroupScan::open(*files);
    // what Arrow does not read, or reads as other types, DuckDB may
    if (!scan || scan->schema().names() != compiler_.schema().names()) return {};
    for (std::size_t i = 0; i < scan->schema().fields.size(); ++i) {
      if (scan->schema().fields[i].type != compiler_.schema().fields[i].type) return {};
    }
    FactsWanted wanted;
    for (const auto& name : names) {
      fact_places_[name] = wanted.columns.size();
      wanted.columns.push_back(*scan->schema().index(name));
    }
    if (scan->rows() <= kMostKeyRows) {
      for (const auto i : key_rules) {
        auto& key = wanted.keys.emplace_back();
        for (const auto& column : rules_[i].columns)
          key.columns.push_back(*scan->schema().index(column));
      }
    } else {
      key_rules.clear();
    }
    auto facts = gather_facts(ctx_, *scan, wanted, options_.threads);
    if (!facts) return facts.error();
    facts_ = std::move(*facts);
    rows_known_ = scan->rows();
    for (std::size_t k = 0; k < key_rules.size(); ++k) {
      const auto i = key_rules[k];
      auto& result = report().rules[i];
      result.rows = wanted.keys[k].rows;
      result.unexpected = wanted.keys[k].duplicates;
      done_[i] = true;
      if (result.unexpected == 0) continue;
      auto keys = repeated_keys(ctx_, *scan, wanted.keys[k], options_.threads);
      if (!keys) return keys.error();
      if (auto added = engine_.add_table(compiler_.table_name(rules_[i], "keys"), *keys); !added)
        return added.error();
    }
    return judge_on_facts();
  }

  const ColumnFacts* facts_of(const std::string& column) const {
    const auto found = fact_places_.find(column);
    return found == fact_places_.end() ? nullptr : &facts_[found->second];
  }

  Result<void> judge_on_facts() {
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      const auto& rule = rules_[i];
      if (!rule.where.empty() || done_[i]) continue;
      if (rule.check == Check::row_count) {
        figures_[i] = static_cast<double>(*rows_known_);
        report().rules[i].rows = *rows_known_;
        done_[i] = true;
      } else if (rule.check == Check::not_null && count_nulls(i)) {
        done_[i] = true;
      } else if (compiled_[i].of_values && !is_row_check(rule.check)) {
        done_[i] = take_figure(i);
      } else if (compiled_[i].of_values && rule.check == Check::range) {
        done_[i] = all_in_range(i);
      }
    }
    // the other rules of rows, on distinct values: one SELECT for a column
    for (const auto& [name, place] : fact_places_) {
      std::vector<std::size_t> here;
      for (std::size_t i = 0; i < rules_.size(); ++i) {
        if (!done_[i] && compiled_[i].of_values && is_row_check(rules_[i].check) &&
            rules_[i].columns.front() == name)
          here.push_back(i);
      }
      const bool listed =
          std::any_of(rules_.begin(), rules_.end(), [&, n = &name](const auto& rule) {
            return (rule.check == Check::distinct_values || rule.check == Check::most_common) &&
                   rule.columns.front() == *n;
          });
      if ((here.empty() && !listed) || !facts_[place].counted) continue;
      auto table = value_table(facts_[place], name);
      if (!table) return table.error();
      const auto values = "slipway values " + sha256_hex(from() + '\n' + name).substr(0, 16);
      if (auto added = engine_.add_table(values, *table); !added) return added.error();
      value_tables_[name] = quote_name(values);
      if (here.empty()) continue;
      if (auto counted = count_rows(here, quote_name(values), quote_name(kCountColumn)); !counted)
        return counted.error();
      for (const auto i : here) done_[i] = true;
    }
    return {};
  }

  // One column's nulls; of several only when none has any, for then no row has.
  bool count_nulls(std::size_t i) {
    std::int64_t nulls = 0;
    for (const auto& column : rules_[i].columns) nulls += facts_of(column)->nulls;
    if (nulls > 0 && rules_[i].columns.size() > 1) return false;
    report().rules[i].rows = *rows_known_;
    report().rules[i].unexpected = nulls;
    return true;
  }

  // True when the least and the greatest value tell that all are inside.
  bool all_in_range(std::size_t i) {
    const auto& rule = rules_[i];
    const auto& facts = *facts_of(rule.columns.front());
    if (facts.type != Type::int64 && facts.type != Type::float64) return false;
    if (facts.not_finite > 0 || facts.counted) return false;  // counted: exact, also beyond 2^53
    const auto inside = [&](const std::optional<Json>& bound, double end, bool low) {
      if (!bound) return true;
      const double wanted = bound->get<double>();
      return rule.strict ? (low ? end > wanted : end < wanted)
                         : (low ? end >= wanted : end <= wanted);
    };
    constexpr double kExact = 9007199254740992.0;  // 2^53
    if (std::abs(facts.min) > kExact || std::abs(facts.max) > kExact) return false;
    if (!inside(rule.min, facts.min, true) || !inside(rule.max, facts.max, false)) return false;
    report().rules[i].rows = facts.rows - facts.nulls;
    return true;
  }

  // The figure from the column's facts; false when they do not tell.
  bool take_figure(std::size_t i) {
    const auto& rule = rules_[i];
    const auto& facts = *facts_of(rule.columns.front());
    const auto figure = figure_of(rule, facts);
    if (!figure) return false;
    figures_[i] = *figure;
    const bool of_numbers = facts.type != Type::text && rule.check != Check::distinct_count &&
                            rule.check != Check::distinct_share;
    report().rules[i].rows = rule.check == Check::null_share ? facts.rows
                             : of_numbers                    ? facts.moments.count
                                                             : facts.rows - facts.nulls;
    return true;
  }

  // Duplicates that the pass over Parquet did not find: by SQL, which spills.
  Result<void> find_duplicates() {
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (rules_[i].check != Check::unique || done_[i]) continue;
      const auto& sql = compiled_[i];
      auto keys = engine_.query(
          ctx_, fmt::format("SELECT {0}, count(*) AS {1} FROM {2} WHERE {3} GROUP BY {0} HAVING "
                            "count(*) > 1",
                            sql.keys, quote_name(kCountColumn), from(), sql.looked_at));
      if (!keys) return keys.error();
      const auto table = compiler_.table_name(rules_[i], "keys");
      if (auto added = engine_.add_table(table, *keys); !added) return added.error();
      const auto counted =
          fetch_columns(ctx_, engine_,
                        fmt::format("SELECT CAST(coalesce(sum({}), 0) AS BIGINT) AS n FROM {}",
                                    quote_name(kCountColumn), quote_name(table)));
      if (!counted) return counted.error();
      report().rules[i].unexpected = counted->batch().columns[0].integer(0);
    }
    return {};
  }

  // Rows looked at and bad ones of some rules, in one SELECT. `weight` is a column of counts.
  Result<void> count_rows(const std::vector<std::size_t>& rules, const std::string& relation,
                          const std::string& weight) {
    std::vector<std::string> numbers;
    for (const auto i : rules) {
      const auto& sql = compiled_[i];
      numbers.push_back(fmt::format("CAST(coalesce(sum({}) FILTER ({}), 0) AS BIGINT) AS c{}",
                                    weight, sql.looked_at, i));
      numbers.push_back(
          fmt::format("CAST(coalesce(sum({}) FILTER ({} AND {}), 0) AS BIGINT) AS u{}", weight,
                      sql.looked_at, sql.bad, i));
    }
    const auto counted = fetch_columns(
        ctx_, engine_, fmt::format("SELECT {} FROM {}", fmt::join(numbers, ", "), relation));
    if (!counted) return counted.error();
    const auto batch = counted->batch();
    for (std::size_t at = 0; at < rules.size(); ++at) {
      report().rules[rules[at]].rows = batch.columns[2 * at].integer(0);
      report().rules[rules[at]].unexpected = batch.columns[2 * at + 1].integer(0);
    }
    return {};
  }

  // What is left: one SELECT with two numbers for a rule, rows looked at, and bad rows or the
  // figure.
  Result<void> scan_rows() {
    std::vector<std::size_t> rules;
    std::vector<std::string> numbers = {"CAST(count(*) AS DOUBLE) AS n"};
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      const auto& sql = compiled_[i];
      const bool counts = is_row_check(rules_[i].check);
      if (done_[i] || (!counts && sql.figure.empty())) continue;
      rules.push_back(i);
      numbers.push_back(
          fmt::format("CAST(count(*) FILTER ({}) AS DOUBLE) AS c{}", sql.looked_at, i));
      if (rules_[i].check == Check::unique) {
        numbers.push_back(fmt::format("0.0 AS u{}", i));
      } else if (counts) {
        numbers.push_back(fmt::format("CAST(count(*) FILTER ({} AND {}) AS DOUBLE) AS u{}",
                                      sql.looked_at, sql.bad, i));
      } else {
        numbers.push_back(fmt::format("CAST({} AS DOUBLE) AS u{}", filtered(sql), i));
      }
    }
    if (rules.empty() && rows_known_) {
      report().rows = *rows_known_;
      return {};
    }
    const auto counted = fetch_columns(
        ctx_, engine_,
        fmt::format("SELECT {} FROM {}", fmt::join(numbers, ", "), extended_from(rules)));
    if (!counted) return counted.error();
    const auto batch = counted->batch();
    report().rows = static_cast<std::int64_t>(batch.columns[0].number(0));
    for (std::size_t at = 0; at < rules.size(); ++at) {
      const auto i = rules[at];
      auto& result = report().rules[i];
      result.rows = static_cast<std::int64_t>(batch.columns[1 + 2 * at].number(0));
      const double number = batch.columns[2 + 2 * at].number(0);
      if (rules_[i].check == Check::unique) continue;
      if (is_row_check(rules_[i].check)) {
        result.unexpected = static_cast<std::int64_t>(number);
      } else {
        figures_[i] = number;
      }
    }
    return {};
  }

  Result<void> judge(std::size_t i) {
    const auto& rule = rules_[i];
    auto& result = report().rules[i];
    if (is_row_check(rule.check)) {
      if (result.unexpected > 0) {
        auto examples = examples_of(i);
        if (!examples) return examples.error();
        result.examples = std::move(*examples);
      }
      judge_rows(rule, result);
      return {};
    }
    const Type type =
        rule.columns.empty() ? Type::float64 : compiler_.type_of(rule.columns.front());
    switch (rule.check) {
      case Check::schema:
        result.rows = report().rows;
        judge_schema(rule, compiler_.schema(), result);
        return {};
      case Check::columns:
        judge_columns(rule, compiler_.schema(), result);
        return {};
      case Check::column_count:
        judge_figure(rule, type, static_cast<double>(compiler_.schema().fields.size()), options_,
                     result);
        return {};
      case Check::drift:
        return judge_drift(ctx_, engine_, compiler_, rule, result);
      case Check::distinct_values:
      case Check::most_common:
        return judge_listed(i);
      case Check::no_rows:
      case Check::same_result:
        return judge_queries(rule, result);
      default:
        break;
    }
    if (!compiled_[i].query.empty()) {
      const auto figure = fetch_columns(ctx_, engine_, compiled_[i].query);
      if (!figure) return figure.error();
      figures_[i] = figure->rows() == 0 ? std::nan("") : figure->batch().columns[0].number(0);
      result.rows = report().rows;
    }
    if (rule.check == Check::row_count && !rule.relation.empty()) {
      const auto other =
          fetch_columns(ctx_, engine_, "SELECT count(*) AS n FROM " + quote_name(rule.relation));
      if (!other) return other.error();
      auto wanted = rule;
      wanted.min = wanted.max = Json(other->batch().columns[0].integer(0));
      judge_figure(wanted, type, figures_[i], options_, result);
      result.message += fmt::format(" as in '{}'", rule.relation);
      return {};
    }
    judge_figure(rule, type, figures_[i], options_, result);
    return {};
  }

  // Up to `examples` distinct bad values, of checks that have something to show.
  Result<std::vector<Json>> examples_of(std::size_t i) {
    const auto& rule = rules_[i];
    const auto& sql = compiled_[i];
    if (options_.examples == 0 || rule.columns.empty() || rule.check == Check::not_null)
      return std::vector<Json>{};
    std::string shown = quote_name(rule.columns.front());
    if (rule.columns.size() > 1) {
      std::vector<std::string> names;
      for (const auto& column : rule.columns) names.push_back(quote_name(column));
      shown = fmt::format("concat_ws(' | ', {})", fmt::join(names, ", "));
    }
    std::string relation = extended_from({i});
    std::string condition = fmt::format("{} AND {}", sql.looked_at, sql.bad);
    if (rule.check == Check::unique) {
      relation = quote_name(compiler_.table_name(rule, "keys"));
      condition = "true";
    } else if (const auto values = value_tables_.find(rule.columns.front());
               sql.of_values && values != value_tables_.end()) {
      relation = values->second;
    }
    return fetch_values(fmt::format("SELECT DISTINCT {} AS v FROM {} WHERE {} ORDER BY v LIMIT {}",
                                    shown, relation, condition, options_.examples));
  }

  Result<std::vector<Json>> fetch_values(const std::string& sql) {
    const auto found = fetch_columns(ctx_, engine_, sql);
    if (!found) return found.error();
    std::vector<Json> values;
    for (std::int64_t row = 0; row < found->rows(); ++row)
      values.push_back(json_of(found->batch().columns[0], row));
    return values;
  }

  Result<void> judge_listed(std::size_t i) {
    const auto& rule = rules_[i];
    auto& result = report().rules[i];
    const auto column = quote_name(rule.columns.front());
    const auto values = value_tables_.find(rule.columns.front());
    const auto relation =
        values != value_tables_.end() && rule.where.empty()
            ? fmt::format("(SELECT * FROM {} WHERE {} IS NOT NULL)", values->second, column)
            : fmt::format("(SELECT {0}, count(*) AS {1} FROM {2} WHERE {3} GROUP BY 1)", column,
                          quote_name(kCountColumn), from(), compiled_[i].looked_at);
    result.rows = report().rows;
    std::vector<std::string> members;
    for (const auto& value : rule.values) {
      auto text = compiler_.literal(value, rule.columns.front());
      if (!text) return text.error();
      members.push_back(std::move(*text));
    }
    if (rule.check == Check::most_common) {
      auto seen = fetch_values(fmt::format(
          "SELECT {0} FROM {1} WHERE {2} = (SELECT max({2}) FROM {1}) ORDER BY 1 LIMIT 100", column,
          relation, quote_name(kCountColumn)));
      if (!seen) return seen.error();
      judge_values(rule, *seen, result);
      return {};
    }
    auto seen = fetch_values(fmt::format("SELECT {0} FROM {1} WHERE {0} IN ({2}) ORDER BY 1",
                                         column, relation, fmt::join(members, ", ")));
    if (!seen) return seen.error();
    auto strangers = fetch_values(fmt::format(
        "SELECT {0} FROM {1} WHERE {0} NOT IN ({2}) ORDER BY 1 LIMIT {3}", column, relation,
        fmt::join(members, ", "), std::max<std::size_t>(1, options_.examples)));
    if (!strangers) return strangers.error();
    seen->insert(seen->end(), strangers->begin(), strangers->end());
    judge_values(rule, *seen, result);
    return {};
  }

  Result<void> judge_queries(const Expectation& rule, RuleResult& result) {
    const auto query = compiler_.with_rows(rule.query);
    const auto count = [&](const std::string& sql) -> Result<std::int64_t> {
      const auto counted =
          fetch_columns(ctx_, engine_, "SELECT count(*) AS n FROM (" + sql + "\n)");
      if (!counted) return counted.error();
      return counted->batch().columns[0].integer(0);
    };
    result.rows = report().rows;
    if (rule.check == Check::no_rows) {
      const auto rows = count(query);
      if (!rows) return rows.error();
      result.observed = *rows;
      result.ok = *rows == 0;
      result.message = fmt::format("the query gives {} rows, wanted none", *rows);
      return {};
    }
    const auto other = compiler_.with_rows(rule.other);
    const auto only = [&](const std::string& a, const std::string& b) {
      return count(fmt::format("(FROM ({}\n)) EXCEPT ALL (FROM ({}\n))", a, b));
    };
    const auto here = only(query, other);
    if (!here) return here.error();
    const auto there = only(other, query);
    if (!there) return there.error();
    result.observed = *here + *there;
    result.ok = *here == 0 && *there == 0;
    result.message = fmt::format(
        "{} rows of the query are not in the other's, {} of the other's not here", *here, *there);
    return {};
  }

  // The rows without and with reasons to be set aside.
  void split_rows() {
    std::vector<std::string> reasons;
    std::vector<std::string> bad;
    std::vector<std::size_t> rules;
    std::vector<std::string> added;
    bool declared = false;
    for (std::size_t i = 0; i < rules_.size(); ++i) {
      if (!rules_[i].quarantine) continue;
      declared = true;
      if (report().rules[i].unexpected == 0) continue;
      rules.push_back(i);
      for (const auto& [name, unused] : compiled_[i].added) added.push_back(quote_name(name));
      if (compiled_[i].numbers_rows &&
          std::find(added.begin(), added.end(), "\"slipway row\"") == added.end())
        added.emplace_back("\"slipway row\"");
      bad.push_back(
          fmt::format("coalesce({} AND {}, false)", compiled_[i].looked_at, compiled_[i].bad));
      reasons.push_back(
          fmt::format("CASE WHEN {} THEN {} END", bad.back(), quote_text(rules_[i].name)));
    }
    validation_.clean_sql = "SELECT * FROM " + from();
    if (!declared) return;
    if (bad.empty()) {
      validation_.quarantine_sql =
          fmt::format("SELECT *, '' AS quarantine_reasons FROM {} WHERE false", from());
      return;
    }
    const auto relation = extended_from(rules);
    const auto all = added.empty() ? "*" : fmt::format("* EXCLUDE ({})", fmt::join(added, ", "));
    validation_.clean_sql =
        fmt::format("SELECT {} FROM {} WHERE NOT ({})", all, relation, fmt::join(bad, " OR "));
    validation_.quarantine_sql =
        fmt::format("SELECT {}, concat_ws('; ', {}) AS quarantine_reasons FROM {} WHERE {}", all,
                    fmt::join(reasons, ", "), relation, fmt::join(bad, " OR "));
    quarantine_condition_ = fmt::format("FROM {} WHERE {}", relation, fmt::join(bad, " OR "));
  }

  Result<void> count_quarantined() {
    if (quarantine_condition_.empty()) return {};
    const auto counted =
        fetch_columns(ctx_, engine_, "SELECT count(*) AS n " + quarantine_condition_);
    if (!counted) return counted.error();
    report().quarantined = counted->batch().columns[0].integer(0);
    return {};
  }

  const Context& ctx_;
  Engine& engine_;
  const std::vector<Expectation>& rules_;
  const ValidationOptions& options_;
  RuleCompiler compiler_;
  std::vector<CompiledRule> compiled_;
  std::vector<bool> done_;  // counted, or its figure known
  std::map<std::size_t, double> figures_;
  std::optional<std::int64_t> rows_known_;
  std::vector<ColumnFacts> facts_;
  std::map<std::string, std::size_t> fact_places_;   // by column
  std::map<std::string, std::string> value_tables_;  // by column, quoted
  std::string quarantine_condition_;
  Validation validation_;
};

}  // namespace

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

Result<Columns> fetch_columns(const Context& ctx, Engine& engine, const std::string& sql) {
  const auto table = engine.query(ctx, sql);
  if (!table) return table.error();
  return Columns::from_table(*table);
}

Result<Validation> validate(const Context& ctx, Engine& engine, const std::string& relation,
                            const std::vector<Expectation>& expectations,
                            const ValidationOptions& options) {
  const auto relations = engine.relations();
  const bool named = std::find(relations.begin(), relations.end(), relation) != relations.end();
  const auto from = named ? quote_name(relation) : "(" + relation + "\n)";
  auto schema = engine.describe(named ? "SELECT * FROM " + from : relation);
  if (!schema) return schema.error();
  ValidationRun run(ctx, engine, expectations, options, from, std::move(*schema));
  return run.run(named ? engine.source_of(relation) : std::nullopt);
}

}  // namespace slipway::data
