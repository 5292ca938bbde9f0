#include "data/validation.h"

#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;

std::vector<Expectation> expectations(const std::string& yaml) {
  const auto doc = SpecDocument::parse("expectations:\n" + yaml, "p.yaml");
  EXPECT_TRUE(ok(doc));
  SpecReader reader(*doc);
  auto list = read_expectations(reader, "expectations");
  EXPECT_TRUE(ok(reader.finish()));
  return list;
}

std::string problems(const std::string& yaml) {
  const auto doc = SpecDocument::parse("expectations:\n" + yaml, "p.yaml");
  SpecReader reader(*doc);
  (void)read_expectations(reader, "expectations");
  return message_of(reader.finish());
}

class ValidationTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::open({.threads = 2, .temp_dir = scratch_.path()});
    ASSERT_TRUE(ok(engine));
    engine_ = std::move(*engine);
    const auto file = scratch_.file("t.csv",
                                    "id,carrier,origin,distance,planned,flown,at\n"
                                    "1,UA,JFK,100,60,50,2013-01-01\n"
                                    "2,UA,JFK,200,60,70,2013-01-02\n"
                                    "2,AA,EWR,9000,50,,2013-01-03\n"
                                    "4,,LGA,-5,40,30,2013-01-04\n"
                                    "5,x9,XXX,,30,20,2013-01-05\n");
    ASSERT_TRUE(ok(engine_->add_source("t", *Source::of_file(file))));
  }

  Validation check(const std::string& yaml) {
    auto validation = validate({}, *engine_, "t", expectations(yaml), options_);
    EXPECT_TRUE(ok(validation)) << message_of(validation);
    return validation ? std::move(*validation) : Validation{};
  }

  Columns rows_of(const std::string& sql) {
    return std::move(*Columns::from_table(*engine_->query({}, sql)));
  }

  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
  ValidationOptions options_{.reference_time = *parse_time("2013-01-06")};
};

TEST_F(ValidationTest, CountsTheRowsThatAreNotAsExpected) {
  struct Row {
    const char* yaml;
    bool ok;
    std::int64_t rows;
    std::int64_t unexpected;
  };
  const Row rows[] = {
      {"- {check: not_null, columns: [id]}", true, 5, 0},
      {"- {check: not_null, columns: [carrier, distance]}", false, 5, 2},
      {"- {check: unique, columns: [id]}", false, 5, 2},
      {"- {check: unique, columns: [id, carrier]}", true, 4, 0},
      {"- {check: range, column: distance, min: 0, max: 6000}", false, 4, 2},
      {"- {check: range, column: distance, max: 9000}", true, 4, 0},
      {"- {check: range, column: distance, max: 9000, strict: true}", false, 4, 1},
      {"- {check: range, column: at, min: \"2013-01-02\"}", false, 5, 1},
      {"- {check: range, column: distance, min: 0, max: 6000, mostly: 0.5}", true, 4, 2},
      {"- {check: range, column: distance, min: 0, where: \"origin <> 'LGA'\"}", true, 3, 0},
      {"- {check: in_set, column: origin, values: [JFK, EWR, LGA]}", false, 5, 1},
      {"- {check: matches, column: carrier, pattern: \"[A-Z]{2}\"}", false, 4, 1},
      {"- {check: compare, column: flown, op: \"<=\", to: planned}", false, 4, 1},
      {"- {check: compare, column: flown, op: \"<=\", to: planned + 10}", true, 4, 0},
      {"- {check: sql, expression: \"distance > 0\"}", false, 5, 1},
      {"- {check: row_count, min: 5, max: 5}", true, 5, 0},
      {"- {check: row_count, min: 6}", false, 5, 0},
      {"- {check: null_share, column: distance, max: 0.2}", true, 5, 0},
      {"- {check: null_share, column: distance, max: 0.1}", false, 5, 0},
      {"- {check: mean, column: planned, min: 48, max: 48}", true, 5, 0},
      {"- {check: sum, column: planned, max: 239}", false, 5, 0},
      {"- {check: stddev, column: planned, min: 13, max: 13.1}", true, 5, 0},
      {"- {check: distinct_count, column: carrier, min: 3, max: 3}", true, 4, 0},
      {"- {check: freshness, column: at, within: 1d}", true, 5, 0},
      {"- {check: freshness, column: at, within: 23h}", false, 5, 0},
      {"- {check: schema, types: {id: int64, carrier: text}}", true, 5, 0},
      {"- {check: schema, types: {id: text}}", false, 5, 0},
      {"- {check: schema, types: {idd: int64}}", false, 5, 0},
      {"- {check: schema, types: {id: int64}, extra: false}", false, 5, 0},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.yaml);
    const auto report = check(row.yaml).report;
    ASSERT_EQ(report.rules.size(), 1U);
    const auto& rule = report.rules[0];
    EXPECT_EQ(rule.ok, row.ok) << rule.message;
    EXPECT_EQ(rule.rows, row.rows);
    EXPECT_EQ(rule.unexpected, row.unexpected);
    EXPECT_EQ(report.ok(), row.ok);
  }
}

TEST_F(ValidationTest, ShowsExamplesOfBadValues) {
  const auto report = check(
                          "- {check: range, column: distance, min: 0, max: 6000}\n"
                          "- {check: unique, columns: [id]}\n")
                          .report;
  EXPECT_EQ(report.rules[0].examples, (std::vector<Json>{-5, 9000}));
  EXPECT_EQ(report.rules[0].message, "wanted between 0 and 6000; saw -5, 9000");
  EXPECT_EQ(report.rules[1].examples, (std::vector<Json>{2}));
}

TEST_F(ValidationTest, AWarningDoesNotFailTheReport) {
  const auto report = check("- {check: not_null, columns: [carrier], severity: warn}").report;
  EXPECT_FALSE(report.rules[0].ok);
  EXPECT_TRUE(report.ok());
}

TEST_F(ValidationTest, SetsBadRowsAsideWithTheirReasons) {
  const auto validation = check(
      "- {check: unique, columns: [id], on_fail: quarantine}\n"
      "- {check: range, column: distance, min: 0, max: 6000, on_fail: quarantine, name: sane "
      "distance}\n"
      "- {check: not_null, columns: [origin], on_fail: quarantine}\n");
  EXPECT_TRUE(validation.report.ok());
  EXPECT_FALSE(validation.report.rules[0].ok);
  EXPECT_EQ(validation.report.quarantined, 3);
  const auto clean = rows_of("SELECT id FROM (" + validation.clean_sql + ") ORDER BY id");
  ASSERT_EQ(clean.rows(), 2);
  EXPECT_EQ(clean.batch().columns[0].integer(0), 1);
  EXPECT_EQ(clean.batch().columns[0].integer(1), 5);
  const auto bad = rows_of("SELECT quarantine_reasons FROM (" + validation.quarantine_sql +
                           ") ORDER BY id, distance");
  ASSERT_EQ(bad.rows(), 3);
  EXPECT_EQ(bad.batch().columns[0].text(0), "id unique");
  EXPECT_EQ(bad.batch().columns[0].text(1), "id unique; sane distance");
  EXPECT_EQ(bad.batch().columns[0].text(2), "sane distance");
}

TEST_F(ValidationTest, StopsWhenMoreRowsAreBadThanDeclared) {
  EXPECT_FALSE(check("- {check: range, column: distance, min: 0, mostly: 0.9, on_fail: quarantine}")
                   .report.ok());
  EXPECT_TRUE(check("- {check: range, column: distance, min: 0, mostly: 0.5, on_fail: quarantine}")
                  .report.ok());
}

TEST_F(ValidationTest, SetsNothingAsideWhenAllIsWell) {
  const auto validation = check("- {check: not_null, columns: [id], on_fail: quarantine}");
  EXPECT_EQ(rows_of(validation.clean_sql).rows(), 5);
  EXPECT_EQ(rows_of(validation.quarantine_sql).rows(), 0);
  EXPECT_TRUE(check("- {check: not_null, columns: [id]}").quarantine_sql.empty());
}

TEST_F(ValidationTest, NamesTheCheckThatMakesNoSense) {
  const std::pair<const char*, const char*> rows[] = {
      {"- {check: not_null, columns: [carier]}", "did you mean 'carrier'"},
      {"- {check: range, column: carrier, min: 3}", "compares with texts"},
      {"- {check: in_set, column: id, values: [a]}", "compares with numbers"},
      {"- {check: mean, column: carrier, min: 3}", "not a number"},
      {"- {check: matches, column: id, pattern: x}", "not text"},
      {"- {check: matches, column: carrier, pattern: \"(\"}", "pattern '('"},
      {"- {check: sql, expression: \"distanc > 0\"}",
       "expression \"distanc > 0\": column 'distanc' does not exist; did you mean 'distance'?"},
      {"- {check: not_null, columns: [id], where: \"1 = (\"}", "where \"1 = (\""},
      {"- {check: freshness, column: id, within: 1d}", "not a timestamp"},
  };
  for (const auto& [yaml, want] : rows) {
    SCOPED_TRACE(yaml);
    const auto validation = validate({}, *engine_, "t", expectations(yaml), options_);
    EXPECT_TRUE(failed_with(validation, Code::invalid_argument));
    EXPECT_NE(message_of(validation).find(want), std::string::npos) << message_of(validation);
  }
  EXPECT_TRUE(failed_with(
      validate({}, *engine_, "t", expectations("- {check: freshness, column: at, within: 1d}")),
      Code::invalid_argument));
}

TEST_F(ValidationTest, ChecksAnEmptyTableAndASelect) {
  const auto empty = validate({}, *engine_, "SELECT * FROM t WHERE false",
                              expectations("- {check: not_null, columns: [id]}\n"
                                           "- {check: mean, column: id, min: 0}\n"
                                           "- {check: unique, columns: [id]}\n"));
  ASSERT_TRUE(ok(empty));
  EXPECT_TRUE(empty->report.rules[0].ok);
  EXPECT_FALSE(empty->report.rules[1].ok) << "a mean of nothing is not in any range";
  EXPECT_TRUE(empty->report.rules[2].ok);
}

TEST_F(ValidationTest, RendersATableAndJson) {
  const auto report = check(
                          "- {check: not_null, columns: [id]}\n"
                          "- {check: range, column: distance, min: 0, on_fail: quarantine}\n"
                          "- {check: mean, column: planned, max: 10}\n")
                          .report;
  const auto text = render_text(report);
  for (const char* want :
       {"ok     id not_null", "aside  distance range", "FAIL   planned mean", "1 (25 %)",
        "1 of 3 checks passed on 5 rows; 1 rows set aside: not valid"}) {
    EXPECT_NE(text.find(want), std::string::npos) << text;
  }
  const auto json = report.to_json();
  EXPECT_FALSE(json["ok"].get<bool>());
  EXPECT_EQ(json["rules"][1]["unexpected"], 1);
  EXPECT_EQ(json["rules"][2]["observed"], 48.0);
}

TEST(ReadExpectations, TellsMistakesWithTheirPlace) {
  const std::pair<const char*, const char*> rows[] = {
      {"  - {check: not_nul, columns: [id]}", "not_null"},
      {"  - {columns: [id]}", "check"},
      {"  - {check: range, column: id}", "min, max or both"},
      {"  - {check: not_null}", "needs a column"},
      {"  - {check: range, columns: [a, b], min: 1}", "takes one column"},
      {"  - {check: not_null, columns: [a], mostly: 0}", "mostly"},
      {"  - {check: not_null, columns: [a], mosty: 0.5}", "mostly"},
      {"  - {check: mean, column: a, min: x}", "is a number"},
      {"  - {check: compare, column: a, op: \"~\", to: b}", "op"},
      {"  - {check: not_null, columns: [a]}\n  - {check: not_null, columns: [a]}", "stands twice"},
      {"  - {check: schema, types: {a: int}}", "int64"},
  };
  for (const auto& [yaml, want] : rows) {
    SCOPED_TRACE(yaml);
    const auto message = problems(yaml);
    EXPECT_NE(message.find(want), std::string::npos) << message;
    EXPECT_NE(message.find("p.yaml:"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace slipway::data
