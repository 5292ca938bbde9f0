#include "pipeline/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "base/fault.h"
#include "support/pipeline_home.h"

namespace slipway::pipeline {
namespace {

using test::failed_with;
using test::ok;
using test::PipelineHome;
using test::slurp;
using test::states_of;
using test::step_of;
using testing::ElementsAre;
using testing::HasSubstr;
using States = std::map<std::string, std::string>;

constexpr const char* kChain = R"(
name: chain
params: {trees: 5}
steps:
  a: {probe: {value: 1, log: starts}}
  b: {probe: {value: "${params.trees}", with: "${steps.a.value}", log: starts}}
  c: {probe: {with: "${steps.b.value}", log: starts}}
)";

class EngineTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(ok(home_.opened)); }

  RunReport run(const std::string& text, const std::map<std::string, std::string>& params = {},
                const RunOptions& options = {}, Observer* observer = nullptr) {
    const auto spec = home_.parse(text, params);
    EXPECT_TRUE(ok(spec));
    if (!spec) return {};
    auto report = home_.engine->run(ctx_, *spec, options, observer);
    EXPECT_TRUE(ok(report));
    return report ? *report : RunReport{};
  }

  test::Scratch scratch_;
  SystemClock clock_;
  Context ctx_{clock_};
  PipelineHome home_{scratch_.path(), clock_};
};

TEST_F(EngineTest, RunsEachStepAfterWhatItNeedsAndPassesOutputsOn) {
  const auto report = run(kChain);
  EXPECT_EQ(report.state, RunState::succeeded);
  EXPECT_EQ(states_of(report),
            (States{{"a", "succeeded"}, {"b", "succeeded"}, {"c", "succeeded"}}));
  EXPECT_EQ(slurp(home_.folder / "starts"), "a\nb\nc\n");
  EXPECT_EQ(step_of(report, "b").outputs, (Json{{"value", 5}, {"step", "b"}}));
  EXPECT_EQ(step_of(report, "b").summary, "probed");
  EXPECT_THAT(slurp(step_of(report, "b").log), HasSubstr("probe of b"));
}

TEST_F(EngineTest, UsesEarlierResultsWhenNothingChanged) {
  run(kChain);
  const auto again = run(kChain);
  EXPECT_EQ(again.state, RunState::succeeded);
  EXPECT_EQ(states_of(again), (States{{"a", "cached"}, {"b", "cached"}, {"c", "cached"}}));
  EXPECT_EQ(home_.probe->starts, 3);
  EXPECT_EQ(step_of(again, "b").outputs, (Json{{"value", 5}, {"step", "b"}}));
  EXPECT_THAT(step_of(again, "a").why, HasSubstr("nothing changed since run"));
}

TEST_F(EngineTest, RunsAgainExactlyWhatAChangeReachesAndSaysWhy) {
  scratch_.file("work/in.csv", "1");
  const std::string text = R"(
name: p
params: {trees: 5, other: 1}
steps:
  a: {probe: {value: 1, file: in.csv}}
  b: {probe: {value: "${params.trees}", with: "${steps.a.value}"}}
  c: {probe: {value: 3, with: "${steps.b.value}"}}
  d: {probe: {value: 4}}
)";
  run(text);
  struct Row {
    std::string name;
    std::function<RunReport()> change;
    std::map<std::string, std::string> why;  // of the steps that run
  };
  const std::vector<Row> rows = {
      {"an unused parameter", [&] { return run(text, {{"other", "2"}}); }, {}},
      {"a parameter",
       [&] { return run(text, {{"trees", "6"}}); },
       {{"b", "config.value: 5 -> 6"}, {"c", "config.with: 5 -> 6"}}},
      {"back to an older value", [&] { return run(text); }, {}},
      {"a file, whose step gives the same outputs",
       [&] {
         scratch_.file("work/in.csv", "2");
         return run(text);
       },
       {{"a", "file changed"}}},
      {"a step run again by order",
       [&] { return run(text, {}, {.from_step = "b"}); },
       {{"b", "asked to run again from 'b'"}, {"c", "asked to run again from 'b'"}}},
      {"all by order",
       [&] { return run(text, {}, {.use_cache = false}); },
       {{"a", "asked"}, {"b", "asked"}, {"c", "asked"}, {"d", "asked"}}}};
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const auto report = row.change();
    EXPECT_EQ(report.state, RunState::succeeded);
    for (const auto& step : report.steps) {
      SCOPED_TRACE(step.name);
      const auto why = row.why.find(step.name);
      EXPECT_EQ(to_string(step.state), why == row.why.end() ? "cached" : "succeeded");
      if (why != row.why.end()) {
        EXPECT_THAT(step.why, HasSubstr(why->second));
      }
    }
  }
}

TEST_F(EngineTest, PlansWithoutRunningAnything) {
  const auto plan_of = [&](const std::map<std::string, std::string>& params) {
    const auto spec = home_.parse(kChain, params);
    auto plan = home_.engine->plan(ctx_, *spec);
    EXPECT_TRUE(ok(plan));
    std::vector<PlannedStep::Decision> decisions;
    for (const auto& step : *plan) decisions.push_back(step.decision);
    return decisions;
  };
  using enum PlannedStep::Decision;
  EXPECT_THAT(plan_of({}), ElementsAre(PlannedStep::Decision::run, maybe, maybe));
  EXPECT_EQ(home_.probe->starts, 0);
  EXPECT_TRUE(home_.engine->list({})->empty());
  EngineTest::run(kChain);
  EXPECT_THAT(plan_of({}), ElementsAre(hit, hit, hit));
  EXPECT_THAT(plan_of({{"trees", "9"}}), ElementsAre(hit, PlannedStep::Decision::run, maybe));
}

TEST_F(EngineTest, GoesOnOnOtherBranchesWhenAStepFails) {
  const auto report = run(R"(
name: p
steps:
  a: {probe: {fails: always}}
  b: {probe: {}, needs: a}
  c: {probe: {}, needs: b}
  d: {probe: {}}
  e: {probe: {}, needs: [d]}
)");
  EXPECT_EQ(report.state, RunState::failed);
  EXPECT_EQ(states_of(report), (States{{"a", "failed"},
                                       {"b", "skipped"},
                                       {"c", "skipped"},
                                       {"d", "succeeded"},
                                       {"e", "succeeded"}}));
  EXPECT_EQ(report.error, "step 'a': told to fail");
  EXPECT_EQ(step_of(report, "b").why, "needs 'a', which failed");
  EXPECT_EQ(step_of(report, "c").why, "needs 'b', which was skipped");
}

TEST_F(EngineTest, EndsRefusedWhenAStepSaysNoAlsoFromTheCache) {
  const std::string text =
      "name: p\nsteps:\n  gate: {probe: {says_no: true}}\n  deploy: {probe: {}, needs: gate}\n";
  for (const std::string state : {"refused", "cached"}) {
    const auto report = run(text);
    EXPECT_EQ(report.state, RunState::refused);
    EXPECT_EQ(states_of(report), (States{{"gate", state}, {"deploy", "skipped"}}));
  }
  EXPECT_EQ(home_.probe->starts, 1);
  const auto plan = home_.engine->plan(ctx_, *home_.parse(text));
  ASSERT_TRUE(ok(plan));
  EXPECT_EQ(plan->at(1).decision, PlannedStep::Decision::skip);
}

TEST_F(EngineTest, TriesAgainAsOftenAsDeclared) {
  const auto healed =
      run("name: p\nsteps:\n  a: {probe: {fails: first}, retries: 2, retry_delay: 2ms}\n");
  EXPECT_EQ(healed.state, RunState::succeeded);
  EXPECT_EQ(step_of(healed, "a").attempts, 2);
  const auto failed =
      run("name: q\nsteps:\n  a: {probe: {fails: always}, retries: 2, retry_delay: 1ms}\n");
  EXPECT_EQ(failed.state, RunState::failed);
  EXPECT_EQ(step_of(failed, "a").attempts, 3);
}

TEST_F(EngineTest, TurnsTimeoutsAndExceptionsIntoFailures) {
  const auto report =
      run("name: p\nsteps:\n  slow: {probe: {waits: true}, timeout: 20ms}\n  thrower: {probe: "
          "{fails: throws}}\n");
  EXPECT_EQ(report.state, RunState::failed);
  EXPECT_EQ(step_of(report, "slow").error,
            "it took longer than its timeout of " + format_duration(std::chrono::milliseconds{20}));
  EXPECT_THAT(step_of(report, "thrower").error, HasSubstr("thrown"));
}

TEST_F(EngineTest, CancelsRunningAndWaitingSteps) {
  std::stop_source stop;
  ctx_.stop = stop.get_token();
  struct Stopper final : Observer {
    explicit Stopper(std::stop_source& its_source) : source(its_source) {}
    void step_started(const StepReport& step) override {
      if (step.name == "b") source.request_stop();
    }
    std::stop_source& source;
  } stopper(stop);
  const auto report =
      run("name: p\nsteps:\n  a: {probe: {}}\n  b: {probe: {waits: true}, needs: a, retries: 3}\n  "
          "c: {probe: {}, needs: b}\n",
          {}, {}, &stopper);
  EXPECT_EQ(report.state, RunState::cancelled);
  EXPECT_EQ(states_of(report),
            (States{{"a", "succeeded"}, {"b", "cancelled"}, {"c", "cancelled"}}));
}

TEST_F(EngineTest, RunsIndependentStepsAtTheSameTimeUpToTheLimit) {
  std::string text = "name: p\nsteps:\n";
  for (int i = 0; i < 6; ++i)
    text += fmt::format("  s{}: {{probe: {{waits: true}}, timeout: 30ms}}\n", i);
  run(text, {}, {.max_parallel = 3});
  EXPECT_EQ(home_.probe->most_at_once, 3);
}

TEST_F(EngineTest, TellsFailuresOfReferencesOnlyKnownAtRunTime) {
  const auto report =
      run("name: p\nsteps:\n  a: {probe: {value: {auc: 0.7}}}\n  b: {probe: {with: "
          "\"${steps.a.value.acu}\"}}\n");
  EXPECT_EQ(report.state, RunState::failed);
  EXPECT_THAT(step_of(report, "b").error, HasSubstr("p.yaml:4:"));
  EXPECT_THAT(step_of(report, "b").error, HasSubstr("value.acu"));
}

TEST_F(EngineTest, FailsTheStepWhoseFileIsMissing) {
  const auto report =
      run("name: p\nsteps:\n  a: {probe: {file: nothing.csv}}\n  b: {probe: {}, needs: a}\n");
  EXPECT_EQ(states_of(report), (States{{"a", "failed"}, {"b", "skipped"}}));
  EXPECT_THAT(report.error, HasSubstr("nothing.csv"));
}

TEST_F(EngineTest, RefusesAnUnknownFromStepBeforeAnythingRuns) {
  const auto report = home_.engine->run(ctx_, *home_.parse(kChain), {.from_step = "aa"});
  EXPECT_TRUE(failed_with(report, Code::invalid_argument));
  EXPECT_TRUE(home_.engine->list({})->empty());
}

TEST_F(EngineTest, StoresRunsAndAuditsThem) {
  ctx_.principal.name = "ada";
  const auto report = run(kChain, {}, {.reason = "a test"});
  const auto stored = home_.engine->get(report.id.substr(0, 10));
  ASSERT_TRUE(ok(stored));
  EXPECT_EQ(stored->id, report.id);
  EXPECT_EQ(stored->state, RunState::succeeded);
  EXPECT_EQ(stored->actor, "ada");
  EXPECT_EQ(stored->reason, "a test");
  EXPECT_EQ(stored->params, (Json{{"trees", 5}}));
  EXPECT_EQ(states_of(*stored), states_of(report));
  EXPECT_EQ(step_of(*stored, "b").outputs, step_of(report, "b").outputs);
  EXPECT_TRUE(failed_with(home_.engine->get("zz"), Code::not_found));
  run(kChain);
  EXPECT_EQ(home_.engine->list({.pipeline = "chain"})->size(), 2u);
  EXPECT_EQ(home_.engine->list({.pipeline = "chain", .limit = 1})->size(), 1u);
  EXPECT_TRUE(home_.engine->list({.pipeline = "other"})->empty());

  std::vector<std::string> actions;
  const auto entries = home_.audit->list({.object_prefix = "pipelines/chain/" + report.id});
  ASSERT_TRUE(ok(entries));
  for (const auto& entry : *entries) actions.push_back(entry.event.action);
  EXPECT_THAT(actions,
              ElementsAre("pipeline.start", "step.end", "step.end", "step.end", "pipeline.end"));
  EXPECT_TRUE(home_.audit->verify()->ok);
}

// A process that is killed in the middle of each step in turn; the next run does only what was not
// finished.
TEST(EngineResume, RunsFinishedStepsOnceWhereverTheRunIsKilled) {
  for (const std::string killed : {"a", "b", "c", "d", "e"}) {
    SCOPED_TRACE("killed in " + killed);
    const test::Scratch scratch;
    const SystemClock clock;
    std::string text = "name: p\nsteps:\n";
    const std::vector<std::pair<std::string, std::string>> steps = {
        {"a", "[]"}, {"b", "[a]"}, {"c", "[a]"}, {"d", "[b, c]"}, {"e", "[d]"}};
    for (const auto& [step, needs] : steps) {
      text += fmt::format("  {}: {{probe: {{log: starts, kills: {}}}, needs: {}}}\n", step,
                          step == killed, needs);
    }
    scratch.file("work/armed", "");
    const auto run_once = [&](Result<RunReport>& report) {
      PipelineHome home(scratch.path(), clock, true);
      if (!home.opened) {
        report = home.opened.error();
        return;
      }
      report = home.engine->run(Context(clock), *home.parse(text), {.max_parallel = 1});
      if (report) {  // and what the next one finds
        const auto all = home.engine->list({});
        for (const auto& run : *all) EXPECT_NE(run.state, RunState::running);
        EXPECT_TRUE(home.audit->verify()->ok);
      }
    };
    const pid_t child = ::fork();
    if (child == 0) {
      Result<RunReport> report = internal("not run");
      run_once(report);
      ::_exit(1);  // it should have been killed
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    std::filesystem::remove(scratch / "work/armed");

    Result<RunReport> report = internal("not run");
    run_once(report);
    ASSERT_TRUE(ok(report)) << test::message_of(report);
    EXPECT_EQ(report->state, RunState::succeeded);
    std::map<std::string, int> starts;
    std::istringstream lines(slurp(scratch / "work/starts"));
    for (std::string line; std::getline(lines, line);) ++starts[line];
    for (const auto& [step, needs] : steps) {
      SCOPED_TRACE(step);
      EXPECT_EQ(starts[step], step == killed ? 2 : 1);
      EXPECT_EQ(step_of(*report, step).state,
                step < killed ? StepState::cached : StepState::succeeded);
    }
    PipelineHome home(scratch.path(), clock, true);
    const auto dead = home.engine->get(home.engine->list({})->back().id);
    ASSERT_TRUE(ok(dead));
    EXPECT_EQ(dead->state, RunState::interrupted);
    EXPECT_EQ(step_of(*dead, killed).state, StepState::interrupted);
    EXPECT_FALSE(std::filesystem::exists(scratch.path() / "tmp/pipelines" / dead->id));
  }
}

constexpr const char* kLogged = R"(
name: p
steps:
  a: {probe: {log: starts}}
  b: {probe: {log: starts}, needs: a}
  c: {probe: {log: starts}, needs: b}
)";

// The process that the test below starts to be killed.
TEST(EngineChild, DISABLED_Runs) {
  const char* folder = std::getenv("SLIPWAY_TEST_HOME");  // NOLINT(concurrency-mt-unsafe)
  ASSERT_NE(folder, nullptr);
  const SystemClock clock;
  PipelineHome home(folder, clock, true);
  ASSERT_TRUE(ok(home.opened));
  ASSERT_TRUE(ok(home.engine->run(Context(clock), *home.parse(kLogged))));
}

// Every named point of a step's life, at its first three passages: what was committed is not done
// again, all else is, and each finished step has exactly one entry in the audit log.
TEST(EngineResume, LosesAndRepeatsNothingAtAnyCrashPoint) {
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no other thread reads it
  ::setenv("SLIPWAY_FAULT", "step.claimed", 1);
  const bool has_points = fault::check_environment().has_value();
  ::unsetenv("SLIPWAY_FAULT");  // NOLINT(concurrency-mt-unsafe)
  if (!has_points) GTEST_SKIP() << "this build has no fault points";
  const std::vector<std::pair<std::string, int>> points = {
      // and how often the step in hand starts in the end
      {"step.claimed", 1},
      {"step.exec_started", 1},
      {"step.output_written", 2},
      {"step.before_commit", 2},
      {"step.after_commit_before_event", 1}};
  for (const auto& [point, wanted_starts] : points) {
    for (int hit = 1; hit <= 3; ++hit) {
      SCOPED_TRACE(fmt::format("{}:{}", point, hit));
      const test::Scratch scratch;
      const SystemClock clock;
      const pid_t child = ::fork();
      if (child == 0) {
        // A program of its own: a process reads SLIPWAY_FAULT once.
        // NOLINTNEXTLINE(concurrency-mt-unsafe)
        ::setenv("SLIPWAY_FAULT", fmt::format("{}:{}:kill", point, hit).c_str(), 1);
        ::setenv("SLIPWAY_TEST_HOME", scratch.path().c_str(), 1);  // NOLINT(concurrency-mt-unsafe)
        ::execl("/proc/self/exe", "pipeline_test", "--gtest_filter=EngineChild.*",
                "--gtest_also_run_disabled_tests", nullptr);
        ::_exit(1);
      }
      int status = 0;
      ASSERT_EQ(::waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);

      PipelineHome home(scratch.path(), clock, true);
      ASSERT_TRUE(ok(home.opened));
      const auto report = home.engine->run(Context(clock), *home.parse(kLogged));
      ASSERT_TRUE(ok(report));
      EXPECT_EQ(report->state, RunState::succeeded);
      std::string wanted;
      const std::string steps = "abc";
      for (int i = 0; i < 3; ++i) {
        for (int start = 0; start < (i == hit - 1 ? wanted_starts : 1); ++start)
          wanted += fmt::format("{}\n", steps[i]);
      }
      EXPECT_EQ(slurp(scratch / "work/starts"), wanted);
      const auto entries = home.audit->list({.action_prefix = "step.end"});
      ASSERT_TRUE(ok(entries));
      EXPECT_EQ(entries->size(), 3u);
      EXPECT_TRUE(home.audit->verify()->ok);
      const auto dead = home.engine->get(home.engine->list({})->back().id);
      ASSERT_TRUE(ok(dead));
      EXPECT_EQ(dead->state, RunState::interrupted);
    }
  }
}

TEST_F(EngineTest, FailsTheStepWhoseRecordCannotBeWritten) {
  ASSERT_TRUE(ok(home_.db->write([](db::Transaction& tx) {
    return tx.run(
        "CREATE TRIGGER broken BEFORE INSERT ON step_cache BEGIN SELECT RAISE(ABORT, 'no room'); "
        "END");
  })));
  const auto report = run("name: p\nsteps:\n  a: {probe: {}}\n  b: {probe: {}, needs: a}\n");
  EXPECT_EQ(report.state, RunState::failed);
  EXPECT_EQ(states_of(report), (States{{"a", "failed"}, {"b", "skipped"}}));
  EXPECT_THAT(report.error, HasSubstr("no room"));
  EXPECT_EQ(step_of(*home_.engine->get(report.id), "a").state, StepState::failed);
}

TEST_F(EngineTest, LeavesRunsAloneWhoseProcessLives) {
  struct Recoverer final : Observer {
    explicit Recoverer(Engine& its_engine) : engine(its_engine) {}
    void step_started(const StepReport&) override { found = engine.recover({}).value_or(-1); }
    Engine& engine;
    int found = -1;
  } recoverer(*home_.engine);
  run("name: p\nsteps:\n  a: {probe: {}}\n", {}, {}, &recoverer);
  EXPECT_EQ(recoverer.found, 0);
}

}  // namespace
}  // namespace slipway::pipeline
