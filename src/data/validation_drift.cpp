// One column of the checked rows against the same column of another relation. Distances of numbers
// are exact, out of the sorted values of both; psi, js and kl of numbers are taken over ten bins of
// the reference with about equal counts.
#include "data/expectation_sql_internal.h"
#include "data/two_sample.h"

namespace slipway::data {

namespace {

constexpr int kDriftBins = 10;
constexpr std::int64_t kMostCategories = 100'000;

struct DriftSides {
  std::string column;
  std::string rows;  // FROM … WHERE …
  std::string reference;
};

// Largest difference of the distribution functions, and the area between them.
Result<Columns> walk_distributions(const Context& ctx, Engine& engine, const DriftSides& sides) {
  return fetch_columns(
      ctx, engine,
      fmt::format(
          "WITH a AS (SELECT CAST({0} AS DOUBLE) AS v, count(*) AS n {1} GROUP BY 1), "
          "b AS (SELECT CAST({0} AS DOUBLE) AS v, count(*) AS n {2} GROUP BY 1), "
          "joined AS (SELECT coalesce(a.v, b.v) AS v, coalesce(a.n, 0) AS an, coalesce(b.n, 0) AS "
          "bn "
          "FROM a FULL JOIN b ON a.v = b.v), "
          "walk AS (SELECT sum(an) OVER w / (SELECT CAST(sum(n) AS DOUBLE) FROM a) AS fa, sum(bn) "
          "OVER w / (SELECT CAST(sum(n) AS DOUBLE) FROM b) AS fb, lead(v) OVER (ORDER BY v) - v AS "
          "gap FROM joined WINDOW w AS (ORDER BY v)) "
          "SELECT CAST(max(abs(fa - fb)) AS DOUBLE) AS ks, CAST(sum(abs(fa - fb) * coalesce(gap, "
          "0)) AS DOUBLE) AS area, (SELECT CAST(sum(n) AS BIGINT) FROM a) AS n, (SELECT "
          "CAST(sum(n) "
          "AS BIGINT) FROM b) AS m FROM walk",
          sides.column, sides.reference, sides.rows));
}

// Counts per bin, of the reference and of the rows.
Result<Columns> count_bins(const Context& ctx, Engine& engine, const DriftSides& sides,
                           bool numbers) {
  std::string bin = sides.column;
  if (numbers) {
    std::vector<std::string> quantiles;
    for (int i = 1; i < kDriftBins; ++i)
      quantiles.push_back(fmt::format("{}", static_cast<double>(i) / kDriftBins));
    const auto edges =
        fetch_columns(ctx, engine,
                      fmt::format("SELECT DISTINCT unnest(quantile_disc(CAST({} AS DOUBLE), [{}])) "
                                  "AS e {} ORDER BY e",
                                  sides.column, fmt::join(quantiles, ", "), sides.reference));
    if (!edges) return edges.error();
    std::string cases;
    for (std::int64_t row = 0; row < edges->rows(); ++row) {
      const auto view = edges->batch().columns[0];
      if (view.is_null(row)) continue;
      cases +=
          fmt::format(" WHEN {} <= CAST({} AS DOUBLE) THEN {}", sides.column, view.real(row), row);
    }
    bin = fmt::format("CASE{} ELSE {} END", cases.empty() ? " WHEN false THEN 0" : cases,
                      edges->rows());
  }
  return fetch_columns(
      ctx, engine,
      fmt::format(
          "WITH a AS (SELECT {0} AS v, count(*) AS n {1} GROUP BY 1), b AS (SELECT {0} AS v, "
          "count(*) AS n {2} GROUP BY 1) SELECT CAST(coalesce(a.n, 0) AS BIGINT) AS n, "
          "CAST(coalesce(b.n, 0) AS BIGINT) AS m FROM a FULL JOIN b ON a.v = b.v LIMIT {3}",
          bin, sides.reference, sides.rows, kMostCategories + 1));
}

double kullback_leibler(const std::vector<double>& expected, const std::vector<double>& actual) {
  // S. Kullback, R. Leibler, "On information and sufficiency" (1951), in nats; empty bins of the
  // reference are given a small share, for the divergence is infinite there
  constexpr double kLeast = 1e-6;
  double divergence = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    if (actual[i] > 0)
      divergence += actual[i] * std::log(actual[i] / std::max(expected[i], kLeast));
  }
  return divergence;
}

std::vector<double> shares_of_counts(const std::vector<std::int64_t>& counts) {
  const auto total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  std::vector<double> shares;
  for (const auto count : counts) shares.push_back(static_cast<double>(count) / total);
  return shares;
}

}  // namespace

Result<void> judge_drift(const Context& ctx, Engine& engine, const RuleCompiler& compiler,
                         const Expectation& rule, RuleResult& result) {
  const auto& name = rule.columns.front();
  const auto schema = compiler.other(rule.relation);
  if (!schema) return schema.error();
  const auto at = schema->find(name);
  if (!at) return at.error().at("relation '" + rule.relation + "'");
  const Type type = compiler.type_of(name);
  if (schema->fields[*at].type != type) {
    return invalid_argument(fmt::format("column '{}' is {} here and {} in '{}'", name,
                                        to_string(type), to_string(schema->fields[*at].type),
                                        rule.relation));
  }
  const bool numbers = type == Type::int64 || type == Type::float64;
  const bool walks = rule.measure == "ks" || rule.measure == "wasserstein";
  if (walks && !numbers) {
    return invalid_argument(fmt::format(
        "column '{}' is {}: {} is of numbers; use chi_square, psi, js, kl or total_variation", name,
        to_string(type), rule.measure));
  }
  if (rule.measure == "chi_square" && numbers && type == Type::float64) {
    return invalid_argument("column '" + name +
                            "' is float64: chi_square is of categories; use ks");
  }
  DriftSides sides{.column = quote_name(name)};
  // NaN is no place on the line, and infinity no distance: they are left out like null
  const auto present = type == Type::float64 ? fmt::format("isfinite({})", sides.column)
                                             : sides.column + " IS NOT NULL";
  sides.rows = fmt::format("FROM {} WHERE {}{}", compiler.from(), present,
                           rule.where.empty() ? "" : " AND (" + rule.where + "\n)");
  sides.reference = fmt::format("FROM {} WHERE {}", quote_name(rule.relation), present);

  double distance = 0;
  double p = 1;
  std::int64_t then = 0;
  std::int64_t now = 0;
  if (walks) {
    const auto walked = walk_distributions(ctx, engine, sides);
    if (!walked) return walked.error();
    const auto batch = walked->batch();
    then = batch.columns[2].is_null(0) ? 0 : batch.columns[2].integer(0);
    now = batch.columns[3].is_null(0) ? 0 : batch.columns[3].integer(0);
    if (then > 0 && now > 0) {
      distance = batch.columns[rule.measure == "ks" ? 0 : 1].real(0);
      p = ks_p_value(batch.columns[0].real(0), static_cast<double>(then), static_cast<double>(now));
    }
  } else {
    const bool binned = numbers && rule.measure != "chi_square";
    const auto counted = count_bins(ctx, engine, sides, binned);
    if (!counted) return counted.error();
    if (counted->rows() > kMostCategories) {
      return invalid_argument(
          fmt::format("column '{}' has more than {} different values: too many "
                      "to compare one by one",
                      name, kMostCategories));
    }
    std::vector<std::int64_t> before;
    std::vector<std::int64_t> after;
    for (std::int64_t row = 0; row < counted->rows(); ++row) {
      before.push_back(counted->batch().columns[0].integer(row));
      after.push_back(counted->batch().columns[1].integer(row));
    }
    then = std::accumulate(before.begin(), before.end(), std::int64_t{0});
    now = std::accumulate(after.begin(), after.end(), std::int64_t{0});
    if (then > 0 && now > 0) {
      const auto expected = shares_of_counts(before);
      const auto actual = shares_of_counts(after);
      const TestResult test = chi_square_test(before, after);
      p = test.p;
      distance = rule.measure == "chi_square"        ? test.statistic
                 : rule.measure == "psi"             ? *population_stability_index(expected, actual)
                 : rule.measure == "js"              ? *jensen_shannon_distance(expected, actual)
                 : rule.measure == "total_variation" ? *total_variation(expected, actual)
                                                     : kullback_leibler(expected, actual);
    }
  }
  result.rows = now;
  if (then == 0 || now == 0) {
    result.message =
        fmt::format("no values to compare: {} in '{}', {} here", then, rule.relation, now);
    return {};
  }
  // with both bounds it fails only when the change is significant and large
  const bool far = rule.max && distance > rule.max->get<double>();
  const bool unlikely = rule.min_p && p < *rule.min_p;
  result.ok = !((rule.max && rule.min_p) ? far && unlikely : far || unlikely);
  result.observed = {{rule.measure, json_number(distance)}};
  result.message = fmt::format("{} is {:.6g} against {} values of '{}'", rule.measure, distance,
                               then, rule.relation);
  if (rule.max) result.message += fmt::format(", wanted at most {}", rule.max->dump());
  if (rule.measure == "ks" || rule.measure == "chi_square") {
    result.observed["p"] = json_number(p);
    result.message += fmt::format(", p is {:.3g}", p);
    if (rule.min_p) result.message += fmt::format(", wanted at least {:g}", *rule.min_p);
  }
  return {};
}

}  // namespace slipway::data
