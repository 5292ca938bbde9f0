#include "data/profile.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "data/sketch_internal.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::ok;

BatchBuilder numbers(const std::vector<double>& values) {
  BatchBuilder builder({{{"x", Type::float64}}});
  for (const double value : values) builder.append_real(0, value);
  return builder;
}

Profile profile_of(const BatchBuilder& builder, ProfileOptions options = {.threads = 1}) {
  auto profile = Profile::of(*builder.batch(), options);
  EXPECT_TRUE(ok(profile));
  return std::move(*profile);
}

std::int64_t sum(const std::vector<std::int64_t>& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
}

TEST(Profile, CountsNumbersExactly) {
  auto builder = numbers({1, 2, 2, 3, 0, -0.0, 10});
  builder.append_null(0);
  builder.append_real(0, std::numeric_limits<double>::quiet_NaN());
  builder.append_real(0, std::numeric_limits<double>::infinity());
  const auto profile = profile_of(builder);
  const auto& x = profile.columns[0];
  EXPECT_EQ(x.rows, 10);
  EXPECT_EQ(x.nulls, 1);
  EXPECT_EQ(x.not_finite, 2);
  EXPECT_EQ(x.zeros, 2);
  EXPECT_EQ(x.distinct, 5) << "0 and -0 are one value";
  EXPECT_TRUE(x.distinct_exact);
  EXPECT_EQ(*x.min, 0);
  EXPECT_EQ(*x.max, 10);
  EXPECT_NEAR(*x.mean, 18.0 / 7, 1e-12);
  EXPECT_NEAR(*x.stddev, 3.4572215654165, 1e-12);  // numpy.std([1,2,2,3,0,0,10], ddof=1)
  EXPECT_EQ(x.quantiles[3], (std::pair<double, double>{0.5, 2}));
  EXPECT_EQ(x.top[0], (std::pair<Json, std::int64_t>{0.0, 2}));
}

TEST(Profile, CountsTextBooleansAndTimes) {
  BatchBuilder builder({{{"t", Type::text}, {"b", Type::boolean}, {"w", Type::timestamp}}});
  for (const auto* text : {"UA", "AA", "UA", "B6x"}) {
    builder.append_text(0, text);
    builder.append_boolean(1, std::string_view(text) == "UA");
    builder.append_integer(2, to_micros(test::kNoon2013));
  }
  const auto profile = profile_of(builder);
  const auto& t = profile.columns[0];
  EXPECT_EQ(t.distinct, 3);
  EXPECT_EQ(t.shortest, 2);
  EXPECT_EQ(t.longest, 3);
  EXPECT_EQ(t.mean_length, 2.25);
  EXPECT_EQ(t.top[0], (std::pair<Json, std::int64_t>{"UA", 2}));
  EXPECT_EQ(t.bins.categories, (std::vector<std::string>{"UA", "AA", "B6x"}));
  EXPECT_EQ(t.bins.counts, (std::vector<std::int64_t>{2, 1, 1, 0, 0}));
  EXPECT_EQ(*profile.columns[1].mean, 0.5);
  EXPECT_TRUE(profile.columns[1].bins.categorical);
  EXPECT_EQ(profile.columns[2].top[0].first, "2013-04-01T12:00:00Z");
}

TEST(Profile, BinsHoldEqualCountsAndGiveHeavyValuesABinOfTheirOwn) {
  Rng rng(7);
  std::vector<double> values;
  for (int i = 0; i < 3000; ++i) values.push_back(i < 1500 ? 0.0 : rng.normal());
  const auto profile = profile_of(numbers(values));
  const auto& bins = profile.columns[0].bins;
  EXPECT_EQ(sum(bins.counts), 3000);
  EXPECT_TRUE(std::is_sorted(bins.edges.begin(), bins.edges.end()));
  const auto at_zero = std::find(bins.edges.begin(), bins.edges.end(), 0.0) - bins.edges.begin();
  ASSERT_LT(at_zero, static_cast<std::ptrdiff_t>(bins.edges.size()));
  EXPECT_EQ(bins.counts[static_cast<std::size_t>(at_zero)], 1500) << "zero, alone in its bin";
  EXPECT_EQ(bins.labels().size(), bins.counts.size());
}

TEST(Profile, HandlesColumnsWithNothingInThem) {
  BatchBuilder builder({{{"x", Type::float64}, {"t", Type::text}}});
  const auto none = profile_of(builder);
  EXPECT_EQ(none.rows, 0);
  builder.append_null(0);
  builder.append_null(1);
  const auto nulls = profile_of(builder);
  EXPECT_EQ(nulls.columns[0].notes, std::vector<std::string>{"every value is null"});
  EXPECT_EQ(sum(nulls.columns[0].bins.counts), 1);
  EXPECT_EQ(sum(nulls.columns[1].bins.counts), 1);
  EXPECT_FALSE(nulls.columns[0].mean);
  EXPECT_TRUE(ok(Profile::from_json(nulls.to_json())));
}

TEST(Profile, SurvivesJson) {
  Rng rng(11);
  BatchBuilder builder({{{"x", Type::float64},
                         {"t", Type::text},
                         {"n", Type::int64},
                         {"b", Type::boolean},
                         {"w", Type::timestamp}}});
  for (int i = 0; i < 500; ++i) {
    if (i % 7 == 0)
      builder.append_null(0);
    else
      builder.append_real(0, rng.normal());
    builder.append_text(1, "k" + std::to_string(rng.below(80)));
    builder.append_integer(2, static_cast<std::int64_t>(rng.below(9)));
    builder.append_boolean(3, rng.below(2) == 0);
    builder.append_integer(4, static_cast<std::int64_t>(rng.below(1'000'000)));
  }
  const auto profile = profile_of(builder);
  const auto json = profile.to_json();
  const auto back = Profile::from_json(*parse_json(canonical(json)));
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(canonical(back->to_json()), canonical(json));
  EXPECT_EQ(back->find("x")->bins, profile.find("x")->bins);
  EXPECT_EQ(back->find("none"), nullptr);
}

TEST(Profile, RefusesWhatIsNoProfile) {
  const auto good = profile_of(numbers({1, 2, 3})).to_json();
  for (const auto& damage : std::vector<std::function<void(Json&)>>{
           [](Json& json) { json = 3; }, [](Json& json) { json["format"] = "other"; },
           [](Json& json) { json["columns"][0].erase("nulls"); },
           [](Json& json) { json["columns"][0]["type"] = "int"; },
           [](Json& json) { json["columns"][0]["bins"]["counts"].push_back(3); },
           [](Json& json) { json["columns"][0]["bins"]["edges"] = {3, 1}; }}) {
    Json json = good;
    damage(json);
    EXPECT_TRUE(failed_with(Profile::from_json(json), Code::invalid_argument)) << json.dump();
  }
}

TEST(Profile, NotesWhatLooksSuspicious) {
  Rng rng(3);
  BatchBuilder builder({{{"constant", Type::int64},
                         {"id", Type::text},
                         {"digits", Type::text},
                         {"missing", Type::text},
                         {"temp", Type::float64},
                         {"fine", Type::float64}}});
  for (int i = 0; i < 300; ++i) {
    builder.append_integer(0, 4);
    builder.append_text(1, "flight-" + std::to_string(i));
    builder.append_text(2, std::to_string(i % 40));
    builder.append_text(3, i % 9 == 0 ? "NA" : "EWR");
    builder.append_real(4, i % 50 == 0 ? -999 : 60 + rng.normal());
    builder.append_real(5, rng.normal());
  }
  const auto profile = profile_of(builder);
  const std::pair<const char*, const char*> rows[] = {{"constant", "constant"},
                                                      {"id", "identifier"},
                                                      {"digits", "numbers kept as text"},
                                                      {"missing", "'NA' (34 times)"},
                                                      {"temp", "-999"}};
  for (const auto& [column, want] : rows) {
    const auto& notes = profile.find(column)->notes;
    ASSERT_EQ(notes.size(), 1U) << column;
    EXPECT_NE(notes[0].find(want), std::string::npos) << notes[0];
  }
  EXPECT_TRUE(profile.find("fine")->notes.empty());
  const auto text = render_text(profile);
  EXPECT_NE(text.find("temp: -999 stands far"), std::string::npos) << text;
}

// The same stream in one profiler and split over several.
TEST(Profiler, MergesToTheSameAsOnePass) {
  constexpr std::uint64_t kSeed = 99;
  for (const int distinct : {50, 3000, 200'000}) {
    SCOPED_TRACE(fmt::format("seed {}, {} distinct values", kSeed, distinct));
    Rng rng(kSeed);
    const Schema schema{{{"x", Type::float64}, {"t", Type::text}}};
    Profiler whole(schema, {.threads = 1});
    Profiler merged(schema, {.threads = 1});
    std::vector<double> values;
    std::set<std::int64_t> seen;
    for (int part = 0; part < 5; ++part) {
      BatchBuilder builder(schema);
      for (int i = 0; i < 20'000; ++i) {
        const auto value =
            static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(distinct)));
        values.push_back(static_cast<double>(value));
        seen.insert(value);
        builder.append_real(0, values.back());
        builder.append_text(1, std::to_string(value));
      }
      const auto batch = *builder.batch();
      ASSERT_TRUE(ok(whole.add(batch)));
      Profiler piece(schema, {.threads = 1});
      ASSERT_TRUE(ok(piece.add(batch)));
      ASSERT_TRUE(ok(merged.merge(piece)));
    }
    const auto count = static_cast<double>(values.size());
    std::sort(values.begin(), values.end());
    for (const auto* profiler : {&whole, &merged}) {
      const auto profile = profiler->finish();
      const auto& x = profile.columns[0];
      EXPECT_EQ(x.rows, static_cast<std::int64_t>(values.size()));
      EXPECT_EQ(x.distinct_exact, distinct < 4000);
      EXPECT_NEAR(static_cast<double>(x.distinct), static_cast<double>(seen.size()),
                  x.distinct_exact ? 0.0 : 0.05 * static_cast<double>(seen.size()));
      EXPECT_NEAR(*x.mean, std::accumulate(values.begin(), values.end(), 0.0) / count,
                  1e-9 * distinct);
      for (const auto& [p, value] : x.quantiles) {
        const auto rank =
            static_cast<double>(std::upper_bound(values.begin(), values.end(), value) -
                                values.begin()) /
            count;
        EXPECT_NEAR(rank, p, 0.025) << "ties of " << distinct << " values";
      }
      EXPECT_EQ(sum(x.bins.counts), x.rows);
      EXPECT_EQ(sum(profile.columns[1].bins.counts), x.rows);
    }
    EXPECT_EQ(canonical(whole.finish().columns[1].to_json()["length"]),
              canonical(merged.finish().columns[1].to_json()["length"]));
  }
}

TEST(QuantileSketch, StaysWithinHalfAPercentOfTheRank) {
  Rng rng(5);
  constexpr int kCount = 500'000;
  QuantileSketch sketch;
  for (int i = 0; i < kCount; ++i) sketch.add(rng.uniform());
  EXPECT_EQ(sketch.count(), kCount);
  double below = 0;
  double worst = 0;
  for (const auto& [value, weight] : sketch.sorted()) {
    below += static_cast<double>(weight);
    worst =
        std::max(worst, std::abs(below / kCount - value));  // uniform: the value is its own rank
  }
  EXPECT_NEAR(below, kCount, 0);
  EXPECT_LT(worst, 0.005);
  RecordProperty("worst_rank_error", std::to_string(worst));
}

TEST(FrequentItems, KeepsHeavyKeysAmongManyLightOnes) {
  Rng rng(6);
  FrequentItems items;
  std::int64_t heavy = 0;
  for (int i = 0; i < 300'000; ++i) {
    const bool is_heavy = i % 20 == 0;
    heavy += is_heavy ? 1 : 0;
    items.add(is_heavy ? 1 : 1000 + rng.below(10'000'000), 1);
  }
  EXPECT_FALSE(items.exact());
  std::int64_t found = 0;
  for (const auto& item : items.items()) found = item.key == 1 ? item.count : found;
  EXPECT_LE(found, heavy);
  EXPECT_GE(found + items.error(), heavy);
}

TEST(ShareInBins, ComparesNewRowsWithTheReference) {
  const auto reference =
      profile_of(numbers({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}), {.bins = 5, .threads = 1});
  const auto& x = reference.columns[0];
  EXPECT_EQ(x.bins.edges, (std::vector<double>{2, 4, 6, 8}));
  EXPECT_EQ(bin_shares(x), (std::vector<double>{0.2, 0.2, 0.2, 0.2, 0.2, 0}));
  auto now = numbers({-100, 2, 2.5, 100});
  now.append_null(0);
  const auto shares = share_in_bins(x, now.batch()->columns[0]);
  ASSERT_TRUE(ok(shares));
  EXPECT_EQ(*shares, (std::vector<double>{0.4, 0.2, 0, 0, 0.2, 0.2}));
  const BatchBuilder empty({{{"x", Type::float64}}});
  EXPECT_EQ(*share_in_bins(x, empty.batch()->columns[0]), std::vector<double>(6, 0.0));
}

TEST(ShareInBins, PutsUnknownCategoriesIntoOther) {
  BatchBuilder then({{{"t", Type::text}}});
  for (const auto* text : {"UA", "UA", "AA"}) then.append_text(0, text);
  const auto reference = profile_of(then);
  BatchBuilder now({{{"t", Type::text}}});
  for (const auto* text : {"AA", "ZZ", "ZZ"}) now.append_text(0, text);
  now.append_null(0);
  EXPECT_EQ(*share_in_bins(reference.columns[0], now.batch()->columns[0]),
            (std::vector<double>{0, 0.25, 0.5, 0.25}));
  EXPECT_TRUE(failed_with(share_in_bins(reference.columns[0], numbers({1}).batch()->columns[0]),
                          Code::invalid_argument));
}

}  // namespace
}  // namespace slipway::data
