// The pass over Parquet files against SQL alone: random tables with all that is odd, random rules,
// equal reports. And what neither table of the other tests shows: bands, quarantine, histories.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "data/validation.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::message_of;
using test::ok;
using test::Scratch;

std::vector<Expectation> rules_of(const std::string& yaml) {
  const auto doc = SpecDocument::parse("expectations:\n" + yaml, "p.yaml");
  EXPECT_TRUE(ok(doc)) << yaml;
  SpecReader reader(*doc);
  auto list = read_expectations(reader, "expectations");
  const auto sound = reader.finish();
  EXPECT_TRUE(ok(sound)) << message_of(sound);
  return list;
}

class FusedTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::open({.threads = 2, .temp_dir = scratch_.path()});
    ASSERT_TRUE(ok(engine));
    engine_ = std::move(*engine);
  }

  // The table as a relation over Parquet, in row groups of 2,048.
  void write(const std::string& table) {
    const auto file = scratch_ / (table + ".parquet");
    ASSERT_TRUE(ok(engine_->execute("COPY " + table + " TO " + quote_text(file.string()) +
                                    " (FORMAT parquet, ROW_GROUP_SIZE 2048)")));
    ASSERT_TRUE(ok(engine_->add_source(table + " file", *Source::of_file(file))));
  }

  Report check(const std::string& relation, const std::string& yaml, int threads = 2) {
    auto options = options_;
    options.threads = threads;
    const auto validation = validate({}, *engine_, relation, rules_of(yaml), options);
    EXPECT_TRUE(ok(validation)) << message_of(validation);
    return validation ? validation->report : Report{};
  }

  std::int64_t count(const std::string& sql) {
    const auto table = engine_->query({}, "SELECT count(*) AS n FROM (" + sql + "\n)");
    EXPECT_TRUE(ok(table)) << message_of(table);
    return table ? Columns::from_table(*table)->batch().columns[0].integer(0) : -1;
  }

  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
  ValidationOptions options_{.reference_time = *parse_time("2013-01-06")};
};

// Figures as they are shown: sums in another order differ in their last bits.
Json comparable(const Report& report) {
  auto json = report.to_json();
  for (auto& rule : json["rules"]) {
    if (rule.contains("observed") && rule["observed"].is_number_float())
      rule["observed"] = fmt::format("{:.9g}", rule["observed"].get<double>());
  }
  return json;
}

TEST_F(FusedTest, GivesTheReportThatSqlAloneGives) {
  constexpr const char* kNumberRules =
      "  - {check: range, column: %, min: -5, max: 60}\n"
      "  - {check: range, column: %, max: 9007199254740993, name: % large}\n"
      "  - {check: in_set, column: %, values: [0, 1, 2, 3, 50]}\n"
      "  - {check: not_in_set, column: %, values: [7, 0]}\n"
      "  - {check: not_null, column: %, mostly: 0.5}\n"
      "  - {check: is_null, column: %}\n"
      "  - {check: unique, column: %}\n"
      "  - {check: null_share, column: %, max: 0.1}\n"
      "  - {check: min, column: %, min: 0}\n"
      "  - {check: max, column: %, max: 50}\n"
      "  - {check: mean, column: %, max: 10}\n"
      "  - {check: sum, column: %, max: 10}\n"
      "  - {check: stddev, column: %, max: 10}\n"
      "  - {check: median, column: %, max: 10}\n"
      "  - {check: quantile, column: %, at: 0.9, max: 10}\n"
      "  - {check: distinct_count, column: %, max: 40}\n"
      "  - {check: distinct_share, column: %, max: 0.5}\n"
      "  - {check: distinct_values, column: %, values: [0, 1], match: superset}\n"
      "  - {check: most_common, column: %, values: [3]}\n"
      "  - {check: z_score, column: %, max: 1.5}\n"
      "  - {check: iqr, column: %, max: 1}\n"
      "  - {check: increasing, column: %, mostly: 0.1}\n"
      "  - {check: range, column: %, min: 3, where: \"t <> 'a'\", name: % where}\n";
  constexpr const char* kOtherRules =
      "  - {check: unique, columns: [i, t, b]}\n"
      "  - {check: unique, columns: [d, w], where: \"i > 3\", name: unique where}\n"
      "  - {check: matches, column: t, pattern: \"[a-c]*\"}\n"
      "  - {check: length, column: t, max: 1}\n"
      "  - {check: like, column: t, pattern: \"a%\"}\n"
      "  - {check: parses, column: t, as: float64}\n"
      "  - {check: in_set, column: t, values: [a, b, \"\"]}\n"
      "  - {check: distinct_count, column: t, max: 3}\n"
      "  - {check: most_common, column: t, values: [a]}\n"
      "  - {check: in_set, column: b, values: [true]}\n"
      "  - {check: mean, column: b, max: 0.4}\n"
      "  - {check: max, column: w, max: \"2013-01-02\"}\n"
      "  - {check: range, column: w, min: \"2013-01-02\"}\n"
      "  - {check: freshness, column: w, within: 1d}\n"
      "  - {check: not_null, columns: [i, d, t]}\n"
      "  - {check: compare, column: i, op: \"<\", to: d}\n"
      "  - {check: row_count, min: 5000}\n";
  std::string yaml = kOtherRules;
  for (const char* column : {"i", "d", "s"}) {
    std::string rules = kNumberRules;
    for (auto at = rules.find('%'); at != std::string::npos; at = rules.find('%', at))
      rules.replace(at, 1, column);
    yaml += rules;
  }
  for (const std::uint64_t seed : {1, 2, 3, 4}) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Rng rng(seed);
    ASSERT_TRUE(ok(engine_->execute(
        "CREATE OR REPLACE TABLE odd (i BIGINT, d DOUBLE, s SMALLINT, t VARCHAR, b BOOLEAN, w "
        "TIMESTAMP)")));
    const auto rows = seed == 4 ? 0 : 1 + rng.below(5000);
    std::string values;
    const auto pick = [&](std::initializer_list<const char*> from) {
      return std::string(*(from.begin() + rng.below(from.size())));
    };
    for (std::uint64_t row = 0; row < rows; ++row) {
      const auto whole = [&] { return std::to_string(static_cast<int>(rng.below(60)) - 4); };
      const auto i =
          rng.below(9) == 0 ? pick({"NULL", "9007199254740993", "-9223372036854775807"}) : whole();
      // seed 1 has finite numbers only
      const auto d = rng.below(9) == 0
                         ? (seed == 1 ? pick({"NULL", "-0.0", "0.0", "1e30"})
                                      : pick({"NULL", "'NaN'", "'inf'", "'-inf'", "-0.0", "0.0"}))
                         : whole() + ".25";
      values += fmt::format(
          "{}({}, {}, {}, {}, {}, {})", row == 0 ? "" : ", ", i, d,
          rng.below(20) == 0 ? "NULL" : whole(),
          pick({"'a'", "'b'", "NULL", "''", "'12'", "'é'", "' a'", "'zz' || chr(0)"}),
          pick({"true", "false", "NULL"}),
          rng.below(30) == 0 ? "NULL" : "TIMESTAMP '2013-01-01' + INTERVAL (" + whole() + ") HOUR");
    }
    if (rows > 0) {
      ASSERT_TRUE(ok(engine_->execute("INSERT INTO odd VALUES " + values)));
    }
    write("odd");
    const auto sql = comparable(check("SELECT * FROM odd", yaml));
    for (const int threads : {1, 2}) {
      const auto fused = comparable(check("odd file", yaml, threads));
      for (std::size_t i = 0; i < sql["rules"].size(); ++i)
        EXPECT_EQ(fused["rules"][i].dump(), sql["rules"][i].dump()) << threads << " threads";
      EXPECT_EQ(fused["rows"], sql["rows"]);
    }
  }
}

TEST_F(FusedTest, CountsColumnsWithTooManyValuesBySql) {
  ASSERT_TRUE(ok(engine_->execute(
      "CREATE TABLE wide AS SELECT i * 3 AS n, 'k' || i AS t, i / 7.0 AS x FROM range(150000) "
      "r(i)")));
  write("wide");
  const auto* yaml =
      "  - {check: range, column: n, min: 0, max: 449996}\n"
      "  - {check: range, column: n, min: 0, max: 449997, name: all in}\n"
      "  - {check: unique, column: t}\n"
      "  - {check: matches, column: t, pattern: \"k[0-9]{1,5}\"}\n"
      "  - {check: distinct_count, column: x, equals: 150000}\n"
      "  - {check: median, column: n, equals: 224998.5}\n";
  const auto fused = check("wide file", yaml);
  EXPECT_EQ(comparable(fused), comparable(check("SELECT * FROM wide", yaml)));
  EXPECT_EQ(fused.rules[0].unexpected, 1);
  EXPECT_EQ(fused.rules[3].unexpected, 50'000);
}

TEST_F(FusedTest, SetsRowsAsideForEveryKindOfRule) {
  ASSERT_TRUE(ok(engine_->execute(
      "CREATE TABLE q AS SELECT * FROM (VALUES (1, 'a', '{}'), (2, 'b', '[]'), (1, 'c', '{}'), (4, "
      "'d', 'no'), (900, 'e', '{}')) t(id, k, doc)")));
  ASSERT_TRUE(
      ok(engine_->execute("CREATE TABLE known AS SELECT unnest(['a', 'b', 'c', 'd']) AS k")));
  write("q");
  write("known");
  const auto validation =
      validate({}, *engine_, "q file",
               rules_of("  - {check: increasing, column: id, on_fail: quarantine, name: order}\n"
                        "  - {check: exists_in, column: k, relation: known file, on_fail: "
                        "quarantine, name: known}\n"
                        "  - {check: json_schema, column: doc, schema: {type: object}, on_fail: "
                        "quarantine, name: doc}\n"
                        "  - {check: unique, column: id, on_fail: quarantine, name: key}\n"
                        "  - {check: iqr, column: id, max: 3, on_fail: quarantine, name: far}\n"),
               options_);
  ASSERT_TRUE(ok(validation)) << message_of(validation);
  EXPECT_TRUE(validation->report.ok()) << render_text(validation->report);
  EXPECT_EQ(validation->report.quarantined, 5);
  const auto table = engine_->query(
      {}, "SELECT k, quarantine_reasons AS r FROM (" + validation->quarantine_sql + ") ORDER BY k");
  ASSERT_TRUE(ok(table)) << message_of(table);
  const auto bad = Columns::from_table(*table);
  const char* want[] = {"key", "doc", "order; key", "doc", "known; far"};
  ASSERT_EQ(bad->rows(), 5);
  for (int row = 0; row < 5; ++row) EXPECT_EQ(bad->batch().columns[1].text(row), want[row]);
  EXPECT_EQ(count(validation->clean_sql), 0);
  const auto schema = engine_->describe(validation->quarantine_sql);
  ASSERT_TRUE(ok(schema));
  EXPECT_EQ(schema->names(), (std::vector<std::string>{"id", "k", "doc", "quarantine_reasons"}));
}

TEST_F(FusedTest, LearnsBandsFromEarlierFigures) {
  ASSERT_TRUE(ok(engine_->execute("CREATE TABLE h AS SELECT i % 10 AS x FROM range(1000) r(i)")));
  const auto* yaml = "  - {check: mean, column: x, learn: {at_least: 4, sigmas: 4}, name: m}\n";
  struct Row {
    std::vector<double> history;
    bool ok;
    const char* says;
  };
  const Row rows[] = {
      {{}, true, "0 earlier reports, 4 are needed"},
      {{4.5, 4.4, 4.6}, true, "3 earlier reports, 4 are needed"},
      {{4.4, 4.5, 4.6, 4.5}, true, "4 earlier reports expect"},
      {{4.5, 4.5, 4.5, 4.5}, true, "expect 4.32 to 4.68"},
      {{5.0, 5.1, 4.9, 5.0}, false, "expect"},
      {{4.4, 4.5, 4.6, 4.5, 900.0}, true, "expect"},  // one odd version does not widen the band
      {{9.0, 9.1, 9.2, 9.1, 900.0}, false, "expect"},
  };
  for (const auto& row : rows) {
    options_.history = {{"m", row.history}};
    const auto rule = check("SELECT * FROM h", yaml).rules.at(0);
    EXPECT_EQ(rule.ok, row.ok) << rule.message;
    EXPECT_NE(rule.message.find(row.says), std::string::npos) << rule.message;
  }
}

TEST_F(FusedTest, HistoryComesFromReportsAndProfiles) {
  ASSERT_TRUE(
      ok(engine_->execute("CREATE TABLE h AS SELECT i % 10 AS x, i AS w FROM range(100) r(i)")));
  const auto rules = rules_of(
      "  - {check: mean, column: x, learn: {}}\n  - {check: row_count, learn: {}, name: rows}\n"
      "  - {check: max, column: w, max: 5}\n");
  const auto validation = validate({}, *engine_, "SELECT * FROM h", rules, options_);
  ASSERT_TRUE(ok(validation));
  const Json profile = {{"format", "slipway profile 1"}, {"rows", 77}, {"columns", Json::array()}};
  const auto history = history_of(
      rules, {{nullptr, profile}, {validation->report.to_json(), nullptr}, {Json("x"), Json(3)}});
  EXPECT_EQ(history,
            (std::map<std::string, std::vector<double>>{{"x mean", {4.5}}, {"rows", {77, 100}}}));
}

// The share of verdicts "changed" among samples of one population is the stated one.
TEST_F(FusedTest, DriftTestsRaiseNoMoreFalseAlarmsThanStated) {
  int alarms = 0;
  constexpr int kRepeats = 60;
  for (int repeat = 0; repeat < kRepeats; ++repeat) {
    ASSERT_TRUE(ok(engine_->execute(fmt::format(
        "CREATE OR REPLACE TABLE a AS SELECT hash(i + {0}) % 1000 / 10.0 AS x FROM range(400) "
        "r(i); "
        "CREATE OR REPLACE TABLE b AS SELECT hash(i + {0}) % 1000 / 10.0 AS x FROM range(700) r(i)",
        repeat * 10'007))));
    const auto now = engine_->query({}, fmt::format("SELECT hash(i + {}) % 1000 / 10.0 AS x FROM "
                                                    "range(500) r(i)",
                                                    repeat * 10'007 + 5000));
    ASSERT_TRUE(ok(now));
    const auto before = engine_->query({}, "SELECT x FROM a");
    ASSERT_TRUE(ok(before));
    ASSERT_TRUE(ok(engine_->add_table("before", *before)));
    ASSERT_TRUE(ok(engine_->add_table("now", *now)));
    const auto report =
        check("now", "  - {check: drift, column: x, relation: before, measure: ks, min_p: 0.05}\n");
    alarms += report.ok() ? 0 : 1;
  }
  EXPECT_LE(alarms, 8) << "of 60 at 5 %: more than 8 has a chance of 0.5 %";
}

}  // namespace
}  // namespace slipway::data
