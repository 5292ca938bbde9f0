#include "monitoring/monitor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/log.h"
#include "monitoring/test_traffic_internal.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::monitoring {
namespace {

using test::ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using namespace test_support;  // NOLINT(google-build-using-namespace): this file's own fakes

const Time kStart = *parse_time("2013-04-01");  // a Monday
constexpr auto kWeek = std::chrono::days(7);

class RecordingSink final : public AlertSink {
 public:
  Result<void> fired(const Context&, const Alert& alert) override {
    return take((alert.repeats > 0 ? "repeated " : "fired ") + alert.rule + " " +
                format_time(alert.window.start).substr(0, 10));
  }
  Result<void> resolved(const Context&, const Alert& alert) override {
    return take("resolved " + alert.rule);
  }
  Result<void> take(const std::string& what) {
    if (on_call) on_call();
    if (down) return unavailable("the sink is away");
    heard.push_back(what);
    return {};
  }
  std::function<void()> on_call;
  bool down = false;
  std::vector<std::string> heard;
};

class FakeWebhooks final : public Webhooks {
 public:
  Result<void> post(const Context&, const std::string& url, const std::string& delivery,
                    const std::string& body) override {
    ++attempts;
    if (down) return unavailable("no answer");
    posts.push_back(url + " " + parse_json(body)->value("event", ""));
    bodies.push_back(body);
    deliveries.push_back(delivery);
    return {};
  }
  bool down = false;
  int attempts = 0;
  std::vector<std::string> posts, bodies, deliveries;
};

// A home with a monitor in it, which can be closed and opened again.
struct World {
  explicit World(const std::filesystem::path& folder) : home(folder) { open(); }
  void open() {
    monitor.reset();
    audit.reset();
    db.reset();
    auto database = db::Database::open(test::database_at(home / "slipway.db"), {});
    ASSERT_TRUE(ok(database)) << ok(database);
    db = std::move(*database);
    auto log = audit::Log::open(*db, home / "keys", clock);
    ASSERT_TRUE(ok(log)) << ok(log);
    audit = std::move(*log);
    auto opened = Monitor::open({*db, *audit, ids, traffic, traffic, references, sink, webhooks});
    ASSERT_TRUE(ok(opened)) << ok(opened);
    monitor = std::move(*opened);
  }
  void configure(const std::string& alerts, const std::string& more = "") {
    const auto document = SpecDocument::parse(
        "deployment: flights\nclock: request\nmin_rows: 100\n" + more + "alerts:\n" + alerts,
        "m.yaml");
    ASSERT_TRUE(ok(document)) << ok(document);
    SpecReader reader(*document);
    const auto spec = MonitorSpec::read(reader);
    ASSERT_TRUE(ok(reader.finish())) << ok(reader.finish());
    ASSERT_TRUE(ok(monitor->configure(Context(), spec, clock.now())));
  }
  StepResult step() {
    auto result = monitor->step(Context(), clock.now());
    EXPECT_TRUE(ok(result)) << ok(result);
    return result ? *result : StepResult{};
  }
  // One row of traffic per quality, and a last row that moves the time on by `after`.
  void traffic_of(const std::vector<double>& quality_by_week, Duration after) {
    Rng rng(5);
    for (std::size_t week = 0; week < quality_by_week.size(); ++week) {
      const Time at = kStart + week * kWeek;
      traffic.add(draw_rows(rng, at, kWeek, 400, quality_by_week[week]));
    }
    traffic.mark = kStart + quality_by_week.size() * kWeek + after;
  }
  std::vector<std::string> audited(const std::string& prefix) {
    std::vector<std::string> actions;
    const auto entries = audit->list({.action_prefix = prefix});
    EXPECT_TRUE(ok(entries));
    for (const auto& entry : *entries)
      actions.push_back(entry.event.action + " " + entry.event.object);
    return actions;
  }

  std::filesystem::path home;
  ManualClock clock{*parse_time("2026-01-01")};
  SequentialIds ids;
  FakeTraffic traffic;
  FakeReferences references;
  RecordingSink sink;
  FakeWebhooks webhooks;
  std::unique_ptr<db::Database> db;
  std::unique_ptr<audit::Log> audit;
  std::unique_ptr<Monitor> monitor;
};

// The value itself: a range-for over *f() would outlive the Result that holds it.
template <class T>
T take(Result<T> result) {
  EXPECT_TRUE(ok(result)) << ok(result);
  return result ? std::move(*result) : T{};
}

const std::string kDecay =
    "  - {name: decay, when: auc < reference.auc - 0.1, for: 2, severity: critical, repeat: 2}\n";
const std::vector<double> kStory = {1, 0.1, 1, 0.1, 0.1, 0.1, 0.1, 1, 1};

TEST(Monitor, FiresAfterEnoughWindowsRepeatsAndResolves) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure(kDecay, "webhooks: [http://hooks/a]\n");
  world.traffic_of(kStory, std::chrono::days(2));
  const StepResult result = world.step();
  EXPECT_EQ(result.evaluated, 18);  // nine windows in two phases
  EXPECT_EQ(result.fired, 1);
  EXPECT_EQ(result.resolved, 1);
  EXPECT_THAT(world.sink.heard,
              ElementsAre("fired decay 2013-04-29", "repeated decay 2013-04-29", "resolved decay"));
  const auto alerts = world.monitor->alerts({});
  ASSERT_TRUE(ok(alerts));
  ASSERT_EQ(alerts->size(), 1U);
  const Alert& alert = alerts->front();
  EXPECT_FALSE(alert.firing);
  EXPECT_EQ(alert.severity, "critical");
  EXPECT_EQ(alert.repeats, 1);
  EXPECT_EQ(alert.version, 1);
  ASSERT_EQ(alert.clauses.size(), 1U);
  EXPECT_NEAR(*alert.clauses[0].right, 0.73, 1e-9);
  EXPECT_LT(*alert.clauses[0].left, 0.73);
  EXPECT_EQ(format_time(alert.resolved_window->start), "2013-05-20T00:00:00Z");
  EXPECT_THAT(world.audited("alert."),
              ElementsAre("alert.fire deployments/flights/alerts/decay",
                          "alert.resolve deployments/flights/alerts/decay"));
  EXPECT_EQ(world.audited("monitor.configure").size(), 1U);

  EXPECT_TRUE(world.webhooks.posts.empty());  // deliver() does that
  const auto delivered = world.monitor->deliver(Context(), world.clock.now());
  ASSERT_TRUE(ok(delivered));
  EXPECT_THAT(world.webhooks.posts, ElementsAre("http://hooks/a fired", "http://hooks/a repeated",
                                                "http://hooks/a resolved"));
  EXPECT_THAT(world.webhooks.bodies[0],
              HasSubstr("alert 'decay' fired (critical): auc < reference.auc - 0.1"));
  EXPECT_EQ(world.monitor->alert(alert.id)->rule, "decay");
  EXPECT_EQ(test::code_of(world.monitor->alert("none")), "not_found");
}

TEST(Monitor, TellsTheSameStoryHoweverOftenItIsStepped) {
  std::vector<std::string> stories;
  for (const int rows_per_step : {100'000, 37, 401}) {
    const test::Scratch scratch;
    World world(scratch.path());
    world.configure(kDecay + "  - {name: few, when: rows < 300}\n");
    world.traffic_of(kStory, std::chrono::days(2));
    auto all = std::move(world.traffic.primaries);
    const Time end = std::exchange(world.traffic.mark, Time{});
    world.traffic.primaries.clear();
    for (std::size_t i = 0; i < all.size(); ++i) {
      world.traffic.primaries.push_back(all[i]);
      if (i % static_cast<std::size_t>(rows_per_step) == 0) world.step();
    }
    world.traffic.mark = end;
    world.step();
    std::string story;
    for (const auto& heard : world.sink.heard) story += heard + "\n";
    for (const auto& report : take(world.monitor->windows("flights", {})))
      story += report.dump() + "\n";
    stories.push_back(story);
  }
  EXPECT_EQ(stories[0], stories[1]);
  EXPECT_EQ(stories[0], stories[2]);
}

TEST(Monitor, CountsEachWindowOnceOverRestarts) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure(kDecay);
  world.traffic_of({1, 0.1, 0.1}, std::chrono::days(2));
  EXPECT_EQ(world.step().evaluated, 6);
  world.open();
  EXPECT_EQ(world.step().evaluated, 0);
  EXPECT_EQ(world.sink.heard.size(), 1U);
  EXPECT_EQ(world.monitor->alerts({.only_firing = true})->size(), 1U);
  EXPECT_EQ(world.monitor->specs()->size(), 1U);
}

TEST(Monitor, WaitsForLabels) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure("  - {name: decay, when: auc < 0.99}\n  - {name: traffic, when: rows > 10}\n");
  world.traffic_of({1}, std::chrono::hours(1));
  EXPECT_EQ(world.step().evaluated, 1);
  EXPECT_THAT(world.sink.heard, ElementsAre("fired traffic 2013-04-01"));
  EXPECT_EQ(world.monitor->windows("flights", {})->front()["phase"], "traffic");
  world.traffic.mark = kStart + kWeek + std::chrono::days(1);
  EXPECT_EQ(world.step().evaluated, 1);
  EXPECT_THAT(world.sink.heard, ElementsAre("fired traffic 2013-04-01", "fired decay 2013-04-01"));
  EXPECT_EQ(world.monitor->windows("flights", {})->front()["phase"], "labels");
}

TEST(Monitor, NeitherFiresNorResolvesOnWhatItCannotJudge) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure("  - {name: decay, when: auc < reference.auc - 0.1}\n");
  world.traffic_of({0.1, 1, 1}, std::chrono::days(2));
  for (auto& row : world.traffic.primaries) {
    if (row.time >= kStart + kWeek && row.time < kStart + 2 * kWeek) row.label.reset();
  }
  world.step();
  const auto alerts = world.monitor->alerts({});
  ASSERT_EQ(alerts->size(), 1U);
  EXPECT_EQ(format_time(alerts->front().resolved_window->start), "2013-04-15T00:00:00Z");
}

TEST(Monitor, ComparesWithTheWindowBefore) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure("  - {name: drop, when: rows < 0.5 * previous.rows}\n");
  Rng rng(1);
  world.traffic.add(draw_rows(rng, kStart, kWeek, 400, 1));
  // A week without any traffic, then some.
  world.traffic.add(draw_rows(rng, kStart + 2 * kWeek, kWeek, 400, 1));
  world.traffic.mark = kStart + 4 * kWeek;
  world.step();
  EXPECT_THAT(world.sink.heard,
              ElementsAre("fired drop 2013-04-08", "resolved drop", "fired drop 2013-04-22"));
}

TEST(Monitor, TellsTheSinkAgainUntilItTakesIt) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure("  - {name: decay, when: auc < reference.auc - 0.1}\n");
  world.traffic_of({0.1, 1}, std::chrono::days(2));
  world.sink.down = true;
  world.step();
  const Time later = kStart + 10 * kWeek;
  EXPECT_FALSE(*world.monitor->settled("flights", later, world.clock.now()));
  world.sink.down = false;
  world.step();  // too early
  EXPECT_TRUE(world.sink.heard.empty());
  world.clock.advance(std::chrono::seconds(1));
  world.step();
  EXPECT_THAT(world.sink.heard, ElementsAre("fired decay 2013-04-01", "resolved decay"));
  EXPECT_TRUE(*world.monitor->settled("flights", later, world.clock.now()));
}

TEST(Monitor, IsSettledWhenNothingMoreCanBeEvaluated) {
  const test::Scratch scratch;
  World world(scratch.path());
  EXPECT_TRUE(*world.monitor->settled("flights", kStart, world.clock.now()));
  world.configure(kDecay);
  EXPECT_TRUE(
      *world.monitor->settled("flights", kStart + kWeek, world.clock.now()));  // no traffic yet
  world.traffic_of({1, 1}, std::chrono::hours(1));
  EXPECT_TRUE(*world.monitor->settled("flights", kStart + kWeek - Duration(1), world.clock.now()));
  EXPECT_FALSE(*world.monitor->settled("flights", kStart + kWeek, world.clock.now()));
  world.step();
  EXPECT_TRUE(*world.monitor->settled("flights", kStart + 100 * kWeek, world.clock.now()));
}

TEST(Monitor, RetriesWebhooksAndGivesUpInTheEnd) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure("  - {name: decay, when: auc < reference.auc - 0.1}\n",
                  "webhooks: [https://hooks/secret-token, https://b]\n");
  world.traffic_of({0.1}, std::chrono::days(2));
  world.step();
  world.webhooks.down = true;
  ASSERT_TRUE(ok(world.monitor->deliver(Context(), world.clock.now())));
  EXPECT_EQ(world.webhooks.attempts, 2);
  ASSERT_TRUE(ok(world.monitor->deliver(Context(), world.clock.now())));
  EXPECT_EQ(world.webhooks.attempts, 2);  // not before its time
  world.open();                           // owed still, after a restart
  world.webhooks.down = false;
  world.clock.advance(std::chrono::seconds(2));
  ASSERT_TRUE(ok(world.monitor->deliver(Context(), world.clock.now())));
  EXPECT_EQ(world.webhooks.posts.size(), 2U);

  world.webhooks.down = true;
  world.traffic_of({0.1, 1}, std::chrono::days(2));
  for (int i = 0; i < 40; ++i) {
    world.step();
    ASSERT_TRUE(ok(world.monitor->deliver(Context(), world.clock.now())));
    world.clock.advance(std::chrono::hours(2));
  }
  EXPECT_EQ(world.webhooks.attempts, 2 + 2 + 2 * 16);
  EXPECT_EQ(world.audited("webhook.abandon").size(), 2U);
  for (const auto& entry : take(world.audit->list({}))) {
    EXPECT_THAT(entry.event.details.dump() + entry.event.object,
                testing::Not(HasSubstr("secret-token")));
  }
}

TEST(Monitor, EndsAlertsOfRulesThatAreGone) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure("  - {name: decay, when: auc < reference.auc - 0.1}\n");
  world.traffic_of({0.1}, std::chrono::days(2));
  world.step();
  world.configure("  - {name: other, when: rows < 1}\n");
  world.configure("  - {name: other, when: rows < 1}\n");  // no change: no second entry
  world.step();
  EXPECT_THAT(world.sink.heard, ElementsAre("fired decay 2013-04-01", "resolved decay"));
  EXPECT_EQ(world.monitor->alerts({})->front().resolution, "its rule was removed");
  EXPECT_EQ(world.audited("monitor.configure").size(), 2U);
}

TEST(Monitor, GoesOnWithOtherDeploymentsWhenOneFails) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure(kDecay);
  world.traffic_of({0.1}, std::chrono::days(2));
  world.traffic.labels_down = true;
  const auto failed = world.monitor->step(Context(), world.clock.now());
  EXPECT_EQ(test::code_of(failed), "unavailable");
  EXPECT_TRUE(world.monitor->windows("flights", {})->empty());
  world.traffic.labels_down = false;
  EXPECT_EQ(world.step().evaluated, 2);
}

TEST(Monitor, UsesTheMachinesClockWhenToldTo) {
  const test::Scratch scratch;
  World world(scratch.path());
  const auto document =
      SpecDocument::parse("deployment: flights\nwindow: 1h\nlabel_wait: 1h\n", "m.yaml");
  SpecReader reader(*document);
  ASSERT_TRUE(
      ok(world.monitor->configure(Context(), MonitorSpec::read(reader), world.clock.now())));
  Rng rng(1);
  world.clock.set(kStart + std::chrono::minutes(59));
  world.traffic.add(draw_rows(rng, kStart, std::chrono::minutes(30), 300, 1));
  EXPECT_EQ(world.step().evaluated, 0);
  world.clock.advance(std::chrono::minutes(1));
  EXPECT_EQ(world.step().evaluated, 1);
  world.clock.advance(std::chrono::hours(1));  // no traffic: an empty window all the same
  EXPECT_EQ(world.step().evaluated, 2);
  EXPECT_EQ(world.monitor->windows("flights", {.newest_first = true})->front()["rows"], 0);
}

TEST(Monitor, GivesGauges) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure(kDecay);
  EXPECT_TRUE(ok(world.monitor->metrics()));
  world.traffic_of({1, 0.1}, std::chrono::hours(1));
  world.step();
  const auto samples = world.monitor->metrics();
  ASSERT_TRUE(ok(samples)) << ok(samples);
  std::map<std::string, double> found;
  std::string last;
  std::set<std::string> families;
  for (const auto& sample : *samples) {
    if (sample.name != last) {
      EXPECT_TRUE(families.insert(sample.name).second) << sample.name;
    }
    last = sample.name;
    std::string key = sample.name;
    for (const auto& [label, value] : sample.labels) key += " " + value;
    found[key] = sample.value;
    EXPECT_FALSE(sample.help.empty());
  }
  EXPECT_EQ(found.at("slipway_monitoring_window_rows flights"), 400);
  EXPECT_TRUE(found.contains("slipway_monitoring_drift_psi flights temp"));
  // The second window has no final performance yet: the first one's is shown.
  EXPECT_GT(found.at("slipway_monitoring_performance flights champion auc"), 0.7);
  EXPECT_EQ(found.at("slipway_monitoring_alert_state flights decay"), 0);
}

TEST(Monitor, MayBeUsedFromManyThreads) {
  const test::Scratch scratch;
  World world(scratch.path());
  world.configure(kDecay, "webhooks: [http://hooks/a]\n");
  world.traffic_of(kStory, std::chrono::days(2));
  const auto repeated = [](const std::function<Result<void>()>& call) {
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(ok(call()));
  };
  const auto without_value = [](const auto& result) {
    return result ? Result<void>{} : result.error();
  };
  const Time now = world.clock.now();
  std::vector<std::thread> threads;
  for (int i = 0; i < 2; ++i) {
    threads.emplace_back(
        [&] { repeated([&] { return without_value(world.monitor->step(Context(), now)); }); });
    threads.emplace_back(
        [&] { repeated([&] { return without_value(world.monitor->deliver(Context(), now)); }); });
  }
  threads.emplace_back([&] { repeated([&] { return without_value(world.monitor->metrics()); }); });
  threads.emplace_back([&] {
    repeated([&] {
      return without_value(world.monitor->settled("flights", kStart + 100 * kWeek, now));
    });
  });
  for (auto& thread : threads) thread.join();
  // The delivering threads may have been done before the first window was.
  ASSERT_TRUE(ok(world.monitor->deliver(Context(), now)));
  EXPECT_EQ(world.sink.heard.size(), 3U);
  EXPECT_EQ(world.webhooks.posts.size(), 3U);
  EXPECT_EQ(take(world.monitor->windows("flights", {})).size(), kStory.size());
}

// The process dies at its k-th call out: while a window is evaluated, or while the sink is told of
// what was stored. Another process takes over.
TEST(Monitor, LosesNothingWhenKilled) {
  const std::string alerts = kDecay + "  - {name: low, when: mean_score < 2, for: 3}\n";
  const auto run_until_death = [&](const std::filesystem::path& home, int dies_at) {
    const pid_t child = fork();
    if (child == 0) {
      log::set_level(log::Level::off);
      World world(home);
      world.configure(alerts);
      world.traffic_of(kStory, std::chrono::days(2));
      int calls = 0;
      world.sink.on_call = world.traffic.on_labels = [&] {
        if (++calls == dies_at) kill(getpid(), SIGKILL);
      };
      static_cast<void>(world.monitor->step(Context(), world.clock.now()));
      _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status);
  };
  const auto outcome = [](World& world) {
    std::string text;
    for (const auto& report : take(world.monitor->windows("flights", {})))
      text += report.dump() + "\n";
    for (const auto& alert : take(world.monitor->alerts({}))) {
      text += alert.rule + format_time(alert.window.start) +
              (alert.firing ? "firing" : "resolved") + std::to_string(alert.repeats) + "\n";
    }
    for (const auto& action : world.audited("alert.")) text += action + "\n";
    return text;
  };
  constexpr int kEvaluations = 18;  // nine windows, two phases
  constexpr int kWords = 4;         // decay: fired, repeated, resolved; low: fired
  std::string whole;
  for (int dies_at = 0; dies_at <= kEvaluations + kWords; ++dies_at) {
    SCOPED_TRACE(dies_at);
    const test::Scratch scratch;
    ASSERT_EQ(run_until_death(scratch.path(), dies_at), dies_at > 0);
    World world(scratch.path());
    for (int used = 0; used < 10; ++used) world.ids.next();  // by the process that died
    world.configure(alerts);
    world.traffic_of(kStory, std::chrono::days(2));
    world.step();
    // The word that was cut off is heard again.
    const int heard_before = dies_at == 0 ? kWords : std::max(0, dies_at - kEvaluations - 1);
    EXPECT_EQ(std::ssize(world.sink.heard), kWords - heard_before);
    EXPECT_TRUE(world.audit->verify()->ok);
    if (dies_at == 0) whole = outcome(world);
    EXPECT_EQ(outcome(world), whole);
  }
}

}  // namespace
}  // namespace slipway::monitoring
