// Inferred rules, comparisons, pages, and profiles of files.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "data/comparison.h"
#include "data/html_internal.h"
#include "data/infer.h"
#include "data/profile.h"
#include "data/validation.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::failed_with;
using test::message_of;
using test::ok;
using test::Scratch;

// 4,000 rows of every type, with nulls, in row groups of 1,000.
class QualityTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto engine = Engine::open({.threads = 2, .temp_dir = scratch_.path()});
    ASSERT_TRUE(ok(engine));
    engine_ = std::move(*engine);
    ASSERT_TRUE(ok(engine_->execute(
        "CREATE TABLE rows AS SELECT i AS id, 'N' || (100 + i % 700) AS tail, CASE WHEN i % 3 = 0 "
        "THEN 'JFK' WHEN i % 3 = 1 THEN 'EWR' ELSE 'no' END AS origin, i % 7 AS day, (i * 37 % "
        "1000) / 10.0 AS temp, CASE WHEN i % 10 = 0 THEN NULL ELSE i * 13 % 500 END AS delay, "
        "i * 13 % 500 > 300 AS late, TIMESTAMP '2013-01-01' + INTERVAL (i) HOUR AS at, lpad((i % "
        "50)::VARCHAR, 3, '0') AS code, '2013-01-' || lpad((1 + i % 28)::VARCHAR, 2, '0') AS "
        "day_text "
        "FROM range(4000) t(i)")));
    rows_ = parquet("rows", "SELECT * FROM rows");
  }

  std::filesystem::path parquet(const std::string& name, const std::string& sql) {
    const auto file = scratch_ / (name + ".parquet");
    EXPECT_TRUE(ok(engine_->execute("COPY (" + sql + ") TO " + quote_text(file.string()) +
                                    " (FORMAT parquet, ROW_GROUP_SIZE 2048)")));
    EXPECT_TRUE(ok(engine_->add_source(name + " file", *Source::of_file(file))));
    return file;
  }

  Profile profile(const std::filesystem::path& file, const ProfileOptions& options = {}) {
    auto made = Profile::of_files({}, {file}, options);
    EXPECT_TRUE(ok(made)) << message_of(made);
    return made ? std::move(*made) : Profile{};
  }

  Comparison compared(const std::string& after_sql, std::vector<std::string> key = {"id"}) {
    const auto after = parquet("after", after_sql);
    auto result = compare({}, *engine_, {"rows file", {rows_}}, {"after file", {after}},
                          {.key = std::move(key)});
    EXPECT_TRUE(ok(result)) << message_of(result);
    return result ? std::move(*result) : Comparison{};
  }

  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
  std::filesystem::path rows_;
};

TEST_F(QualityTest, InferredRulesHoldOnTheirOwnDataAndRefuseOther) {
  const auto text = infer_rules({}, *engine_, "rows file", profile(rows_, {.top = 30}));
  ASSERT_TRUE(ok(text)) << message_of(text);
  const auto doc = SpecDocument::parse(*text, "rules.yaml");
  ASSERT_TRUE(ok(doc)) << *text;
  SpecReader reader(*doc);
  const auto rules = read_expectations(reader, "expectations");
  ASSERT_TRUE(ok(reader.finish()));
  const auto good = validate({}, *engine_, "rows file", rules);
  ASSERT_TRUE(ok(good)) << message_of(good);
  EXPECT_TRUE(good->report.ok()) << render_text(good->report);
  for (const char* want : {"{check: unique, column: id}", "values: [\"no\", EWR, JFK]", "id: int64",
                           "{check: not_null, columns: [id, tail", "column: delay, max: 0.13",
                           "pattern: \"[A-Z][0-9]{3}\"", "leading zeros", "dates kept as text"}) {
    EXPECT_NE(text->find(want), std::string::npos) << want << "\n" << *text;
  }
  parquet("bad", "SELECT * REPLACE ('XXX' AS origin, -5.0 AS temp) FROM rows");
  const auto bad = validate({}, *engine_, "bad file", rules);
  ASSERT_TRUE(ok(bad));
  EXPECT_FALSE(bad->report.ok());
}

TEST_F(QualityTest, InfersFromColumnsWithOddNamesAndNothingInThem) {
  parquet("odd",
          "SELECT NULL::VARCHAR AS \"null\", 'a: \"b\"' || chr(10) AS \"x: {}\", 1 AS \"no\" "
          "FROM range(3)");
  const auto text =
      infer_rules({}, *engine_, "odd file", profile(scratch_ / "odd.parquet", {.top = 30}));
  EXPECT_TRUE(ok(text)) << message_of(text);
}

TEST_F(QualityTest, FindsNothingBetweenEqualRows) {
  const auto same = compared("SELECT * FROM rows ORDER BY id DESC");
  EXPECT_TRUE(same.same()) << render_text(same);
  EXPECT_EQ(render_text(same), "no difference in 4000 rows\n");
}

TEST_F(QualityTest, TellsColumnsRowsAndDistributionsThatChanged) {
  const auto changed = compared(
      "SELECT * EXCLUDE (tail, day) REPLACE (CASE WHEN id % 100 = 0 THEN 'LGA' ELSE origin END AS "
      "origin, temp + 20 AS temp, CASE WHEN id % 4 = 0 THEN NULL ELSE delay END AS delay), "
      "day::DOUBLE "
      "AS day, 1 AS fresh FROM rows WHERE id >= 10 UNION ALL SELECT id + 10000, origin, temp, "
      "delay, "
      "late, \"at\", code, day_text, 1.0, 1 FROM rows WHERE id < 3");
  EXPECT_EQ(changed.rows_before, 4000);
  EXPECT_EQ(changed.rows_after, 3993);
  EXPECT_EQ(changed.only_before, 10);
  EXPECT_EQ(changed.only_after, 3);
  EXPECT_EQ(changed.changed, 3990) << "every temp moved";
  const auto column = [&](std::string_view name) -> const ColumnChange& {
    return *std::find_if(changed.columns.begin(), changed.columns.end(),
                         [&](const auto& each) { return each.name == name; });
  };
  EXPECT_FALSE(column("tail").after);
  EXPECT_FALSE(column("fresh").before);
  EXPECT_NE(column("day").before, column("day").after);
  EXPECT_EQ(column("origin").changed, 39);
  EXPECT_TRUE(column("temp").shifted);
  EXPECT_NEAR(column("temp").effect, 0.2, 0.03);
  EXPECT_TRUE(column("delay").nulls_shifted);
  EXPECT_FALSE(column("late").shifted);
  ASSERT_FALSE(changed.examples.empty());
  EXPECT_EQ(changed.examples[0].column, "origin");
  EXPECT_EQ(changed.examples[0].after, "LGA");
  const auto text = render_text(changed);
  for (const char* want : {"4000 became 3993", "10 removed, 3 added", "tail: removed, was text",
                           "day: int64 became float64", "fresh: added"}) {
    EXPECT_NE(text.find(want), std::string::npos) << text;
  }
  EXPECT_FALSE(changed.to_json()["same"].get<bool>());
}

TEST_F(QualityTest, RefusesAKeyThatIsNotUnique) {
  parquet("after", "SELECT * FROM rows");
  EXPECT_TRUE(failed_with(compare({}, *engine_, {"rows file", {rows_}},
                                  {"after file", {scratch_ / "after.parquet"}}, {.key = {"day"}}),
                          Code::invalid_argument));
}

TEST_F(QualityTest, AProfileOfFilesIsThatOfTheirRowsWhateverTheThreads) {
  const auto table = engine_->query({}, "SELECT * FROM \"rows file\"");
  ASSERT_TRUE(ok(table));
  const auto columns = Columns::from_table(*table);
  ASSERT_TRUE(ok(columns));
  const auto whole = Profile::of(columns->batch(), {});
  ASSERT_TRUE(ok(whole));
  const auto one = profile(rows_, {.threads = 1, .histogram = 12, .sample = 1000});
  const auto two = profile(rows_, {.threads = 2, .histogram = 12, .sample = 1000});
  EXPECT_EQ(canonical(one.to_json()), canonical(two.to_json()));
  EXPECT_EQ(one.sampled, 1000);
  for (std::size_t i = 0; i < whole->columns.size(); ++i) {
    const auto& a = whole->columns[i];
    const auto& b = one.columns[i];
    SCOPED_TRACE(a.name);
    EXPECT_EQ(a.nulls, b.nulls);
    EXPECT_EQ(a.distinct, b.distinct);
    EXPECT_EQ(a.top, b.top);
    EXPECT_EQ(a.quantiles, b.quantiles);
    EXPECT_EQ(a.bins, b.bins);
    EXPECT_NEAR(a.mean.value_or(0), b.mean.value_or(0), std::abs(a.mean.value_or(0)) * 1e-12);
    EXPECT_NEAR(a.stddev.value_or(0), b.stddev.value_or(0), a.stddev.value_or(0) * 1e-9);
  }
  const auto back = Profile::from_json(*parse_json(canonical(one.to_json())));
  ASSERT_TRUE(ok(back));
  EXPECT_EQ(canonical(back->to_json()), canonical(one.to_json()));
}

TEST_F(QualityTest, SaysInWordsWhatIsSuspicious) {
  const auto file = parquet(
      "odd",
      "SELECT 1 AS constant, i AS number, i AS copy, i % 2 = 0 AS late, CASE WHEN i % 2 = 0 THEN i "
      "* "
      "1.0 ELSE -i END AS leak, CASE WHEN i % 2 = 0 THEN i END AS gone, CASE WHEN i % 4 = 0 THEN "
      "i::VARCHAR ELSE 'x' || i % 9 END AS mixed, lpad((i % 90)::VARCHAR, 5, '0') AS zip, CASE "
      "WHEN i "
      "% 60 = 0 THEN 9999 ELSE i % 50 END AS sentinel, strftime(DATE '2013-01-01' + (i % "
      "90)::INTEGER, '%d/%m/%Y') AS day, ' ' || i % 5 || 'k' AS padded FROM range(3000) t(i)");
  const auto found = profile(file, {.sample = 3000, .target = "late"});
  const std::pair<const char*, const char*> rows[] = {
      {"constant", "constant"},
      {"number", "nearly every value is unique"},
      {"copy", "same values as 'number'"},
      {"leak", "tells the target 'late' almost alone (AUC 1.000)"},
      {"gone", "where it is missing tells the target 'late'"},
      {"mixed", "mixed: 25 % of the texts are numbers"},
      {"zip", "leading zeros"},
      {"sentinel", "9999 stands far"},
      {"day", "dates kept as text"},
      {"padded", "begin or end with a space"},
  };
  for (const auto& [column, want] : rows) {
    const auto notes = fmt::format("{}", fmt::join(found.find(column)->notes, "\n"));
    EXPECT_NE(notes.find(want), std::string::npos) << column << ": " << notes;
  }
  EXPECT_TRUE(found.find("late")->notes.empty());
}

TEST_F(QualityTest, MeasuresAssociationsAsTextbooksDo) {
  // numpy.corrcoef, scipy.stats.spearmanr and association(method="cramer") on the same rows
  const auto file = parquet(
      "pairs",
      "SELECT i AS a, i * i AS b, CASE WHEN i % 4 = 0 THEN 'x' ELSE 'y' END AS c, CASE WHEN i % 4 "
      "= 0 "
      "OR i % 5 = 0 THEN 'p' ELSE 'q' END AS d, i % 4 = 0 AS e, (i * 7919) % 1009 AS noise FROM "
      "range(2000) t(i)");
  const auto found = profile(file, {.sample = 2000});
  const auto strength = [&](std::string_view a, std::string_view b) -> const Association* {
    for (const auto& each : found.associations) {
      if ((each.a == a && each.b == b) || (each.a == b && each.b == a)) return &each;
    }
    return nullptr;
  };
  ASSERT_NE(strength("a", "b"), nullptr);
  EXPECT_NEAR(strength("a", "b")->value, 0.9682155878665694, 1e-12);
  EXPECT_NEAR(*strength("a", "b")->rank, 1, 1e-12);
  ASSERT_NE(strength("c", "e"), nullptr);
  EXPECT_NEAR(strength("c", "e")->value, 1, 1e-3);
  ASSERT_NE(strength("c", "d"), nullptr);
  EXPECT_NEAR(strength("c", "d")->value, 0.7071, 0.01) << "chi-square 1000 of 2000 rows";
  EXPECT_EQ(strength("a", "noise"), nullptr);
}

// A profile of parts merged is one of the whole, within the sketches' bounds, however it is cut.
TEST(MergedProfile, AgreesWithTheWholeHoweverItIsCut) {
  for (const std::uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Rng rng(seed);
    const Schema schema{{{"x", Type::float64}, {"n", Type::int64}, {"t", Type::text}}};
    const ProfileOptions options{.threads = 1, .sample = 2000};
    Profiler whole(schema, options);
    Profiler merged(schema, options);
    std::vector<double> values;
    std::set<std::int64_t> distinct;
    double total = 0;
    for (int part = 0; part < 8; ++part) {
      BatchBuilder builder(schema);
      const auto rows = 1 + rng.below(12'000);
      for (std::uint64_t i = 0; i < rows; ++i) {
        const double x = std::exp(3 * rng.normal());
        const auto n = static_cast<std::int64_t>(rng.below(20'000));
        values.push_back(x);
        distinct.insert(n);
        total += x;
        builder.append_real(0, x);
        builder.append_integer(1, n);
        builder.append_text(2,
                            rng.below(4) == 0 ? "heavy" : "k" + std::to_string(rng.below(30'000)));
      }
      const auto batch = *builder.batch();
      ASSERT_TRUE(ok(whole.add(batch)));
      Profiler piece(schema, options);
      ASSERT_TRUE(ok(piece.add(batch)));
      ASSERT_TRUE(ok(merged.merge(piece)));
    }
    std::sort(values.begin(), values.end());
    const auto rows = static_cast<double>(values.size());
    for (const auto* profiler : {&whole, &merged}) {
      const auto profile = profiler->finish();
      const auto& x = profile.columns[0];
      EXPECT_EQ(*x.min, values.front());
      EXPECT_EQ(*x.max, values.back());
      EXPECT_NEAR(*x.mean, total / rows, total / rows * 1e-9);
      for (const auto& [p, value] : x.quantiles) {
        const auto rank = static_cast<double>(
            std::upper_bound(values.begin(), values.end(), value) - values.begin());
        EXPECT_NEAR(rank / rows, p, 0.01);
      }
      // HyperLogLog with 2^14 registers: a standard error of 0.81 %, and four of those
      EXPECT_NEAR(static_cast<double>(profile.columns[1].distinct),
                  static_cast<double>(distinct.size()),
                  0.033 * static_cast<double>(distinct.size()));
      const auto& heavy = profile.columns[2].top.front();
      EXPECT_EQ(heavy.first, "heavy");
      EXPECT_LE(heavy.second, static_cast<std::int64_t>(rows));
      EXPECT_NEAR(static_cast<double>(heavy.second + profile.columns[2].top_error / 2), rows / 4,
                  rows / 40 + static_cast<double>(profile.columns[2].top_error));
      EXPECT_EQ(profile.sampled, std::min<std::int64_t>(2000, profile.rows));
    }
  }
}

TEST_F(QualityTest, SketchesTravelAsBytesAndMergeElsewhere) {
  const ProfileOptions options{.threads = 1, .histogram = 12, .sample = 500};
  const auto first = parquet("first", "SELECT * FROM rows WHERE id < 1500");
  const auto second = parquet("second", "SELECT * FROM rows WHERE id >= 1500");
  auto a = Profiler::of_files({}, {first}, options);
  const auto b = Profiler::of_files({}, {second}, options);
  ASSERT_TRUE(ok(a));
  ASSERT_TRUE(ok(b));
  auto near = Profiler::load(a->save());
  const auto far = Profiler::load(b->save());
  ASSERT_TRUE(ok(near)) << message_of(near);
  ASSERT_TRUE(ok(far)) << message_of(far);
  EXPECT_EQ(canonical(near->finish().to_json()), canonical(a->finish().to_json()));
  ASSERT_TRUE(ok(a->merge(*b)));
  ASSERT_TRUE(ok(near->merge(*far)));
  EXPECT_EQ(canonical(near->finish().to_json()), canonical(a->finish().to_json()));
  EXPECT_EQ(near->finish().rows, 4000);
  EXPECT_EQ(near->finish().find("id")->distinct, 4000);
}

TEST_F(QualityTest, ADamagedSketchIsRefusedOrReadButNeverCrashes) {
  const auto sketch = Profiler::of_files({}, {rows_}, {.threads = 1, .sample = 50});
  ASSERT_TRUE(ok(sketch));
  const auto bytes = sketch->save();
  EXPECT_TRUE(failed_with(Profiler::load(""), Code::invalid_argument));
  EXPECT_TRUE(failed_with(Profiler::load("slipway"), Code::invalid_argument));
  EXPECT_TRUE(
      failed_with(Profiler::load(bytes.substr(0, bytes.size() / 2)), Code::invalid_argument));
  constexpr std::uint64_t kSeed = 7;
  Rng rng(kSeed);
  for (int i = 0; i < 300; ++i) {
    auto damaged = bytes;
    damaged[rng.below(damaged.size())] = static_cast<char>(rng.below(256));
    if (const auto loaded = Profiler::load(damaged)) (void)loaded->finish();
  }
}

TEST(Html, EscapesWhatComesFromData) {
  EXPECT_EQ(html::escape("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
  EXPECT_EQ(html::escape("a\xff"
                         "b\x01"),
            "a\xef\xbf\xbd"
            "b\xe2\x90\x81");
  EXPECT_EQ(html::escape("Zürich 東京"), "Zürich 東京");
  EXPECT_EQ(html::clipped("äöü<", 3), "<span title=\"äöü&lt;\">äöü…</span>");
  EXPECT_EQ(html::grouped(-1234567), "-1,234,567");
}

TEST(Html, PagesOfHostileDataHoldNoTagOfItsAndStaySmall) {
  const std::string evil = "</td><script>alert(1)</script>";
  Report report;
  report.rows = 1'000'000'000;
  for (int i = 0; i < 3000; ++i) {
    report.rules.push_back({.name = evil + std::to_string(i),
                            .columns = {evil},
                            .rows = 1'000'000'000,
                            .unexpected = 5,
                            .examples = std::vector<Json>(5, Json(std::string(5000, '<'))),
                            .message = evil + std::string(5000, '"')});
  }
  const auto page = render_html(report, evil);
  EXPECT_EQ(page.find("<script"), std::string::npos);
  EXPECT_LT(page.size(), 1'000'000U);
  EXPECT_NE(page.find("more rules"), std::string::npos);

  Profile profile;
  for (int i = 0; i < 10'000; ++i) {
    ColumnProfile column{.name = evil + std::to_string(i), .rows = 9};
    column.notes = {evil};
    column.top.assign(30, {Json(evil), 3});
    profile.columns.push_back(std::move(column));
  }
  const auto wide = render_html(profile, evil);
  EXPECT_EQ(wide.find("<script"), std::string::npos);
  EXPECT_LT(wide.size(), 1'000'000U);
}

}  // namespace
}  // namespace slipway::data
