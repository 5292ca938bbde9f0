#include "data/recipe.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "data/point_in_time.h"
#include "support/support.h"

namespace slipway::data {
namespace {

using test::code_of;
using test::message_of;
using test::ok;
using test::Scratch;

class RecipeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    engine_ = std::move(
        *Engine::open({.memory_limit_mb = 256, .threads = 2, .temp_dir = scratch_.path()}));
  }
  void table(const std::string& name, const std::string& select) {
    const auto made = engine_->execute("CREATE OR REPLACE TABLE " + name + " AS " + select);
    ASSERT_TRUE(ok(made)) << message_of(made);
  }
  Result<std::string> apply(const std::string& steps) {
    const auto doc = SpecDocument::parse("steps:\n" + steps, "p.yaml");
    if (!doc) return doc.error();
    SpecReader reader(*doc);
    const auto recipe = Recipe::read(reader, "steps");
    if (auto sound = reader.finish(); !sound) return sound.error();
    return recipe.apply({}, *engine_, "t");
  }
  // Rows as text: columns by ',', rows by ';', null as '~'.
  std::string text_of(const std::string& sql) {
    const auto found = engine_->query({}, sql);
    if (!found) return "error: " + found.error().message;
    const auto columns = Columns::from_table(*found);
    const Batch batch = columns->batch();
    std::string text;
    for (std::int64_t row = 0; row < batch.rows; ++row) {
      text += row > 0 ? ";" : "";
      for (std::size_t i = 0; i < batch.columns.size(); ++i) {
        const auto& view = batch.columns[i];
        text += i > 0 ? "," : "";
        if (view.is_null(row))
          text += "~";
        else if (view.type == Type::text)
          text += view.text(row);
        else if (view.type == Type::timestamp)
          text += format_time(from_micros(view.integer(row)));
        else
          text += fmt::format("{}", view.number(row));
      }
    }
    return text;
  }
  std::string rows(const std::string& steps) {
    const auto last = apply(steps);
    return last ? text_of("SELECT * FROM " + quote_name(*last)) : "error: " + last.error().message;
  }

  Scratch scratch_;
  std::unique_ptr<Engine> engine_;
};

TEST_F(RecipeTest, ChangesColumnsAndRows) {
  table("t", "SELECT * FROM (VALUES (1, '7', 10), (2, 'x', 20), (3, NULL, 30)) t(id, v, w)");
  const std::pair<const char*, const char*> steps[] = {
      {"- rename: {id: key}\n- select: [key, w]", "1,10;2,20;3,30"},
      {"- try_cast: {v: int64}\n- drop: w", "1,7;2,~;3,~"},
      {"- filter: v IS NOT NULL\n- drop: [v, w]", "1;2"},
      {"- derive: {w: w / 10, sum: id + w}\n- drop: v", "1,1,11;2,2,22;3,3,33"},
      {"- window: {order: id, rows: 2, derive: {before: sum(w)}}\n- select: before", "~;10;30"},
      {"- window: {order: id, rows: 1, past_only: false, derive: {two: sum(w)}}\n- select: two",
       "10;30;50"},
  };
  for (const auto& [yaml, want] : steps) EXPECT_EQ(rows(yaml), want) << yaml;
}

TEST_F(RecipeTest, NamesThePlaceOfAMistake) {
  table("t", "SELECT 1 AS id, 'x' AS v");
  table("r", "SELECT 1 AS id, 2 AS v UNION ALL SELECT 1, 3");
  const std::pair<const char*, const char*> steps[] = {
      {"- filter: idd > 1", "p.yaml:2:3: column 'idd' does not exist; did you mean 'id'?"},
      {"- select: id\n- rename: {v: w}", "p.yaml:3:3: column 'v' does not exist"},
      {"- derive: {a: id +}", "p.yaml:2:3: syntax error"},
      {"- join: {with: r, on: id}", "stands on both sides"},
      {"- join: {with: nobody, on: id}", "'nobody' does not exist"},
      {"- join: {with: r, on: id, prefix: r_, expect: one}", "id = 1 stands in 2 rows"},
      {"- deduplcate: {by: id}", "did you mean 'deduplicate'?"},
      {"- split: {on: id, parts: [{name: a, share: 0.5}, {name: b, share: 0.6}]}", "sum to 1.1"},
  };
  for (const auto& [yaml, want] : steps)
    EXPECT_NE(rows(yaml).find(want), std::string::npos) << yaml << "\n" << rows(yaml);
}

TEST_F(RecipeTest, Joins) {
  table("t", "SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) t(id, k)");
  table("r", "SELECT * FROM (VALUES ('a', 10), ('b', 20)) r(code, v)");
  EXPECT_EQ(rows("- join: {with: r, on: {k: code}, expect: one}\n- window: {order: id, derive: "
                 "{n: row_number()}}\n- select: [id, v]"),
            "1,10;2,20;3,~");
  EXPECT_EQ(rows("- join: {with: r, on: {k: code}, how: anti}"), "3,c");
}

TEST_F(RecipeTest, KeepsOneRowOfEachKey) {
  table("t", "SELECT * FROM (VALUES (1, 5), (2, 1), (1, 9), (1, 7)) t(id, v)");
  EXPECT_EQ(rows("- deduplicate: {by: id, keep: first}"), "1,5;2,1");
  EXPECT_EQ(rows("- deduplicate: {by: id}"), "2,1;1,7") << "the last as they come";
  EXPECT_EQ(rows("- deduplicate: {by: id, order: v}"), "2,1;1,9");
  EXPECT_NE(rows("- deduplicate: {by: id, keep: error}").find("id = 1 stands in 3 rows"),
            std::string::npos);
}

TEST_F(RecipeTest, SplitsTheSameWayEachTime) {
  table("t",
        "SELECT i AS id, i // 10 AS grp, i % 2 AS y, TIMESTAMP '2013-01-01' + to_days(i::INT) "
        "AS at FROM range(1000) t(i)");
  const auto counted = [&](const std::string& split) {
    const auto last = apply("- split: " + split);
    if (!last) return "error: " + last.error().message;
    return text_of(fmt::format("SELECT split, count(*) AS n FROM {} GROUP BY 1 ORDER BY 1",
                               quote_name(*last)));
  };
  EXPECT_EQ(counted("{by: time, on: at, parts: [{name: train, until: 2013-01-11}, {name: test}]}"),
            "test,990;train,10");
  const std::string shares = "parts: [{name: a, share: 0.75}, {name: b, share: 0.25}]}";
  EXPECT_EQ(counted("{by: stratum, on: y, key: id, " + shares), "a,750;b,250");
  const auto by_hash = counted("{by: hash, on: id, " + shares);
  EXPECT_EQ(by_hash, counted("{by: hash, on: id, " + shares));
  EXPECT_NE(by_hash, counted("{by: hash, on: id, seed: 2, " + shares));
  const auto last = apply("- split: {by: group, on: grp, " + shares);
  ASSERT_TRUE(ok(last));
  EXPECT_EQ(
      text_of(fmt::format("SELECT max(n) AS n FROM (SELECT count(DISTINCT split) AS n FROM {} "
                          "GROUP BY grp)",
                          quote_name(*last))),
      "1");
  // The rule is MD5 over "seed\x1fkey": the same in any program.
  EXPECT_EQ(text_of(fmt::format("SELECT count(*) AS n FROM {} WHERE (split = 'a') <> "
                                "(md5_number_upper('0' || chr(31) || grp) / 18446744073709551616.0 "
                                "< 0.75)",
                                quote_name(*last))),
            "0");
}

TEST_F(RecipeTest, Samples) {
  table("t", "SELECT i AS id FROM range(10000) t(i)");
  const auto some = apply("- sample: {rows: 100, by: id, seed: 1}");
  EXPECT_EQ(text_of("SELECT count(*) AS n FROM " + quote_name(*some)), "100");
  const auto share = apply("- sample: {share: 0.1, by: id, seed: 1}");
  const auto count = std::stoi(text_of("SELECT count(*) AS n FROM " + quote_name(*share)));
  EXPECT_NEAR(count, 1000, 120);
}

// What the join promises, said in the plainest way.
std::optional<std::int64_t> plain_answer(const std::vector<std::array<std::int64_t, 4>>& right,
                                         std::int64_t key, std::int64_t at, std::int64_t ttl) {
  const std::array<std::int64_t, 4>* best = nullptr;  // key, event, known, value
  for (const auto& row : right) {
    if (row[0] != key || row[1] > at || row[2] > at) continue;
    if (best == nullptr || std::pair(row[1], row[2]) > std::pair((*best)[1], (*best)[2]))
      best = &row;
  }
  if (best == nullptr || at - (*best)[1] > ttl) return std::nullopt;
  return (*best)[3];
}

TEST_F(RecipeTest, PointInTimeJoinsNeverLookAhead) {
  Rng rng(2013);
  for (int round = 0; round < 12; ++round) {
    std::vector<std::array<std::int64_t, 4>> right;
    std::set<std::array<std::int64_t, 3>> seen;
    std::string right_values, left_values;
    for (int i = 0; i < 200; ++i) {
      const auto event = static_cast<std::int64_t>(rng.below(60));
      const std::array<std::int64_t, 4> row = {static_cast<std::int64_t>(rng.below(3)), event,
                                               event + static_cast<std::int64_t>(rng.below(20)) - 3,
                                               i};
      if (!seen.insert({row[0], row[1], row[2]}).second) continue;
      right.push_back(row);
      right_values += fmt::format("{}({}, make_timestamp({}), make_timestamp({}), {})",
                                  right_values.empty() ? "" : ", ", row[0], row[1], row[2], row[3]);
    }
    for (int i = 0; i < 150; ++i) {
      left_values += fmt::format("{}({}, {}, make_timestamp({}))", i == 0 ? "" : ", ", i,
                                 rng.below(4), rng.below(80));
    }
    table("r", "SELECT * FROM (VALUES " + right_values + ") r(k, seen, told, v)");
    table("t", "SELECT * FROM (VALUES " + left_values + ") t(id, k, \"at\")");
    const std::int64_t ttl = 5 + static_cast<std::int64_t>(rng.below(40));
    PointInTime join{.with = "r",
                     .keys = {{"k", "k"}},
                     .at = "at",
                     .event = "seen",
                     .known_column = "told",
                     .ttl = Duration{ttl},
                     .columns = {"v"}};
    const auto sql =
        join.sql("t", *engine_->describe("SELECT * FROM t"), *engine_->describe("SELECT * FROM r"));
    ASSERT_TRUE(ok(sql));
    const auto found = engine_->query({}, "SELECT k, \"at\", v FROM (" + *sql + ")");
    ASSERT_TRUE(ok(found));
    const auto columns = Columns::from_table(*found);
    const Batch batch = columns->batch();
    ASSERT_EQ(batch.rows, 150);
    for (std::int64_t row = 0; row < batch.rows; ++row) {
      const auto want =
          plain_answer(right, batch.columns[0].integer(row), batch.columns[1].integer(row), ttl);
      const auto& value = batch.columns[2];
      ASSERT_EQ(value.is_null(row), !want) << "round " << round << " row " << row;
      if (want) {
        ASSERT_EQ(value.integer(row), *want) << "round " << round << " row " << row;
      }
    }
  }
}

TEST_F(RecipeTest, PointInTimeJoinsFromADeclaration) {
  table("t", "SELECT 'JFK' AS origin, TIMESTAMP '2013-01-01 10:30' AS decision");
  table("weather",
        "SELECT * FROM (VALUES ('JFK', TIMESTAMP '2013-01-01 09:00', 39.0), ('JFK', "
        "TIMESTAMP '2013-01-01 10:00', 41.0)) w(origin, observed, temp)");
  EXPECT_EQ(rows("- asof_join: {with: weather, by: origin, at: decision, event: observed, known: "
                 "1h, ttl: 6h}\n- select: temp"),
            "39")
      << "the observation of 10:00 is known at 11:00 only";
  EXPECT_EQ(rows("- asof_join: {with: weather, by: origin, at: decision, event: observed, known: "
                 "1h, ttl: 1h}\n- select: temp"),
            "~");
}

}  // namespace
}  // namespace slipway::data
