// Every core expectation of Great Expectations 1.24 by what it does: theirs, ours, and whether it
// holds on one small table. docs/reference/data-quality.md shows the same rows. Each is checked
// twice: over a CSV file, where all is SQL, and over Parquet, where columns are counted first.
#include <gtest/gtest.h>

#include "data/validation.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::message_of;
using test::ok;
using test::Scratch;

struct ParityRow {
  const char* theirs;
  const char* ours;
  bool ok;
  std::int64_t unexpected;  // of checks of rows
};

// id | carrier | origin | dest | distance | planned | flown | at | note | doc | day | gone
constexpr const char* kTable =
    "id,carrier,origin,dest,distance,planned,flown,at,note,doc,day,gone\n"
    "1,UA,JFK,LAX,100,60,50,2013-01-01,abc,\"{\"\"n\"\": 1}\",2013-01-01,\n"
    "2,UA,JFK,SFO,200,60,70,2013-01-02,abcd,\"{\"\"n\"\": 2}\",2013-02-30,\n"
    "2,AA,EWR,EWR,9000,50,,2013-01-03,ab,\"{\"\"n\"\": \"\"x\"\"}\",01/03/2013,\n"
    "4,,LGA,ORD,-5,40,30,2013-01-04,abc,nonsense,2013-01-04,\n"
    "5,x9,XXX,BOS,,30,20,2013-01-05,abc,\"{\"\"m\"\": 1}\",2013-01-05,\n";

constexpr ParityRow kParity[] = {
    {"expect_column_values_to_not_be_null", "{check: not_null, column: distance}", false, 1},
    {"expect_column_values_to_be_null", "{check: is_null, column: flown}", false, 4},
    {"expect_column_values_to_be_unique", "{check: unique, column: id}", false, 2},
    {"expect_compound_columns_to_be_unique", "{check: unique, columns: [id, dest]}", true, 0},
    {"expect_multicolumn_values_to_be_unique", "{check: unique, columns: [id, origin]}", true, 0},
    {"expect_select_column_values_to_be_unique_within_record",
     "{check: unique_in_row, columns: [origin, dest]}", false, 1},
    {"expect_column_values_to_be_between", "{check: range, column: distance, min: 0, max: 6000}",
     false, 2},
    {"expect_column_values_to_be_in_set",
     "{check: in_set, column: origin, values: [JFK, EWR, LGA]}", false, 1},
    {"expect_column_values_to_not_be_in_set",
     "{check: not_in_set, column: origin, values: [XXX, LGA]}", false, 2},
    {"expect_column_values_to_match_regex",
     "{check: matches, column: carrier, pattern: \"[A-Z]{2}\"}", false, 1},
    {"expect_column_values_to_match_regex_list",
     "{check: matches, column: carrier, patterns: [\"U.\", \".9\"], match: any}", false, 1},
    {"expect_column_values_to_not_match_regex",
     "{check: not_matches, column: dest, pattern: O, part: true}", false, 3},
    {"expect_column_values_to_not_match_regex_list",
     "{check: not_matches, column: dest, patterns: [\"L.*\", \"E.*\"]}", false, 2},
    {"expect_column_values_to_match_like_pattern", "{check: like, column: note, pattern: \"abc%\"}",
     false, 1},
    {"expect_column_values_to_match_like_pattern_list",
     "{check: like, column: note, patterns: [\"ab%\", \"%c%\"], match: all}", false, 1},
    {"expect_column_values_to_not_match_like_pattern",
     "{check: not_like, column: note, pattern: \"%d\"}", false, 1},
    {"expect_column_values_to_not_match_like_pattern_list",
     "{check: not_like, column: note, patterns: [\"%d\", \"x%\"]}", false, 1},
    {"expect_column_value_lengths_to_be_between", "{check: length, column: note, min: 3, max: 3}",
     false, 2},
    {"expect_column_value_lengths_to_equal", "{check: length, column: note, equals: 3}", false, 2},
    {"expect_column_values_to_match_strftime_format",
     "{check: parses, column: day, as: timestamp, format: \"%Y-%m-%d\"}", false, 2},
    {"expect_column_values_to_be_dateutil_parseable", "{check: parses, column: day, as: timestamp}",
     false, 2},
    {"expect_column_values_to_be_json_parseable", "{check: parses, column: doc, as: json}", false,
     1},
    {"expect_column_values_to_match_json_schema",
     "{check: json_schema, column: doc, schema: {type: object, required: [n], properties: {n: "
     "{type: integer}}}}",
     false, 3},
    {"expect_column_values_to_be_increasing", "{check: increasing, column: id}", true, 0},
    {"expect_column_values_to_be_decreasing", "{check: decreasing, column: planned}", true, 0},
    {"expect_column_value_z_scores_to_be_less_than", "{check: z_score, column: distance, max: 1.4}",
     false, 1},
    {"expect_column_values_to_be_of_type", "{check: schema, types: {id: int64}}", true, 0},
    {"expect_column_values_to_be_in_type_list",
     "{check: schema, types: {id: [int64, float64], dest: text}}", true, 0},
    {"expect_column_to_exist", "{check: columns, names: [id], match: superset}", true, 0},
    {"expect_column_pair_values_a_to_be_greater_than_b",
     "{check: compare, column: planned, op: \">\", to: flown}", false, 1},
    {"expect_column_pair_values_to_be_equal",
     "{check: compare, column: origin, op: \"=\", to: dest}", false, 4},
    {"expect_column_pair_values_to_be_in_set",
     "{check: pair_in_set, columns: [carrier, origin], values: [[UA, JFK], [AA, EWR]]}", false, 1},
    {"expect_column_pair_cramers_phi_value_to_be_less_than",
     "{check: association, columns: [carrier, origin], measure: cramers_v, max: 0.9}", false, 0},
    {"expect_multicolumn_sum_to_equal", "{check: row_sum, columns: [planned, flown], equals: 110}",
     false, 3},
    {"expect_column_min_to_be_between", "{check: min, column: distance, min: -5, max: 0}", true, 0},
    {"expect_column_max_to_be_between", "{check: max, column: at, max: \"2013-01-04\"}", false, 0},
    {"expect_column_mean_to_be_between", "{check: mean, column: planned, equals: 48}", true, 0},
    {"expect_column_median_to_be_between", "{check: median, column: planned, equals: 50}", true, 0},
    {"expect_column_sum_to_be_between", "{check: sum, column: planned, max: 239}", false, 0},
    {"expect_column_stdev_to_be_between", "{check: stddev, column: planned, min: 13, max: 13.1}",
     true, 0},
    {"expect_column_quantile_values_to_be_between",
     "{check: quantile, column: planned, at: 0.25, equals: 40}", true, 0},
    {"expect_column_unique_value_count_to_be_between",
     "{check: distinct_count, column: carrier, min: 3, max: 3}", true, 0},
    {"expect_column_proportion_of_unique_values_to_be_between",
     "{check: distinct_share, column: id, equals: 0.8}", true, 0},
    {"expect_column_proportion_of_non_null_values_to_be_between",
     "{check: null_share, column: distance, max: 0.1}", false, 0},
    {"expect_column_distinct_values_to_be_in_set",
     "{check: distinct_values, column: origin, values: [JFK, EWR, LGA, BOS], match: subset}", false,
     0},
    {"expect_column_distinct_values_to_contain_set",
     "{check: distinct_values, column: origin, values: [JFK, EWR], match: superset}", true, 0},
    {"expect_column_distinct_values_to_equal_set",
     "{check: distinct_values, column: origin, values: [JFK, EWR, LGA, XXX]}", true, 0},
    {"expect_column_most_common_value_to_be_in_set",
     "{check: most_common, column: carrier, values: [UA, B6]}", true, 0},
    {"expect_column_kl_divergence_to_be_less_than",
     "{check: drift, column: origin, relation: before, measure: kl, max: 0.1}", false, 0},
    {"expect_column_chisquare_test_p_value_to_be_greater_than",
     "{check: drift, column: origin, relation: before, measure: chi_square, min_p: 0.05}", true, 0},
    {"expect_column_bootstrapped_ks_test_p_value_to_be_greater_than",
     "{check: drift, column: planned, relation: before, measure: ks, min_p: 0.05}", true, 0},
    {"expect_column_parameterized_distribution_ks_test_p_value_to_be_greater_than",
     "{check: drift, column: planned, relation: before, measure: ks, max: 0.5, min_p: 0.01}", true,
     0},
    {"expect_table_row_count_to_be_between", "{check: row_count, min: 1, max: 4}", false, 0},
    {"expect_table_row_count_to_equal", "{check: row_count, equals: 5}", true, 0},
    {"expect_table_row_count_to_equal_other_table", "{check: row_count, same_as: before}", false,
     0},
    {"expect_table_column_count_to_be_between", "{check: column_count, min: 12}", true, 0},
    {"expect_table_column_count_to_equal", "{check: column_count, equals: 11}", false, 0},
    {"expect_table_columns_to_match_set",
     "{check: columns, names: [carrier, id, origin, dest, distance, planned, flown, at, note, doc, "
     "day, gone]}",
     true, 0},
    {"expect_table_columns_to_match_ordered_list",
     "{check: columns, names: [carrier, id, origin, dest, distance, planned, flown, at, note, doc, "
     "day, gone], match: ordered}",
     false, 0},
    {"unexpected_rows_expectation",
     "{check: no_rows, query: \"SELECT * FROM {rows} WHERE distance < 0\"}", false, 0},
    {"expect_query_results_to_match_comparison",
     "{check: same_result, query: \"SELECT origin FROM {rows} WHERE id < 3\", other: \"SELECT "
     "origin FROM before\"}",
     false, 0},
    {"expect_column_type_to_be", "{check: schema, types: {distance: int64}}", true, 0},
    {"expect_column_values_to_not_be_outliers", "{check: iqr, column: distance, max: 1.5}", false,
     1},
    {"expect_multicolumn_values_to_be_equal", "{check: equal_in_row, columns: [origin, dest]}",
     false, 4},
};

// Beyond theirs.
constexpr ParityRow kMore[] = {
    {"strictly", "{check: increasing, column: id, strict: true}", false, 1},
    {"custom SQL", "{check: sql, expression: \"distance > 0\"}", false, 1},
    {"cross-table", "{check: exists_in, columns: [origin], relation: airports, to: [faa]}", false,
     1},
    {"custom aggregate", "{check: aggregate, expression: \"count(*) / 5\", equals: 1}", true, 0},
    {"freshness", "{check: freshness, column: at, within: 1d}", true, 0},
    {"freshness, too old", "{check: freshness, column: at, within: 23h}", false, 0},
    {"correlation", "{check: association, columns: [id, planned], measure: pearson, max: -0.9}",
     true, 0},
    {"rank correlation",
     "{check: association, columns: [id, planned], measure: spearman, max: -0.9}", true, 0},
    {"row condition", "{check: range, column: distance, min: 0, where: \"origin <> 'LGA'\"}", true,
     0},
    {"order within a condition",
     "{check: increasing, column: id, where: \"origin = 'JFK'\", strict: true}", true, 0},
    {"order by another column", "{check: decreasing, column: planned, order_by: [at]}", true, 0},
    {"whole numbers in text", "{check: parses, column: note, as: int64, mostly: 0.1}", false, 5},
    {"null share", "{check: null_share, column: gone, equals: 1}", true, 0},
    {"psi", "{check: drift, column: planned, relation: before, measure: psi, max: 10}", true, 0},
    {"js", "{check: drift, column: origin, relation: before, measure: js, max: 0.01}", false, 0},
    {"moved mass",
     "{check: drift, column: origin, relation: before, measure: total_variation, "
     "max: 0.7}",
     true, 0},
    {"wasserstein",
     "{check: drift, column: planned, relation: before, measure: wasserstein, max: 10}", false, 0},
};

class ParityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::open({.threads = 2, .temp_dir = scratch_.path()});
    ASSERT_TRUE(ok(engine));
    engine_ = std::move(*engine);
    const auto add = [&](const char* name, std::string_view text) {
      const auto file = scratch_.file(std::string(name) + ".csv", text);
      ASSERT_TRUE(ok(engine_->add_source(name, *Source::of_file(file))));
    };
    auto rows = Source::of_file(scratch_.file("rows.csv", kTable));
    ASSERT_TRUE(ok(rows));
    rows->types["day"] = Type::text;
    ASSERT_TRUE(ok(engine_->add_source("rows", *rows)));
    add("before", "origin,planned\nJFK,60\nEWR,60\nJFK,50\nLGA,90\n");
    add("airports", "faa\nJFK\nEWR\nLGA\n");
    const auto file = scratch_ / "rows.parquet";
    ASSERT_TRUE(ok(engine_->write_parquet({}, "SELECT * FROM rows", file)));
    ASSERT_TRUE(ok(engine_->add_source("parquet", *Source::of_file(file))));
  }

  Result<Validation> check(const std::string& relation, const std::string& rule) {
    const auto doc = SpecDocument::parse("expectations:\n  - " + rule, "p.yaml");
    EXPECT_TRUE(ok(doc));
    SpecReader reader(*doc);
    const auto rules = read_expectations(reader, "expectations");
    EXPECT_TRUE(ok(reader.finish()));
    return validate({}, *engine_, relation, rules, {.reference_time = *parse_time("2013-01-06")});
  }

  void expect(const ParityRow& row) {
    SCOPED_TRACE(row.theirs);
    SCOPED_TRACE(row.ours);
    std::string reports[2];
    for (const bool parquet : {false, true}) {
      const auto validation = check(parquet ? "parquet" : "rows", row.ours);
      ASSERT_TRUE(ok(validation)) << (parquet ? "Parquet: " : "SQL: ") << message_of(validation);
      const auto& rule = validation->report.rules.at(0);
      EXPECT_EQ(rule.ok, row.ok) << rule.message;
      EXPECT_EQ(rule.unexpected, row.unexpected);
      EXPECT_EQ(validation->report.rows, 5);
      auto json = validation->report.to_json();
      // sums in another order differ in their last bits
      if (auto& seen = json["rules"][0]["observed"]; seen.is_number_float())
        seen = fmt::format("{:.12g}", seen.get<double>());
      reports[parquet ? 1 : 0] = canonical(json);
    }
    EXPECT_EQ(reports[0], reports[1]) << "SQL alone and the pass over Parquet differ";
  }

  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(ParityTest, HasEveryCoreExpectationOfGreatExpectations) {
  std::set<std::string> theirs;
  for (const auto& row : kParity) theirs.insert(row.theirs);
  EXPECT_EQ(theirs.size(), 64U) << "63 expect_* and unexpected_rows_expectation";
  EXPECT_EQ(std::size(kParity), theirs.size());
  for (const auto& row : kParity) expect(row);
}

TEST_F(ParityTest, HasMoreThanThose) {
  for (const auto& row : kMore) expect(row);
}

}  // namespace
}  // namespace slipway::data
