#include "monitoring/drift.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>

#include "base/file.h"
#include "base/rng.h"
#include "monitoring/reference.h"
#include "support/support.h"

namespace slipway::monitoring {
namespace {

using test::ok;
using ::testing::HasSubstr;

using Shares = std::vector<double>;
using Counts = std::vector<std::int64_t>;

// Made by tests/golden/monitoring/make.py with SciPy.
Json golden() {
  const auto text = read_file("tests/golden/monitoring/drift.json");
  EXPECT_TRUE(ok(text)) << ok(text);
  return text ? parse_json(*text).value_or(Json()) : Json();
}

Shares shares_of(const Counts& counts) {
  const auto total =
      static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  Shares shares;
  for (const auto count : counts) shares.push_back(static_cast<double>(count) / total);
  return shares;
}

TEST(PopulationStabilityIndex, MatchesHandComputedValues) {
  const std::vector<std::tuple<std::string, Shares, Shares, double>> rows = {
      {"same shape", {0.5, 0.5}, {0.5, 0.5}, 0.0},
      {"mass moved", {0.5, 0.5}, {0.8, 0.2}, 0.415888308336},  // 0.3 ln 1.6 - 0.3 ln 0.4
      {"an empty bin", {1, 0}, {0.9, 0.1}, 0.700620804},       // 0.1 ln(1 / 0.9) + 0.0999 ln 1000
  };
  for (const auto& [name, expected, actual, want] : rows) {
    SCOPED_TRACE(name);
    const auto psi = population_stability_index(expected, actual);
    ASSERT_TRUE(ok(psi));
    EXPECT_NEAR(*psi, want, 1e-6);
  }
  EXPECT_THAT(test::message_of(population_stability_index(Shares{1}, Shares{0.5, 0.5})),
              HasSubstr("1 bins"));
}

TEST(TwoSamples, AgreeWithScipy) {
  const Json all = golden();
  ASSERT_EQ(all["two_samples"].size(), 5U);
  for (const auto& row : all["two_samples"]) {
    SCOPED_TRACE(row["name"].get<std::string>());
    const auto reference = row["reference"].get<Counts>();
    const auto window = row["window"].get<Counts>();
    EXPECT_NEAR(*jensen_shannon_distance(shares_of(reference), shares_of(window)),
                row["js"].get<double>(), 1e-9);
    EXPECT_NEAR(*total_variation(shares_of(reference), shares_of(window)), row["tv"].get<double>(),
                1e-12);
    EXPECT_NEAR(*kolmogorov_smirnov(shares_of(reference), shares_of(window)),
                row["ks"].get<double>(), 1e-12);
    const TestResult ks = ks_test(reference, window);
    EXPECT_NEAR(ks.statistic, row["ks"].get<double>(), 1e-12);
    EXPECT_NEAR(ks.p, row["ks_p"].get<double>(), 1e-9);
    const TestResult chi = chi_square_test(reference, window);
    EXPECT_NEAR(chi.statistic, row["chi2"].get<double>(), 1e-8 * (1 + chi.statistic));
    EXPECT_NEAR(chi.p, row["chi2_p"].get<double>(), 1e-10);
  }
  for (const auto& row : all["shares"]) {
    SCOPED_TRACE(row.dump());
    const auto counts = row["counts"].get<Counts>();
    EXPECT_NEAR(share_test(counts[0], counts[1], counts[2], counts[3]).p, row["p"].get<double>(),
                1e-9);
  }
  for (const auto& row : all["chi_square_tail"]) {
    SCOPED_TRACE(row.dump());
    EXPECT_NEAR(chi_square_tail(row[0], row[1]), row[2].get<double>(), 1e-12);
  }
}

TEST(TwoSamples, SayNothingWithoutRows) {
  EXPECT_EQ(ks_test(Counts{1, 2}, Counts{0, 0}).p, 1);
  EXPECT_EQ(chi_square_test(Counts{0, 0}, Counts{1, 2}).p, 1);
  EXPECT_EQ(share_test(0, 0, 1, 2).p, 1);
  EXPECT_EQ(share_test(0, 10, 0, 10).p, 1);
  EXPECT_EQ(share_test(10, 10, 10, 10).p, 1);
}

TEST(Correction, AgreesWithScipy) {
  const Json all = golden();
  const auto p = all["p"].get<Shares>();
  EXPECT_THAT(benjamini_hochberg(p), testing::Pointwise(testing::DoubleNear(1e-12),
                                                        all["benjamini_hochberg"].get<Shares>()));
  const auto strict = bonferroni(p);
  EXPECT_DOUBLE_EQ(strict[0], 0.008);
  EXPECT_EQ(strict[4], 1);
  EXPECT_TRUE(benjamini_hochberg({}).empty());
}

// A pool like the flights': 12 numbers (some whole, some with many equal values, some with nulls),
// 3 categories.
constexpr std::size_t kNumbers = 12;
constexpr std::size_t kColumns = 15;

data::Schema pool_schema() {
  data::Schema schema;
  for (std::size_t i = 0; i < kColumns; ++i) {
    schema.fields.push_back(
        {"c" + std::to_string(i), i < kNumbers ? data::Type::float64 : data::Type::text, true});
  }
  return schema;
}

struct Change {
  double shift = 0;      // added to column 0
  double moved = 0;      // share of column 12 that becomes its second category
  double more_null = 0;  // share of column 1 that becomes null
};

double pool_number(Rng& rng, std::size_t column) {
  switch (column % 4) {
    case 0: {  // delays in whole minutes, skewed
      const double delay =
          rng.uniform() < 0.6 ? -5 + 4 * rng.normal() : 40 * -std::log(1 - rng.uniform()) - 5;
      return std::round(delay);
    }
    case 1:
      return rng.normal() * 10 + 55;
    case 2:
      return static_cast<double>(rng.below(24));
    default:
      return rng.uniform() < 0.7 ? 0 : -std::log(1 - rng.uniform());  // rain: mostly none
  }
}

data::BatchBuilder draw(const data::Schema& schema, std::int64_t rows, Rng& rng,
                        const Change& change = {}) {
  data::BatchBuilder builder(schema);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::size_t column = 0; column < kColumns; ++column) {
      if (column < kNumbers) {
        const double null_share = column == 1 ? 0.03 + change.more_null : column == 5 ? 0.001 : 0;
        const double value = pool_number(rng, column) + (column == 0 ? change.shift : 0);
        if (rng.uniform() < null_share) {
          builder.append_null(column);
        } else {
          builder.append_real(column, value);
        }
        continue;
      }
      // Zipf: 16, 3 and 105 categories, some of them too rare for a small sample.
      const std::uint64_t kinds = column == 12 ? 16 : column == 13 ? 3 : 105;
      auto kind =
          static_cast<std::uint64_t>(std::pow(static_cast<double>(kinds) + 1, rng.uniform())) - 1;
      if (column == 12 && rng.uniform() < change.moved) kind = 1;
      builder.append_text(column, "k" + std::to_string(kind));
    }
  }
  return builder;
}

std::vector<ColumnDrift> compare(const Reference& reference, const data::Batch& window,
                                 const DriftOptions& options) {
  std::vector<ColumnDrift> columns;
  for (std::size_t i = 0; i < window.columns.size(); ++i) {
    auto drift = column_drift(reference.profile.columns[i], window.columns[i]);
    EXPECT_TRUE(ok(drift)) << ok(drift);
    columns.push_back(std::move(*drift));
  }
  decide(columns, options);
  return columns;
}

TEST(Drift, RaisesNoMoreFalseAlarmsThanItSays) {
  const data::Schema schema = pool_schema();
  // The effect floor is off: the tests alone must keep their word.
  for (const double alpha : {0.05, 0.01}) {
    const DriftOptions options{.alpha = alpha, .min_effect = 0, .null_change = 0};
    for (const auto& [rows, repeats] :
         {std::pair{1'000, 200}, std::pair{10'000, 60}, std::pair{100'000, 6}}) {
      int reports = 0;
      int columns = 0;
      for (int repeat = 0; repeat < repeats; ++repeat) {
        Rng rng = Rng(2013).child(
            "A/A", static_cast<std::uint64_t>(rows) * 1000 + static_cast<std::uint64_t>(repeat));
        const auto before = draw(schema, rows, rng);
        const auto now = draw(schema, rows, rng);
        const auto reference = Reference::build(*before.batch(), {});
        ASSERT_TRUE(ok(reference)) << ok(reference);
        int flagged = 0;
        for (const auto& column : compare(*reference, *now.batch(), options)) {
          flagged += column.drifted || column.nulls_changed ? 1 : 0;
        }
        columns += flagged;
        reports += flagged > 0 ? 1 : 0;
      }
      const double share = static_cast<double>(reports) / repeats;
      std::cout << fmt::format(
          "A/A, alpha {}: n = {}: {:.4f} of columns, {:.3f} of {} reports flagged\n", alpha, rows,
          static_cast<double>(columns) / (repeats * static_cast<double>(kColumns)), share, repeats);
      // Three standard errors above the stated share.
      EXPECT_LE(share, alpha + 3 * std::sqrt(alpha * (1 - alpha) / repeats));
    }
  }
}

TEST(Drift, SeesWhatChanged) {
  const data::Schema schema = pool_schema();
  Rng rng(7);
  const auto before = draw(schema, 10'000, rng);
  const auto reference = Reference::build(*before.batch(), {});
  ASSERT_TRUE(ok(reference));
  // change, the column that must be found, whether by its nulls, and the share of 20 windows of
  // 10,000 rows in which it has to be.
  const std::vector<std::tuple<std::string, Change, std::size_t, bool>> rows = {
      {"2 minutes later everywhere", {.shift = 2}, 0, false},
      {"5 % to another carrier", {.moved = 0.05}, 12, false},
      {"3 points more nulls", {.more_null = 0.03}, 1, true},
  };
  for (const auto& [name, change, column, by_nulls] : rows) {
    SCOPED_TRACE(name);
    int found = 0;
    int others = 0;
    double p = 0;
    for (int repeat = 0; repeat < 20; ++repeat) {
      const auto now = draw(schema, 10'000, rng, change);
      const auto drifts = compare(*reference, *now.batch(), {});
      found += (by_nulls ? drifts[column].nulls_changed : drifts[column].drifted) ? 1 : 0;
      p = std::max(p, by_nulls ? drifts[column].null_p_adjusted : drifts[column].p_adjusted);
      for (std::size_t i = 0; i < drifts.size(); ++i)
        others += i != column && (drifts[i].drifted || drifts[i].nulls_changed);
    }
    std::cout << fmt::format(
        "power at 10k, all 15 columns, alpha 0.01: {}: {} of 20 (largest adjusted p {:.2g})\n",
        name, found, p);
    EXPECT_EQ(found, 20);
    EXPECT_LE(others, 1);
  }
}

TEST(Drift, ComparesAMillionRowsOfFifteenColumnsInAboutASecond) {
  const data::Schema schema = pool_schema();
  Rng rng(8);
  const auto before = draw(schema, 50'000, rng);
  const auto reference = Reference::build(*before.batch(), {});
  ASSERT_TRUE(ok(reference));
  const auto now = draw(schema, 100'000, rng);
  const auto batch = now.batch();
  const std::clock_t begin = std::clock();
  for (int part = 0; part < 10; ++part) compare(*reference, *batch, {});
  const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  std::cout << "drift of 10 x 100,000 rows x 15 columns: " << took << " s of processor time\n";
  EXPECT_LT(took, 60);  // slack for sanitizers
}

TEST(Drift, LooksAtNullsUnseenAndOutOfRangeValues) {
  const data::Schema schema{
      {{"temp", data::Type::float64, true}, {"carrier", data::Type::text, true}}};
  data::BatchBuilder before(schema);
  data::BatchBuilder now(schema);
  for (int i = 0; i < 1000; ++i) {
    before.append_real(0, i % 100);
    before.append_text(1, i % 2 == 0 ? "UA" : "AA");
    if (i % 10 == 0) {
      now.append_null(0);
    } else if (i % 10 == 1) {
      now.append_real(0, std::numeric_limits<double>::quiet_NaN());  // as good as missing
    } else {
      now.append_real(0, i % 10 == 2 ? 1000 : i % 100);
    }
    now.append_text(1, i % 4 == 0 ? "ZZ" : "AA");
  }
  const auto reference = Reference::build(*before.batch(), {});
  ASSERT_TRUE(ok(reference));
  const auto drifts = compare(*reference, *now.batch(), {});
  EXPECT_NEAR(drifts[0].null_share, 0.2, 1e-12);
  EXPECT_NEAR(drifts[0].out_of_range_share, 0.1, 1e-12);
  EXPECT_TRUE(drifts[0].nulls_changed);
  EXPECT_NEAR(drifts[1].unseen_share, 0.25, 1e-12);
  EXPECT_TRUE(drifts[1].drifted);
  EXPECT_TRUE(drifts[1].major);
  EXPECT_FALSE(drifts[1].nulls_changed);
  EXPECT_GT(*drifts[0].wasserstein, 0);
}

TEST(Drift, TakesEmptyAndAllNullWindows) {
  const data::Schema schema{
      {{"temp", data::Type::float64, true}, {"carrier", data::Type::text, true}}};
  data::BatchBuilder before(schema);
  data::BatchBuilder nulls(schema);
  const data::BatchBuilder empty(schema);
  for (int i = 0; i < 500; ++i) {
    before.append_real(0, i);
    before.append_text(1, "UA");
    nulls.append_null(0);
    nulls.append_null(1);
  }
  const auto reference = Reference::build(*before.batch(), {});
  ASSERT_TRUE(ok(reference));
  for (const auto& column : compare(*reference, *empty.batch(), {})) {
    EXPECT_FALSE(column.drifted || column.nulls_changed);
  }
  for (const auto& column : compare(*reference, *nulls.batch(), {})) {
    EXPECT_TRUE(column.nulls_changed);
    EXPECT_FALSE(column.drifted);
  }
  // A reference that knew nothing but nulls compares with anything without a crash.
  const auto unknown = Reference::build(*nulls.batch(), {});
  ASSERT_TRUE(ok(unknown)) << ok(unknown);
  for (const auto& column : compare(*unknown, *before.batch(), {}))
    EXPECT_TRUE(column.nulls_changed);
}

TEST(WeightedDrift, CountsImportantColumnsMore) {
  std::vector<ColumnDrift> columns(3);
  columns[0].js = 0.5;
  columns[1].js = 0.1;
  columns[2].js = 0.9;
  EXPECT_FALSE(weighted_drift(columns).has_value());
  columns[0].importance = 1;
  columns[1].importance = 3;
  EXPECT_NEAR(*weighted_drift(columns), 0.2, 1e-12);
}

TEST(Reference, SurvivesJson) {
  const data::Schema schema{{{"temp", data::Type::float64, true}}};
  data::BatchBuilder builder(schema);
  std::vector<double> scores;
  for (int i = 0; i < 300; ++i) {
    builder.append_real(0, i * 0.7);
    scores.push_back(i / 300.0);
  }
  auto reference = Reference::build(*builder.batch(), scores);
  ASSERT_TRUE(ok(reference));
  reference->metrics = {{"auc", 0.7}};
  reference->importance = {{"temp", 2}};
  const auto back = Reference::from_json(*parse_json(reference->to_json().dump()));
  ASSERT_TRUE(ok(back)) << ok(back);
  EXPECT_EQ(back->to_json(), reference->to_json());
  EXPECT_EQ(back->metrics.at("auc"), 0.7);
  EXPECT_EQ(back->profile.columns[0].bins, reference->profile.columns[0].bins);
  ASSERT_TRUE(back->score.has_value());
  EXPECT_EQ(back->score->name, "score");
  // A plain profile is a reference too.
  EXPECT_TRUE(ok(Reference::from_json(reference->profile.to_json())));
  EXPECT_EQ(test::code_of(Reference::build(*builder.batch(), std::vector<double>(3))),
            "invalid_argument");
}

}  // namespace
}  // namespace slipway::monitoring
