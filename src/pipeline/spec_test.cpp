#include "pipeline/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::pipeline {
namespace {

using test::ok;
using testing::ElementsAre;
using testing::HasSubstr;

// Takes a file and a number; gives `rows`; writes the dataset it names.
class MakeKind final : public StepKind {
 public:
  std::string_view name() const override { return "make"; }
  Result<void> check(SpecReader& config) const override {
    config.text("dataset", "");
    config.integer("trees", 10);
    config.texts("from");
    config.json("env");
    config.json("options");
    return {};
  }
  std::optional<std::vector<std::string>> outputs(const Json&) const override {
    return {{"rows", "report.json"}};
  }
  std::vector<std::string> produces(const Json& config) const override {
    if (!config.contains("dataset")) return {};
    return {"dataset '" + config["dataset"].get<std::string>() + "'"};
  }
  bool allows_environment(std::string_view pointer) const override {
    return pointer.starts_with("/env/");
  }
  Result<StepResult> run(const Context&, const StepCall&) const override { return StepResult{}; }
};

class ShellKind final : public StepKind {
 public:
  std::string_view name() const override { return "shell"; }
  Result<void> check(SpecReader& config) const override {
    config.text("shell");
    return {};
  }
  Result<StepResult> run(const Context&, const StepCall&) const override { return StepResult{}; }
};

const StepKinds& kinds() {
  static const StepKinds kKinds = [] {
    StepKinds all;
    all.add(std::make_unique<MakeKind>());
    all.add(std::make_unique<ShellKind>());
    return all;
  }();
  return kKinds;
}

Result<PipelineSpec> parse(const std::string& text,
                           const std::map<std::string, std::string>& overrides = {}) {
  return PipelineSpec::parse(text, "p.yaml", "/work", kinds(), overrides);
}

std::vector<std::string> order_of(const PipelineSpec& spec) {
  std::vector<std::string> names;
  for (const auto index : spec.order) names.push_back(spec.steps[index].name);
  return names;
}

TEST(PipelineSpec, ReadsStepsParametersAndTheGraph) {
  const auto spec = parse(R"(
name: flights
description: an example
seed: 7
params:
  train_end: 2013-04-01
  trials: {type: integer, default: 20, help: how many}
steps:
  report:
    shell: echo ${steps.train.rows}
    needs: ingest
  train:
    make: {trees: "${params.trials}", from: ["${steps.ingest.rows}", "until ${params.train_end}"]}
    retries: 2
    retry_delay: 10s
    timeout: 5m
    cache: false
  ingest:
    kind: make
    dataset: flights
)");
  ASSERT_TRUE(ok(spec));
  EXPECT_EQ(spec->name, "flights");
  EXPECT_EQ(spec->seed, 7u);
  EXPECT_EQ(spec->param_values(), (Json{{"train_end", "2013-04-01"}, {"trials", 20}}));
  EXPECT_THAT(order_of(*spec), ElementsAre("ingest", "train", "report"));
  EXPECT_EQ(spec->steps[0].name, "report");  // as in the file
  EXPECT_THAT(spec->find("report")->needs, ElementsAre("ingest", "train"));
  const StepSpec& train = *spec->find("train");
  EXPECT_EQ(train.kind, "make");
  EXPECT_EQ(train.config["trees"], 20);  // keeps its type
  EXPECT_EQ(train.config["from"][1], "until 2013-04-01");
  EXPECT_EQ(train.retries, 2);
  EXPECT_EQ(train.retry_delay, std::chrono::seconds{10});
  EXPECT_EQ(train.timeout, std::chrono::minutes{5});
  EXPECT_FALSE(train.cache);
  EXPECT_EQ(spec->find("ingest")->config, (Json{{"dataset", "flights"}}));
  EXPECT_EQ(spec->find("report")->config, (Json{{"shell", "echo ${steps.train.rows}"}}));
}

TEST(PipelineSpec, NamesPlaceAndNearestNameOfWhatIsWrong) {
  const std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> rows = {
      {"a cycle",
       "name: p\nsteps:\n  a: {shell: x, needs: [c]}\n  b: {shell: x, needs: [a]}\n  c: {shell: x, "
       "needs: [b]}\n",
       {"p.yaml:3:", "a needs c needs b needs a"}},
      {"a step that needs itself", "name: p\nsteps:\n  a: {shell: x, needs: a}\n", {"a needs a"}},
      {"an unknown step key",
       "name: p\nsteps:\n  a:\n    shell: x\n    retrys: 2\n",
       {"p.yaml:5:", "retrys", "retries"}},
      {"an unknown key of the kind",
       "name: p\nsteps:\n  a:\n    make:\n      tree: 2\n",
       {"p.yaml:5:", "tree", "trees"}},
      {"an unknown kind",
       "name: p\nsteps:\n  a:\n    kind: shel\n",
       {"p.yaml:4:", "'shel'", "'shell'"}},
      {"an unknown kind as key",
       "name: p\nsteps:\n  a:\n    shel: x\n",
       {"p.yaml:4:", "'shel'", "'shell'"}},
      {"no kind", "name: p\nsteps:\n  a: {retries: 1}\n", {"p.yaml:3:", "make, shell"}},
      {"two kinds", "name: p\nsteps:\n  a: {shell: x, make: {}}\n", {"p.yaml:3:", "make, shell"}},
      {"two writers",
       "name: p\nsteps:\n  a:\n    make: {dataset: d}\n  b:\n    make: {dataset: d}\n",
       {"p.yaml:6:", "dataset 'd'", "step 'a'", "p.yaml:4:"}},
      {"an unknown parameter",
       "name: p\nparams: {trials: 3}\nsteps:\n  a:\n    make:\n      trees: ${params.trails}\n",
       {"p.yaml:6:", "'trails'", "'trials'"}},
      {"an unknown step",
       "name: p\nsteps:\n  ingest: {make: {}}\n  a:\n    shell: ${steps.ingst.rows}\n",
       {"p.yaml:5:", "'ingst'", "'ingest'"}},
      {"an unknown output",
       "name: p\nsteps:\n  ingest: {make: {}}\n  a:\n    shell: ${steps.ingest.row}\n",
       {"p.yaml:5:", "'row'", "'rows'"}},
      {"an unknown need",
       "name: p\nsteps:\n  ingest: {make: {}}\n  a: {shell: x, needs: [ingset]}\n",
       {"p.yaml:4:", "'ingest'"}},
      {"a shell variable",
       "name: p\nsteps:\n  a:\n    shell: echo ${HOME}\n",
       {"p.yaml:4:", "$${HOME}"}},
      {"an open reference",
       "name: p\nsteps:\n  a:\n    shell: echo ${params.x\n",
       {"p.yaml:4:", "'}'"}},
      {"the environment where it may not stand",
       "name: p\nsteps:\n  a:\n    shell: ${env.PATH}\n",
       {"p.yaml:4:", "make it a parameter"}},
      {"a variable that is not set",
       "name: p\nparams:\n  x: ${env.SLIPWAY_TEST_UNSET}\nsteps:\n  a: {shell: x}\n",
       {"p.yaml:3:", "SLIPWAY_TEST_UNSET"}},
      {"a missing parameter",
       "name: p\nparams:\n  x: {type: integer}\nsteps:\n  a: {shell: x}\n",
       {"p.yaml:3:", "--param x="}},
      {"an unknown type",
       "name: p\nparams:\n  x: {type: integr}\nsteps:\n  a: {shell: x}\n",
       {"p.yaml:3:", "'integer'"}},
      {"a default of another type",
       "name: p\nparams:\n  x: {type: integer, default: many}\nsteps:\n  a: {shell: x}\n",
       {"p.yaml:3:", "integer"}},
      {"a choice that is none",
       "name: p\nparams:\n  x: {default: c, choices: [a, b]}\nsteps:\n  a: {shell: x}\n",
       {"p.yaml:3:", "[\"a\",\"b\"]"}},
      {"a key given twice",
       "name: p\nsteps:\n  a: {shell: x}\n  a: {shell: y}\n",
       {"p.yaml:4:", "a"}},
      {"a step name with a dot", "name: p\nsteps:\n  a.b: {shell: x}\n", {"p.yaml:3:", "a.b"}},
      {"no steps", "name: p\n", {"steps"}},
      {"no name", "steps:\n  a: {shell: x}\n", {"name"}},
      {"an unknown key at the top", "name: p\nstep:\n  a: {shell: x}\n", {"p.yaml:2:", "steps"}},
      {"negative retries",
       "name: p\nsteps:\n  a:\n    shell: x\n    retries: -1\n",
       {"p.yaml:5:", "retries"}},
      {"no mapping", "[1, 2]", {"p.yaml"}},
      {"an empty file", "", {"p.yaml"}}};
  for (const auto& [name, text, wanted] : rows) {
    SCOPED_TRACE(name);
    const auto spec = parse(text);
    ASSERT_TRUE(test::failed_with(spec, spec ? Code::internal : spec.error().code));
    for (const auto& part : wanted) EXPECT_THAT(spec.error().message, HasSubstr(part));
  }
}

TEST(PipelineSpec, TellsAllProblemsAtOnce) {
  const auto spec = parse("name: p\nsteps:\n  a: {shell: x, retrys: 1}\n  b: {kind: shel}\n");
  ASSERT_FALSE(spec);
  EXPECT_THAT(spec.error().message, HasSubstr("retrys"));
  EXPECT_THAT(spec.error().message, HasSubstr("shel"));
}

TEST(PipelineSpec, TakesParametersFromTheCallerByType) {
  const std::string text = R"(
name: p
params:
  count: 3
  share: 0.5
  on: {type: boolean, default: false}
  until: {type: time, default: 2013-04-01}
  window: {type: duration, default: 7d}
  columns: [a, b]
  label: late
steps:
  a: {shell: x}
)";
  const std::vector<std::tuple<std::string, std::string, Json>> good = {
      {"count", "40", 40},
      {"share", "1", 1.0},
      {"on", "true", true},
      {"until", "2013-07-01", "2013-07-01"},
      {"window", "30d", "30d"},
      {"columns", "x,y", {"x", "y"}},
      {"columns", "[\"x\"]", Json::array({"x"})},
      {"label", "early", "early"}};
  for (const auto& [name, value, want] : good) {
    SCOPED_TRACE(name + "=" + value);
    const auto spec = parse(text, {{name, value}});
    ASSERT_TRUE(ok(spec));
    EXPECT_EQ(spec->param_values()[name], want);
  }
  const std::vector<std::tuple<std::string, std::string, std::string>> bad = {
      {"count", "many", "integer"}, {"count", "4.5", "integer"}, {"share", "half", "number"},
      {"on", "maybe", "boolean"},   {"until", "soon", "soon"},   {"window", "long", "long"},
      {"cuont", "4", "'count'"}};
  for (const auto& [name, value, want] : bad) {
    SCOPED_TRACE(name + "=" + value);
    const auto spec = parse(text, {{name, value}});
    ASSERT_FALSE(spec);
    EXPECT_THAT(spec.error().message, HasSubstr(want));
  }
}

TEST(PipelineSpec, KeepsEscapedAndInsertedDollarsLiteral) {
  const auto spec = parse(
      "name: p\nparams: {x: \"${env.PATH}\", y: 'cost $${steps.z.w}'}\nsteps:\n  a:\n    shell: "
      "echo $${HOME} $HOME ${params.y}\n");
  ASSERT_TRUE(ok(spec));
  EXPECT_EQ(spec->param_values()["y"], "cost ${steps.z.w}");
  EXPECT_EQ(spec->steps[0].config["shell"],
            "echo $${HOME} $HOME cost $${steps.z.w}");  // still escaped: more follows
  EXPECT_TRUE(spec->steps[0].needs.empty());
}

TEST(PipelineSpec, LeavesEnvironmentWhereTheKindAllowsIt) {
  const auto spec = parse("name: p\nsteps:\n  a:\n    make: {env: {TOKEN: \"${env.PATH}\"}}\n");
  ASSERT_TRUE(ok(spec));
  EXPECT_EQ(spec->steps[0].config["env"]["TOKEN"], "${env.PATH}");
}

TEST(PipelineSpec, FollowsOutputsWithDotsInTheirNames) {
  const auto spec =
      parse("name: p\nsteps:\n  a: {make: {}}\n  b: {shell: \"${steps.a.report.json}\"}\n");
  ASSERT_TRUE(ok(spec));
  EXPECT_THAT(spec->find("b")->needs, ElementsAre("a"));
}

}  // namespace
}  // namespace slipway::pipeline
