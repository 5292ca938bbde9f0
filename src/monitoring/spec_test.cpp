#include "monitoring/spec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/support.h"

namespace slipway::monitoring {
namespace {

using test::ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Result<MonitorSpec> read(const std::string& text) {
  const auto document = SpecDocument::parse(text, "m.yaml");
  if (!document) return document.error();
  SpecReader reader(*document);
  MonitorSpec spec = MonitorSpec::read(reader);
  if (auto sound = reader.finish(); !sound) return sound.error();
  return spec;
}

TEST(MonitorSpec, ReadsADeclarationAndSurvivesJson) {
  const auto spec = read(
      "deployment: flights\nwindow: 7d\nlabel_wait: 36h\nmin_rows: 50\nclock: request\n"
      "drift: {alpha: 0.05, psi_threshold: 0.25, ignore: [year], correction: bonferroni}\n"
      "alerts:\n"
      "  - {name: decay, when: auc < reference.auc - 0.05, for: 2, severity: critical, repeat: 4}\n"
      "  - {name: miscalibrated, when: abs(mean_score - label_rate) > 0.05}\n"
      "  - {name: silent, when: rows < 0.5 * previous.rows}\n"
      "  - {name: drift, when: drift.temp.psi > 0.2 and weighted_drift > 0.1}\n"
      "webhooks: [http://127.0.0.1:9000/hook]\n");
  ASSERT_TRUE(ok(spec)) << ok(spec);
  EXPECT_EQ(spec->window, std::chrono::days(7));
  EXPECT_EQ(spec->label_wait, std::chrono::hours(36));
  EXPECT_TRUE(spec->request_clock);
  EXPECT_TRUE(spec->drift.bonferroni);
  EXPECT_THAT(spec->drift.ignore, ElementsAre("year"));
  ASSERT_EQ(spec->alerts.size(), 4U);
  EXPECT_EQ(spec->alerts[0].for_windows, 2);
  EXPECT_EQ(spec->alerts[0].repeat_windows, 4);
  EXPECT_EQ(spec->alerts[0].phase(), Phase::labels);
  EXPECT_EQ(spec->alerts[1].phase(), Phase::labels);
  EXPECT_EQ(spec->alerts[2].phase(), Phase::traffic);
  EXPECT_EQ(spec->alerts[3].phase(), Phase::traffic);
  const auto back = MonitorSpec::from_json(*parse_json(spec->to_json().dump()));
  ASSERT_TRUE(ok(back)) << ok(back);
  EXPECT_EQ(back->to_json(), spec->to_json());
}

TEST(MonitorSpec, TellsWhereADeclarationIsWrong) {
  const std::vector<std::tuple<std::string, std::string, std::string>> rows = {
      {"window: 7d\n", "m.yaml", "deployment"},
      {"deployment: f\nwindow: 1s\n", "m.yaml:2:", "1 minute to 366 days"},
      {"deployment: f\nwindow: soon\n", "m.yaml:2:", "soon"},
      {"deployment: f\nmin_rows: 0\n", "m.yaml:2:", "at least 1"},
      {"deployment: f\nclock: sundial\n", "m.yaml:2:", "sundial"},
      {"deployment: f\nwindw: 7d\n", "m.yaml:2:", "window"},
      {"deployment: f\ndrift: {alpha: 2}\n", "m.yaml:2:", "alpha is 2"},
      {"deployment: f\ndrift: {alhpa: 0.1}\n", "m.yaml:2:", "alpha"},
      {"deployment: f\nwebhooks: [ftp://x]\n", "m.yaml:2:", "ftp://x"},
      {"deployment: f\nalerts:\n  - {name: a}\n", "m.yaml:3:", "when"},
      {"deployment: f\nalerts:\n  - {name: a, when: auc <}\n", "m.yaml:3:", "expected a number"},
      {"deployment: f\nalerts:\n  - {name: a, when: auk < 1}\n",
       "m.yaml:3:", "did you mean 'auc'?"},
      {"deployment: f\nalerts:\n  - {name: a, when: auc < referense.auc}\n",
       "m.yaml:3:", "did you mean 'reference.auc'?"},
      {"deployment: f\nalerts:\n  - {name: a, when: auc < 1, for: 0}\n", "m.yaml:3:", "for is 0"},
      {"deployment: f\nalerts:\n  - {name: a, when: auc < 1}\n  - {name: a, when: auc < 2}\n",
       "m.yaml:4:", "two alerts 'a'"},
  };
  for (const auto& [text, place, message] : rows) {
    SCOPED_TRACE(text);
    const auto spec = read(text);
    ASSERT_TRUE(test::failed_with(spec, Code::invalid_argument));
    EXPECT_THAT(spec.error().message, HasSubstr(place));
    EXPECT_THAT(spec.error().message, HasSubstr(message));
  }
}

}  // namespace
}  // namespace slipway::monitoring
