#include "features/view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <thread>

#include "base/parallel.h"
#include "base/rng.h"
#include "data/engine.h"
#include "data/point_in_time.h"
#include "features/pipeline.h"
#include "features/view_store.h"
#include "support/database.h"
#include "support/support.h"

namespace slipway::features {
namespace {

using data::Type;
using test::failed_with;
using test::message_of;
using test::ok;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

ViewSpec view_spec(const std::string& yaml) {
  const auto document = SpecDocument::parse("views: [" + yaml + "]", "pipeline.yaml");
  EXPECT_TRUE(ok(document));
  SpecReader reader(*document);
  auto views = ViewSpec::read_list(reader);
  const auto sound = reader.finish();
  EXPECT_TRUE(ok(sound));
  return views.empty() ? ViewSpec{} : views.front();
}

const char* const kPast =
    R"({name: past, dataset: history, by: {carrier: airline}, at: decision, event: landed,
  known: told, ttl: 50s, values: {
    last: {of: delay}, third: {of: delay, lag: 3},
    count: {stat: count, within: 20s}, known: {of: delay, stat: count, within: 20s},
    sum: {of: delay, stat: sum, within: 20s}, mean: {of: delay, stat: mean, rows: 4},
    least: {of: delay, stat: min, within: 30s}, most: {of: delay, stat: max, rows: 3},
    spread: {of: delay, stat: std, within: 40s}}})";

constexpr std::size_t kLast = 2;  // of the values, which stand in the order of their names

data::Schema history_schema() {
  return {{{"airline", Type::text, true},
           {"landed", Type::timestamp, true},
           {"told", Type::timestamp, true},
           {"delay", Type::float64, true}}};
}

struct Event {
  std::string airline;
  std::int64_t landed;  // seconds
  std::int64_t told;
  double delay;
};

std::vector<Event> random_events(Rng& rng, std::size_t count) {
  std::vector<Event> events;
  for (std::size_t i = 0; i < count; ++i) {
    const auto landed = static_cast<std::int64_t>(rng.below(300));
    events.push_back({"C" + std::to_string(rng.below(6)), landed,
                      landed + static_cast<std::int64_t>(rng.below(40)),
                      rng.below(8) == 0 ? std::nan("") : std::round(rng.normal() * 100) / 4});
  }
  return events;
}

data::BatchBuilder history_of(const std::vector<Event>& events) {
  data::BatchBuilder rows(history_schema());
  for (const Event& event : events) {
    rows.append_text(0, event.airline);
    rows.append_integer(1, event.landed * 1'000'000);
    rows.append_integer(2, event.told * 1'000'000);
    std::isnan(event.delay) ? rows.append_null(3) : rows.append_real(3, event.delay);
  }
  return rows;
}

data::BatchBuilder decisions(Rng& rng, std::size_t count) {
  data::BatchBuilder rows({{{"id", Type::int64, true},
                            {"carrier", Type::text, true},
                            {"decision", Type::timestamp, true}}});
  for (std::size_t i = 0; i < count; ++i) {
    rows.append_integer(0, static_cast<std::int64_t>(i));
    rng.below(50) == 0 ? rows.append_null(1)
                       : rows.append_text(1, "C" + std::to_string(rng.below(7)));
    rng.below(50) == 0
        ? rows.append_null(2)
        : rows.append_integer(2, static_cast<std::int64_t>(rng.below(420)) * 1'000'000);
  }
  return rows;
}

// The rule, written down once more and slowly: the values of kPast.
std::vector<double> by_hand(const std::vector<Event>& events, const std::string& carrier,
                            std::int64_t at) {
  std::vector<Event> usable;
  for (const Event& event : events) {
    if (event.airline == carrier && event.landed <= at && event.told <= at &&
        at - event.landed <= 50)
      usable.push_back(event);
  }
  std::stable_sort(usable.begin(), usable.end(), [](const Event& a, const Event& b) {
    if (a.landed != b.landed) return a.landed > b.landed;
    if (a.told != b.told) return a.told > b.told;
    return !std::isnan(a.delay) && (std::isnan(b.delay) || a.delay < b.delay);
  });
  const auto window = [&](std::int64_t within, std::size_t rows) {
    std::vector<double> out;
    for (std::size_t i = 0; i < std::min(rows, usable.size()); ++i) {
      if (at - usable[i].landed < within && !std::isnan(usable[i].delay))
        out.push_back(usable[i].delay);
    }
    return out;
  };
  const auto lag = [&](std::size_t n) {
    return usable.size() < n ? std::nan("") : usable[n - 1].delay;
  };
  const auto all = std::numeric_limits<std::int64_t>::max();
  const auto many = std::numeric_limits<std::size_t>::max();
  const auto sum = [](const std::vector<double>& of) {
    double total = 0;
    for (const double x : of) total += x;
    return of.empty() ? std::nan("") : total;
  };
  const auto twenty = window(20, many);
  const auto four = window(all, 4);
  const auto thirty = window(30, many);
  const auto three = window(all, 3);
  const auto forty = window(40, many);
  double squares = 0;
  for (const double x : forty)
    squares += (x - sum(forty) / static_cast<double>(forty.size())) *
               (x - sum(forty) / static_cast<double>(forty.size()));
  std::size_t counted = 0;
  for (const Event& event : usable) counted += at - event.landed < 20 ? 1 : 0;
  const auto count = [](const std::vector<double>& of) { return static_cast<double>(of.size()); };
  // In the order of their names.
  return {static_cast<double>(counted),
          count(twenty),
          lag(1),
          thirty.empty() ? std::nan("") : *std::min_element(thirty.begin(), thirty.end()),
          sum(four) / count(four),
          three.empty() ? std::nan("") : *std::max_element(three.begin(), three.end()),
          forty.empty() ? std::nan("") : std::sqrt(squares / count(forty)),
          sum(twenty),
          lag(3)};
}

TEST(View, FindsWhatWasKnownAtEachDecisionAndNothingLater) {
  Rng rng(5);
  for (int round = 0; round < 20; ++round) {
    const auto events = random_events(rng, 60 * static_cast<std::size_t>(round));
    const auto history = history_of(events);
    const auto view = View::build({}, view_spec(kPast), *history.batch(), "history@1");
    ASSERT_TRUE(ok(view));
    const auto rows = decisions(rng, 300);
    const data::Batch batch = *rows.batch();
    std::vector<double> out(300 * 9);
    ASSERT_TRUE(ok((*view)->look_up(batch, out)));
    for (std::int64_t row = 0; row < 300; ++row) {
      const bool askable = !batch.columns[1].is_null(row) && !batch.columns[2].is_null(row);
      const auto want = askable ? by_hand(events, std::string(batch.columns[1].text(row)),
                                          batch.columns[2].integer(row) / 1'000'000)
                                : std::vector<double>(9, std::nan(""));
      for (std::size_t v = 0; v < 9; ++v) {
        const double got = out[static_cast<std::size_t>(row) * 9 + v];
        if (std::isnan(want[v])) {
          ASSERT_TRUE(std::isnan(got)) << "round " << round << " row " << row << " value " << v;
        } else {
          ASSERT_NEAR(got, want[v], 1e-9) << "round " << round << " row " << row << " value " << v;
        }
      }
    }
  }
}

// The offline table by SQL, and the look-up in memory: the same rule, found twice.
TEST(View, AgreesWithThePointInTimeJoinInSql) {
  Rng rng(6);
  auto events = random_events(rng, 2000);
  const auto history = history_of(events);
  const auto rows = decisions(rng, 1500);
  auto engine = data::Engine::open({.threads = 1});
  ASSERT_TRUE(ok(engine));
  ASSERT_TRUE(ok((*engine)->add_table("history", *history.to_table())));
  ASSERT_TRUE(ok((*engine)->add_table("rows", *rows.to_table())));
  data::PointInTime join;
  join.with = "history";
  join.keys = {{"carrier", "airline"}};
  join.at = "decision";
  join.event = "landed";
  join.known_column = "told";
  join.ttl = Duration{50'000'000};
  join.columns = {"delay"};
  const auto sql = join.sql("rows", rows.schema(), history_schema());
  ASSERT_TRUE(ok(sql));
  const auto joined = (*engine)->query({}, "SELECT delay FROM (" + *sql + ") ORDER BY id");
  ASSERT_TRUE(ok(joined));
  const auto offline = data::Columns::from_table(*joined);
  ASSERT_EQ(offline->rows(), 1500);
  const auto view = View::build({}, view_spec(kPast), *history.batch(), "history@1");
  ASSERT_TRUE(ok(view));
  const data::Batch batch = *rows.batch();
  std::size_t found = 0;
  for (std::int64_t row = 0; row < 1500; ++row) {  // one request after the other
    std::vector<double> online(9);
    ASSERT_TRUE(ok((*view)->look_up(batch.slice(row, 1), online)));
    const double want = offline->batch().columns[0].number(row);
    ASSERT_TRUE(online[kLast] == want || (std::isnan(want) && std::isnan(online[kLast])))
        << "row " << row << ": " << online[kLast] << " and " << want;
    found += std::isnan(want) ? 0 : 1;
  }
  EXPECT_GT(found, 500U);
}

TEST(View, JoinsATableAndASingleRowToTheSameBits) {
  Rng rng(7);
  const auto history = history_of(random_events(rng, 3000));
  const auto view = View::build({}, view_spec(kPast), *history.batch(), "history@1");
  ASSERT_TRUE(ok(view));
  const auto rows = decisions(rng, 5000);
  const data::Batch batch = *rows.batch();
  const std::vector<ViewPtr> views = {*view};
  for (const int threads : {1, 3}) {
    const auto table = join_views({}, batch, views, threads);
    ASSERT_TRUE(ok(table));
    const auto joined = data::Columns::from_table(*table);
    ASSERT_EQ(joined->schema().fields.size(), 12U);
    EXPECT_EQ(joined->schema().fields[3].name, "past.count");
    for (std::int64_t row = 0; row < 5000; ++row) {
      std::vector<double> online(9);
      ASSERT_TRUE(ok((*view)->look_up(batch.slice(row, 1), online)));
      for (std::size_t v = 0; v < 9; ++v) {
        const double offline = joined->batch().columns[3 + v].number(row);
        ASSERT_TRUE(std::bit_cast<std::uint64_t>(offline) ==
                        std::bit_cast<std::uint64_t>(online[v]) ||
                    (std::isnan(offline) && std::isnan(online[v])));
      }
    }
  }
}

TEST(View, TellsHowFreshWhatItFoundIs) {
  const auto history = history_of({{"C1", 100, 110, 5}});
  const auto view = View::build({}, view_spec(kPast), *history.batch(), "history@1");
  ASSERT_TRUE(ok(view));
  const auto at = [&](const std::string& carrier, std::int64_t seconds) {
    data::BatchBuilder row({{{"carrier", Type::text, true}}});
    row.append_text(0, carrier);
    std::vector<double> out(9);
    std::vector<Freshness> freshness(1);
    EXPECT_TRUE(
        ok((*view)->look_up(*row.batch(), out, freshness, from_micros(seconds * 1'000'000))));
    return freshness[0];
  };
  EXPECT_EQ(at("C1", 109), Freshness::unknown);  // happened, but not known
  EXPECT_EQ(at("C1", 110), Freshness::fresh);
  EXPECT_EQ(at("C1", 150), Freshness::fresh);
  EXPECT_EQ(at("C1", 151), Freshness::expired);
  EXPECT_EQ(at("C2", 120), Freshness::unknown);
  EXPECT_EQ((*view)->newest_event(), from_micros(100'000'000));
}

TEST(View, ReadsItsDeclarationAndSaysWhatIsWrong) {
  const ViewSpec spec = view_spec(kPast);
  EXPECT_THAT(spec.reads(), ElementsAre("airline", "delay", "landed", "told"));
  const auto back = ViewSpec::from_json(*parse_json(canonical(spec.to_json())));
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(canonical(back->to_json()), canonical(spec.to_json()));
  const std::string start = "{name: v, dataset: d, by: k, at: t, event: e, ";
  const std::vector<std::pair<std::string, std::string>> rows = {
      {start + "values: {a: {of: x}}}", "known"},
      {start + "known: -1h, values: {a: {of: x}}}", "before it happens"},
      {start + "known: 0m, values: {a: {of: x, stat: mean}}}", "needs its window"},
      {start + "known: 0m, values: {a: {of: x, within: 3h}}}", "a window needs a stat"},
      {start + "known: 0m, values: {a: {stat: sum, rows: 3}}}", "needs the column it is `of`"},
      {start + "known: 0m, values: {a: {of: x, lag: 0}}}", "needs 1 (the newest)"},
      {start + "known: 0m, values: {a: {off: x}}}", "did you mean 'of'?"},
  };
  for (const auto& [yaml, message] : rows) {
    SCOPED_TRACE(yaml);
    const auto document = SpecDocument::parse("views: [" + yaml + "]", "pipeline.yaml");
    ASSERT_TRUE(ok(document));
    SpecReader reader(*document);
    ViewSpec::read_list(reader);
    EXPECT_THAT(message_of(reader.finish()), HasSubstr(message));
  }
}

class OneView final : public ViewSource {
 public:
  explicit OneView(ViewPtr view) : view_(std::move(view)) {}
  ViewPtr find(const std::string& name) const override {
    return view_ != nullptr && view_->spec().name == name ? view_ : nullptr;
  }

 private:
  ViewPtr view_;
};

// A pipeline whose features are made of a view's columns: what it is trained on over the table is,
// bit for bit, what one row by itself is answered with.
TEST(View, FeedsAPipelineInTrainingAndForASingleRowAlike) {
  Rng rng(8);
  const auto history = history_of(random_events(rng, 2000));
  const auto view = View::build({}, view_spec(kPast), *history.batch(), "history@1");
  ASSERT_TRUE(ok(view));
  const auto rows = decisions(rng, 9000);
  const data::Batch batch = *rows.batch();
  const auto document = SpecDocument::parse(std::string("views: [") + kPast + R"json(]
features:
  - {columns: "past.*", except: past.third, apply: [{impute: {strategy: median, indicator: true}}, standardize]}
  - {expression: "if(past.count > 0, past.sum / past.count, missing)", as: average, apply: [{impute: 0}]}
  - {columns: carrier, apply: [onehot]}
)json",
                                            "pipeline.yaml");
  ASSERT_TRUE(ok(document));
  SpecReader reader(*document);
  const auto spec = PipelineSpec::read(reader);
  ASSERT_TRUE(ok(reader.finish()));
  EXPECT_EQ(*spec.reads(rows.schema()), (std::vector<std::string>{"carrier", "decision"}));
  EXPECT_TRUE(failed_with(Pipeline::fit({}, spec, batch, {}), Code::failed_precondition));
  const OneView source(*view);
  const auto fitted = Pipeline::fit_transform({}, spec, batch, {}, {.views = &source});
  ASSERT_TRUE(ok(fitted));
  EXPECT_THAT(fitted->pipeline.inputs().names(), ElementsAre("carrier", "decision"));
  const std::size_t cols = fitted->pipeline.outputs().size();

  const auto unbound = Pipeline::from_json(*parse_json(canonical(fitted->pipeline.to_json())));
  ASSERT_TRUE(ok(unbound)) << message_of(unbound);
  EXPECT_EQ(unbound->digest(), fitted->pipeline.digest());
  std::vector<float> one(cols);
  EXPECT_THAT(message_of(unbound->transform(batch.slice(0, 1), one)),
              HasSubstr("not materialised here"));
  const auto served = unbound->with_views(std::make_shared<const OneView>(*view));
  for (std::int64_t row = 0; row < batch.rows; ++row) {
    ASSERT_TRUE(ok(served.transform(batch.slice(row, 1), one)));
    ASSERT_EQ(std::memcmp(one.data(), fitted->matrix.data() + static_cast<std::size_t>(row) * cols,
                          cols * sizeof(float)),
              0)
        << "row " << row;
  }
  // A view of that name which is another one is not taken for it.
  auto other = view_spec(kPast);
  other.ttl = Duration{1};
  const auto wrong = unbound->with_views(
      std::make_shared<const OneView>(*View::build({}, other, *history.batch(), "history@1")));
  EXPECT_THAT(message_of(wrong.transform(batch.slice(0, 1), one)), HasSubstr("declared otherwise"));
}

class ViewStoreTest : public ::testing::Test {
 protected:
  void SetUp() override {
    db_ = take(db::Database::open(test::database_at(scratch_ / "slipway.db"), {}));
    blobs_ = take(blob::Store::open(scratch_ / "blobs"));
    audit_ = take(audit::Log::open(*db_, scratch_ / "keys", clock_));
    datasets_ = take(data::DatasetStore::open(*db_, *blobs_, *audit_, clock_));
    views_ = take(ViewStore::open(*db_, *datasets_, *audit_, clock_));
    engine_ = take(data::Engine::open({.threads = 1, .temp_dir = scratch_.path()}));
  }
  template <class T>
  static T take(Result<T> result) {
    EXPECT_TRUE(ok(result));
    return std::move(*result);
  }
  data::DatasetRef commit(const std::string& sql) {
    const auto file = scratch_ / ("v" + std::to_string(++files_) + ".parquet");
    EXPECT_TRUE(ok(engine_->write_parquet({}, sql, file)));
    return take(datasets_->commit({}, "history", {file}, Json(), Json(), Json()));
  }
  double last_delay(const LiveViews& live) {
    const ViewPtr view = live.find("past");
    if (view == nullptr) return std::nan("");
    data::BatchBuilder row({{{"carrier", Type::text, true}}});
    row.append_text(0, "UA");
    std::vector<double> out(1);
    EXPECT_TRUE(ok(view->look_up(*row.batch(), out, {}, from_micros(1'000'000'000))));
    return out[0];
  }
  test::Scratch scratch_;
  ManualClock clock_{test::kNoon2013};
  int files_ = 0;
  std::unique_ptr<db::Database> db_;
  std::unique_ptr<blob::Store> blobs_;
  std::unique_ptr<audit::Log> audit_;
  std::unique_ptr<data::DatasetStore> datasets_;
  std::unique_ptr<ViewStore> views_;
  std::unique_ptr<data::Engine> engine_;
};

const char* const kSmall =
    "{name: past, dataset: history, by: {carrier: airline}, at: decision, event: landed, known: "
    "1m, "
    "values: {last: {of: delay}}}";

std::string history_sql(int delay) {
  return "SELECT 'UA' AS airline, to_timestamp(100)::TIMESTAMP AS landed, " +
         std::to_string(delay) + " AS delay";
}

TEST_F(ViewStoreTest, SwitchesToANewVersionAtOnceAndTellsTheAuditLog) {
  const auto first = commit(history_sql(5));
  const auto record = views_->materialise({}, view_spec(kSmall));
  ASSERT_TRUE(ok(record));
  EXPECT_EQ(record->version, first.text());
  LiveViews live(*views_);
  EXPECT_TRUE(std::isnan(last_delay(live)));
  ASSERT_TRUE(ok(live.refresh({})));
  EXPECT_EQ(last_delay(live), 5);
  const ViewPtr held = live.find("past");

  const auto second = commit(history_sql(7));
  EXPECT_FALSE(*live.refresh({}));  // a new version alone changes nothing
  EXPECT_EQ(last_delay(live), 5);
  ASSERT_TRUE(ok(views_->materialise({}, view_spec(kSmall))));
  EXPECT_TRUE(*live.refresh({}));
  EXPECT_EQ(last_delay(live), 7);
  EXPECT_EQ(held->version(), first.text());  // who holds the old one still has it

  ASSERT_TRUE(ok(views_->materialise({}, view_spec(kSmall), first.text())));  // and back
  EXPECT_TRUE(*live.refresh({}));
  EXPECT_EQ(last_delay(live), 5);
  EXPECT_EQ(audit_->list({.action_prefix = "feature_view."})->size(), 3U);
  ASSERT_TRUE(ok(views_->drop({}, "past")));
  EXPECT_TRUE(*live.refresh({}));
  EXPECT_EQ(live.find("past"), nullptr);
}

TEST_F(ViewStoreTest, ChangesNothingWhenAVersionCannotBeLookedUp) {
  commit(history_sql(5));
  ASSERT_TRUE(ok(views_->materialise({}, view_spec(kSmall))));
  commit("SELECT 'UA' AS airline, to_timestamp(100)::TIMESTAMP AS landed, 'late' AS delay");
  EXPECT_TRUE(failed_with(views_->materialise({}, view_spec(kSmall)), Code::invalid_argument));
  auto other = view_spec(kSmall);
  other.ttl = Duration{1};
  EXPECT_THAT(message_of(views_->materialise({}, other)), HasSubstr("declared otherwise"));
  EXPECT_EQ(views_->find("past")->serial, 1);
  EXPECT_THAT(message_of(views_->find("pats")), HasSubstr("did you mean 'past'?"));
}

TEST_F(ViewStoreTest, ShowsReadersOneSnapshotOrTheOther) {
  const auto first = commit(history_sql(5));
  const auto second = commit(history_sql(7));
  ASSERT_TRUE(ok(views_->materialise({}, view_spec(kSmall), first.text())));
  LiveViews live(*views_);
  ASSERT_TRUE(ok(live.refresh({})));
  std::atomic<bool> done{false};
  std::atomic<int> wrong{0};
  std::jthread reader([&] {
    while (!done) {
      const double value = last_delay(live);
      if (value != 5 && value != 7) ++wrong;
    }
  });
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(
        ok(views_->materialise({}, view_spec(kSmall), i % 2 == 0 ? second.text() : first.text())));
    ASSERT_TRUE(ok(live.refresh({})));
  }
  done = true;
  reader.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace slipway::features
