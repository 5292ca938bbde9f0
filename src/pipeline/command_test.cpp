#include "pipeline/command.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "support/pipeline_home.h"

namespace slipway::pipeline {
namespace {

using test::ok;
using test::PipelineHome;
using test::slurp;
using test::step_of;
using testing::HasSubstr;

// Waits, up to ten seconds, until the process with this id is gone.
bool is_gone(pid_t pid) {
  for (int i = 0; i < 1000; ++i) {
    std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
    std::string text;
    if (!std::getline(stat, text) || text.find(") Z ") != std::string::npos) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  return false;
}

pid_t pid_in(const std::filesystem::path& file) {
  for (int i = 0; i < 1000; ++i) {
    if (const auto text = slurp(file); text.ends_with("\n"))
      return static_cast<pid_t>(std::stoi(text));
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
  }
  return -1;
}

class CommandTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ok(home_.opened)); }
  RunReport run(const std::string& steps, const RunOptions& options = {}) {
    const auto spec =
        home_.parse("name: p\nseed: 3\nparams: {trees: 5, label: late}\nsteps:\n" + steps);
    EXPECT_TRUE(ok(spec));
    if (!spec) return {};
    auto report = home_.engine->run(ctx_, *spec, options);
    EXPECT_TRUE(ok(report));
    return report ? *report : RunReport{};
  }

  test::Scratch scratch_;
  SystemClock clock_;
  Context ctx_{clock_};
  PipelineHome home_{scratch_.path(), clock_};
};

TEST_F(CommandTest, HandsEverythingOverByEnvironment) {
  scratch_.file("work/in.csv", "x\n");
  const auto report = run(R"(
  a:
    command: |
      echo "$SLIPWAY_STEP $SLIPWAY_PIPELINE $SLIPWAY_PARAM_TREES $SLIPWAY_PARAM_LABEL $MLFLOW_TRACKING_URI $EXTRA"
      cat "$SLIPWAY_INPUT_DATA"
      pwd
    inputs: {data: in.csv}
    env: {EXTRA: 7}
)",
                          {.environment = {{"MLFLOW_TRACKING_URI", "http://127.0.0.1:5000"}}});
  EXPECT_EQ(report.state, RunState::succeeded);
  EXPECT_EQ(slurp(step_of(report, "a").log),
            "a p 5 late http://127.0.0.1:5000 7\nx\n" + home_.folder.string() + "\n");
}

TEST_F(CommandTest, StoresOutputsByContentAndHandsThemToOthers) {
  const std::string steps = R"(
  make:
    command: echo model > "$SLIPWAY_OUTPUT_MODEL"; mkdir "$SLIPWAY_OUTPUT_PLOTS"; echo p > "$SLIPWAY_OUTPUT_PLOTS/a.txt"
    outputs: [model, plots]
  use:
    command: cat "$SLIPWAY_INPUT_MODEL" "$SLIPWAY_INPUT_PLOTS/a.txt"
    inputs: {model: "${steps.make.model}", plots: "${steps.make.plots}"}
)";
  const auto report = run(steps);
  ASSERT_EQ(report.state, RunState::succeeded) << report.error;
  EXPECT_EQ(slurp(step_of(report, "use").log), "model\np\n");
  const auto& artifacts = step_of(report, "make").artifacts;
  ASSERT_EQ(artifacts.size(), 2u);
  EXPECT_EQ(home_.blobs->read(artifacts[0].sha256).value_or(""), "model\n");
  EXPECT_TRUE(artifacts[1].folder);
  EXPECT_EQ(step_of(run(steps), "use").state, StepState::cached);

  std::filesystem::remove(*home_.blobs->path_of(artifacts[0].sha256));
  const auto remade = run(steps);
  EXPECT_THAT(step_of(remade, "make").why, HasSubstr("'model'"));
  EXPECT_EQ(step_of(remade, "make").state, StepState::succeeded);
  EXPECT_EQ(step_of(remade, "use").state, StepState::cached);  // the same bytes came out
}

TEST_F(CommandTest, RunsAgainWhenAFileItNamesChanged) {
  scratch_.file("work/train.sh", "echo 1\n");
  scratch_.file("work/data/x.csv", "1\n");
  const std::string steps = "  a: {command: sh train.sh, inputs: [data]}\n";
  EXPECT_EQ(step_of(run(steps), "a").state, StepState::succeeded);
  EXPECT_EQ(step_of(run(steps), "a").state, StepState::cached);
  scratch_.file("work/train.sh", "echo 2\n");
  const auto script = step_of(run(steps), "a");
  EXPECT_EQ(script.state, StepState::succeeded);
  EXPECT_THAT(script.why, HasSubstr("files.train.sh changed"));
  scratch_.file("work/data/y.csv", "2\n");
  const auto data = step_of(run(steps), "a");
  EXPECT_EQ(data.state, StepState::succeeded);
  EXPECT_THAT(data.why, HasSubstr("files.data changed"));
}

TEST_F(CommandTest, DoesNotTakeWhatItWritesForAnInput) {
  const std::string steps = "  a: {command: \"date >> notes.txt; cp notes.txt out.bin\"}\n";
  EXPECT_EQ(step_of(run(steps), "a").state, StepState::succeeded);
  EXPECT_EQ(step_of(run(steps), "a").state, StepState::cached);
}

TEST_F(CommandTest, TellsHowItFailed) {
  const std::vector<std::tuple<std::string, std::string, std::vector<std::string>>> rows = {
      {"an exit code",
       "{command: \"echo one; echo two >&2; exit 3\"}",
       {"exit code 3", "one\ntwo"}},
      {"silence", "{command: \"exit 4\"}", {"exit code 4", "wrote nothing"}},
      {"a signal", "{command: \"kill -9 $$\"}", {"signal 9"}},
      {"no such program",
       "{command: [slipway-no-such-program]}",
       {"exit code 127", "slipway-no-such-program"}},
      {"an output that is missing",
       "{command: \"true\", outputs: model}",
       {"'model'", "$SLIPWAY_OUTPUT_MODEL"}},
      {"an output that is a link",
       "{command: \"ln -s /etc/passwd $SLIPWAY_OUTPUT_MODEL\", outputs: model}",
       {"'model'"}},
      {"an input that is missing",
       "{command: \"true\", inputs: {data: no.csv}}",
       {"'data'", "no.csv"}},
      {"a folder that is missing", "{command: \"true\", workdir: nowhere}", {"nowhere"}}};
  for (const auto& [name, step, wanted] : rows) {
    SCOPED_TRACE(name);
    const auto report = run("  a: " + step + "\n");
    EXPECT_EQ(report.state, RunState::failed);
    for (const auto& part : wanted) EXPECT_THAT(step_of(report, "a").error, HasSubstr(part));
  }
}

TEST_F(CommandTest, ChecksItsDeclaration) {
  const std::vector<std::pair<std::string, std::string>> rows = {
      {"{command: []}", "/bin/sh"},
      {"{command: x, outputs: [../x]}", "../x"},
      {"{command: x, outputs: [a-b, a_b]}", "SLIPWAY_OUTPUT_A_B"},
      {"{command: x, env: [A]}", "mapping"},
      {"{command: x, inputs: {a: 1}}", "'a'"},
      {"{command: x, input: {a: b}}", "inputs"}};
  for (const auto& [step, wanted] : rows) {
    SCOPED_TRACE(step);
    const auto spec = home_.parse("name: p\nsteps:\n  a: " + step + "\n");
    ASSERT_FALSE(spec);
    EXPECT_THAT(spec.error().message, HasSubstr(wanted));
  }
}

TEST_F(CommandTest, PassesArgumentsAsTheyStand) {
  const auto report = run("  a: {command: [printf, \"%s|\", \"a b\", \"$HOME\", \"'\"]}\n");
  EXPECT_EQ(slurp(step_of(report, "a").log), "a b|$HOME|'|");
}

TEST_F(CommandTest, KillsTheWholeGroupOnATimeout) {
  const auto report =
      run("  a:\n    command: 'sleep 60 & echo $! > child; trap \"\" TERM; sleep 61'\n    timeout: "
          "300ms\n");
  EXPECT_EQ(report.state, RunState::failed);
  EXPECT_THAT(step_of(report, "a").error, HasSubstr("timeout"));
  EXPECT_TRUE(is_gone(pid_in(home_.folder / "child")));
}

TEST_F(CommandTest, LeavesNothingBehindWhenItEndsWell) {
  const auto report = run("  a: {command: \"sleep 60 & echo $! > child\"}\n");
  EXPECT_EQ(report.state, RunState::succeeded);
  EXPECT_TRUE(is_gone(pid_in(home_.folder / "child")));
}

TEST_F(CommandTest, KeepsEnvironmentValuesOutOfTheDatabase) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread reads it
  ::setenv("SLIPWAY_TEST_TOKEN", "s3cr3t-value", 1);
  const std::string steps =
      "  a:\n    command: test \"$TOKEN\" = s3cr3t-value\n    env: {TOKEN: "
      "\"${env.SLIPWAY_TEST_TOKEN}\"}\n";
  const std::string hidden =
      "  a:\n    command: test -n \"$TOKEN\"\n    env: {TOKEN: \"${env.SLIPWAY_TEST_TOKEN}\"}\n";
  EXPECT_EQ(run(steps).state, RunState::succeeded);
  EXPECT_EQ(run(hidden).state, RunState::succeeded);
  ::setenv("SLIPWAY_TEST_TOKEN", "an0ther-value", 1);  // NOLINT(concurrency-mt-unsafe)
  EXPECT_EQ(step_of(run(hidden), "a").state, StepState::cached);
  const auto copy = scratch_ / "copy.db";
  ASSERT_TRUE(ok(home_.db->backup_to(copy)));
  EXPECT_EQ(slurp(copy).find("an0ther-value"), std::string::npos);
  ::unsetenv("SLIPWAY_TEST_TOKEN");  // NOLINT(concurrency-mt-unsafe)
}

TEST(CommandGuardian, KillsCommandsWhenTheirProcessIsKilled) {
  const test::Scratch scratch;
  const pid_t child = ::fork();
  if (child == 0) {
    const SystemClock clock;
    PipelineHome home(scratch.path(), clock);
    if (!home.opened) ::_exit(1);
    const auto spec =
        home.parse("name: p\nsteps:\n  a: {command: \"sleep 60 & echo $! > pid; wait\"}\n");
    (void)home.engine->run(Context(clock), *spec);
    ::_exit(1);
  }
  const pid_t sleeper = pid_in(scratch / "work/pid");
  ASSERT_GT(sleeper, 0);
  ASSERT_EQ(::kill(sleeper, 0), 0);
  ::kill(child, SIGKILL);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(is_gone(sleeper));
}

}  // namespace
}  // namespace slipway::pipeline
