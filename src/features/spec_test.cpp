#include "features/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::features {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::HasSubstr;

Result<PipelineSpec> read(const std::string& yaml) {
  const auto document = SpecDocument::parse(yaml, "pipeline.yaml");
  if (!document) return document.error();
  SpecReader reader(*document);
  PipelineSpec spec = PipelineSpec::read(reader);
  if (const auto read = reader.finish(); !read) return read.error();
  return spec;
}

const data::Schema kSchema{{{"temp", data::Type::float64, true},
                            {"dewp", data::Type::float64, true},
                            {"carrier", data::Type::text, true},
                            {"late_day", data::Type::float64, true},
                            {"late_week", data::Type::float64, true},
                            {"time_hour", data::Type::timestamp, false},
                            {"holiday", data::Type::boolean, true}}};

TEST(PipelineSpec, ReadsEveryFormOfDeclaration) {
  const auto spec = read(R"(
features:
  - columns: [temp, dewp]
    apply: [impute: {strategy: mean, indicator: true}, standardize]
  - columns: "late_*"
    except: late_week
    apply: [impute: 0.5, clip: {low_quantile: 0.01, high_quantile: 0.99}, log1p]
  - columns: carrier
    apply: onehot
  - columns: time_hour
    apply: [datetime: {parts: [hour, dow], cyclical: hour, zone: "-05:00"}]
  - types: [boolean, float64]
    apply: [passthrough]
)");
  ASSERT_TRUE(ok(spec));
  ASSERT_EQ(spec->selections.size(), 5U);
  const auto& impute = std::get<Impute>(spec->selections[0].apply[0]);
  EXPECT_EQ(impute.how, Impute::How::mean);
  EXPECT_TRUE(impute.indicator);
  EXPECT_EQ(std::get<Impute>(spec->selections[1].apply[0]).value, 0.5);
  EXPECT_EQ(name_of(spec->selections[2].apply[0]), "onehot");
  const auto& time = std::get<DateTime>(spec->selections[3].apply[0]);
  EXPECT_EQ(time.parts.size(), 2U);
  EXPECT_EQ(time.zone, "-05:00");

  const auto bindings = spec->bind(kSchema);
  ASSERT_TRUE(ok(bindings));
  std::vector<std::string> bound;
  for (const Binding& b : *bindings)
    bound.push_back(kSchema.fields[b.column].name + std::to_string(b.selection));
  // late_week is excepted by name, and so is left for the selection by type.
  EXPECT_THAT(bound, ::testing::ElementsAre("temp0", "dewp0", "late_day1", "carrier2", "time_hour3",
                                            "late_week4", "holiday4"));
}

TEST(PipelineSpec, TellsWhatIsWrongAndWhatMayBeMeant) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"- {columns: temp, apply: [standardise]}", "did you mean 'standardize'?"},
      {"- {columns: temp, apply: [impute: {strateg: mean}]}", "did you mean 'strategy'?"},
      {"- {columns: temp, apply: [impute: middle]}", "median"},
      {"- {columns: temp, apply: [impute: {strategy: constant}]}", "a constant needs a value"},
      {"- {columns: temp, apply: [impute: {strategy: mean, value: 3}]}", "only strategy constant"},
      {"- {columns: temp, apply: [clip: {low: 3, high: 2}]}", "low below its high"},
      {"- {columns: temp, apply: [clip: {}]}", "clip needs"},
      {"- {columns: temp, apply: [bucketize: {edges: [3, 2]}]}", "ascending"},
      {"- {columns: temp, apply: [bucketize: 1]}", "2 to 10000"},
      {"- {columns: carrier, apply: [onehot: {min_share: 2}]}", "between 0 and 1"},
      {"- {columns: carrier, apply: [ordinal: {order: [a, a]}]}", "distinct"},
      {"- {columns: carrier, apply: [target_encode: {folds: 1}]}", "2 to 100"},
      {"- {columns: time_hour, apply: [datetime: {parts: [hours]}]}", "did you mean 'hour'?"},
      {"- {columns: time_hour, apply: [datetime: {parts: hour, zone: America/New_Yorc}]}",
       "fixed offset"},
      {"- {columns: time_hour, apply: [datetime: {cyclical: year}]}", "come round"},
      {"- {columns: temp}", "needs the transforms"},
      {"- {apply: [log1p]}", "names its columns"},
      {"- {colums: temp, apply: [log1p]}", "did you mean 'columns'?"},
      {"- {columns: temp, apply: [log1p: 3]}", "takes no value"},
      {"- {types: number, apply: [log1p]}", "number"},
  };
  for (const auto& [entry, want] : rows) {
    SCOPED_TRACE(entry);
    const auto spec = read("features:\n  " + entry + "\n");
    ASSERT_TRUE(failed_with(spec, Code::invalid_argument));
    EXPECT_THAT(message_of(spec), HasSubstr(want));
    EXPECT_THAT(message_of(spec), HasSubstr("pipeline.yaml:2"));
  }
}

TEST(PipelineSpec, RefusesAChainThatTheColumnCannotTake) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"- {columns: tmep, apply: [standardize]}", "did you mean 'temp'?"},
      {"- {columns: \"x*\", apply: [standardize]}", "no column fits"},
      {"- {columns: carrier, apply: [standardize]}", "begin with onehot"},
      {"- {columns: carrier, apply: [impute: median, onehot]}", "only most_frequent or a constant"},
      {"- {columns: time_hour, apply: [log1p]}", "begin with datetime"},
      {"- {columns: temp, apply: [datetime]}", "needs a timestamp"},
      {"- {columns: carrier, apply: [onehot, standardize]}", "nothing can follow"},
      {"- {columns: time_hour, apply: [datetime: hour, impute: {value: 0, indicator: true}]}",
       "leave it out"},
      {"- {columns: temp, apply: [standardize, datetime]}", "must come first"},
  };
  for (const auto& [entry, want] : rows) {
    SCOPED_TRACE(entry);
    const auto spec = read("features:\n  " + entry + "\n");
    ASSERT_TRUE(ok(spec));
    const auto bindings = spec->bind(kSchema);
    ASSERT_TRUE(failed_with(bindings, Code::invalid_argument));
    EXPECT_THAT(message_of(bindings), HasSubstr(want));
    EXPECT_THAT(message_of(bindings), HasSubstr("pipeline.yaml:2"));
  }
}

TEST(PipelineSpec, NamesEveryProblemAtOnce) {
  const auto spec = read(R"(
features:
  - {columns: tmep, apply: [standardize]}
  - {columns: carrier, apply: [log1p]}
)");
  ASSERT_TRUE(ok(spec));
  const std::string message = message_of(spec->bind(kSchema));
  EXPECT_THAT(message, HasSubstr("pipeline.yaml:3"));
  EXPECT_THAT(message, HasSubstr("pipeline.yaml:4"));
}

}  // namespace
}  // namespace slipway::features
