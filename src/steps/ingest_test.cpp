// Loading again and again: only what is new, late rows and rows that come twice.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/steps_home.h"

namespace slipway::steps {
namespace {

using pipeline::RunReport;
using pipeline::RunState;
using pipeline::StepState;
using test::ok;
using test::step_named;
using test::StepsHome;
using ::testing::HasSubstr;

class IngestTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ok(home_.opened)); }
  void file(const std::string& name, const std::string& rows) {
    std::ofstream(home_.folder / name) << "id,at,v\n" << rows;
  }
  // One ingest step; its summary, or its error.
  std::string load(const std::string& settings, const std::string& path = "\"part-*.csv\"") {
    const auto run = home_.run(fmt::format(
        "name: p\nsteps:\n  load:\n    ingest:\n      sources: {{rows: {{path: {}, types: {{at: "
        "timestamp}}}}}}\n      dataset: rows\n{}",
        path, settings));
    if (!run) return "error: " + run.error().message;
    const auto& step = step_named(*run, "load");
    return step.error.empty() ? step.summary : "error: " + step.error;
  }
  std::string ids() {
    const auto ref = home_.datasets->resolve("rows");
    Context ctx;
    const auto table = home_.datasets->load(ctx, *ref, {"id", "v"});
    const auto columns = data::Columns::from_table(*table);
    const data::Batch batch = columns->batch();
    std::string text;
    for (std::int64_t row = 0; row < batch.rows; ++row)
      text += fmt::format("{}{}={}", row > 0 ? " " : "", batch.columns[0].integer(row),
                          batch.columns[1].integer(row));
    return text;
  }

  StepsHome home_;
};

const std::string kByFiles = "      incremental: {source: rows, by: files}\n";

TEST_F(IngestTest, LoadsOnlyNewFiles) {
  file("part-1.csv", "1,2013-01-01,10\n2,2013-01-02,20\n");
  EXPECT_THAT(load(kByFiles), HasSubstr("2 rows new"));
  const auto first = *home_.datasets->resolve("rows");
  file("part-2.csv", "3,2013-01-03,30\n");
  EXPECT_THAT(load(kByFiles), HasSubstr("1 rows new"));
  EXPECT_EQ(ids(), "1=10 2=20 3=30");
  const auto diff = home_.datasets->diff(first, *home_.datasets->resolve("rows"));
  EXPECT_EQ(diff->shared_files, 1) << "what was there is shared";
  EXPECT_EQ(diff->added_files, 1);
  // The same file under another name is not new, and no version is made.
  std::filesystem::copy(home_.folder / "part-2.csv", home_.folder / "part-3.csv");
  const auto before = home_.datasets->versions("rows")->size();
  EXPECT_THAT(load(kByFiles), HasSubstr("nothing new"));
  EXPECT_EQ(home_.datasets->versions("rows")->size(), before);
  // Another recipe reads everything again.
  EXPECT_THAT(load(kByFiles + "      sql: SELECT * FROM rows WHERE id <> 2\n"),
              HasSubstr("3 rows new"));
  EXPECT_EQ(ids(), "1=10 3=30 3=30") << "no key was declared";
}

TEST_F(IngestTest, HandlesRowsThatComeTwiceAsDeclared) {
  const auto rule = [](const std::string& keep) {
    return "      incremental: {source: rows, by: files, key: [id], keep: " + keep + "}\n";
  };
  const std::pair<const char*, const char*> rules[] = {{"last", "2=20 1=11 3=30"},
                                                       {"first", "1=10 2=20 3=30"}};
  for (const auto& [keep, want] : rules) {
    std::filesystem::remove(home_.folder / "part-2.csv");
    file("part-1.csv", "1,2013-01-01,10\n2,2013-01-02,20\n");
    ASSERT_THAT(load(rule(keep)), HasSubstr("2 rows"));
    file("part-2.csv", "1,2013-01-03,11\n3,2013-01-03,30\n");
    ASSERT_THAT(load(rule(keep)), HasSubstr("3 rows"));
    EXPECT_EQ(ids(), want) << keep;
  }
  std::filesystem::remove(home_.folder / "part-2.csv");
  ASSERT_THAT(load(rule("error")), HasSubstr("2 rows"));
  file("part-2.csv", "1,2013-01-03,11\n");
  EXPECT_THAT(load(rule("error")), HasSubstr("1 new rows have a key (id) that is loaded already"));
  file("part-2.csv", "4,2013-01-03,11\n4,2013-01-04,12\n");
  EXPECT_THAT(load(rule("error")), HasSubstr("id = 4 stands in 2 rows"));
}

TEST_F(IngestTest, HandlesLateRowsAsDeclared) {
  const auto rule = [](const std::string& late) {
    return "      incremental: {source: rows, by: files, column: at, late: " + late + "}\n";
  };
  for (const std::string late : {"keep", "drop", "error"}) {
    std::filesystem::remove(home_.folder / "part-2.csv");
    file("part-1.csv", "1,2013-01-05,10\n");
    ASSERT_THAT(load(rule(late)), HasSubstr("1 rows"));
    file("part-2.csv", "2,2013-01-04,20\n3,2013-01-06,30\n");
    const auto told = load(rule(late));
    if (late == "error") {
      EXPECT_THAT(told, HasSubstr("1 rows come late"));
    } else {
      EXPECT_EQ(ids(), late == "keep" ? "1=10 2=20 3=30" : "1=10 3=30");
    }
  }
}

TEST_F(IngestTest, LoadsRowsAboveAWatermark) {
  const std::string rule =
      "      incremental: {source: rows, by: watermark, column: at, key: [id], lateness: 1d}\n";
  file("all.csv", "1,2013-01-01,10\n2,2013-01-05,20\n");
  EXPECT_THAT(load(rule, "all.csv"), HasSubstr("2 rows new"));
  file("all.csv", "1,2013-01-01,99\n2,2013-01-05,20\n4,2013-01-04T12:00:00Z,40\n3,2013-01-06,30\n");
  EXPECT_THAT(load(rule, "all.csv"), HasSubstr("4 rows"));
  EXPECT_EQ(ids(), "1=10 2=20 4=40 3=30") << "the first row lies below the mark and is not read";
}

TEST_F(IngestTest, RunsDeclaredStepsAndNamesTheirPlace) {
  file("part-1.csv", "1,2013-01-01,10\n2,2013-01-02,20\n");
  EXPECT_THAT(load("      steps:\n        - filter: v > 10\n        - derive: {v: v + 1}\n"),
              HasSubstr("1 rows, 3 columns"));
  EXPECT_EQ(ids(), "2=21");
  EXPECT_THAT(load("      steps:\n        - filter: vv > 10\n"),
              HasSubstr("p.yaml:8:11: column 'vv' does not exist; did you mean 'v'?"));
  EXPECT_THAT(load("      form: rows\n"), HasSubstr("did you mean 'from'?"));
}

TEST_F(IngestTest, LeavesNothingOfALoadThatFails) {
  file("part-1.csv", "1,2013-01-01,10\n2,soon,20\n");
  EXPECT_THAT(load(kByFiles), HasSubstr("part-1.csv:3: column 'at' holds 'soon'"));
  EXPECT_TRUE(home_.datasets->versions("rows")->empty());
}

}  // namespace
}  // namespace slipway::steps
